"""Creatures in the page: the same numbers as PyTorch, every control in a real browser, and a kind word where they cannot live.

Pages come from the built site; WebGL2 runs in software, so creatures are slow here and a test asks for steps instead of waiting for them.
"""
import base64, io, json, re, struct
from collections import Counter
from html import escape as html_escape

import numpy as np
import pytest
import torch

from conftest import ROOT, SITE, Visit

from nca_tutorial.core import NCAModel, seed_state
from nca_tutorial.life import life_step
from nca_tutorial.playground import export_html, export_web
from nca_tutorial.targets import load_target

NAMES = sorted(f.parent.name for f in (ROOT/'nca_tutorial'/'creatures').glob('*/config.json'))
BARE = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body style="margin:0">'
TOOLS = """window.bytes = s => Uint8Array.from(atob(s), c => c.charCodeAt(0)).buffer;
window.base64 = f => { const u = new Uint8Array(f.buffer); let s = ''; for (let i = 0; i < u.length; i += 8192) s += String.fromCharCode(...u.subarray(i, i + 8192)); return btoa(s) };
window.load = () => import(location.origin + '/_static/nca.js').then(m => { window.nca = m })"""


def pack(data): return base64.b64encode(data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()).decode()
def unpack(text, shape): return torch.from_numpy(np.frombuffer(base64.b64decode(text), '<f4').reshape(shape).copy())


@pytest.fixture(scope='module')
def stage(browser, base):
    "An empty page of the site with the module loaded"
    with Visit(browser, base, 'stage.html', html=BARE, before=TOOLS) as v:
        v.page.evaluate('load()')
        yield v


def settle(v, ask="document.querySelector('[data-nca]')"):
    "Wait until the first creature of a page is awake"
    v.page.wait_for_function(f"{ask}.nca?.engine", timeout=90_000)
    return v.page


ALPHA = '[...p.engine.read().slice(3 * 5184, 4 * 5184)]'    # of the player p, on 72 by 72 cells

def asker(page, of='[data-nca]'):
    "Ask the page about its first player or board of this kind, which the question calls p"
    return lambda question: page.evaluate(f"(() => {{ const p = document.querySelector('{of}').nca; return {question} }})()")


# ---------------------------------------------------------------- the numbers

def random_model(seed=0, **settings):
    g = torch.Generator().manual_seed(seed)
    model = NCAModel(generator=g, **settings)
    with torch.no_grad():
        for p in list(model.update.parameters())[-2:]: p.copy_((torch.rand(p.shape, generator=g) - 0.5) * 0.05)
    return model

OTHERS = {
    'torus, four kernels, no mask': dict(channels=12, hidden=40, kernels=('identity', 'sobel_x', 'sobel_y', 'laplacian'), padding='wrap', alive_threshold=None),
    'torus with a mask, odd sizes': dict(channels=10, hidden=33, kernels=('sobel_y', 'identity', 'sobel_x'), padding='wrap', output_bias=False),
    'more channels than a card writes at once': dict(channels=38, hidden=12),
    'no hidden layer': dict(channels=7, hidden=0, kernels=('identity', 'sobel_x', 'sobel_y', 'laplacian'), padding='wrap', alive_threshold=None),
    'no hidden layer, zeros': dict(channels=12, hidden=0, kernels=('identity', 'laplacian', 'sobel_x')),
    'a network larger than a uniform block': dict(channels=16, hidden=400),
}

def runs(stage, tmp_path, model, x, angle=0.0, steps=(1, 10, 100)):
    "The largest difference between the page and `NCAModel.step` after so many steps with the same dice"
    _, channels, h, w = x.shape
    fires = torch.rand(max(steps), 1, 1, h, w, generator=torch.Generator().manual_seed(3)) < model.fire_rate
    file, y, want = export_web(model, tmp_path/'x.nca', size=(h, w)), x, {}
    model.engine = 'dense'
    with torch.no_grad():
        for i, fire in enumerate(fires, 1):
            y = model.step(y, fire=fire, angle=angle)
            if i in steps: want[i] = y[0]
    got = stage.page.evaluate("""([file, x, fires, h, w, angle, at]) => {
        const engine = new nca.Engine(nca.parse(bytes(file)), { height: h, width: w }), dice = new Uint8Array(bytes(fires)), got = {}
        engine.write(new Float32Array(bytes(x)))
        for (let i = 0; i < dice.length / (h * w); i++) {
            engine.step(1, { angle, fire: dice.subarray(i * h * w, (i + 1) * h * w) })
            if (at.includes(i + 1)) got[i + 1] = base64(engine.read())
        }
        const fault = engine.gl.getError()
        engine.dispose(); engine.gl.getExtension('WEBGL_lose_context').loseContext()
        return { got, fault } }""", [pack(file.read_bytes()), pack(x.numpy().astype('<f4')), pack(fires.numpy().astype('u1')), h, w, angle, list(steps)])
    assert not got['fault']
    return {n: (unpack(got['got'][str(n)], (channels, h, w)) - want[n]).abs().max().item() for n in want}


@pytest.mark.parametrize('name', NAMES)
def test_page_and_pytorch_agree_on_every_creature(stage, tmp_path, name):
    model, g = NCAModel.from_pretrained(name), torch.Generator().manual_seed(0)
    x = torch.rand(1, model.channels, 36, 40, generator=g) - 0.5
    if model.alive_threshold is not None:
        with torch.no_grad(): x = model(seed_state(1, model.channels, (36, 40)), 20, g)
    far = runs(stage, tmp_path, model, x)
    assert max(far.values()) < 1e-3, far


@pytest.mark.parametrize('angle', [0.0, 33.0])
@pytest.mark.parametrize('kind', OTHERS)
def test_page_and_pytorch_agree_on_any_model(stage, tmp_path, kind, angle):
    model = random_model(**OTHERS[kind])
    if angle and 'sobel_y' not in model.kernels: pytest.skip('this one cannot be turned')
    x = torch.rand(1, model.channels, 19, 24, generator=torch.Generator().manual_seed(1)) - 0.3
    far = runs(stage, tmp_path, model, x, angle, (1, 10, 30))
    assert max(far.values()) < 1e-3, far


@pytest.mark.parametrize('rate', [0.0, 0.3, 1.0])
def test_dice_of_the_page(stage, tmp_path, rate):
    "Cells fire at their rate, other cells in each step, and never at 0"
    model = random_model(channels=4, hidden=0, kernels=('identity', 'laplacian'), alive_threshold=None, fire_rate=rate)
    with torch.no_grad(): p = list(model.update.parameters()); p[0].zero_(); p[1].fill_(1)      # whoever fires counts one up
    counts = stage.page.evaluate("""f => { const e = new nca.Engine(nca.parse(bytes(f))); e.write(new Float32Array(4 * 72 * 72)); const one = []
        for (let i = 0; i < 50; i++) { e.step(); if (i < 2) one.push(base64(e.read())) } one.push(base64(e.read())); e.gl.getExtension('WEBGL_lose_context').loseContext(); return one }""",
        pack(export_web(model, tmp_path/'x.nca').read_bytes()))
    first, second, last = (unpack(c, (4, 72, 72))[0] for c in counts)
    assert abs(last.mean() / 50 - rate) < 0.01
    if rate == 0.3:
        assert abs(((second - first) * first).mean() - rate**2) < 0.02                       # two steps, two throws
        assert abs(last.var() - 50 * rate * (1 - rate)) < 1.5
        assert last.mean(0).std() < 2 and last.mean(1).std() < 2                             # no stripes


def test_hands_of_the_engine(stage, tmp_path):
    model = random_model()
    f = pack(export_web(model, tmp_path/'x.nca', size=(20, 30)).read_bytes())
    def state(js): return unpack(stage.page.evaluate(f"f => {{ const e = new nca.Engine(nca.parse(bytes(f))); {js}; const s = base64(e.read()); e.gl.getExtension('WEBGL_lose_context').loseContext(); return s }}", f), (16, 20, 30))
    assert torch.equal(state(''), seed_state(1, 16, (20, 30))[0])
    ones = 'e.write(new Float32Array(16 * 600).fill(1));'
    y, x = torch.meshgrid(torch.arange(20), torch.arange(30), indexing='ij')
    assert torch.equal(state(ones + 'e.wound(8, 5, 3)')[7], ((y - 5)**2 + (x - 8)**2 > 9).float())
    stroke = state(ones + 'e.wound(20, 5, 2, 10, 5)')[0]
    assert torch.equal(stroke, ((y - 5)**2 + (x - x.clamp(10, 20))**2 > 4).float())
    for side, kept in dict(left=x >= 15, right=x < 15, top=y >= 10, bottom=y < 10).items():
        assert torch.equal(state(ones + f'e.cut("{side}")')[3], kept.float()), side
    planted = state('e.cut("left"); e.cut("right"); e.seed(4, 3)')
    assert planted[3:, 3, 4].eq(1).all() and planted.sum() == 13
    torch.testing.assert_close(state('e.write(new Float32Array(16 * 600).map((_, i) => Math.sin(i)))'), torch.arange(9600.).sin().view(16, 20, 30), atol=1e-5, rtol=0)
    for bad in ('e.cut("middle")', 'e.write(new Float32Array(3))', 'e.step(1, { fire: new Uint8Array(3) })'):
        assert stage.page.evaluate(f"f => {{ const e = new nca.Engine(nca.parse(bytes(f))); try {{ {bad}; return '' }} catch (x) {{ return x.message }} finally {{ e.gl.getExtension('WEBGL_lose_context').loseContext() }} }}", f).endswith('.')


# ---------------------------------------------------------------- broken and foreign files

def file_of(name='gecko-grow'): return (SITE/'_static'/'creatures'/f'{name}.nca').read_bytes()
def with_header(change, numbers=None):
    data = file_of()
    length, = struct.unpack('<I', data[4:8])
    head = json.loads(data[8:8 + length])
    change(head)
    text = json.dumps(head).encode()
    text += b' ' * (-len(text) % 4)
    return b'NCA1' + struct.pack('<I', len(text)) + text + (data[8 + length:] if numbers is None else numbers)

BROKEN = {
    'empty': lambda: b'', 'short': lambda: b'NCA1\0\0', 'foreign': lambda: b'PK\3\4' + file_of()[4:], 'a page': lambda: b'<!doctype html><title>404</title>' * 9,
    'truncated': lambda: file_of()[:-400], 'cut in a number': lambda: file_of()[:-2], 'header only': lambda: file_of()[:300], 'too long': lambda: file_of() + b'\0' * 8,
    'huge header': lambda: b'NCA1' + struct.pack('<I', 2**32 - 4) + file_of()[8:], 'huge file': lambda: b'NCA1' + b'\0' * 4_100_000,
    'no JSON': lambda: b'NCA1' + struct.pack('<I', 8) + b'nonsense' + b'\0' * 64, 'a list': lambda: b'NCA1' + struct.pack('<I', 4) + b'[1] ' + b'\0' * 64,
    'NaN': lambda: file_of()[:-4] + struct.pack('<f', float('nan')), 'infinite': lambda: file_of()[:-8] + struct.pack('<ff', float('inf'), 0),
    **{f'{k} = {v!r}': (lambda k=k, v=v: with_header(lambda h: h.update({k: v}))) for k, v in [
        ('channels', 1e9), ('channels', '16'), ('channels', -16), ('hidden', 10**7), ('hidden', 2.5), ('fire_rate', 2), ('fire_rate', None), ('kernels', []), ('kernels', ['identity', 'evil']),
        ('kernels', 'identity'), ('padding', 'mirror'), ('alive_threshold', 'x'), ('size', [10**6, 10**6]), ('size', [0, 5]), ('size', 72), ('name', 7), ('kind', 'virus'), ('hidden', 64)]},
}

def test_broken_files_are_refused_with_a_sentence(stage):
    said = {name: stage.page.evaluate("f => { try { nca.parse(bytes(f)); return null } catch (e) { return e.message } }", pack(make())) for name, make in BROKEN.items()}
    assert all(s and s.endswith('.') and len(s) < 140 and s.startswith('This') for s in said.values()), said


def serve(v, name, data): v.ctx.route(f'**/creatures/{name}.nca', lambda route: route.fulfill(body=data))


def test_broken_files_in_a_page(browser, base):
    "A message in its place, the page's own words below it, and nothing in the console"
    html = BARE + ''.join(f'<div data-nca="{n}" style="width:300px"><em>instead of {n}</em></div>' for n in ('gecko-grow', 'gecko-persist', 'no-such-thing', '../../secret'))
    with Visit(browser, base, 'broken.html', html=html, before=TOOLS) as v:
        for n, data in {'gecko-grow': BROKEN['truncated'](), 'gecko-persist': BROKEN['NaN']()}.items():
            serve(v, n, data)
        v.page.evaluate('load().then(() => nca.mountAll())')
        v.page.wait_for_function("[...document.querySelectorAll('[data-nca]')].every(e => e.nca.stopped)")
        for e in v.page.locator('[data-nca]').all():
            note = e.locator('.note p')
            assert note.is_visible() and e.locator('em').is_visible() and len(note.inner_text()) > 30
        v.page.evaluate("nca.mount(document.body.appendChild(document.createElement('div')), { model: new ArrayBuffer(40) })")
        assert v.page.locator('.note').count() == 5
        assert not v.faults, v.faults


def test_missing_file_and_lost_connection(browser, base):
    html = BARE + '<div data-nca="gecko-grow"></div><div data-nca="gecko-persist"></div>'
    with Visit(browser, base, 'missing.html', html=html, before=TOOLS) as v:
        v.ctx.route('**/creatures/gecko-grow.nca', lambda route: route.fulfill(status=404, body='no'))
        v.ctx.route('**/creatures/gecko-persist.nca', lambda route: route.abort())
        v.page.evaluate('load().then(() => nca.mountAll())')
        v.page.wait_for_function("[...document.querySelectorAll('[data-nca]')].every(e => e.nca.stopped)")
        assert '404' in v.page.locator('.note').first.inner_text() and 'connection' in v.page.locator('.note').last.inner_text()
        assert not [f for f in v.faults if 'error:' in f.split('console')[0] and 'Uncaught' in f], v.faults


def test_creatures_too_large_for_a_page(stage, tmp_path):
    "Numbers that are each in range and together are not: no page could hold them"
    file = lambda settings, size: pack(export_web(random_model(**settings), tmp_path/'x.nca', size=size).read_bytes())
    for settings in (dict(channels=64, hidden=8), dict(channels=16, hidden=1000)):
        said = stage.page.evaluate("f => { try { nca.parse(bytes(f)); return null } catch (e) { return e.message } }", file(settings, 1024))
        assert said == 'This creature is too large for a page: fewer cells, channels or hidden units would do.', settings
        said = stage.page.evaluate("f => { try { new nca.Engine(nca.parse(bytes(f)), { height: 1024, width: 1024 }); return null } catch (e) { return e.message } }", file(settings, 40))
        assert said == 'A world of 1024 by 1024 cells cannot be made.', settings


@pytest.mark.parametrize('listed', ['[null, 3, [], {"name": {}}, {"name": "gecko-grow", "kind": 7, "title": []}]', '{"a": 1}', '[', ''])
def test_a_broken_list_of_creatures(browser, base, listed):
    with Visit(browser, base, 'list.html', html=BARE + '<div data-nca="gecko-persist"><em>instead</em></div>', before=TOOLS) as v:
        v.ctx.route('**/creatures/index.json', lambda route: route.fulfill(body=listed, content_type='application/json'))
        v.page.evaluate('load().then(() => nca.mountAll())')
        v.page.wait_for_function("document.querySelector('[data-nca]').nca.stopped")
        assert v.page.locator('.note p').inner_text() == 'There is no creature called “gecko-persist” here.' and v.page.locator('em').is_visible()
        assert not v.faults, v.faults


NO_PROGRAM = 'WebGL2RenderingContext.prototype.getProgramParameter = () => false'

def test_an_exported_page_keeps_its_picture_where_it_cannot_live(browser, base, tmp_path):
    "A damaged file, or a card that refuses only when it is asked to compute"
    html = export_html(NCAModel.from_pretrained('gecko-grow'), tmp_path/'x.html').read_text(encoding='utf-8')
    for weights, before, said in ((pack(BROKEN['NaN']()), '', 'not finite'), (pack(b'NCA1'), '', 'far too short'), (None, NO_PROGRAM, 'refused a program')):
        with Visit(browser, base, 'page.html', html=re.sub(r'(\{"weights": ")[^"]*', lambda m: m[1] + weights, html) if weights else html, before=before) as v:
            v.page.get_by_text(said).wait_for()
            assert v.page.locator('img.still').is_visible() and not v.faults, v.faults


# ---------------------------------------------------------------- what an element asks for

EVIL = '<img src=x onerror="window.evil=1">'
NO_NUMBER = ['', 'abc', 'NaN', 'Infinity', '1e309', '-1e309', '0x10', '-1', '1e6', '12px', '1 2', '１２', '1,000', 'null', 'constructor', EVIL]
PLAYER, LIFE = 'data-nca="gecko-grow"', 'data-life'
REFUSED = [(kind, name, value, expected) for kind, name, expected, values in [
    (PLAYER, 'age', 'a whole number from 0 to 100000', NO_NUMBER + ['2.5', '100001', '-0.5']),
    (LIFE, 'width', 'a whole number from 3 to 512', NO_NUMBER + ['2.5', '513', '2', '0']),
    (LIFE, 'height', 'a whole number from 3 to 512', NO_NUMBER + ['2.5']),
    (LIFE, 'speed', 'a number from 0.1 to 240', NO_NUMBER + ['0']),
    (PLAYER, 'speed', 'a number from 0.1 to 1000', NO_NUMBER + ['0']),
    (PLAYER, 'brush', 'a number from 1 to 20', NO_NUMBER + ['0']),
    (PLAYER, 'angle', 'a number from -360 to 360', [v for v in NO_NUMBER if v != '-1'] + ['-361']),
    (PLAYER, 'size', 'one or two whole numbers from 1 to 512', ['', '0', '72 x', '72,96', '1e5 1e5', '72 96 4', '2.5', 'NaN', '-3 4', EVIL]),
    (PLAYER, 'show', 'some of brush, speed, turn', ['constructor', 'turn __proto__', 'Speed', EVIL]),
    (LIFE, 'life', 'one of glider, spaceship, ', ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'Glider', 'gosper', 'x' * 300, EVIL]),
    (LIFE, 'rule', 'a rule such as B3/S23', ['', 'B3', 'B9/S23', 'S23', 'life', '3', '-3/2', 'B3/S23/4', '__proto__', EVIL]),
    (LIFE, 'wrap', 'yes or no', ['maybe', '2', 'constructor', EVIL]), (LIFE, 'paused', 'yes or no', ['maybe', '__proto__']),
    (PLAYER, 'controls', 'yes or no', ['maybe', '__proto__']), (PLAYER, 'paused', 'yes or no', ['maybe', '__proto__']),
    (LIFE, 'hint', 'at most 200 characters', ['x' * 300]), (PLAYER, 'hint', 'at most 200 characters', ['x' * 300]), (PLAYER, 'title', 'at most 200 characters', ['x' * 300]),
    (PLAYER, 'film', 'the address of a file or folder', ['', 'javascript:evil=1', 'http://[']), (PLAYER, 'base', 'the address of a file or folder', ['', 'data:,x', 'http://[']),
    ('', 'nca', 'the name of a creature', ['', '  '])] for value in values]


def element(kind, name, value, inside='<em>instead</em>'):
    return f'<div {"" if kind == f"data-{name}" else kind} data-{name}="{html_escape(value)}">{inside}</div>'


def test_what_an_element_asks_for_in_vain(browser, base):
    """Each bad element says which attribute it is, what came and what is expected, as text above its own words; and a good board before,
    between and after them lives"""
    good = '<div class="good" data-life="glider" data-speed="60"></div>'
    made = [element(*r[:3]) for r in REFUSED]
    with Visit(browser, base, 'asked.html', html=BARE + good + ''.join(made[:50]) + good + ''.join(made[50:]) + good, before=TOOLS) as v:
        v.page.evaluate('load().then(() => nca.mountAll())')
        said = v.page.evaluate("""[...document.querySelectorAll('div:not(.good)')].map(e => [!!e.nca?.stopped, e.shadowRoot?.querySelector('.note p')?.textContent,
            !!e.firstChild.assignedSlot, [...e.shadowRoot?.querySelectorAll('img') ?? []].length])""")
        assert len(said) == len(REFUSED)
        wrong = []
        for (kind, name, value, expected), (stopped, text, below, images) in zip(REFUSED, said):
            came = value.strip()
            came = f'“{came[:60]}…”' if len(came) > 60 else f'“{came}”' if came else 'nothing'
            if not (stopped and below and not images and text.startswith(f'This living picture cannot be shown. data-{name}: got {came}; expected {expected}')): wrong.append((name, value, text))
        assert not wrong, wrong
        assert v.page.evaluate('window.evil') is None and not v.page.locator('img').count()
        for i in range(3):
            v.page.locator('.good').nth(i).scroll_into_view_if_needed()
            v.page.wait_for_function(f"document.querySelectorAll('.good')[{i}].nca.generation > 3")
        assert not v.faults, v.faults


BORN, ALIVE = '[p.born, p.stay]', 'p.cells.reduce((a, b) => a + b)'
GRANTED = [(LIFE, 'width', ' 12 ', 'p.width', 12), (LIFE, 'height', '1e2', 'p.height', 100), (LIFE, 'width', '+40.0', 'p.width', 40), (LIFE, 'speed', '.5', 'p.speed', .5), (LIFE, 'width', '3', 'p.cells.length', 108),
    (LIFE, 'life', '', ALIVE, 5), (LIFE, 'life', ' Gosper gun ', ALIVE, 36), (LIFE, 'rule', 'b36/s23', BORN, [[3, 6], [2, 3]]), (LIFE, 'rule', ' 23/36 ', BORN, [[3, 6], [2, 3]]), (LIFE, 'rule', 'B/S', BORN, [[], []]),
    (LIFE, 'wrap', 'no', 'p.wrap', False), (LIFE, 'wrap', 'FALSE', 'p.wrap', False), (LIFE, 'wrap', '', 'p.wrap', True), (LIFE, 'paused', '', 'p.paused', True), (LIFE, 'paused', 'no', 'p.paused', False),
    (LIFE, 'hint', EVIL, 'p.hint.textContent', EVIL), (LIFE, 'hint', '', 'p.hint.textContent', ''), (LIFE, 'age', 'not asked here', 'p.generation', 0),
    (PLAYER, 'age', '1e2', 'p.options.age', 100), (PLAYER, 'age', '100000', 'p.options.age', 100000), (PLAYER, 'speed', '60', 'p.speed', 60), (PLAYER, 'angle', '-90', 'p.angle', -90),
    (PLAYER, 'size', '40', 'p.options.size', [40, 40]), (PLAYER, 'size', ' 40  50 ', 'p.options.size', [40, 50]), (PLAYER, 'paused', 'true', 'p.paused', True), (PLAYER, 'paused', 'no', 'p.paused', False),
    (PLAYER, 'title', EVIL, 'p.dish.querySelector(".title").textContent', EVIL), (PLAYER, 'controls', 'no', 'p.options.controls', False), (PLAYER, 'show', 'speed  turn', 'p.options.show', 'speed  turn'),
    (PLAYER, 'model', 'x', 'p.options.model ?? null', None), (PLAYER, '__proto__', '7', 'p.speed', 30)]


def test_what_an_element_asks_for_and_gets(browser, base):
    "Far below, where nothing is awake yet; of an attribute that is written twice, HTML takes the first"
    html = BARE + '<div style="height:9000px"></div>' + ''.join(element(*r[:3]) for r in GRANTED) + f'<div {PLAYER} data-speed="8" data-speed="abc"></div>'
    with Visit(browser, base, 'granted.html', html=html, before=TOOLS) as v:
        v.page.evaluate('load().then(() => nca.mountAll())')
        wanted = [(f'{name} {value}', ask, want) for _, name, value, ask, want in GRANTED] + [('speed twice', 'p.speed', 8)]
        for (what, ask, want), e in zip(wanted, v.page.locator('[data-nca], [data-life]').all()):
            assert e.evaluate(f'e => {{ const p = e.nca; return p.stopped ? p.card.textContent : {ask} }}') == want, what
        assert v.page.evaluate('window.evil') is None and not v.faults, v.faults


@pytest.mark.parametrize('call, said', [
    ("mountLife(e, { pattern: 'constructor' })", 'pattern: got “constructor”; expected one of glider'), ("mountLife(e, { width: -5 })", 'width: got “-5”; expected a whole number from 3 to 512'),
    ("mountLife(e, { height: NaN })", 'height: got “NaN”'), ("mountLife(e, { rule: 7 })", 'rule: got “7”'), ("mountLife(e, { width: 1e9 })", 'width: got “1000000000”'),
    ("mount(e, { name: 'gecko-grow', age: Infinity })", 'age: got “Infinity”'), ("mount(e, { name: 'gecko-grow', size: [1e9, 1e9] })", 'size: got “1000000000,1000000000”'),
    ("mount(e, { name: 'gecko-grow', size: [] })", 'size: got nothing'), ("mount(e, { model: {} })", 'This living picture cannot be shown here'), ("mount(e, { model: 'x' })", 'This living picture cannot be shown here')])
def test_what_a_script_asks_for_in_vain(stage, call, said):
    text = stage.page.evaluate(f"(async () => {{ const e = document.body.appendChild(document.createElement('div')); const p = nca.{call}; await p.wake?.(); e.remove(); return p.card.textContent }})()")
    assert said in text and not stage.faults, text


def test_elements_that_can_hold_no_card(browser, base):
    "A picture, a row of a table, a drawing, the page itself; one that asks for both kinds; and the same id twice"
    html = BARE.replace('<body', '<body data-life="glider"') + """<div id="a" data-life="glider"></div><div id="a" data-life="acorn"></div><img data-nca="gecko-grow" alt="a picture" src="data:,">
        <table><tr data-life><td>cell</td></tr></table><svg data-life="glider" width="9" height="9"></svg><div class="both" data-nca="gecko-grow" data-life="glider"><em>instead</em></div><div class="last" data-life="pulsar"></div>"""
    with Visit(browser, base, 'odd.html', html=html, before=TOOLS) as v:
        for _ in range(2):                                                                   # once more: nothing is left over from the first time
            v.page.evaluate('load().then(() => nca.mountAll())')
            assert v.page.locator('p[role=note]').all_inner_texts() == ['A living picture needs a div of its own.'] * 4
            assert v.page.locator('.both .note p').inner_text() == 'This living picture cannot be shown. data-nca and data-life: got both; expected one of them.'
            assert v.page.locator('em').is_visible() and v.page.locator('td').is_visible()
        for i in range(2): v.page.wait_for_function(f"document.querySelectorAll('#a')[{i}].nca.generation > 2")
        v.page.locator('.last').scroll_into_view_if_needed()
        v.page.wait_for_function("document.querySelector('.last').nca.generation > 2")
        assert not [f for f in v.faults if 'data:,' not in f], v.faults


def test_who_lived_here_before_is_gone(stage):
    "Mounting into a place that is taken ends what was there: its clock and its listeners, too"
    assert stage.page.evaluate("""(() => { const e = document.body.appendChild(document.createElement('div')), one = nca.mountLife(e, {}), two = nca.mountLife(e, { pattern: 'acorn' })
        const said = [one.disposed, one.running(), two.disposed, e.nca === two]; two.dispose(); e.remove(); return said })()""") == [True, False, False, True]


def test_a_pattern_larger_than_its_board_stays_on_it(stage):
    cells, said = stage.page.evaluate("""(() => { const e = document.body.appendChild(document.createElement('div')), p = nca.mountLife(e, { pattern: 'Gosper gun', width: 12, height: 9, paused: true })
        const r = [[...p.cells], p.status.textContent]; p.dispose(); e.remove(); return r })()""")
    gun = np.array(cells).reshape(9, 12)
    assert said == 'The board is too small: a part of Gosper gun is missing.' and gun.sum() == 4 and gun[6:8, 2:4].all(), 'only its left block fits'


GAP = "(() => { let last = performance.now(); setInterval(() => { const now = performance.now(); window.gap = Math.max(window.gap ?? 0, now - last); last = now }, 20) })()"

def test_a_long_age_is_lived_in_slices(browser, base):
    "The page answers all the time, the board beside it lives on, and who stops the time stops the growing up"
    html = BARE + '<div data-nca="gecko-grow" data-age="100000" style="width:300px"></div><div data-life="glider" data-speed="60"></div>'
    with Visit(browser, base, 'age.html', html=html, before=TOOLS + ';' + GAP) as v:
        v.page.evaluate('load().then(() => nca.mountAll())')
        settle(v).evaluate('window.gap = 0')                                                 # the card has its programs now
        me, life = asker(v.page), asker(v.page, '[data-life]')
        v.page.wait_for_function("document.querySelector('[data-nca]').nca.engine.steps > 40", timeout=90_000)
        assert v.page.evaluate('window.gap') < 2000 and me('p.status.textContent') == 'Growing up to step 100000 …'
        generation = life('p.generation')
        v.page.wait_for_function(f"document.querySelector('[data-life]').nca.generation > {generation + 5}")
        v.page.locator('[data-nca] [data-do=pause]').click()
        steps = me('p.engine.steps')
        assert steps < 100000 and me('p.young') == 0
        v.page.wait_for_timeout(300)
        assert me('[p.engine.steps, p.status.textContent]') == [steps, ''] and not v.faults, v.faults


def test_a_grown_creature_for_those_who_want_no_motion(browser, base):
    with Visit(browser, base, 'calm.html', html=BARE + '<div data-nca="gecko-persist" data-age="130" style="width:300px"></div>', before=TOOLS, reduced_motion='reduce') as v:
        v.page.evaluate('load().then(() => nca.mountAll())')
        settle(v)
        v.page.wait_for_function("document.querySelector('[data-nca]').nca.engine.steps === 130", timeout=90_000)
        v.page.wait_for_timeout(300)
        assert asker(v.page)('[p.engine.steps, p.paused, p.running(), p.age.textContent, p.status.textContent]') == [130, True, False, 'step 130', '']
        assert not v.faults, v.faults


def test_a_fault_in_a_step_is_said_once(browser, base):
    with Visit(browser, base, 'fault.html', html=BARE + '<div data-life="glider" data-speed="60"><em>instead</em></div>' * 2, before=TOOLS) as v:
        v.page.evaluate("load().then(() => { nca.mountAll(); document.querySelector('[data-life]').nca.step = () => { window.times = (window.times ?? 0) + 1; throw new Error('no card') } })")
        v.page.locator('.note').wait_for()
        generation = v.page.evaluate("document.querySelectorAll('[data-life]')[1].nca.generation")
        v.page.wait_for_function(f"document.querySelectorAll('[data-life]')[1].nca.generation > {generation + 3}")
        assert v.page.locator('.note p').inner_text() == 'This living picture cannot be shown here (no card).' and v.page.locator('em').first.is_visible()
        assert v.page.evaluate('window.times') == 1 and not v.faults, v.faults


def test_dozens_at_once(browser, base):
    "Sixty boards live; of twenty creatures in view those that find no room say so, and wake as soon as there is some"
    small = 'style="width:60px;float:left;margin:0"'
    html = BARE + f'<div data-life="glider" data-speed="60" {small}></div>' * 60 + '<br style="clear:both">' + f'<div data-nca="gecko-grow" data-paused {small}></div>' * 20
    with Visit(browser, base, 'dozens.html', html=html, before=TOOLS, height=1400) as v:
        v.page.evaluate('load().then(() => nca.mountAll())')
        page, awake = v.page, "[...document.querySelectorAll('[data-nca]')].filter(e => e.nca.engine)"
        page.wait_for_function(f'{awake}.length === 12', timeout=90_000)
        page.wait_for_function("[...document.querySelectorAll('[data-life]')].every(e => e.nca.generation > 2)", timeout=60_000)
        waits = "[...document.querySelectorAll('[data-nca]')].filter(e => e.nca.hint?.textContent === 'A page can hold 12 living pictures at once. This one waits.')"
        assert page.evaluate(f'{waits}.length') == 8
        page.evaluate(f'{awake}.slice(0, 3).forEach(e => e.nca.dispose())')
        page.wait_for_function(f'{awake}.length === 12 && {waits}.length === 5', timeout=90_000)
        assert not v.faults, v.faults


NO_WEBGL = "HTMLCanvasElement.prototype.getContext = new Proxy(HTMLCanvasElement.prototype.getContext, { apply: (f, me, [kind, ...rest]) => kind === 'webgl2' ? null : Reflect.apply(f, me, [kind, ...rest]) })"
NO_FLOAT = "WebGL2RenderingContext.prototype.getExtension = new Proxy(WebGL2RenderingContext.prototype.getExtension, { apply: (f, me, [name]) => name === 'EXT_color_buffer_float' ? null : Reflect.apply(f, me, [name]) })"

@pytest.mark.parametrize('before, said', [(NO_WEBGL, 'WebGL2'), (NO_FLOAT, 'float textures')])
def test_film_where_it_cannot_live(browser, base, before, said):
    with Visit(browser, base, 'index.html', before=before) as v:
        note = v.page.locator('[data-nca] .note')
        note.wait_for()
        assert said in note.inner_text() and v.page.locator('[data-nca] img').is_visible()
        assert not v.faults, v.faults


# ---------------------------------------------------------------- hands on the page

def mse(page, target, ask="document.querySelector('[data-nca]')"):
    x = unpack(page.evaluate(f'base64({ask}.nca.engine.read())'), (16, *target.shape[1:]))
    return (x[:4] - target).square().mean().item()

def picture(page, selector='[data-nca] .frame canvas'):
    from PIL import Image
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert('RGB')).astype(int)

def greens(rgb): return int(((rgb[..., 1] > rgb[..., 0] + 30) & (rgb[..., 1] > rgb[..., 2] + 30)).sum())

def drag(page, start, end, selector='[data-nca] .frame canvas'):
    box = page.locator(selector).first.bounding_box()
    at = lambda p: (box['x'] + p[0] * box['width'], box['y'] + p[1] * box['height'])
    page.mouse.move(*at(start)); page.mouse.down(); page.mouse.move(*at(end), steps=5); page.mouse.up()


def test_wounded_gecko_heals(browser, base):
    "The reader's mouse cuts through it, and it comes back; looked at in the numbers and in the pixels"
    target = load_target(ROOT/'nbs'/'images'/'gecko.png')
    with Visit(browser, base, 'index.html', before=TOOLS) as v:
        page = settle(v)
        page.locator('[data-do=play], [data-do=pause]').first.click()                        # stop the clock: steps are asked for
        page.evaluate("document.querySelector('[data-nca]').nca.engine.step(150); document.querySelector('[data-nca]').nca.paint()")
        whole, green = mse(page, target), greens(picture(page))
        drag(page, (.2, .3), (.42, .4))                                                      # across the head
        hurt, less = mse(page, target), greens(picture(page))
        page.evaluate("document.querySelector('[data-nca]').nca.engine.step(250); document.querySelector('[data-nca]').nca.paint()")
        healed, again = mse(page, target), greens(picture(page))
        assert whole < 1.5e-3 and hurt > 10 * whole and healed < 1.5e-3, (whole, hurt, healed)
        assert less < .85 * green and again > .93 * green, (green, less, again)
        assert not v.faults, v.faults


def test_a_brush_of_the_pages_choice(browser, base):
    "Chapter 7 asks for one click on the middle of two geckos: the same wide hole in both"
    with Visit(browser, base, 'regeneration.html', before=TOOLS) as v:
        for name in ('gecko-anywhere', 'gecko-regenerate'):
            it = f'[data-nca={name}][data-brush]'
            me = asker(v.page, it)
            v.page.locator(it).scroll_into_view_if_needed()
            v.page.wait_for_function(f"document.querySelector('{it}').nca?.engine?.steps >= 100", timeout=90_000)
            v.page.locator(f'{it} [data-do=pause]').click()
            assert me('p.brush') == 10
            v.page.locator(f'{it} .frame canvas').click()
            x, y = me('[p.cursor.x, p.cursor.y]')
            near = (np.arange(72)[:, None] - y)**2 + (np.arange(72) - x)**2 <= 100
            assert abs(x - 35.5) <= 1 and abs(y - 35.5) <= 1
            alpha = np.array(me(ALPHA)).reshape(72, 72)
            assert alpha[near].max() == 0 and (alpha[~near] > .5).sum() > 300
        assert not v.faults, v.faults


def test_every_control(browser, base, tmp_path):
    with Visit(browser, base, 'index.html', before=TOOLS, accept_downloads=True) as v:
        page = settle(v)
        do = lambda name: page.locator(f'[data-nca] [data-do={name}]').first
        me = asker(page)
        page.wait_for_function("document.querySelector('[data-nca]').nca.engine.steps > 3")
        page.get_by_role('button', name='Pause').click()
        still = me('p.engine.steps')
        page.wait_for_timeout(300)
        assert me('p.engine.steps') == still and me('p.paused')
        do('step').click()
        assert me('p.engine.steps') == still + 1 and page.locator('.age').inner_text() == f'step {still + 1}'
        me('p.engine.step(100)')
        do('cut').click()
        a = np.array(me(ALPHA)).reshape(72, 72)
        assert a[:, 36:].max() == 0 and a[:, :36].max() > .5
        do('wound').click()
        drag(page, (.3, .5), (.5, .5))
        assert page.locator('.hint').evaluate('e => getComputedStyle(e).opacity') in '01' and not me('p.hint.textContent')
        b = np.array(me(ALPHA)).reshape(72, 72)
        assert b.sum() < a.sum()
        do('plant').click()
        assert do('plant').get_attribute('aria-pressed') == 'true' and do('wound').get_attribute('aria-pressed') == 'false'
        assert page.locator('[data-nca] .ring.on').count() == 0, 'the pointer is on the button, not on the picture'
        box = page.locator('[data-nca] .frame canvas').bounding_box()
        page.mouse.click(box['x'] + box['width'] * .9, box['y'] + box['height'] * .1)
        c = np.array(me(ALPHA)).reshape(72, 72)
        assert c[:12, 60:].max() == 1 and (c != b).sum() == 1
        do('reset').click()
        assert np.array(me(ALPHA)).sum() == 1 and me('p.engine.steps') == 0
        do('more').click()
        assert do('more').get_attribute('aria-expanded') == 'true'
        for name, key, value, ask in (('brush', 'End', 20, 'p.brush'), ('speed', 'End', 240, 'p.speed'), ('turn', 'End', 180, 'Math.abs(p.angle)')):
            do(name).focus()
            page.keyboard.press(key)
            assert me(ask) == value, name
        do('turn').fill('90')
        page.get_by_role('button', name='Play').click()
        page.wait_for_function("document.querySelector('[data-nca]').nca.engine.steps > 20", timeout=90_000)
        page.get_by_role('button', name='Pause').click()
        plain = picture(page)
        assert not page.locator('.legend').is_visible()
        do('channel').select_option('7')
        shown = picture(page)
        assert np.abs(plain - shown).max() > 60 and me('p.channel') == 7 and page.locator('.legend').is_visible()
        do('channel').select_option('')
        assert not page.locator('.legend').is_visible()
        names = do('creature').locator('option').all_inner_texts()
        assert len(names) == sum(NCAModel.from_pretrained(n).alive_threshold is not None for n in NAMES)
        do('creature').select_option('mushroom-grow')
        page.wait_for_function("document.querySelector('[data-nca]').nca.model.name === 'mushroom-grow'")
        assert np.array(me(ALPHA)).sum() == 1
        page.get_by_role('button', name='Play').click()
        do('film').click()
        link = page.locator('[data-nca] a[download]')
        assert do('film').inner_text().startswith('Stop (') and me('p.status.textContent') == 'Recording …'
        page.wait_for_function("document.querySelector('[data-nca]').nca.filmButton.textContent === 'Stop (3 s left)'")
        link.wait_for(timeout=60_000)                                                        # four seconds, to the end
        assert do('film').inner_text() == 'Record'
        with page.expect_download() as d: link.click()
        d.value.save_as(tmp_path/'film.webm')
        data = (tmp_path/'film.webm').read_bytes()
        assert d.value.suggested_filename == 'mushroom-grow.webm' and data[:4] == b'\x1a\x45\xdf\xa3'
        size = link.evaluate('''async a => { const film = document.createElement('video'); film.muted = true; film.src = a.href
            await film.play(); await new Promise(r => film.requestVideoFrameCallback(r)); return [film.videoWidth, film.videoHeight] }''')
        assert size[0] == size[1] >= 72, 'a film that plays, of a square world'
        do('film').click()
        do('film').click()                                                                   # stopped by hand
        page.wait_for_function("document.querySelector('[data-nca]').nca.filmButton.textContent === 'Record'")
        page.wait_for_function("!document.querySelector('[data-nca]').nca.status.textContent", timeout=20_000)   # said, and gone
        do('full').click()
        page.wait_for_function("document.querySelector('[data-nca]').shadowRoot.fullscreenElement || document.fullscreenElement")
        page.wait_for_function("document.querySelector('[data-nca]').nca.fullButton.textContent === 'Leave full screen'")
        assert all(do(name).evaluate("e => e.getBoundingClientRect().right <= innerWidth") for name in ('more', 'channel', 'full'))
        do('full').click()
        page.wait_for_function("document.querySelector('[data-nca]').nca.fullButton.textContent === 'Full screen'")
        assert not v.faults, v.faults


def test_everything_from_the_keyboard(browser, base):
    with Visit(browser, base, 'index.html', before=TOOLS) as v:
        page = settle(v)
        me = asker(page)
        page.locator('[data-nca] .frame canvas').focus()
        page.keyboard.press('p')
        assert me('p.paused')
        me('p.engine.step(100)')
        count = f'{ALPHA}.filter(a => a > .1).length'
        before, scroll = me(count), page.evaluate('scrollY')
        for _ in range(3): page.keyboard.press('ArrowUp')
        page.keyboard.press('Shift+ArrowLeft')
        assert me('[p.cursor.x, p.cursor.y]') == [28, 33] and page.evaluate('scrollY') == scroll, 'the page must not scroll under the cursor'
        assert page.locator('.ring.on').count() == 1
        page.keyboard.press('Space')
        hurt = me(count)
        assert hurt < before - 20
        page.keyboard.press(']')
        page.keyboard.press('x')
        assert me(count) < hurt and me('p.brush') == 6
        steps = me('p.engine.steps')
        page.keyboard.press('.')
        assert me('p.engine.steps') == steps + 1
        page.keyboard.press('r')
        page.keyboard.press('s')
        page.keyboard.press('Enter')
        assert me('p.tool') == 'plant' and me(count) == 2
        page.keyboard.press(';')
        assert me('p.angle') == 15
        page.keyboard.press('w')
        page.keyboard.press('Tab')
        focused = page.evaluate("document.querySelector('[data-nca]').shadowRoot.activeElement.dataset.do")
        assert focused == 'wound'
        assert page.evaluate("getComputedStyle(document.querySelector('[data-nca]').shadowRoot.activeElement).outlineStyle") == 'solid', 'focus must be seen'
        assert not v.faults, v.faults


def test_words_for_screen_readers(browser, base):
    for name in ('regeneration', 'life'):
        with Visit(browser, base, f'{name}.html', before=TOOLS, reduced_motion='reduce') as v:
            v.page.locator('[data-nca], [data-life]').first.scroll_into_view_if_needed()
            v.page.locator('[data-do=more]').first.click()
            bare = v.page.evaluate("""() => [...document.querySelectorAll('[data-nca], [data-life]')].flatMap(e => [...e.shadowRoot.querySelectorAll('button, input, select, canvas, [role=group], [role=toolbar]')])
                .filter(e => !(e.getAttribute('aria-label') || e.innerText || '').trim()).map(e => e.outerHTML)""")
            assert not bare, bare
            assert v.page.locator('[role=status][aria-live=polite]').count() >= 1
            v.page.locator('[data-do=reset], [data-do=random]').first.click()
            assert v.page.locator('[role=status]').first.inner_text()


@pytest.mark.parametrize('name', ['index', 'regeneration'])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_on_a_phone(browser, base, name, scheme):
    with Visit(browser, base, f'{name}.html', 390, 844, scheme, before=TOOLS, has_touch=True, is_mobile=True) as v:
        v.page.locator('[data-nca]').first.scroll_into_view_if_needed()
        page = settle(v)
        assert page.evaluate('document.documentElement.scrollWidth') <= 390
        page.locator('[data-do=more]').first.tap()
        small = page.evaluate("""() => [...document.querySelector('[data-nca]').shadowRoot.querySelectorAll('button, select, input')].filter(e => e.offsetParent)
            .map(e => [e.dataset.do, e.getBoundingClientRect()]).filter(([, r]) => r.height < 24 || r.width < 36 || r.right > innerWidth).map(([n, r]) => [n, r.width, r.height])""")
        assert not small, small
        cut = page.evaluate("() => [...document.querySelector('[data-nca]').shadowRoot.querySelectorAll('.bar button span')].filter(e => e.scrollWidth > e.parentElement.clientWidth).map(e => e.innerText)")
        assert not cut, f'labels that do not fit: {cut}'
        lines = page.evaluate("""() => [...document.querySelector('[data-nca]').shadowRoot.querySelectorAll('p, label span')].filter(e => e.offsetParent && e.innerText)
            .map(e => [e.innerText, e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight)]).filter(([t, n]) => n > 2.9)""")
        assert not lines, f'more than two lines: {lines}'
        page.locator('[data-do=pause], [data-do=play]').first.tap()
        page.evaluate("document.querySelector('[data-nca]').nca.engine.step(60)")
        me, count = asker(page), f'{ALPHA}.filter(a => a > .1).length'
        before = me(count)
        page.locator('[data-nca] .frame canvas').first.tap()                                        # a finger
        assert me(count) < before - 20
        assert not v.faults, v.faults


# ---------------------------------------------------------------- manners

def test_no_motion_for_those_who_ask(browser, base):
    with Visit(browser, base, 'index.html', before=TOOLS, reduced_motion='reduce') as v:
        page = settle(v)
        steps = page.evaluate("document.querySelector('[data-nca]').nca.engine.steps")
        page.wait_for_timeout(400)
        assert page.evaluate("document.querySelector('[data-nca]').nca.engine.steps") == steps == 100
        assert greens(picture(page)) > 1000, 'a grown creature stands there'
        page.get_by_role('button', name='Play').click()
        page.wait_for_function(f"document.querySelector('[data-nca]').nca.engine.steps > {steps}")
        assert not v.faults, v.faults


def test_rests_out_of_sight(browser, base):
    "Out of view it stops; far away it gives its graphics context back and goes on later from the same state; a hidden tab stops it too"
    html = BARE + '<div data-nca="gecko-grow" style="width:300px"></div><div style="height:9000px"></div>'
    with Visit(browser, base, 'rest.html', html=html, before=TOOLS) as v:
        v.page.evaluate('load().then(() => nca.mountAll())')
        page, ask = settle(v), "document.querySelector('[data-nca]').nca"
        page.wait_for_function(f'{ask}.engine.steps > 5')
        page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(150)
        steps = page.evaluate(f'{ask}.engine.steps')
        page.wait_for_timeout(300)
        assert page.evaluate(f'{ask}.engine.steps') == steps, 'a hidden tab'
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_function(f'{ask}.engine.steps > {steps}')
        page.evaluate('scrollTo(0, 1200)')
        page.wait_for_timeout(300)
        steps = page.evaluate(f'{ask}.engine.steps')
        page.wait_for_timeout(300)
        assert page.evaluate(f'{ask}.engine.steps') == steps and page.evaluate(f'!!{ask}.engine'), 'just out of view'
        page.evaluate('scrollTo(0, 8000)')
        page.wait_for_function(f'!{ask}.engine')
        kept = page.evaluate(f'base64({ask}.read())')
        page.evaluate(f"{ask}.pause(); scrollTo(0, 0)")
        page.wait_for_function(f'{ask}.engine')
        assert page.evaluate(f'base64({ask}.engine.read())') == kept and page.evaluate(f'{ask}.engine.steps') == steps
        assert not v.faults, v.faults


def test_many_on_one_page(browser, base):
    "More than a browser has contexts for: those in view live, and nothing is lost"
    html = BARE + ''.join(f'<div data-nca="{NAMES[i % len(NAMES)]}" style="width:260px"></div>' for i in range(24))
    with Visit(browser, base, 'many.html', html=html, before=TOOLS) as v:
        v.page.evaluate('load().then(() => nca.mountAll())')
        page = settle(v)
        for i in range(0, 24, 3):
            page.locator('[data-nca]').nth(i).scroll_into_view_if_needed()
            page.wait_for_function(f"document.querySelectorAll('[data-nca]')[{i}].nca.engine?.steps >= 1", timeout=90_000)
        assert page.evaluate("[...document.querySelectorAll('[data-nca]')].filter(e => e.nca.engine).length") <= 12
        page.evaluate("for (const e of document.querySelectorAll('[data-nca]')) e.nca.dispose()")
        assert not v.faults, v.faults


def test_lost_graphics_card(browser, base):
    with Visit(browser, base, 'index.html', before=TOOLS) as v:
        page, ask = settle(v), "document.querySelector('[data-nca]').nca"
        page.evaluate(f"window.old = {ask}.engine; old.gl.getExtension('WEBGL_lose_context').loseContext()")
        page.wait_for_function(f'{ask}.engine && {ask}.engine !== old', timeout=60_000)
        page.wait_for_function(f'{ask}.engine.steps > 1', timeout=60_000)
        assert not [f for f in v.faults if 'CONTEXT_LOST' not in f], v.faults


def test_nobody_left(browser, base):
    "When the last cell has died, the page says what can be done"
    with Visit(browser, base, 'index.html', before=TOOLS) as v:
        page, ask = settle(v), "document.querySelector('[data-nca]').nca"
        page.evaluate(f"{ask}.cut('left'); {ask}.cut('right')")
        page.wait_for_function(f"{ask}.hint.textContent.startsWith('Nobody')", timeout=60_000)
        page.evaluate(f'{ask}.reset()')
        assert not page.evaluate(f"{ask}.hint.textContent")


def test_colours_of_the_page(browser, base):
    "The card follows the page's own switch between day and night, whatever the system prefers"
    with Visit(browser, base, 'index.html', scheme='dark') as v:
        settle(v)
        card = lambda: sum(int(c) for c in v.page.evaluate("getComputedStyle(document.querySelector('[data-nca]').shadowRoot.querySelector('.card')).backgroundColor").split('(')[1].strip(')').split(',')[:3])
        v.page.evaluate("document.documentElement.dataset.theme = 'light'")
        day = card()
        v.page.evaluate("document.documentElement.dataset.theme = 'dark'")
        assert day > 650 > 250 > card()


# ---------------------------------------------------------------- Life

def test_life_board(browser, base):
    with Visit(browser, base, 'life.html') as v:
        page = v.page
        board = page.locator('[data-life]').first
        board.scroll_into_view_if_needed()
        do = lambda name: board.locator(f'[data-do={name}]').first
        me = asker(page, '[data-life]')
        world = lambda: torch.tensor(me('[...p.cells]'), dtype=torch.uint8).view(me('p.height'), me('p.width'))
        page.wait_for_function("document.querySelector('[data-life]').nca.generation > 2", timeout=60_000)
        do('random').click()
        if not me('p.paused'): page.get_by_role('button', name='Pause').first.click()
        soup = world()
        assert .2 < soup.float().mean() < .4
        do('step').click()
        assert torch.equal(world(), life_step(soup, wrap=True))
        do('more').click()
        board.get_by_role('button', name='Edges meet').click()
        soup = world()
        do('step').click()
        assert torch.equal(world(), life_step(soup, wrap=False))
        do('clear').click()
        assert not world().any()
        drag(page, (.5, .5), (.52, .5), '[data-life] .frame canvas')
        drawn = world()
        assert drawn.any() and drawn.sum() <= 4
        drag(page, (.5, .5), (.52, .5), '[data-life] .frame canvas')
        assert not world().any(), 'a stroke that starts on a living cell wipes'
        do('pattern').select_option('Gosper gun')
        gun = world()
        assert gun.sum() == 36
        for _ in range(30): me('p.step()')
        assert world().sum() == 41 and torch.equal(world()[:12, :40] & gun[:12, :40], gun[:12, :40]), 'the gun is back, and has fired'
        for name in do('pattern').locator('option').all_inner_texts():
            do('pattern').select_option(name)
            assert world().any()
        page.locator('[data-life] .frame canvas').focus()
        do('clear').click()
        page.locator('[data-life] .frame canvas').focus()
        page.keyboard.press('ArrowRight'); page.keyboard.press('Space')
        assert world().sum() == 1
        do('speed').fill('60')
        page.keyboard.press('Tab')
        board.get_by_role('button', name='Play').click()
        page.wait_for_function("document.querySelector('[data-life]').nca.generation > 3")
        assert not world().any(), 'a lonely cell dies'
        assert not v.faults, v.faults


# ---------------------------------------------------------------- weight, and where they live

def test_weight_of_living_things(site):
    module = (site/'_static'/'nca.js').stat().st_size
    assert module == (ROOT/'nca_tutorial'/'web'/'nca.js').stat().st_size and module <= 100_000
    files = {f.stem: f.stat().st_size for f in (site/'_static'/'creatures').glob('*.nca')}
    assert sorted(files) == NAMES and max(files.values()) <= 40_000
    assert [c['name'] for c in json.loads((site/'_static'/'creatures'/'index.json').read_text())] == NAMES


def test_where_they_live(site):
    homes = Counter({p: (site/f'{p}.html').read_text(encoding='utf-8').count('data-nca=') for p in ('index', 'core', 'growing', 'pool', 'regeneration', 'breaking')})
    assert all(homes[p] for p in homes) and homes['regeneration'] >= 2 and 'data-life=' in (site/'life.html').read_text(encoding='utf-8')
    readme = (ROOT/'README.md').read_text(encoding='utf-8')
    assert '<img class="cover-art" src="nbs/images/growing.webp"' in readme, 'GitHub shows a film instead'
