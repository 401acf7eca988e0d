"""What must agree before anything runs: pyproject.toml with settings.ini, README.md with the front page, saved notebooks with
nbdev's clean form, the package with the notebooks' exports; and no saved output may be the name of a picture without the picture.
Works on a copy, so that checking changes nothing.
"""
import filecmp, json, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))
import readme, sync_config


def differing(a, b, pattern):
    "Names under folders `a` and `b` that match and do not agree"
    names = {f.relative_to(d) for d in (a, b) for f in d.rglob(pattern) if '__pycache__' not in f.parts and '.ipynb_checkpoints' not in f.parts}
    return sorted(str(n) for n in names if not ((a/n).exists() and (b/n).exists() and filecmp.cmp(a/n, b/n, shallow=False)))


def lost_pictures(nb):
    """The cells of a notebook whose saved output names a picture and does not hold it: [(cell, name)]. A run with `MPLBACKEND=agg` leaves such names;
    a cell with an alt text or a caption and no picture at all has lost it, too."""
    res, named = [], re.compile(r'<(Figure size|Axes\b|PIL\.|matplotlib\.|IPython\.core\.display\.)')
    for i, c in enumerate(nb['cells']):
        shown = False
        for o in c.get('outputs', []):
            d = o.get('data', {})
            if any(k.startswith('image/') or k == 'text/html' for k in d): shown = True
            elif named.match(t := ''.join(d.get('text/plain', ''))): res.append((i, t))
        if c['cell_type'] == 'code' and not shown and (m := re.search(r'^#\|\s*fig-(alt|cap)\b.*', ''.join(c['source']), re.M)) and (not res or res[-1][0] != i): res.append((i, m[0]))
    return res


def nbdev(folder, code):
    env = {**os.environ, 'PYTHONPATH': str(folder)}
    r = subprocess.run([sys.executable, '-c', code], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if r.returncode: sys.exit(f'nbdev failed on the notebooks:\n{r.stdout}')
    if r.stdout.strip(): print(r.stdout.strip())


def main():
    lib = sync_config.read_settings((ROOT/'settings.ini').read_text(encoding='utf-8'))['lib_path']
    bad = sync_config.main(['--check'], ROOT) + readme.main(['--check'], ROOT)
    for f in sorted((ROOT/'nbs').glob('*.ipynb')):
        for i, name in lost_pictures(json.loads(f.read_text(encoding='utf-8'))):
            print(f'nbs/{f.name}, cell {i}: the picture of {name} is missing: run the notebook again, in Jupyter or by `jupyter nbconvert --execute`, without MPLBACKEND', file=sys.stderr)
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
