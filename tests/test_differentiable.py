"What chapter 2 does not test: an oracle for Lenia in plain NumPy, gradients by differences, bad input of many kinds, other seeds and sizes."
import math
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nca_tutorial.differentiable import (Lenia, RuleNet, all_neighbourhoods, centre_of_mass, exam, find_gliders, growth, learn_rule,
                                         lenia_kernel, random_blobs, world_pairs)
from nca_tutorial.life import life_step

life = partial(life_step, wrap=True)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Lenia against its equations, written as loops in float64

def kernel_by_loops(radius):
    k = np.zeros((2 * radius + 1, 2 * radius + 1))
    for y in range(-radius, radius + 1):
        for x in range(-radius, radius + 1):
            r = math.sqrt(y * y + x * x) / radius
            if 0 < r < 1: k[y + radius, x + radius] = math.exp(4 - 1 / (r * (1 - r)))
    return k / k.sum()

def step_by_loops(a, radius, mu, sigma, dt):
    k, (h, w), out = kernel_by_loops(radius), a.shape, np.empty_like(a)
    for i in range(h):
        for j in range(w):
            u = sum(k[y + radius, x + radius] * a[(i + y) % h, (j + x) % w]
                    for y in range(-radius, radius + 1) for x in range(-radius, radius + 1))
            out[i, j] = min(1, max(0, a[i, j] + dt * (2 * math.exp(-(u - mu)**2 / (2 * sigma**2)) - 1)))
    return out

@pytest.mark.parametrize("radius", [2, 3, 7, 13, 26])
def test_kernel(radius):
    assert np.abs(lenia_kernel(radius).numpy() - kernel_by_loops(radius)).max() < 1e-7

@pytest.mark.parametrize("size, radius, mu, sigma, dt", [((16, 16), 5, 0.15, 0.015, 0.1), ((11, 17), 4, 0.3, 0.05, 0.2), ((13, 9), 2, 0.4, 0.2, 1.0)])
def test_step_agrees_with_the_equations(size, radius, mu, sigma, dt):
    a = np.random.default_rng(0).random(size) * 0.7
    lenia, state = Lenia(size, radius, mu, sigma, dt), torch.tensor(a, dtype=torch.float32)
    for _ in range(3):
        a, state = step_by_loops(a, radius, mu, sigma, dt), lenia(state)
        assert np.abs(state.numpy() - a).max() < 1e-4

def test_batches_shapes_and_steps():
    lenia, state = Lenia(20, radius=5), torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lenia(state, 4), lenia(lenia(lenia(state), 2), 1))
    assert torch.allclose(lenia(state)[1, 2], lenia(state[1, 2]), atol=1e-6)
    film = lenia.trajectory(state, 7, every=3)
    assert film.shape == (3, 2, 3, 20, 20) and torch.equal(film[0], state) and torch.equal(film[2], lenia(state, 6))

def test_worlds_turn_with_their_creatures():
    lenia, state = Lenia(24, radius=6), torch.rand(24, 24, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(lenia(state.rot90()), lenia(state).rot90(), atol=1e-5)
    assert torch.allclose(lenia(state.T), lenia(state).T, atol=1e-5)

def test_gradients():
    lenia = Lenia(12, radius=4, mu=0.4, sigma=0.2).double().requires_grad_()
    state = 0.3 + 0.4 * torch.rand(12, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)   # away from 0 and 1
    assert torch.autograd.gradcheck(lambda s: lenia(s, 2), state.requires_grad_(), atol=1e-4)
    lenia(state, 2).sum().backward()
    assert lenia.mu.grad.abs() > 0 and lenia.sigma.grad.abs() > 0

def test_by_default_nothing_in_lenia_learns():
    assert not Lenia(32)(torch.rand(32, 32)).requires_grad
    assert sum(p.numel() for p in Lenia(32).parameters()) == 2

@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_seeds_find_gliders_too(seed):
    lenia = Lenia(64)
    found = find_gliders(lenia, seed=seed)
    assert len(found) >= 1
    film = lenia.trajectory(found[0], 300)
    mass = film.sum((-2, -1))
    hops = (centre_of_mass(film).diff(dim=0) + 32) % 64 - 32
    assert ((mass / mass.mean() - 1).abs() < 0.02).all() and hops.sum(0).norm() > 150

def test_gliders_on_an_oblong_torus():
    assert find_gliders(Lenia((56, 72)), candidates=32, seed=0).shape[1:] == (56, 72)

@given(st.integers(0, 30), st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_centre_follows_a_shift(dy, dx):
    state = torch.zeros(31, 41)
    state[10:14, 20:23] = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    size, start, moved = torch.tensor([31., 41.]), centre_of_mass(state), centre_of_mass(state.roll((dy, dx), (0, 1)))
    gap = (moved - start - torch.tensor([dy, dx]) + size / 2) % size - size / 2
    assert gap.abs().max() < 1e-3


# The learned rule

def test_all_neighbourhoods_are_the_binary_numbers():
    numbers = (all_neighbourhoods().flatten(1).long() * 2**torch.arange(8, -1, -1)).sum(1)
    assert torch.equal(numbers, torch.arange(512))

@pytest.mark.parametrize("seed", range(100, 110))
def test_ten_other_students_are_exact(seed):
    net = RuleNet(seed=seed)
    losses = learn_rule(net, world_pairs(life, seed=seed))
    assert losses[-1] < 0.01 and len(exam(net.step, life)) == 0

@pytest.mark.parametrize("rule", ["B2/S", "B34/S34", "B3/S45678", "B4678/S35678"])
def test_other_rules_are_learned(rule):
    teacher, net = partial(life, rule=rule), RuleNet(seed=1)
    learn_rule(net, world_pairs(teacher, seed=1))
    assert len(exam(net.step, teacher)) == 0

def test_exact_on_the_table_is_exact_on_worlds():
    net = RuleNet(seed=0)
    learn_rule(net, world_pairs(life, seed=0))
    for size in ((3, 3), (5, 9), (40, 31)):
        mine = theirs = (torch.rand(4, *size, generator=torch.Generator().manual_seed(3)) < 0.4).to(torch.uint8)
        for _ in range(50):
            mine, theirs = net.step(mine), life(theirs)
            assert torch.equal(mine, theirs)

def test_the_same_seed_gives_the_same_student_and_touches_nothing_else():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    runs = []
    for _ in range(2):
        net = RuleNet(seed=4)
        runs.append(learn_rule(net, world_pairs(life, seed=4), max_steps=20))
    assert runs[0] == runs[1] and torch.equal(torch.rand(3), expected)

def test_pairs_repeat_with_their_seed():
    for (a, b), (c, d) in islice(zip(world_pairs(life, seed=1, size=9), world_pairs(life, seed=1, size=9)), 3):
        assert torch.equal(a, c) and torch.equal(b, d) and torch.equal(b, life(a)) and a.shape == (1, 9, 9) and a.dtype == torch.uint8
    assert next(world_pairs(life, density=0))[0].sum() == 0 and next(world_pairs(life, density=1, size=5))[0].sum() == 25


# Bad input: an error that names the argument

numbers = st.one_of(st.integers(-5, 1), st.floats(-3, 0), st.just(math.nan), st.none(), st.text(max_size=2), st.booleans())
kind = lambda value: ValueError if type(value) is int else TypeError

@given(numbers)
@settings(max_examples=40, deadline=None)
def test_bad_radius_and_hidden(value):
    with pytest.raises(kind(value), match="^radius: got .*; expected"): lenia_kernel(value)
    if type(value) is not int or value != 1:
        with pytest.raises(kind(value), match="^hidden: got .*; expected"): RuleNet(hidden=value)

@given(st.one_of(st.integers(-5, 26), st.tuples(st.integers(-2, 99), st.integers(-2, 26)), st.none(), st.text(max_size=3), st.floats()))
@settings(max_examples=60, deadline=None)
def test_bad_size(size):
    error = ValueError if isinstance(size, (int, tuple)) else TypeError
    with pytest.raises(error, match="^size: got .*; expected"): Lenia(size)
    if not (isinstance(size, int) and size > 0 or isinstance(size, tuple) and min(size) > 0):
        with pytest.raises(error, match="^size: got .*; expected"): random_blobs(1, size)

@given(st.sampled_from(["mu", "sigma", "dt"]), st.sampled_from([0, -1, -0.1, math.nan, math.inf, -math.inf]))
@settings(max_examples=20, deadline=None)
def test_bad_constants(name, value):
    with pytest.raises(ValueError, match=name): Lenia(32, **{name: value})

@given(st.lists(st.integers(0, 6), max_size=4).map(tuple), st.sampled_from([torch.float32, torch.float64, torch.uint8, torch.int64, torch.bool]))
@settings(max_examples=60, deadline=None)
def test_bad_shapes(shape, dtype):
    world = torch.zeros(shape, dtype=dtype)
    error = ValueError if dtype.is_floating_point else TypeError
    with pytest.raises(error, match="state"): Lenia(30)(world)
    if len(shape) not in (2, 3) or 0 in shape:
        with pytest.raises(ValueError, match="world"): RuleNet()(world)
        with pytest.raises(ValueError, match="world"): learn_rule(RuleNet(), [(world, world)])
    else: assert RuleNet()(world).shape == shape

@given(st.one_of(st.floats(max_value=-0.125, width=32), st.floats(min_value=1.5, width=32), st.just(math.nan)))
@settings(max_examples=40, deadline=None)
def test_bad_values(value):
    state = torch.zeros(30, 30)
    state[3, 4] = value
    with pytest.raises(ValueError, match="state"): Lenia(30)(state)
    with pytest.raises(ValueError, match="world"): RuleNet()(state)
    with pytest.raises(ValueError, match="target"): learn_rule(RuleNet(), [(torch.zeros(30, 30), state)])

@pytest.mark.parametrize("call, match", [
    (lambda: growth(torch.zeros(2), sigma=-1), "sigma"),
    (lambda: growth(torch.zeros(2), sigma=math.nan), "sigma"),
    (lambda: random_blobs(0, 30), "count"),
    (lambda: random_blobs(2, 30, patch=31), "patch"),
    (lambda: random_blobs(2, 30, patch=4, knots=5), "knots"),
    (lambda: centre_of_mass(torch.zeros(3)), "state"),
    (lambda: find_gliders(Lenia(30), candidates=0), "candidates"),
    (lambda: find_gliders(Lenia(30), settle=-1), "settle"),
    (lambda: find_gliders(Lenia(30), watch=-1), "watch"),
    (lambda: Lenia(30).trajectory(torch.zeros(30, 30), -1), "steps"),
    (lambda: Lenia(30).trajectory(torch.zeros(30, 30), 3, every=0), "every"),
    (lambda: world_pairs(life, size=2), "size"),
    (lambda: world_pairs(life, density=-0.1), "density"),
    (lambda: world_pairs(life, density=math.nan), "density"),
    (lambda: learn_rule(RuleNet(), []), "pairs"),
    (lambda: learn_rule(RuleNet(), world_pairs(life), max_steps=0), "max_steps"),
    (lambda: learn_rule(RuleNet(), world_pairs(life), lr=0), "lr"),
    (lambda: learn_rule(RuleNet(), [(torch.zeros(4, 4), torch.zeros(4, 5))]), "target"),
])
def test_bad_calls(call, match):
    with pytest.raises(ValueError, match=f"^{match}: got"): call()

@pytest.mark.parametrize("call, match", [
    (lambda: Lenia(30)(np.zeros((30, 30))), "state"),
    (lambda: RuleNet()([[0, 1]]), "world"),
    (lambda: world_pairs("B3/S23"), "teacher"),
    (lambda: random_blobs(2.0, 30), "count"),
])
def test_wrong_kinds(call, match):
    with pytest.raises(TypeError, match=f"^{match}: got .*; expected"): call()


world = torch.zeros(5, 5)
lenia30 = Lenia(30)
CALLS = dict(                                                       # each argument with what works
    lenia_kernel=(lenia_kernel, dict(radius=3)), growth=(growth, dict(u=torch.zeros(3), mu=0.1, sigma=0.1)),
    Lenia=(Lenia, dict(size=30, radius=3, mu=0.1, sigma=0.1, dt=0.1)), step=(lenia30, dict(state=torch.zeros(30, 30), steps=1)),
    potential=(lenia30.potential, dict(state=torch.zeros(30, 30))), trajectory=(lenia30.trajectory, dict(state=torch.zeros(30, 30), steps=2, every=1)),
    random_blobs=(random_blobs, dict(count=1, size=30, patch=6, knots=3, seed=0)), centre_of_mass=(centre_of_mass, dict(state=torch.ones(5, 5))),
    find_gliders=(find_gliders, dict(lenia=lenia30, candidates=1, seed=0, settle=1, watch=2, tolerance=0.1)), RuleNet=(RuleNet, dict(hidden=2, seed=0)),
    forward=(RuleNet(), dict(world=world)), step_of_net=(RuleNet().step, dict(world=world)), world_pairs=(world_pairs, dict(teacher=life, seed=0, size=5, density=0.5)),
    learn_rule=(learn_rule, dict(net=RuleNet(), pairs=[(world, world)], max_steps=1, lr=0.01, tolerance=0.01)), exam=(exam, dict(student=life, teacher=life)))
BAD = [object(), "x", math.nan, math.inf, -1, [], {1}, b"x", 1j, np.zeros(3), torch.zeros(0), torch.zeros(3, 3, dtype=torch.complex64), torch.eye(30).to_sparse(), torch.zeros(30, 30, device="meta"), np.int8(-3)]
FINE = {("growth", "mu", -1), ("growth", "mu", -3), ("exam", "student", "x")}


@pytest.mark.parametrize("call, name", [(c, n) for c, (_, kwargs) in CALLS.items() for n in kwargs])
def test_what_is_bad_is_refused_by_name(call, name):
    f, kwargs = CALLS[call]
    f(**kwargs)
    for bad in BAD:
        if (call, name) == ("growth", "u") and isinstance(bad, torch.Tensor) and bad.shape == (0,): continue
        if isinstance(bad, (int, float, np.int8)) and (call, name, bad) in FINE: continue
        with pytest.raises((ValueError, TypeError), match=f"^{name}: got|^net: it has|^pairs: got"): f(**{**kwargs, name: bad})


@pytest.mark.parametrize("call, words", [
    (lambda: lenia_kernel(10**8), "radius: got 100000000; expected 2048 or less"), (lambda: Lenia(60_000), "size: got 60000 x 60000 numbers"),
    (lambda: Lenia(30, sigma=1e-30), "sigma: got 1e-30; expected 1e-06 or more"), (lambda: Lenia(26), r"size: got \(26, 26\); expected 27 or more each way, as the radius is 13"),
    (lambda: lenia30.trajectory(torch.zeros(30, 30), 10**8), "steps: got 100000001 x 900 numbers"), (lambda: random_blobs(10**6, 64), "count: got 1000000 x 64 x 64 numbers"),
    (lambda: world_pairs(life, size=60_000), "size: got 60000; expected 16384 or less"), (lambda: RuleNet(hidden=10**8), "hidden: got 100000000"),
    (lambda: find_gliders(lenia30, watch=10**8), "candidates: got 64 x 100000001 x 30 x 30 numbers"), (lambda: centre_of_mass(-torch.ones(3, 3)), "state: got negative"),
    (lambda: learn_rule(nn.Identity(), [(world, world)]), "net: it has no weights"), (lambda: learn_rule(nn.Linear(5, 1), [(world, world)]), "net: got a tensor of shape"),
    (lambda: learn_rule(RuleNet(), world_pairs(life, size=9), lr=1e30), "lr: got 1e.30, and the error of lesson .* is (nan|inf)"),
    (lambda: exam(life, lambda w: w[0]), "teacher: got a tensor of shape .* from it; expected the next worlds")])
def test_bounds_by_value(call, words):
    with pytest.raises(ValueError, match=f"^{words}"): call()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
def test_lenia_says_which_numbers_it_takes(dtype):
    with pytest.raises(TypeError, match=f"^state: got {dtype}; expected a tensor of float32 or float64"): lenia30(torch.zeros(30, 30).to(dtype))
    assert torch.equal(lenia30(torch.zeros(30, 30, dtype=torch.float64)), torch.zeros(30, 30, dtype=torch.float64))


def test_whole_numbers_of_numpy_count():
    n, state = np.int64, torch.rand(30, 30, generator=torch.Generator().manual_seed(0))
    lenia = Lenia((n(30), n(30)), radius=n(13))
    assert lenia.size == (30, 30) and type(lenia.size[0]) is int and torch.equal(lenia(state, n(3)), lenia30(state, 3))
    assert torch.equal(lenia.trajectory(state, n(4), n(2)), lenia30.trajectory(state, 4, 2)) and torch.equal(random_blobs(n(2), n(30), n(8), n(3), n(1)), random_blobs(2, 30, 8, 3, 1))
    assert torch.equal(RuleNet(n(4), n(2))(world), RuleNet(4, 2)(world)) and torch.equal(next(world_pairs(life, n(1), n(5), np.float32(0.5)))[0], next(world_pairs(life, 1, 5))[0])
