"""From a notebook that nbdev has processed to a notebook that MyST-NB renders: Quarto's markdown and cell options, in MyST's words.

Only text goes in and out here (notebooks are dicts); `build.py` reads, writes and calls Sphinx.
"""
import base64, hashlib, html, json, re
from io import BytesIO
from pathlib import Path

import yaml

FENCE = re.compile(r'^( {0,3})(`{3,}|~{3,})[^\n]*\n.*?^ {0,3}\2[`~]*[ \t]*$', re.M | re.S)
INLINE = re.compile(r'(?<!`)(`+)(?!`)([^\n]*?[^`\n])\1(?!`)')
CALLOUT = re.compile(r'^(?P<colons>:{3,})[ \t]*\{(?P<attrs>\.callout-[^}\n]*)\}[ \t]*\n(?P<body>.*?)^(?P=colons)[ \t]*$', re.M | re.S)
DIV = re.compile(r'^(?P<colons>:{3,})[ \t]*\{(?P<attrs>\.(?!callout)[^}\n]*)\}[ \t]*\n', re.M)
WIDGET_VIEW, WIDGET_STATE = 'application/vnd.jupyter.widget-view+json', 'application/vnd.jupyter.widget-state+json'
KINDS = dict(note='note', tip='tip', warning='warning', important='important', caution='caution')


class BridgeError(ValueError):
    "What is wrong with a notebook or with _quarto.yml, in one line"


def text(s):
    "A notebook's string: one string, or a list of lines"
    return ''.join(s) if isinstance(s, (list, tuple)) else (s or '')


# ---------------------------------------------------------------- the book: _quarto.yml

def sections(quarto):
    "The sidebar of _quarto.yml as [(section or None, [notebook file, ...])], in reading order"
    try: contents = quarto['website']['sidebar']['contents']
    except (KeyError, TypeError): raise BridgeError('_quarto.yml has no website: sidebar: contents') from None
    res = []
    def name(o): return o if isinstance(o, str) else (o.get('href') or o.get('file') or '')
    for o in contents:
        if isinstance(o, dict) and 'section' in o:
            files = ([o['href']] if 'href' in o else []) + [name(p) for p in o.get('contents', [])]
            res.append((o['section'], files))
        elif res and res[-1][0] is None: res[-1][1].append(name(o))
        else: res.append((None, [name(o)]))
    files = [f for _, fs in res for f in fs]
    for f in files:
        if not f.endswith('.ipynb'): raise BridgeError(f'_quarto.yml lists {f!r} in the sidebar: only notebooks are expected there')
    if dup := sorted({f for f in files if files.count(f) > 1}): raise BridgeError(f'_quarto.yml lists {", ".join(dup)} twice')
    if files[:1] != ['index.ipynb']: raise BridgeError('_quarto.yml: the first page of the sidebar must be index.ipynb')
    return res


def page_name(file):
    "The page of a notebook, as nbdev names it: 04_core.ipynb -> core"
    return re.sub(r'^\d+[a-zA-Z0-9]*_', '', Path(file).stem)


def kicker(file):
    "What stands over a page's title: its chapter number, or its letter in the appendix (90 is A)"
    m = re.match(r'(\d+)_', Path(file).name)
    if not m: return ''
    n = int(m[1])
    return f'Chapter {n}' if n < 90 else f'Appendix {chr(ord("A") + n - 90)}'


def number(file): return kicker(file).split()[-1] if kicker(file) else ''


def front_matter(nb):
    "Title and summary of a processed notebook: its raw first cell"
    for c in nb['cells']:
        if c['cell_type'] == 'raw' and text(c['source']).lstrip().startswith('---'):
            return yaml.safe_load(text(c['source']).strip().strip('-')) or {}
    return {}


# ---------------------------------------------------------------- names with an address: nbdev's index

def api_ids(nb, syms, page):
    """The names that have their own card on `page`: {anchor of nbdev: id here}.
    A method without a card is found at its class's."""
    shown = {show_doc_name(c).lower() for c in nb['cells'] if show_doc_name(c)}
    res = {}
    for d in syms.values():
        for url, _ in d.values():
            p, _, a = url.partition('#')
            if p != f'{page}.html': continue
            own = a if a in shown else a.rpartition('.')[0]
            if own in shown: res[a] = f'api-{own}'
    return res


def show_doc_name(cell):
    m = re.search(r'^show_doc\(([\w.]+)', text(cell['source']), re.M) if cell['cell_type'] == 'code' else None
    return m[1] if m else ''


class Links:
    "Rewrites the links of one book: to chapters, and to names that nbdev knows"
    def __init__(self, names, doc_url='', anchors=None):
        self.names, self.doc_url, self.anchors = names, doc_url.rstrip('/') + '/', anchors or {}

    def api(self, m):
        label, page, frag = m['label'], m['page'], m['frag']
        i = self.anchors.get(page, {}).get(frag)
        href = f'{page}.html' + (f'#{i}' if i else '')
        label = re.sub(r'`([^`]+)`', lambda c: f'<code class="api">{html.escape(c[1])}</code>', label)
        return f'<a class="api" href="{href}">{label}</a>'

    def __call__(self, s):
        s = re.sub(r'\[(?P<label>`[^`\n]+`)\]\(' + re.escape(self.doc_url) + r'(?P<page>[\w-]+)\.html#(?P<frag>[\w.]+)\)', self.api, s)
        s = re.sub(r'(\]\(<?)(?:\./)?([\w-]+)\.ipynb(#[^)\s>]*)?(?=[)>\s])', lambda m: m[1] + self.names.get(m[2], m[2]) + '.ipynb' + (m[3] or ''), s)
        return re.sub(r'(href=["\'])(?:\./)?([\w-]+)\.ipynb\b', lambda m: m[1] + self.names.get(m[2], m[2]) + '.html', s)


# ---------------------------------------------------------------- markdown

def attributes(s):
    "Quarto's {.class key=value}: (classes, dict)"
    kv = dict((m[1], m[2] if m[2] is not None else m[3]) for m in re.finditer(r'([\w-]+)=(?:"([^"]*)"|(\S+))', s))
    return re.findall(r'(?:^|\s)\.([\w-]+)', re.sub(r'[\w-]+="[^"]*"', '', s)), kv


def _callout(m):
    classes, kv = attributes(m['attrs'])
    kind, body, title = KINDS.get(classes[0].removeprefix('callout-'), 'note'), m['body'].strip('\n'), kv.get('title')
    if title is None and (h := re.match(r'\s*#+[ \t]+(.*)\n', body)): title, body = h[1].strip(), body[h.end():].strip('\n')
    solution = bool(title and re.match(r'solution', title, re.I))
    opts = [f':class: {" ".join([kind] + ["solution"] * solution)}']
    if 'collapse' in kv: opts.append(':collapsible:' + (' closed' if kv['collapse'] == 'true' else ' open'))
    return f'{m["colons"]}{{admonition}} {title or kind.title()}\n' + '\n'.join(opts) + f'\n\n{body}\n{m["colons"]}'


def markdown(s, links):
    "Quarto's markdown in MyST's words; code stays as it is"
    s = re.sub(r'^(`{3,})[ \t]*\{=html\}[ \t]*\n(.*?)^\1[ \t]*$', r'\2', s, flags=re.M | re.S)     # raw HTML blocks
    s = re.sub(r'^```[ \t]*\{\.(\w+)[^}\n]*\}', r'```\1', s, flags=re.M)                             # ```{.python}
    s = links_outside_fences(s, links)
    keep = []
    def hold(m):
        keep.append(m[0])
        return f'\x00{len(keep) - 1}\x00'
    s = INLINE.sub(hold, FENCE.sub(hold, s))
    while True:                                                                                       # inner callouts first
        new = CALLOUT.sub(_callout, s)
        if new == s: break
        s = new
    s = DIV.sub(lambda m: f'{m["colons"]}{{container}} {" ".join(attributes(m["attrs"])[0])}\n', s)
    s = re.sub(r'^(#+ .*?)[ \t]*\{#([\w-]+)[^}\n]*\}[ \t]*$', r'(\2)=\n\1', s, flags=re.M)
    s = re.sub(r'^(#+ .*?)[ \t]*\{\.[^}\n]*\}[ \t]*$', r'\1', s, flags=re.M)
    s = re.sub(r'(\]\([^)\n]*\))\{[^}\n]*\}', r'\1', s)                                               # attributes of links and pictures
    s = re.sub(r'^(#+ .*)$', lambda m: re.sub(r'<a class="api"[^>]*>(.*?)</a>', lambda a: '`' + html.unescape(re.sub('<[^>]*>', '', a[1])) + '`', m[1]), s, flags=re.M)
    while '\x00' in s: s = re.sub(r'\x00(\d+)\x00', lambda m: keep[int(m[1])], s)
    return s


def links_outside_fences(s, links):
    res, pos = [], 0
    for m in FENCE.finditer(s):
        res += [links(s[pos:m.start()]), m[0]]
        pos = m.end()
    return ''.join(res + [links(s[pos:])])


# ---------------------------------------------------------------- code cells

OPTION = re.compile(r'^#\|\s*([\w-]+)\s*(?::\s*(.*))?$')


def options(src):
    "Leading `#|` lines of a cell: ({option: value}, the rest)"
    lines, opts = src.splitlines(), {}
    while lines and (not lines[0].strip() or (m := OPTION.match(lines[0]))):
        l = lines.pop(0)
        if not l.strip(): continue
        v = (m[2] or '').strip()
        try: v = yaml.safe_load(v) if v else True
        except yaml.YAMLError: pass
        opts[m[1]] = v
    return opts, '\n'.join(lines).rstrip()


def card_head(names, url):
    "The line over an exported definition: its names (each an anchor) and a link to its source"
    codes = ''.join(f'<code id="api-{n.lower()}">{html.escape(n)}</code>' for n in names)
    link = f'<a class="api-source" href="{url}">source</a>' if url else ''
    return f'<div class="api-card">{codes}{link}</div>'


def card_parts(c):
    "Name, address of the source and markdown of a show_doc cell"
    md = ''.join(text(o.get('data', {}).get('text/markdown', '')) for o in c['outputs'])
    src = re.search(r'^\[source\]\(([^)\s]*)\)', md, re.M)
    body = re.sub(r'\A---\s*', '', re.sub(r'^\[source\]\([^)]*\)\{[^}]*\}[ \t]*\n', '', md, flags=re.M))
    return show_doc_name(c), src[1] if src else '', re.sub(r'^#+ .*\n', '', body, count=1, flags=re.M).strip()


def api_card(c, links):
    "The card of a name whose source the chapter does not show: signature and sentence under its line"
    name, url, body = card_parts(c)
    body = markdown(body, links).replace('```python', '```{code-block} python\n:class: api-signature\n', 1)
    return card_head([name], url) + '\n\n' + body


class Films:
    "Pictures that notebooks carry inside their HTML, taken out into files so that a page loads them when they are near"
    def __init__(self): self.files = {}

    def put(self, kind, data):
        raw = base64.b64decode(data)
        name = f'films/{hashlib.sha256(raw).hexdigest()[:16]}.{kind.split("/")[-1].split("+")[0]}'
        self.files[name] = raw
        return name, raw

    def tag(self, m):
        tag = m[0]
        d = re.search(r'''src=["']data:(image/[\w+.-]+);base64,([^"']+)["']''', tag)
        if not d: return tag
        name, raw = self.put(d[1], re.sub(r'\s', '', d[2]))
        tag = tag.replace(d[0], f'src="{name}"')
        if 'loading=' not in tag: tag = tag.replace('<img', '<img loading="lazy" decoding="async"', 1)
        if (size := _size(raw)) and not re.search(r'\b(width|height)=', tag): tag = tag.replace('<img', f'<img width="{size[0]}" height="{size[1]}"', 1)
        return tag

    def __call__(self, s): return re.sub(r'<img\b[^>]*>', self.tag, s)


def _size(raw):
    from PIL import Image
    try: return Image.open(BytesIO(raw)).size
    except Exception: return None


def clean_stream(s): return '\n'.join(l.rstrip('\r').rpartition('\r')[2] for l in s.split('\n'))


def output(o, opts, films):
    "One output of a cell, with its films taken out; None when there is nothing to show"
    if o['output_type'] == 'stream':
        o['text'] = clean_stream(text(o['text']))
        return o if o['text'].strip() else None
    d = o.get('data')
    if d is None: return o
    d.pop(WIDGET_VIEW, None)
    alt, cap = opts.get('fig-alt') or '', opts.get('fig-cap') or ''
    for k in ('image/webp', 'image/gif'):                       # animated: never through a renderer that may flatten them
        if k in d and 'text/html' not in d:
            d['text/html'] = f'<img class="film" alt="{html.escape(str(alt or cap))}" src="data:{k};base64,{text(d[k]).strip()}">'
    if 'text/html' in d:
        h = films(text(d['text/html']))
        if alt: h = re.sub(r'<img\b(?![^>]*\balt=)', lambda m: f'<img alt="{html.escape(str(alt))}"', h)
        if cap: h = f'<figure class="film-figure">{h}<figcaption>{caption_html(str(cap))}</figcaption></figure>'
        o['data'] = {'text/html': h}
    return o


def caption_html(s):
    "A caption's inline markdown as HTML: code, bold, italics"
    s = html.escape(s, quote=False)
    s = re.sub(r'`([^`]+)`', r'<code>\1</code>', s)
    s = re.sub(r'\*\*(.+?)\*\*', r'<strong>\1</strong>', s)
    return re.sub(r'(?<![\w*])\*(?!\s)(.+?)\*(?!\w)', r'<em>\1</em>', s)


def code_cell(c, links, films):
    "A processed code cell -> the cells that stand for it"
    opts, src = options(text(c['source']))
    if opts.get('include') is False: return []
    if show_doc_name(c): return [cell('markdown', api_card(c, links))] if c['outputs'] else []
    if opts.get('output') == 'asis':
        md = ''.join(text(o.get('data', {}).get('text/markdown', '')) or text(o.get('text', '')) for o in c['outputs'])
        return [cell('markdown', markdown(md, links))]
    tags, nb = [], {}
    if opts.get('echo') is False or 'hide_input' in opts: tags.append('remove-input')
    outs = [] if opts.get('output') is False else [r for o in c['outputs'] if (r := output(o, opts, films))]
    summary = str(opts.get('code-summary') or 'Show the code')
    if opts.get('code-fold') is True:
        solution = re.search('solution', summary, re.I)
        tags.append('hide-cell' if solution and outs else 'hide-input')
        nb['code_prompt_show'] = summary
        nb['code_prompt_hide'] = re.sub(r'^Show\b', 'Hide', summary)
    images = [o for o in outs if any(k.startswith('image/') for k in o.get('data', {})) and 'text/html' not in o['data']]
    if images:
        cap = str(opts.get('fig-cap') or '')
        if cap: nb['figure'] = {'caption': cap}
        nb['image'] = {'alt': re.sub(r'[`*]', '', str(opts.get('fig-alt') or cap))}
    meta = dict(tags=tags) if tags else {}
    if nb: meta['mystnb'] = nb
    return [dict(cell_type='code', execution_count=None, metadata=meta, outputs=outs, source=src)] if src or outs else []


def cell(kind, source): return dict(cell_type=kind, metadata={}, source=source)


# ---------------------------------------------------------------- a page

def opener(file, meta, links, site):
    "The first cell of a page: title, summary, and where to run it"
    title = markdown(str(meta.get('title') or page_name(file)), links)
    res = [f'# {title}']
    if meta.get('description'): res += ['', ':::{container} chapter-lead', markdown(str(meta['description']), links), ':::']
    if kicker(file):
        repo, branch = site['repo'], site['branch']
        path = f'{site["nbs"]}/{file}'
        gh = repo.removeprefix('https://github.com/')
        items = []
        if gh != repo: items.append(f'<a class="run" href="https://colab.research.google.com/github/{gh}/blob/{branch}/{path}">Open in Colab</a>')
        items.append(f'<a class="run" href="notebooks/{file}" download="{file}">Download notebook</a>')
        items.append(f'<a class="run" href="{repo}/blob/{branch}/{path}">Source</a>')
        if site.get('module', {}).get(file): items.append(f'<span class="module">builds <code>{html.escape(site["module"][file])}</code></span>')
        res += ['', f'<div class="chapter-meta">{"".join(items)}</div>']
    return cell('markdown', '\n'.join(res))


def toctree(secs, titles, front='The cover'):
    "The hidden tables of contents of the front page: one a section, with the chapters' numbers"
    res = []
    for name, files in secs:
        rows = []
        for f in files:
            if f == 'index.ipynb':
                rows.append(f'{front} <self>')
                continue
            n, t = number(f), re.sub(r'[`*<>]', '', titles[f])
            rows.append(f'{n} · {t} <{page_name(f)}>' if n else page_name(f))
        if rows: res.append('```{toctree}\n:hidden:\n:maxdepth: 1\n' + (f':caption: {name}\n' if name else '') + '\n' + '\n'.join(rows) + '\n```')
    return cell('markdown', '\n\n'.join(res))


def exported(src):
    """Which cells get a line with names over them: {index: (names, address)} for definitions that the page shows,
    {index: None} for the show_doc cells around them, which are then left out"""
    res = {}
    for i, c in enumerate(src):
        if c['cell_type'] != 'code' or 'exports' not in options(text(c['source']))[0]: continue
        names = re.findall(r'^(?:async +)?(?:def|class) +(\w+)', text(c['source']), re.M)
        around = []
        for step in (-1, 1):
            j = i + step
            while 0 <= j < len(src) and show_doc_name(src[j]) and show_doc_name(src[j]).split('.')[0] in names and j not in res:
                around.append(j)
                j += step
        cards = {p[0]: p for p in (card_parts(src[j]) for j in around)}
        for j in around: res[j] = None
        if cards:
            shown = [n for n in names if n in cards] + [n for n in cards if n not in names]
            res[i] = (shown, cards[shown[0]][1])
    return res


def notebook(file, nb, links, films, site, toc=None):
    "A processed notebook -> the notebook that MyST-NB renders"
    cells, src = [], [c for c in nb['cells'] if c['cell_type'] != 'raw' and 'THIS FILE WAS AUTOGENERATED' not in text(c['source'])]
    heads = exported(src)
    for i, c in enumerate(src):
        if i in heads: cells += [cell('markdown', card_head(*heads[i]))] if heads[i] else []
        if c['cell_type'] == 'code':
            if i not in heads or heads[i]: cells += code_cell(c, links, films)
        elif c['cell_type'] == 'markdown':
            md = markdown(re.sub(r'\A---\n\n', '', text(c['source'])), links)
            md = films(md)
            if i and has_film(src[i - 1]): md = re.sub(r'\A\s*(?=\*(?![*\s])[^\n]*(?<![*\s])\*[ \t]*(?:\n\s*\n|\s*\Z))', '{.film-caption}\n', md)
            if i + 1 < len(src) and folded_solution(src[i + 1]): md = re.sub(r'(?:\A|\n)#+[ \t]+Solutions?[ \t]*\s*\Z', '', md)   # the fold says it
            if md.strip(): cells.append(cell('markdown', md))
    cells.insert(0, opener(file, front_matter(nb), links, site))
    if toc: cells.append(toc)
    for i, c in enumerate(cells): c['id'] = f'c{i}'
    meta = {'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'},
            'language_info': {'name': 'python', 'pygments_lexer': 'ipython3'}}
    if d := front_matter(nb).get('description'): meta['myst'] = {'html_meta': {'description': re.sub(r'[`*]', '', str(d))}}
    return dict(cells=cells, metadata=meta, nbformat=4, nbformat_minor=5)


def folded_solution(c):
    if c['cell_type'] != 'code': return False
    opts, _ = options(text(c['source']))
    return opts.get('code-fold') is True and 'solution' in str(opts.get('code-summary', '')).lower()


def has_film(c):
    return c['cell_type'] == 'code' and any('<img' in text(o.get('data', {}).get('text/html', '')) or 'image/webp' in o.get('data', {})
        or 'image/gif' in o.get('data', {}) for o in c['outputs'])


def default_exp(nb):
    "The module that a notebook exports to, or ''"
    for c in nb['cells']:
        if c['cell_type'] == 'code' and (m := re.search(r'^\s*#\|\s*default_exp:?\s+(\S+)', text(c['source']), re.M)): return m[1]
    return nb.get('metadata', {}).get('nbdev', {}).get('default_exp', '')
