"What all tests share: where the book lies, its scripts as modules, and hypothesis without deadlines"
import importlib.util, json, os, sys, threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT/'_site'
os.environ.setdefault('MPLBACKEND', 'agg')

try:
    from hypothesis import settings
    settings.register_profile('book', deadline=None, derandomize=True, print_blob=True)
    settings.load_profile('book')
except ImportError: pass


def script(path):
    "A script of this repository (`tools/readme.py`, `site/bridge.py`) as a module"
    name = Path(path).stem
    folder = str((ROOT/path).parent)
    if folder not in sys.path: sys.path.append(folder)
    if name in sys.modules and getattr(sys.modules[name], '__file__', None) == str(ROOT/path): return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, ROOT/path)
    mod = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    return mod


def notebooks():
    "Every notebook of the book: {file name: notebook}"
    return {f.name: json.loads(f.read_text(encoding='utf-8')) for f in sorted((ROOT/'nbs').glob('*.ipynb')) if f.name[0] not in '_.'}


def source(cell): return ''.join(cell['source'])


@pytest.fixture(scope='session')
def root(): return ROOT


# ---------------------------------------------------------------- which tests need what

LEFT_OUT = pytest.StashKey()

def pytest_configure(config):
    config.addinivalue_line('markers', 'site: looks at the built site, or at what nbdev would build')
    config.addinivalue_line('markers', 'browser: opens a browser; BROWSER=0 leaves it out')


def pytest_collection_modifyitems(config, items):
    for item in items:
        if {'site', 'book'} & set(item.fixturenames): item.add_marker('site')
        if 'chromium' in item.fixturenames: item.add_marker('browser')
    left = [] if script('tools/browser.py').wanted() else [item for item in items if item.get_closest_marker('browser')]
    config.stash[LEFT_OUT] = len(left)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


def pytest_terminal_summary(terminalreporter, config):
    if n := config.stash.get(LEFT_OUT, 0): terminalreporter.write_line(f'{n} tests that need a browser were left out: BROWSER=0')


# ---------------------------------------------------------------- the built site in a browser

@pytest.fixture(scope='session')
def site():
    "The folder of the built site"
    assert (SITE/'index.html').exists(), 'there is no site in _site/: run `make site`'
    return SITE


@pytest.fixture(scope='session')
def chromium():
    "The path of a browser"
    finder = script('tools/browser.py')
    finder.lend_node()
    return finder.find() or pytest.fail(finder.MISSING, pytrace=False)


@pytest.fixture(scope='session')
def base(site):
    httpd = script('tools/serve.py').server(site)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{httpd.server_port}'
    httpd.shutdown()


@pytest.fixture(scope='module')
def browser(site, chromium):
    "Chromium, with WebGL2 in software where there is no graphics card; one a module, for two of them do not go together"
    from playwright.sync_api import sync_playwright
    with sync_playwright() as pw:
        b = pw.chromium.launch(executable_path=chromium, args=['--no-sandbox', '--disable-dev-shm-usage', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'])
        yield b
        b.close()


class Visit:
    "One page, opened, with all that went wrong on the way"
    def __init__(self, browser, base, path, width=1280, height=900, scheme='light', html=None, before='', **kw):
        self.ctx = browser.new_context(viewport=dict(width=width, height=height), color_scheme=scheme, **kw)
        self.ctx.set_default_timeout(90_000)                                                   # a busy machine renders slowly
        self.page, self.faults = self.ctx.new_page(), []
        self.page.on('console', lambda m: self.faults.append(f'console: {m.text}') if m.type in ('error', 'warning') and 'GPU stall' not in m.text else None)
        self.page.on('pageerror', lambda e: self.faults.append(f'error: {e}'))
        self.page.on('requestfailed', lambda r: self.faults.append(f'failed: {r.url}') if r.failure != 'net::ERR_ABORTED' else None)
        self.page.on('response', lambda r: self.faults.append(f'{r.status}: {r.url}') if r.status >= 400 else None)
        def ours(route):
            url = route.request.url
            if url.startswith((base + '/', 'data:', 'blob:')): return route.continue_()
            self.faults.append(f'another host: {url}')
            route.abort()
        self.ctx.route('**/*', ours)
        if html: self.ctx.route(f'{base}/{path}', lambda route: route.fulfill(body=html, content_type='text/html'))    # a page that the site does not have
        if before: self.page.add_init_script(before)
        self.page.goto(f'{base}/{path}')

    def see_all(self):
        "Let lazy pictures load, as a reader who scrolls would"
        self.page.evaluate("""async () => { const is = [...document.querySelectorAll('img')]; is.forEach(i => i.loading = 'eager');
            await Promise.all(is.map(i => i.decode().catch(() => {}))) }""")
        self.page.wait_for_load_state('networkidle')
        return self

    def __enter__(self): return self
    def __exit__(self, *e): self.ctx.close()
