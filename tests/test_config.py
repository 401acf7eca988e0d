"settings.ini -> pyproject.toml: nothing is lost on the way, whatever stands there"
import tomllib

import pytest
from hypothesis import given, strategies as st
from packaging.requirements import Requirement

from conftest import ROOT, script

sync = script('tools/sync_config.py')
SETTINGS = (ROOT/'settings.ini').read_text(encoding='utf-8')
BASE = dict(lib_name='my-lib', lib_path='my_lib', version='1.2.3', min_python='3.11', license='apache2', status='4', description='A lib',
    keywords='a b', author='Ann', author_email='a@b.c', audience='Education', language='English', git_url='https://example.com/u/r',
    doc_host='https://u.example.com/', doc_baseurl='/r/', requirements='torch', nbs_path='nbs')


def ini(**kw):
    "settings.ini with some keys changed (None: left out); values are written as configparser reads them"
    d = {k: v for k, v in {**BASE, **kw}.items() if v is not None}
    return '[DEFAULT]\n' + ''.join(f'{k} = ' + v.replace('%', '%%').replace('\n', '\n    ') + '\n' for k, v in d.items())


def toml(**kw): return tomllib.loads(sync.generate(ini(**kw)))


def test_own_settings():
    d = tomllib.loads(sync.generate(SETTINGS))
    assert (ROOT/'pyproject.toml').read_text(encoding='utf-8') == sync.generate(SETTINGS), 'run `make config`'
    assert d['project']['name'] == 'nca_tutorial' and d['tool']['nbdev']['lib_path'] == 'nca_tutorial'
    assert any(r.startswith('torch>') for r in d['project']['dependencies'])
    assert d['project']['scripts'] == {f'nca_{c}': f'nca_tutorial.cli:nca_{c}' for c in ('grow', 'texture')}
    assert {'dev', 'docs'} <= d['project']['optional-dependencies'].keys()
    assert any(r.startswith('nbdev>=3.3.26') for r in d['project']['optional-dependencies']['dev'])
    for r in d['project']['dependencies'] + sum(d['project']['optional-dependencies'].values(), []): Requirement(r)


def test_nbdev_reads_it(tmp_path):
    from nbdev.config import get_config
    (tmp_path/'pyproject.toml').write_text(sync.generate(SETTINGS), encoding='utf-8')
    cfg, d = get_config(tmp_path), sync.read_settings(SETTINGS)
    assert cfg.lib_name == 'nca_tutorial' and cfg.title == d['title'] and cfg.description == d['description']
    assert cfg.min_python == d['min_python'] and cfg.branch == 'main' and cfg.user == d['user'] and cfg.repo == d['repo']
    assert (cfg.doc_host, cfg.doc_baseurl) == (d['doc_host'], d['doc_baseurl'])
    assert cfg.custom_sidebar is True and cfg.recursive is True and cfg.exec_profile is False and cfg.cell_timeout == 900
    assert cfg.tst_flags == 'slow' and cfg.nbs_path == tmp_path/'nbs' and cfg.doc_path == tmp_path/'_docs'


line = st.text(st.characters(codec='utf-8', exclude_characters='\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x00'), min_size=1, max_size=40
    ).map(str.strip).filter(lambda s: s and not s.startswith(('#', ';')))

@given(line)
def test_any_text(s):
    d = toml(description=s, author=s, title=s)
    assert d['project']['description'] == s and d['project']['authors'][0]['name'] == s and d['tool']['nbdev']['title'] == s


@pytest.mark.parametrize('s', ['say "hello"', "it's", 'back\\slash\\', 'tab\there', 'ünïcode 🦎 \u200b', '"""', "'''", '\x7f', 'a = b', 'x\x01y', '100% of it', '[brackets] {braces}'])
def test_nasty_text(s):
    d = toml(description=s, author=s)
    assert d['project']['description'] == s and d['project']['authors'][0]['name'] == s


def test_text_over_two_lines_becomes_one(): assert toml(description='one\ntwo')['project']['description'] == 'one two'


name = st.from_regex(r'[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?', fullmatch=True).filter(str.isascii)
version = st.lists(st.integers(0, 99), min_size=1, max_size=3).map(lambda o: '.'.join(map(str, o)))
clause = st.builds(lambda o, s, v: o + s + v, st.sampled_from(['>=', '<', '==', '~=', '!=', '<=']), st.sampled_from(['', ' ']), version.map(lambda v: v + '.0'))
marker = st.sampled_from(['', '; python_version < "3.12"', " ; sys_platform == 'linux' and extra == 'x'", ' ;os_name!="nt"'])
extra = st.sampled_from(['', '[a]', '[a,b]', ' [a, b]'])
requirement = st.builds(lambda n, e, s, cs, m: f'{n}{e}{s}{", ".join(cs)}{m}', name, extra, st.sampled_from(['', ' ']),
    st.lists(clause, max_size=3), marker).map(str.strip)

@given(st.lists(requirement, min_size=1, max_size=5))
def test_requirements_stay_whole(rs):
    for r in rs: Requirement(r)
    d = toml(requirements='\n' + '\n'.join(rs), odd_requirements='\n' + '\n'.join(rs))
    assert d['project']['dependencies'] == rs and d['project']['optional-dependencies']['odd'] == rs


@given(st.lists(name, min_size=1, max_size=5))
def test_requirements_in_one_line(rs): assert toml(requirements=' '.join(rs))['project']['dependencies'] == rs


def test_requirement_kinds():
    one = 'foo[bar, baz] >= 1.0, < 2 ; python_version < "3.13"'
    assert toml(requirements=one)['project']['dependencies'] == [one]
    assert toml(requirements='a>=1 b[c]==2 d')['project']['dependencies'] == ['a>=1', 'b[c]==2', 'd']
    url = 'foo @ https://example.com/foo-1.zip ; sys_platform == "linux"'
    assert toml(requirements=url)['project']['dependencies'] == [url]
    assert toml(requirements='a', pip_requirements='b', conda_requirements='c')['project']['dependencies'] == ['a', 'b']
    assert 'conda' not in toml(conda_requirements='c')['project'].get('optional-dependencies', {})


def test_scripts_data_packages_urls():
    d = toml(console_scripts='go = my_lib.cli:main\nstop=my_lib.cli:sub.stop', package_data='data/*.json creatures/*/*')
    assert d['project']['scripts'] == {'go': 'my_lib.cli:main', 'stop': 'my_lib.cli:sub.stop'}
    assert d['tool']['setuptools']['package-data'] == {'my_lib': ['data/*.json', 'creatures/*/*']}
    assert d['tool']['setuptools']['packages']['find']['include'] == ['my_lib', 'my_lib.*']
    assert d['project']['urls'] == {'Repository': 'https://example.com/u/r', 'Documentation': 'https://u.example.com/r'}
    assert d['project']['entry-points']['nbdev'] == {'my_lib': 'my_lib._modidx:d'}
    assert 'scripts' not in toml()['project']


def test_every_nbdev_key():
    keys = dict(recursive='False', clean_ids='true', clear_all='no', jupyter_hooks='0', put_version_in_init='True', exec_profile='off',
        cell_timeout='30', cell_timing_min='0.5', doc_procs='a:b c:d', tst_flags='slow gpu', title='0123', branch='true')
    d = toml(**keys)['tool']['nbdev']
    assert d['recursive'] is False and d['clean_ids'] is True and d['clear_all'] is False and d['jupyter_hooks'] is False and d['exec_profile'] is False
    assert d['cell_timeout'] == 30 and d['cell_timing_min'] == .5 and d['doc_procs'] == ['a:b', 'c:d']
    assert d['title'] == '0123' and d['branch'] == 'true' and d['tst_flags'] == 'slow gpu'


@pytest.mark.parametrize('kw, said', [
    (dict(version=None), 'missing or empty: version'), (dict(author='', license=None), 'author'), (dict(status='9'), "status must be 1 to 7, not '9'"),
    (dict(version='one'), "version 'one'"), (dict(min_python='python3'), 'min_python'), (dict(requirements='torch >>> 2'), 'is not a requirement'),
    (dict(console_scripts='go'), 'console_scripts'), (dict(recursive='maybe'), 'recursive must be True or False'), (dict(cell_timeout='long'), 'cell_timeout'),
    (dict(lib_path='my-lib'), 'lib_path'), (dict(lib_name='my lib'), 'lib_name')])
def test_faults_are_named(kw, said):
    with pytest.raises(sync.ConfigError) as e: sync.generate(ini(**kw))
    assert said in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('text', ['', 'no section', '[DEFAULT]\nx = %(nothing)s', '[DEFAULT]\na = 1\na = 2', '[DEFAULT'])
def test_unreadable_settings_are_one_line(text):
    with pytest.raises(sync.ConfigError) as e: sync.generate(text)
    assert str(e.value).startswith('settings.ini') and '\n' not in str(e.value)


def test_writes_then_checks(tmp_path, capsys):
    assert sync.main(['--check'], tmp_path) == 1 and 'settings.ini is missing' in capsys.readouterr().err
    (tmp_path/'settings.ini').write_text(ini(), encoding='utf-8')
    (tmp_path/'CITATION.cff').write_text('cff-version: 1.2.0\nversion: 0.0.1\ntitle: x\n')
    assert sync.main(['--check'], tmp_path) == 1 and 'run `make config`' in capsys.readouterr().err
    assert sync.main([], tmp_path) == 0 and sync.main(['--check'], tmp_path) == 0
    assert (tmp_path/'my_lib'/'__init__.py').read_text() == '__version__ = "1.2.3"\n'
    assert 'version: 1.2.3\n' in (tmp_path/'CITATION.cff').read_text() and 'cff-version: 1.2.0' in (tmp_path/'CITATION.cff').read_text()
    (tmp_path/'my_lib'/'__init__.py').write_text('"""Doc"""\n\n__version__ = "1.0"\nx = 1\n')
    assert sync.main(['--check'], tmp_path) == 1 and sync.main([], tmp_path) == 0
    assert (tmp_path/'my_lib'/'__init__.py').read_text() == '"""Doc"""\n\n__version__ = "1.2.3"\nx = 1\n'
