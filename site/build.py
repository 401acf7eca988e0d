"""Build the site: notebooks -> nbdev's processing -> the bridge -> Sphinx -> `_site/`. `--force` forgets what earlier builds left.

Nothing is done when nothing changed, and little when little did. Any warning of Sphinx fails the build.
"""
import hashlib, json, os, re, shutil, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE, OUT, WORK, LIB = ROOT/'site', ROOT/'_site', ROOT/'_site_src', ROOT/'nca_tutorial'
MATHJAX = ('tex-chtml.js', 'output/chtml/fonts', 'input/tex/extensions', 'a11y', 'ui', 'sre')
SPOKEN = {'grow': ' that only grows', 'persist': ' that stays', 'anywhere': ' that mostly heals', 'regenerate': ' that heals', 'tiny': ', 168 numbers', 'micro': ', 264 numbers'}
FONTS = {'literata': 'opsz-normal opsz-italic', 'fraunces': 'full-normal', 'jetbrains-mono': 'wght-normal'}


def digest(paths):
    "One number for names and contents of files and folders"
    h = hashlib.sha256()
    for p in paths:
        files = sorted(f for f in p.rglob('*') if f.is_file() and '__pycache__' not in f.parts and 'node_modules' not in f.parts) if p.is_dir() else [p]
        for f in files:
            h.update(str(f.relative_to(ROOT)).encode() + b'\0')
            if f.is_file(): h.update(hashlib.sha256(f.read_bytes()).digest())
    return h.hexdigest()


def put(path, data):
    "Write `data` if `path` does not hold it already, so that Sphinx sees only real changes"
    data = data.encode() if isinstance(data, str) else data
    if path.exists() and path.read_bytes() == data: return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def mirror(src, dst, keep=lambda f: True):
    "Make folder `dst` hold what `src` holds"
    want = {f.relative_to(src) for f in src.rglob('*') if f.is_file() and keep(f)} if src.exists() else set()
    for f in [f for f in dst.rglob('*') if f.is_file()] if dst.exists() else []:
        if f.relative_to(dst) not in want: f.unlink()
    for f in want: put(dst/f, (src/f).read_bytes())


def process(force):
    "nbdev's own processing of the notebooks into _proc/, without asking for Quarto. Relative paths: nbdev skips a path with a dotted part"
    from nbdev.doclinks import _build_modidx
    from nbdev.serve import proc_nbs
    os.environ['PYTHONWARNINGS'] = 'ignore::UserWarning:nbdev.processors'          # cells that mix imports with code: a test says so
    _build_modidx(skip_exists=True)
    try: return proc_nbs('nbs', n_workers=min(2, os.cpu_count() or 1), force=force)
    except Exception as e:
        if not str(e).startswith('Error in notebook'): raise
        (ROOT/'_proc').exists() and shutil.rmtree(ROOT/'_proc')
        sys.exit(f'The site was not built: {e}\n(nbdev runs exported cells and cells that import, and those alone: a cell that imports should do nothing else)')


def assets(src, extra, proc):
    "Style, faces, maths and pictures: everything that a page asks for, from this site itself"
    static = src/'_static'
    modules = SITE/'node_modules'
    if not (modules/'mathjax').is_dir(): sys.exit('site/node_modules is missing: run `make book`, or `npm ci` in site/')
    for f in (SITE/'_static').rglob('*'):
        if f.is_file(): put(static/f.relative_to(SITE/'_static'), f.read_bytes())
    mirror(SITE/'_templates', src/'_templates')
    for m in MATHJAX:
        s = modules/'mathjax'/'es5'/m
        if s.is_dir(): mirror(s, static/'mathjax'/m)
        else: put(static/'mathjax'/m, s.read_bytes())
    for face, cuts in FONTS.items():
        for cut in cuts.split():
            for subset in ('latin', 'latin-ext'):
                f = modules/'@fontsource-variable'/face/'files'/f'{face}-{subset}-{cut}.woff2'
                put(static/'fonts'/f.name, f.read_bytes())
        put(static/'fonts'/f'{face}-LICENSE', (modules/'@fontsource-variable'/face/'LICENSE').read_bytes())
    put(static/'nca.js', (LIB/'web'/'nca.js').read_bytes())
    mirror(proc/'live'/'creatures', static/'creatures')       # made by nbs/live/creatures/index.json.py
    mirror(ROOT/'nbs'/'images', src/'images')
    mirror(ROOT/'nbs'/'images', extra/'images')


def spoken(name):
    "A creature's name for people: gecko-regenerate is the gecko that heals"
    kind, _, what = name.partition('-')
    return kind + SPOKEN.get(what, f' {what}' if what else '')


def creatures(folder):
    "Write every packaged creature as the file that a page reads; returns the list of them, which a page reads first"
    from nca_tutorial.core import NCAModel
    from nca_tutorial.playground import export_web
    listed = []
    for f in sorted((LIB/'creatures').glob('*/config.json')):
        name, card = f.parent.name, f.parent/'card.json'
        model = NCAModel.from_pretrained(f.parent)
        made = json.loads(card.read_text(encoding='utf-8')).get('recipe', {}) if card.exists() else {}
        texture = model.alive_threshold is None
        size = made['size'] + 2 * made['padding'] if not texture and {'size', 'padding'} <= made.keys() else 96 if texture else 72
        export_web(model, folder/f'{name}.nca', name, size)
        listed.append(dict(name=name, title=spoken(name), kind='texture' if texture else 'growing'))
    for f in folder.glob('*.nca'):
        if f.stem not in {c['name'] for c in listed}: f.unlink()
    return json.dumps(listed)


def lighten(out):
    "Plots as lossless WebP: the same pixels in less than half the bytes; code without spans that only repeat the colour of the text"
    from io import BytesIO
    from PIL import Image
    done = {}
    for f in (out/'_images').glob('*.png'):
        with Image.open(f) as im:
            im = im.convert('RGBA')
            if im.getextrema()[3] == (255, 255): im = im.convert('RGB')
            buf = BytesIO()
            im.save(buf, 'webp', lossless=True, method=6, exact=True)
        if buf.tell() < f.stat().st_size:
            f.with_suffix('.webp').write_bytes(buf.getvalue())
            f.unlink()
            done[f'_images/{f.name}"'] = f'_images/{f.stem}.webp"'
    for page in out.glob('*.html'):
        old = page.read_text(encoding='utf-8')
        new = re.sub(r'_images/[\w.-]+\.png"', lambda m: done.get(m[0], m[0]), old)
        new = re.sub(r'<span class="[nop]">([^<]*)</span>', r'\1', new)       # names, operators, brackets: see nca.css
        if new != old: page.write_text(new, encoding='utf-8')


def main(argv):
    t0 = time.time()
    os.chdir(ROOT)
    sys.path.insert(0, str(SITE))
    import yaml
    from nbdev.config import get_config
    import bridge

    force, cfg = '--force' in argv, get_config(ROOT)
    nbs = cfg.nbs_path
    quarto = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))
    secs = bridge.sections(quarto)
    order = [f for _, fs in secs for f in fs]
    for f in order:
        if not (nbs/f).exists(): raise bridge.BridgeError(f'_quarto.yml lists {f}, and there is no {nbs.name}/{f}')
    links_to = [cfg.lib_path, ROOT/'pyproject.toml', SITE, ROOT/'tools'/'constraints.txt']    # what any page may depend on
    code = digest(links_to)
    stamp, whole = WORK/'stamp', digest(links_to + [nbs/f for f in order] + [ROOT/'nbs'/'images', ROOT/'nbs'/'live', ROOT/'_quarto.yml'])
    if not force and stamp.exists() and stamp.read_text().split()[1:] == [whole] and (OUT/'index.html').exists():
        print(f'The site is up to date: {OUT.name}/')
        return 0
    known = stamp.read_text().split()[:1] if stamp.exists() else []
    if force or known != [code]:
        for d in (WORK, OUT): shutil.rmtree(d, ignore_errors=True)
    print(f'Processing {len(order)} notebooks', flush=True)
    proc = process(force or known != [code])
    put(stamp, f'{code} unfinished')

    src, extra, tree = WORK/'src', WORK/'extra', WORK/'doctrees'
    assets(src, extra, proc)
    load = lambda f: json.loads(f.read_text(encoding='utf-8'))
    pages = {f: load(proc/f) for f in order}
    raw = {f: load(nbs/f) for f in order}
    names = {Path(f).stem: bridge.page_name(f) for f in order}
    if len(set(names.values())) < len(names): raise bridge.BridgeError(f'two notebooks would share a page: {", ".join(sorted(names))}')
    syms = {}
    exec((cfg.lib_path/'_modidx.py').read_text(encoding='utf-8'), syms)
    anchors = {bridge.page_name(f): bridge.api_ids(nb, syms['d']['syms'], bridge.page_name(f)) for f, nb in pages.items()}
    site = dict(title=quarto['website']['title'], repo=cfg.git_url, branch=cfg.branch, nbs=nbs.name, description=cfg.description,
        author=cfg.author, order=[names[Path(f).stem] for f in order], kickers={names[Path(f).stem]: bridge.kicker(f) for f in order},
        module={f: f'{cfg.lib_path.name}.{m}' for f, nb in raw.items() if (m := bridge.default_exp(nb))}, url=cfg.doc_url.rstrip('/') + '/')
    links, films = bridge.Links(names, cfg.doc_url, anchors), bridge.Films()
    titles = {f: str(bridge.front_matter(nb).get('title') or names[Path(f).stem]) for f, nb in pages.items()}
    for f, nb in pages.items():
        toc = bridge.toctree(secs, titles) if f == 'index.ipynb' else None
        put(src/f'{names[Path(f).stem]}.ipynb', json.dumps(bridge.notebook(f, nb, links, films, site, toc), indent=1))
        put(extra/'notebooks'/f, (nbs/f).read_bytes())
    for f, data in films.files.items(): put(extra/f, data)
    put(extra/'.nojekyll', '')
    put(src/'site.json', json.dumps(site, indent=1))
    put(src/'conf.py', (SITE/'conf.py').read_bytes())
    for f in src.glob('*.ipynb'):
        if f.stem not in names.values(): f.unlink()
    for f in (extra/'films').glob('*') if (extra/'films').exists() else []:
        if f'films/{f.name}' not in films.files: f.unlink()

    print('Rendering the pages', flush=True)
    from sphinx.cmd.build import build_main
    rc = build_main(['-b', 'html', '-W', '-q', '-j', str(min(2, os.cpu_count() or 1)), '-d', str(tree), str(src), str(OUT)])
    if rc:
        shutil.rmtree(tree, ignore_errors=True)          # a page with a warning is read again next time, and warns again
        print('The site was not built: see the lines above', file=sys.stderr)
        return rc
    lighten(OUT)
    pages_out = {f'{n}.html' for n in names.values()} | {'genindex.html', 'search.html'}
    for f in OUT.glob('*.html'):
        if f.name not in pages_out: f.unlink()
    stamp.write_text(f'{code} {whole}')
    print(f'The site is in {OUT.name}/ ({time.time() - t0:.0f} s)')
    return 0


if __name__ == '__main__':
    try: sys.exit(main(sys.argv[1:]))
    except ValueError as e:
        if type(e).__name__ != 'BridgeError': raise
        sys.exit(f'The site was not built: {e}')
