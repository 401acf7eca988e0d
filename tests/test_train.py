"""The training loop and experiment 1: what it promises about randomness, interruption, settings and devices."""
import math

import pytest
import torch

from nca_tutorial.core import NCAModel, seed_state
from nca_tutorial.growing import error_over_time, grow, pixel_loss
from nca_tutorial.targets import load_target
from nca_tutorial.pool import SamplePool
from nca_tutorial.train import Callback, Checkpoint, Muon, SeedSource, WeightAverage, normalise_gradients, train

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
