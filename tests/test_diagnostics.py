"""Diagnostics by value: what is known beforehand must come out, the model under test must stay as it is, bad input is refused."""
import copy
import math

import pytest
import torch

from nca_tutorial import diagnostics as D
from nca_tutorial.core import NCAModel, dense_step, seed_state, to_rgba
from nca_tutorial.growing import pixel_loss
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
