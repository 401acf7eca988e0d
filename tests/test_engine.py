"The active-cell engine against the dense definition: random models, grids, masks."
import gc
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings, strategies as st

from nca_tutorial import engine
from nca_tutorial.core import NCAModel, dense_step, seed_state
from nca_tutorial.engine import active_rollout, draw_keys, fire_mask, graph_rollout
from nca_tutorial.perception import KERNELS

torch.set_num_threads(1)
SIZES = st.integers(1, 24)
check = lambda n: settings(max_examples=n, deadline=None, derandomize=True)


@st.composite
def worlds(draw, steps=st.sampled_from([1, 2, 3, 8, 20]), thresholds=(None, 0.0, 0.1, 0.1, 0.3)):
    "A model with a random last layer, a state of some kind, and firing masks."
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kernels = draw(st.permutations(list(KERNELS)))[:draw(st.integers(1, 4))]
    threshold, channels = draw(st.sampled_from(thresholds)), draw(st.sampled_from([4, 5, 8, 16]))
    model = NCAModel(channels, draw(st.sampled_from([1, 3, 8, 32])), 0.5, kernels, draw(st.sampled_from(["zeros", "wrap"])),
                     threshold, draw(st.booleans()), engine="dense", generator=g)
    scale = draw(st.sampled_from([0.05, 0.2, 0.5]))
    for p in model.update[2].parameters(): p.data = (torch.rand(p.shape, generator=g) - 0.5) * scale
    shape = (draw(st.sampled_from([1, 2, 5])), channels, draw(SIZES), draw(SIZES))
    x = torch.randn(shape, generator=g) * 0.3
    match draw(st.sampled_from(["noise", "seed", "sparse", "nothing alive", "all alive", "dead matter"])):
        case "seed": x = seed_state(shape[0], channels, shape[2:])
        case "sparse": x *= torch.rand(shape[0], 1, *shape[2:], generator=g) < 0.1
        case "nothing alive": x[:, 3] = -0.2
        case "all alive": x[:, 3] = 1
        case "dead matter": x[:, 3] = 0; x[0, 3, shape[2] // 2, shape[3] // 2] = 1
    rate = draw(st.sampled_from([0.5, 0.5, 0.2, 1.0, 0.0]))
    masks = (torch.rand(draw(steps), shape[0], 1, shape[3], shape[2], generator=g) < rate).mT       # not contiguous
    turns = ("sobel_x" in kernels) == ("sobel_y" in kernels)
    return model, x, masks, model._kernels_at(draw(st.sampled_from([0.0, 30.0, 90.0])) if turns else 0.0), g


def law(model, kernels): return kernels, model.update, model.padding, model.alive_threshold

def dense(model, x, masks, kernels):
    for fire in masks: x = dense_step(x, fire, *law(model, kernels))
    return x

def gradients(y, weight, x, model):
    model.zero_grad()
    (y * weight).sum().backward()
    return [t.grad.clone() if t.grad is not None else torch.zeros_like(t) for t in (x, *model.parameters())]

def relative(a, b): return ((a - b).abs().max() / b.abs().max().clamp(min=1e-3)).item()


@check(150)
@given(worlds())
def test_states_and_gradients_in_double(world):
    model, x, masks, kernels, g = world
    model, x = model.double(), x.double()
    weight = torch.randn(x.shape, generator=g, dtype=torch.float64)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    want, got = dense(model, a, masks, kernels), active_rollout(b, *law(model, kernels), masks=masks)
    assert relative(got, want) < 1e-11
    for w, v in zip(gradients(want, weight, a, model), gradients(got, weight, b, model)): assert relative(v, w) < 1e-9


@check(60)
@given(worlds())
def test_gradients_in_single(world):
    model, x, masks, kernels, g = world
    weight = torch.randn(x.shape, generator=g)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    want, got = dense(model, a, masks, kernels), active_rollout(b, *law(model, kernels), masks=masks)
    for w, v in zip(gradients(want, weight, a, model), gradients(got, weight, b, model)): assert relative(v, w) < 1e-4


@check(30)
@given(worlds(steps=st.just(100)))
def test_states_over_100_steps(world):
    model, x, masks, kernels, _ = world
    for p in model.update[2].parameters(): p.data *= 0.1         # a rule that does not amplify rounding
    with torch.no_grad():
        want, got = dense(model, x, masks, kernels), active_rollout(x, *law(model, kernels), masks=masks)
    assert (got - want).abs().max() <= 1e-5 * want.abs().max().clamp(min=1)


@check(40)
@given(worlds(), st.integers(1, 7))
def test_same_seed_same_life(world, every):
    "The model's own dice: rollout and trajectory agree between engines, whole or in pieces."
    model, x, masks, _, _ = world
    model, x, steps = model.double(), x.double(), len(masks)
    dice = lambda: torch.Generator().manual_seed(7)
    want, films = model(x, steps, dice()).detach(), [model.trajectory(x, steps, every, dice())]
    model.engine = "active"
    films.append(model.trajectory(x, steps, every, dice()))
    assert relative(films[1], films[0]) < 1e-11
    assert relative(model(x, steps, dice()), want) < 1e-11
    with torch.no_grad(): assert relative(model(x, steps, dice()), want) < 1e-11
    one, g = x, dice()
    for _ in range(steps): one = model(one, 1, g)
    assert relative(one, want) < 1e-11


@pytest.mark.parametrize("padding", ["zeros", "wrap"])
@pytest.mark.parametrize("threshold", [None, 0.1])
def test_gradcheck(padding, threshold):
    g = torch.Generator().manual_seed(0)
    model = NCAModel(4, 3, padding=padding, alive_threshold=threshold, generator=g).double()
    for p in model.parameters(): p.data = torch.rand(p.shape, generator=g, dtype=torch.float64) - 0.5
    x = torch.rand(2, 4, 3, 4, generator=g, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(3, 2, 1, 3, 4, generator=g) < 0.6
    run = lambda x, *_: active_rollout(x, *law(model, model.kernel_weights), masks=masks)
    assert torch.autograd.gradcheck(run, (x, *model.parameters()))


def test_window_follows_life_through_a_large_world():
    "A creature alone in a large world, long enough for several windows, on both kinds of edge."
    for padding, place in (("zeros", 90), ("wrap", 90), ("zeros", 3), ("wrap", 3)):
        g = torch.Generator().manual_seed(1)
        model = NCAModel(8, 16, padding=padding, engine="dense", generator=g)
        for p in model.update[2].parameters(): p.data = (torch.rand(p.shape, generator=g) - 0.5) * 0.1
        x = torch.zeros(1, 8, 180, 200); x[:, 3:, place, place:place + 3] = 1
        with torch.no_grad():
            want = model(x, 90, torch.Generator().manual_seed(0))
            model.engine = "active"
            got = model(x, 90, torch.Generator().manual_seed(0))
        assert (got - want).abs().max() < 1e-5


def test_dice():
    "The firing mask: the rate holds; cells, steps and neighbours know nothing of one another."
    x, keys = torch.zeros(4, 1, 64, 64), draw_keys(200, torch.Generator().manual_seed(0))
    for rate in (0.0, 0.1, 0.5, 0.9, 1.0):
        masks = torch.stack([fire_mask(x, k, rate) for k in keys]).float()
        n = masks.numel()
        assert abs(masks.mean() - rate) <= 5 * (rate * (1 - rate) / n) ** 0.5
        if rate in (0, 1): continue
        z = (masks - rate) / (rate * (1 - rate)) ** 0.5
        pairs = [(z[1:], z[:-1]), (z[..., 1:], z[..., :-1]), (z[..., 1:, :], z[..., :-1, :]), (z[:, 1:], z[:, :-1]), (z[..., 7:], z[..., :-7])]
        for a, b in pairs: assert abs((a * b).mean()) < 5 / a.numel() ** 0.5
        assert abs(z.mean(0).std() * len(keys) ** 0.5 - 1) < 0.05      # no cell is favoured
    assert draw_keys(5, torch.Generator().manual_seed(1)) == [draw_keys(1, g)[0] for g in [torch.Generator().manual_seed(1)] for _ in range(5)]


@check(15)
@given(worlds(steps=st.sampled_from([1, 3, 33])))
def test_graph_tape_played_step_by_step(world):
    "What a CUDA graph would record, on the CPU: states, gradients, and two rollouts at a time."
    model, x, masks, kernels, g = world
    model, x, keys = model.double(), x.double(), draw_keys(len(masks), g)
    weight = torch.randn(x.shape, generator=g, dtype=torch.float64)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    want = dense(model, a, [fire_mask(x, k, 0.5) for k in keys], kernels)
    got = graph_rollout(dense_step, b, *law(model, kernels), keys, 0.5)
    graph_rollout(dense_step, 2 * b, *law(model, kernels), keys, 0.5)      # a second tape, forgotten at once
    assert relative(got, want) < 1e-11
    for w, v in zip(gradients(want, weight, a, model), gradients(got, weight, b, model)): assert relative(v, w) < 1e-9
    with torch.no_grad(): assert relative(graph_rollout(dense_step, x, *law(model, kernels), keys, 0.5), want) < 1e-11
    with pytest.raises(RuntimeError, match="(?i)backward"): got.sum().backward()


def test_engines_by_name():
    with pytest.raises(ValueError, match="got 'warp'; expected one of auto, dense, active, graph"): NCAModel(engine="warp")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="needs a CUDA GPU.*this machine can run auto, dense, active"): NCAModel(engine="graph")
    odd = NCAModel(4, 8, engine="active")
    odd.update[1].register_forward_hook(lambda *a: None)
    with pytest.raises(ValueError, match="without hooks.*'dense' and 'auto' can"): odd(seed_state(1, 4, 9))
    odd.engine = "auto"
    assert odd(seed_state(1, 4, 9)).shape == (1, 4, 9, 9)
    negative = [NCAModel(4, 8, 1.0, alive_threshold=-0.1, engine=e, generator=torch.Generator().manual_seed(0)) for e in ("auto", "dense")]
    assert torch.equal(*(m(seed_state(1, 4, 9), 3) for m in negative))


@check(20)
@given(worlds(), st.integers(2, 4))
def test_shared_out_among_threads(world, threads):
    "A batch that several workers share out lives the same life."
    model, x, masks, kernels, g = world
    model, x = model.double(), x.double().repeat(2, 1, 1, 1)
    masks, weight = torch.cat([masks, masks.flip(0)], 1), torch.randn(x.shape, generator=g, dtype=torch.float64)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    want, film = dense(model, a, masks, kernels), model.trajectory(x, 5, 2, torch.Generator().manual_seed(7))
    split, before = engine.SPLIT, torch.get_num_threads()
    try:
        engine.SPLIT, model.engine = 1, "active"
        torch.set_num_threads(threads)
        got = active_rollout(b, *law(model, kernels), masks=masks)
        assert relative(got, want) < 1e-11
        for w, v in zip(gradients(want, weight, a, model), gradients(got, weight, b, model)): assert relative(v, w) < 1e-9
        assert relative(model.trajectory(x, 5, 2, torch.Generator().manual_seed(7)), film) < 1e-11
        assert torch.get_num_threads() == threads
    finally:
        engine.SPLIT = split
        torch.set_num_threads(before)


# ---------------------------------------------------------------- a second Python

@contextmanager
def two_shares(patience):
    "Every rollout is shared by two: with PATIENCE math.inf by threads, with -1 by a helper, who is waited for."
    kept = engine.SPLIT, engine.PATIENCE, torch.get_num_threads()
    try:
        engine.SPLIT, engine.PATIENCE = 1, patience
        torch.set_num_threads(2)
        while patience < 0 and not engine._crew(2)[1]: time.sleep(0.02)
        yield engine._crew(2)[1]
    finally:
        engine.SPLIT, engine.PATIENCE, threads = kept
        torch.set_num_threads(threads)


@pytest.fixture(scope="module", autouse=True)
def no_helper_is_left():
    yield
    for helper in engine._CREW.pop(os.getpid(), {"helpers": []})["helpers"]:
        helper.close()
        helper.process.wait(10)


def learned(model, kernels, x, masks, weight, between=lambda: None):
    "The end of a rollout, and all gradients."
    start = x.clone().requires_grad_()
    end = active_rollout(start, *law(model, kernels), masks=masks)
    between()
    return [end.detach(), *gradients(end, weight, start, model)]


@check(15)
@given(worlds())
def test_a_helper_changes_no_bit(world):
    model, x, masks, kernels, g = world
    x, masks = x.repeat(2, 1, 1, 1), torch.cat([masks, masks.flip(0)], 1)
    weight = torch.randn(x.shape, generator=g)
    with two_shares(math.inf): want = learned(model, kernels, x, masks, weight)
    with two_shares(-1) as helper:
        got = learned(model, kernels, x, masks, weight)
        assert helper.ready, "it was the helper who lived the second share"
    assert all(map(torch.equal, got, want))


def small(steps=12):
    g = torch.Generator().manual_seed(0)
    model = NCAModel(8, 16, engine="active", generator=g)
    for p in model.update[2].parameters(): p.data = (torch.rand(p.shape, generator=g) - 0.5) * 0.2
    x = torch.rand(4, 8, 12, 12, generator=g)
    masks = torch.rand(steps, 4, 1, 12, 12, generator=g) < 0.5
    return model, model.kernel_weights, x, masks, torch.randn(x.shape, generator=g)


def test_a_helper_may_die():
    what = small()
    with two_shares(math.inf): want = learned(*what)
    with two_shares(-1) as helper:
        assert all(map(torch.equal, learned(*what, between=helper.process.kill), want)), "between the way ahead and the way back"
        assert not helper.ready and engine._crew(2) == [None, None], "it is not called again"
        assert all(map(torch.equal, learned(*what), want))
    engine._CREW.clear()
    with two_shares(-1) as helper:
        helper.process.kill()
        helper.process.wait()
        assert helper.ready and all(map(torch.equal, learned(*what), want)), "before the way ahead"
    engine._CREW.clear()


def test_without_a_second_process(monkeypatch):
    what = small()
    with two_shares(math.inf): want = learned(*what)
    def refuse(*args, **kw): raise OSError("no processes here")
    monkeypatch.setattr(engine.subprocess, "Popen", refuse)
    engine._CREW.clear()
    monkeypatch.setattr(engine, "PATIENCE", -1)
    assert engine._crew(2) == [None, None]
    with two_shares(math.inf): assert all(map(torch.equal, learned(*what), want))
    engine._CREW.clear()


def test_a_helper_forgets_what_nobody_wants():
    what = small()
    with two_shares(-1) as helper:
        end = active_rollout(what[2], *law(*what[:2]), masks=what[3])
        lived = [life.number for life in end.grad_fn.lives if life.__class__.__name__ == "_LifeAway"]
        assert len(lived) == 1 and lived[0] not in helper.dropped
        del end                                                                     # nobody asks for its gradient
        gc.collect()
        assert lived[0] in helper.dropped
        learned(*what)
        assert lived[0] not in helper.dropped, "the next message took it along"


@pytest.mark.skipif(os.name == "nt", reason="a timer that interrupts is a matter of Unix")
def test_interrupted_while_a_helper_lives():
    what, long = small(), small(steps=3000)
    with two_shares(math.inf): want = learned(*what)
    def interrupt(*_): raise KeyboardInterrupt
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with two_shares(-1) as helper:
            for seconds in (0.01, 0.05, 0.2):
                signal.setitimer(signal.ITIMER_REAL, seconds)
                with pytest.raises(KeyboardInterrupt): learned(*long)
                assert all(map(torch.equal, learned(*what), want)) and helper.ready
    finally: signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked up in /proc")
def test_a_helper_ends_with_its_caller():
    code = ("import time; from nca_tutorial import engine; engine.PATIENCE = -1\n"
            "while not engine._crew(2)[1]: time.sleep(0.02)\n"
            "print(engine._crew(2)[1].process.pid, flush=True); {}")
    for end in ("time.sleep(600)", ""):                                             # killed without a word; at the end of a program
        caller = subprocess.Popen([sys.executable, "-c", code.format(end)], stdout=subprocess.PIPE, text=True)
        helper = int(caller.stdout.readline())
        if end: caller.kill()
        caller.wait(60)
        for _ in range(500):
            if not os.path.exists(f"/proc/{helper}") or " Z " in open(f"/proc/{helper}/stat").read(): break
            time.sleep(0.02)
        else: pytest.fail(f"helper {helper} is still there")


def test_backward_twice_and_frozen_weights():
    model = NCAModel(4, 8, generator=torch.Generator().manual_seed(0))
    for p in model.parameters(): p.data = torch.rand(p.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    x = seed_state(1, 4, 9).requires_grad_()
    loss = model(x, 4, torch.Generator().manual_seed(0)).square().sum()
    first, again = (torch.autograd.grad(loss, [x, *model.parameters()], retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    model.requires_grad_(False)
    frozen = torch.autograd.grad(model(x, 4, torch.Generator().manual_seed(0)).square().sum(), x)[0]
    assert torch.equal(frozen, first[0])
    assert not model(x.detach(), 4).requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_graph_on_a_gpu():
    dice = lambda: torch.Generator().manual_seed(0)
    lives = []
    for engine in ("dense", "graph", "graph"):      # the second graph run plays a tape that is used already
        model = NCAModel(engine=engine, generator=dice()).cuda()
        for p in model.update[2].parameters(): p.data = 0.04 * (torch.rand(p.shape, generator=dice()).cuda() - 0.5)
        x = seed_state(4, size=40).cuda().requires_grad_()
        for _ in range(1 + (engine == "graph")):
            y = model(x, 40, dice())
            grads = torch.autograd.grad(y.square().sum(), [x, *model.parameters()])
        lives.append((y.detach(), *grads, model.trajectory(x.detach(), 90, 30, dice())))
    for other in lives[1:]:
        for a, b in zip(lives[0], other): assert relative(b, a) < 1e-4
