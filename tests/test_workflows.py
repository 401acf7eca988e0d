"What runs on other machines when somebody pushes: no action that can change under its name, no right that is not needed, no key left lying about"
import re

import pytest
import yaml

from conftest import ROOT

FILES = sorted((ROOT/'.github'/'workflows').glob('*.y*ml'))
PINNED = re.compile(r'[\w.-]+/[\w./-]+@[0-9a-f]{40}')
NAMED = re.compile(r'^\s*(?:- )?uses: (\S+)(?: +# (v\d+\.\d+\.\d+))?$', re.M)
PUBLISHERS = {'actions/deploy-pages'}                             # all that a job with rights to write may use


def writes(permissions): return permissions == 'write-all' or isinstance(permissions, dict) and 'write' in permissions.values()


def faults(text):
    "What is wrong with a workflow, in words"
    flow, bad = yaml.load(text, yaml.BaseLoader), []              # everything is a string: `on` is no boolean here
    versions = dict(NAMED.findall(text))
    if writes(flow.get('permissions', 'write-all')): bad.append('the whole workflow may write')
    if 'pull_request_target' in flow['on']: bad.append('strangers would run with rights')
    for name, job in flow['jobs'].items():
        steps, mighty = job.get('steps', []), writes(job.get('permissions'))
        for s in steps + [job]:
            action, _, _ = (used := s.get('uses', '')).partition('@')
            if used and not PINNED.fullmatch(used): bad.append(f'{name}: {used} is no commit')
            elif used and not versions.get(used): bad.append(f'{name}: {action} has no version beside its commit')
            if action == 'actions/checkout' and s.get('with', {}).get('persist-credentials') != 'false': bad.append(f'{name}: checkout leaves its token in the folder')
            if mighty and 'run' in s: bad.append(f'{name}: runs a command with rights to write')
            if mighty and used and action not in PUBLISHERS: bad.append(f'{name}: {action} has rights to write')
            if re.search(r'\$\{\{\s*github\.(event|head_ref)', s.get('run', '')): bad.append(f'{name}: runs what a stranger wrote')
        if 'timeout-minutes' not in job: bad.append(f'{name}: has no end')
    return bad


@pytest.mark.parametrize('f', FILES, ids=lambda f: f.name)
def test_workflow(f): assert not faults(f.read_text(encoding='utf-8'))


def test_an_action_has_one_commit():
    "In all workflows the same, so that an update forgets none"
    used = {u for f in FILES for u, _ in NAMED.findall(f.read_text(encoding='utf-8'))}
    assert len(used) == len({u.split('@')[0] for u in used}) >= 5


def test_the_site_is_built_without_rights_and_published_without_commands():
    jobs = yaml.safe_load((ROOT/'.github'/'workflows'/'deploy.yaml').read_text(encoding='utf-8'))['jobs']
    assert jobs['build']['permissions'] == {'contents': 'read'} and 'make book SERVE=0' in [s.get('run') for s in jobs['build']['steps']]
    assert jobs['deploy']['permissions'] == {'pages': 'write', 'id-token': 'write'} and jobs['deploy']['needs'] == 'build' and jobs['deploy']['environment']['name'] == 'github-pages'
    made, = [s for s in jobs['build']['steps'] if s.get('uses', '').startswith('actions/upload-pages-artifact@')]
    published, = jobs['deploy']['steps']
    assert made['with'] == {'path': '_site'} and published['id'] == 'pages', 'what one job makes the other publishes'


CHECKOUT = f'actions/checkout@{"a" * 40} # v4.2.2'
GOOD = f"""
on: [push]
permissions: {{contents: read}}
jobs:
  build:
    timeout-minutes: 5
    steps:
      - uses: {CHECKOUT}
        with: {{persist-credentials: false}}
      - run: make
  deploy:
    timeout-minutes: 5
    permissions: {{pages: write}}
    steps:
      - uses: actions/deploy-pages@{"b" * 40} # v4.0.5
"""

@pytest.mark.parametrize('old, new, said', [('', '', []), (CHECKOUT, 'actions/checkout@v4', ['build: actions/checkout@v4 is no commit']), (CHECKOUT, f'actions/checkout@{"a" * 39} # v4.2.2', [f'build: actions/checkout@{"a" * 39} is no commit']),
    (' # v4.2.2', '', ['build: actions/checkout has no version beside its commit']), ('false', 'true', ['build: checkout leaves its token in the folder']), ('{persist-credentials: false}', '{}', ['build: checkout leaves its token in the folder']),
    ('permissions: {contents: read}\n', '', ['the whole workflow may write']), ('{contents: read}', 'write-all', ['the whole workflow may write']), ('[push]', '[pull_request_target]', ['strangers would run with rights']),
    ('make', 'echo ${{ github.event.issue.title }}', ['build: runs what a stranger wrote']), ('- uses: actions/deploy-pages', '- run: make\n      - uses: actions/deploy-pages', ['deploy: runs a command with rights to write']),
    ('actions/deploy-pages', 'actions/setup-python', ['deploy: actions/setup-python has rights to write']), ('    timeout-minutes: 5\n    steps', '    steps', ['build: has no end'])])
def test_the_rules_bite(old, new, said): assert faults(GOOD.replace(old, new, 1) if old else GOOD) == said
