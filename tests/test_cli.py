"""`nca_grow` as a user meets it: in a shell of its own, on pictures of every kind, interrupted, and misused."""
import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fastcore.script import CliError
from PIL import Image

import nca_tutorial.cli as cli
from nca_tutorial.core import NCAModel
from nca_tutorial.pictures import obstacles, seat
from nca_tutorial.targets import load_target
from nca_tutorial.train import Checkpoint, History

COMMAND = [str(Path(sys.executable).parent / "nca_grow")]
SMALL = ["--size", "8", "--padding", "2", "--shortest", "6", "--longest", "8"]
LEFT = ["config.json", "film.webp", "life.png", "loss.png", "model.safetensors", "result.json"]


def run(*args, cwd):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*COMMAND, *map(str, args)], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def test_a_picture_becomes_a_creature(tmp_path):
    Image.new("LA", (30, 50), (200, 255)).save(tmp_path / "a grey door.png")
    done = run("a grey door.png", "--out", "my doors/door", "--steps", 25, "--quiet", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "my doors" / "door"
    assert sorted(p.name for p in folder.iterdir()) == LEFT
    result = json.loads((folder / "result.json").read_text())
    assert result["picture"] == "a grey door.png" and result["training_steps"] == result["steps"] == 25 and not result["interrupted"]
    assert result["rollout"] == [6, 8] and 0 < result["error"]["2000"] <= 1e3 and result["verdict"].startswith("not grown") and result["seconds"] > 0 and result["versions"]["torch"]
    assert NCAModel.from_pretrained(folder).hidden == 128
    with Image.open(folder / "film.webp") as film: assert film.n_frames > 40 and film.size[0] == film.size[1] >= 200
    with Image.open(folder / "loss.png") as curve: assert curve.size[0] > 300
    assert str(Path("my doors/door")) in done.stdout and "25 steps" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows has another Ctrl-C")
def test_ctrl_c_leaves_a_whole_creature(tmp_path):
    Image.new("RGB", (9, 9), "teal").save(tmp_path / "t.png")
    job = subprocess.Popen([*COMMAND, "t.png", "--steps", "100000", *SMALL], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                           env={**os.environ, "OMP_NUM_THREADS": "1"},
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))    # a shell's background jobs ignore Ctrl-C
    os.set_blocking(job.stderr.fileno(), False)
    seen = b""
    while b"loss" not in seen and job.poll() is None:    # the bar shows a loss: training is under way
        seen += job.stderr.read() or b""
        time.sleep(0.1)
    job.send_signal(signal.SIGINT)
    out, err = job.communicate()
    assert job.returncode == 0, err.decode()
    result = json.loads((tmp_path / "creature" / "result.json").read_text())
    assert result["interrupted"] and 0 < result["training_steps"] < 100000 and b"stopped early" in out
    assert sorted(p.name for p in (tmp_path / "creature").iterdir()) == LEFT


@pytest.mark.parametrize("experiment", ["persist", "regenerate"])
def test_a_killed_run_goes_on(tmp_path, experiment):
    Image.new("RGB", (9, 9), "teal").save(tmp_path / "t.png")
    task = ["t.png", "--experiment", experiment, "--batch", 4, "--checkpoint", "t.run", "--steps", 150, *SMALL]
    whole = run(*task, "--checkpoint", "whole.run", "--out", "whole", "--quiet", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    job = subprocess.Popen([*COMMAND, *map(str, task)], cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    while not (tmp_path / "t.run").exists() and job.poll() is None: time.sleep(0.02)
    job.kill()
    job.wait()
    assert not (tmp_path / "creature").exists()                   # killed before it had finished, nothing half is there
    assert run(*task, "--quiet", cwd=tmp_path).returncode == 0
    assert (tmp_path / "creature" / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert json.loads((tmp_path / "creature" / "result.json").read_text())["experiment"] == experiment


MISTAKES = [
    (["none.png"], "there is no file 'none.png'"), (["notes.txt"], "not a picture"), (["p.png", "--size", "2"], "size: got 2"),
    (["p.png", "--steps", "-1"], "steps: got -1"), (["p.png", "--steps", "0"], "nothing is saved"), (["p.png", "--batch", "0"], "batch: got 0"),
    (["p.png", "--shortest", "9", "--longest", "4"], "--longest: got 4; expected 9 or more"), (["p.png", "--lr", "nan"], "lr"), (["p.png", "--out", "notes.txt"], "notes.txt"),
    (["p.png", "--experiment", "fly"], "experiment: got 'fly'"), (["p.png", "--checkpoint", "notes.txt"], "no checkpoint"),
    (["empty.png"], "it is empty"), (["p.png", "--size", "big"], "--size: got 'big'; expected a whole number"), ([], "picture")]

EACH_IN_A_FORK = """
import json, os, sys
from nca_tutorial.cli import nca_grow
for i, args in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if not child:
        os.chdir(str(i))
        for stream in (sys.stdout, sys.stderr): os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
        sys.argv = ["nca_grow", *args]
        nca_grow()
        sys.exit()
    open(os.path.join(str(i), "status"), "w").write(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""

@pytest.fixture(scope="module")
def mistaken(tmp_path_factory):
    "A folder for each mistake, in which it was made; one process loads PyTorch for all"
    top = tmp_path_factory.mktemp("mistakes")
    for i in range(len(MISTAKES)):
        folder = top / str(i)
        folder.mkdir()
        (folder / "notes.txt").write_text("not a picture")
        Image.new("RGB", (9, 9), "teal").save(folder / "p.png")
        Image.new("RGBA", (9, 9)).save(folder / "empty.png")
    (top / "each.py").write_text(EACH_IN_A_FORK)
    asked = json.dumps([[*args, "--quiet"] for args, _ in MISTAKES])
    subprocess.run([sys.executable, "each.py", asked], cwd=top, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    return top


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each mistake is made in a fork")
@pytest.mark.parametrize("i", range(len(MISTAKES)), ids=[words for _, words in MISTAKES])
def test_mistakes_get_one_clear_line_and_leave_nothing(mistaken, i):
    folder, words = mistaken / str(i), MISTAKES[i][1]
    said = (folder / "said").read_text()
    assert (folder / "status").read_text() == "2" and words in said and said.count("\n") == 1, said
    assert not list(folder.rglob("*.safetensors")) and not list(folder.rglob("result.json"))


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    Image.new("RGB", (9, 9), "teal").save(tmp_path / "p.png")
    done = run("p.png", "--out", "p.png/inside", "--steps", 10**6, cwd=tmp_path)
    assert done.returncode != 0 and "out: 'p.png/inside' cannot be written" in done.stderr, done.stderr


def test_help_explains_every_setting(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("--out", "--size", "--padding", "--steps", "--batch", "--shortest", "--longest", "--lr", "--seed", "--experiment", "--checkpoint", "--quiet", "picture"):
        assert word in done.stdout


# ---------------------------------------------------------------- at the door, in this process

class Trained(Exception): "The door let this through."


def shell(command, *args):
    "A command as a shell starts it -> status, what it printed, what it complained of"
    path, said, told = os.path.abspath("started.py"), io.StringIO(), io.StringIO()
    sys_argv, sys.argv = sys.argv, [command.__name__, *map(str, args)]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            exec(compile("command()", path, "exec"), {"__name__": "__main__", "__file__": path, "command": command})
            return 0, said.getvalue(), told.getvalue()
    except SystemExit as e: return e.code, said.getvalue(), told.getvalue()
    finally: sys.argv = sys_argv


def files(): return {str(f): f.read_bytes() if f.is_file() else None for f in Path().rglob("*")}


@pytest.fixture
def door(tmp_path, monkeypatch):
    "A folder with pictures of every kind, and nothing is trained"
    def trained(*args, **how): raise Trained
    for name in ("grow_creature", "learn_texture"): monkeypatch.setattr(cli, name, trained)
    for name in cli.EXPERIMENTS: monkeypatch.setitem(cli.EXPERIMENTS, name, trained)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (128, 128), "teal").save("p.png")
    Image.new("RGBA", (9, 9)).save("empty.png")
    Path("notes.txt").write_text("not a picture")
    Path("torn.png").write_bytes(Path("p.png").read_bytes()[:60])
    Path("folder").mkdir()
    if hasattr(os, "mkfifo"): os.mkfifo("fifo")
    return tmp_path


NO_COUNTS = ["-1", "0", "1.5", "nan", "inf", "", "big", "0x10", "1e5", "9" * 30, "9" * 5000]
NO_NUMBERS = ["1e30", "nan", "inf", "-inf", "0", "-1", "", "x", "1,5", "1e400"]
NO_FILES = ["folder", "fifo", "", "p.png", "notes.txt/run", "a" * 256, "out", "out/film.webp", "out/film.webp/run", "x/" * 3000 + "run"]
BAD = {"--size": [*NO_COUNTS, "3", "60000"], "--batch": [*NO_COUNTS, "99999999999"], "--steps": NO_COUNTS, "--lr": NO_NUMBERS,
       "--seed": ["-1", "99999999999999999999", str(2**64), "x", "", "1.0", "nan"],
       "--out": ["notes.txt", "notes.txt/in", "", "a" * 300, "fifo", "/dev/null", "x/" * 3000], "--checkpoint": [*NO_FILES, "notes.txt"],
       "picture": ["none.png", "notes.txt", "torn.png", "folder", "fifo", "", "empty.png", "/dev/null", "a" * 300, "p.png/x"]}
BAD_GROW = {"--padding": ["-1", "100000000", "501", "x", "", "nan"], "--shortest": NO_COUNTS, "--longest": [*NO_COUNTS, "39"], "--experiment": ["", "fly", "Grow"]}
BAD_TEXTURE = {"--grid": [*NO_COUNTS, "15", "55", "60000"], "--kind": ["", "huge"], "--features": ["", "none.safetensors", "notes.txt", "folder", "fifo"]}
GOOD = {"--size": ["64", "96"], "--batch": ["1", "64"], "--steps": ["1", "1000000000"], "--lr": ["1", "1e-9"], "--seed": ["0", "10000000000000000000", str(2**64 - 1)],
        "--out": ["out", "folder"], "--checkpoint": ["run", "new/run.st", "out/run"], "picture": ["p.png"]}
GOOD_GROW = {"--padding": ["0", "100"], "--shortest": ["1", "300"], "--longest": ["300", "400"], "--experiment": ["grow", "persist", "regenerate"]}
GOOD_TEXTURE = {"--grid": ["56", "100"], "--kind": ["full", "tiny", "micro"], "--features": ["random"]}
unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="devices and pipes of Unix")


def words(option, value): return [value] if option == "picture" else [option, value]


def each_mistake():
    for command, more in ((cli.nca_grow, BAD_GROW), (cli.nca_texture, BAD_TEXTURE)):
        for option, values in (BAD | more).items():
            for value in values:
                if not (command is cli.nca_texture and value == "empty.png"): yield command, option, value


@unix
def test_each_mistake_names_its_option_in_one_line(door):
    before = files()
    for command, option, value in each_mistake():
        args = words(option, value) if option == "picture" else ["p.png", "--out", "out", *words(option, value)]
        status, said, told = shell(command, *args)
        assert status == 2 and not said and told.count("\n") == 1 and told.startswith(f"{option}: "), (command.__name__, args, told)
        assert len(told) < 800 and files() == before, args


@unix
def test_any_mixture_is_refused_for_one_of_its_mistakes_or_goes_on(door):
    before, dice, told_of = files(), random.Random(0), set()
    for _ in range(300):
        command = dice.choice([cli.nca_grow, cli.nca_texture])
        bad, good = (BAD | BAD_GROW, GOOD | GOOD_GROW) if command is cli.nca_grow else (BAD | BAD_TEXTURE, GOOD | GOOD_TEXTURE)
        chosen = ["picture", *dice.sample([o for o in good if o != "picture"], dice.choice([1, 2, 3, 5, 8]))]
        wrong = {o for o in chosen if dice.random() < 0.3}
        if command is cli.nca_texture: wrong.discard("picture")
        args = [w for o in chosen for w in words(o, dice.choice((bad if o in wrong else good)[o]))]
        try: status, said, told = shell(command, *args)
        except Trained:
            assert not wrong - {"--checkpoint"}, args           # which files clash depends on --out
            continue
        option = told.partition(":")[0]
        assert status == 2 and told.count("\n") == 1 and (option in wrong or option in {"--longest", "--shortest"} & bad.keys()), (args, told)
        assert files() == before
        told_of.add(option)
    assert len(told_of) > 8


SAID = [("grow", ["--size", "60000"], "--size: got 60000; expected 1024 or less"), ("grow", ["--padding", "100000000"], "--padding: got 100000000; expected 500 or less"),
        ("grow", ["--batch", "99999999999"], "--batch: got 99999999999; expected 1024 or less"), ("grow", ["--lr", "1e30"], "--lr: got 1e+30; expected 1 or less"),
        ("grow", ["--steps", "-1"], "--steps: got -1; expected 0 or more"), ("grow", ["--lr", "nan"], "--lr: got nan; expected a finite number"),
        ("grow", ["--seed", "99999999999999999999"], f"--seed: got 99999999999999999999; expected {2**64 - 1} or less"),
        ("grow", ["--lr", "x"], "--lr: got 'x'; expected a number"), ("grow", ["--lr"], "--lr: got no value; expected one"),
        ("grow", ["--shortest", "57"], "--shortest: got 57; expected 56 or less, as longest is"), ("grow", ["--fly"], "unrecognized arguments: --fly"),
        ("texture", ["--batch", "65"], "--batch: got 65; expected 64 or less"), ("texture", ["--grid", "40"], "--grid: got 40; expected 56 or more: the features look at 56 x 56 pixels"),
        ("texture", ["--out", "notes.txt"], "--out: 'notes.txt' is a file; expected a folder"), ("grow", ["--out", ""], "--out: got ''; expected the path of a folder"),
        ("grow", ["--checkpoint", "creature"], "--checkpoint: 'creature' is where the results go, 'creature'; expected another file"),
        ("grow", ["--checkpoint", "creature/result.json"], "--checkpoint: 'creature/result.json' is where the results go, 'creature'; expected another file"),
        ("grow", ["--checkpoint", "a", "--out", "a/b"], "--checkpoint: 'a' is where the results go, 'a/b'; expected another file"),
        ("grow", ["--checkpoint", "a", "--out", "a-3"], "--checkpoint: 'a-3' is where the results go, 'a-3'; expected another file"),
        ("grow", ["--checkpoint", "p.png"], "--checkpoint: 'p.png' is the picture; expected another file")]

@pytest.mark.parametrize("command, args, line", SAID, ids=lambda v: v if isinstance(v, str) else None)
def test_what_is_said(door, command, args, line): assert shell(getattr(cli, f"nca_{command}"), "p.png", *args) == (2, "", line + "\n")


def test_stages_that_are_there_must_be_checkpoints(door):
    Path("run-4").write_text("my diary")
    assert shell(cli.nca_grow, "p.png", "--checkpoint", "run") == (2, "", "--checkpoint: 'run-4' is there, and no checkpoint\n")
    with pytest.raises(Trained): shell(cli.nca_grow, "p.png", "--checkpoint", "run", "--steps", "5")       # one stage, one file


def test_python_callers_get_the_names_of_python(door):
    for how, line in ((dict(size=np.int64(3)), "size: got 3"), (dict(experiment=["grow"]), "experiment: got"), (dict(checkpoint=3), "checkpoint: got 3"),
                      (dict(steps=True), "steps: got True"), (dict(picture=None), "picture: got None"), (dict(out=None), "out: got None")):
        with pytest.raises(CliError, match=f"^{line}"): cli.nca_grow(**{"picture": "p.png", **how})


@unix
@pytest.mark.parametrize("args, option", [([], "--out"), (["--checkpoint", "a/run", "--out", "folder"], "--out")])
def test_a_disk_that_is_full_is_told_before_training(door, args, option):
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try: status, _, told = shell(cli.nca_grow, "p.png", *args)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2 and told.startswith(f"{option}: ") and "cannot be written (File too large)" in told and not Path("a").exists() and not Path("creature").exists()


def test_a_checkpoint_needs_its_room_too(door, monkeypatch):
    asked = {}
    real = cli._try_folder
    monkeypatch.setattr(cli, "_try_folder", lambda name, path, folder, need: asked.update({name: need}) or real(name, path, folder, need))
    for args, slots, side in (([], 32, 36), (["--experiment", "persist"], 1024, 36), (["--experiment", "grow", "--size", "8", "--padding", "2"], 0, 12)):
        with pytest.raises(Trained): shell(cli.nca_grow, "p.png", "--checkpoint", "run", *args)
        assert asked["checkpoint"] == 2**20 + slots * 64 * side**2


def test_more_than_the_memory_holds_is_refused(door, monkeypatch):
    monkeypatch.setattr(cli, "_memory", lambda: 2**30)
    state, longest = 64 * 36**2, 56
    assert shell(cli.nca_grow, "p.png", "--experiment", "grow", "--batch", "300") == \
        (2, "", f"--batch: got 300; expected {2**30 // state // longest} or less, what the memory here holds\n")
    status, _, told = shell(cli.nca_grow, "p.png", "--size", "700")
    assert status == 2 and told.startswith("--size: a training step keeps ")


# ---------------------------------------------------------------- rollouts that reach

@pytest.mark.parametrize("args", [["--experiment", "grow"], ["--experiment", "persist"], ["--steps", "9"], ["--experiment", "regenerate", "--lr", "1e-3"]], ids=" ".join)
def test_rollouts_that_do_not_reach_every_cell_are_refused_with_the_least_that_do(door, args, root):
    gecko = root / "nbs" / "images" / "gecko.png"
    status, _, told = shell(cli.nca_grow, gecko, "--size", "128", *args)
    least = int(told.split("expected ")[1].split()[0])
    assert status == 2 and told.startswith("--longest: got 56; expected ") and "6768 of 9517 cells are too far" in told
    target = seat(load_target(gecko, 128, 6))
    assert obstacles(target, least) == [] and len(obstacles(target, least - 1)) == 1 and not Path("creature").exists()
    assert shell(cli.nca_grow, gecko, "--size", "128", *args, "--longest", least - 1)[0] == 2
    with pytest.raises(Trained): shell(cli.nca_grow, gecko, "--size", "128", *args, "--longest", least)


def test_the_recipe_says_what_is_in_the_way_and_goes_on(door, capsys):
    island = np.zeros((24, 24, 4), np.uint8)
    island[9:15, 9:15] = island[:4, :4] = 255
    Image.fromarray(island).save("islands.png")
    with pytest.raises(Trained): cli.nca_grow("islands.png")
    assert capsys.readouterr().err.startswith("It has 2 parts that do not touch.")


# ---------------------------------------------------------------- results

@pytest.fixture
def quick(door, monkeypatch):
    "Training and measuring take no time: weights hold the seed, and `lived` is what `measure` finds"
    lived = dict(error={"200": 1e-4, "1000": 2e-4, "2000": 3e-4}, healed={})
    def trained(target, *args, seed, **how):
        model = NCAModel()
        for p in model.parameters(): torch.nn.init.constant_(p, seed / 1e4)
        return model, History([0.5] * 30, 1.0)
    monkeypatch.setattr(cli, "grow_creature", trained)
    for name in cli.EXPERIMENTS: monkeypatch.setitem(cli.EXPERIMENTS, name, trained)
    monkeypatch.setattr(cli, "measure", lambda *args, ages, **how: json.loads(json.dumps(lived)))
    monkeypatch.setattr(cli, "error_over_time", lambda *args, **how: torch.full((41,), 1e-3))
    monkeypatch.setattr(cli, "_life", lambda *args: torch.rand(3, 4, 8, 8))
    return lived


def whole(folder):
    "Whether a folder holds one run's files, or none at all"
    names = sorted(f.name for f in folder.iterdir()) if folder.exists() else []
    if not names: return True
    seed = json.loads((folder / "result.json").read_text())["seed"]
    return names == LEFT and abs(NCAModel.from_pretrained(folder).update[0].bias[0].item() - seed / 1e4) < 1e-6


HEALED = dict(disc=0.99, square=0.5, half=0.0625)

@pytest.mark.parametrize("experiment, errors, healed, says, ends", [
    ("grow", (1e-4, 1e-1, 2e-1), {}, "grown, does not stay: error 1.0e-01 at step 1,000", "2.0e-01 at step 2,000"),
    ("persist", (1e-4, 2e-4, 9e-2), {}, "grown, does not stay: error 9.0e-02 at step 2,000", "9.0e-02 at step 2,000"),
    ("persist", (1e-4, 2e-4, 3e-4), {}, "grown, stays", "2.0e-04 at step 1,000, 3.0e-04 at step 2,000"),
    ("regenerate", (1e-4, 2e-4, 3e-4), HEALED, "grown, stays, heals only 50% of square, 6% of half", "; healed disc 99%, square 50%, half 6%"),
    ("regenerate", (1e-4, 2e-4, 9e-2), HEALED, "grown, does not stay: error 9.0e-02 at step 2,000", "; healed disc 99%, square 50%, half 6%")])
def test_result_and_closing_line_say_how_it_lives_on(quick, experiment, errors, healed, says, ends):
    quick.update(error=dict(zip(("56" if experiment == "grow" else "200", "1000", "2000"), errors)), healed=healed)
    status, said, _ = shell(cli.nca_grow, "p.png", "--experiment", experiment, "--steps", "30")
    result = json.loads(Path("creature/result.json").read_text())
    assert status == 0 and result["verdict"] == says and result["error"]["2000"] == errors[2] and result["healed"] == healed
    assert said.startswith(f"creature: {says} (error ") and ends in said and said.count("\n") == 1


def test_a_creature_that_is_gone_is_no_success_however_small_it_was(quick):
    "In a large world an empty grid's error is small, too"
    Image.new("RGB", (9, 9), "teal").save("small.png")
    target = load_target("small.png", 4, 100)
    nothing = target.square().mean().item()
    assert nothing < 1e-3
    quick.update(error={"200": nothing / 50, "1000": nothing / 40, "2000": nothing})
    assert shell(cli.nca_grow, "small.png", "--size", "4", "--padding", "100")[0] == 0
    assert json.loads(Path("creature/result.json").read_text())["verdict"] == f"gone by step 2,000: error {nothing:.1e}, and an empty grid's is {nothing:.1e}"


@pytest.mark.parametrize("longest", [56, 1000, 1500, 2500])
def test_a_creature_is_asked_at_its_own_age_and_at_1000_and_2000(quick, monkeypatch, longest):
    asked = []
    monkeypatch.setattr(cli, "measure", lambda *args, ages, **how: asked.extend(ages) or dict(error={str(a): 0.5 if a < longest else 1e-4 for a in ages}, healed={}))
    assert shell(cli.nca_grow, "p.png", "--experiment", "grow", "--longest", longest)[0] == 0
    assert asked == sorted({longest, 1000, 2000}) and json.loads(Path("creature/result.json").read_text())["verdict"].startswith("grown")


def test_a_result_of_another_picture_is_never_touched(quick):
    Image.new("RGB", (128, 128), "red").save("other.png")
    assert shell(cli.nca_grow, "p.png", "--seed", 1)[0] == 0
    before = files()
    assert shell(cli.nca_grow, "other.png") == (2, "", "--out: 'creature' holds a result of 'p.png'; expected another folder\n")
    assert shell(cli.nca_texture, "p.png", "--out", "creature")[0] == 2 and files() == before
    assert shell(cli.nca_grow, "p.png", "--seed", 2)[0] == 0 and whole(Path("creature"))          # the same picture: replaced wholly
    assert json.loads(Path("creature/result.json").read_text())["seed"] == 2
    Path("folder/config.json").write_text("{}")
    assert shell(cli.nca_grow, "p.png", "--out", "folder")[2] == "--out: 'folder' holds config.json, and no result of this command; expected another folder\n"


def test_ctrl_c_while_measuring_leaves_nothing(quick, monkeypatch):
    def stopped(*args, **how): raise KeyboardInterrupt
    monkeypatch.setattr(cli, "measure", stopped)
    assert shell(cli.nca_grow, "p.png") == (130, "", "stopped; nothing is saved\n") and not Path("creature").exists()


def test_names_that_a_terminal_cannot_show_do_not_spoil_the_end(quick, monkeypatch):
    "By then all is saved"
    class Ascii(io.StringIO): encoding = "ascii"
    monkeypatch.setattr(sys, "stdout", Ascii())
    cli.nca_grow("p.png", out="größe \udcff")
    assert sys.stdout.getvalue().startswith("gr\\xf6\\xdfe \\udcff: grown, stays")


@unix
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT], ids=lambda s: s.name)
def test_a_run_that_is_killed_while_it_saves_leaves_a_whole_result_or_none(quick, sign, monkeypatch, capfd):
    "In forks, so that nothing is loaded again and nothing is trained"
    from nca_tutorial.ground import settle
    for name in ("plot_loss", "plot_life"): monkeypatch.setattr(cli, name, lambda *args: None)     # saving is nearly all that is left
    monkeypatch.setattr(cli, "_png", lambda figure: bytes(10**5))
    cli.nca_grow("p.png")
    began = time.monotonic()
    cli.nca_grow("p.png")
    folder, dice, lasts = Path("creature"), random.Random(0), time.monotonic() - began
    seen = set()
    for _ in range(15):
        child = os.fork()
        if not child:
            stopped = []
            def stop(*args):
                stopped.append(True)
                raise KeyboardInterrupt
            signal.signal(signal.SIGINT, stop)
            try:
                while not stopped: cli.nca_grow("p.png", seed=dice.randrange(1000))   # a set that is half there is ended first
            finally: os._exit(130)
        time.sleep(dice.uniform(0.5, 4) * lasts)
        os.kill(child, sign)
        os.waitpid(child, 0)
        if folder.exists() and sign == signal.SIGKILL: settle(folder)
        for part in folder.glob(".nca-*.part"): part.unlink()              # what a killed program leaves beside
        assert whole(folder), sorted(os.listdir(folder))
        if (folder / "result.json").exists(): seen.add(json.loads((folder / "result.json").read_text())["seed"])
    assert len(seen) > 1                                                   # some of them had saved a result of their own
