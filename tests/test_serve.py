"What the site's server gives, and what it keeps to itself; and the words it has for a port that cannot be"
import os, socket, subprocess, sys, threading
from http.client import HTTPConnection

import pytest

from conftest import ROOT, script

serve = script('tools/serve.py')
links = pytest.mark.skipif(os.name == 'nt', reason='only some Windows users may make links')
SECRET = b'not for the page'


@pytest.fixture(scope='module')
def ask(tmp_path_factory):
    "A served folder with a secret beside it: ask(path) -> (status, body)"
    tmp_path = tmp_path_factory.mktemp('served')
    site = tmp_path/'site'
    for f, data in {site/'index.html': b'the book', site/'sub'/'index.html': b'a part', site/'bare'/'notes.txt': b'notes', site/'a b.html': b'spaces', tmp_path/'secret.txt': SECRET,
                    tmp_path/'outside'/'index.html': SECRET, tmp_path/'site-2'/'x.txt': SECRET}.items():
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_bytes(data)
    if os.name != 'nt':
        for name, to in {'link.txt': tmp_path/'secret.txt', 'up': tmp_path, 'door': tmp_path/'outside', 'bare/index.html': tmp_path/'secret.txt', 'relative': '../secret.txt', 'chain': 'link.txt',
                         'beside': tmp_path/'site-2', 'hosts': '/etc/hosts', 'loop': 'loop', 'nowhere': 'nothing', 'within.html': 'index.html', 'inner': 'sub'}.items(): (site/name).symlink_to(to)
        os.mkfifo(site/'pipe')
    httpd = serve.server(site)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    def ask(path, method='GET'):
        c = HTTPConnection(*httpd.server_address, timeout=10)
        c.putrequest(method, path)
        c.endheaders()
        r = c.getresponse()
        body = r.read()
        c.close()
        return r.status, body
    ask.address = httpd.server_address
    yield ask
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize('path, body', [('/', b'the book'), ('/index.html', b'the book'), ('/index.html?x=..', b'the book'), ('/sub/', b'a part'), ('/a%20b.html', b'spaces'), ('/sub/../index.html', b'the book'), ('/bare/notes.txt', b'notes'),
    pytest.param('/within.html', b'the book', marks=links), pytest.param('/inner/', b'a part', marks=links)])
def test_what_lies_in_the_folder_is_given(ask, path, body):
    assert ask(path) == (200, body) and ask(path, 'HEAD') == (200, b'')


LINKS = ['/link.txt', '/up/secret.txt', '/up/', '/up', '/door/', '/door', '/door/index.html', '/bare/', '/bare/index.html', '/relative', '/chain', '/beside/x.txt', '/hosts', '/loop', '/nowhere', '/inner/../link.txt', '/up%2fsecret.txt', '/pipe']
OTHERS = ['/../secret.txt', '/%2e%2e/secret.txt', '/..%2fsecret.txt', '/%2e%2e%2fsecret.txt', '/sub/..%2f..%2fsecret.txt', '/..%5csecret.txt', '/%252e%252e/secret.txt', '/../site-2/x.txt', '//etc/hosts', '/%2fetc%2fhosts', '/index.html/', '/nothing',
          '/%00', '/index.html%00', '/%ed%a0%80', '/' + 'x' * 5000, '/~root', '/bare']

@pytest.mark.parametrize('path', OTHERS + [pytest.param(p, marks=links) for p in LINKS])
def test_what_lies_elsewhere_is_not_given(ask, path):
    "Nor is the folder listed: a link is followed before it is asked where it leads"
    for method in ('GET', 'HEAD'):
        status, body = ask(path, method)
        assert status == 404 and SECRET not in body and b'notes.txt' not in body
    assert ask('/') == (200, b'the book'), 'it goes on'


def test_this_machine_alone(ask): assert ask.address[0] == '127.0.0.1'


# ---------------------------------------------------------------- ports

@pytest.mark.parametrize('args, port', [([], 8000), (['8001'], 8001), (['1'], 1), (['65535'], 65535), (['08000'], 8000)])
def test_ports(args, port): assert serve.read_port(args) == port


@pytest.mark.parametrize('word', ['abc', '', ' ', '-1', '0', '65536', '70000', '99999999999999999999', '8000.0', '8e3', '0x1f90', '8_000', '+8000', '８０００', ' 8000', '8000\n', 'None'])
def test_a_port_that_cannot_be_is_named(word):
    assert serve.main([word]) == f'port: got {word!r}; expected a whole number from 1 to 65535'


def test_two_ports_are_one_too_many(): assert serve.main(['8000', '8001']) == "port: got '8000 8001'; expected one number"


@pytest.fixture
def built(tmp_path, monkeypatch):
    (tmp_path/'index.html').write_text('the book')
    monkeypatch.setattr(serve, 'SITE', tmp_path)


def test_a_port_in_use_is_named(built):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        port = s.getsockname()[1]
        said = serve.main([str(port)])
    assert said.startswith(f'port {port} cannot be served (') and said.endswith(f'try `make book PORT={port + 1 if port < 65535 else 8001}`')


@pytest.mark.parametrize('port, other', [(80, 8001), (65535, 8001), (8000, 8001)])
def test_the_other_port_can_be_served(built, monkeypatch, port, other):
    def refuse(port): raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(serve, 'server', refuse)
    assert serve.main([str(port)]) == f'port {port} cannot be served (Permission denied): try `make book PORT={other}`'


def test_one_line_and_a_status():
    r = subprocess.run([sys.executable, str(ROOT/'tools'/'serve.py'), '70000'], capture_output=True, text=True)
    assert (r.returncode, r.stdout, r.stderr) == (1, '', "port: got '70000'; expected a whole number from 1 to 65535\n")
