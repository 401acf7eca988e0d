"""Diagnostics by value: what is known beforehand must come out, the model under test must stay as it is, bad input is refused."""
import copy
import math

import numpy as np
import pytest
import torch

from nca_tutorial import diagnostics as D
from nca_tutorial.core import NCAModel, dense_step, seed_state, to_rgba
from nca_tutorial.growing import pixel_loss
from nca_tutorial.perception import kernel_bank
from nca_tutorial.regeneration import DAMAGE

NAMES = [name for group in D.BREAKAGES.values() for name in group]


def lively(seed=0, scale=0.05, **config):
    "A small model with random weights: it moves, and does not explode in a few steps"
    g = torch.Generator().manual_seed(seed)
    model = NCAModel(**dict(channels=6, hidden=12, generator=g) | config)
    for p in model.update[2].parameters(): torch.nn.init.uniform_(p, -scale, scale, generator=g)
    return model


def weights(model): return {k: v.clone() for k, v in [*model.named_parameters(), *model.named_buffers()]}


def dice(seed=0): return torch.Generator().manual_seed(seed)


@pytest.fixture
def target():
    t = torch.zeros(4, 16, 16)
    t[3, 5:12, 6:11], t[0, 5:12, 6:11], t[1, 5:7, 6:8] = 1, 0.7, 0.5
    return t


# ---------------------------------------------------------------- one row

@pytest.mark.parametrize('size', [(16, 16), (15, 16), (12, 17)])
def test_a_model_that_never_moves_scores_what_its_seed_scores(size):
    t = torch.rand(4, *size, generator=dice(3))
    row = D.observe(NCAModel(channels=6, hidden=4), t, 30, batch=3)
    assert row.error == pytest.approx(pixel_loss(t)(seed_state(1, 6, size)).item(), rel=1e-5)
    assert torch.equal(row.picture, to_rgba(seed_state(1, 6, size))[0])


def test_observe_is_the_plain_run(target):
    model = lively()
    with torch.no_grad(): x = model(seed_state(5, 6, 16), 9, dice(4))
    row = D.observe(model, target, 9, 'a', 'b', batch=5, seed=4)
    assert row.error == pytest.approx(pixel_loss(target)(x).mean().item(), rel=1e-6)
    assert (row.name, row.group) == ('a', 'b') and row.picture.shape == (4, 16, 16)


def test_observe_begins_where_it_is_told(target):
    "After no steps, the start itself is compared"
    def perfect(x):
        x = x.clone()
        x[:, :4] = target
        return x
    assert D.observe(lively(), target, 0, start=perfect).error == 0


def test_same_seed_same_number(target):
    assert D.observe(lively(), target, 9, seed=1).error == D.observe(lively(), target, 9, seed=1).error
    assert D.observe(lively(), target, 9, seed=1).error != D.observe(lively(), target, 9, seed=2).error


# ---------------------------------------------------------------- breakages

@pytest.mark.parametrize('name', NAMES)
def test_the_model_itself_stays_whole(name, target):
    model = lively()
    before, settings = weights(model), model.extra_repr()
    broken = D.break_one(model, name)
    D.observe(broken, target, 3)
    assert all(torch.equal(v, before[k]) for k, v in weights(model).items())
    assert model.extra_repr() == settings and type(model) is NCAModel and type(model.update[1]) is torch.nn.ReLU


@pytest.mark.parametrize('name', NAMES)
def test_every_breakage_breaks_something(name):
    "Its states differ from those of the whole model, but for the one that only shows at the edge"
    model = lively(scale=0.3, output_bias=True)
    x = torch.rand(2, 6, 9, 9, generator=dice(5)) * 1.5 - 0.2
    x[:, 3] *= torch.rand(2, 9, 9, generator=dice(6)) < 0.3
    with torch.no_grad(): whole, broken = model(x, 3, dice()), D.break_one(model, name)(x, 3, dice())
    assert not torch.equal(whole, broken)


def test_swapping_the_senses_transposes_the_creature():
    model, x = lively(), seed_state(1, 6, 13)
    swapped, fire = D.break_one(model, 'x and y swapped'), torch.rand(12, 1, 1, 13, 13, generator=dice()) < 0.5
    a, b = x, x
    with torch.no_grad():
        for f in fire: a, b = model.step(a, f), swapped.step(b, f.transpose(2, 3))
    assert torch.allclose(a.transpose(2, 3), b, atol=1e-5) and not torch.allclose(a, b, atol=1e-3)


def test_flipping_sobel_y_turns_the_creature_upside_down():
    model, x = lively(), seed_state(1, 6, 13)
    flipped, fire = D.break_one(model, 'Sobel y flipped'), torch.rand(12, 1, 1, 13, 13, generator=dice()) < 0.5
    a, b = x, x
    with torch.no_grad():
        for f in fire: a, b = model.step(a, f), flipped.step(b, f.flip(2))
    assert torch.allclose(a.flip(2), b, atol=1e-5) and not torch.allclose(a, b, atol=1e-3)


@pytest.mark.parametrize('size', [16, 15])
def test_a_pose_is_named(size):
    "A creature that is its target in another pose, about the seed's cell"
    t, middle = torch.zeros(4, size, size), size // 2
    t[3, middle - 3:middle + 2, middle] = t[3, middle + 1, middle:middle + 4] = 1
    for name, picture in D._poses(t).items():
        assert picture[3, middle, middle] == 1, name
        row = D._posed(D.Finding('', '', pixel_loss(t)(torch.cat([picture, picture])[None, :4]).item(), picture), t)
        assert row.note == f'{name}: 0'
    same = D.Finding('', '', 0., t)
    assert D._posed(same, t) is same


def test_the_other_order_is_that_of_a_kernel_major_perception():
    model = lively()
    x, fire = torch.rand(1, 6, 8, 8, generator=dice(7)), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    network = lambda seen: model.update(seen.unflatten(1, (6, 3)).transpose(1, 2).flatten(1, 2))
    with torch.no_grad():
        want = dense_step(x, fire, model.kernel_weights, network, 'zeros', 0.1)
        got = D.break_one(model, 'senses in another order').step(x, fire)
    assert torch.allclose(want, got, atol=1e-5)


def test_rounding_leaves_as_many_values_as_bits_allow():
    for bits, name in ((8, '8-bit weights'), (4, '4-bit weights')):
        broken = D.break_one(lively(), name)
        for p, whole in zip(broken.update.parameters(), lively().update.parameters()):
            assert len(p.unique()) <= 2**bits - 1
            assert (p - whole).abs().max() <= whole.abs().max() / (2**(bits - 1) - 1) / 2 + 1e-7
    still = D.break_one(NCAModel(channels=6, hidden=4), '8-bit weights')
    assert still.update[2].weight.abs().sum() == 0


@pytest.mark.parametrize('name', ['rand > rate', 'one die for all cells', 'no mask before the update'])
def test_another_step_serves_rollouts_trajectories_and_single_steps(name):
    broken, x = D.break_one(lively(), name), seed_state(2, 6, 12)
    with torch.no_grad():
        roll = broken(x, 6, dice())
        assert torch.allclose(roll, broken.trajectory(x, 6, 2, dice())[-1], atol=1e-6)
    assert broken.step(x, torch.ones(2, 1, 12, 12, dtype=torch.bool)).shape == x.shape
    with pytest.raises(ValueError, match='expected'): broken(x[:, :5], 1)


def test_one_die_for_all_cells_moves_all_or_none():
    broken, x = D.break_one(lively(alive_threshold=None), 'one die for all cells'), torch.rand(1, 6, 8, 8, generator=dice(8))
    with torch.no_grad(): moved = [(broken(x, 1, dice(s)) != x).any(1).float().mean().item() for s in range(12)]
    assert set(moved) == {0.0, 1.0}


def test_a_mask_the_wrong_way_round_is_the_other_rate():
    slip = D.break_one(lively(alive_threshold=None), 'rand > rate')
    slip.fire_rate, x = 1., torch.rand(1, 6, 8, 8, generator=dice(9))
    with torch.no_grad(): assert torch.equal(slip(x, 5, dice()), x)


def test_break_all(target):
    found = D.break_all(lively(), target, 3, ['senses', 'mask'])
    assert [r.name for r in found] == ['as trained', *D.BREAKAGES['senses'], *D.BREAKAGES['mask']]
    assert found.empty == pytest.approx(target.square().mean().item())
    assert len(D.break_all(lively(), target, 1)) == 1 + len(NAMES)


def test_lines_that_a_model_lacks_are_left_out(target):
    found = D.break_all(lively(kernels=('identity', 'laplacian')), target, 2, ['senses'])
    assert [r.name for r in found] == ['as trained', 'identity all zeros', 'senses in another order', 'the other padding']


def test_breakages_of_your_own(target, monkeypatch):
    monkeypatch.setitem(D.BREAKAGES, 'mine', {'still': lambda m: m.update[2].weight.zero_() + m.update[2].bias.zero_()})
    row = D.break_all(lively(), target, 5, ['mine'])['still']
    assert row.group == 'mine' and row.error == pytest.approx(pixel_loss(target)(seed_state(1, 6, 16)).item(), rel=1e-5)


# ---------------------------------------------------------------- turning

def test_turning_by_nothing_and_by_quarters():
    x = torch.rand(2, 5, 9, 9, generator=dice(1))
    assert torch.allclose(D.turn(x, 0), x, atol=1e-4) and torch.allclose(D.turn(x, 360), x, atol=1e-4)
    for quarter in (1, 2, 3): assert torch.allclose(D.turn(x, 90 * quarter), x.rot90(quarter, (2, 3)), atol=1e-4)
    assert torch.allclose(D.turn(D.turn(x, 90), -90), x, atol=1e-4)


def test_the_seed_stays_where_it_is():
    for size in (8, 9, (7, 12)):
        x = seed_state(1, 6, size)
        for angle in (0, 37, 90, 180, 270):
            t = D.turn(x, angle)[0, 3]
            assert t.argmax() == x[0, 3].argmax() and t.max() == pytest.approx(1, abs=1e-4)


def test_rotating_by_nothing_gives_the_plain_error(target):
    model = lively()
    found = D.rotation_error(model, target, [0., 90., 360.], 9, batch=3, seed=2)
    assert found['0°'].error == pytest.approx(D.observe(model, target, 9, batch=3, seed=2).error, rel=1e-4)
    assert [r.name for r in found] == ['0°', '90°', '360°']


def test_a_quarter_turn_is_measured_after_turning_back():
    "With every cell firing there are no dice: a quarter turn of the senses is the turned life, and the error the same"
    model, t = lively(fire_rate=1.), torch.rand(4, 15, 15, generator=dice(2))
    found = D.rotation_error(model, t, [0., 90., 180.], 6)
    assert found['90°'].error == pytest.approx(found['0°'].error, rel=1e-3)
    assert found['180°'].error == pytest.approx(found['0°'].error, rel=1e-3)
    assert torch.allclose(found['90°'].picture, found['0°'].picture.rot90(1, (1, 2)), atol=1e-3)


# ---------------------------------------------------------------- dice, grids, channels

def test_slower_dice_get_more_steps(target):
    model = lively()
    found = D.fire_rate_sweep(model, target, [0.1, 0.5, 1.], 10, batch=2)
    assert [r.note for r in found] == ['50 steps', '10 steps', '5 steps'] and model.fire_rate == 0.5
    assert found['rate 0.5'].error == D.observe(model, target, 10, batch=2).error
    assert [r.note for r in D.fire_rate_sweep(model, target, [0.1, 1.], 10, rescale=False)] == ['10 steps'] * 2


@pytest.mark.parametrize('size', [15, 16, 17, 24, (15, 30), (31, 16)])
def test_another_grid_holds_the_same_creature(size):
    "With every cell firing, a creature that does not reach the edge is the same on every grid, and so is its error"
    model, t = lively(fire_rate=1.), torch.zeros(4, 16, 16)
    t[3, 5:12, 5:12] = 0.5
    found = D.grid_sweep(model, t, [16, size], 4)
    assert found.rows[1].error == pytest.approx(found.rows[0].error, rel=1e-4) and not found.rows[1].note
    assert found.rows[1].picture.shape[1:] == (size if isinstance(size, tuple) else (size, size))


def test_what_does_not_fit_is_said(target):
    assert D.grid_sweep(lively(), target, [5], 1).rows[0].note.endswith('% of the target is outside')


def test_on_a_grid_the_seed_cell_stays_the_seed_cell():
    t = torch.zeros(4, 9, 12)
    t[3, 4, 6] = 1
    for size in ((9, 12), (10, 13), (20, 21), (3, 4), (1, 1)):
        moved = D._on_grid(t, size)
        assert moved.shape == (4, *size) and moved[3, size[0] // 2, size[1] // 2] == 1 and moved.sum() == 1


def test_silencing_a_channel_nobody_reads_changes_nothing(target):
    model = lively()
    model.update[0].weight.data[:, 15:18] = 0                                   # channel 5 of three senses each
    assert D.observe(D.silence_channels(model, 5), target, 9).error == D.observe(model, target, 9).error
    assert D.observe(D.silence_channels(model, 4), target, 9).error != D.observe(model, target, 9).error


def test_a_silent_channel_is_not_read():
    model, x = lively(alive_threshold=None), torch.rand(1, 6, 8, 8, generator=dice(1))
    other = x.clone()
    other[:, 4:] = torch.rand(1, 2, 8, 8, generator=dice(2))
    quiet, fire = D.silence_channels(model, [4, 5]), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    with torch.no_grad(): assert torch.allclose(quiet.step(x, fire)[:, :4], quiet.step(other, fire)[:, :4], atol=1e-6)
    assert model.update[0].weight[:, 12:].abs().sum() > 0


# ---------------------------------------------------------------- the report

def test_report_of_a_model_that_never_moves(target):
    "Every row is known: the seed's error, and that of an empty grid where the wound took the seed"
    model, seed = NCAModel(channels=6, hidden=4), pixel_loss(target)(seed_state(1, 6, 16)).item()
    found = D.report(model, target, 6, times=(2, 4), damage=('scatter',), heal=3, rates=(1.,), sizes=(16, 20), angles=(90.,), batch=2)
    assert [r.group for r in found] == ['grown', 'time', 'time', 'wounds', 'wounds', 'dice', 'grid', 'grid', 'turned']
    for row in found:
        if row.group != 'wounds': assert row.error == pytest.approx(seed, rel=1e-3), row.name


def test_wounds_count_who_has_healed(target):
    "A creature that is its target from the first step on heals at once, one that never moves never does"
    class Painter(NCAModel):
        def _rollout(self, x, steps, generator, kernels):
            return torch.cat([target.expand(len(x), -1, -1, -1), x[:, 4:]], 1) if steps else x
    good = D.report(Painter(channels=6, hidden=4), target, 3, times=(), heal=1, rates=(), sizes=(), angles=(), batch=3)
    assert all(row.error == 0 for row in good if row.group == 'wounds')
    assert all(row.note.endswith('3 of 3 healed') for row in good if row.name in DAMAGE)
    idle = D.report(NCAModel(channels=6, hidden=4), target, 3, times=(), heal=1, rates=(), sizes=(), angles=(), batch=3)
    assert all(row.note.endswith('0 of 3 healed') for row in idle if row.name in DAMAGE)
    assert len(good) == len(idle) == 2 + len(DAMAGE)


def test_report_rows_are_those_of_their_sweeps(target):
    model, how = lively(), dict(batch=2, seed=3)
    found = D.report(model, target, 8, times=(20, 4), heal=2, **how)
    assert [r.name for r in found if r.group == 'time'] == ['step 4', 'step 20']
    assert [r.name for r in found if r.group == 'wounds'] == ['unhurt', *DAMAGE]
    assert found['rate 0.25'].error == D.fire_rate_sweep(model, target, [0.25], 8, **how).rows[0].error
    assert found['24 × 24'].error == D.grid_sweep(model, target, [24], 8, **how).rows[0].error
    assert found['45°'].error == D.rotation_error(model, target, [45.], 8, **how).rows[0].error
    assert found['step 4'].error == pytest.approx(D.observe(model, target, 4, **how).error, rel=1e-5)


def test_report_survives_a_model_that_explodes(target):
    model = lively(scale=50.)
    found = D.report(model, target, 60, times=(40, 80), heal=4, batch=1)
    assert not all(math.isfinite(r.error) for r in found) and all(r.picture.isfinite().all() for r in found)
    assert 'explodes' in found.markdown() and 'explodes' in found.ranking().data and 'nan%' not in found.ranking().data


# ---------------------------------------------------------------- how it looks

def rows(*errors): return [D.Finding('g', f'<row {i}>', e, torch.rand(4, 6, 6, generator=dice(i)), 'n & m') for i, e in enumerate(errors)]


def test_findings_hold_their_rows():
    found = D.Findings(rows(0.1, 0.2), 0.5)
    assert len(found) == 2 and [r.error for r in found] == [0.1, 0.2] and found['<row 1>'].error == 0.2
    assert repr(found) == found.markdown() == '| | what | error | |\n|---|---|---|---|\n| g | <row 0> | 0.1 | n & m |\n| g | <row 1> | 0.2 | n & m |'
    with pytest.raises(KeyError, match='there are <row 0>, <row 1>'): found['else']


def test_cards_are_safe_html():
    page = D.Findings(rows(0.1, math.nan), 0.5)._repr_html_()
    assert page.count('<img') == page.count('alt="&lt;row') == 2 and '<row' not in page and 'n &amp; m' in page


def test_ranking_is_sorted_and_puts_what_explodes_last():
    page = D.Findings(rows(math.nan, 0.3, math.inf, 0.1), 0.5).ranking().data
    order = [page.index(f'&lt;row {i}&gt;') for i in (3, 1, 0, 2)]
    assert order[0] < order[1] < min(order[2:]) and page.count(D.PALETTE['coral']) == 2


def test_figure_shows_every_row():
    assert len(D.Findings(rows(0.1, 0.2, 0.3), 0.5).figure(2).axes) == 3


# ---------------------------------------------------------------- the door

@pytest.mark.parametrize('error, call, message', [
    (TypeError, lambda m, t: D.observe(torch.nn.Identity(), t), 'model: got Identity'),
    (ValueError, lambda m, t: D.observe(NCAModel(channels=3, alive_threshold=None), t), 'model: it has 3 channels'),
    (ValueError, lambda m, t: D.observe(m, t[None]), 'expected a tensor'),
    (ValueError, lambda m, t: D.observe(m, t * math.nan), 'NaN'),
    (ValueError, lambda m, t: D.observe(m, t, -1), 'steps: got -1'),
    (ValueError, lambda m, t: D.observe(m, t, batch=0), 'batch: got 0'),
    (ValueError, lambda m, t: D.observe(m, t, seed=-1), 'seed: got -1'),
    (TypeError, lambda m, t: D.break_one('gecko', 'ReLU removed'), 'model: got str'),
    (ValueError, lambda m, t: D.break_one(m, 'nothing'), "name: got 'nothing'; expected one of"),
    (ValueError, lambda m, t: D.break_all(m, t, groups=['limbs']), "groups: got 'limbs'; expected some of senses"),
    (TypeError, lambda m, t: D.turn([1], 3), 'x: got list'),
    (TypeError, lambda m, t: D.turn(seed_state(), 'left'), "angle: got 'left'"),
    (ValueError, lambda m, t: D.turn(seed_state(), math.inf), 'angle: got inf'),
    (ValueError, lambda m, t: D.rotation_error(lively(kernels=('identity', 'sobel_x')), t, [30.]), 'angle: 30.0 degrees needs both'),
    (ValueError, lambda m, t: D.fire_rate_sweep(m, t, [0.0]), 'rates: got 0.0; expected above 0'),
    (ValueError, lambda m, t: D.fire_rate_sweep(m, t, [1.5]), 'rates: got 1.5'),
    (TypeError, lambda m, t: D.fire_rate_sweep(m, t, ['fast']), "rates: got 'fast'"),
    (ValueError, lambda m, t: D.grid_sweep(m, t, [0]), 'sizes: got 0'),
    (TypeError, lambda m, t: D.grid_sweep(m, t, [(8, 'wide')]), "sizes: got 'wide'"),
    (ValueError, lambda m, t: D.silence_channels(m, 6), 'channels: got 6; the model has 0 to 5'),
    (ValueError, lambda m, t: D.silence_channels(m, [-1]), 'channels: got -1'),
    (TypeError, lambda m, t: D.silence_channels(None, 1), 'model: got NoneType'),
    (ValueError, lambda m, t: D.report(m, t, 2, damage=['fire'], times=()), "damage: got 'fire'; expected some of disc"),
    (ValueError, lambda m, t: D.report(m, t, 2, times=(-5,)), 'times: got -5'),
])
def test_what_is_refused(error, call, message, target):
    with pytest.raises(error, match=message.replace('(', r'\(')): call(lively(), target)


def empty_picture(): return torch.zeros(4, 16, 16)

SMALL = dict(times=(2,), damage=('disc',), heal=1, rates=(1.,), sizes=(12,), angles=(90.,), batch=1)
BAD_COUNT = [None, 'x', math.nan, math.inf, -1, 2.5, True, [], 10**9, 10**30, torch.tensor(3), (3,)]
BAD_SEED = [None, 'x', math.nan, -1, 2.5, True, [], 2**64, torch.tensor(3)]
BAD_LIST = [None, 3, 2.5, 'x', b'x', {1: 2}, [None], ['x'], [math.nan], [math.inf], [[]], [True], [-1], [torch.tensor(1)], torch.tensor(1)]
BAD = dict(
    model=[None, 'gecko', NCAModel, torch.nn.Identity(), NCAModel(channels=3, alive_threshold=None), NCAModel(6, 4).to('meta')],
    target=[None, 'x', 3, [], torch.zeros(3, 16, 16), torch.zeros(1, 4, 16, 16), torch.zeros(4, 0, 16), torch.zeros(4, 16, 16).int(), torch.zeros(4, 16, 16) * 1j,
            torch.full((4, 16, 16), math.nan), torch.zeros(4, 16, 16).bool()],
    steps=BAD_COUNT, age=BAD_COUNT, heal=BAD_COUNT, batch=[*BAD_COUNT, 0], seed=BAD_SEED, name=[None, 3, [], b'x'], group=[None, 3, []],
    start=[3, 'x', [], lambda x: None, lambda x: x[:, :5], lambda x: x[..., :9], lambda x: x * math.nan, lambda x: x.int(), lambda x: x[:0]],
    groups=['senses', 3, [3], [[]], [None], ['limbs'], torch.tensor(1)], rates=[*BAD_LIST, [0], [1.5], [1e-300]], times=[*BAD_LIST, [2.5], [10**9]],
    rescale=[None, 1, 'x'], angles=[*BAD_LIST[:-4], [torch.tensor(1)], torch.tensor(1)], sizes=[*BAD_LIST[1:], [2.5], [0], [(3, 3, 3)], [(8, 'x')], [10**9], [10**30]],
    damage=['disc', 3, None, ['fire'], [[]], [None]], channels=[None, 'x', math.nan, -1, 2.5, True, 6, 10**30, [6], ['x'], [None], {1: 2}, [[1]], torch.tensor(1), np.ones((2, 2), int)],
    x=[None, 'x', [1], torch.zeros(4, 9, 9), torch.zeros(1, 4, 0, 9), torch.zeros(1, 4, 9, 9).int(), torch.zeros(1, 4, 9, 9) * 1j, torch.full((1, 4, 9, 9), math.nan)],
    angle=[None, 'x', math.nan, math.inf, True, [], 1j, torch.tensor(1.)], cols=[None, 'x', 0, -1, 2.5], rows=[None, 3, 'x', [None], [3]], empty=[None, 'x', math.nan, math.inf, -1])
DOORS = dict(
    observe=(lambda m, t, **k: D.observe(**dict(model=m, target=t, steps=2, batch=1) | k), 'model target steps name group start batch seed'),
    break_one=(lambda m, t, **k: D.break_one(**dict(model=m, name='ReLU removed') | k), 'name'),
    break_all=(lambda m, t, **k: D.break_all(**dict(model=m, target=t, steps=2, groups=['dice'], batch=1) | k), 'model target steps groups batch seed'),
    fire_rate_sweep=(lambda m, t, **k: D.fire_rate_sweep(**dict(model=m, target=t, steps=2, rates=[1.], batch=1) | k), 'model target rates steps rescale batch seed'),
    turn=(lambda m, t, **k: D.turn(**dict(x=seed_state(), angle=3) | k), 'x angle'),
    rotation_error=(lambda m, t, **k: D.rotation_error(**dict(model=m, target=t, angles=[3.], steps=2, batch=1) | k), 'model target angles steps batch seed'),
    grid_sweep=(lambda m, t, **k: D.grid_sweep(**dict(model=m, target=t, sizes=[12], steps=2, batch=1) | k), 'model target sizes steps batch seed'),
    silence_channels=(lambda m, t, **k: D.silence_channels(**dict(model=m, channels=1) | k), 'channels'),
    report=(lambda m, t, **k: D.report(**dict(model=m, target=t, age=2) | SMALL | k), 'model target age times damage heal rates sizes angles batch seed'),
    Findings=(lambda m, t, **k: D.Findings(**dict(rows=rows(0.1), empty=0.5) | k), 'rows empty'),
    figure=(lambda m, t, **k: D.Findings(rows(0.1), 0.5).figure(**k), 'cols'),
)

@pytest.mark.parametrize('door, name', [(door, name) for door, (_, names) in DOORS.items() for name in names.split()])
def test_bad_values_are_refused_by_name_before_any_life(door, name, target, monkeypatch):
    call, model = DOORS[door][0], lively()
    call(model, target)
    monkeypatch.setattr(NCAModel, '_rollout', lambda *a: pytest.fail('something lived already'))
    for bad in BAD[name]:
        with pytest.raises((ValueError, TypeError), match=f'^{name}: '):
            call(model, target, **{name: bad})


def test_numpy_is_welcome(target):
    i, f = np.int64, np.float64
    a = D.report(lively(), target, i(2), times=np.array([2]), damage=('disc',), heal=i(1), rates=np.array([1.]), sizes=np.array([12]), angles=np.array([90.]), batch=i(1), seed=i(0))
    b = D.report(lively(), target, 2, **SMALL)
    assert [r.error for r in a] == [r.error for r in b] and len(a) == 7
    for channels in (i(1), np.array(1), np.array([1]), iter([1]), range(1, 2), {1}):
        assert torch.equal(D.silence_channels(lively(), channels).update[0].weight, D.silence_channels(lively(), 1).update[0].weight)
    assert torch.equal(D.turn(seed_state(), f(30)), D.turn(seed_state(), 30))
    assert [r.name for r in D.fire_rate_sweep(lively(), target, iter([0.5, 1.]), 2, batch=1)] == ['rate 0.5', 'rate 1']


# ---------------------------------------------------------------- without a hidden layer

def micro(**config):
    model, g = NCAModel(**dict(channels=6, hidden=0) | config), dice()
    for p in model.update[-1].parameters(): torch.nn.init.uniform_(p, -0.4, 0.4, generator=g)
    return model


def test_micro_models_are_broken_where_they_have_the_line(target):
    "Their kernels stand by channel, and they have neither ReLU nor hidden bias."
    model, before = micro(), weights(micro())
    x = torch.rand(2, 6, 9, 9, generator=dice(6)) * 1.5 - 0.2
    x[:, 3] *= torch.rand(2, 9, 9, generator=dice(6)) < 0.1
    lacks = []
    for name in NAMES:
        try: broken = D.break_one(model, name)
        except ValueError: lacks.append(name); continue
        with torch.no_grad(): assert not torch.equal(model(x, 3, dice()), broken(x, 3, dice())), name
        assert all(torch.equal(v, before[k]) for k, v in weights(model).items())
    assert lacks == ['ReLU removed', 'GELU for ReLU', 'hidden bias dropped']
    assert len(D.break_all(model, target, 2, batch=1)) == 1 + len(NAMES) - 3
    assert len(D.report(model, target, 2, **SMALL)) == 7


@pytest.mark.parametrize('name, at, kernel', [('identity all zeros', (slice(None), 0), 0 * torch.ones(3, 3)), ('Sobel x all zeros', (slice(0, None, 2), 1), 0 * torch.ones(3, 3)),
    ('Sobel y flipped', (slice(1, None, 2), 1), -kernel_bank(['sobel_y'])[0]), ('x and y swapped', (slice(0, None, 2), 1), kernel_bank(['sobel_y'])[0]),
    ('x and y swapped', (slice(1, None, 2), 1), kernel_bank(['sobel_x'])[0])])
@pytest.mark.parametrize('channels', [6, 7])
def test_micro_senses_by_value(name, at, kernel, channels):
    broken, whole = D.break_one(micro(channels=channels), name).kernel_weights.clone(), micro(channels=channels).kernel_weights
    assert (broken[at] == kernel).all()
    if 'swapped' not in name:
        broken[at] = whole[at]
        assert torch.equal(broken, whole)
    else: assert torch.equal(broken[:, 0], whole[:, 0])


def test_micro_order_is_that_of_a_kernel_major_perception():
    model, x, fire = micro(), torch.rand(1, 6, 8, 8, generator=dice(7)), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    network = lambda seen: model.update(seen.unflatten(1, (6, 2)).transpose(1, 2).flatten(1, 2))
    with torch.no_grad():
        want = dense_step(x, fire, model.kernel_weights, network, 'zeros', 0.1)
        assert torch.allclose(want, D.break_one(model, 'senses in another order').step(x, fire), atol=1e-5)


def test_a_silent_channel_of_a_micro_model_is_not_read():
    model, x = micro(alive_threshold=None), torch.rand(1, 6, 8, 8, generator=dice(1))
    other, fire = x.clone(), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    other[:, 4:] = torch.rand(1, 2, 8, 8, generator=dice(2))
    quiet = D.silence_channels(model, [4, 5])
    with torch.no_grad():
        assert torch.allclose(quiet.step(x, fire)[:, :4], quiet.step(other, fire)[:, :4], atol=1e-6)
        assert not torch.allclose(model.step(x, fire)[:, :4], model.step(other, fire)[:, :4], atol=1e-3)
        assert torch.equal(D.silence_channels(model, []).step(x, fire), model.step(x, fire))


# ---------------------------------------------------------------- lines that are not there, scales that are nothing

@pytest.mark.parametrize('config, lines', [(dict(alive_threshold=None), D.BREAKAGES['mask']), (dict(output_bias=False), ['output bias dropped']), (dict(hidden=0), ['ReLU removed'])])
def test_a_line_that_is_not_there_cannot_be_broken(config, lines, target):
    for name in lines:
        with pytest.raises(ValueError, match='^model: it has no'): D.break_one(NCAModel(**dict(channels=6, hidden=4) | config), name)
    assert not {r.name for r in D.break_all(NCAModel(**dict(channels=6, hidden=4) | config), target, 1, batch=1)} & set(lines)
    with pytest.raises(ValueError, match='^model: it has no ReLU'): D.break_one(D.break_one(lively(), 'ReLU removed'), 'GELU for ReLU')


def test_a_network_of_another_kind_is_not_cut():
    normed = lively()
    torch.nn.utils.parametrizations.weight_norm(normed.update[0])
    other = lively()
    other.update = torch.nn.Conv2d(18, 6, 1)
    for model in (normed, other):
        for cut in (lambda: D.silence_channels(model, 1), lambda: D.break_one(model, 'senses in another order')):
            with pytest.raises(ValueError, match='^model: its update network is not as NCAModel makes it'): cut()


def test_noise_on_a_single_number():
    "One hidden unit has one bias, which has no spread of its own."
    broken = D.break_one(lively(hidden=1), '5% noise on the weights')
    assert all(p.isfinite().all() for p in broken.parameters()) and broken.update[0].bias != lively(hidden=1).update[0].bias


def test_two_groups_may_use_a_name(target, monkeypatch):
    "Each row is its own group's."
    for group, factor in (('a', 0.), ('b', 1.)): monkeypatch.setitem(D.BREAKAGES, group, {'same': lambda m, factor=factor: m.update[2].weight.mul_(factor)})
    monkeypatch.setitem(D.BREAKAGES, 'a', {'same': lambda m: setattr(m, 'fire_rate', 0.)})
    found = D.break_all(lively(), target, 5, ['a', 'b'])
    assert found.rows[2].error == found.rows[0].error != found.rows[1].error


def test_a_breakage_is_a_function(monkeypatch):
    monkeypatch.setitem(D.BREAKAGES, 'mine', {'none': 3})
    with pytest.raises(TypeError, match='^BREAKAGES: got 3; expected a function'): D.break_one(lively(), 'none')


def test_an_empty_target_is_no_scale(target):
    "Errors can be taken, shares of nothing cannot: a report is refused, a table and its bars are not."
    model = lively()
    assert D.grid_sweep(model, empty_picture(), [12, 20], 2).rows[0].note == ''
    page = D.Findings([*rows(0.1, 0., math.nan), D.observe(model, empty_picture(), 2)], 0.).ranking().data
    assert 'nan' not in page and 'explodes' in page
    with pytest.raises(ValueError, match='^target: it is empty everywhere'): D.report(model, empty_picture())
    for errors in ((), (math.nan, math.nan), (math.inf,)): assert 'nan%' not in D.Findings(rows(*errors), 0.5).ranking().data
    with pytest.raises(ValueError, match='^rows: there are none'): D.Findings([], 0.5).figure()
    assert len(D.report(model, torch.ones(4, 1, 1), 1, times=(), damage=(), heal=0, rates=(), angles=(), batch=1)) == 2 + 3


def test_age_nothing_is_the_seed(target):
    assert [r.note for r in D.fire_rate_sweep(lively(), target, [0.1, 1.], 0)] == ['0 steps'] * 2
    with pytest.raises(ValueError, match='^model: its fire_rate is 0'): D.fire_rate_sweep(lively(fire_rate=0.), target)
    # a setting is checked when it is set, so no such model comes here
    with pytest.raises(ValueError, match='^fire_rate: got nan'): lively().fire_rate = math.nan


def test_learned_kernels_are_not_turned(target):
    "Turned senses are made from names, which say nothing about kernels that were learned or broken."
    model = D.break_one(lively(), 'Sobel halved')
    with pytest.raises(ValueError, match='^model: its kernels are not those'): D.rotation_error(model, target, [30.])
    assert D.rotation_error(model, target, [0.], 3)['0°'].error == pytest.approx(D.observe(model, target, 3).error)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype, target):
    model = lively().to(dtype)
    row, whole = D.observe(model, target, 4), D.observe(lively(), target, 4)
    assert row.error == pytest.approx(whole.error, rel=0.05) and row.picture.dtype == torch.float32
    assert len(D.report(model, target, 2, **SMALL)) == 7 and len(D.break_all(model, target, 1, batch=1)) == 1 + len(NAMES)
    x = torch.rand(1, 4, 9, 9, generator=dice()).to(dtype)
    assert D.turn(x, 90).dtype == dtype and torch.allclose(D.turn(x, 90), x.rot90(1, (2, 3)), atol=1e-2)


def test_another_step_takes_only_firing_masks():
    broken = D.break_one(lively(), 'rand > rate')
    with pytest.raises(TypeError, match='^fire: '): broken.step(seed_state(1, 6, 9), torch.ones(1, 1, 9, 9))
    with pytest.raises(ValueError, match='^fire: '): broken.step(seed_state(1, 6, 9), torch.ones(1, 1, 8, 9).bool())
