"""Write what follows from settings.ini: pyproject.toml, `__version__` in the package, the version in CITATION.cff; and from
_quarto.yml its copy in nbs/, where nbdev and Quarto look for it (a link would be lost where git makes none).

`python tools/sync_config.py` writes, `--check` only compares. Nothing but the standard library is needed, so it runs before
anything is installed. Basic TOML strings, arrays and booleans are written as JSON, which is the same language but for U+007F.
"""
import configparser, json, re, sys
from pathlib import Path

LICENSES = dict(apache2='Apache-2.0', mit='MIT', gpl2='GPL-2.0-or-later', gpl3='GPL-3.0-or-later', bsd3='BSD-3-Clause')
STATUS = {'1': '1 - Planning', '2': '2 - Pre-Alpha', '3': '3 - Alpha', '4': '4 - Beta',
          '5': '5 - Production/Stable', '6': '6 - Mature', '7': '7 - Inactive'}
REQUIRED = '''lib_name lib_path version min_python license status description keywords author author_email
    audience language git_url doc_host doc_baseurl requirements nbs_path'''.split()
# What nbdev reads from [tool.nbdev], by kind
WORDS = ('doc_procs', 'export_procs', 'allowed_metadata_keys', 'allowed_cell_metadata_keys', 'allowed_out_metadata_keys')
BOOLS = ('recursive', 'clean_ids', 'clear_all', 'put_version_in_init', 'jupyter_hooks', 'custom_sidebar', 'update_pyproject',
         'exec_profile')
NUMBERS = ('cell_timeout', 'cell_timing_min')
TEXTS = ('nbs_path', 'doc_path', 'branch', 'title', 'readme_nb', 'contributing_nb', 'tst_flags', 'strip_libs', 'test_setup',
         'renderer', 'skip_procs', 'strip_magics')
TRUE, FALSE = ('true', 'yes', '1', 'on'), ('false', 'no', '0', 'off')
HEAD = '# Generated from settings.ini by tools/sync_config.py: edit that file and run `make config`'
COPY = '# Generated from ../_quarto.yml by tools/sync_config.py: edit that file and run `make config`\n'

_req = re.compile(r'''[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?    # name
    \s*(?:\[[^\[\]]*\])?                                            # [extras]
    \s*(?:@\s*\S+|\(?\s*(?:[<>=!~]=?=?\s*[\w.*+!-]+\s*,?\s*)*\)?)   # @ address, or versions
    \s*(?:;.+)?''', re.X | re.S)                                    # ; marker


class ConfigError(ValueError):
    "What is wrong with settings.ini, in one line"


def toml_str(s):
    "`s` as a TOML basic string"
    try: s.encode()
    except UnicodeEncodeError: raise ConfigError(f'settings.ini: {s!r} is not valid Unicode text') from None
    return json.dumps(s, ensure_ascii=False).replace('\x7f', '\\u007f')


def toml_list(items): return '[' + ''.join(f'\n    {toml_str(o)},' for o in items) + ('\n]' if items else ']')


def read_settings(text):
    "The keys of settings.ini's [DEFAULT] section, as a dict of strings"
    cp = configparser.ConfigParser(delimiters=['='])
    try:
        cp.read_string(text, 'settings.ini')
        d = dict(cp['DEFAULT'])
    except (configparser.Error, UnicodeError) as e:
        raise ConfigError(f'settings.ini cannot be read: {" ".join(str(e).split())}') from None
    many = ('console_scripts', 'package_data')
    return {k: v if k in many or k.endswith('requirements') else re.sub(r'\s*\n\s*', ' ', v) for k, v in d.items()}


def lines(s): return [o.strip() for o in s.splitlines() if o.strip()]


def requirements(s, key='requirements'):
    "Requirements of one key: one a line, or several in one line with spaces between; each stays whole"
    res = []
    for l in lines(s):
        parts = [l] if _req.fullmatch(l) else l.split()
        for p in parts:
            if not _req.fullmatch(p): raise ConfigError(f'settings.ini: {key}: {p!r} in {l!r} is not a requirement')
        res += parts
    return res


def _nbdev_value(k, v):
    if k in WORDS: return '[' + ', '.join(map(toml_str, v.split())) + ']'
    if k in BOOLS:
        if v.lower() not in TRUE + FALSE: raise ConfigError(f'settings.ini: {k} must be True or False, not {v!r}')
        return json.dumps(v.lower() in TRUE)
    if k in NUMBERS:
        if not re.fullmatch(r'\d+(\.\d+)?', v): raise ConfigError(f'settings.ini: {k} must be a number, not {v!r}')
        return v if '.' in v else str(int(v))
    return toml_str(v)


def _section(name, rows): return ['', f'[{name}]'] + [f'{k} = {v}' for k, v in rows] if rows else []


def generate(text):
    "pyproject.toml for the settings in `text`"
    d = read_settings(text)
    missing = [k for k in REQUIRED if not d.get(k, '').strip()]
    if missing: raise ConfigError(f'settings.ini: missing or empty: {", ".join(missing)}')
    if d['status'] not in STATUS: raise ConfigError(f'settings.ini: status must be 1 to 7, not {d["status"]!r}')
    if not re.fullmatch(r'\d+(\.\d+)*((a|b|rc)\d+)?(\.(post|dev)\d+)*', d['version']):
        raise ConfigError(f'settings.ini: version {d["version"]!r} is not a version number')
    if not re.fullmatch(r'\d+(\.\d+)*', d['min_python']):
        raise ConfigError(f'settings.ini: min_python must look like 3.11, not {d["min_python"]!r}')
    if not re.fullmatch(r'[A-Za-z_]\w*', d['lib_path'], re.ASCII):
        raise ConfigError(f'settings.ini: lib_path must be a package name, not {d["lib_path"]!r}')
    if not re.fullmatch(r'[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?', d['lib_name'], re.ASCII):
        raise ConfigError(f'settings.ini: lib_name must be a distribution name, not {d["lib_name"]!r}')
    lib = d['lib_path']
    classifiers = [f'Development Status :: {STATUS[d["status"]]}', f'Intended Audience :: {d["audience"]}',
        f'Natural Language :: {d["language"]}', 'Programming Language :: Python :: 3', 'Programming Language :: Python :: 3 :: Only']
    deps = requirements(d['requirements']) + requirements(d.get('pip_requirements', ''), 'pip_requirements')
    extras = [(toml_str(k.removesuffix('_requirements')), toml_list(requirements(v, k))) for k, v in d.items()
              if k.endswith('_requirements') and k not in ('pip_requirements', 'conda_requirements')]
    scripts = []
    for l in lines(d.get('console_scripts', '')):
        m = re.fullmatch(r'([^\s=:]+)\s*=\s*([\w.]+:[\w.]+)', l)
        if not m: raise ConfigError(f'settings.ini: console_scripts: {l!r} is not `name = module:function`')
        scripts.append((toml_str(m[1]), toml_str(m[2])))
    res = [HEAD, '', '[build-system]', 'requires = ["setuptools>=77"]', 'build-backend = "setuptools.build_meta"']
    res += _section('project', [('name', toml_str(d['lib_name'])), ('dynamic', '["version"]'),
        ('description', toml_str(d['description'])), ('readme', '"README.md"'), ('requires-python', toml_str('>=' + d['min_python'])),
        ('license', toml_str(LICENSES.get(d['license'], d['license']))),
        ('authors', f'[{{name = {toml_str(d["author"])}, email = {toml_str(d["author_email"])}}}]'),
        ('keywords', toml_list(d['keywords'].split())), ('classifiers', toml_list(classifiers)), ('dependencies', toml_list(deps))])
    res += _section('project.optional-dependencies', extras)
    res += _section('project.scripts', scripts)
    res += _section('project.urls', [('Repository', toml_str(d['git_url'])),
        ('Documentation', toml_str(d['doc_host'].rstrip('/') + '/' + d['doc_baseurl'].strip('/')))])
    res += _section('project.entry-points.nbdev', [(lib, toml_str(f'{lib}._modidx:d'))])
    res += _section('tool.setuptools.dynamic', [('version', f'{{attr = {toml_str(lib + ".__version__")}}}')])
    res += _section('tool.setuptools.packages.find', [('include', f'[{toml_str(lib)}, {toml_str(lib + ".*")}]')])
    if data := d.get('package_data', '').split(): res += _section('tool.setuptools.package-data', [(lib, toml_list(data))])
    res += _section('tool.nbdev', [('lib_path', toml_str(lib))] +
        [(k, _nbdev_value(k, d[k])) for k in d if k in WORDS + BOOLS + NUMBERS + TEXTS])
    return '\n'.join(res) + '\n'


def _put(text, pattern, line):
    "`text` with the line that matches `pattern` replaced by `line`, or with `line` at its end"
    new, n = re.subn(pattern, lambda m: line, text, count=1, flags=re.M)
    return new if n else text.rstrip('\n') + ('\n' if text else '') + line + '\n'


def wanted(root):
    "What each derived file should hold: {path: text}"
    root = Path(root)
    try: text = (root/'settings.ini').read_text(encoding='utf-8')
    except OSError: raise ConfigError(f'settings.ini is missing in {root}') from None
    except UnicodeDecodeError: raise ConfigError('settings.ini is not UTF-8 text') from None
    res = {root/'pyproject.toml': generate(text)}
    d = read_settings(text)
    read = lambda f: f.read_text(encoding='utf-8') if f.exists() else ''
    init, cite = root/d['lib_path']/'__init__.py', root/'CITATION.cff'
    res[init] = _put(read(init), r'^__version__\s*=.*$', f'__version__ = "{d["version"]}"')
    quarto = root/'_quarto.yml'
    if quarto.exists(): res[root/d['nbs_path']/quarto.name] = COPY + read(quarto)
    if cite.exists(): res[cite] = _put(read(cite), r'^version:.*$', f'version: {d["version"]}')
    return res


def main(argv=None, root=None):
    "Write or compare; the exit status"
    check = '--check' in (sys.argv[1:] if argv is None else argv)
    root = Path(root) if root else Path(__file__).resolve().parent.parent
    try: files = wanted(root)
    except ConfigError as e:
        print(e, file=sys.stderr)
        return 1
    stale = [f for f, t in files.items() if not f.exists() or f.read_text(encoding='utf-8') != t]
    for f in stale:
        if check: print(f'{f.relative_to(root)} does not follow its source: run `make config`', file=sys.stderr)
        else:
            f.parent.mkdir(parents=True, exist_ok=True)
            f.write_text(files[f], encoding='utf-8')
            print(f'wrote {f.relative_to(root)}')
    return int(bool(check and stale))


if __name__ == '__main__': sys.exit(main())
