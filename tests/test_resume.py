"""A run that is killed at any moment and started again gives bit for bit what an undisturbed run gives; strange checkpoints are refused."""
import csv, json, multiprocessing, os, pickle, random, signal, time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nca_tutorial.core import NCAModel, seed_state
from nca_tutorial.growing import pixel_loss
from nca_tutorial.pool import SamplePool
from nca_tutorial.regeneration import cut_disc
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
