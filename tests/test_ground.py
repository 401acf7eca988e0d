"Checks that say what came, and files that are whole whatever happens."
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

from nca_tutorial import ground
from nca_tutorial.ground import *

PAIR = textwrap.dedent("""
    import sys
    from nca_tutorial.ground import write_files
    for n in range(10**6): write_files(sys.argv[1], {"a": str(n).encode(), "b": str(n).encode()})
""")


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_writer_leaves_the_old_pair_or_the_new_one(tmp_path):
    for wait in (0.002, 0.011, 0.017, 0.026, 0.038):
        job = subprocess.Popen([sys.executable, "-c", PAIR, str(tmp_path)])
        while not (tmp_path / "b").exists(): time.sleep(0.01)
        time.sleep(wait)
        job.send_signal(signal.SIGKILL)
        job.wait()
        settle(tmp_path)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_two_writers_never_mix_their_files(tmp_path):
    jobs = [subprocess.Popen([sys.executable, "-c", PAIR.replace("str(n)", f"str({k} + 2 * n)").replace("10**6", "200"),
                              str(tmp_path)]) for k in (0, 1)]
    assert [job.wait() for job in jobs] == [0, 0]
    settle(tmp_path)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("step", range(1, 8))
def test_every_step_of_a_saving_may_be_the_last(tmp_path, monkeypatch, step):
    "Each call that touches the folder dies in turn; the pair agrees, and nothing is left beside"
    write_files(tmp_path, {"a": b"old", "b": b"old"})
    calls = []
    def dying(real):
        def call(*args, **named):
            calls.append(real)
            if len(calls) == step: raise KeyboardInterrupt
            return real(*args, **named)
        return call
    with monkeypatch.context() as m:
        m.setattr(os, "replace", dying(os.replace))
        m.setattr(os, "fsync", dying(os.fsync))
        m.setattr(ground, "_leave_note", dying(ground._leave_note))
        try: write_files(tmp_path, {"a": b"new", "b": b"new"})
        except KeyboardInterrupt: pass
        else: assert step > 5
    settle(tmp_path)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} in [dict(a=s, b=s) for s in (b"old", b"new")]


@pytest.mark.parametrize("note", ['{"../out": ".nca-1.part"}', '{"a": "b"}', '{"a": ".nca-../../b"}', "[]", "", "{", '{"a": 1}', '{"": ".nca-1.part"}'])
def test_a_strangers_note_moves_nothing(tmp_path, note):
    folder = tmp_path / "in"
    write_files(folder, {"a": b"1", "b": b"2", ".nca-1.part": b"3"})
    (folder / ".nca-ready.json").write_text(note)
    settle(folder)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == {"a": b"1", "b": b"2", ".nca-1.part": b"3"}
    assert [f.name for f in tmp_path.iterdir()] == ["in"]


def test_what_dead_programs_left_is_cleared_and_what_lives_is_not(tmp_path):
    for name, age in ((".nca-old.part", 3600), (".nca-young.part", 1), ("mine.part", 3600)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    write_file(tmp_path / "a", b"")
    assert sorted(f.name for f in tmp_path.iterdir()) == [".nca-young.part", "a", "mine.part"]


def test_no_file_is_written_through_a_link(tmp_path):
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "in").mkdir()
    for name in ("a", ".a.part", ".nca-ready.json"): os.symlink(tmp_path / "theirs", tmp_path / "in" / name)
    write_files(tmp_path / "in", {"a": b"1", "b": b"2"})
    assert (tmp_path / "theirs").read_bytes() == b"theirs" and not (tmp_path / "in/a").is_symlink()
    assert (tmp_path / "in/a").read_bytes() + (tmp_path / "in/b").read_bytes() == b"12"


def test_a_full_disk_leaves_the_old_files(tmp_path, monkeypatch):
    write_files(tmp_path, {"a": b"1", "b": b"2"})
    def full(_): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"): write_files(tmp_path, {"a": b"3", "b": b"4"})
    with pytest.raises(OSError, match="out: nothing can be written into .*No space"): check_path("out", tmp_path / "c")
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("bad, error", [(None, TypeError), (3, TypeError), (b"a", TypeError), ("", ValueError), ("a\0b", ValueError), ("/", ValueError),
                                        ("x" * 256, ValueError), ("\ud800", ValueError), ("é" * 128, ValueError), ("d/" + "x" * 300 + "/a", ValueError)])
def test_paths_that_cannot_be(tmp_path, monkeypatch, bad, error):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match="^out: "): check_path("out", bad)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="no pipes of this kind")
def test_a_pipe_is_no_file_to_write(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="out: .*pipe"): check_path("out", tmp_path / "pipe")


@pytest.mark.parametrize("value", [None, "3", 3.0, True, np.bool_(True), np.float64(3), np.zeros(1, int), torch.tensor(3), [3], 3j, object()])
def test_what_is_no_whole_number(value):
    with pytest.raises(TypeError, match="steps: got .*; expected a whole number"): check_count("steps", value)


@pytest.mark.parametrize("value", [7, np.int8(7), np.uint64(7)])
def test_what_is_a_whole_number(value):
    assert json.dumps(check_count("steps", value, 7, 7)) == "7"


def test_an_error_is_one_short_line():
    with pytest.raises(TypeError) as e: check_count("steps", ["\n" * 100] * 1000)
    assert len(str(e.value)) < 150 and "\n" not in str(e.value)
    with pytest.raises(ValueError) as e: check_number("lr", 10**400)
    assert len(str(e.value)) < 150


@pytest.mark.parametrize("x, error", [(torch.zeros(1, 4, 3), ValueError), (torch.zeros(1, 5, 3, 3), ValueError), (torch.zeros(1, 4, 0, 3), ValueError),
                                      (torch.zeros(1, 4, 3, 3).bool(), TypeError), (torch.zeros(1, 4, 3, 3, dtype=torch.complex64), TypeError),
                                      (torch.full((1, 4, 3, 3), torch.inf), ValueError), (torch.zeros(1, 4, 3, 3, device="meta"), ValueError), (np.zeros((1, 4, 3, 3)), TypeError)])
def test_what_is_no_state(x, error):
    with pytest.raises(error, match="^grid: "): check_state(x, 4, "grid")


def test_large_finite_states_are_states():
    "Their sum is infinite, they are not"
    x = torch.full((1, 4, 2, 2), 3e38)
    assert check_state(x, 4) is x
