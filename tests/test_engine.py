"The active-cell engine against the dense definition: random models, grids, masks."
import gc
import math
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from hypothesis import given, settings, strategies as st

from nca_tutorial import engine
from nca_tutorial.core import NCAModel, dense_step, seed_state
from nca_tutorial.engine import active_frames, active_rollout, draw_keys, fire_mask, graph_rollout
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


# ---------------------------------------------------------------- changed meanwhile

def in_place(t):
    with torch.no_grad(): t.copy_(~t) if t.dtype == torch.bool else t.mul_(1.5).add_(0.1)


@pytest.mark.parametrize("patience", [None, math.inf, -1])
@pytest.mark.parametrize("name", ["update[0].weight", "update[0].bias", "update[2].weight", "update[2].bias", "masks", "x", "kernels"])
def test_what_changes_in_place_before_the_way_back(name, patience):
    "By this process, by threads, with a helper: what the gradient needs is refused by name; for the rest it stays right, as with dense."
    model, kernels, x, masks, weight = small()
    want = learned(model, kernels, x, masks, weight)
    start, kernels = x.clone().requires_grad_(), kernels.clone()
    with two_shares(patience) if patience else nullcontext():
        end = active_rollout(start, *law(model, kernels), masks=masks)
        in_place(eval(name, {"update": model.update, "masks": masks, "x": start, "kernels": kernels}))
        if name not in ("x", "kernels"):
            with pytest.raises(RuntimeError, match=re.escape(f"modified by an inplace operation: {name} is at version ") + r"\d"):
                end.backward(weight)
        else: assert all(relative(a, b) < 1e-5 for a, b in zip([end, *gradients(end, weight, start, model)], want))


def test_weights_in_other_memory_change_no_gradient():
    "An assignment to `data` raises no version; the way back has numbers of its own, and so has a helper's share that is lived again."
    for between in (None, "kill"):
        model, kernels, x, masks, weight = small()
        want = learned(model, kernels, x, masks, weight)
        with two_shares(-1) if between else nullcontext() as helper:
            def change():
                for p in model.parameters(): p.data.mul_(3)
                kernels.mul_(2)
                if between: helper.process.kill()
            got = learned(model, kernels, x, masks, weight, change)
        assert all(relative(a, b) < 1e-5 for a, b in zip(got, want))
        engine._CREW.clear() if between else None


def test_a_tape_notices_changed_weights():
    model, kernels, x, _, weight = small()
    end = graph_rollout(dense_step, x, *law(model, kernels), draw_keys(3), 0.5)
    in_place(model.update[2].weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation: update.2.weight"): end.backward(weight)


def test_frames_on_the_way_may_be_painted_over():
    "Also where a window of the world ends with a frame."
    model, x = small()[0], torch.zeros(1, 8, 300, 300)
    x[:, 3:, 150, 150] = 1
    keys, films = draw_keys(64, torch.Generator().manual_seed(0)), []
    for paint in (False, True):
        films.append([])
        for frame in active_frames(x, *law(model, model.kernel_weights), keys, 0.5, 16):
            films[-1].append(frame.clone())
            if paint: frame.zero_()
    assert films[0][-1].abs().sum() > 0 and all(map(torch.equal, *films))


# ---------------------------------------------------------------- gradients of gradients

@pytest.mark.parametrize("padding, threshold", [("zeros", 0.1), ("wrap", None)])
@pytest.mark.parametrize("how", ["masks", "keys"])
def test_a_gradient_can_be_differentiated(how, padding, threshold):
    model, _, x, masks, _ = small(3)
    model, x, keys = model.double(), x[:2].double(), draw_keys(3, torch.Generator().manual_seed(1))
    model.padding, model.alive_threshold = padding, threshold
    rule, fires = law(model, model.kernel_weights), [fire_mask(x, key, 0.5) for key in keys]
    seconds = []
    for sparse in (False, True):
        start = x.clone().requires_grad_()
        if sparse: end = active_rollout(start, *rule, masks=torch.stack(fires)) if how == "masks" else active_rollout(start, *rule, keys, 0.5)
        else: end = dense(model, start, fires, rule[0])
        first = torch.autograd.grad(end.pow(3).sum(), [start, *model.parameters()], create_graph=True)
        penalty = sum(g.square().sum() for g in first) + end.sum()
        seconds.append([*first, *torch.autograd.grad(penalty, [start, *model.parameters()])])
    assert all(relative(b, a) < 1e-9 for a, b in zip(*seconds))


def test_many_gradients_at_once():
    model, kernels, x, masks, _ = small(3)
    start = x.clone().requires_grad_()
    many = torch.randn(4, *x.shape)
    got, want = (torch.autograd.grad(f(start), [start, *model.parameters()], many, is_grads_batched=True)
                 for f in (lambda x: active_rollout(x, *law(model, kernels), masks=masks), lambda x: dense(model, x, masks, kernels)))
    assert all(relative(a, b) < 1e-4 for a, b in zip(got, want))


def test_a_tape_has_no_second_gradient():
    model, kernels, x, _, _ = small()
    end = graph_rollout(dense_step, x.requires_grad_(), *law(model, kernels), draw_keys(3), 0.5)
    with pytest.raises(RuntimeError, match="'graph' has no gradient of a gradient"): torch.autograd.grad(end.sum(), x, create_graph=True)


# ---------------------------------------------------------------- what the engine would not hear of

class OfMyOwn(torch.nn.Sequential):
    def forward(self, x): return 2 * super().forward(x)

class MyTensor(torch.Tensor): pass

class Doubling(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        return 2 * out if func is torch.conv2d else out

class Watching(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return func(*args, **(kwargs or {}))

@contextmanager
def set_to(set, value, before):
    set(value)
    try: yield
    finally: set(before)

@contextmanager
def registered(handle):
    try: yield
    finally: handle.remove()

@contextmanager
def method(kind, name, new):
    old = getattr(kind, name)
    setattr(kind, name, lambda self, *a: new(old(self, *a)))
    try: yield
    finally: setattr(kind, name, old)

twice = lambda out: 2 * out
def put(module, **what): vars(module).update(what)
def bend(model, name): setattr(model, "update", name); return nullcontext()
glob = torch.nn.modules.module
parts = torch.nn.utils

AROUND = {
    "forward hook": lambda m: registered(m.update[1].register_forward_hook(lambda m, i, o: 2 * o)),
    "forward pre-hook": lambda m: registered(m.update[2].register_forward_pre_hook(lambda m, i: (2 * i[0],))),
    "backward hook": lambda m: registered(m.update[0].register_full_backward_hook(lambda m, gi, go: (2 * gi[0],))),
    "backward pre-hook": lambda m: registered(m.update.register_full_backward_pre_hook(lambda m, go: (2 * go[0],))),
    "global forward hook": lambda m: registered(glob.register_module_forward_hook(lambda m, i, o: 2 * o if isinstance(m, torch.nn.ReLU) else None)),
    "global forward pre-hook": lambda m: registered(glob.register_module_forward_pre_hook(lambda m, i: (2 * i[0],) if isinstance(m, torch.nn.ReLU) else None)),
    "global backward hook": lambda m: registered(glob.register_module_full_backward_hook(lambda m, gi, go: (2 * gi[0],) if isinstance(m, torch.nn.ReLU) else None)),
    "global backward pre-hook": lambda m: registered(glob.register_module_full_backward_pre_hook(lambda m, go: (2 * go[0],) if isinstance(m, torch.nn.ReLU) else None)),
    "replaced forward": lambda m: nullcontext(put(m.update[1], forward=lambda x: 2 * x.relu())),
    "replaced convolution": lambda m: nullcontext(put(m.update[0], _conv_forward=lambda x, w, b: 2 * torch.nn.functional.conv2d(x, w, b))),
    "replaced method of a class": lambda m: method(torch.nn.Conv2d, "forward", twice),
    "subclass": lambda m: bend(m, OfMyOwn(*m.update)),
    "dropout": lambda m: nullcontext(m.update.append(torch.nn.Dropout(0.5))),
    "weight_norm": lambda m: nullcontext(parts.parametrizations.weight_norm(m.update[0])),
    "parametrisation": lambda m: nullcontext(parts.parametrize.register_parametrization(m.update[2], "weight", torch.nn.Tanh())),
    "pruning": lambda m: nullcontext(parts.prune.l1_unstructured(m.update[0], "weight", 0.5)),
    "compiled": lambda m: nullcontext(put(m.update, _compiled_call_impl=lambda x: 2 * torch.nn.Sequential.forward(m.update, x))),
    "autocast": lambda m: torch.autocast("cpu", torch.bfloat16),
    "deterministic": lambda m: set_to(torch.use_deterministic_algorithms, True, False),
    "function mode": lambda m: Doubling(),
    "dispatch mode": lambda m: Watching(),
    "grouped": lambda m: bend(m, torch.nn.Sequential(torch.nn.Conv2d(24, 16, 1, groups=8), *m.update[1:])),
    "another activation": lambda m: bend(m, torch.nn.Sequential(m.update[0], torch.nn.GELU(), m.update[2])),
    "no first bias": lambda m: bend(m, torch.nn.Sequential(torch.nn.Conv2d(24, 16, 1, bias=False), *m.update[1:])),
    "learned kernels": lambda m: nullcontext(m.kernel_weights.requires_grad_()),
    "tensor subclass": lambda m: nullcontext(put(m, subclass=True)),
    "half": lambda m: nullcontext(m.half()),
    "bfloat16": lambda m: nullcontext(m.bfloat16()),
}

@pytest.mark.parametrize("name", AROUND)
def test_what_the_engine_would_not_hear_of(name):
    "auto lives as dense does, states and gradients; active refuses with the reason, and so does the door itself."
    ends, dice = [], lambda: torch.Generator().manual_seed(0)
    for how in ("dense", "auto"):
        model, _, x, _, weight = small()
        with AROUND[name](model):
            x = x.to(model.update[0].weight.dtype)
            if getattr(model, "subclass", False): x = x.as_subclass(MyTensor)
            x.requires_grad_()
            for model.engine in ("active", how):
                torch.manual_seed(0)
                if model.engine == "active":
                    with pytest.raises(ValueError, match="engine: 'active' cannot run this: .*'dense' and 'auto' can"): model(x, 3, dice())
                    with pytest.raises(ValueError, match="'active' cannot run this"): active_rollout(x, *law(model, model.kernel_weights), draw_keys(3), 0.5)
                    with pytest.raises(ValueError, match="'active' cannot run this"): active_frames(x, *law(model, model.kernel_weights), draw_keys(3), 0.5, 1)
                else: end = model(x, 3, dice())
            assert type(end) is type(x) and end.dtype == x.dtype
            end.backward(weight.to(end.dtype).as_subclass(type(end)))
            ends.append([end, x.grad, *(p.grad for p in model.parameters())])
    assert all(map(torch.equal, *ends)) and ends[0][1].abs().sum() > 0


def test_transforms_and_forward_gradients_take_the_plain_way():
    model, kernels, x, masks, _ = small(3)
    fires = list(masks)
    def rule(how): return lambda x: model_step(how, x)
    def model_step(how, x):
        model.engine = how
        for fire in fires: x = model.step(x, fire)
        return x.square().sum()
    assert torch.equal(torch.func.grad(rule("auto"))(x), torch.func.grad(rule("dense"))(x))
    a, b = (torch.func.jvp(rule(how), (x,), (torch.ones_like(x),)) for how in ("auto", "dense"))
    assert all(map(torch.equal, a, b))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        with torch.no_grad(): assert torch.autograd.forward_ad.unpack_dual(rule("auto")(dual)).tangent is not None
    weights = {f"update.{k}": 2 * v for k, v in model.update.named_parameters()}
    a, b = (torch.func.functional_call(model, weights, (x, 3, torch.Generator().manual_seed(0))) for model.engine in ("auto", "dense"))
    assert relative(a, b) < 1e-5
    picked = []
    torch.vmap(lambda x: picked.append(engine.pick_engine("auto", x, *law(model, kernels))) or x)(x[None])
    assert picked == ["dense"] and engine.pick_engine("auto", x, *law(model, kernels)) == "active"


def test_weights_that_are_no_parameters_have_gradients():
    "As a network has them that another network makes."
    grads = []
    for how in ("dense", "auto"):
        model, _, x, _, weight = small()
        strength = torch.tensor(1.5, requires_grad=True)
        made = strength * model.update[2].weight.detach()
        for p in model.parameters(): p.requires_grad_(False)
        del model.update[2].weight
        model.update[2].weight, model.engine = made, how
        model(x, 5, torch.Generator().manual_seed(0)).backward(weight)
        grads.append(strength.grad)
    assert grads[0] != 0 and relative(grads[1], grads[0]) < 1e-4


def test_a_tape_steps_aside_too():
    def play(model, x, **how): return graph_rollout(dense_step, x, *law(model, model.kernel_weights), draw_keys(3), 0.5)
    for name in ("forward hook", "replaced forward", "dropout", "autocast", "function mode", "learned kernels", "global backward hook"):
        model, _, x, _, _ = small()
        with AROUND[name](model):
            with pytest.raises(ValueError, match="engine: 'graph' cannot run this"): play(model, x)
    model, _, x, _, weight = small()
    model.update[0].requires_grad_(False)
    play(model, x).backward(weight)
    assert model.update[0].weight.grad is None and model.update[2].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_precisions(dtype):
    "Every precision lives as the plain step has it; the sparse engine takes the two that it knows."
    model, _, x, _, _ = small()
    model, x = model.to(dtype), x.to(dtype)
    ends = [model.trajectory(x, 6, 2, torch.Generator().manual_seed(0)) for model.engine in ("dense", "auto")]
    assert ends[1].dtype == dtype and relative(ends[1], ends[0]) < 1e-11
    picked = engine.pick_engine("auto", x, *law(model, model.kernel_weights))
    assert picked == ("active" if dtype == torch.float64 else "dense")


# ---------------------------------------------------------------- the door

BAD = {
    "x": [None, "x", [1], torch.zeros(4, 12, 12), torch.zeros(4, 8, 0, 12), torch.zeros(4, 8, 12, 12).int(), torch.zeros(4, 8, 12, 12) * 1j,
          torch.zeros(1, 8, 1, 1).expand(2**16, 8, 2**8, 2**8), torch.zeros(4, 3, 12, 12)],
    "kernels": [None, 3, torch.zeros(3, 5, 5), torch.zeros(3, 3), torch.zeros(0, 3, 3), torch.zeros(3, 3, 3).int(), torch.zeros(5, 3, 3, 3)],
    "update": [None, "x", 3], "padding": [None, "circular", "", 0, ["zeros"], torch.zeros(2)],
    "alive_threshold": ["x", math.nan, math.inf, True, torch.tensor(0.1)],
    "rate": [None, "x", math.nan, math.inf, -0.1, 1.5, True, 10**400, torch.tensor(0.5)],
    "keys": [None, "x", 3, 2.5, [1, 2], [[1]], [[1, 2], [3]], [[1.5, 2]], [[2**31, 0]], [[10**30, 0]], {1: 2}, iter([[1, 2]]), torch.zeros(2, 2), [["a", "b"]]],
    "every": [None, "x", 0, -1, 2.5, math.nan, True], "step": [None, "x", lambda *a: None, lambda x, *a: x[:, :1], lambda: 0],
    "masks": [3, "x", [[True]], torch.zeros(2, 4, 1, 12, 12), torch.zeros(2, 4, 1, 5, 12).bool(), torch.zeros(4, 1, 12, 12).bool()],
}
OWN = {"active_frames": {"every"}, "graph_rollout": {"step"}, "pick_engine": {"engine"}}

@pytest.mark.parametrize("door, name", [(door, name) for door in ("active_rollout", "active_frames", "graph_rollout", "pick_engine", "fire_mask") for name in BAD])
def test_bad_values_are_refused_by_name(door, name):
    model, kernels, x, masks, _ = small(2)
    good = dict(x=x, kernels=kernels, update=model.update, padding="zeros", alive_threshold=0.1, keys=draw_keys(2), rate=0.5)
    if door == "active_frames": good["every"] = 1
    if door == "graph_rollout": good["step"] = dense_step
    if door == "pick_engine": good = {"engine": "auto"} | {k: v for k, v in good.items() if k not in ("keys", "rate")}
    if door == "fire_mask": good = dict(x=x, key=draw_keys(1)[0], rate=0.5)
    if name == "masks" and door == "active_rollout": good = {k: v for k, v in good.items() if k not in ("keys", "rate")} | {"masks": masks}
    getattr(engine, door)(**good)
    if name not in good: return
    for bad in BAD[name]:
        if door == "fire_mask" and name == "x" and isinstance(bad, torch.Tensor) and bad.shape in [(4, 8, 12, 12), (4, 3, 12, 12)]: continue    # it looks at sizes alone
        with pytest.raises((ValueError, TypeError), match=f"^{name}: "): getattr(engine, door)(**good | {name: bad})


def test_other_networks_at_the_door():
    model, kernels, x, _, _ = small()
    Conv = torch.nn.Conv2d
    for net in (torch.nn.Sequential(Conv(24, 16, 3, padding=1), torch.nn.ReLU(), Conv(16, 8, 1)), torch.nn.Sequential(Conv(12, 16, 1), torch.nn.ReLU(), Conv(16, 8, 1)),
                torch.nn.Sequential(Conv(24, 16, 1), torch.nn.ReLU(), Conv(16, 9, 1)), Conv(24, 8, 1), torch.nn.Sequential(), lambda seen: seen):
        for call in (lambda: active_rollout(x, kernels, net, "zeros", 0.1, draw_keys(2), 0.5), lambda: active_frames(x, kernels, net, "zeros", 0.1, draw_keys(2), 0.5, 1)):
            with pytest.raises(ValueError, match="engine: 'active' cannot run this"): call()
        assert engine.pick_engine("auto", x, kernels, net, "zeros", 0.1) == "dense"
    with pytest.raises(ValueError, match="step: .* it fails"): graph_rollout(dense_step, x, kernels, Conv(12, 8, 1), "zeros", 0.1, draw_keys(2), 0.5)
    with pytest.raises(ValueError, match="masks: got keys as well"): active_rollout(x, *law(model, kernels), draw_keys(1), 0.5, torch.ones(1, 4, 1, 12, 12).bool())


@pytest.mark.parametrize("steps", [None, "x", -1, 2.5, math.nan, math.inf, True, [], 10**8, 10**30, torch.tensor(3)])
def test_numbers_of_dice(steps):
    with pytest.raises((ValueError, TypeError), match="^steps: "): draw_keys(steps)


def test_numpy_is_welcome():
    model, kernels, x, _, _ = small()
    keys = draw_keys(np.int64(4), torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = active_rollout(x, *law(model, kernels), keys, 0.5)
        for same in (np.array(keys), torch.tensor(keys), tuple(map(tuple, keys)), np.array(keys, np.int32)):
            assert torch.equal(active_rollout(x, *law(model, kernels), same, np.float64(0.5)), want)
        assert torch.equal(list(active_frames(x, *law(model, kernels), keys, 0.5, np.int64(2)))[-1], want)
    for generator in (3, "x", np.random.default_rng(0)):
        with pytest.raises(TypeError, match="^generator: "): draw_keys(3, generator)
    for bad in (None, 3, ["auto"], "", np.array(["auto", "dense"])):
        with pytest.raises(ValueError, match="^engine: "): engine.check_engine(bad)
    assert active_rollout(x, *law(model, kernels), [], 0.5) is x and draw_keys(0) == []
    for bad in (None, "ab", [1], [1, 2, 3], [1.0, 2.0], [True, False], [2**31, 0]):
        with pytest.raises(ValueError, match="^key: "): fire_mask(x, bad, 0.5)


def test_states_of_inference_mode():
    "They can begin a rollout whose weights learn, as with dense."
    grads = []
    for how in ("dense", "auto"):
        model, _, x, _, weight = small()
        with torch.inference_mode(): start = x.clone()
        model.engine = how
        model(start, 4, torch.Generator().manual_seed(0)).backward(weight)
        grads.append([p.grad for p in model.parameters()])
    assert all(relative(a, b) < 1e-4 for a, b in zip(*grads))
