"""nbdev's own way: what `nbdev-docs` hands to Quarto, read as strictly as Quarto reads it, and the verbs that must do no harm.

Quarto itself is not asked for. A copy of the book is processed once, by nbdev's own command up to the moment at which it would call Quarto.
"""
import os, re, shutil, subprocess, sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree

import pytest, yaml

from conftest import ROOT, notebooks, script, source

bridge = script('site/bridge.py')
NBS = notebooks()
TITLE = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))['website']['title']
WITHOUT_QUARTO = '''
import sys, nbdev.quarto as q
def never(*a, **k): raise SystemExit('Quarto was called')
q._ensure_quarto, q._sprun = lambda: None, never
def render(path, out, **kw): out.mkdir()
q.render_quarto = render
'''


def python(folder, code):
    "What nbdev prints when this runs in `folder`"
    env = {**os.environ, 'PYTHONPATH': str(folder), 'PYTHONWARNINGS': 'ignore'}
    r = subprocess.run([sys.executable, '-c', WITHOUT_QUARTO + code], cwd=folder, env=env, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


def files(folder): return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob('*') if f.is_file() and '__pycache__' not in f.parts}


@pytest.fixture(scope='module')
def book(tmp_path_factory):
    "A copy of all that nbdev needs, after `nbdev-docs`"
    copy = tmp_path_factory.mktemp('nbdev')/'book'
    skip = shutil.ignore_patterns('__pycache__', '.*', 'nbdev.yml', 'sidebar.yml', 'llms.txt')
    for d in ('nbs', 'nca_tutorial', 'site/_static'): shutil.copytree(ROOT/d, copy/d, symlinks=True, ignore=skip)
    for f in ('pyproject.toml', 'README.md', 'site/build.py'): shutil.copy(ROOT/f, copy/f)
    python(copy, 'q.nbdev_docs.__wrapped__(n_workers=2)')
    return copy


@pytest.fixture(scope='module')
def proc(book): return book/'_proc'


@pytest.fixture(scope='module')
def pages(proc):
    import json
    return {f.name: json.loads(f.read_text(encoding='utf-8')) for f in sorted(proc.glob('*.ipynb'))}


# ---------------------------------------------------------------- YAML, as js-yaml reads it

class Strict(yaml.SafeLoader):
    "A key that stands twice is an error, as in Quarto"
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(k, deep=True) for k, _ in node.value]
        if twice := sorted({str(k) for k in keys if keys.count(k) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f'duplicated mapping key {", ".join(twice)}', node.start_mark)
        return super().construct_mapping(node, deep)


def strict(s): return yaml.load(s, Strict)


def test_a_key_that_stands_twice_is_refused():
    assert strict('a: 1\nb: {a: 2}') == {'a': 1, 'b': {'a': 2}}
    with pytest.raises(yaml.YAMLError, match='duplicated mapping key a'): strict('a: 1\na: 1')


def options(cell):
    "The options of a code cell: the `#|` lines at its head"
    lines = []
    for l in source(cell).splitlines():
        if not (m := re.match(r'#\s*\| ?', l)): break
        lines.append(l[m.end():])
    opts = strict('\n'.join(lines)) if lines else {}
    assert isinstance(opts, dict), f'not a list of options: {lines}'
    return opts


def code_cells(nb): return [c for c in nb['cells'] if c['cell_type'] == 'code']


KINDS = dict(echo=bool, output=(bool, str), include=bool, eval=bool) | {'code-fold': (bool, str), 'code-summary': str, 'fig-cap': str, 'fig-alt': str}

@pytest.mark.parametrize('n', NBS)
def test_options_of_cells(pages, n):
    for c in code_cells(pages[n]):
        try: opts = options(c)
        except (yaml.YAMLError, AssertionError) as e: pytest.fail(f'{e}\n{source(c)[:300]}', pytrace=False)
        for k, v in opts.items(): assert isinstance(v, KINDS.get(k, object)), f'{k}: {v!r}'
        assert opts.get('code-fold') in (None, True, False, 'show', 'hide') and opts.get('output') in (None, True, False, 'asis')


def front(nb):
    raw, = [source(c) for c in nb['cells'] if c['cell_type'] == 'raw']
    m = re.fullmatch(r'---\n(.*)\n---\s*', raw, re.S)
    assert m, raw
    return strict(m[1])


@pytest.mark.parametrize('n', NBS)
def test_front_matter(pages, n):
    meta = front(pages[n])
    assert isinstance(meta['title'], str) and isinstance(meta.get('description', ''), str) and meta['output-file'] == f'{bridge.page_name(n)}.html'


# ---------------------------------------------------------------- the site's settings

def merge(a, b):
    return {**a, **{k: merge(a[k], v) if isinstance(v, dict) and isinstance(a.get(k), dict) else v for k, v in b.items()}}


def many(o): return o if isinstance(o, list) else [o]


@pytest.fixture(scope='module')
def settings(proc):
    "_quarto.yml, and over it the files that it names"
    res = strict((proc/'_quarto.yml').read_text(encoding='utf-8'))
    for f in res['metadata-files']: res = merge(res, strict((proc/f).read_text(encoding='utf-8')))
    return res


def test_the_title_is_the_books(settings): assert settings['website']['title'] == TITLE


def test_files_of_the_settings(proc, settings):
    html, site = settings['format']['html'], settings['website']
    for f in [*many(html['css']), site['favicon'], site['navbar']['logo']]: assert (proc/f).is_file(), f'{f} is not there'
    for h in many(html['include-in-header']):
        srcs = re.findall(r'\b(?:src|href)="([^"]*)"', h['text'])
        assert srcs and all((proc/s).is_file() for s in srcs), h
    for f in [r['href'] for r in site['navbar']['right']] + [f for _, fs in bridge.sections(settings) for f in fs]:
        assert re.match('https://', f) or (proc/f).is_file(), f'{f} is not there'
    assert {f for _, fs in bridge.sections(settings) for f in fs} == {f.name for f in proc.glob('*.ipynb')}, 'a page is not in the sidebar, or has no notebook'
    assert not [f for k in ('qmd', 'md', 'Rmd') for f in proc.rglob(f'*.{k}') if f.stem != 'README'], 'Quarto would make a page of this'
    assert site['navbar']['logo-alt'].strip()


def test_files_of_the_style(proc, settings):
    for f in many(settings['format']['html']['css']):
        for url in re.findall(r'url\(["\']?([^)"\']*)', (proc/f).read_text(encoding='utf-8')):
            assert url.startswith('data:') or ((proc/f).parent/url).is_file(), f'{f} asks for {url}'


def test_drawings_have_a_size(proc, settings):
    for f in (settings['website']['navbar']['logo'], settings['website']['favicon']):
        svg = ElementTree.parse(proc/f).getroot()
        assert [float(o) for o in svg.get('viewBox').split()] == [0, 0, float(svg.get('width')), float(svg.get('height'))], f'{f} has no width and height of its own'


@pytest.fixture(scope='module')
def resources(proc, settings):
    "Files that Quarto copies because it is told to"
    return {str(f.relative_to(proc).as_posix()) for g in many(settings['project']['resources']) for f in proc.glob(g) if f.is_file()}


def test_creatures_are_there(proc, resources):
    names = sorted(f.parent.name for f in (ROOT/'nca_tutorial'/'creatures').glob('*/config.json'))
    import json
    assert [c['name'] for c in json.loads((proc/'live'/'creatures'/'index.json').read_text())] == names
    assert {f'live/creatures/{n}.nca' for n in names} | {'live/creatures/index.json', 'live/nca.js', 'live/page.js'} <= resources
    assert all((proc/'live'/'creatures'/f'{n}.nca').read_bytes().startswith(b'NCA1') for n in names)
    assert (proc/'live'/'nca.js').read_bytes() == (ROOT/'nca_tutorial'/'web'/'nca.js').read_bytes()


# ---------------------------------------------------------------- what pages ask for

def words(nb):
    "The markdown of a page, its code left out, and the HTML and markdown that its cells put out"
    for c in nb['cells']:
        if c['cell_type'] == 'markdown': yield bridge.INLINE.sub('', re.sub(r'^(`{3,})(?![ \t]*\{=html\}).*?^\1[`]*[ \t]*$', '', source(c), flags=re.M | re.S))
        for o in c.get('outputs', []):
            for k in ('text/html', 'text/markdown'): yield ''.join(o.get('data', {}).get(k, ''))


class Tags(HTMLParser):
    "Pictures of a text, and living things with the words in their place"
    def __init__(self, s):
        super().__init__()
        self.images, self.live, self.open = [], [], []
        self.feed(s)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag == 'img':
            self.images.append(a)
            self.handle_data(a.get('alt') or '')
        if tag == 'div':
            self.open.append(None)
            if {'data-nca', 'data-life'} & a.keys():
                self.open[-1] = dict(a, words='')
                self.live.append(self.open[-1])

    def handle_endtag(self, tag):
        if tag == 'div' and self.open: self.open.pop()

    def handle_data(self, data):
        for o in self.open:
            if o: o['words'] += data


@pytest.mark.parametrize('n', NBS)
def test_links_and_pictures_are_there(proc, pages, n):
    html, bad, own = {front(nb)['output-file'] for nb in pages.values()}, [], 'https://nca-tutorial.github.io/nca_tutorial/'
    for s in words(pages[n]):
        for url in re.findall(r'\]\(<?([^)\s>]+)', s) + re.findall(r'\b(?:src|href)=["\']([^"\']+)', s):
            u = urlparse(url)
            if u.scheme in ('data', 'mailto') or url.startswith('#') or u.scheme and not url.startswith(own): continue
            path = unquote(urlparse(url.removeprefix(own)).path)
            if not ((proc/path).is_file() or path in html): bad.append(url)
    assert not bad, f'not there for the site: {bad}'


@pytest.mark.parametrize('n', NBS)
def test_pictures_have_words(pages, n):
    bare = []
    for c in code_cells(pages[n]):
        if options(c).get('output') is False: continue
        for o in c['outputs']:
            d = o.get('data', {})
            if 'text/html' not in d and any(k.startswith('image/') for k in d) and not options(c).get('fig-alt', '').strip(): bare.append(source(c))
    for s in words(pages[n]):
        bare += [m for m in re.findall(r'!\[\s*\]\([^)]*\)(?:\{[^}]*\})?', s) if 'fig-alt="' not in m]
        bare += [i for i in Tags(s).images if not (i.get('alt') or '').strip()]
    assert not bare, f'no alt text (use `#| fig-alt:`): {bare}'


@pytest.mark.parametrize('n', NBS)
def test_living_things(resources, pages, n):
    for e in Tags('\n'.join(words(pages[n]))).live:
        assert e['words'].strip(), f'nothing stands in the place of {e}'
        if 'data-nca' in e: assert f'live/creatures/{e["data-nca"]}.nca' in resources, f'no such creature: {e}'


def test_there_are_living_things(pages): assert sum(len(Tags('\n'.join(words(nb))).live) for nb in pages.values()) >= 10


# ---------------------------------------------------------------- the other verbs

def test_prepare_changes_nothing(book):
    "nbdev-prepare exports, tests, cleans, and writes no README of its own"
    before = {**files(book/'nbs'), **files(book/'nca_tutorial'), 'README.md': (book/'README.md').read_bytes()}
    os.utime(book/'README.md', (0, 0))                               # older than the front page
    said = python(book, '''
import nbdev.test
class Test: __wrapped__ = staticmethod(lambda: print('tested'))
nbdev.test.nbdev_test = Test
q.prepare.__wrapped__()
q.nbdev_readme.__wrapped__()
q.nbdev_contributing.__wrapped__()
''')
    assert 'tested' in said
    assert {**files(book/'nbs'), **files(book/'nca_tutorial'), 'README.md': (book/'README.md').read_bytes()} == before
    assert not (book/'CONTRIBUTING.md').exists()


# ---------------------------------------------------------------- notebooks find their pictures

GO = '# Go to where the pictures are'


def first(nb): return [source(c) for c in nb['cells'] if c['cell_type'] == 'code' and GO in source(c)]


def test_who_goes_to_the_pictures():
    "Every notebook with code begins with the same cell, which nbdev neither runs nor shows"
    for n, nb in NBS.items():
        code = [source(c) for c in nb['cells'] if c['cell_type'] == 'code']
        uses = any(re.search(r'\bnca_tutorial\b|images/', s) for s in code)
        assert len(first(nb)) == uses, f'{n}: the cell `{GO}` is missing, or there for nothing'
        if uses: assert code[0] == first(nb)[0] and code[0].startswith('#| hide\n#| eval: false\n'), n
    assert len({s for nb in NBS.values() for s in first(nb)}) == 1, 'these cells differ'


def go(cwd, content, monkeypatch):
    "Run that cell in `cwd`; `content` is Colab's folder. Returns what it asked the shell for"
    cell, asked = first(NBS['index.ipynb'])[0], []
    def shell(command):
        asked.append(command)
        (Path(command.split('/')[-1].split()[0])/'nbs'/'images').mkdir(parents=True)
        (Path('nca_tutorial')/'nbs'/'images'/'gecko.png').touch()
    code = re.sub(r'^( *)!(.*)$', lambda m: f'{m[1]}shell({m[2]!r})', cell, flags=re.M).replace('"/content"', repr(str(content)))
    assert code.count('shell(') == 1 and repr(str(content)) in code
    monkeypatch.chdir(cwd)
    exec(code, dict(shell=shell))
    assert Path('images/gecko.png').is_file(), f'no pictures in {Path.cwd()}'
    return asked


@pytest.mark.parametrize('where', ['.', 'nbs'])
def test_pictures_at_home(tmp_path, monkeypatch, where):
    (tmp_path/'nca_tutorial').mkdir()
    (tmp_path/'nbs'/'images').mkdir(parents=True)
    (tmp_path/'nbs'/'images'/'gecko.png').touch()
    assert go(tmp_path/where, tmp_path/'no-such-folder', monkeypatch) == [] and Path.cwd() == tmp_path/'nbs'


def test_pictures_on_colab(tmp_path, monkeypatch):
    "Fetched once: not again where the cell is run twice, nor after a new start"
    asked, = go(tmp_path, tmp_path, monkeypatch)
    assert re.fullmatch(r'git clone -q https://github\.com/nca-tutorial/nca_tutorial && pip install -q \./nca_tutorial', asked)
    assert go(tmp_path/'nca_tutorial'/'nbs', tmp_path, monkeypatch) == [] == go(tmp_path, tmp_path, monkeypatch)
    assert go(tmp_path/'nca_tutorial', tmp_path, monkeypatch) == [], 'from the root of what was fetched, which holds a folder nca_tutorial, too'
