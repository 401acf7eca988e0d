"Every script of tools/ and benchmarks/ runs, at a toy size, and leaves the committed tables and creatures alone"
import hashlib, json, os, shutil, subprocess, sys

import nbformat
import pytest
import torch
from PIL import Image

from conftest import ROOT, script

TABLES = sorted((ROOT/'benchmarks').glob('*.json'))
KEPT = [*TABLES, *(ROOT/'nbs'/'images').glob('*.png'), *(ROOT/'nca_tutorial'/'creatures').rglob('*.*')]


def fingerprint(): return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in KEPT}


@pytest.fixture(autouse=True)
def nothing_committed_changes():
    before = fingerprint()
    yield
    assert fingerprint() == before


@pytest.fixture
def as_before():
    "Threads, cores and helpers of this process, as they were"
    from nca_tutorial import engine
    threads, patience = torch.get_num_threads(), engine.PATIENCE
    cores = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else None
    yield
    torch.set_num_threads(threads)
    engine.PATIENCE = patience
    if cores: os.sched_setaffinity(0, cores)


def test_every_script_has_a_test():
    texts = ''.join(f.read_text(encoding='utf-8') for f in (ROOT/'tests').glob('*.py'))
    scripts = [f'{f.parent.name}/{f.name}' for folder in ('tools', 'benchmarks') for f in sorted((ROOT/folder).glob('*.py'))]
    assert len(scripts) >= 15 and [s for s in scripts if s not in texts] == []


# ---------------------------------------------------------------- tools

def test_the_zoo_is_trained_again(tmp_path, capsys):
    "Creatures and textures, a child after its parent; what is printed is what the cards say"
    names = ['gecko-grow', 'gecko-persist', 'gravel']
    zoo = script('tools/zoo.py')
    zoo.main([*names, '--quick', '--out', str(tmp_path)])
    said = [l for l in capsys.readouterr().out.splitlines() if ': loss ' in l]
    assert [l.split(':')[0] for l in said] == names and sorted(f.name for f in tmp_path.iterdir()) == sorted(names)
    for l in said:
        card = json.loads((tmp_path/l.split(':')[0]/'card.json').read_text())
        measured = card['measured']
        value = f"{measured['ratio']['2']:.1f}" if 'ratio' in measured else f"{measured['error']['2']:.1e}"
        assert f'step 2 {value}' in l and f"loss {card['loss']:.1e}" in l and card['recipe']['steps'] == 2


def test_the_closing_line_of_a_packaged_creature_names_each_kind_of_wound():
    from nca_tutorial.zoo import NAMES, read_card
    zoo = script('tools/zoo.py')
    for name in NAMES:
        card, l = read_card(name), zoo.line(read_card(name))
        assert l.startswith(name) and all(f'{kind} {share:.0%}' in l for kind, share in card['measured'].get('healed', {}).items())


@pytest.mark.parametrize('path, asked, words', [('tools/zoo.py', ['--quick'], '--out'), ('tools/zoo.py', ['unicorn'], 'no creature unicorn'),
    ('benchmarks/seeds.py', ['--steps', '1'], '--out'), ('benchmarks/drawing.py', ['--steps', '1'], '--out'), ('benchmarks/bench.py', ['--only', 'x'], 'expected some of main')])
def test_a_trial_is_not_written_over_the_real_thing(path, asked, words, capsys, as_before):
    with pytest.raises(SystemExit) as e: script(path).main(asked)
    assert e.value.code == 2 and words in capsys.readouterr().err


def test_the_checks_find_what_does_not_follow_its_source(tmp_path, monkeypatch, capsys):
    "On a copy with two faults: a module that was edited by hand, a notebook that is not clean"
    copy = tmp_path/'book'
    for name in ('settings.ini', 'pyproject.toml', '_quarto.yml', 'CITATION.cff', 'README.md'): (copy/name).parent.mkdir(exist_ok=True); shutil.copy(ROOT/name, copy)
    shutil.copytree(ROOT/'nca_tutorial', copy/'nca_tutorial', ignore=shutil.ignore_patterns('creatures', 'web', '__pycache__'))
    shutil.copytree(ROOT/'nbs', copy/'nbs', ignore=shutil.ignore_patterns('images', 'live', '.*'))
    checks = script('tools/checks.py')
    monkeypatch.setattr(checks, 'ROOT', copy)
    with (copy/'nca_tutorial'/'pool.py').open('a') as f: f.write('# by hand\n')
    notebook = nbformat.read(copy/'nbs'/'references.ipynb', 4)
    notebook.metadata['by hand'] = True
    nbformat.write(notebook, copy/'nbs'/'references.ipynb')
    assert checks.main() == 1
    told = capsys.readouterr().err.splitlines()
    assert told == ['nbs/references.ipynb is not clean: run `nbdev-clean`', 'nca_tutorial/pool.py does not follow the notebooks: run `nbdev-export`']


def test_notebooks_are_run_and_a_failing_one_is_named(tmp_path):
    for folder in ('nbs', 'tools'): (tmp_path/folder).mkdir()
    shutil.copy(ROOT/'pyproject.toml', tmp_path)
    shutil.copy(ROOT/'tools/notebooks.py', tmp_path/'tools')
    for name, text in (('01_well', 'assert 1 + 1 == 2'), ('02_ill', 'assert 1 + 1 == 3'), ('03_other', 'x')):
        cell = nbformat.v4.new_code_cell(text)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path/'nbs'/f'{name}.ipynb')
    env = {**os.environ, 'WORKERS': '1'}
    done = subprocess.run([sys.executable, 'tools/notebooks.py', 'well', 'ill'], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stderr.rstrip().endswith('These notebooks failed: 02_ill.ipynb'), done.stderr
    assert 'Running 2 notebooks' in done.stdout and 'ok      01_well.ipynb' in done.stdout and '03_other' not in done.stdout


def test_drawings_become_the_committed_pictures(tmp_path, chromium):
    script('tools/draw_targets.py').main(['gecko', 'weave', '--out', str(tmp_path)])
    for name in ('gecko', 'weave'):
        with Image.open(tmp_path/f'{name}.png') as new, Image.open(ROOT/'nbs'/'images'/f'{name}.png') as old: assert new.size == old.size and new.mode == old.mode
    with pytest.raises(SystemExit, match="no drawing named 'cat'"): script('tools/draw_targets.py').main(['cat', '--out', str(tmp_path)])


# ---------------------------------------------------------------- benchmarks

def shape(path):
    "What a table consists of, without the numbers"
    table = json.loads(path.read_text())
    return set(table), set(table['rows'][0])


def test_engines_are_raced(tmp_path, as_before, capsys):
    out = tmp_path/'results.json'
    toy = ['--threads', '1', '--steps', '2', '--rounds', '1', '--sizes', '72', '--memory-steps', '2', '--no-compile', '--device', 'cpu', '--out', str(out)]
    bench = script('benchmarks/bench.py')
    bench.main(toy)
    rows = json.loads(out.read_text())['rows']
    assert shape(out) == shape(ROOT/'benchmarks'/'results.json') and {r['group'] for r in rows} == {'main', 'worlds', 'style', 'shared', 'memory'}
    assert all(r['value'] > 0 and r['median'] >= r['value'] for r in rows if r['unit'] == 'ms/step')
    bench.main([*toy, '--only', 'style'])                             # the other rows stay as they are
    again = json.loads(out.read_text())['rows']
    assert [r for r in again if r['group'] != 'style'] == [r for r in rows if r['group'] != 'style'] and len(again) == len(rows)


def test_seeds_are_counted_and_a_stopped_count_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    out = tmp_path/'seeds.json'
    seeds = script('benchmarks/seeds.py')
    seeds.main(['--seeds', '1', '--jobs', '1', '--steps', '1', '--out', str(out)])
    record = json.loads(out.read_text())
    assert set(record) == set(json.loads((ROOT/'benchmarks'/'seeds.json').read_text()))
    assert set(record['seeds']) == {'0'} and set(record['seeds']['0']) == {'grow', 'persist', 'regenerate'}
    for runs in record['seeds']['0'].values(): assert set(runs) == {'guarded', 'unguarded', 'paper'} and not runs['guarded']['success'] and runs['paper']['steps'] == 1
    before = out.read_bytes()
    seeds.main(['--seeds', '1', '--jobs', '1', '--steps', '1', '--out', str(out)])
    assert out.read_bytes() == before


def test_the_drawing_board_is_timed(tmp_path, capsys):
    out = tmp_path/'drawing.json'
    script('benchmarks/drawing.py').main(['--pictures', 'face', '--steps', '2', '--out', str(out)])
    row, = json.loads(out.read_text())['rows']
    assert shape(out) == shape(ROOT/'benchmarks'/'drawing.json') and row['picture'] == 'face' and row['recognisable'] is None and row['loss'] > 0


def test_pages_are_raced(tmp_path, chromium, capsys):
    out = tmp_path/'web.json'
    script('benchmarks/web.py').main(['--sides', '72', '--seconds', '0.05', '--rounds', '1', '--grown', '4', '--out', str(out)])
    rows = json.loads(out.read_text())['rows']
    assert shape(out) == shape(ROOT/'benchmarks'/'web.json') and [r['engine'] for r in rows[:2]] == ['WebGL2', 'plain JavaScript'] and all(r['value'] > 0 for r in rows)


def test_pictures_are_checked_and_drawn(tmp_path, monkeypatch, capsys):
    "What stands in their way, and the sheet; the table is in test_pictures.py"
    pictures = script('benchmarks/pictures.py')
    monkeypatch.setattr(pictures, 'BUILD', tmp_path)
    pictures.main(['orrery', 'badge', '--check'])
    assert capsys.readouterr().err.startswith('orrery: It has 3 parts that do not touch')
    pictures.main(['badge', '--size', '8', '--padding', '1', '--sheet'])
    with Image.open(tmp_path/'pictures.png') as sheet: assert sheet.size == (360, 720)


def test_the_other_engine_answers_line_by_line(tmp_path):
    "benchmarks/cax_worker.py, where CAX has been set up; elsewhere its text is at least Python"
    worker = ROOT/'benchmarks'/'cax_worker.py'
    compile(worker.read_text(encoding='utf-8'), str(worker), 'exec')
    python = ROOT/'build'/'cax'/('Scripts/python.exe' if os.name == 'nt' else 'bin/python')
    if not python.exists(): pytest.skip('CAX is not set up')
    import numpy as np
    np.save(tmp_path/'x.npy', np.zeros((1, 8, 8, 16), np.float32))
    done = subprocess.run([python, worker, tmp_path/'x.npy', '2'], input='forward\ntrain\n', capture_output=True, text=True, timeout=300)
    ready, *seconds = done.stdout.splitlines()
    assert ready.startswith('ready') and len(seconds) == 2 and all(float(s) > 0 for s in seconds), done.stderr
