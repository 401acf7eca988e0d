"The repository agrees with itself, and with its plan"
import ast, json, re, subprocess, sys, tomllib

import pytest

from conftest import ROOT, notebooks, script, source

SETTINGS = script('tools/sync_config.py').read_settings((ROOT/'settings.ini').read_text(encoding='utf-8'))
LIB = ROOT/SETTINGS['lib_path']
MODULES = sorted(f for f in LIB.rglob('*.py') if not f.name.startswith('_'))
NBS = notebooks()


def tracked():
    "Files that git knows, or all files where there is no git"
    r = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True)
    if r.returncode == 0: return [ROOT/f for f in r.stdout.split('\0') if f and (ROOT/f).exists()]
    skip = {'.git', '.venv', '_site', '_site_src', '_proc', 'node_modules', '__pycache__', '.pytest_cache', '.hypothesis'}
    return [f for f in ROOT.rglob('*') if f.is_file() and not skip & set(f.relative_to(ROOT).parts)]


def listed():
    import yaml
    return [f for _, fs in script('site/bridge.py').sections(yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))) for f in fs]


# ---------------------------------------------------------------- the tree

def test_top_level():
    for n in ('settings.ini', 'pyproject.toml', '_quarto.yml', 'README.md', 'Makefile', 'LICENSE', 'CHANGELOG.md', 'CITATION.cff', '.gitignore',
              'nbs', 'nbs/images', 'nca_tutorial', 'tests', 'tools', 'site', '.ci/run', '.github/workflows'): assert (ROOT/n).exists(), f'{n} is missing'
    allowed = {'settings.ini', 'pyproject.toml', '_quarto.yml', 'README.md', 'Makefile', 'LICENSE', 'CHANGELOG.md', 'CITATION.cff', 'CONTRIBUTING.md',
        '.gitignore', '.gitattributes', 'nbs', 'nca_tutorial', 'tests', 'tools', 'site', 'benchmarks', '.ci', '.github'}
    assert {f.relative_to(ROOT).parts[0] for f in tracked()} <= allowed


def test_no_links():
    "Git makes no symbolic links on Windows, and nbdev does not follow them"
    assert not [str(f.relative_to(ROOT)) for f in tracked() if f.is_symlink()]


def test_no_place_of_one_machine_and_no_registry():
    "Committed text names no folder of the machine it was made on, and no package registry's address"
    folder = r'(?<![\w.~$}/-])/(?:work|root|home|Users|tmp/w)/(?=\w)'
    hosts = r'registry\.npmjs\.org|files\.pythonhosted\.org|pypi\.org/simple|registry\.yarnpkg\.com|"resolved"\s*:|--(?:extra-)?index-url|--find-links'
    here = re.escape(str(ROOT.parent)) + r'/' if len(ROOT.parts) > 2 and str(ROOT.parent) not in ('/', '/tmp') else r'(?!)'
    bad = []
    for f in tracked():
        if f.suffix in ('.png', '.webp', '.gif', '.safetensors', '.woff2') or f.is_symlink() or f.name == 'test_repository.py': continue
        for i, l in enumerate(f.read_text(encoding='utf-8', errors='replace').splitlines(), 1):
            for m in re.finditer(f'{folder}|{hosts}|{here}', l): bad.append(f'{f.relative_to(ROOT)}:{i}: {l[max(0, m.start() - 30):m.end() + 30]}')
    assert not bad, '\n'.join(bad)


def test_files_are_small():
    big = {str(f.relative_to(ROOT)): f.stat().st_size for f in tracked() if f.stat().st_size > 1_500_000}
    assert not big, f'too large for the repository: {big}'


def test_ci_calls_the_same_command():
    run = ROOT/'.ci'/'run'
    assert run.stat().st_mode & 0o100, '.ci/run is not executable'
    assert run.read_text().splitlines()[-1] == 'exec make test', 'CI runs the command that the README names, and nothing else'
    assert '.ci/run' in (ROOT/'.github'/'workflows'/'test.yaml').read_text()


def test_workflows_are_yaml():
    import yaml
    for f in (ROOT/'.github'/'workflows').glob('*.y*ml'): assert yaml.safe_load(f.read_text())['jobs'], f.name


def test_versions_agree():
    v = SETTINGS['version']
    assert re.search(r'^version: (.*)$', (ROOT/'CITATION.cff').read_text(), re.M)[1].strip('"') == v
    assert re.search(r'^## \[?v?([\d.]+\w*)', (ROOT/'CHANGELOG.md').read_text(), re.M)[1] == v
    assert __import__(SETTINGS['lib_path']).__version__ == v


def test_generated_files_follow_their_sources():
    assert script('tools/sync_config.py').main(['--check'], ROOT) == 0
    assert script('tools/readme.py').main(['--check'], ROOT) == 0


def test_lock_covers_what_is_asked_for():
    lock = [l.split(';')[0].strip() for l in (ROOT/'tools'/'constraints.txt').read_text().splitlines() if l and not l.startswith('#')]
    assert all(re.fullmatch(r'[\w.-]+==[\w.!]+', l) for l in lock), 'names and versions only'
    norm = lambda s: re.sub(r'[-_.]+', '-', s).lower()
    have = {norm(l.split('==')[0]) for l in lock}
    d = tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))['project']
    for r in d['dependencies'] + sum(d['optional-dependencies'].values(), []) + list(script('tools/environment.py').TOOLS):
        assert norm(re.match(r'[\w.-]+', r)[0]) in have, f'{r} is not in tools/constraints.txt: run `make lock`'


def test_make_help_lists_every_target():
    r = subprocess.run(['make', '-s', 'help'], cwd=ROOT, capture_output=True, text=True)
    mk = (ROOT/'Makefile').read_text()
    for t in re.search(r'^\.PHONY: (help .*)$', mk, re.M)[1].split(): assert re.search(rf'make {t}\s+\S', r.stdout), f'`make help` does not explain {t}'


# ---------------------------------------------------------------- the notebooks

def test_notebooks_are_numbered_and_listed():
    order = listed()
    for n in NBS: assert re.fullmatch(r'\d\d_[a-z0-9_]+\.ipynb|index\.ipynb|references\.ipynb', n), f'{n}: chapters are named NN_name.ipynb'
    assert set(order) == set(NBS), f'_quarto.yml and nbs/ differ in {set(order) ^ set(NBS)}'
    numbers = [int(n[:2]) for n in order if n[:2].isdigit()]
    assert numbers == sorted(numbers) and len(set(numbers)) == len(numbers)


@pytest.mark.parametrize('n', NBS)
def test_notebook_form(n):
    nb, f = NBS[n], ROOT/'nbs'/n
    assert f.stat().st_size < 500_000, f'{f.stat().st_size} bytes: lighten its pictures and films'
    assert nb['cells'][0]['cell_type'] == 'markdown' and re.match(r'# \S.*\n+> \S', source(nb['cells'][0])), 'the first cell is `# Title` and `> summary`'
    assert re.fullmatch(r'# .*\n+> .*(\n+- \w+: .*)*\n*', source(nb['cells'][0])), 'title and summary stand alone: the site takes no more from the first cell'
    assert not script('tools/checks.py').lost_pictures(nb), 'run it again without MPLBACKEND=agg'
    for i, c in enumerate(nb['cells']):
        for o in c.get('outputs', []): assert o['output_type'] != 'error', f'cell {i} ends in {o.get("ename")}: {o.get("evalue")}'
        for l in source(c).splitlines() if c['cell_type'] == 'code' else []: assert len(l) <= 120 or l.startswith('#|'), f'cell {i}: {l}'


@pytest.mark.parametrize('data, src, lost', [
    ({'text/plain': '<Figure size 600x200 with 3 Axes>'}, 'f', [(0, '<Figure size 600x200 with 3 Axes>')]),
    ({'text/plain': ['<Figure size 600x200 ', 'with 3 Axes>'], 'image/png': 'iVBO'}, '#| fig-alt: "x"\nf', []), ({'text/plain': '<Axes: >'}, '#| fig-cap: "x"\nf', [(0, '<Axes: >')]),
    ({'text/plain': 'Film(8)', 'text/html': '<img>'}, '#| fig-alt: "x"\nf', []), ({'text/plain': 'Film(8)'}, '#| fig-alt: "x"\nf', [(0, '#| fig-alt: "x"')]),
    ({'text/plain': '<PIL.Image.Image mode=RGB>'}, 'f', [(0, '<PIL.Image.Image mode=RGB>')]), ({'text/plain': '3'}, 'f', [])])
def test_a_lost_picture_is_found(data, src, lost):
    nb = dict(cells=[dict(cell_type='code', source=src, outputs=[dict(output_type='execute_result', data=data)])])
    assert script('tools/checks.py').lost_pictures(nb) == lost


@pytest.mark.parametrize('n', NBS)
def test_imports_stand_in_cells_of_their_own(n):
    "Where there are exports, the site's build runs cells that import, and those alone: they should do nothing else"
    if not any(re.search(r'^#\|\s*exports?\b', source(c), re.M) for c in NBS[n]['cells']): return
    for i, c in enumerate(NBS[n]['cells']):
        s = source(c)
        opts = re.findall(r'^#\|\s*(.*?)\s*$', s, re.M)
        if c['cell_type'] != 'code' or any(re.match(r'(export|exports|exporti)\b|eval:\s*false', o) for o in opts): continue
        try: body = ast.parse(re.sub(r'^\s*[%!].*$', '', s, flags=re.M)).body
        except SyntaxError: continue
        kinds = (ast.Import, ast.ImportFrom)
        if any(isinstance(o, kinds) for b in body for o in ast.walk(b)):
            assert all(isinstance(b, kinds) for b in body), f'cell {i} mixes imports with other code:\n{s}'


# ---------------------------------------------------------------- the package

GROUND = {'life', 'perception', 'targets', 'viz', 'ground'}
ABOVE = {'core': {'perception', 'engine'}, 'engine': {'perception'}, 'train': {'core'}, 'growing': {'core', 'train'},
         'pool': {'core', 'train', 'growing'}, 'regeneration': {'core', 'train', 'growing', 'pool'},
         'pictures': {'core', 'train', 'growing', 'pool', 'regeneration'}, 'texture': {'core', 'train', 'growing', 'pool'},
         'diagnostics': {'core', 'engine', 'train', 'growing', 'pool', 'regeneration'}}
TOP = {'playground', 'cli', 'zoo'}

def imports():
    res = {}
    for f in MODULES:
        m = f.stem
        res[m] = set()
        for o in ast.walk(ast.parse(f.read_text(encoding='utf-8'))):
            if isinstance(o, ast.ImportFrom):
                mod = o.module or ''
                if o.level: mod = f'{LIB.name}.{mod}' if mod else LIB.name
                if mod == LIB.name: res[m] |= {a.name for a in o.names}
                elif mod.startswith(LIB.name + '.'): res[m].add(mod.split('.')[1])
            elif isinstance(o, ast.Import): res[m] |= {a.name.split('.')[1] for a in o.names if a.name.startswith(LIB.name + '.')}
    return {m: {i for i in s if i in {f.stem for f in MODULES}} for m, s in res.items()}


def test_who_imports_whom():
    g = imports()
    assert not g['ground']
    for m in GROUND & g.keys(): assert g[m] <= {'ground'}, f'{m} stands on the ground and imports {g[m]}'
    for m, ok in ABOVE.items():
        if m in g: assert g[m] <= ok | GROUND - {'life'}, f'{m} imports {g[m] - ok}'
    for m, s in g.items(): assert not s & TOP or m in TOP, f'{m} imports {s & TOP}, which stand on top'


def test_no_circles():
    g, done = imports(), set()
    def visit(m, path):
        assert m not in path, f'imports run in a circle: {" -> ".join(path + [m])}'
        if m in done: return
        for o in g[m]: visit(o, path + [m])
        done.add(m)
    for m in g: visit(m, [])


@pytest.mark.parametrize('f', MODULES, ids=lambda f: f.stem)
def test_public_names_are_documented(f):
    tree = ast.parse(f.read_text(encoding='utf-8'))
    defs = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    told = {o.name: {p.name for p in o.body if isinstance(p, defs) and ast.get_docstring(p)} for o in tree.body if isinstance(o, ast.ClassDef)}
    inherited = lambda o: set().union(*(told.get(getattr(b, 'id', ''), set()) for b in o.bases))    # what a parent here has already explained
    bare = []
    for o in tree.body:
        if not isinstance(o, defs) or o.name.startswith('_'): continue
        if not ast.get_docstring(o): bare.append(o.name)
        if isinstance(o, ast.ClassDef):
            bare += [f'{o.name}.{p.name}' for p in o.body if isinstance(p, defs) and not p.name.startswith('_') and p.name not in {'extra_repr'} | inherited(o) and not ast.get_docstring(p)]
    assert not bare, f'{f.name}: no docstring: {", ".join(bare)}'


def test_importing_does_nothing_but_import():
    "No tensor is made, no figure drawn, no device asked for while the modules are read"
    code = f'''
import importlib, sys
import torch, torchvision
made = []
class Watch(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made.append(str(func))
        return func(*args, **(kwargs or {{}}))
import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt
with Watch():
    for m in {[f.stem for f in MODULES]!r}: importlib.import_module('{LIB.name}.' + m)
assert not plt.get_fignums(), 'a figure was drawn'
assert not torch.cuda.is_initialized(), 'the GPU was started'
print(*sorted(set(made)))
'''
    r = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, env={**__import__('os').environ, 'CUDA_VISIBLE_DEVICES': ''})
    assert r.returncode == 0, r.stderr
    assert not r.stdout.strip(), f'importing makes tensors: {r.stdout}'
