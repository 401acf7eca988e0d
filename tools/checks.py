"""What must agree before anything runs: pyproject.toml with settings.ini, README.md with the front page, saved notebooks with
nbdev's clean form, the package with the notebooks' exports, figures with their pictures. Works on a copy, so that checking
changes nothing.
"""
import filecmp, json, os, shutil, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))
import readme, sync_config


def differing(a, b, pattern):
    "Names under folders `a` and `b` that match and do not agree"
    names = {f.relative_to(d) for d in (a, b) for f in d.rglob(pattern) if '__pycache__' not in f.parts and '.ipynb_checkpoints' not in f.parts}
    return sorted(str(n) for n in names if not ((a/n).exists() and (b/n).exists() and filecmp.cmp(a/n, b/n, shallow=False)))


def nbdev(folder, code):
    env = {**os.environ, 'PYTHONPATH': str(folder)}
    r = subprocess.run([sys.executable, '-c', code], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if r.returncode: sys.exit(f'nbdev failed on the notebooks:\n{r.stdout}')
    if r.stdout.strip(): print(r.stdout.strip())


def lost_figures(nb):
    "Where a saved output is a figure's name without its picture, as a run with MPLBACKEND=agg leaves it: numbers of cells"
    def lost(o):
        data = o.get('data', {})
        said = ''.join(data.get('text/plain', '')) + ''.join(o.get('text', ''))
        return '<Figure size' in said and not any(kind.startswith('image/') for kind in data)
    return [i for i, c in enumerate(nb['cells']) if any(map(lost, c.get('outputs', [])))]


def main():
    lib = sync_config.read_settings((ROOT/'settings.ini').read_text(encoding='utf-8'))['lib_path']
    bad = sync_config.main(['--check'], ROOT) + readme.main(['--check'], ROOT)
    for f in sorted((ROOT/'nbs').glob('*.ipynb')):
        for i in lost_figures(json.loads(f.read_text(encoding='utf-8'))):
            print(f'nbs/{f.name}: cell {i} shows a figure\'s name and no picture: run the notebook again, without MPLBACKEND', file=sys.stderr)
            bad += 1
    with tempfile.TemporaryDirectory() as t:
        copy = Path(t)/'book'
        copy.mkdir()
        shutil.copy(ROOT/'pyproject.toml', copy)
        (copy/'nbs').mkdir()
        for f in (ROOT/'nbs').glob('*.ipynb'): shutil.copy(f, copy/'nbs')
        nbdev(copy, 'from nbdev.clean import nbdev_clean; nbdev_clean.__wrapped__()')
        for n in differing(ROOT/'nbs', copy/'nbs', '*.ipynb'):
            print(f'nbs/{n} is not clean: run `nbdev-clean`', file=sys.stderr)
            bad += 1
        (copy/lib).mkdir()
        shutil.copy(ROOT/lib/'__init__.py', copy/lib)
        nbdev(copy, 'from nbdev.doclinks import nbdev_export; nbdev_export.__wrapped__()')
        for n in differing(ROOT/lib, copy/lib, '*.py'):
            print(f'{lib}/{n} does not follow the notebooks: run `nbdev-export`', file=sys.stderr)
            bad += 1
    if not bad: print('Generated files follow their sources; notebooks are clean and exported.')
    return int(bool(bad))


if __name__ == '__main__': sys.exit(main())
