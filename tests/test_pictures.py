"What stands in a picture's way, the recipe that follows from it, and the pictures and the table of benchmarks/pictures.py"
import json

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import ROOT, script
from nca_tutorial.core import NCAModel
from nca_tutorial.growing import grow
from nca_tutorial.pictures import grow_creature, measure, obstacles, seat, stages
from nca_tutorial.targets import load_target

pictures = script('benchmarks/pictures.py')
KINDS = {'disc', 'square', 'half', 'tail', 'scatter', 'noise'}


def target(side, *boxes):
    "Opaque boxes (top, left, bottom, right; the last two beyond) on an empty grid"
    t = torch.zeros(4, side, side)
    for top, left, bottom, right in boxes: t[:, top:bottom, left:right] = 1
    return t


def islands(gap, across=False):
    "Two squares of 3 cells, one of them in the middle of 21x21, and so many empty cells between them"
    at = 12 + gap
    return target(21, (9, 9, 12, 12), (at, at, at + 3, at + 3) if across else (9, at, 12, at + 3))


def ring(side, outer, inner):
    "A square ring about the middle"
    t, mid = torch.zeros(4, side, side), side // 2
    t[:, mid - outer:mid + outer + 1, mid - outer:mid + outer + 1] = 1
    t[:, mid - inner:mid + inner + 1, mid - inner:mid + inner + 1] = 0
    return t


def spiral(side, pitch=4):
    "One line from the middle outwards, three empty cells from turn to turn -> the target, and the line's length in steps"
    t, row, col, n, length = torch.zeros(4, side, side), side // 2, side // 2, 0, 0
    t[:, row, col] = 1
    while True:
        down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[n % 4]
        for _ in range(pitch * (n // 2 + 1)):
            row, col = row + down, col + right
            if not (1 <= row < side - 1 and 1 <= col < side - 1): return t, length
            t[:, row, col], length = 1, length + 1
        n += 1


# ---------------------------------------------------------------- the pictures

@pytest.mark.parametrize('name', pictures.PICTURES)
def test_a_picture_is_of_its_kind(name):
    image = pictures.PICTURES[name][0]()
    assert image.mode == 'RGBA' and 256 <= max(image.size) <= 512
    t = load_target(image, 24, 6)
    ink, alpha = t[:3, t[3] > 0.5] / t[3, t[3] > 0.5], t[3]
    found = obstacles(t)
    if name == 'cat': assert (alpha[6:-6, 6:-6] == 1).all() and alpha.sum() == 24**2
    else: assert 60 < (alpha > 0.1).sum() < 24**2
    if name == 'elephant': assert (ink.amax(0) - ink.amin(0)).max() < 0.01 < ink.std()
    if name == 'panther': assert ink.mean() < 0.1
    if name == 'ghost': assert ((alpha > 0.1) & (alpha < 0.9)).sum() > 0.5 * (alpha > 0.1).sum()
    if name == 'bicycle': assert torch.nn.functional.avg_pool2d(alpha[None], 3, 1).max() < 1       # nowhere solid
    if name == 'mandala': assert (t[:, 6:-6, 6:-6] - t[:, 6:-6, 6:-6].flip(2)).abs().max() < 0.05
    if name == 'mandala': assert (t[:, 6:-6, 6:-6] - t[:, 6:-6, 6:-6].transpose(1, 2)).abs().max() < 0.05
    if name == 'wreath': assert len(found) >= 1 and found[0].startswith('The seed falls on an empty cell')
    elif name == 'orrery': assert len(found) == 1 and found[0].startswith('It has 3 parts that do not touch')
    else: assert found == []


def test_no_two_pictures_are_alike():
    small = [load_target(draw(), 24, 6) for draw, _ in pictures.PICTURES.values()]
    assert len(small) == 12 and all((a - b).square().mean() > 0.01 for i, a in enumerate(small) for b in small[:i])


# ---------------------------------------------------------------- what can be said before

def test_nothing_stands_in_the_way_of_a_plain_body():
    assert obstacles(target(21, (5, 5, 16, 16))) == []
    assert obstacles(load_target(ROOT/'nbs/images/gecko.png', 24, 6)) == []
    assert obstacles(torch.zeros(4, 9, 9)) == ['It is empty: no alpha is above 0.1.']


@pytest.mark.parametrize('across', [False, True])
@pytest.mark.parametrize('gap', [0, 1, 2, 3, 4])
def test_islands_are_apart_from_three_empty_cells_on(gap, across):
    found = obstacles(islands(gap, across))
    if gap <= 2: assert found == []
    else:
        assert len(found) == 1 and found[0].startswith('It has 2 parts that do not touch.')
        assert f'Out of reach of the seed: 9 cells behind a gap of {gap}.' in found[0]


@pytest.mark.parametrize('gap', [1, 2, 3, 4])
def test_the_model_itself_feels_across_exactly_such_gaps(gap):
    "A body whose alpha stands still: what is changed in one island is felt in the other, or never"
    g = torch.Generator().manual_seed(0)
    model = NCAModel(fire_rate=1.0, generator=g, engine='dense')
    with torch.no_grad():
        last = model.update[2]
        last.weight.copy_(0.05 * torch.randn(last.weight.shape, generator=g))
        last.weight[3] = last.bias[3] = 0
        x = torch.zeros(1, 16, 21, 21)
        x[:, :4] = islands(gap)
        other = x.clone()
        other[:, 8, 9:12, 9:12] = 1
        difference = (model(x, 12) - model(other, 12)).abs()
    there = difference[..., 9:12, 12 + gap:15 + gap].max().item()
    assert there > 0 if gap <= 2 else there == 0


def test_faint_cells_are_no_bridge_and_ink_just_above_the_threshold_is():
    t = islands(4)
    t[3, 10, 13:15] = 0.1
    assert len(obstacles(t)) == 1
    t[3, 10, 13:15] = 0.11
    assert obstacles(t) == []


def test_three_islands_in_a_chain_are_counted_each_with_its_nearest_neighbour():
    found = obstacles(target(41, (19, 19, 22, 22), (19, 26, 22, 28), (19, 33, 22, 34)))
    assert len(found) == 1 and found[0].startswith('It has 3 parts')
    assert '6 cells behind a gap of 4, 3 cells behind a gap of 5.' in found[0]


def test_a_ring_is_one_part_and_the_seed_falls_into_its_hole():
    assert obstacles(ring(21, 5, 0)) == []                                       # the next cell is inked
    found = obstacles(ring(21, 7, 3))
    assert len(found) == 1 and found[0].startswith('The seed falls on an empty cell, 4 cells from the nearest ink')
    seated = seat(ring(21, 7, 3))
    height, width = seated.shape[1:]
    assert seated[3, height // 2, width // 2] == 1 and seated.sum() == ring(21, 7, 3).sum() and obstacles(seated) == []


def test_a_ring_around_a_body_is_a_part_of_its_own():
    t = ring(31, 9, 6)
    t[:, 14:17, 14:17] = 1
    found = obstacles(t)
    assert len(found) == 1 and '192 cells behind a gap of 5.' in found[0]


def test_along_a_spiral_it_is_farther_than_across():
    t, length = spiral(41)
    assert length > 150
    found = obstacles(t, longest=56)
    assert len(found) == 1
    reach = int(found[0].split('the farthest is ')[1].split()[0])
    assert 100 < reach <= length                                                          # corners are cut by a cell or two
    assert obstacles(t, longest=2 * reach) == [] and obstacles(t, longest=2 * reach - 1) != []


def test_a_straight_line_counts_the_cells_that_come_too_late():
    t = target(61, (30, 30, 31, 60))                                                      # 30 cells, 0 to 29 from the seed
    found = obstacles(t, longest=40)
    assert len(found) == 1 and found[0].startswith('9 of 30 cells are too far for rollouts of 40 steps')


def test_ink_on_the_edge_of_the_grid():
    assert obstacles(target(9, (0, 0, 9, 9)))[-1].startswith('32 cells lie on the edge of the grid')
    assert obstacles(target(9, (1, 1, 8, 8))) == []


@pytest.mark.parametrize('side', [16, 17])
@pytest.mark.parametrize('row, col', [(2, 2), (3, 12), (13, 4), (12, 13), (8, 3)])
def test_the_seed_is_laid_on_ink_wherever_that_is(side, row, col):
    t = torch.zeros(4, side, side)
    t[:, row, col] = 1
    seated = seat(t)
    height, width = seated.shape[1:]
    assert seated[3, height // 2, width // 2] == 1 and seated.sum() == t.sum()


def test_no_rollout_of_the_recipe_is_too_short_for_a_body():
    for size in (4, 12, 24, 40, 80):
        t = load_target(ROOT/'nbs/images/gecko.png', size, 6)
        assert obstacles(t) == []
        sprouting, healing, lesson = stages(t)
        assert sprouting['rollout'][0] < sprouting['rollout'][1] < healing['rollout'][1] < lesson['rollout'][1]


# ---------------------------------------------------------------- the call

BODY = dict(target=target(15, (4, 4, 11, 11)), progress=False)


@pytest.fixture
def hurried(monkeypatch):
    "A recipe of a few steps, and an examination that always fails"
    import nca_tutorial.pictures as module
    real = module.stages
    monkeypatch.setattr(module, 'stages', lambda t: tuple(stage | dict(steps=6, batch=2, rollout=(3, 5)) | ({'pool': 8, 'damaged': 1} if 'pool' in stage else {}) for stage in real(t)))
    monkeypatch.setattr(module, '_examine', lambda *a, **k: dict(error={'200': 0.5}, healed=dict(disc=0.0)))
    return module


def test_lessons_are_given_until_it_heals_or_no_longer(hurried, monkeypatch):
    model, history = grow_creature(**BODY, lessons=3)
    assert len(history.losses) == 5 * 6 and [step for step, _ in history.events] == [24, 30]
    assert history.events[0][1] == 'examined: not grown: error 5.0e-01 at step 200'
    monkeypatch.setattr(hurried, '_examine', lambda *a, **k: dict(error={'200': 1e-5, '2000': 1e-5}, healed=dict(disc=1.0)))
    assert [len(grow_creature(**BODY, lessons=n)[1].losses) for n in (0, 1, 3)] == [12, 18, 24]
    assert len(grow_creature(**BODY, parent=None)[1].losses) == 1200 + 18


def test_what_a_lesson_spoils_is_not_kept(hurried, monkeypatch):
    seen, shares = [], iter((0.5, 0.9, 0.7))
    def examined(model, *a, **k):
        seen.append([p.clone() for p in model.parameters()])
        return dict(error={'200': 1e-5, '2000': 1e-5}, healed=dict(disc=next(shares), half=1.0))
    monkeypatch.setattr(hurried, '_examine', examined)
    model, _ = grow_creature(**BODY, lessons=4)
    assert len(seen) == 3 and all(torch.equal(a, b) for a, b in zip(seen[1], model.parameters()))
    assert not all(torch.equal(a, b) for a, b in zip(seen[2], model.parameters()))


def test_a_stopped_run_goes_on_to_the_same_end(hurried, tmp_path):
    from nca_tutorial.train import Callback
    whole, history = grow_creature(**BODY, lessons=1, checkpoint=tmp_path/'whole.run')
    class Unplug(Callback):
        order, seen = 2, 0
        def after_step(self, run):
            Unplug.seen += 1
            if Unplug.seen == 9: raise KeyboardInterrupt
    _, half = grow_creature(**BODY, lessons=1, checkpoint=tmp_path/'half.run', callbacks=[Unplug()])
    assert half.interrupted and len(half.losses) == 9
    again, same = grow_creature(**BODY, lessons=1, checkpoint=tmp_path/'half.run')
    assert same.losses == history.losses and not same.interrupted
    for a, b in zip(whole.parameters(), again.parameters()): assert torch.equal(a, b)


def test_the_parent_is_left_alone_and_bad_ones_are_refused(hurried):
    parent = NCAModel(generator=torch.Generator().manual_seed(3))
    before = [p.clone() for p in parent.parameters()]
    child, _ = grow_creature(**BODY, parent=parent, lessons=0)
    assert child is not parent and all(torch.equal(a, b) for a, b in zip(before, parent.parameters()))
    with pytest.raises(ValueError, match='parent: it is a texture'): grow_creature(**BODY, parent='brick')
    with pytest.raises(TypeError, match='parent: got 3'): grow_creature(**BODY, parent=3)
    with pytest.raises(ValueError, match='checkpoint: .* no checkpoint of this run'): grow_creature(**BODY, checkpoint=__file__)
    with pytest.raises(ValueError, match='lessons: got -1'): grow_creature(**BODY, lessons=-1)
    with pytest.raises(ValueError, match='target: it is empty'): grow_creature(torch.zeros(4, 9, 9))


# ---------------------------------------------------------------- the table

@pytest.fixture
def toy(monkeypatch, tmp_path):
    "The table with a trainer of two steps; -> a run of it, and the seeds that were trained"
    trained = []
    def stub(target, seed=0, progress=True):
        trained.append(seed)
        return grow(target, seed=seed, steps=2, batch=1, rollout=(2, 3), progress=progress)
    monkeypatch.setattr(pictures, 'grow_creature', stub)
    def hurried(model, target, wounds, ages):                     # a hundred times younger
        found = measure(model, target, wounds, tuple(age // 100 for age in ages))
        return found | dict(error={str(100*int(age)): e for age, e in found['error'].items()})
    monkeypatch.setattr(pictures, 'measure', hurried)
    monkeypatch.setattr(pictures, 'BUILD', tmp_path/'build')
    def run(*more): pictures.main(['badge', '--size', '8', '--padding', '1', '--wounds', '2', '--threads', '1', '--out', str(tmp_path/'rows.json'), *more])
    run.rows = lambda: json.loads((tmp_path/'rows.json').read_text())
    return run, trained


def test_a_toy_run_of_the_table(toy, capsys, tmp_path):
    run, trained = toy
    run('--look')
    made = run.rows()
    row, = made['rows']
    assert 'PyTorch' in made['machine'] and row['picture'] == 'badge' and row['training_steps'] == 2 and row['seconds'] > 0
    assert set(row['error']) == {'200', '2000', '10000'} and set(row['healed']) == KINDS and trained == [0]
    assert row['verdict'].startswith('not grown: ')
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].split()[-1] == 'verdict' and 'a logo' in shown and row['verdict'] in shown
    assert Image.open(tmp_path/'build/pictures-grown.png').width > 300

    run('--seeds', '0', '1')                                      # goes on where it was
    assert trained == [0, 1] and [r['seed'] for r in run.rows()['rows']] == [0, 1] and run.rows()['rows'][0] == row
    run('--again')
    assert trained == [0, 1, 0] and [r['seed'] for r in run.rows()['rows']] == [0, 1]
    run('--wounds', '1')                                          # other settings: measured anew, in the same place
    assert trained == [0, 1, 0, 0] and [r['wounds'] for r in run.rows()['rows']] == [1, 2]


def test_a_training_that_fails_or_is_stopped(toy, monkeypatch, capsys):
    run, _ = toy
    def fails(*_, **__): raise FloatingPointError('the loss is NaN')
    monkeypatch.setattr(pictures, 'grow_creature', fails)
    run('--look')
    assert run.rows()['rows'][0]['verdict'] == 'training failed: the loss is NaN' and 'nan' in capsys.readouterr().out
    def stopped(target, **_): return NCAModel(), pictures.argparse.Namespace(interrupted=True)
    monkeypatch.setattr(pictures, 'grow_creature', stopped)
    before = run.rows()
    with pytest.raises(KeyboardInterrupt): run('--again')
    assert run.rows() == before
