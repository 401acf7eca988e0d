"Sphinx settings of the book. `build.py` copies this file beside the pages, with site.json (from _quarto.yml and settings.ini)."
import json, re
from pathlib import Path

here = Path(__file__).parent
site = json.loads((here/'site.json').read_text(encoding='utf-8'))
project = html_title = site['title']
author = site['author']
copyright = f'2026, {author}. Apache-2.0'
language = 'en'
extensions = ['myst_nb', 'sphinx_copybutton', 'sphinx_design', 'sphinx.ext.mathjax']
exclude_patterns = ['_static', '_templates', 'images']
templates_path = ['_templates']

nb_execution_mode = 'off'
nb_merge_streams = True
nb_mime_priority_overrides = [('html', 'text/html', 0)]
myst_enable_extensions = ['colon_fence', 'dollarmath', 'amsmath', 'attrs_inline', 'attrs_block', 'deflist', 'html_image',
    'smartquotes', 'strikethrough', 'tasklist', 'fieldlist']
myst_heading_anchors = 4
myst_dmath_double_inline = True
mathjax_path = 'mathjax/tex-chtml.js'
mathjax3_config = {'options': {'enableMenu': False}, 'chtml': {'displayAlign': 'center'}}
numfig = False
suppress_warnings = ['myst.header', 'mystnb.unknown_mime_type', 'misc.highlighting_failure', 'config.cache']

html_theme = 'sphinx_book_theme'
html_static_path = ['_static']
html_extra_path = ['../extra']
html_css_files = ['nca.css']
html_js_files = [('page.js', {'defer': 'defer'})]
html_copy_source = html_show_sourcelink = False
html_use_index = False
html_last_updated_fmt = None
html_baseurl = site['url']
if (here/'images'/'logo.svg').exists(): html_logo = 'images/logo.svg'
html_favicon = next((f'images/{f}' for f in ('favicon.svg', 'logo.svg') if (here/'images'/f).exists()), None)
html_context = {'default_mode': 'auto'}
html_theme_options = dict(repository_url=site['repo'], repository_branch=site['branch'], path_to_docs=site['nbs'],
    use_repository_button=True, navbar_persistent=[], article_header_start=['toggle-primary-sidebar.html'], use_issues_button=False, use_download_button=False, use_fullscreen_button=False, home_page_in_toc=False,
    show_navbar_depth=2, show_toc_level=2, toc_title='On this page', search_bar_text='Search the book', logo=dict(text=site['title']),
    pygments_light_style='a11y-high-contrast-light', pygments_dark_style='github-dark')
copybutton_selector = 'div.cell_input div.highlight pre, div.myst div.highlight pre, section > div.highlight-sh pre, section > div.highlight-bash pre, section > div.highlight-python pre'
copybutton_copy_empty_lines = False


def size(path):
    "Width and height of a picture in pixels, or None (a drawing has none)"
    from PIL import Image
    try:
        with Image.open(path) as im: return im.size
    except OSError: return None


def dress(app, page, template, context, doctree):
    "Last touches on a page: its number over its title; pictures that wait until they are near, and keep their place till then"
    body = context.get('body')
    if not body: return
    if k := site['kickers'].get(page): body = body.replace('<h1>', f'<p class="kicker">{k}</p>\n<h1>', 1)
    files = {f'_images/{name}': Path(app.srcdir)/src for src, name in app.builder.images.items()}
    def picture(m):
        tag, src = m[0], re.search(r'\bsrc="([^"]+)"', m[0])
        if not src or 'cover' in tag: return tag
        if 'loading=' not in tag: tag = tag.replace('<img', '<img loading="lazy" decoding="async"', 1)
        wh = None if re.search(r'\b(width|height)=', tag) else size(files.get(src[1], here/src[1]))
        return tag.replace('<img', f'<img width="{wh[0]}" height="{wh[1]}"', 1) if wh else tag
    context['body'] = re.sub(r'<img\b[^>]*>', picture, body)


def setup(app):
    app.connect('html-page-context', dress)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
