"---"
# For the site that `nbdev-docs` builds: everything that lives in its pages. nbdev runs a Python file in nbs/ that begins
# with front matter (that is the line above, with nothing in it), and what it prints becomes the file of the same name without
# `.py`: here the list of the creatures. Beside it come the creatures, and one folder up the page's scripts and style.
import re, runpy
from nbdev.config import get_config

root = get_config().config_path
live = root/'_proc'/'live'
live.mkdir(parents=True, exist_ok=True)
for f in (root/'nca_tutorial'/'web'/'nca.js', root/'site'/'_static'/'page.js', root/'site'/'_static'/'rule30.svg'):
    (live/f.name).write_bytes(f.read_bytes())

# Quarto says by day or by night in a class of the body, and brings its own faces
css = (root/'site'/'_static'/'nca.css').read_text(encoding='utf-8')
css = re.sub(r'@font-face \{.*?\}\n', '', css)
css = re.sub(r'html\[data-theme="(light|dark)"\]', r'body.quarto-\1', css)
(live/'nca.css').write_text(css, encoding='utf-8')

print(runpy.run_path(str(root/'site'/'build.py'))['creatures'](live/'creatures'), end='')
