"""The Chromium that the tests look at the pages with: where one is, and how to get one. Nothing but the standard library is needed.

In this order: the one that CHROMIUM names, one that is installed, one that Playwright has fetched or can fetch, and Debian's
package where we are root. BROWSER=0 goes without.
"""
import glob, os, re, shutil, subprocess, sys, urllib.request

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome', 'microsoft-edge')
APPS = ('/Applications/Google Chrome.app/Contents/MacOS/Google Chrome', '/Applications/Chromium.app/Contents/MacOS/Chromium',
        r'C:\Program Files\Google\Chrome\Application\chrome.exe', r'C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe')
# What Playwright's Chromium needs of a Linux, for those who are not root and cannot let Playwright install it
LIBRARIES = ('libnss3.so', 'libnspr4.so', 'libatk-1.0.so', 'libgbm.so', 'libxkbcommon.so', 'libasound.so')
MISSING = ('the tests look at the pages with Chromium, and none is here: install one (on Debian and Ubuntu `apt install chromium`, '
           'elsewhere Chrome or `playwright install chromium`), or name yours with CHROMIUM=...; BROWSER=0 leaves the browser tests out')


def wanted():
    "Whether the tests may use a browser"
    return os.environ.get('BROWSER', '1') != '0'


def starts(*program):
    "Whether there is a program that starts; Ubuntu's chromium-browser, for one, may only say what to install"
    try: done = subprocess.run([*program, '--version'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired): return False
    return done.returncode == 0


def fetched():
    "Chromium builds that Playwright has fetched for this user, the newest first"
    if os.environ.get('PLAYWRIGHT_BROWSERS_PATH'): cache = os.environ['PLAYWRIGHT_BROWSERS_PATH']
    elif sys.platform == 'darwin': cache = os.path.expanduser('~/Library/Caches/ms-playwright')
    elif os.name == 'nt': cache = os.path.join(os.environ.get('LOCALAPPDATA', ''), 'ms-playwright')
    else: cache = os.path.expanduser('~/.cache/ms-playwright')
    programs = ('chrome-linux*/chrome', 'chrome-mac*/*.app/Contents/MacOS/*', 'chrome-win*/chrome.exe')
    found = [p for end in programs for p in glob.glob(os.path.join(cache, 'chromium-*', end))]
    return sorted(found, key=lambda p: int(re.search(r'chromium-(\d+)', p).group(1)), reverse=True)


def find():
    "The path of a browser that starts, or None; OSError where CHROMIUM names one that does not"
    named = os.environ.get('CHROMIUM')
    if named:
        path = shutil.which(named)
        if path and starts(path): return path
        raise OSError('CHROMIUM: got {!r}; expected a browser that starts'.format(named))
    there = [shutil.which(n) for n in NAMES] + [p for p in APPS if os.path.exists(p)] + fetched()
    return next((p for p in there if p and starts(p)), None)


def is_root(): return hasattr(os, 'geteuid') and os.geteuid() == 0


def has_apt(): return is_root() and bool(shutil.which('apt-get'))


def _has_libraries():
    if not sys.platform.startswith('linux'): return True
    try: known = subprocess.run(['/sbin/ldconfig', '-p'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True).stdout
    except OSError: return False
    return all(name in known for name in LIBRARIES)


def fetchable(seconds=3):
    "Whether Playwright could fetch its Chromium, and what that needs of the system is there or can be installed"
    if not (_has_libraries() or has_apt()): return False
    host = os.environ.get('PLAYWRIGHT_DOWNLOAD_HOST') or 'https://cdn.playwright.dev'
    try: urllib.request.urlopen(urllib.request.Request(host, method='HEAD'), timeout=seconds)
    except urllib.error.HTTPError: return True
    except (OSError, ValueError): return False
    return True


def lend_node(python=sys.executable):
    "Playwright's own Node may want a library that a bare system lacks (libatomic): then the one that brought npm drives it"
    if 'PLAYWRIGHT_NODEJS_PATH' in os.environ or starts(python, '-m', 'playwright'): return
    node = shutil.which('node', path=os.path.dirname(os.path.abspath(python))) or shutil.which('node')
    if node: os.environ['PLAYWRIGHT_NODEJS_PATH'] = node


def fetch(python):
    "Let Playwright, installed for `python`, fetch its Chromium: the path, or None"
    lend_node(python)
    with_deps = ['--with-deps'] if has_apt() and not _has_libraries() else []
    subprocess.run([python, '-m', 'playwright', 'install', *with_deps, 'chromium'])
    return find()


def apt(*packages):
    "Install Debian packages: whether that went well. What apt says is shown only when it did not"
    env = dict(os.environ, DEBIAN_FRONTEND='noninteractive')
    for command in (['update', '-qq'], ['install', '-y', '-qq', '--no-install-recommends', *packages]):
        done = subprocess.run(['apt-get', '-o', 'Acquire::Retries=1', *command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        if done.returncode and command[0] == 'install':
            print(done.stdout.strip(), file=sys.stderr)
            return False
    return True
