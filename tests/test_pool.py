"""The pool and the wounds: what they promise for any size, shape and dice."""
import pytest
import torch
from hypothesis import given, settings, strategies as st

from nca_tutorial.core import NCAModel, seed_state
from nca_tutorial.growing import pixel_loss
from nca_tutorial.pool import SamplePool, persist
from nca_tutorial.regeneration import DAMAGE, any_damage, central_damage, cut_beyond, cut_disc, cut_half, cut_middle, cut_stroke, hard_damage, hole_damage, recovery, regenerate
from nca_tutorial.targets import load_target

QUICK = dict(steps=5, batch=3, rollout=(3, 5), progress=False)


def dice(seed=0): return torch.Generator().manual_seed(seed)
def first(x): return x[:, 0, 0, 0]                                # a loss: one number a state


def numbered(size): 
    pool = SamplePool(torch.full((1, 1, 1, 1), -1.0), size)
    pool.states = torch.arange(float(size)).reshape(size, 1, 1, 1)
    return pool


@pytest.fixture
def target(root): return load_target(root / "nbs" / "images" / "mushroom.png", 8, 2)


@given(st.integers(1, 40), st.data())
@settings(max_examples=60, deadline=None)
def test_what_a_draw_is(size, data):
    n, seed = data.draw(st.integers(1, size)), data.draw(st.integers(0, 1000))
    pool = numbered(size)
    index, states = pool.sample(n, first, dice(seed))
    assert len(set(index.tolist())) == n and 0 <= index.min() and index.max() < size
    worst = index.float().argmax()                                # the loss is the slot's number
    expected = index.float().clone()
    expected[worst] = -1
    assert torch.equal(first(states), expected)                   # only the worst is a seed, everything in the drawn order
    assert first(pool.states).tolist() == list(range(size))       # drawing changes nothing
    pool.update(index, states + 0.25)
    changed = {i for i, v in enumerate(first(pool.states).tolist()) if v != i}
    assert changed == set(index.tolist()) and torch.equal(first(pool.states)[index], expected + 0.25)
    assert torch.equal(index, numbered(size).sample(n, first, dice(seed))[0])


def test_states_are_copies_and_carry_no_gradient():
    pool = numbered(4)
    index, states = pool.sample(2, None, dice())
    states += 100
    assert first(pool.states).tolist() == [0, 1, 2, 3]
    out = (states * torch.ones(1, requires_grad=True))
    pool.update(index, out)
    assert not pool.states.requires_grad


def test_not_a_number_is_the_worst():
    pool = numbered(3)
    pool.states[1] = torch.nan
    index, states = pool.sample(3, first, dice())
    assert first(states)[index == 1] == -1 and torch.isfinite(states).all()


def test_the_best_are_damaged_and_the_newborn_never():
    seen = []
    def damage(x, generator): seen.append(first(x).tolist()); return x + 1000
    for damaged, n, hurt in [(0, 4, 0), (2, 4, 2), (3, 4, 3), (9, 4, 3), (3, 1, 0)]:
        pool = numbered(4)
        pool.damage, pool.damaged, seen[:] = damage, damaged, []
        index, states = pool.sample(n, first, dice(1))
        values = dict(zip(index.tolist(), first(states).tolist()))
        order = sorted(index.tolist())
        assert values[order[-1]] == -1                            # the worst
        assert all(values[i] == i + 1000 for i in order[:hurt]) and all(values[i] == i for i in order[hurt:-1])


def test_what_is_not_whole_becomes_a_seed_and_is_not_damaged():
    hurt = []
    def damage(x, generator): hurt.extend(first(x).tolist()); return x
    for whole, kept in [(9, [0, 1, 2, 3, 4]), (3, [0, 1, 2, 3]), (1.5, [0, 1]), (0.5, [0]), (1e-9, [0])]:
        pool, hurt[:] = numbered(6), []
        pool.whole, pool.damage, pool.damaged = whole, damage, 9
        index, states = pool.sample(6, first, dice(2))
        assert sorted(first(states).tolist()) == [-1] * (6 - len(kept)) + kept == [-1] * (6 - len(kept)) + sorted(hurt)


def test_a_strict_pool_trains_otherwise(target):
    for experiment in (persist, regenerate):
        assert experiment(target, pool=8, **QUICK)[1].losses != experiment(target, pool=8, whole=1e-9, **QUICK)[1].losses


@pytest.mark.parametrize("wrong, error, words", [
    (dict(seed=None), ValueError, "seed: "), (dict(seed=torch.zeros(2, 4, 3, 3)), ValueError, "seed: "), (dict(size=0), ValueError, "size: got 0"),
    (dict(size=2.5), TypeError, "size"), (dict(damage="disc"), TypeError, "damage: got 'disc'"), (dict(damaged=-1), ValueError, "damaged: got -1"),
    (dict(whole=0), ValueError, "whole: got 0"), (dict(whole=-1.5), ValueError, "whole: got -1.5"), (dict(whole="all"), TypeError, "whole"),
    (dict(whole=float("nan")), ValueError, "whole")])
def test_pools_check_their_arguments(wrong, error, words):
    with pytest.raises(error, match=words): SamplePool(**{"seed": torch.zeros(1, 4, 3, 3), "size": 4, **wrong})


def test_draws_check_their_arguments():
    for n in (0, 5):
        with pytest.raises(ValueError, match=f"n: got {n}"): numbered(4).sample(n)


def test_persist_and_regenerate_are_one_seed_one_run(target):
    for experiment in (lambda seed: persist(target, pool=8, seed=seed, **QUICK), lambda seed: regenerate(target, pool=8, seed=seed, damage="any", **QUICK)):
        torch.manual_seed(0)
        a, history = experiment(3)
        torch.manual_seed(1)
        b, again = experiment(3)
        assert history.losses == again.losses and torch.equal(a.update[2].weight, b.update[2].weight)
        assert experiment(4)[1].losses != history.losses


def test_without_damage_regenerate_is_persist(target):
    plain, spared = persist(target, pool=8, **QUICK), regenerate(target, pool=8, damaged=0, **QUICK)
    assert plain[1].losses == spared[1].losses


def test_a_batch_larger_than_the_pool_is_refused(target):
    with pytest.raises(ValueError, match="n: got 3; the pool has 2 slots"): persist(target, pool=2, **QUICK)


WOUNDS = DAMAGE | {"stroke": cut_stroke, "middle": cut_middle, "beyond": cut_beyond}
MIXED = {"any": any_damage, "hard": hard_damage, "central": central_damage, "holes": hole_damage}


@pytest.mark.parametrize("kind", [*WOUNDS, *MIXED])
@pytest.mark.parametrize("shape", [(5, 6, 12, 12), (1, 4, 7, 19), (3, 16, 1, 5)])
def test_wounds(kind, shape):
    wound = (WOUNDS | MIXED)[kind]
    x = torch.rand(shape, generator=dice()) + 0.5
    before = x.clone()
    a, b = wound(x, dice(1)), wound(x, dice(1))
    assert torch.equal(a, b) and torch.equal(x, before) and a.shape == x.shape and a.dtype == x.dtype and torch.isfinite(a).all()
    if kind not in ("noise", *MIXED):                             # cells are erased whole, or left as they are
        gone = (a == 0).all(1)
        assert torch.equal(a, torch.where(gone[:, None], 0, x))
    empty = torch.zeros(shape)
    assert torch.equal(wound(empty, dice(1)), empty)              # nothing comes from nothing


@pytest.mark.parametrize("kind", list(WOUNDS))
def test_wounds_refuse_what_is_no_state(kind):
    with pytest.raises((TypeError, ValueError), match="x: "): WOUNDS[kind](torch.zeros(4, 5, 5))
    with pytest.raises(ValueError, match="NaN"): WOUNDS[kind](torch.full((1, 4, 5, 5), torch.nan))


def test_larger_wounds_take_more():
    x = torch.ones(32, 4, 31, 31)
    left = [cut_disc(x, dice(2), (r, r)).mean().item() for r in (0.0, 0.1, 0.2, 0.4, 0.8)]
    assert left[0] == 1 and left == sorted(left, reverse=True) and len(set(left)) == 5


def test_a_cut_beyond_the_middle_takes_more_than_the_half():
    x = torch.ones(16, 4, 61, 61)
    half, *further = cut_half(x, dice(4)), *(cut_beyond(x, dice(4), (d, d)) for d in (0, 0.1, 0.4))
    assert torch.equal(half, further[0])                          # the same dice, the same angles
    for more, less in zip(further, further[1:]): assert (less <= more).all() and (less.sum((1, 2, 3)) < more.sum((1, 2, 3))).all()
    side = torch.linspace(-1, 1, 61)
    distance = (side[:, None] ** 2 + side**2).sqrt().expand(16, 61, 61)
    assert distance[further[2][:, 0] == 1].min() >= 0.4           # nothing nearer to the middle is left


def test_central_damage_takes_the_middle():
    x = torch.ones(400, 4, 31, 31)
    taken = lambda damage: (damage(x, dice(5))[:, 3, 15, 15] == 0).float().mean().item()
    assert taken(central_damage) > 0.68 > 0.5 > taken(hard_damage)      # 17 of its 25 ways nearly always do
    assert 0.55 < taken(hole_damage) < 0.85                             # 10 of its 17


def test_a_stroke_is_a_bar_with_round_ends_at_any_angle():
    cut = cut_stroke(torch.ones(64, 4, 101, 101), dice(3), radius=(0.1, 0.1), length=(0.6, 0.6))[:, 0] == 0
    for hole in cut:
        places = hole.nonzero().float()
        if places.min() == 0 or places.max() == 100: continue     # reaches over the edge
        spread = torch.linalg.eigvalsh(torch.cov(places.T))       # along and across, in cells squared
        assert spread[1] ** 0.5 == pytest.approx(11, rel=0.03) and spread[0] ** 0.5 == pytest.approx(2.82, rel=0.03)
    turns = torch.stack([torch.linalg.eigh(torch.cov(h.nonzero().float().T)).eigenvectors[:, 1].abs() for h in cut])
    assert turns.std(0).min() > 0.2


def test_recovery_of_a_creature_that_does_nothing(target):
    model = NCAModel(generator=dice())
    gone = lambda x, generator: torch.zeros_like(x)
    before, after = recovery(model, target, gone, wounds=4, grown=3, steps=3, generator=dice())
    empty = target.square().mean().expand(4)
    torch.testing.assert_close(before, empty)
    torch.testing.assert_close(after, empty)
    assert not before.requires_grad
    with pytest.raises(ValueError, match="wounds: got 0"): recovery(model, target, wounds=0)


def test_a_trained_pool_keeps_its_creatures(target):
    "A short run of experiment 2: what comes out of the pool is better than an empty grid, at every age."
    model, history = persist(target, pool=16, steps=250, batch=4, rollout=(12, 16), lr=4e-3, lr_drops=(), progress=False)
    loss, empty = pixel_loss(target), target.square().mean()
    x = seed_state(4, 16, 12)
    for _ in range(4):
        x = model(x, 25, dice()).detach()
        assert loss(x).mean() < empty / 3
    assert history.final() < history.losses[0] / 3


@pytest.mark.parametrize("gives, error, words", [
    (lambda x: None, TypeError, "damage: it gave None"), (lambda x: 0.0, TypeError, "damage: it gave 0.0"), (lambda x: x.numpy(), TypeError, "damage: it gave an array"),
    (lambda x: x.mean(), ValueError, r"damage: it gave shape \(\)"), (lambda x: x[:1], ValueError, "damage: it gave shape"), (lambda x: x * torch.nan, ValueError, "damage: the state holds NaN"),
    (lambda x: x.double(), TypeError, "damage: it gave torch.float64"), (lambda x: x.long(), TypeError, "damage: it gave torch.int64"), (lambda x: x + 0j, TypeError, "damage: it gave torch.complex64"),
    (lambda x: x.to("meta"), TypeError, "damage: it gave torch.float32 on meta")])
def test_what_is_no_wound_is_refused(gives, error, words, target):
    pool = SamplePool(seed_state(1, 16, 12), 6, damage=lambda x, generator: gives(x), damaged=2)
    with pytest.raises(error, match=words): pool.sample(4, pixel_loss(target), dice())
    assert (pool.states == pool.seed).all() and pool.drawn == 0
    for call in (lambda damage: recovery(NCAModel(), target, damage, 2, 2, 2), lambda damage: regenerate(target, pool=6, damage=damage, **QUICK)):
        with pytest.raises(error, match=words): call(lambda x, generator: gives(x))


@pytest.mark.parametrize("index, error, words", [
    ([0, 4], ValueError, "index: got 0 to 4; the pool has 4 slots"), ([-1, 0], ValueError, "index: got -1 to 0"), ([1, 1], ValueError, "index: a slot stands there twice"),
    (torch.tensor([True, False, True, False]), TypeError, "index: got"), ([0.0, 1.0], TypeError, "index: got"), (None, TypeError, "index: got None"), ("ab", TypeError, "index: got 'ab'"),
    (1, ValueError, r"index: got shape \(\)"), (torch.zeros(1, 2, dtype=torch.long), ValueError, r"index: got shape \(1, 2\)"), ([10**30, 0], TypeError, "index: got")])
def test_slots_that_are_none_are_refused(index, error, words):
    pool = numbered(4)
    for call in (lambda: pool.update(index, torch.ones(2, 1, 1, 1)), lambda: pool.reset(index)):
        with pytest.raises(error, match=words): call()
    assert first(pool.states).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("states, error", [(torch.ones(1, 1, 1, 1), ValueError), (torch.ones(2, 1, 1, 2), ValueError), (torch.ones(2), ValueError), (1.0, TypeError), (None, TypeError),
    (torch.ones(2, 1, 1, 1, dtype=torch.long), TypeError), (torch.ones(2, 1, 1, 1) + 0j, TypeError)])
def test_states_that_do_not_fit_are_refused(states, error):
    pool = numbered(4)
    with pytest.raises(error, match="states: got"): pool.update([0, 1], states)
    assert first(pool.states).tolist() == [0, 1, 2, 3]


def test_slots_may_be_a_list_an_array_or_small_numbers():
    import numpy as np
    for index in ([2, 0], np.array([2, 0]), torch.tensor([2, 0], dtype=torch.uint8)):
        pool = numbered(4)
        pool.update(index, torch.tensor([7.0, 8.0]).view(2, 1, 1, 1))
        assert first(pool.states).tolist() == [8, 1, 7, 3]
        pool.reset(index)
        assert first(pool.states).tolist() == [-1, 1, -1, 3]


@pytest.mark.parametrize("tensors", [None, {}, {"seed": torch.zeros(1, 1, 1, 1)}, {"seed": None, "states": None, "drawn": None}])
def test_a_pool_takes_back_only_what_it_gave(tensors):
    pool = numbered(4)
    with pytest.raises((TypeError, ValueError), match="tensors: "): pool.load_state_dict(tensors)
    with pytest.raises(ValueError, match="tensors: states is a tensor of shape .5, 1, 1, 1.; expected a tensor of shape .4, 1, 1, 1."): pool.load_state_dict(numbered(5).state_dict())
    other = numbered(4)
    other.states += 10
    pool.load_state_dict(other.state_dict())
    assert first(pool.states).tolist() == [10, 11, 12, 13]


@pytest.mark.parametrize("gives", [lambda x: None, lambda x: x.mean(), lambda x: x[:, 0], lambda x: first(x).long(), lambda x: 1.0])
def test_a_ranking_is_a_number_a_state(gives):
    with pytest.raises((TypeError, ValueError), match="loss: it gave"): numbered(4).sample(3, gives, dice())
    for wrong in (dict(loss="worst"), dict(generator=3), dict(n=None)):
        with pytest.raises(TypeError, match=f"{[*wrong][0]}: got"): numbered(4).sample(**dict(n=2) | wrong)


@pytest.mark.parametrize("wrong", [dict(size=2**80), dict(size=2**31 - 1), dict(reseed=2**70), dict(damaged=2**70), dict(damaged=True), dict(replace=["any"]), dict(replace=None), dict(damage=3), dict(whole=None),
    dict(seed=torch.full((1, 4, 3, 3), torch.nan)), dict(seed=torch.zeros(1, 4, 3, 3, dtype=torch.long)), dict(seed=torch.zeros(1, 4, 0, 3)), dict(seed=3)])
def test_pools_of_nonsense_are_refused(wrong):
    with pytest.raises((TypeError, ValueError), match=f"{[*wrong][0]}: "): SamplePool(**{"seed": torch.zeros(1, 64, 64, 64), "size": 4, **wrong})


def test_a_pool_keeps_no_gradient_of_its_seed():
    seed = torch.ones(1, 1, 1, 1, requires_grad=True) * 2
    assert not SamplePool(seed, 3).states.requires_grad


@pytest.mark.parametrize("wrong", [dict(pool=0), dict(pool="x"), dict(pool=2**40), dict(damage="fire"), dict(damage=[]), dict(damage=3), dict(damaged=-1), dict(sprout="high"), dict(sprout=float("nan")), dict(seed=-1), dict(seed=2**64), dict(model=3)])
def test_experiments_check_their_arguments(target, wrong):
    name, = wrong
    for experiment in (persist, regenerate)[name in ("damage", "damaged", "sprout"):]:
        with pytest.raises((TypeError, ValueError), match=f"{name}: got"): experiment(target, **{"pool": 4, **QUICK, **wrong})


@pytest.mark.parametrize("wrong", [dict(damage="disc"), dict(wounds=2.5), dict(wounds=2**50), dict(grown=-1), dict(grown=10**30), dict(steps=None), dict(generator=0), dict(model=torch.nn.Linear(1, 1))])
def test_recovery_checks_its_arguments(target, wrong):
    with pytest.raises((TypeError, ValueError), match=f"{[*wrong][0]}: got"): recovery(**{**dict(model=NCAModel(), target=target, wounds=2, grown=2, steps=2), **wrong})


@pytest.mark.parametrize("kind", [*WOUNDS, *MIXED])
def test_wounds_check_their_arguments(kind):
    wound, x = (WOUNDS | MIXED)[kind], torch.ones(1, 4, 5, 5)
    for wrong in (None, 3, torch.zeros(4), torch.zeros(0, 4, 5, 5), torch.ones(1, 4, 5, 5, dtype=torch.long), x + 0j):
        with pytest.raises((TypeError, ValueError), match="x: got"): wound(wrong)
    with pytest.raises(TypeError, match="generator: got 3"): wound(x, 3)
    for name in {"radius", "share", "amount", "length", "beyond"} & {*wound.__annotations__}:
        for ends in (None, 0.3, (0.1,), (0.1, 0.2, 0.3), "ab", (0.1, float("nan")), (0.1, float("inf")), (0.1, "x"), (0.3, 0.1), (-0.1, 0.1), torch.ones(2)):
            with pytest.raises((TypeError, ValueError), match=f"{name}: got"): wound(x, **{name: ends})


def test_middles_have_a_reach():
    for reach in (None, -0.1, float("nan"), (0, 1)):
        with pytest.raises((TypeError, ValueError), match="reach: got"): cut_middle(torch.ones(1, 4, 5, 5), reach=reach)
