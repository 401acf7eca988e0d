"The package as pip installs it, outside the repository: nothing is left behind"
import os, shutil, subprocess, sys, zipfile

import pytest

from conftest import ROOT

USE = """
import pathlib, sys, nca_tutorial
here = pathlib.Path(sys.argv[1])
assert here in pathlib.Path(nca_tutorial.__file__).parents, nca_tutorial.__file__
from nca_tutorial.core import NCAModel, seed_state
from nca_tutorial.playground import Easel, export_html
from nca_tutorial.zoo import NAMES, read_card
gecko = NCAModel.from_pretrained("gecko-regenerate")
x = gecko(seed_state(size=72), steps=96)
assert 300 < (x[0, 3] > 0.1).sum() < 1500, "a gecko"
assert all(read_card(name)["name"] == name for name in NAMES)
assert "<canvas" in Easel()._esm or "canvas" in Easel()._nca
print(export_html(gecko, "gecko.html", "gecko", 72) or "written")
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "Built from a copy of what git would hand on, so that nothing lying about gets in"
    copy, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    for f in ('pyproject.toml', 'README.md', 'LICENSE'): shutil.copy(ROOT/f, copy)
    shutil.copytree(ROOT/'nca_tutorial', copy/'nca_tutorial', ignore=shutil.ignore_patterns('__pycache__'))
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '--no-index', '-w', out, copy], check=True)
    built, = out.glob('*.whl')
    return built


def test_the_wheel_holds_all_that_the_package_needs(wheel):
    held = {n for n in zipfile.ZipFile(wheel).namelist() if n.startswith('nca_tutorial/')}
    here = {f.relative_to(ROOT).as_posix() for f in (ROOT/'nca_tutorial').rglob('*') if f.is_file() and '__pycache__' not in f.parts}
    assert held == here


def test_the_wheel_works_elsewhere(wheel, tmp_path):
    "Its code, its creatures, its pages and its commands, with no repository in sight"
    place, work = tmp_path/'place', tmp_path/'work'
    work.mkdir()
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--target', place, wheel], check=True)
    env = {**os.environ, 'PYTHONPATH': str(place), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, '-c', USE, str(place)], cwd=work, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (work/'gecko.html').stat().st_size > 50_000
    for command in ('nca_grow', 'nca_texture'):
        told = subprocess.run([sys.executable, place/'bin'/command, '--help'] if os.name != 'nt' else [place/'bin'/f'{command}.exe', '--help'], cwd=work, env=env, capture_output=True, text=True)
        assert told.returncode == 0 and '--checkpoint' in told.stdout, told.stderr
