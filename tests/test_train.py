"""The training loop and experiment 1: what it promises about randomness, interruption, settings and devices."""
import csv, math

import pytest
import torch

from nca_tutorial.core import NCAModel, seed_state
from nca_tutorial.growing import error_over_time, grow, pixel_loss
from nca_tutorial.targets import load_target
from nca_tutorial.pool import SamplePool, persist
from nca_tutorial.regeneration import regenerate
from nca_tutorial.train import (Callback, Checkpoint, CSVLog, EarlyStop, History, Muon, Preview, SeedSource, StopTraining, WeightAverage,
                                normalise_gradients, train)

QUICK = dict(steps=6, batch=2, rollout=(4, 6), progress=False)


@pytest.fixture
def target(root): return load_target(root / "nbs" / "images" / "mushroom.png", 8, 2)


def weights(model): return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_one_seed_one_run(target):
    torch.manual_seed(1)
    a, history = grow(target, seed=3, **QUICK)
    torch.manual_seed(2)                                        # the global generator must not matter
    b, again = grow(target, seed=3, **QUICK)
    other, _ = grow(target, seed=4, **QUICK)
    assert torch.equal(weights(a), weights(b)) and history.losses == again.losses
    assert not torch.equal(weights(a), weights(other))


def test_engines_learn_the_same(target):
    runs = [grow(target, NCAModel(generator=torch.Generator().manual_seed(0), engine=e), **QUICK) for e in ("dense", "auto")]
    torch.testing.assert_close(weights(runs[0][0]), weights(runs[1][0]), atol=1e-4, rtol=1e-3)
    assert runs[0][1].losses == pytest.approx(runs[1][1].losses, rel=1e-4)


def test_rollouts_stay_in_their_range(target):
    seen = []
    class Spy(NCAModel):
        def forward(self, x, steps=1, *args, **kwargs):
            seen.append(steps)
            return super().forward(x, steps, *args, **kwargs)
    train(Spy(), SeedSource(seed_state(size=12)), pixel_loss(target), steps=60, batch=1, rollout=(3, 5), progress=False)
    assert set(seen) == {3, 4, 5}


def test_the_learning_rate_drops_where_it_is_told(target, monkeypatch):
    rates = []
    original = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, *a, **k: (rates.append(self.param_groups[0]["lr"]), original(self, *a, **k))[1])
    grow(target, steps=10, batch=1, rollout=(2, 2), lr=1e-2, lr_drops=((0.5, 0.1), (0.8, 0.5)), progress=False)
    assert rates == pytest.approx([1e-2] * 5 + [1e-3] * 3 + [5e-4] * 2)


def test_gradients_have_length_one_when_adam_sees_them(target, monkeypatch):
    norms = []
    original = torch.optim.Adam.step
    def spy(self, *args, **kwargs):
        norms.extend(p.grad.norm().item() for g in self.param_groups for p in g["params"])
        return original(self, *args, **kwargs)
    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    grow(target, **QUICK)
    assert all(math.isclose(n, 1, abs_tol=1e-3) or n == 0 for n in norms) and sum(n > 0.9 for n in norms) >= 20
    normalise_gradients([torch.nn.Parameter(torch.ones(2))])   # no gradient yet: nothing to do


@pytest.mark.parametrize("after", [1, 3])
def test_ctrl_c_keeps_what_was_learned(target, after):
    calls, loss = [], pixel_loss(target)
    def interrupted(x):
        calls.append(1)
        if len(calls) > 1 + after: raise KeyboardInterrupt      # the first call is the guard's
        return loss(x)
    model = NCAModel(generator=torch.Generator().manual_seed(0))
    before = weights(model).clone()
    history = train(model, SeedSource(seed_state(size=12)), interrupted, **QUICK)
    assert history.interrupted and len(history.losses) == after and not torch.equal(weights(model), before)


def test_training_that_explodes_says_so(target):
    model = NCAModel(generator=torch.Generator().manual_seed(0))
    model.update[2].weight.data.fill_(1e30)
    with pytest.raises((FloatingPointError, ValueError), match="finite|NaN"): grow(target, model, guard=False, **QUICK)
    with pytest.raises(FloatingPointError, match="collapses again and again"): grow(target, model, **{**QUICK, "steps": 30})


@pytest.mark.parametrize("wrong, error, words", [
    (dict(steps=-1), ValueError, "steps: got -1"), (dict(steps=2.0), TypeError, "steps"), (dict(batch=0), ValueError, "batch: got 0"),
    (dict(rollout=(0, 3)), ValueError, "rollout: got 0"), (dict(rollout=(6, 4)), ValueError, "rollout: got 4"), (dict(lr=0), ValueError, "lr: got 0"),
    (dict(lr="fast"), TypeError, "lr: got 'fast'"), (dict(lr=math.inf), ValueError, "lr")])
def test_settings_are_checked_before_any_work(target, wrong, error, words):
    with pytest.raises(error, match=words): grow(target, **{**QUICK, **wrong})


@pytest.mark.parametrize("target", [None, torch.zeros(4, 8), torch.zeros(3, 8, 8), torch.full((4, 8, 8), math.nan)])
def test_targets_are_checked(target):
    with pytest.raises(ValueError, match="target: "): grow(target, **QUICK)


def test_error_over_time_is_what_it_says(target):
    model = NCAModel()                                          # does nothing: the error stays that of the seed
    errors = error_over_time(model, target, 7, every=2, batch=2)
    seed_error = pixel_loss(target)(seed_state(size=12))
    assert errors.shape == (4,)
    torch.testing.assert_close(errors, seed_error.expand(4))


def test_more_training_is_better(target):
    model, history = grow(target, steps=120, batch=2, rollout=(12, 16), lr=4e-3, lr_drops=(), progress=False)
    assert history.final() < history.losses[0] / 3


def distance(x): return (x - 0.5).square().mean((1, 2, 3))

def toy():
    "A small model without an alive mask, and a state of 5 x 5 cells for it to start from."
    model = NCAModel(3, 32, padding="wrap", alive_threshold=None, generator=torch.Generator().manual_seed(0))
    return model, torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))


def test_a_rule_that_forgets_is_taken_back_with_its_pool():
    "Worse than the seed for 25 steps, though nothing explodes: old weights, all slots seeds; a copy of the bad time is never kept"
    class Spoil(Callback):
        order = 1
        def after_step(self, run):
            if 60 <= run.step and not run.history.events:
                run.model.update[2].weight.data.zero_()
                run.model.update[2].bias.data.fill_(0.045)
            if run.history.events and not hasattr(self, "after"): self.after, self.slots = weights(run.model), run.source.states.clone()
    model, start = toy()
    pool, spoil = SamplePool(start, 1000), Spoil()
    history = train(model, pool, distance, steps=110, batch=4, rollout=(8, 16), lr=1e-2, progress=False, callbacks=[spoil])
    (step, what), = history.events
    assert "worse than the seed" in what and 74 <= step < 100
    assert (spoil.slots == start).all()
    assert history.losses[-1] < distance(start).item() / 5 and torch.isfinite(spoil.after).all()


def test_one_exploded_state_of_many_becomes_a_seed_and_the_weights_stay():
    class Spoil(Callback):
        def after_step(self, run):
            if run.step == 10: run.source.states[3] = 40.0          # far off, and not beyond reason
    model, start = toy()
    pool = SamplePool(start, 4, reseed=100)
    history = train(model, pool, distance, steps=40, batch=4, rollout=(2, 3), lr=1e-3, progress=False, callbacks=[Spoil()])
    assert history.events == [] and history.reseeded == 1
    assert pool.states.abs().max() < 5


def test_the_learning_rate_recovers_after_a_step_back():
    class Spoil(Callback):
        rates = []
        def after_step(self, run):
            if run.step == 30: run.model.update[2].bias.data.fill_(1e5)
            self.rates.append(run.lr)
    model, start = toy()
    history = train(model, SamplePool(start, 4), distance, steps=150, batch=4, rollout=(2, 3), lr=1e-3, lr_drops=(), progress=False,
                    callbacks=[Spoil()])
    rates = [round(rate / 1e-3, 6) for rate in Spoil.rates]
    assert len(history.events) == 1 and rates[29] == 1 and rates[30] == 0.7 and rates[-1] == 1
    assert [b for a, b in zip(rates[30:], rates[31:]) if a != b] == [0.77, 0.847, 0.9317, 1]      # every 25 healthy steps


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has it from 2.9 on")
def test_muon_goes_where_pytorchs_own_goes():
    "Its products are in bfloat16, so directions agree to a few per cent; vectors are Adam's, to the bit."
    g, ours = torch.Generator().manual_seed(0), [torch.nn.Conv2d(48, 128, 1), torch.nn.Conv2d(128, 16, 1)]
    layers = [p for layer in ours for p in layer.parameters()]
    flat = [torch.nn.Parameter(p.detach().flatten(1).clone()) for p in layers if p.ndim > 1]
    rest = [torch.nn.Parameter(p.detach().clone()) for p in layers if p.ndim < 2]
    steps = Muon(layers, lr=1e-3), torch.optim.Muon(flat, lr=2e-3, momentum=0.9, weight_decay=0), torch.optim.Adam(rest, lr=1e-3)
    before = [p.detach().clone() for p in flat]
    for _ in range(4):
        for p in layers: p.grad = torch.randn(p.shape, generator=g)
        for p, q in zip(flat, [p for p in layers if p.ndim > 1]): p.grad = q.grad.flatten(1)
        for p, q in zip(rest, [p for p in layers if p.ndim < 2]): p.grad = q.grad.clone()
        for s in steps: s.step()
    for p, q, was in zip(flat, [p for p in layers if p.ndim > 1], before):
        a, b = (p - was).detach(), (q.flatten(1) - was).detach()
        assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.99 and abs(a.norm() / b.norm() - 1) < 0.03
    for p, q in zip(rest, [p for p in layers if p.ndim < 2]): assert torch.equal(p, q)


def test_a_parent_that_begins_worse_than_a_seed_is_no_accident():
    "A thin picture costs a seed little and a grown body of another picture much."
    thin = torch.zeros(4, 24, 24)
    thin[:, 12, 4:20] = 1
    gecko, seed = NCAModel.from_pretrained("gecko-persist"), seed_state(1, 16, 24)
    loss = pixel_loss(thin)
    with torch.no_grad(): assert loss(gecko(seed, 40, torch.Generator().manual_seed(0))).item() > 5 * loss(seed).item()
    history = train(gecko, SeedSource(seed), loss, steps=4, batch=2, rollout=(40, 41), progress=False)
    assert history.events == [] and history.losses[-1] < history.losses[0]


def test_muon_goes_on_from_its_state():
    lives = []
    for rest in (False, True):
        g = torch.Generator().manual_seed(0)
        layer = torch.nn.Conv2d(6, 8, 1)
        for p in layer.parameters(): p.data = torch.randn(p.shape, generator=g)
        steps = Muon(layer.parameters(), lr=1e-2)
        for step in range(6):
            if rest and step == 3:
                kept, steps = steps.state_dict(), Muon(layer.parameters(), lr=1.0)
                steps.load_state_dict(kept)
            for p in layer.parameters(): p.grad = torch.randn(p.shape, generator=g)
            steps.step()
        lives.append([p.detach().clone() for p in layer.parameters()])
    assert all(map(torch.equal, *lives))


# ---------------------------------------------------------------- what functions of one's own give

def quick(loss=distance, source=None, **changes):
    model, start = toy()
    return train(model, source or SeedSource(start), loss, **{**QUICK, **changes})


@pytest.mark.parametrize("gives, error, words", [
    (lambda e: e.mean(), ValueError, r"loss: it gave shape \(\); expected \(\d,\)"), (lambda e: e[:, None], ValueError, r"loss: it gave shape \(\d, 1\)"),
    (lambda e: torch.cat([e, e]), ValueError, "loss: it gave shape"), (lambda e: None, TypeError, "loss: it gave None"), (lambda e: 0.5, TypeError, "loss: it gave 0.5"),
    (lambda e: e.detach().numpy(), TypeError, "loss: it gave an array"), (lambda e: (e > 0).long(), TypeError, "loss: it gave torch.int64"),
    (lambda e: e + 0j, TypeError, "loss: it gave torch.complex64"), (lambda e: e.detach(), ValueError, "loss: it gives no gradient"),
    (lambda e: torch.zeros(len(e), requires_grad=True), ValueError, "loss: it gives no gradient")])
@pytest.mark.parametrize("guard", [True, False])
def test_what_is_no_loss_is_refused(gives, error, words, guard, tmp_path):
    for callbacks in ([], [Checkpoint(tmp_path / "run")]):
        with pytest.raises(error, match=words): quick(lambda x: gives(distance(x)), guard=guard, callbacks=callbacks)
    assert not (tmp_path / "run").exists()


def test_no_nan_reaches_the_weights():
    "Neither by the loss nor by its slope."
    for guard in (True, False):
        model, start = toy()
        with pytest.raises((FloatingPointError, ValueError), match="loss: (it gave nan for the seed|not finite at)"):
            train(model, SeedSource(start), lambda x: distance(x) * math.nan, guard=guard, **QUICK)
        steep = lambda x: distance(x) + (x[:, 0, 0, 0] * 0).abs().sqrt()           # 0, with a slope of 0 / 0
        with pytest.raises(FloatingPointError, match="gradient not finite|collapses again and again"):
            train(model, SeedSource(start), steep, guard=guard, **{**QUICK, "steps": 30})
        assert torch.isfinite(weights(model)).all()


class Odd(SeedSource):
    "Gives what it is told to give."
    def __init__(self, gives): super().__init__(toy()[1]); self.gives = gives
    def sample(self, n, loss=None, generator=None): return self.gives(*super().sample(n))


@pytest.mark.parametrize("gives, error, words", [
    (lambda i, x: None, TypeError, "source: its sample gave None"), (lambda i, x: x, TypeError, "source: its sample gave a tensor"), (lambda i, x: (i, None), TypeError, "source: got NoneType"),
    (lambda i, x: (i, x.long()), TypeError, "source: got torch.int64"), (lambda i, x: (i, x * math.nan), ValueError, "source: the state holds NaN"),
    (lambda i, x: (i, x[:1]), ValueError, "source: it gave 1 states; expected 2"), (lambda i, x: (i, x[:, :2]), ValueError, r"source: got shape \(2, 2, 5, 5\)"),
    (lambda i, x: ([0, 1], x), TypeError, "source: its index is"), (lambda i, x: (torch.zeros(2), x), TypeError, "source: its index is"),
    (lambda i, x: (torch.zeros(2, dtype=torch.bool), x), TypeError, "source: its index is"), (lambda i, x: (torch.zeros(1, 2, dtype=torch.long), x), ValueError, r"index has shape \(1, 2\); expected \(2,\)")])
def test_what_is_no_start_is_refused(gives, error, words):
    with pytest.raises(error, match=words): quick(source=Odd(gives))


@pytest.mark.parametrize("wrong, error, words", [
    (dict(source=object()), TypeError, "source: got .*expected an object with a method sample"), (dict(source=SeedSource), TypeError, "source: got"),
    (dict(source=SeedSource(torch.zeros(1, 4, 5, 5))), ValueError, r"source.seed: got shape \(1, 4, 5, 5\)"), (dict(loss="mse"), TypeError, "loss: got 'mse'"),
    (dict(source=SamplePool(toy()[1], 1)), ValueError, r"batch: too many for the source \(n: got 2; the pool has 1 slots\)"),
    (dict(seed=2**64), ValueError, "seed: got"), (dict(steps=10**400), ValueError, "steps: got"), (dict(guard=1), TypeError, "guard: got 1; expected True or False"),
    (dict(progress="no"), TypeError, "progress: got 'no'"), (dict(rollout=(1, 2, 3)), ValueError, "rollout: got"), (dict(rollout=2.5), TypeError, "rollout: got 2.5"), (dict(rollout=None), TypeError, "rollout: got None"),
    *[(dict(lr_drops=drops), (TypeError, ValueError), "lr_drops") for drops in (None, 0.5, (0.5, 0.1), ((0.5,),), ((math.nan, 0.1),), ((0.5, math.nan),), ((0.5, 0),), ((0.5, -1),), ((0.5, 2),), ((1.5, 0.1),), ((-0.5, 0.1),), ((0.7, 0.1), (0.3, 0.1)), "ab", {0.5: 0.1})],
    (dict(callbacks=EarlyStop(1)), TypeError, "callbacks: got"), (dict(callbacks=[EarlyStop]), TypeError, "callbacks: got"), (dict(callbacks=[3]), TypeError, "callbacks: got 3 among them"),
    (dict(optimiser="sgd"), ValueError, "optimiser: got 'sgd'"), (dict(optimiser=[]), TypeError, r"optimiser: got \[\]"), (dict(optimiser=lambda p, lr: None), TypeError, "optimiser: the function gave None"),
    (dict(optimiser=lambda p: torch.optim.SGD(p)), TypeError, "optimiser: the function failed"), (dict(optimiser=lambda p, lr: torch.optim.SGD(p[:1], lr)), ValueError, "optimiser: it does not move"),
    (dict(optimiser=lambda p, lr: torch.optim.LBFGS(p, lr)), TypeError, "optimiser: its step failed")])
def test_what_cannot_work_is_refused_before_any_work(wrong, error, words, tmp_path):
    log = CSVLog(tmp_path / "log.csv")
    with pytest.raises(error, match=words): quick(**{"callbacks": [log]} | wrong)
    assert not list(tmp_path.iterdir())


def test_one_length_of_rollouts_is_enough():
    assert quick(rollout=4).losses == quick(rollout=(4, 4)).losses


def test_optimisers_of_your_own():
    "Also those whose memory begins as nothing."
    for make in (lambda p, lr: torch.optim.SGD(p, lr), lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9), lambda p, lr: torch.optim.AdamW(p, lr)):
        losses = quick(optimiser=make, steps=30, lr=3e-2, lr_drops=()).losses
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("model, error, words", [
    (None, TypeError, "model: got NoneType"), (torch.nn.Linear(2, 2), TypeError, "model: got Linear"), ("x", TypeError, "model: got str"), (NCAModel, TypeError, "model: got type"),
    (NCAModel(3, 4, alive_threshold=None).requires_grad_(False), ValueError, "model: all its weights are frozen")])
def test_models_that_cannot_learn_are_refused(model, error, words, target):
    with pytest.raises(error, match=words): train(model, SeedSource(toy()[1]), distance, **QUICK)
    if model is not None:
        with pytest.raises((TypeError, ValueError), match=words if "frozen" not in words else "model: it has 3 channels"): grow(target, model, **QUICK)
    broken = NCAModel()
    broken.update[0].bias.data[3] = math.nan
    with pytest.raises(ValueError, match="model: update.0.bias holds NaN"): grow(target, broken, **QUICK)


def test_wrapped_models_learn_the_same(target):
    "Inside and outside of the module that runs it on several devices, and compiled."
    make = lambda: NCAModel(hidden=8, generator=torch.Generator().manual_seed(0))
    plain, history = grow(target, make(), **QUICK)
    class Compiled(torch.nn.Module):                            # what `torch.compile` gives, without the compiler
        def __init__(self, model): super().__init__(); self._orig_mod = model
        def forward(self, *args): return self._orig_mod(*args)
    for wrap in (torch.nn.DataParallel, Compiled, lambda m: Compiled(torch.nn.DataParallel(m))):
        inside = make()
        wrapped, same = grow(target, wrap(inside), **QUICK)
        assert same.losses == history.losses and torch.equal(weights(inside), weights(plain)) and wrapped is not inside
        assert torch.equal(error_over_time(wrapped, target, 3, generator=torch.Generator().manual_seed(0)), error_over_time(plain, target, 3, generator=torch.Generator().manual_seed(0)))


def test_a_model_of_other_numbers_learns_too(target, tmp_path):
    "In double precision nearly the same; the source may hold single ones."
    plain, history = grow(target, **QUICK)
    double, same = grow(target, NCAModel(generator=torch.Generator().manual_seed(0)).double(), callbacks=[Checkpoint(tmp_path / "run")], **QUICK)
    assert double.update[0].weight.dtype == torch.float64 and same.losses == pytest.approx(history.losses, rel=1e-3)
    model, start = toy()
    assert train(model.double(), SeedSource(start), distance, **QUICK).losses == pytest.approx(quick().losses, rel=1e-4)


@pytest.mark.parametrize("target, error, words", [
    (torch.full((4, 8, 8), 255.0), ValueError, r"target: got values from 255 to 255; expected 0 to 1, .*multiplied by alpha.*divide bytes by 255"), (-torch.ones(4, 8, 8), ValueError, "target: got values from -1 to -1"),
    (torch.full((4, 8, 8), 255, dtype=torch.uint8), TypeError, "target: got torch.uint8; .*divide bytes by 255"), (torch.zeros(4, 8, 8, dtype=torch.complex64), TypeError, "target: got torch.complex64"),
    (torch.zeros(4, 0, 8), ValueError, r"target: got a tensor of shape \(4, 0, 8\)"), ("gecko.png", ValueError, "target: got 'gecko.png'"), (math.nan, ValueError, "target: got nan")])
def test_pictures_that_are_none_are_refused(target, error, words):
    for call in (pixel_loss, lambda t: grow(t, **QUICK), lambda t: persist(t, pool=4, **QUICK), lambda t: regenerate(t, pool=4, **QUICK), lambda t: error_over_time(NCAModel(), t, 2)):
        with pytest.raises(error, match=words): call(target)


@pytest.mark.parametrize("x, error, words", [(None, TypeError, "x: got None"), (torch.zeros(4, 12, 12), ValueError, r"x: got shape \(4, 12, 12\)"),
    (torch.zeros(1, 4, 12, 12, dtype=torch.complex64), TypeError, "x: "), (torch.zeros(1, 3, 12, 12), ValueError, "x: got shape"), (torch.zeros(1, 4, 8, 12), ValueError, "x: a grid of")])
def test_a_loss_looks_at_states_only(target, x, error, words):
    with pytest.raises(error, match=words): pixel_loss(target)(x)


@pytest.mark.parametrize("wrong", [dict(steps=-1), dict(steps=2.5), dict(steps=10**400), dict(every=0), dict(batch=0), dict(batch=2**70), dict(generator=3), dict(model="x"), dict(target=None)])
def test_measuring_checks_its_arguments(target, wrong):
    with pytest.raises((TypeError, ValueError), match=f"{[*wrong][0]}: got"): error_over_time(**{**dict(model=NCAModel(), target=target, steps=2), **wrong})


@pytest.mark.parametrize("wrong", [None, 3, torch.zeros(2), ["x"], "ab"])
def test_parameters_are_several_tensors(wrong):
    for call in (normalise_gradients, Muon):
        with pytest.raises(TypeError, match="parameters: got"): call(wrong)


@pytest.mark.parametrize("wrong, words", [([], "parameters: got 0 without a matrix"), ([torch.nn.Parameter(torch.zeros(3))], "parameters: got 1 without a matrix"), ([torch.nn.Parameter(torch.zeros(0, 2))], "nothing empty"),
    ([torch.zeros(2, 2, dtype=torch.long)], "floating point")])
def test_muon_needs_a_matrix(wrong, words):
    with pytest.raises(ValueError, match=words): Muon(wrong)
    for state in (None, {}, 3, [], {"state": {}, "param_groups": []}):
        with pytest.raises(ValueError, match="state_dict: got"): Muon([torch.nn.Parameter(torch.zeros(2, 2))]).load_state_dict(state)
    for last in (0, -1, 2.5, None):
        with pytest.raises((TypeError, ValueError), match="last: got"): History([1.0]).final(last)
    for n in (0, 2.5, 2**40):
        with pytest.raises((TypeError, ValueError), match="n: got"): SeedSource(torch.zeros(1, 3, 2, 2)).sample(n)


# ---------------------------------------------------------------- callbacks

class Told(Callback):
    "Writes down what it is told, and raises what it is told to raise."
    def __init__(self, moment=None, what=None): self.heard, self.moment, self.what = [], moment, what
    def _hear(self, moment, run):
        self.heard.append((moment, run.step))
        if moment == self.moment: raise self.what
    def before_fit(self, run): self._hear("before_fit", run)
    def after_step(self, run): self._hear("after_step", run)
    def after_fit(self, run): self._hear("after_fit", run)


def test_the_end_is_told_to_all_and_the_first_failure_is_raised():
    first, second, third = Told("after_fit", OSError("first")), Told("after_fit", OSError("second")), Told()
    with pytest.raises(OSError, match="first"): quick(callbacks=[first, second, third])
    assert all(c.heard[-1] == ("after_fit", 6) for c in (first, second, third))
    mean, last = Told("after_fit", OSError("at the end")), Told()
    with pytest.raises(ValueError, match="loss: it gives no gradient"): quick(lambda x: distance(x.detach()), callbacks=[mean, last])
    assert last.heard[-1] == ("after_fit", 0)


def test_a_step_is_told_to_all():
    for what, error in ((StopTraining(), None), (KeyboardInterrupt(), None), (OSError("full"), OSError)):
        told = Told()
        if error:
            with pytest.raises(error, match="full"): quick(callbacks=[Told("after_step", what), told])
        else: quick(callbacks=[Told("after_step", what), told])
        assert told.heard == [("before_fit", 0), ("after_step", 1), ("after_fit", 1)]


def test_an_early_stop_has_its_row(tmp_path):
    log = CSVLog(tmp_path / "log.csv")
    history = quick(steps=40, callbacks=[EarlyStop(1.0), log])
    rows = list(csv.DictReader(open(tmp_path / "log.csv")))
    assert [int(r["step"]) for r in rows] == list(range(20)) and [float(r["loss"]) for r in rows] == history.losses


def test_one_callback_one_place(tmp_path):
    log, path = CSVLog(tmp_path / "log.csv"), tmp_path / "log.csv"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ValueError, match="callbacks: one of them is there twice"): quick(callbacks=[log, log])
    for other in (CSVLog(path), CSVLog(tmp_path / "link"), Checkpoint(path)):
        with pytest.raises(ValueError, match="callbacks: two of them write .*log.csv"): quick(callbacks=[log, other])
    assert not path.exists()
    assert len(quick(callbacks=[log, CSVLog(tmp_path / "other.csv")]).losses) == 6


def test_a_log_of_a_run_that_was_over_early_is_written_anew(tmp_path):
    keep = lambda name: [EarlyStop(1.0), Checkpoint(tmp_path / "run"), CSVLog(tmp_path / name)]
    first, again = (quick(steps=40, callbacks=keep(name)) for name in ("a.csv", "b.csv"))
    rows = list(csv.DictReader(open(tmp_path / "b.csv")))
    assert [float(r["loss"]) for r in rows] == first.losses == again.losses


def test_a_refused_checkpoint_leaves_the_log_alone(tmp_path):
    (tmp_path / "run").write_text("none")
    (tmp_path / "log.csv").write_text("precious")
    with pytest.raises(ValueError, match="checkpoint .* no checkpoint"): quick(callbacks=[Checkpoint(tmp_path / "run"), CSVLog(tmp_path / "log.csv")])
    assert (tmp_path / "log.csv").read_text() == "precious"


@pytest.mark.parametrize("moment", ["_begin", "_show", "_end"])
def test_a_preview_that_fails_stops_nothing(moment, monkeypatch):
    def broken(*args, **kwargs): raise RuntimeError("no screen")
    monkeypatch.setattr(Preview, moment, broken)
    with pytest.warns(UserWarning, match="no more preview, the training goes on: RuntimeError"): history = quick(progress=True)
    assert history.losses == quick().losses


def small_model():
    return NCAModel(3, 16, padding="wrap", alive_threshold=None, generator=torch.Generator().manual_seed(0))


def test_the_mean_of_the_weights_is_that_of_all_steps_and_survives_a_stop(tmp_path):
    "By a list of all weights; and a run that was stopped and goes on has the same mean, to the last bit"
    kept = []
    class Keep(Callback):
        def before_fit(self, run): kept.append([p.detach().clone() for p in run.parameters])
        after_step = before_fit
    class Unplug(Callback):
        order = 5
        def after_step(self, run):
            if run.step == 7: raise KeyboardInterrupt
    def go(*callbacks):
        model = small_model()
        train(model, SeedSource(torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))), lambda x: (x - 0.5).square().mean((1, 2, 3)),
              steps=12, batch=2, rollout=(2, 4), lr=1e-2, progress=False, callbacks=callbacks)
        return model
    mean = WeightAverage(0.8)
    model = go(mean, Keep())
    want = [sum(w * p[i] for w, p in zip([0.8**12, *(0.2 * 0.8**(11 - k) for k in range(12))], kept)) for i in range(len(kept[0]))]
    for p, w in zip(mean.model(model).parameters(), want): torch.testing.assert_close(p, w)
    for p, last in zip(model.parameters(), kept[-1]): assert torch.equal(p, last)
    first, second = WeightAverage(0.8), WeightAverage(0.8)
    go(first, Checkpoint(tmp_path / "run", every=5), Unplug())
    go(second, Checkpoint(tmp_path / "run", every=5))
    for k, v in mean.state_dict().items(): assert torch.equal(v, second.state_dict()[k])
    with pytest.raises(ValueError, match="not whole: callback"): go(Checkpoint(tmp_path / "run"))


@pytest.mark.parametrize("decay, error", [(1, ValueError), (-0.1, ValueError), (float("nan"), ValueError), ("0.9", TypeError), (None, TypeError)])
def test_shares_of_the_past(decay, error):
    with pytest.raises(error, match="decay: got"): WeightAverage(decay)


def test_a_mean_is_of_one_model():
    mean = WeightAverage()
    source = SeedSource(torch.rand(1, 3, 5, 5))
    loss = lambda x: x.square().mean((1, 2, 3))
    settings = dict(steps=1, batch=1, rollout=1, progress=False, callbacks=[mean])
    train(small_model(), source, loss, **settings)
    with pytest.raises(ValueError, match="tensors: update.0"):
        train(NCAModel(3, 8, padding="wrap", alive_threshold=None), source, loss, **settings)
