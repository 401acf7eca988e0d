"""Write README.md from nbs/index.ipynb; `--check` only compares. Nothing but the standard library is needed.

The title and summary cell comes first, as it is. Markdown cells lose what only the site understands: callouts become GitHub's
alerts, other divs and {attributes} go, raw HTML keeps pictures, headings, links and text. Links to chapters lead to nbs/*.ipynb,
pictures are shown from nbs/images/. Code cells become fenced Python with their text output. `#| hide`, `#| include: false`,
`#| echo: false` and `#| output: false` are respected, other `#|` lines are dropped. A film or plot that a cell put out is not
in a file, so README leaves it out: show it there with a picture from nbs/images/ in a markdown cell. A markdown cell that begins with
`<!-- site only -->` stays out of README.
"""
import json, re, sys
from pathlib import Path

ALERTS = dict(note='NOTE', tip='TIP', warning='WARNING', important='IMPORTANT', caution='CAUTION')
FENCE = re.compile(r'^( {0,3})(`{3,}|~{3,})[^\n]*\n.*?^ {0,3}\2[`~]*[ \t]*$', re.M | re.S)
CALLOUT = re.compile(r'^(:{3,})[ \t]*\{\.callout-(\w+)([^}\n]*)\}[ \t]*\n(.*?)^\1[ \t]*$', re.M | re.S)
NOTE = '<!-- Generated from nbs/{} by tools/readme.py: edit the notebook and run `make readme` -->'


def text(s): return ''.join(s) if isinstance(s, list) else (s or '')


def _callout(m):
    kind, attrs, body = m[2], m[3], m[4].strip('\n')
    title = re.search(r'title="([^"]*)"', attrs)
    title = title[1] if title else None
    if title is None and (h := re.match(r'\s*#+[ \t]+(.*)\n', body)): title, body = h[1].strip(), body[h.end():].strip('\n')
    lines = [f'[!{ALERTS.get(kind, "NOTE")}]'] + ([f'**{title}**', ''] if title else []) + body.split('\n')
    return '\n'.join(f'> {l}'.rstrip() for l in lines)


def _address(url, pages, nbs='nbs'):
    "Where a link of the notebook leads from the README"
    if re.match(r'[a-z][\w+.-]*:|#|//', url, re.I): return url
    path, sep, frag = url.partition('#')
    path = path.removeprefix('./')
    if path.endswith('.html') and path[:-5] in pages: path = pages[path[:-5]]
    if path.startswith('../'): return path[3:] + sep + frag
    return f'{nbs}/{path}{sep}{frag}'


def markdown(s, pages):
    "A markdown cell of the notebook as GitHub shows it; fenced code stays as it is"
    keep = []
    def hold(m):
        keep.append(re.sub(r'^([`~]+)[ \t]*\{\.(\w+)[^}\n]*\}', r'\1\2', m[0]))
        return f'\x00{len(keep) - 1}\x00'
    s = re.sub(r'^(`{3,})[ \t]*\{=html\}[ \t]*\n(.*?)^\1[ \t]*$', r'\2', s, flags=re.M | re.S)
    s = FENCE.sub(hold, s)
    s = CALLOUT.sub(_callout, s)
    s = re.sub(r'^:{3,}.*\n?', '', s, flags=re.M)                                             # other divs
    s = re.sub(r'(\]\([^)\n]*\))\{[^}\n]*\}', r'\1', s)                                        # [text](link){.class}
    s = re.sub(r'^(#+ .*?)[ \t]*\{[.#][^}\n]*\}[ \t]*$', r'\1', s, flags=re.M)
    s = re.sub(r'<(script|style)\b.*?</\1>\s*', '', s, flags=re.S | re.I)
    s = re.sub(r'[ \t]*<!--.*?-->\n?', '', s, flags=re.S)
    s = re.sub(r'<(\w+) class="cover-title">.*?</\1>\n?', '', s, flags=re.S)                    # the title stands above already
    s = re.sub(r'<img\b[^>]*\bsrc=["\']data:[^>]*>\s*', '', s)
    s = re.sub(r'\b(href|src)=(["\'])(.*?)\2', lambda m: f'{m[1]}={m[2]}{_address(m[3], pages)}{m[2]}', s)
    s = re.sub(r'(\]\()([^)\s]+)', lambda m: m[1] + _address(m[2], pages), s)
    while '\x00' in s: s = re.sub(r'\x00(\d+)\x00', lambda m: keep[int(m[1])], s)
    return s.strip('\n')


def code(c):
    "A code cell as fenced Python and its text output"
    lines, opts = text(c['source']).split('\n'), {}
    while lines and (m := re.match(r'#\|\s*([\w-]+)\s*:?\s*(.*)$', lines[0])):
        opts[m[1]] = m[2].strip()
        lines.pop(0)
    if {'hide', 'default_exp', 'hide_input'} & opts.keys() or opts.get('include') == 'false': return ''
    src, res = '\n'.join(lines).strip('\n'), []
    if src and opts.get('echo') != 'false': res.append(f'```python\n{src}\n```')
    out = '' if opts.get('output') == 'false' else '\n'.join(filter(None, map(_output, c.get('outputs', []))))
    if out: res.append(f"```text\n{out}\n```")
    return '\n\n'.join(res)


def _output(o):
    if o['output_type'] == 'stream':
        return '' if o.get('name') == 'stderr' else re.sub(r'[^\n]*\r', '', text(o['text'])).strip('\n')
    d = o.get('data', {})
    if any(k.startswith('image/') or k == 'text/html' for k in d): return ''
    return text(d.get('text/plain', '')).strip('\n')


def generate(nb, pages, name='index.ipynb'):
    "README's text for the notebook `nb`; `pages` says which notebook is behind each page of the site"
    cells = []
    for c in nb['cells']:
        if c['cell_type'] == 'raw': continue
        if c['cell_type'] == 'markdown' and re.match(r'\s*<!--\s*site only', text(c['source']), re.I): continue
        s = markdown(text(c['source']), pages) if c['cell_type'] == 'markdown' else code(c)
        if s.strip(): cells.append(s)
    return NOTE.format(name) + '\n\n' + '\n\n'.join(cells) + '\n'


def wanted(root):
    nbs = root/'nbs'
    pages = {re.sub(r'^\d+[a-zA-Z0-9]*_', '', f.stem): f.name for f in sorted(nbs.glob('*.ipynb'))}
    return generate(json.loads((nbs/'index.ipynb').read_text(encoding='utf-8')), pages)


def main(argv=None, root=None):
    root = Path(root) if root else Path(__file__).resolve().parent.parent
    check, readme = '--check' in (sys.argv[1:] if argv is None else argv), root/'README.md'
    if not (root/'nbs'/'index.ipynb').exists():
        print('nbs/index.ipynb is missing: README.md is made from it', file=sys.stderr)
        return 1
    new = wanted(root)
    if readme.exists() and readme.read_text(encoding='utf-8') == new: return 0
    if check:
        print('README.md does not follow nbs/index.ipynb: run `make readme`', file=sys.stderr)
        return 1
    readme.write_text(new, encoding='utf-8')
    print('wrote README.md')
    return 0


if __name__ == '__main__': sys.exit(main())
