"""The built site in a real browser: every page, at desk and phone width, by day and by night.

`make test` builds the site first. Chromium is needed; without it these tests fail and say what to install, and BROWSER=0 leaves them out.
"""
import json, re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest

from conftest import ROOT, SITE, Visit, notebooks, script

bridge = script('site/bridge.py')


def book():
    import yaml
    return yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))


ORDER = [f for _, fs in bridge.sections(book()) for f in fs]
PAGES = [bridge.page_name(f) for f in ORDER]
CHAPTERS = [(f, bridge.page_name(f)) for f in ORDER if bridge.number(f)]
OTHER = ['search']


class Page(HTMLParser):
    "Ids, links, pictures and title of one page"
    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.files, self.images, self.maths, self.text = set(), [], [], [], 0, path.read_text(encoding='utf-8')
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if 'id' in a: self.ids.add(a['id'])
        if tag == 'a' and a.get('name'): self.ids.add(a['name'])
        if tag == 'a' and 'href' in a: self.links.append(a['href'])
        if tag == 'img': self.images.append(a)
        if tag in ('img', 'script', 'source', 'video', 'iframe') and 'src' in a: self.files.append(a['src'])
        if tag == 'link' and 'href' in a and a.get('rel') not in ('canonical', 'next', 'prev', 'search', 'index', 'author'): self.files.append(a['href'])
        if tag in ('span', 'div') and 'math' in (a.get('class') or '').split(): self.maths += 1

    handle_startendtag = handle_starttag


@pytest.fixture(scope='session')
def pages(site):
    return {p: Page(SITE/f'{p}.html') for p in PAGES + OTHER}


# ---------------------------------------------------------------- without a browser

def test_every_notebook_has_its_page(pages):
    for p in PAGES: assert (SITE/f'{p}.html').exists(), f'no page for {p}'
    assert {f.stem for f in SITE.glob('*.html')} == set(PAGES + OTHER), 'the site holds a page that _quarto.yml does not list'


@pytest.mark.parametrize('p', PAGES + OTHER)
def test_links_and_anchors_exist(pages, p):
    bad = []
    for href in pages[p].links + pages[p].files:
        u = urlparse(href)
        if u.scheme in ('http', 'https'):
            if not re.fullmatch(r'[\w.-]+\.[a-z]{2,}(:\d+)?', u.netloc): bad.append(f'{href}: not an address')
            continue
        if u.scheme in ('mailto', 'data', 'javascript'): continue
        path, frag = urldefrag(href)
        path = unquote(urlparse(urljoin(f'/{p}.html', path)).path).lstrip('/') if path else f'{p}.html'
        if not (SITE/path).is_file(): bad.append(f'{href}: no such file'); continue
        if frag and path.endswith('.html'):
            ids = pages[path[:-5]].ids if path[:-5] in pages else Page(SITE/path).ids
            if unquote(frag) not in ids: bad.append(f'{href}: no such place on the page')
    assert not bad, '\n'.join(bad)


@pytest.mark.parametrize('p', PAGES)
def test_pictures_have_words(pages, p):
    bare = [i.get('src') for i in pages[p].images if not (i.get('alt') or '').strip() and 'logo__image' not in (i.get('class') or '')]
    assert not bare, f'no alt text (use `#| fig-alt:`): {bare}'


@pytest.mark.parametrize('p', PAGES)
def test_pictures_keep_their_place(pages, p):
    "A picture that loads late must not push the text that is being read"
    loose = [i['src'] for i in pages[p].images if i.get('loading') == 'lazy' and not ('width' in i and 'height' in i) and not i['src'].endswith('.svg')]
    assert not loose, f'no width and height: {loose}'


@pytest.mark.parametrize('p', PAGES)
def test_weight(pages, p):
    "A page without theme, maths, faces and films: its text and its pictures"
    own = len(pages[p].text.encode())
    for i in pages[p].images:
        f = SITE/(i.get('src') or '').split('?')[0]
        if 'film' in (i.get('class') or '').split() or f.parent.name == 'films' or f.suffix == '.gif': continue
        if f.is_file() and 'logo__image' not in (i.get('class') or ''): own += f.stat().st_size
    assert own <= 400_000, f'{own / 1000:.0f} kB: lighten the pictures of this page'


def test_names_in_back_ticks_are_links(pages):
    "Names that the package exports lead to their cards, on whatever page they are mentioned"
    d = {}
    exec((ROOT/'nca_tutorial'/'_modidx.py').read_text(), d)
    cards = {i for p in pages.values() for i in p.ids if i.startswith('api-')}
    assert cards, 'no page has a card of an exported name'
    assert sum('#api-' in l for p in pages.values() for l in p.links) >= len(CHAPTERS), 'hardly any name in back-ticks is a link'
    site = d['d']['settings']['doc_host'] + d['d']['settings']['doc_baseurl']
    outside = [l for p in pages.values() for l in p.links if l.startswith(site)]
    assert not outside, f'links to the published site instead of this one: {outside[:5]}'


@pytest.mark.parametrize('f, p', CHAPTERS)
def test_run_it_yourself(pages, f, p):
    assert any(l.startswith('https://colab.research.google.com/github/') and l.endswith(f'/nbs/{f}') for l in pages[p].links), 'no Colab button'
    assert f'notebooks/{f}' in pages[p].links and (SITE/'notebooks'/f).read_bytes() == (ROOT/'nbs'/f).read_bytes(), 'no download of the notebook'
    assert any(re.search(rf'github\.com/.*/blob/.*/nbs/{re.escape(f)}$', l) for l in pages[p].links), 'no link to the source'


def test_sections_in_the_sidebar(pages):
    caps = re.findall(r'class="caption-text">([^<]*)<', pages['index'].text)
    for name, files in bridge.sections(book()):
        if name: assert name in caps, f'section {name} is not in the sidebar'


# ---------------------------------------------------------------- in a browser

@pytest.mark.parametrize('p', PAGES + OTHER)
def test_page_at_a_desk(browser, base, pages, p):
    with Visit(browser, base, f'{p}.html') as v:
        v.see_all()
        assert not v.faults, '\n'.join(v.faults)
        title = book()['website']['title']
        assert title in v.page.title()
        broken = v.page.evaluate("[...document.images].filter(i => i.getClientRects().length && !i.naturalWidth).map(i => i.src)")
        assert not broken, f'pictures that do not show: {broken}'
        assert v.page.evaluate('document.documentElement.scrollWidth <= innerWidth')
        if p in PAGES and pages[p].maths:
            v.page.wait_for_selector('mjx-container', timeout=15_000)
            assert v.page.locator('mjx-container').count() >= pages[p].maths
            assert not v.page.locator('mjx-merror, [data-mjx-error]').count(), 'an equation that MathJax cannot read'
        if p in PAGES: assert v.page.locator('h1').count() >= 1
        assert not v.faults, '\n'.join(v.faults)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('p', PAGES)
def test_page_on_a_phone(browser, base, p, scheme):
    with Visit(browser, base, f'{p}.html', width=390, height=844, scheme=scheme) as v:
        v.see_all()
        wide = v.page.evaluate("""() => { const w = innerWidth; if (document.documentElement.scrollWidth <= w) return [];
            return [...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > w + 1).slice(0, 5).map(e => e.outerHTML.slice(0, 120)) .concat(document.documentElement.scrollWidth) }""")
        assert not wide, f'wider than the screen: {wide}'
        assert not v.faults, '\n'.join(v.faults)


def ground(v): return v.page.evaluate("getComputedStyle(document.body).backgroundColor")

def luminance(css):
    r, g, b = (int(o) for o in re.findall(r'\d+', css)[:3])
    return (.2126 * r + .7152 * g + .0722 * b) / 255


def test_dark_mode(browser, base):
    p = CHAPTERS[0][1] if CHAPTERS else 'index'
    with Visit(browser, base, f'{p}.html', scheme='light') as v:
        day = ground(v)
        assert luminance(day) > .8
        v.page.locator('.theme-switch-button:visible').first.click()
        v.page.locator('.theme-change-button[data-mode=dark]:visible').first.click()
        assert luminance(ground(v)) < .2
        v.page.reload()
        assert luminance(ground(v)) < .2, 'the choice is forgotten on the next page'
        assert not v.faults, '\n'.join(v.faults)
    with Visit(browser, base, f'{p}.html', scheme='dark') as v: assert luminance(ground(v)) < .2, 'the system\'s choice is not followed'


CONTRAST = """() => { const lum = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 }); return .2126 * r + .7152 * g + .0722 * b }
  const cv = document.createElement('canvas').getContext('2d', {willReadFrequently: true}); cv.canvas.width = cv.canvas.height = 1
  const rgba = s => { cv.clearRect(0, 0, 1, 1); cv.fillStyle = s; cv.fillRect(0, 0, 1, 1); return [...cv.getImageData(0, 0, 1, 1).data] }
  const back = e => { const stack = []; for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3]) stack.push(c); if (c[3] == 255) break }
    let r = [255, 255, 255]; for (const c of stack.reverse()) r = r.map((v, i) => v * (1 - c[3] / 255) + c[i] * c[3] / 255); return r }
  const bad = {}
  for (const e of document.querySelectorAll('.bd-article :is(p, li, td, th, h1, h2, h3, h4, a, figcaption, summary, pre, .kicker, code), .bd-sidebar-primary a')) {
    if (!e.innerText || !e.getClientRects().length || e.closest('.cover, mjx-container, .headerlink, .run')) continue
    const f = lum(rgba(getComputedStyle(e).color).slice(0, 3)), b = lum(back(e)), k = (Math.max(f, b) + .05) / (Math.min(f, b) + .05)
    if (k < 4.5) bad[e.tagName + '.' + e.className + ' ' + e.innerText.slice(0, 30)] = k.toFixed(2) }
  return bad }"""

@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('p', PAGES)
def test_text_stands_out(browser, base, p, scheme):
    "Contrast of at least 4.5 for all running text (WCAG AA)"
    with Visit(browser, base, f'{p}.html', scheme=scheme) as v:
        bad = v.page.evaluate(CONTRAST)
        assert not bad, bad


def test_search(browser, base):
    title = next(c for c in notebooks()['01_life.ipynb']['cells'] if c['cell_type'] == 'markdown')
    word = 'neighbour' if 'neighbour' in json.dumps(notebooks()['01_life.ipynb']) else ''.join(title['source']).split()[1]
    with Visit(browser, base, f'search.html?q={word}') as v:
        v.page.wait_for_selector('#search-results li a', timeout=15_000)
        found = [a.get_attribute('href').split('?')[0].split('#')[0] for a in v.page.locator('#search-results li a').all()]
        assert 'life.html' in found
        assert not v.faults, '\n'.join(v.faults)


def test_previous_and_next_follow_the_book(browser, base):
    with Visit(browser, base, f'{PAGES[0]}.html') as v:
        for p, n in zip(PAGES, PAGES[1:]):
            assert v.page.url.endswith(f'/{p}.html')
            v.page.locator('.prev-next-area a.right-next').click()
            v.page.wait_for_url(f'**/{n}.html')
            back = v.page.locator('.prev-next-area a.left-prev').get_attribute('href')
            assert back == f'{p}.html', f'{n} leads back to {back}'
        assert not v.page.locator('.prev-next-area a.right-next').count()


@pytest.mark.parametrize('f, p', CHAPTERS)
def test_code_can_be_copied(browser, base, f, p):
    nb = notebooks()[f]
    with Visit(browser, base, f'{p}.html') as v:
        if not v.page.locator('div.cell_input').count(): pytest.skip(f'{f} shows no code') if not any(c['cell_type'] == 'code' for c in nb['cells']) else pytest.fail('no code on the page')
        v.page.wait_for_selector('div.cell_input button.copybtn', state='attached')
        assert v.page.locator('div.cell_input button.copybtn').count() == v.page.locator('div.cell_input pre').count()
        assert not v.page.locator('div.cell_output button.copybtn').count(), 'outputs need no copy button'


def test_copied_code_is_the_code(browser, base):
    p = CHAPTERS[0][1]
    with Visit(browser, base, f'{p}.html', permissions=['clipboard-read', 'clipboard-write']) as v:
        box = v.page.locator('div.cell_input:visible').first
        want = box.locator('pre').inner_text().strip()
        box.hover()
        box.locator('button.copybtn').click()
        assert v.page.evaluate('navigator.clipboard.readText()').strip() == want


def test_films_rest_for_those_who_ask(browser, base, pages):
    p = next((p for p in PAGES if any('film' in (i.get('class') or '').split() for i in pages[p].images)), None)
    assert p, 'no page has a film'
    with Visit(browser, base, f'{p}.html', reduced_motion='reduce') as v:
        v.see_all()
        v.page.wait_for_function("!document.querySelector('img.film') && document.querySelector('canvas.film')", timeout=15_000)
        assert all(c.get_attribute('aria-label') for c in v.page.locator('canvas.film').all())


# ---------------------------------------------------------------- the bridge

LINKS = bridge.Links({'04_core': 'core', '01_life': 'life'}, 'https://u.example.com/book', {'core': {'ncamodel': 'api-ncamodel', 'ncamodel.step': 'api-ncamodel'}})

@pytest.mark.parametrize('src, want', [
    ('[x](04_core.ipynb)', '[x](core.ipynb)'), ('[x](./04_core.ipynb#a-b)', '[x](core.ipynb#a-b)'), ('[x](other.ipynb)', '[x](other.ipynb)'),
    ('<a href="01_life.ipynb">x</a>', '<a href="life.html">x</a>'), ('`[x](04_core.ipynb)`', '`[x](core.ipynb)`'),
    ('[`NCAModel`](https://u.example.com/book/core.html#ncamodel)', '<a class="api" href="core.html#api-ncamodel"><code class="api">NCAModel</code></a>'),
    ('[`step`](https://u.example.com/book/core.html#ncamodel.step)', '<a class="api" href="core.html#api-ncamodel"><code class="api">step</code></a>'),
    ('[`hidden`](https://u.example.com/book/core.html#hidden)', '<a class="api" href="core.html"><code class="api">hidden</code></a>'),
    ('## On [`NCAModel`](https://u.example.com/book/core.html#ncamodel)', '## On `NCAModel`'),
    ('::: {.callout-note}\nhi\n:::', ':::{admonition} Note\n:class: note\n\nhi\n:::'),
    ('::: {.callout-tip collapse="true" title="Solution"}\nhi\n:::', ':::{admonition} Solution\n:class: tip solution\n:collapsible: closed\n\nhi\n:::'),
    ('::: {.callout-warning}\n## Mind\nhi\n:::', ':::{admonition} Mind\n:class: warning\n\nhi\n:::'),
    ('::: {.exercise}\nhi\n:::', ':::{container} exercise\nhi\n:::'),
    ('```python\n::: {.callout-note}\n```', '```python\n::: {.callout-note}\n```'), ('```{=html}\n<b>x</b>\n```', '<b>x</b>\n'),
    ('![a](images/x.png){width=50%}', '![a](images/x.png)'), ('## Title {#sec-x}', '(sec-x)=\n## Title'), ('## Title {.unnumbered}', '## Title')])
def test_markdown_of_the_bridge(src, want): assert bridge.markdown(src, LINKS) == want


def code(src, outputs=()): return dict(cell_type='code', source=src, outputs=list(outputs), metadata={}, execution_count=None)
PNG = {'output_type': 'display_data', 'metadata': {}, 'data': {'image/png': 'aGk=', 'text/plain': '<Figure>'}}
def film(): return {'output_type': 'execute_result', 'metadata': {}, 'data': {'text/html': ['<img class="film" src="data:image/webp;base64,', 'aGk=">'], 'text/plain': 'Film'}}

def test_cell_options_of_the_bridge():
    cells = lambda *a: bridge.code_cell(code(*a), LINKS, bridge.Films())
    import copy
    c, = cells('#| fig-cap: "A *cap*: `x`"\n#| fig-alt: "words"\nplot()', [copy.deepcopy(PNG)])
    assert c['source'] == 'plot()' and c['metadata']['mystnb'] == dict(figure={'caption': 'A *cap*: `x`'}, image={'alt': 'words'})
    c, = cells('#| echo: false\nplot()', [copy.deepcopy(PNG)])
    assert c['metadata']['tags'] == ['remove-input']
    assert cells('#| include: false\nx') == [] and cells('#| output: false\nx', [copy.deepcopy(PNG)])[0]['outputs'] == []
    c, = cells('#| code-fold: true\n#| code-summary: "Show the solution"\nx', [dict(output_type='stream', name='stdout', text='hi')])
    assert c['metadata']['tags'] == ['hide-cell'] and c['metadata']['mystnb']['code_prompt_show'] == 'Show the solution' and c['metadata']['mystnb']['code_prompt_hide'] == 'Hide the solution'
    c, = cells('#| code-fold: true\nx')
    assert c['metadata']['tags'] == ['hide-input']
    c, = cells('x', [dict(output_type='stream', name='stderr', text='10%\r 20%\r100% done\n')])
    assert c['outputs'][0]['text'] == '100% done\n'


def test_films_leave_the_page():
    films = bridge.Films()
    c, = bridge.code_cell(code('#| fig-cap: "It *moves*"\n#| fig-alt: "A \'film\'"\nfilm', [film()]), LINKS, films)
    html = c['outputs'][0]['data']['text/html']
    (name, raw), = films.files.items()
    assert raw == b'hi' and f'src="{name}"' in html and 'data:' not in html and 'loading="lazy"' in html and 'alt="A &#x27;film&#x27;"' in html
    assert '<figcaption>It <em>moves</em></figcaption>' in html


@pytest.mark.parametrize('quarto, said', [({}, 'no website'), ({'website': {'sidebar': {'contents': ['a.ipynb']}}}, 'must be index.ipynb'),
    ({'website': {'sidebar': {'contents': ['index.ipynb', 'a.ipynb', {'section': 'S', 'contents': ['a.ipynb']}]}}}, 'lists a.ipynb twice'),
    ({'website': {'sidebar': {'contents': ['index.ipynb', 'a.qmd']}}}, 'only notebooks')])
def test_faults_of_quarto_yml_are_named(quarto, said):
    with pytest.raises(bridge.BridgeError, match=said): bridge.sections(quarto)


def test_numbers(): assert [bridge.kicker(f) for f in ('04_core.ipynb', '90_viz.ipynb', '91_x.ipynb', 'index.ipynb')] == ['Chapter 4', 'Appendix A', 'Appendix B', '']


readme = script('tools/readme.py')

@pytest.mark.parametrize('src, want', [
    ('![a](images/x.png){width=50%}', '![a](nbs/images/x.png)'), ('[x](04_core.ipynb#a)', '[x](nbs/04_core.ipynb#a)'), ('[x](core.html)', '[x](nbs/04_core.ipynb)'),
    ('[x](../LICENSE)', '[x](LICENSE)'), ('[x](https://a.b/c.ipynb)', '[x](https://a.b/c.ipynb)'), ('[x](#here)', '[x](#here)'),
    ('<a href="core.html"><img src="images/a.png" alt=""></a>', '<a href="nbs/04_core.ipynb"><img src="nbs/images/a.png" alt=""></a>'),
    ('::: {.callout-note title="T"}\na\n\nb\n:::', '> [!NOTE]\n> **T**\n>\n> a\n>\n> b'), ('::: {.x}\na\n:::', 'a'),
    ('```python\n::: {.x}\n[x](04_core.ipynb)\n```', '```python\n::: {.x}\n[x](04_core.ipynb)\n```'), ('## T {#sec-x}', '## T'), ('a\n<script>x</script>\nb', 'a\nb')])
def test_markdown_of_the_readme(src, want): assert readme.markdown(src, {'core': '04_core.ipynb'}) == want


def test_code_of_the_readme():
    out = [dict(output_type='execute_result', data={'text/plain': '3'})]
    assert readme.code(code('1+2', out)) == '```python\n1+2\n```\n\n```text\n3\n```'
    assert readme.code(code('#| echo: false\n1+2', out)) == '```text\n3\n```' and readme.code(code('#| hide\n1', out)) == ''
    assert readme.code(code('#| output: false\n1+2', out)) == '```python\n1+2\n```' and readme.code(code('#| include: false\n1', out)) == ''
    assert readme.code(code('film', [film()])) == '```python\nfilm\n```'
