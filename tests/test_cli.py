"""`nca_grow` as a user meets it: in a shell of its own, on pictures of every kind, interrupted, and misused."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from nca_tutorial.core import NCAModel

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
    (["p.png", "--shortest", "9", "--longest", "4"], "rollout: got 4"), (["p.png", "--lr", "nan"], "lr"), (["p.png", "--out", "notes.txt"], "notes.txt"),
    (["p.png", "--experiment", "fly"], "experiment: got 'fly'"), (["p.png", "--checkpoint", "notes.txt"], "no checkpoint"),
    (["empty.png"], "it is empty"), (["p.png", "--size", "big"], "invalid"), ([], "picture")]

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
    assert (folder / "status").read_text() != "0" and words in said and "Traceback" not in said, said
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
