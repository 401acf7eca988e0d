"Serve the built site on this machine alone: `python tools/serve.py [PORT]`"
import functools, os, re, sys
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(__file__).resolve().parent.parent/'_site'
PORT = 8000


class Quiet(SimpleHTTPRequestHandler):
    "Serves the files that lie in its folder, lists no folders, says nothing"
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, '.webp': 'image/webp', '.woff2': 'font/woff2', '.ipynb': 'application/x-ipynb+json'}
    def log_message(self, *args): pass

    def send_head(self):
        if self._inside(): return super().send_head()
        self.send_error(HTTPStatus.NOT_FOUND, 'File not found')

    def _inside(self):
        "Whether what would be sent is a file that really lies in the folder: links are followed before it is asked where they lead"
        try:
            path = self.translate_path(self.path)
            if os.path.isdir(path): path = os.path.join(path, 'index.html')
            real = os.path.realpath(path)
            return os.path.isfile(real) and Path(real).is_relative_to(os.path.realpath(self.directory))
        except (OSError, ValueError): return False                # a name that no file system can hold

    def list_directory(self, path): return self.send_error(HTTPStatus.NOT_FOUND, 'File not found')


def server(folder=SITE, port=0):
    "A server for `folder` on 127.0.0.1; port 0 takes a free one"
    return ThreadingHTTPServer(('127.0.0.1', port), functools.partial(Quiet, directory=str(folder)))


def read_port(args):
    "The port that the command line names; ValueError says what is wrong with it"
    if not args: return PORT
    if len(args) > 1: raise ValueError(f'port: got {" ".join(args)!r}; expected one number')
    if not re.fullmatch('[0-9]{1,5}', args[0]) or not 0 < int(args[0]) < 65536:
        raise ValueError(f'port: got {args[0]!r}; expected a whole number from 1 to 65535')
    return int(args[0])


def main(args):
    try: port = read_port(args)
    except ValueError as e: return str(e)
    if not (SITE/'index.html').exists(): return 'there is no site yet: run `make book`'
    try: httpd = server(port=port)
    except OSError as e: return f'port {port} cannot be served ({e.strerror}): try `make book PORT={port + 1 if 1024 <= port < 65535 else PORT + 1}`'
    print(f'The book is open at http://127.0.0.1:{port}  (Ctrl-C closes it)', flush=True)
    try: httpd.serve_forever()
    except KeyboardInterrupt: print()


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
