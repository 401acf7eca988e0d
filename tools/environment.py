"""Make or refresh the environment that `make book` and `make test` use. Runs on any Python 3, before anything is installed.

    python3 tools/environment.py            .venv/ with the package, editable, and everything the book needs
    python3 tools/environment.py --npm      site/node_modules/ with the maths renderer and the faces
    python3 tools/environment.py --lock     a fresh environment, without constraints, and tools/constraints.txt from it

What is missing (Python too old, no venv, no npm, no network) is said in one line. The full log stays in .venv/install.log.
"""
import os, re, shutil, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV, SITE, LOCK = '.venv', 'site', os.path.join('tools', 'constraints.txt')
EXTRAS = '.[dev,docs]'
NETWORK = re.compile(r'NewConnectionError|Temporary failure in name resolution|Name or service not known|Network is unreachable'
    r'|Connection refused|ConnectTimeout|Max retries exceeded|getaddrinfo|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH', re.I)
ON_LINUX = re.compile(r'^(nvidia-|cuda-|triton|jeepney|secretstorage)', re.I)      # what only Linux installs


def fail(msg): sys.exit('nca_tutorial: ' + msg)


def min_python():
    with open('settings.ini', encoding='utf-8') as f: m = re.search(r'^min_python\s*=\s*([\d.]+)', f.read(), re.M)
    return tuple(int(o) for o in m.group(1).split('.')) if m else (3, 11)


def venv_python(venv=VENV): return os.path.join(venv, *(('Scripts', 'python.exe') if os.name == 'nt' else ('bin', 'python')))


def stream(cmd, log, say):
    "Run `cmd`; every line goes to `log`, those that `say` answers to the terminal. (exit status, all text)"
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, errors='replace')
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


def pip_news(line):
    "What of pip's talk a reader wants to see: big downloads, and the long silence after them"
    m = re.match(r'\s*Downloading (\S+?)(?:\.metadata)? \(([\d.]+) ([GM])B\)', line)
    if m and (m.group(3) == 'G' or float(m.group(2)) >= 20): return 'downloading {} ({} {}B)'.format(os.path.basename(m.group(1)), m.group(2), m.group(3))
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


def install(venv=VENV, constraints=True):
    make_venv(venv)
    t0 = time.time()
    print('Installing the book\'s packages into {}/ (the first time, PyTorch makes this a download of some GB)'.format(venv))
    cmd = [venv_python(venv), '-m', 'pip', 'install', '--disable-pip-version-check', '--progress-bar', 'off', '-e', EXTRAS]
    if constraints and os.path.exists(LOCK) and os.environ.get('LOCK') != '0': cmd += ['-c', LOCK]
    with open(os.path.join(venv, 'install.log'), 'w', encoding='utf-8') as log: rc, text = stream(cmd, log, pip_news)
    if rc: fail(why(text, 'the packages'))
    print('  done in {:.0f} s'.format(time.time() - t0))


def npm():
    exe = shutil.which('npm')
    if not exe: fail('npm is missing: install Node.js with npm (on Debian and Ubuntu, `apt install npm`); the site takes its maths and faces from it')
    print('Fetching the maths renderer and the faces into {}/node_modules/'.format(SITE))
    with open(os.path.join(VENV, 'install.log'), 'a', encoding='utf-8') as log:
        rc, text = stream([exe, 'ci', '--prefix', SITE, '--no-audit', '--no-fund', '--loglevel=error'], log, lambda l: None)
    if rc: fail(why(text, 'the site\'s scripts'))


def lock():
    """Resolve everything afresh and write names and versions. Best done with the oldest Python that the book supports
    (`make lock PYTHON=...`): a newer one may choose versions that the older cannot install."""
    venv = VENV + '-lock'
    shutil.rmtree(venv, ignore_errors=True)
    install(venv, constraints=False)
    out = subprocess.run([venv_python(venv), '-m', 'pip', 'list', '--format=freeze', '--exclude-editable'], stdout=subprocess.PIPE, universal_newlines=True).stdout
    rows = []
    for l in sorted(out.split(), key=str.lower):
        name, _, version = l.partition('==')
        if name in ('pip', 'setuptools'): continue
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
    else: install()


if __name__ == '__main__':
    try: main(sys.argv[1:])
    except KeyboardInterrupt: fail('stopped')
