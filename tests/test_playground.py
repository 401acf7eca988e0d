"The playground: what no single cell can test. Creatures of every kind, pages that lie, a page opened from the disk, and JupyterLab itself"
import io, json, os, re, socket, struct, subprocess, sys, time, urllib.request
from pathlib import Path

import pytest
import torch

from conftest import ROOT, notebooks, source

from nca_tutorial.core import NCAModel, seed_state
from nca_tutorial.playground import Easel, Playground, export_html, export_web, _from_bytes, _pack, _to_bytes

CHROME = ['--no-sandbox', '--disable-dev-shm-usage', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']
JUPYTERS_OWN = re.compile(r'^Plugin @jupyterlab/\S+ (is taking too long to activate|\(with \d+ dependants\) took [\d.]+ms to activate)')     # what Lab says of itself on a busy machine


def read_web(path):
    data = Path(path).read_bytes()
    end = 8 + struct.unpack('<I', data[4:8])[0]
    assert data[:4] == b'NCA1' and end % 4 == 0
    return json.loads(data[8:end]), torch.frombuffer(bytearray(data[end:]), dtype=torch.float32)


def random_model(**settings):
    g = torch.Generator().manual_seed(0)
    model = NCAModel(**settings, generator=g)
    with torch.no_grad():
        for p in model.parameters(): p.copy_(torch.randn(p.shape, generator=g) * 0.05)
    return model


# ---------------------------------------------------------------- the file

@pytest.mark.parametrize('settings, kind', [({}, 'growing'), (dict(output_bias=False), 'growing'), (dict(channels=12, alive_threshold=None, padding='wrap'), 'texture'),
    (dict(channels=9, hidden=7, kernels=('identity', 'sobel_x', 'sobel_y', 'laplacian'), fire_rate=1.0), 'growing')])
def test_file_holds_every_number(tmp_path, settings, kind):
    model = random_model(**settings)
    head, numbers = read_web(export_web(model, tmp_path/'deep'/'x.nca', size=(40, 50)))
    first, _, last = model.update
    bias = last.bias if model.output_bias else torch.zeros(model.channels)
    want = torch.cat([first.weight.flatten(), first.bias, last.weight.flatten(), bias])
    assert torch.equal(numbers, want.detach())
    assert head == dict(channels=model.channels, hidden=model.hidden, fire_rate=model.fire_rate, kernels=list(model.kernels), padding=model.padding,
                        alive_threshold=model.alive_threshold, size=[40, 50], name='x', kind=kind)
    assert not [f for f in (tmp_path/'deep').iterdir() if f.name != 'x.nca'], 'litter'


def test_file_of_half_precision_and_long_names(tmp_path):
    model = random_model()
    head, numbers = read_web(export_web(model.half(), tmp_path/'x.nca', name='ß' * 500))
    assert head['name'] == 'ß' * 80 and torch.equal(numbers[:6144], model.update[0].weight.float().flatten())


@pytest.mark.parametrize('name', sorted(f.name for f in (ROOT/'nca_tutorial'/'creatures').iterdir() if (f/'config.json').exists()))
def test_packaged_creatures_are_light(tmp_path, name):
    assert export_web(NCAModel.from_pretrained(name), tmp_path/f'{name}.nca').stat().st_size <= 40_000


# ---------------------------------------------------------------- Playground

def test_texture_lives_on_a_torus():
    model = random_model(channels=8, hidden=16, alive_threshold=None, padding='wrap')
    w = Playground(model, size=(20, 30), generator=torch.Generator().manual_seed(0))
    x = w.state
    assert x.shape == (8, 20, 30) and -0.5 <= x.min() < -0.4 and 0.4 < x.max() <= 0.5
    w.wound(0, 0, 3)
    lost = (w.state == 0).all(0)
    assert lost[0, 0] and lost[19, 29] and lost[0, 28] and lost[17, 0] and not lost[10, 15] and lost.sum() == 29
    w.seed(0, 0)
    assert not (w.state == 0).all(0).any()
    w.step(3)
    assert w.steps == 3 and not torch.equal(w.state, x)
    data, _ = w._repr_mimebundle_()
    assert data['image/png'][:8] == b'\x89PNG\r\n\x1a\n' and 'Playground(20×30 cells, 3 steps)' in data['text/plain']


@pytest.mark.parametrize('side, left', [('left', lambda x: x[..., :10]), ('right', lambda x: x[..., 10:]), ('top', lambda x: x[:, :8]), ('bottom', lambda x: x[:, 8:])])
def test_cut(side, left):
    w = Playground(random_model(), size=(17, 21))
    w.state = torch.ones(16, 17, 21)
    w.cut(side)
    x = w.state
    assert not left(x).any() and x.sum() == 16 * 17 * 21 - left(x).numel()


def test_state_is_a_copy_and_is_checked():
    w = Playground(random_model(), size=12)
    w.state.zero_()
    assert torch.equal(w.state, seed_state(1, 16, 12)[0])
    for bad, error in (('x', TypeError), (torch.zeros(16, 12, 13), ValueError), (torch.zeros(16, 12, 12, dtype=torch.int64), TypeError), (torch.full((16, 12, 12), float('nan')), ValueError)):
        with pytest.raises(error): w.state = bad
    w.state = torch.ones(16, 12, 12, dtype=torch.float64, requires_grad=True)
    assert w.state.dtype == torch.float32 and w.state.sum() == 16 * 144


@pytest.mark.parametrize('bad, said', [(dict(model=3), 'model: got int'), (dict(size=(1, 2, 3)), 'size: got'), (dict(size=2), 'size: got 2'), (dict(size=5000), '1024 at most'),
    (dict(target=torch.zeros(3, 8, 8)), 'target: got'), (dict(name=7), 'name: got 7'), (dict(target=torch.zeros(4, 9, 9), size=12), 'grid of')])
def test_playground_refuses(bad, said):
    with pytest.raises((TypeError, ValueError), match=said): Playground(**{'model': random_model(), **bad}).error


def test_python_wins_over_an_older_page():
    "What the page sent before it heard of a change in Python is dropped; what it sends afterwards is taken"
    w = Playground(random_model(), size=10)
    old = _pack(torch.full((16, 10, 10), 0.5), 40, w._count)
    w.wound(5, 5, 2)
    mine = w.state
    w.set_state({'_cells': memoryview(old), 'paused': True})
    assert torch.equal(w.state, mine) and w.paused
    w.set_state({'_cells': memoryview(_pack(torch.full((16, 10, 10), 0.25), 41, w._count))})
    assert w.state.unique().tolist() == [0.25] and w.steps == 41


def test_weights_and_code_are_not_the_pages_to_change():
    for widget in (Playground(random_model(), size=10), Easel()):
        keep = widget._esm, widget.get_state()
        widget.set_state({k: 'evil' for k in widget.keys})
        assert widget._esm == keep[0] and {k: v for k, v in widget.get_state().items() if k != 'layout'} == {k: v for k, v in keep[1].items() if k != 'layout'}


# ---------------------------------------------------------------- what a page cannot run is not written

WRITERS = [export_web, export_html, lambda model, path: Playground(model, size=9), lambda model, path: Easel(torch.ones(4, 8, 8), size=8).train(parent=model)]


def changed(how, **settings):
    model = random_model(**settings)
    with torch.no_grad(): how(model)
    return model


def own_step(model): model.__class__ = type('Other', (NCAModel,), {'_rollout': lambda self, *a: a[0]})


@pytest.mark.parametrize('write', WRITERS, ids=['web', 'html', 'Playground', 'Easel'])
@pytest.mark.parametrize('how, words', [(lambda m: m.update.__setitem__(1, torch.nn.Tanh()), 'Tanh'), (lambda m: m.kernel_weights.mul_(2), 'kernel_weights are not those'),
    (lambda m: m.update.append(torch.nn.Conv2d(16, 16, 1)), 'update.3'), (lambda m: m.update[1].register_forward_hook(lambda *a: None), 'has a hook'), (own_step, 'its own _rollout'),
    (lambda m: m.update[0].weight.data.fill_(float('inf')), 'update.0.weight holds NaN')])
def test_what_the_page_would_take_for_another_model(tmp_path, write, how, words):
    with pytest.raises(ValueError, match=f'^(model|parent): .*{words}'): write(changed(how), tmp_path/'x')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('settings, words', [(dict(channels=65), 'channels 65; a page takes 4 to 64'), (dict(hidden=1025), 'hidden 1025; a page takes 0 to 1024'),
    (dict(channels=2, alive_threshold=None), 'channels 2; a page takes 3 to 64'), (dict(channels=4, hidden=0, kernels=('laplacian', 'identity')), 'begin with laplacian'),
    (dict(kernels={'identity': None, 'blur': torch.ones(3, 3) / 9}), 'blur is none of them'), (dict(kernels={'identity': torch.ones(3, 3)}), 'identity is none of them or has other numbers')])
def test_what_the_pages_reader_refuses_is_not_written(tmp_path, settings, words):
    for write in WRITERS[:3]:
        with pytest.raises(ValueError, match=f'model: .*{words}'): write(NCAModel(**settings), tmp_path/'x')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('settings', [{}, dict(alive_threshold=None, padding='wrap')], ids=['creature', 'texture'])
def test_models_of_any_precision_play(tmp_path, dtype, settings):
    model = random_model(**settings).to(dtype)
    w = Playground(model, size=12, generator=torch.Generator().manual_seed(0))
    x, g = w.state, torch.Generator().manual_seed(0)
    if not settings: want = model(x[None].to(dtype), 5, g)[0].float()
    w.step(5)
    assert w.state.dtype == torch.float32 and (settings or torch.equal(w.state, want.detach()))
    assert torch.equal(read_web(export_web(model, tmp_path/'x.nca'))[1][:20], model.update[0].weight.float().flatten()[:20])
    assert export_html(model, tmp_path/'x.html', size=12).stat().st_size > 10_000
    e = Easel(torch.ones(4, 8, 8), size=8, padding=1)
    if not settings: assert e.train((dict(steps=0), dict(steps=0)), parent=model) is None and e.wait().update[0].weight.dtype == torch.float32


def test_an_explosion_leaves_the_state_and_an_exploding_creature_has_a_page(tmp_path):
    wild = changed(lambda m: m.update[2].bias.fill_(1e38), fire_rate=1.0)
    w = Playground(wild, size=9)
    with pytest.raises(ValueError, match='n: within 30 steps the state explodes'): w.step(30)
    assert w.steps == 0 and torch.equal(w.state, seed_state(1, 16, 9)[0])
    assert export_html(wild, tmp_path/'x.html', size=9).exists()


def test_a_path_is_a_model_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random_model().save_pretrained('brick')
    for mine in (Path('brick'), './brick'):
        w = Playground(mine, size=9)
        assert w.model.channels == 16 and b'"name": "brick"' in w.weights
    with pytest.warns(UserWarning, match='also a folder here'): assert Playground('brick', size=9).model.channels == 12


@pytest.mark.parametrize('call, words', [
    *((lambda v=v: Playground(random_model(), size=v), 'size: got') for v in ('x', 2.5, -1, [], (9, None), 10**30)), (lambda: Playground(random_model(), size=9, generator=3), 'generator: got 3'),
    (lambda: Playground(None), 'model: got NoneType'), (lambda: Playground(random_model(), size=9, name=b'x'), 'name: got'),
    *((lambda v=v, k=k: setattr(Playground(random_model(), size=9), k, v), f'{k}: got') for k in ('speed', 'angle') for v in ('x', None, float('nan'), 1e300, True, [])),
    *((lambda v=v: setattr(Playground(random_model(), size=9), 'paused', v), 'paused: got') for v in ('x', None, 1)),
    *((lambda v=v: Playground(random_model(), size=9).step(v), 'n: got') for v in ('x', None, -1, 2.5, 10**30)), *((lambda v=v: Playground(random_model(), size=9).cut(v), 'side: got') for v in (None, [], 'half', 3)),
    *((lambda v=v, k=k: Playground(random_model(), size=9).wound(**dict(x=1, y=1) | {k: v}), f'{k}: got') for k in ('x', 'y', 'radius') for v in ('x', None, float('nan'), 1e300, True, [])),
    *((lambda v=v, k=k: Playground(random_model(), size=9).seed(**dict(x=1, y=1) | {k: v}), f'{k}: got') for k in ('x', 'y') for v in ('x', None, 2.5, 9, -1)),
    *((lambda v=v: setattr(Playground(random_model(), size=9), 'state', v), 'state: ') for v in (None, torch.ones(16, 9, 9, dtype=torch.int64), torch.full((16, 9, 9), 1e300, dtype=torch.float64))),
    *((lambda v=v: Easel(size=v), 'size: got') for v in ('x', None, 2.5, 7, 65)), *((lambda v=v: Easel(padding=v), 'padding: got') for v in ('x', None, -1, 10**6)), *((lambda v=v: Easel(folder=v), 'folder: got') for v in (None, 3, b'x')),
    *((lambda v=v: Easel(v, size=8), 'drawing: ') for v in ('x', 3, torch.ones(3, 8, 8), torch.ones(4, 8, 8) / 0, torch.ones(4, 8, 8) * 1j)),
    *((lambda v=v: Easel(torch.ones(4, 8, 8), size=8).train(v), 'stages: ') for v in (None, 3, 'xy', (), ({}, {}), (dict(steps=1), dict(steps='x')), (dict(steps=1, colour=2), dict(steps=1)))),
    *((lambda v=v: Easel(torch.ones(4, 8, 8), size=8).train(seed=v), 'seed: got') for v in ('x', None, -1, 2.5)), (lambda: Easel(torch.ones(4, 8, 8), size=8).train(parent=3), 'parent: got int'),
    *((lambda v=v: Easel().wait(v), 'seconds: got') for v in ('x', float('nan'), -1, 1e300, [])),
    *((lambda v=v, f=f: f(random_model(), v), 'path: ') for v in (None, 3, '', b'x', 'a\0b', 'x' * 300) for f in (export_web, export_html)),
])
def test_bad_words_are_named(tmp_path, monkeypatch, call, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match=f'^{words}'): call()
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_play(tmp_path):
    import numpy as np
    w = Playground(random_model(), size=np.int64(9))
    w.step(np.int64(2)); w.wound(np.float32(1), np.int64(1), np.float64(2)); w.seed(np.int64(3), np.int64(3)); w.angle = np.float32(30)
    assert w.steps == 2 and w.angle == 30 and type(w.angle) is float and w.state[3, 3, 3] == 1
    assert read_web(export_web(random_model(), tmp_path/'x', size=(np.int64(9), np.int32(8))))[0]['size'] == [9, 8]


def test_a_name_that_is_no_text_still_makes_a_page(tmp_path):
    page = export_html(random_model(), tmp_path/'x.html', '\ud800', size=9).read_text(encoding='utf-8')
    assert '<title>?</title>' in page


# ---------------------------------------------------------------- Easel

def test_drawing_there_and_back():
    g = torch.Generator().manual_seed(0)
    alpha = torch.rand(1, 16, 16, generator=g)
    drawing = torch.cat([torch.rand(3, 16, 16, generator=g) * alpha, alpha])
    e = Easel(drawing, size=16)
    assert (e.drawing - drawing).abs().max() <= 0.5 / 255 * 2 + 1e-6
    assert e.target.shape == (4, 24, 24) and torch.equal(e.target[:, 4:-4, 4:-4], e.drawing)
    page = bytearray(_to_bytes(drawing))
    page[:4] = 255, 0, 0, 255
    e.set_state({'_ink': memoryview(bytes(page))})
    assert e.drawing[:, 0, 0].tolist() == [1, 0, 0, 1]
    assert torch.equal(_from_bytes(bytes(page), 16), e.drawing)


def test_training_ends_in_every_way():
    "Done, stopped, failed; and a new one can begin after each"
    drawing = torch.zeros(4, 10, 10)
    drawing[[0, 3], 3:7, 3:7] = 1
    e, short = Easel(drawing, size=10, padding=2), dict(batch=2, rollout=(3, 4), lr=1e-3, lr_drops=())
    e.train((dict(steps=4, **short), dict(steps=3, **short | dict(batch=4))))
    assert e.wait() is e.model and len(e.losses) == 7 and e._told['phase'] == 'done' and e._told['step'] == 7
    assert e._weights[:4] == b'NCA1' and len(e._preview) == 4 * 14 * 14 and len(e._curve) >= 1
    e.train((dict(steps=10**6, **short), dict(steps=10**6, **short | dict(batch=4))))
    while len(e.losses) < 3: time.sleep(0.01)
    e.stop()
    assert e.wait(60) is e.model and len(e.losses) < 10**5 and e._told['phase'] == 'done'
    e.train((dict(steps=1, **short | dict(batch=0)), dict(steps=0)))
    with pytest.raises(ValueError, match='batch'): e.wait()
    assert e._told['bad'] and 'batch' in e._told['message'] and not e.training
    with pytest.raises(ValueError, match='stages: got'): e.train((dict(batch=2),))
    e.train((dict(steps=2, **short), dict(steps=0, **short | dict(batch=4))))
    assert e.wait() and not e._told['bad']


def test_training_begins_with_the_parents_weights():
    "The parent itself is not changed; without one the seed makes the weights"
    drawing = torch.zeros(4, 10, 10)
    drawing[[0, 3], 3:7, 3:7] = 1
    e, none, few = Easel(drawing, size=10, padding=2), (dict(steps=0), dict(steps=0)), dict(batch=2, rollout=(3, 4), lr=1e-3, lr_drops=())
    weights = lambda m: torch.cat([p.detach().flatten() for p in m.parameters()])
    parent, fresh = NCAModel.from_pretrained('mushroom-persist'), NCAModel(generator=torch.Generator().manual_seed(3))
    for given, like in ((parent, parent), ('gecko-grow', NCAModel.from_pretrained('gecko-grow')), (None, fresh)):
        e.train(none, seed=3, parent=given)
        assert e.wait() is not given and torch.equal(weights(e.model), weights(like))
    before = weights(parent)
    e.train((dict(steps=3, **few), dict(steps=2, **few | dict(batch=4))), parent=parent)
    assert not torch.equal(weights(e.wait()), before) and torch.equal(weights(parent), before)
    with pytest.raises(TypeError, match='parent: got int'): e.train(none, parent=3)
    assert not e.training


# ---------------------------------------------------------------- the saved notebook

def test_saved_notebooks_hold_pictures_and_no_dead_widgets():
    "A widget's view without its kernel is an error message in its place"
    for n, nb in notebooks().items():
        assert 'widgets' not in nb['metadata'], f'{n} holds the state of widgets'
        for c in nb['cells']:
            for o in c.get('outputs', []): assert 'application/vnd.jupyter.widget-view+json' not in o.get('data', {}), f'{n} holds a dead widget:\n{source(c)}'


# ---------------------------------------------------------------- in a browser

@pytest.fixture(scope='module')
def chrome(chromium):
    from playwright.sync_api import sync_playwright
    with sync_playwright() as pw:
        b = pw.chromium.launch(executable_path=chromium, args=CHROME)
        yield b
        b.close()


class Watch:
    "A page with all that went wrong on it"
    def __init__(self, browser, own=None, **kw):
        self.ctx = browser.new_context(**kw)
        self.page, self.faults, self.asked = self.ctx.new_page(), [], []
        self.page.on('console', lambda m: self.faults.append(f'{m.type}: {m.text}') if m.type in ('error', 'warning') and not (own and own.search(m.text)) else None)
        self.page.on('pageerror', lambda e: self.faults.append(f'error: {e}'))
        self.page.on('request', lambda r: self.asked.append(r.url))

    def __enter__(self): return self.page
    def __exit__(self, *e): self.ctx.close()


PIXELS = """c => { const t = document.createElement('canvas'); t.width = c.width; t.height = c.height; const x = t.getContext('2d'); x.drawImage(c, 0, 0);
    return [...x.getImageData(0, 0, c.width, c.height).data] }"""


def green(png):
    "How many pixels of a screenshot are as green as the gecko"
    import numpy as np
    from PIL import Image
    r, g, b = np.asarray(Image.open(io.BytesIO(png)).convert('RGB')).astype(int).transpose(2, 0, 1)
    return int(((g > r + 30) & (g > b + 30)).sum())


def test_exported_page_lives_offline(chrome, tmp_path):
    "Opened from the disk, in a folder of its own: no request but itself, a gecko that grows, can be hurt, and heals"
    name = '<b>Gecko</b></script><script>document.title = "evil"</script>'
    file = export_html(NCAModel.from_pretrained('gecko-regenerate'), tmp_path/'a folder'/'gecko.html', name)
    assert [f.name for f in file.parent.iterdir()] == ['gecko.html'] and file.stat().st_size < 200_000
    with (watch := Watch(chrome, viewport=dict(width=390, height=844))) as page:
        page.goto(file.as_uri())
        canvas = page.locator('#creature canvas[role=application]')
        canvas.wait_for()
        old = lambda steps: page.wait_for_function(f'() => +document.querySelector("#creature").shadowRoot.querySelector(".age").textContent.split(" ")[1] > {steps}', timeout=90_000)
        assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
        assert page.title() == name == page.locator('h1').inner_text() and not page.locator('h1 b').count()
        old(120)                                                                             # grown: a young one is greener
        page.get_by_role('button', name='Pause').click()
        whole = green(canvas.screenshot())
        b = canvas.bounding_box()
        page.mouse.move(b['x'] + b['width'] * .5, b['y'] + b['height'] * .4)
        page.mouse.down()
        page.mouse.move(b['x'] + b['width'] * .5, b['y'] + b['height'] * .6, steps=8)
        page.mouse.up()
        page.mouse.move(2, 2)
        hurt = green(canvas.screenshot())
        page.get_by_role('button', name='Play').click()
        old(220)
        healed = green(canvas.screenshot())
        assert whole > 5000 and hurt < .85 * whole and healed > .95 * whole, (whole, hurt, healed)
        assert not watch.faults and watch.asked == [file.as_uri()], (watch.faults, watch.asked)


def test_exported_page_tells_why_it_cannot_live(chrome, tmp_path):
    file = export_html(NCAModel.from_pretrained('gecko-grow'), tmp_path/'gecko.html')
    with (watch := Watch(chrome)) as page:
        page.add_init_script('HTMLCanvasElement.prototype.getContext = () => null')
        page.goto(file.as_uri())
        page.get_by_text('offers no WebGL2').wait_for()
        assert page.locator('img.still').is_visible() and page.evaluate('document.images[0].naturalWidth') > 100
        assert not watch.faults and len(watch.asked) == 1, (watch.faults, watch.asked)


# ---------------------------------------------------------------- JupyterLab

CELLS = ['''import torch
from nca_tutorial.playground import Easel, Playground
w = Playground("gecko-regenerate")
w.step(120)
w''', '''e = Easel()
e''', 'print(QUESTION)']


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "A JupyterLab of its own, with a notebook of three cells; (address, folder)"
    work, home = tmp_path_factory.mktemp('lab'), tmp_path_factory.mktemp('jupyter')
    cell = lambda i, s: dict(cell_type='code', id=f'c{i}', metadata={}, outputs=[], execution_count=None, source=s)
    kernel = dict(kernelspec=dict(name='python3', display_name='python3', language='python'))
    (work/'play.ipynb').write_text(json.dumps(dict(nbformat=4, nbformat_minor=5, metadata=kernel, cells=[cell(i, s) for i, s in enumerate(CELLS)])))
    quiet = home/'lab'/'user-settings'/'@jupyterlab'/'apputils-extension'/'notification.jupyterlab-settings'
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    port = free_port()
    env = {**os.environ, 'JUPYTER_CONFIG_DIR': str(home), 'JUPYTER_DATA_DIR': str(home/'data'), 'JUPYTER_RUNTIME_DIR': str(home/'run'), 'IPYTHONDIR': str(home/'ipython'),
           'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '2')}
    with open(home/'log', 'w') as log:
        p = subprocess.Popen([sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', f'--port={port}', '--ServerApp.port_retries=0', '--IdentityProvider.token=', '--ServerApp.password=',
                              '--ServerApp.disable_check_xsrf=True', f'--ServerApp.root_dir={work}'], env=env, cwd=work, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(240):
            assert p.poll() is None, f'JupyterLab did not start:\n{(home/"log").read_text()[-2000:]}'
            try:
                urllib.request.urlopen(f'http://127.0.0.1:{port}/api', timeout=1)
                break
            except OSError: time.sleep(.25)
        yield f'http://127.0.0.1:{port}/lab/tree/play.ipynb', work
    finally:
        p.terminate()
        p.wait(30)


class Notebook:
    "The open notebook: run it, and ask Python in its last cell"
    def __init__(self, page, url):
        self.page = page
        page.goto(url)
        page.wait_for_selector('.jp-Notebook .jp-Cell', timeout=90_000)
        page.wait_for_selector('.jp-NotebookPanel-toolbar [data-status=idle], .jp-Notebook-ExecutionIndicator[data-status=idle]', state='attached', timeout=90_000)
        for i in (0, 1): self.run(i)
        self.player, self.easel = page.locator('.jp-OutputArea canvas[aria-roledescription="living grid"]').first, page.locator('.easel')
        self.player.wait_for(timeout=120_000)
        self.easel.locator(".sheet").wait_for(timeout=60_000)

    def run(self, i):
        "Ask until it runs: a Lab that is still setting up may overhear the keys"
        cell = self.page.locator('.jp-Cell').nth(i)
        for _ in range(20):
            cell.locator('.cm-content').click()
            self.page.keyboard.press('Control+Enter')
            for _ in range(10):
                if cell.locator('.jp-InputPrompt').inner_text().strip() not in ('', '[ ]:'): return
                self.page.wait_for_timeout(150)
        raise AssertionError(f'cell {i} does not run')

    def ask(self, question):
        "The value of an expression in the kernel"
        mark = f'<{time.monotonic_ns()}>'
        cell = self.page.locator('.jp-Cell').nth(2)
        cell.locator('.cm-content').fill(f'print({mark!r}, {question}, sep="")')
        self.page.keyboard.press('Control+Enter')
        out = cell.locator('.jp-OutputArea-output', has_text=mark)
        out.wait_for(timeout=30_000)
        return eval(out.inner_text().strip().removeprefix(mark))

    def until(self, question, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.ask(question): return
            self.page.wait_for_timeout(200)
        assert self.ask(question), f'{question}: not within {seconds} s'

    def shows(self, steps):
        "Wait until the page has taken the state of this age"
        self.page.wait_for_function('n => document.querySelector(".jp-OutputArea [style*=nca-width]")?.shadowRoot?.querySelector(".age").textContent === `step ${n}`', arg=steps, timeout=30_000)

    def drag(self, where, path):
        "Along points given as shares of the width and height"
        where.scroll_into_view_if_needed()
        b = where.bounding_box()
        spots = [(b['x'] + x * b['width'], b['y'] + y * b['height']) for x, y in path]
        self.page.mouse.move(*spots[0])
        self.page.mouse.down()
        for s in spots[1:]: self.page.mouse.move(*s, steps=6)
        self.page.mouse.up()


def test_in_jupyterlab(chrome, lab):
    url, work = lab
    with (watch := Watch(chrome, JUPYTERS_OWN, viewport=dict(width=1280, height=2000))) as page:      # all in view: what is not seen rests
        nb = Notebook(page, url)
        # the creature lives in the page, and Python hears of it
        nb.until('w.steps > 122')
        page.locator('button[data-do=pause]').first.click()
        nb.until('w.paused')
        assert nb.ask('w.steps') == nb.ask('w.steps')
        # a hand in the page: the cells under it are gone in Python
        before = nb.ask('int((w.state[3] > 0.1).sum())')
        nb.drag(nb.player, [(.5, .4), (.5, .6)])
        nb.until('float(w.state[:, 30:42, 36].abs().max()) == 0')
        after = nb.ask('int((w.state[3] > 0.1).sum())')
        assert 50 < after < before - 50
        # Python's hand: the page goes on from there, with the very same numbers
        age = nb.ask('w.cut("left") or w.step(1) or w.steps')
        nb.shows(age)
        page.locator('button[data-do=step]').first.click()
        nb.until('float(w.state[..., :30].abs().max()) == 0 and float(w.state[3, :, 40:].max()) > 0.1')
        assert nb.ask('w.reset() or w.steps') == 0
        nb.shows(0)
        page.locator('button[data-do=step]').first.click()
        nb.until('w.steps == 1')
        nb.ask('w.play()')
        nb.until('w.steps > 4')
        nb.ask('w.pause()')
        # draw: a stroke, an emoji, undo
        board, easel = nb.easel.locator('.board canvas'), nb.easel
        easel.get_by_label('coral').click()
        nb.drag(board, [(.25, .3), (.75, .3)])
        nb.until('float(e.drawing[3].max()) > 0.9')
        red, green, blue = nb.ask('[round(v, 2) for v in e.drawing[:3, 8, 14].tolist()]')
        assert (red, green, blue) == (0.85, 0.38, 0.23)
        easel.get_by_role('button', name='Emoji').click()
        easel.locator('.emoji button').nth(2).click()
        nb.until('int((e.drawing[3] > 0.5).sum()) > 300')
        easel.get_by_role('button', name='Undo').click()
        nb.until('int((e.drawing[3] > 0.5).sum()) < 200')
        easel.get_by_role('button', name='Eraser').click()
        nb.drag(board, [(.25, .3), (.75, .3)])
        nb.until('int((e.drawing[3] > 0.5).sum()) == 0')
        # what Python draws appears in the page
        nb.ask('setattr(e, "drawing", torch.eye(4)[[0, 3]].sum(0)[:, None, None] * torch.ones(4, 28, 28))')
        page.wait_for_function(f"() => String(({PIXELS})(document.querySelector('.easel .board canvas')).slice(0, 4)) === '255,0,0,255'", timeout=30_000)
        easel.get_by_role('button', name='Clear').click()
        nb.until('float(e.drawing.abs().max()) == 0')
        easel.get_by_role('button', name='Train').click()
        easel.get_by_text('Draw something first.').wait_for()
        # train: the preview moves (`make bench` says how often a second), the kernel answers meanwhile, and it stops when asked
        easel.locator('.emoji button').nth(2).click()
        easel.get_by_role('button', name='Train').click()
        easel.get_by_role('button', name='Stop').wait_for()
        page.wait_for_function("document.querySelector('.easel .facts').textContent.includes('error')", timeout=30_000)
        page.evaluate("""async () => { const c = document.querySelector('.easel .stage:not(.board) canvas'), seen = new Set()
            while (seen.size < 5) { seen.add(c.toDataURL()); await new Promise(r => setTimeout(r, 40)) } }""")      # however long it takes
        assert nb.ask('e.training') is True
        easel.get_by_role('button', name='Stop').click()
        easel.get_by_role('button', name='Train again').wait_for(timeout=20_000)
        easel.get_by_text('Stopped early').wait_for()
        assert nb.ask('(e.training, len(e.losses) > 5, e.model is not None)') == (False, True, True)
        # play with it, save it, write its page
        easel.locator('canvas[aria-roledescription="living grid"]').wait_for(timeout=20_000)
        easel.get_by_role('button', name='Export page').click()
        easel.get_by_text('works anywhere, offline').wait_for(timeout=20_000)
        easel.get_by_role('button', name='Save').click()
        easel.get_by_text('Saved as the folder').wait_for()
        assert {'my-creature', 'my-creature.html'} <= {f.name for f in work.iterdir()}
        # a training that fails says so in the widget
        nb.ask('e.train((dict(steps=1, lr=-1.0), dict(steps=1)))')
        easel.get_by_text('The training failed: lr').wait_for()
        assert not watch.faults, '\n'.join(watch.faults)


def test_every_control_in_jupyterlab(chrome, lab):
    "Pressed one by one, and asked of Python what came of it; `test_in_jupyterlab` has pressed Train, Stop, Save and Export page"
    url, work = lab
    (work/'press.ipynb').write_text((work/'play.ipynb').read_text())
    saved = json.loads((work/'press.ipynb').read_text())
    for c in saved['cells']: c['outputs'] = []
    (work/'press.ipynb').write_text(json.dumps(saved))
    from PIL import Image
    Image.new('RGB', (40, 40), (255, 0, 0)).save(work/'red.png')
    (work/'no.png').write_text('not a picture')
    with (watch := Watch(chrome, JUPYTERS_OWN, viewport=dict(width=1280, height=2000))) as page:
        nb = Notebook(page, url.replace('play.ipynb', 'press.ipynb?reset'))          # without the tab that was left open
        # -- the player
        card = page.locator('.jp-OutputArea [style*=nca-width]').first
        js = lambda question: card.evaluate(f'e => (p => {question})(e.nca)')
        pressed = set()

        def press(name):
            pressed.add(name)
            return card.locator(f'[data-do={name}]')

        press('pause').click()
        nb.until('w.paused')
        age = nb.ask('w.steps')
        press('step').click()
        nb.until(f'w.steps == {age + 1}')
        press('plant').click()
        spot = nb.player.bounding_box()
        page.mouse.click(spot['x'] + spot['width'] * .1, spot['y'] + spot['height'] * .1)
        nb.until('float(w.state[3, 3:12, 3:12].sum()) == 1')
        press('wound').click()
        assert js('p.tool') == 'wound'
        page.mouse.click(spot['x'] + spot['width'] * .1, spot['y'] + spot['height'] * .1)
        nb.until('float(w.state[3, 3:12, 3:12].sum()) == 0')
        press('cut').click()
        nb.until('float(w.state[..., 36:].abs().max()) == 0 and float(w.state[3].max()) > 0.5')
        press('reset').click()
        nb.until('w.steps == 0 and float(w.state[3].sum()) == 1')
        press('more').click()
        for name, question in (('brush', 'True'), ('speed', 'w.speed == 240'), ('turn', 'abs(w.angle) == 180')):
            press(name).focus()
            page.keyboard.press('End')
            nb.until(question)
        assert js('p.brush') == 20
        press('channel').select_option('7')
        assert js('p.channel') == 7 and card.locator('.legend').is_visible()
        press('film').click()
        press('film').click()
        card.locator('a[download]').wait_for(timeout=20_000)
        press('full').click()
        page.wait_for_function('document.fullscreenElement')
        press('full').click()
        page.wait_for_function('!document.fullscreenElement')
        shown = card.evaluate("e => [...e.shadowRoot.querySelectorAll('button, select, input')].filter(c => c.checkVisibility()).map(c => c.dataset.do)")
        assert set(shown) == pressed, set(shown) ^ pressed
        # -- the easel: every colour, every emoji, a letter, pictures, the brush, the keyboard
        easel, board = nb.easel, nb.easel.locator('.board canvas')
        for swatch in easel.locator('.swatch').all():
            swatch.click()
            assert swatch.get_attribute('aria-pressed') == 'true' and easel.locator('.swatch[aria-pressed=true]').count() == 1
        easel.get_by_label('Any colour').fill('#0000ff')
        easel.get_by_role('slider', name='Brush').fill('9')
        nb.drag(board, [(.5, .5), (.5, .5)])
        nb.until('40 < int((e.drawing[3] > 0.5).sum()) < 90 and e.drawing[:, 14, 14].tolist() == [0, 0, 1, 1]')
        easel.get_by_role('slider', name='Brush').fill('1')
        easel.get_by_role('button', name='Clear').click()
        board.focus()
        for key in ('ArrowRight', 'ArrowDown', 'Space'): page.keyboard.press(key)
        nb.until('int((e.drawing[3] > 0.5).sum()) in range(1, 5)')
        board.focus()                                               # asking Python took it away
        page.keyboard.press('Control+z')
        nb.until('float(e.drawing[3].max()) == 0')
        easel.get_by_role('button', name='Emoji').click()
        inks = set()
        for emoji in easel.locator('.emoji button').all():
            emoji.click()
            nb.until('int((e.drawing[3] > 0.5).sum()) > 100')
            inks.add(nb.ask('round(float(e.drawing.sum()), 3)'))
        assert len(inks) == easel.locator('.emoji button').count(), 'two emoji look the same'
        easel.get_by_label('Another emoji or letter').fill('A')
        page.keyboard.press('Enter')
        nb.until(f'round(float(e.drawing.sum()), 3) not in {inks} and float(e.drawing[3].max()) > 0.9')
        easel.locator('input[type=file]').set_input_files(str(work/'no.png'))
        easel.get_by_text('no.png is not a picture').wait_for()
        easel.locator('input[type=file]').set_input_files(str(work/'red.png'))
        nb.until('e.drawing[:, 14, 14].tolist() == [1, 0, 0, 1]')
        easel.get_by_role('button', name='Undo').click()
        nb.until('e.drawing[:, 14, 14].tolist() != [1, 0, 0, 1]')
        assert not watch.faults, '\n'.join(watch.faults)
