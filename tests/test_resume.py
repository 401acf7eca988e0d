"""A run that is killed at any moment and started again gives bit for bit what an undisturbed run gives; strange checkpoints are refused."""
import csv, json, math, multiprocessing, os, pickle, random, signal, time
from functools import partial

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nca_tutorial.core import NCAModel, seed_state
from nca_tutorial.growing import pixel_loss
from nca_tutorial.pool import SamplePool
from nca_tutorial.regeneration import _sprouting, cut_disc, cut_square
from nca_tutorial.train import Callback, Checkpoint, CSVLog, EarlyStop, SeedSource, TensorBoardLog, train

KILLS, MOST = 50, 4             # a life is killed within so many training steps
STEPS = KILLS * MOST + 10
QUICK = dict(steps=12, batch=2, rollout=(3, 5), progress=False)


def parts(seed=0):
    target = torch.zeros(4, 12, 12)
    target[[0, 3], 3:9, 4:8] = 1
    model = NCAModel(8, 16, generator=torch.Generator().manual_seed(seed))
    return model, SamplePool(seed_state(1, 8, 12), 16, damage=cut_disc, damaged=1), pixel_loss(target)


def life(folder, going, done, may_step):
    "What each process does: start the run, or go on with it as far as it may, and leave the result when it is done."
    torch.set_num_threads(1)
    class Going(Callback):
        def before_fit(self, run): going.set()
        def after_step(self, run):
            done.release()
            may_step.acquire()
    model, pool, loss = parts()
    keep = [Checkpoint(folder / "run.safetensors", every=1), CSVLog(folder / "log.csv"), Going()]
    history = train(model, pool, loss, steps=STEPS, batch=3, rollout=(3, 6), progress=False, callbacks=keep)
    save_file({**model.state_dict(), "pool": pool.states, "losses": torch.tensor(history.losses, dtype=torch.float64)}, folder / "done")


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="processes are killed as Unix does it")
def test_fifty_kills_change_nothing(tmp_path):
    start, dice = multiprocessing.get_context("forkserver"), random.Random(0)
    start.set_forkserver_preload(["nca_tutorial.regeneration", "torch._dynamo", "multiprocessing.popen_forkserver"])    # what a first step loads
    seen = set()
    for kill in range(KILLS + 1):
        last = kill == KILLS
        steps = dice.randrange(MOST - 1)                         # then it is killed, somewhere in the next one
        going, done, may_step = start.Event(), start.Semaphore(0), start.Semaphore(STEPS if last else steps + 1)
        child = start.Process(target=life, args=(tmp_path, going, done, may_step))
        child.start()
        if last: break
        if kill % 5:                                             # every fifth is killed while it loads, the others in their work
            going.wait()
            for _ in range(steps): done.acquire()
        time.sleep(dice.uniform(0, 0.05))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        if (tmp_path / "run.safetensors").exists():
            with safe_open(tmp_path / "run.safetensors", "pt") as f: seen.add(len(f.get_tensor("losses")))
    child.join()
    assert child.exitcode == 0 and len(seen) > 10, f"the kills came at too few different moments: {sorted(seen)}"

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, pool, loss = parts()
        history = train(model, pool, loss, steps=STEPS, batch=3, rollout=(3, 6), progress=False)
    finally: torch.set_num_threads(threads)
    done = load_file(tmp_path / "done")
    assert done.pop("losses").tolist() == history.losses
    assert torch.equal(done.pop("pool"), pool.states)
    for name, value in model.state_dict().items(): assert torch.equal(done[name], value), name
    rows = list(csv.DictReader(open(tmp_path / "log.csv")))
    assert [int(r["step"]) for r in rows] == list(range(STEPS)) and [float(r["loss"]) for r in rows] == history.losses
    assert {p.name for p in tmp_path.iterdir()} == {"run.safetensors", "log.csv", "done"} | {p.name for p in tmp_path.glob(".*.part")}


def run(path, **changes):
    model, pool, loss = parts()
    return model, train(model, pool, loss, callbacks=[Checkpoint(path)], **{**QUICK, **changes})


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("after", [1, 7, 11])
def test_a_run_goes_on_where_it_was(tmp_path, after, guard, optimiser):
    class Unplug(Callback):
        order = 2
        def after_step(self, run):
            if run.step == after: raise KeyboardInterrupt
    results = []
    for stops in ([], [Unplug()]):
        model, pool, loss = parts()
        keep = [Checkpoint(tmp_path / f"{len(stops)}.safetensors", every=1)]
        history = train(model, pool, loss, callbacks=[*keep, *stops], guard=guard, optimiser=optimiser, **QUICK)
        if stops:
            assert history.interrupted and len(history.losses) == after
            model, pool, loss = parts(seed=5)                   # other weights: what counts is the file
            history = train(model, pool, loss, callbacks=keep, guard=guard, optimiser=optimiser, **QUICK)
        results.append((history.losses, torch.cat([p.flatten() for p in model.parameters()]), pool.states))
    assert results[0][0] == results[1][0] and torch.equal(results[0][1], results[1][1]) and torch.equal(results[0][2], results[1][2])


def test_a_checkpoint_of_the_first_kind_is_read(tmp_path):
    "It held three numbers of the guard, not four."
    path = tmp_path / "run.safetensors"
    whole, history = run(path)
    with safe_open(path, "pt") as f: tensors, notes = {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
    record = json.loads(notes["record"])
    save_file(tensors, path, notes | {"record": json.dumps(record | {"guard": record["guard"][:3]})})
    again, same = run(path)
    assert len(record["guard"]) == 4 and same.losses == history.losses and torch.equal(again.update[0].weight, whole.update[0].weight)


def small(target=None, model=None, source=None, loss=None, path=None, extend=False, **changes):
    "A run of a few steps on 8 x 8 cells, of which each part can be another one."
    if target is None: target = square()
    model = model or NCAModel(6, 8, generator=torch.Generator().manual_seed(0))
    source = source or SeedSource(seed_state(1, 6, 8))
    keep = [Checkpoint(path, extend=True) if extend else Checkpoint(path)] if path else []
    settings = dict(steps=3, batch=2, rollout=(2, 3), progress=False, callbacks=keep)
    return model, train(model, source, loss or pixel_loss(target), **settings | changes)


def square(*cells, value=1.0):
    target = torch.zeros(4, 8, 8)
    target[[0, 3], 2:6, 3:6] = 1
    for channel, row, col in cells: target[channel, row, col] = value
    return target


def plain(keep):
    "A checkpoint as it was before it knew what its run learns."
    with safe_open(keep, "pt") as f: tensors, notes = {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
    facts = json.loads(notes["facts"])
    facts |= dict(format="nca_tutorial run 1", model={k: v for k, v in facts["model"].items() if k not in ("kind", "learning")})
    del facts["source"], facts["loss"]
    tensors = {k: v for k, v in tensors.items() if not k.startswith(("lesson.", "guard."))}
    save_file(tensors, keep, {"facts": json.dumps(facts), "record": notes["record"]})


def test_a_checkpoint_without_a_lesson_is_read_with_a_warning(tmp_path):
    path = tmp_path / "run.safetensors"
    model, history = small(path=path)
    plain(path)
    with pytest.warns(UserWarning, match="run.safetensors' does not say what its run learns"): again, same = small(path=path)
    assert same.losses == history.losses and torch.equal(model.update[2].weight, again.update[2].weight)
    with pytest.raises(ValueError, match="is of another run: settings differ .batch 2 there, 3 here"): small(path=path, batch=3)


@pytest.mark.parametrize("other", [square((0, 2, 3), value=0.0), square((2, 0, 7)), square((1, 4, 4), value=1 / 255), square() * 0.99])
def test_another_target_is_another_run(tmp_path, other):
    "Even where it differs in one cell, by the least that a picture can."
    path = tmp_path / "run.safetensors"
    small(path=path)
    before, start = path.read_bytes(), NCAModel(6, 8, generator=torch.Generator().manual_seed(5))
    weight = start.update[0].weight.clone()
    with pytest.raises(ValueError, match="run.safetensors' is of another run: it learns another target .the loss differs.; start another file") as e:
        small(other, model=start, path=path)
    assert "\n" not in str(e.value) and len(str(e.value)) < 250
    assert path.read_bytes() == before and torch.equal(start.update[0].weight, weight)
    assert len(small(square() * (1 + 1e-7), path=path)[1].losses) == 3      # rounding is forgiven


def pool(**changes): return SamplePool(**dict(seed=seed_state(1, 6, 8), size=6, damage=cut_disc, damaged=1) | changes)
def between(low, high):
    def cut(x, generator): return cut_disc(x, generator, (low, high))
    return cut

@pytest.mark.parametrize("other, words", [
    (dict(damage=cut_square), r"source differs .damage 'cut_disc.* there, 'cut_square.* here"), (dict(damage=None), "source differs .damage"),
    (dict(damage=partial(cut_disc, radius=(0.1, 0.2))), "source differs .damage"), (dict(damaged=2), "source differs .damaged 1 there, 2 here"),
    (dict(whole=0.5), "source differs .whole inf there, 0.5 here"), (dict(reseed=2), "reseed 1 there, 2 here"),
    (dict(replace="any"), "replace 'worst' there, 'any' here"), (dict(seed=seed_state(1, 6, 8) * 0.9), "source differs .start"),
    (dict(size=7), "not whole: source.states has shape")])
def test_another_source_is_another_run(tmp_path, other, words):
    path = tmp_path / "run.safetensors"
    small(source=pool(), path=path)
    assert len(small(source=pool(), path=path)[1].losses) == 3
    with pytest.raises(ValueError, match=words): small(source=pool(**other), path=path)


class Cut:
    "A wound that is an object, or a method of it."
    def __init__(self, low): self.low = low
    def __call__(self, x, generator): return cut_disc(x, generator, (self.low, 0.3))
    def keyword(self, x, generator, *, low=0.1): return cut_disc(x, generator, (low, 0.3))


def test_parameters_of_a_wound_and_of_a_loss_count(tmp_path):
    for n, (one, other) in enumerate([(Cut(0.1), Cut(0.2)), (Cut(0.1).keyword, Cut(0.2).keyword), (partial(cut_disc, radius=(0.1, 0.3)), partial(cut_disc, radius=(0.2, 0.3)))]):
        small(source=pool(damage=one), path=tmp_path / f"{n}")
        small(source=pool(damage=one), path=tmp_path / f"{n}")
        with pytest.raises(ValueError, match="source differs .damage"): small(source=pool(damage=other), path=tmp_path / f"{n}")
    model = NCAModel(6, 8, generator=torch.Generator().manual_seed(0))
    small(source=pool(damage=between(0.1, 0.2)), path=tmp_path / "a")
    small(source=pool(damage=between(0.1, 0.2)), path=tmp_path / "a")
    with pytest.raises(ValueError, match="source differs .damage"): small(source=pool(damage=between(0.1, 0.3)), path=tmp_path / "a")
    sprout = lambda least: _sprouting(pixel_loss(square()), model, least)
    small(model=model, loss=sprout(0.5), path=tmp_path / "b")
    assert len(small(model=model, loss=sprout(0.5), path=tmp_path / "b")[1].losses) == 3       # its values depend on the weights
    with pytest.raises(ValueError, match="loss differs .sprout 0.5 there, 0.25 here"): small(model=model, loss=sprout(0.25), path=tmp_path / "b")
    class Mine(SeedSource): pass
    with pytest.raises(ValueError, match="source differs .*kind 'SeedSource' there, 'Mine' here"): small(model=model, source=Mine(seed_state(1, 6, 8)), loss=sprout(0.5), path=tmp_path / "b")


class Dicey:
    "A loss with dice of its own."
    def __init__(self, power=2): self.dice, self.power = torch.Generator().manual_seed(3), power
    def state_dict(self): return {"dice": self.dice.get_state()}
    def load_state_dict(self, tensors): self.dice.set_state(tensors["dice"])
    def __call__(self, x): return ((x - 0.5).abs() ** self.power * torch.rand(x.shape[1:], generator=self.dice)).mean((1, 2, 3))


def test_the_dice_of_a_loss_lie_as_they_lay(tmp_path):
    "Whether it is asked what it wants or not, and also where one object serves twice."
    class Unplug(Callback):
        order = 2
        def after_step(self, run):
            if run.step == 2: raise KeyboardInterrupt
    whole, loss = small(loss=Dicey(), steps=5), Dicey()
    small(loss=loss, steps=5, callbacks=[Checkpoint(tmp_path / "a", every=1), Unplug()])
    model, history = small(loss=loss, steps=5, path=tmp_path / "a")
    assert history.losses == whole[1].losses and torch.equal(model.update[2].weight, whole[0].update[2].weight)
    with pytest.raises(ValueError, match="the loss differs"): small(loss=Dicey(3), steps=5, path=tmp_path / "a")


def test_a_run_may_be_given_more_steps_on_purpose(tmp_path):
    path = tmp_path / "run.safetensors"
    long = dict(lr_drops=(), steps=6)
    whole = small(**long)
    small(path=path, lr_drops=())
    with pytest.raises(ValueError, match=r"steps 3 there, 6 here\).*more steps of the same, Checkpoint\(path, extend=True\)"): small(path=path, **long)
    model, history = small(path=path, extend=True, **long)
    assert history.losses == whole[1].losses and torch.equal(model.update[2].weight, whole[0].update[2].weight)
    assert len(small(path=path, **long)[1].losses) == 6                                        # now it is a run of six
    for wrong in (dict(lr_drops=()), dict(lr_drops=(), steps=7, batch=3)):
        with pytest.raises(ValueError, match="is of another run: settings differ"): small(path=path, extend=True, **wrong)


def test_another_optimiser_is_another_run(tmp_path):
    path = tmp_path / "run.safetensors"
    run(path, optimiser="muon")
    with pytest.raises(ValueError, match="is of another run: settings .*muon"): run(path)


def test_a_finished_run_is_not_run_again(tmp_path):
    path = tmp_path / "run.safetensors"
    first, history = run(path)
    before = path.read_bytes()
    again, same = run(path)
    assert same.losses == history.losses and torch.equal(again.update[0].weight, first.update[0].weight) and path.read_bytes() == before


def test_an_early_stop_stays_stopped(tmp_path):
    model, pool, loss = parts()
    keep = [EarlyStop(1.0), Checkpoint(tmp_path / "run.safetensors")]
    settings = {**QUICK, "steps": 60}
    assert len(train(model, pool, loss, callbacks=keep, **settings).losses) == 20
    assert len(train(model, pool, loss, callbacks=keep, **settings).losses) == 20


def test_what_the_guard_did_is_kept_too(tmp_path):
    def murderous(x): return x[:, 3].clamp(min=0).mean((1, 2))
    class Unplug(Callback):
        order = 2
        def after_step(self, run):
            if run.step == 40: raise KeyboardInterrupt
    settings = dict(steps=60, batch=2, rollout=(4, 6), lr=1e-2, lr_drops=(), progress=False)
    make = lambda: NCAModel(hidden=16, generator=torch.Generator().manual_seed(0))
    source, keep = SeedSource(seed_state(size=9)), Checkpoint(tmp_path / "run.safetensors", every=1)
    whole = train(make(), source, murderous, **settings)
    train(make(), source, murderous, callbacks=[keep, Unplug()], **settings)
    resumed = train(make(), source, murderous, callbacks=[keep], **settings)
    assert any(step < 40 for step, _ in whole.events) and any(step > 40 for step, _ in whole.events)
    assert resumed.losses == whole.losses and resumed.events == whole.events


def rewrite(path, tensors={}, facts={}, record={}, drop=()):
    "A checkpoint with other contents and the checksum that goes with them."
    from nca_tutorial.train import _checksum
    with safe_open(path, "pt") as f: old, notes = {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
    new = {k: v for k, v in (old | tensors).items() if k not in drop}
    facts, record = json.loads(notes["facts"]) | facts, json.loads(notes["record"]) | record
    notes = dict(facts=facts, record=record, sum=_checksum(new, facts, record))
    save_file(new, path, {k: json.dumps(v) for k, v in notes.items()})


def refused(path, words, **changes):
    "The checkpoint is refused, and model, pool and dice are as before."
    model, source = NCAModel(6, 8, generator=torch.Generator().manual_seed(9)), changes.pop("source", None) or pool()
    before = [v.clone() for v in (*model.state_dict().values(), *source.state_dict().values())]
    with pytest.raises(ValueError, match=f"checkpoint .*run.safetensors.*({words})") as e: small(model=model, source=source, path=path, **changes)
    assert all(map(torch.equal, before, (*model.state_dict().values(), *source.state_dict().values())))
    return str(e.value)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "run.safetensors"
    small(source=pool(), path=path)
    return path.read_bytes()


def test_no_flipped_byte_is_taken(tmp_path, kept):
    path, dice, begun = tmp_path / "run.safetensors", random.Random(0), []
    header = int.from_bytes(kept[:8], "little") + 8
    class Begun(Callback):
        def before_fit(self, run): begun.append(run.step)
    for n in range(300):
        data = bytearray(kept)
        data[dice.randrange(header if n % 2 else len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        model = NCAModel(6, 8, generator=torch.Generator().manual_seed(9))
        with pytest.raises(ValueError, match="checkpoint .*run.safetensors"): small(model=model, source=pool(), callbacks=[Checkpoint(path), Begun()])
    assert not begun


@pytest.mark.parametrize("change, words", [
    (dict(tensors={"model.update.0.bias": torch.full((8,), math.nan)}), "NaN or infinite values in model.update.0.bias"),
    (dict(tensors={"kept.0.model.update.2.bias": torch.full((6,), math.inf)}), "NaN or infinite values in kept.0"),
    (dict(tensors={"adam.0.exp_avg": torch.full((8, 18, 1, 1), math.nan)}), "NaN or infinite values in adam.0"),
    (dict(tensors={"model.update.0.bias": torch.zeros(8, dtype=torch.float64)}), "not whole: model.update.0.bias has shape .*float64"),
    (dict(tensors={"losses": torch.zeros(3, 1, dtype=torch.float64)}), "not whole: losses"),
    (dict(tensors={"losses": torch.zeros(99, dtype=torch.float64)}), "record that no run leaves"),
    (dict(tensors={"dice": torch.zeros(5056, dtype=torch.uint8)}), "dice that are none"), (dict(drop=["lesson.slope"]), "not whole: lesson"),
    (dict(drop=["lesson.slope", "lesson.values"]), "not whole: lesson"), (dict(drop=["guard.nothing"]), "not whole: guard"),
    (dict(record=dict(seconds=-1.0)), "no run leaves"), (dict(record=dict(seconds="x")), "no run leaves"), (dict(record=dict(events=[[1]])), "no run leaves"),
    (dict(record=dict(events=[["a", "b"]])), "no run leaves"), (dict(record=dict(events=None)), "no run leaves"), (dict(record=dict(reseeded=1.5)), "no run leaves"),
    (dict(record=dict(guard=[1.0, 0])), "no run leaves"), (dict(record=dict(guard=[math.nan, 0, 0, 1.0])), "no run leaves"),
    (dict(record=dict(guard=[1.0, 0, 0, 123.0])), "no run leaves"), (dict(record=dict(guard="abcd")), "no run leaves|damaged"),
    (dict(facts=dict(format="nca_tutorial run 9")), "of a kind that is not read here"), (dict(facts=dict(format=["x"])), "of a kind that is not read here"),
    (dict(facts=dict(settings=3)), "of another run: settings"), (dict(facts=dict(source=None)), "of another run: source")])
def test_altered_checkpoints_are_refused_before_anything_is_put(tmp_path, kept, change, words):
    path = tmp_path / "run.safetensors"
    path.write_bytes(kept)
    rewrite(path, **change)
    refused(path, words)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", "null", "1" * 5000, '{"a": ' * 50_000])
def test_strange_notes_are_refused(tmp_path, kept, text):
    path = tmp_path / "run.safetensors"
    for note in ("facts", "record", "sum"):
        path.write_bytes(kept)
        tensors = load_file(path)
        with safe_open(path, "pt") as f: notes = f.metadata()
        save_file(tensors, path, notes | {note: text})
        assert len(refused(path, "not of a training run|damaged|of a kind")) < 400


def test_what_cannot_be_put_back_leaves_all_as_it_was(tmp_path, kept):
    class Stubborn(SamplePool):
        def load_state_dict(self, tensors):
            if len(tensors["states"].unique()) > 2: raise RuntimeError("no room")
            super().load_state_dict(tensors)
    path = tmp_path / "run.safetensors"
    source = lambda: Stubborn(seed_state(1, 6, 8), 6)
    small(source=source(), path=path)
    refused(path, "cannot be put back: RuntimeError", source=source())


def test_places_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="path: .*pipe' is a device or a pipe"): Checkpoint(tmp_path / "pipe")
    late = Checkpoint(tmp_path / "late")
    os.mkfifo(tmp_path / "late")
    with pytest.raises(ValueError, match="checkpoint .*late' is a folder, a device or a pipe"): small(callbacks=[late])
    for wrong in (None, 3, b"x", ""):
        with pytest.raises((TypeError, ValueError), match="path: got"): Checkpoint(wrong)
        with pytest.raises((TypeError, ValueError), match="path: got"): CSVLog(wrong)
    with pytest.raises(TypeError, match="extend: got 1; expected True or False"): Checkpoint(tmp_path / "a", extend=1)


def test_settings_of_numpy_make_the_same_run(tmp_path):
    import numpy as np
    path = tmp_path / "run.safetensors"
    numbers = NCAModel(np.int64(6), np.int16(8), fire_rate=np.float64(0.5), generator=torch.Generator().manual_seed(0))
    small(model=numbers, path=tmp_path / "other", source=pool(damaged=np.int64(1), whole=np.float32(0.5)))
    small(path=tmp_path / "other", source=pool(whole=0.5))
    small(path=path, steps=np.int64(3), batch=np.int32(2), rollout=np.array([2, 3]), lr=np.float64(2e-3), lr_drops=np.array([[0.25, 0.1]]), seed=np.uint8(0), guard=np.True_)
    assert len(small(path=path)[1].losses) == 3


def test_a_wrapped_model_is_the_same_run(tmp_path):
    "Its checkpoint does not know of the wrapper."
    make = lambda: NCAModel(6, 8, generator=torch.Generator().manual_seed(0))
    plain, history = small()
    wrapped, same = small(model=torch.nn.DataParallel(make()), path=tmp_path / "run.safetensors")
    assert same.losses == history.losses and torch.equal(wrapped.module.update[2].weight, plain.update[2].weight)
    again, third = small(path=tmp_path / "run.safetensors")
    assert third.losses == history.losses and torch.equal(again.update[2].weight, plain.update[2].weight)


def test_frozen_weights_stay_and_make_another_run(tmp_path):
    def half():
        model = NCAModel(6, 8, generator=torch.Generator().manual_seed(0))
        model.update[0].requires_grad_(False)
        return model
    path, before = tmp_path / "run.safetensors", half().update[0].weight
    model, history = small(model=half(), path=path)
    assert torch.equal(model.update[0].weight, before) and not torch.equal(model.update[2].weight, half().update[2].weight)
    again, same = small(model=half(), path=path)
    assert same.losses == history.losses and torch.equal(again.update[2].weight, model.update[2].weight)
    with pytest.raises(ValueError, match="model differs .learning"): small(path=path)


class Canary:
    "Unpickled, it leaves a file."
    def __init__(self, path): self.path = str(path)
    def __reduce__(self): return (open, (self.path, "w"))


def broken(path, how):
    data = path.read_bytes()
    tensors = load_file(path)
    with safe_open(path, "pt") as f: notes = f.metadata()
    write = lambda t, n: save_file({k: v.contiguous() for k, v in t.items()}, path, n)
    if how == "truncated": path.write_bytes(data[:-50])
    elif how == "header only": path.write_bytes(data[:20])
    elif how == "empty": path.write_bytes(b"")
    elif how == "text": path.write_text("hello")
    elif how == "pickle": path.write_bytes(pickle.dumps(Canary(path.parent / "unpickled")))
    elif how == "no notes": write(tensors, None)
    elif how == "notes of others": write(tensors, {"format": "pt"})
    elif how == "notes not JSON": write(tensors, {**notes, "record": "{"})
    elif how == "facts no dict": write(tensors, {**notes, "facts": "[]"})
    elif how == "no dice": write({k: v for k, v in tensors.items() if k != "dice"}, notes)
    elif how == "half of Adam": write({k: v for k, v in tensors.items() if k != "adam.1.exp_avg"}, notes)
    elif how == "other shape": write({**tensors, "source.states": tensors["source.states"][:4]}, notes)
    elif how == "too much": write({**tensors, "extra": torch.zeros(1)}, notes)


WAYS = ["truncated", "header only", "empty", "text", "pickle", "no notes", "notes of others", "notes not JSON", "facts no dict", "no dice",
        "half of Adam", "other shape", "too much"]

@pytest.mark.parametrize("how", WAYS)
def test_strange_checkpoints_are_refused_and_nothing_changes(tmp_path, how):
    path = tmp_path / "run.safetensors"
    run(path)
    broken(path, how)
    before = path.read_bytes()
    model, pool, loss = parts(seed=7)
    start = model.update[0].weight.clone()
    with pytest.raises(ValueError, match="checkpoint .*run.safetensors"): train(model, pool, loss, callbacks=[Checkpoint(path)], **QUICK)
    assert torch.equal(model.update[0].weight, start) and path.read_bytes() == before and not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("changes", [dict(steps=13), dict(batch=3), dict(lr=1e-3), dict(seed=1), dict(rollout=(3, 6)), dict(guard=False)])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, changes):
    run(tmp_path / "run.safetensors")
    with pytest.raises(ValueError, match="is of another run"): run(tmp_path / "run.safetensors", **changes)


def test_a_checkpoint_of_another_model_or_pool_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    run(path)
    _, pool, loss = parts()
    with pytest.raises(ValueError, match="another run: model"): train(NCAModel(8, 8), pool, loss, callbacks=[Checkpoint(path)], **QUICK)
    with pytest.raises(ValueError, match="not whole: source.states"):
        train(NCAModel(8, 16), SamplePool(seed_state(1, 8, 12), 17), loss, callbacks=[Checkpoint(path)], **QUICK)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(IsADirectoryError, match="expected a file"): Checkpoint(tmp_path)


def test_tensorboard_gets_loss_and_pictures(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    model, pool, loss = parts()
    history = train(model, pool, loss, callbacks=[TensorBoardLog(tmp_path, every=5)], **QUICK)
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    assert [e.value for e in events.Scalars("loss")] == pytest.approx(history.losses)
    assert sorted({e.step for e in events.Images("creatures")}) == [0, 5, 10]


def test_without_tensorboard_the_error_says_what_to_install(tmp_path, monkeypatch):
    import builtins
    real = builtins.__import__
    def missing(name, *args, **kwargs):
        if name.startswith("torch.utils.tensorboard"): raise ImportError("no tensorboard")
        return real(name, *args, **kwargs)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="pip install tensorboard"): TensorBoardLog(tmp_path)


def test_kernels_of_another_kind_under_the_same_name_are_another_run(tmp_path):
    source, settings = SeedSource(torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))), dict(steps=2, batch=1, rollout=1, progress=False)
    blur = torch.full((3, 3), 1 / 9)
    def go(kernel): train(NCAModel(3, 8, kernels={"identity": None, "blur": kernel}, padding="wrap", alive_threshold=None), source, lambda x: x.square().mean((1, 2, 3)),
                          callbacks=[Checkpoint(tmp_path / "run")], **settings)
    go(blur)
    go(blur.clone())
    with pytest.raises(ValueError, match="another run: model differs .senses"): go(blur / 2)
