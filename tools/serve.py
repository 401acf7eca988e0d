"Serve the built site on this machine alone: `python tools/serve.py [PORT]`"
import functools, sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(__file__).resolve().parent.parent/'_site'


class Quiet(SimpleHTTPRequestHandler):
    "Serves files, says nothing"
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, '.webp': 'image/webp', '.woff2': 'font/woff2', '.ipynb': 'application/x-ipynb+json'}
    def log_message(self, *args): pass


def server(folder=SITE, port=0):
    "A server for `folder` on 127.0.0.1; port 0 takes a free one"
    return ThreadingHTTPServer(('127.0.0.1', port), functools.partial(Quiet, directory=str(folder)))


def main(args):
    port = int(args[0]) if args else 8000
    if not (SITE/'index.html').exists(): return 'there is no site yet: run `make book`'
    try: httpd = server(port=port)
    except OSError as e: return f'port {port} cannot be served ({e.strerror}): try `make book PORT={port + 1}`'
    print(f'The book is open at http://127.0.0.1:{port}  (Ctrl-C closes it)', flush=True)
    try: httpd.serve_forever()
    except KeyboardInterrupt: print()


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
