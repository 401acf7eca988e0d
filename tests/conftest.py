"What all tests share: where the book lies, its scripts as modules, and hypothesis without deadlines"
import importlib.util, json, os, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
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
