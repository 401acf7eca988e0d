"""Bad input gets a sentence at the door. Every public function, method and command is called with good arguments, one of
which is then replaced by a bad one: thousands of cases, made from the signatures. What comes must be an error that a
caller can expect, it must name the argument, and nothing may have been written."""
import importlib
import inspect
import math
import pkgutil
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from fastcore.script import CliError
from PIL import Image
from torch import nn

import nca_tutorial
from nca_tutorial.core import NCAModel, dense_step, seed_state
from nca_tutorial.differentiable import Lenia, RuleNet
from nca_tutorial.engine import draw_keys
from nca_tutorial.perception import kernel_bank
from nca_tutorial.texture import StyleLoss, RandomFeatures, noise_state, texture_model

MODULES = [m.name for m in pkgutil.iter_modules(nca_tutorial.__path__) if not m.name.startswith("_")]
SIDE = 13


def body():
    t = torch.zeros(4, SIDE, SIDE)
    t[:, 4:9, 4:9] = 0.8
    return t


def creature(): return NCAModel(generator=torch.Generator().manual_seed(0))
def state(): return seed_state(1, 16, SIDE)
def wool(): return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
def world(): return torch.zeros(8, 8, dtype=torch.bool)
def error(x): return x.square().mean((1, 2, 3))
def glider(): return {(0, 1), (1, 2), (2, 0), (2, 1), (2, 2)}


# a good value for each parameter that has no default, and for those whose default takes long
GENERAL = dict(
    x=state, target=body, model=creature, steps=lambda: 1, fire=lambda: torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool), kernels=kernel_bank,
    update=lambda: creature().update, padding=lambda: "zeros", alive_threshold=lambda: 0.1, keys=lambda: draw_keys(2), rate=lambda: 0.5,
    every=lambda: 1, engine=lambda: "dense", key=lambda: draw_keys(1)[0], step=lambda: dense_step, name=lambda: "gecko", world=world,
    rule=lambda: "B3/S23", text=lambda: "x = 1, y = 1\no!", cells=glider, number=lambda: 30, picture=lambda: Image.new("RGBA", (8, 8), "red"),
    angle=lambda: 0.0, channels=lambda: 4, seed=lambda: 0, sizes=lambda: (SIDE,), example=wool, batch=lambda: 1, losses=lambda: [2.0, 1.0],
    frames=lambda: np.zeros((2, 4, 4)), pictures=lambda: [np.zeros((4, 4))], path=lambda: "film.gif", folder=lambda: "made", a=wool, b=wool,
    errors=lambda: torch.ones(3), healed=lambda: dict(disc=1.0), measured=lambda: dict(error={"200": 1e-4}, healed={}), wounds=lambda: 1,
    ages=lambda: (1, 2), times=lambda: (1, 2), heal=lambda: 1, age=lambda: 1, grown=lambda: 1, state=lambda: torch.zeros(1, 1, 32, 32),
    emoji=lambda: "\N{SNAIL}", candidates=lambda: 1, settle=lambda: 1, watch=lambda: 1, source=lambda: None, loss=lambda: error, parameters=lambda: list(creature().parameters()),
    below=lambda: 0.1, left=lambda: texture_model("tiny"), right=lambda: texture_model("tiny"), blend=lambda: torch.ones(1, 1, 16, 16), limit=lambda: 2,
    count=lambda: 1, size=lambda: 16, teacher=lambda: (lambda w: w), student=lambda: (lambda w: w), net=RuleNet, pairs=lambda: [(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8))], max_steps=lambda: 1,
    lenia=lambda: Lenia(32, 4), rgb=wool, rates=lambda: (0.5,), angles=lambda: (30.0,), damage=lambda: ("disc",), n=lambda: 1, u=lambda: torch.zeros(3), lives=lambda: 1,
    data=lambda: b"", contents=lambda: {"a": b""}, value=lambda: 1, images=lambda: ".", zoo=lambda: "zoo", color=lambda: "red", most=lambda: 0.95,
    pattern=lambda: world()[:3, :3], group=lambda: "", born=lambda: {3}, survive=lambda: {2, 3}, points=lambda: 16, text_=str, pool=lambda: 4,
    callbacks=lambda: (), progress=lambda: False, lessons=lambda: 0, quiet=lambda: True)
SPECIAL = {
    "texture.graft": dict(x=lambda: noise_state(1, 4, 16)), "texture.to_texture": dict(x=lambda: noise_state(1, 12, 16)), "texture.noise_state": dict(channels=lambda: 12),
    "texture.load_example": dict(picture=lambda: Image.new("RGB", (96, 96), "red")), "texture.NoisePool": dict(channels=lambda: 12), "texture.StyleLoss": dict(target=wool, features=lambda: RandomFeatures(1, 4)), "texture.texture_quality": dict(picture=wool),
    "texture.learn_texture": dict(model=lambda: texture_model("tiny"), style=lambda: StyleLoss(wool(), RandomFeatures(1, 4)), grid=lambda: 8),
    "zoo.measure_texture": dict(model=lambda: texture_model("tiny")), "zoo.recipe": dict(name=lambda: "gecko-grow"), "zoo.read_card": dict(name=lambda: "gecko-grow"),
    "life.pattern": dict(name=lambda: "glider"), "life.place": dict(size=lambda: (8, 8)), "life.to_world": dict(size=lambda: (8, 8)), "life.LifeRule": dict(size=lambda: (8, 8)),
    "life.elementary_run": dict(start=lambda: torch.tensor([0, 1, 0])),
    "diagnostics.break_one": dict(name=lambda: "Sobel halved"), "diagnostics.silence_channels": dict(channels=lambda: [5]),
    "differentiable.Lenia": dict(size=lambda: 32, radius=lambda: 4), "differentiable.check_state": dict(size=lambda: (32, 32)), "differentiable.lenia_kernel": dict(radius=lambda: 4),
    "differentiable.random_blobs": dict(size=lambda: 32, patch=lambda: 8, knots=lambda: 4),
    "engine.active_rollout": dict(keys=lambda: draw_keys(2), rate=lambda: 0.5), "engine.graph_rollout": {}, "core.NCAModel": dict(kernels=lambda: ("identity", "sobel_x")), "core.seed_state": {},
    "perception.kernel_bank": {}, "pool.SamplePool": dict(seed=lambda: state(), size=lambda: 4, damage=lambda: None), "train.SeedSource": dict(seed=lambda: state()),
    "regeneration.recovery": dict(damage=lambda: (lambda x, g=None: x)), "regeneration.regenerate": dict(damage=lambda: "disc", steps=None),
    "playground.export_web": dict(path=lambda: "made.json"), "playground.export_html": dict(path=lambda: "made.html"), "viz.as_image": dict(picture=lambda: np.zeros((4, 4))),
    "train.CSVLog": dict(path=lambda: "log.csv"), "train.Checkpoint": dict(path=lambda: "run"), "ground.check_size": dict(size=lambda: 3), "ground.write_file": dict(path=lambda: "file"),
    "targets.emoji_target": {}, "texture.style_features": dict(weights=lambda: "random"), "texture.texture_model": dict(kind=lambda: "tiny"), "texture.RandomFeatures": dict(levels=lambda: 1, width=lambda: 4), "ground.check_state": dict(channels=lambda: 16),
    "diagnostics.report": dict(sizes=lambda: (SIDE,)), "cli.nca_grow": dict(picture=lambda: "picture.png"), "cli.nca_texture": dict(picture=lambda: "picture.png", size=lambda: 64, grid=lambda: 64),
}
# what is no door: values and records that other functions of the package make, and checks that take anything
LEFT = {"diagnostics.Finding", "diagnostics.Findings", "train.History", "train.Run", "train.Guard", "train.Callback", "train.StopTraining", "train.Preview",
        "ground.check_count", "ground.check_flag", "ground.check_number", "ground.check_seed", "ground.check_generator", "ground.check_function", "ground.check_path", "ground.check_state",
        "texture.VGGFeatures", "train.train", "train.TensorBoardLog", "zoo.train_creature"}
# words that are not read as what they are for: a title, a label, a text for readers
FREE = {"diagnostics.observe.name", "diagnostics.observe.group", "ground.check_size.name", "ground.write_files.contents", "ground.write_file.data", "viz.Film.alt",
        "playground.Playground.name", "playground.export_web.name", "playground.export_html.name", "viz.show_images.titles", "viz.show_images.rows",
        "viz.show_images.suptitle"}
# what looks bad and is not: numbers of any shape, or not a number, where each is looked at by itself; the computer itself; no background
FINE = {("differentiable.growth", "u"), ("differentiable.centre_of_mass", "state"), ("texture.sorted_distance", "a"), ("texture.sorted_distance", "b"),
        ("ground.make_generator", "device"), ("ground.make_generator", "offset"), ("viz.show_images", "background"), ("pictures.measure", "ages"), ("zoo.measure_texture", "ages")}
# one of several, under its own name
ONE = {"viz.show_images.pictures": "picture", "viz.Film.frames": "picture", "train.EarlyStop.below": "stop_at"}
# these have a default, which takes long
SLOW = {"steps", "batch", "wounds", "ages", "progress", "times", "heal", "age", "grown", "lives", "lessons", "quiet", "rates", "angles", "candidates", "settle", "watch",
        "max_steps", "points", "pool"}
NONSENSE = object()
BAD = {
    int: ["x", 2.5, math.nan, [], {}, 1j, NONSENSE, -10**30, b"1", True, torch.ones(2)],
    float: ["x", math.nan, [], {}, 1j, NONSENSE, b"1", torch.ones(2)],
    bool: ["x", 2.5, [], NONSENSE],
    str: [3, 2.5, [], NONSENSE, b"x", "no such thing"],
    torch.Tensor: ["x", 3, [], {}, NONSENSE, np.zeros(3), torch.zeros(0), torch.zeros(1, 1, 1, 1, 1, 1), torch.zeros(3, dtype=torch.complex64), torch.tensor(math.nan)],
    torch.Generator: ["x", 3, [], NONSENSE, np.random.default_rng(0)],
    Sequence: [3, NONSENSE, math.nan, 1j, [NONSENSE], ["no such thing"], [[]]],
    Iterable: [3, NONSENSE, math.nan, [NONSENSE]],
    tuple: [3.5, NONSENSE, "x", [NONSENSE, NONSENSE], [math.nan, math.nan], (1, 2, 3, 4, 5)],
    Callable: [3, [], NONSENSE, math.nan],
    Path: [3, [], NONSENSE, b"x", ""],
    NCAModel: [3, [], NONSENSE, "no such thing", nn.Linear(2, 2)],
    nn.Module: [3, [], NONSENSE, "x"],
    set: [3, NONSENSE, "x", [NONSENSE], {math.nan}, {(1, 2, 3)}],
    dict: [3, [], NONSENSE, "x", {"x": NONSENSE}],
    Mapping: [3, [], NONSENSE, "x"],
}
KINDS = {frozenset: set, list: Sequence, object: None}


def kinds(annotation):
    "The types that an annotation allows."
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is inspect.Parameter.empty: return set()
    if origin is None: return {KINDS.get(annotation, annotation)}
    if origin in (typing.Union, type(int | str)): return set().union(*(kinds(part) for part in parts))
    return {KINDS.get(origin, origin)}


def bad_values(annotation):
    "What is bad for each of the types that an annotation allows."
    allowed = kinds(annotation)
    lists = [BAD[kind] for kind in allowed if kind in BAD]
    if not lists: return []
    fine = lambda value, kind: any(value is other or (type(value) is type(other) and repr(value) == repr(other)) for other in BAD[kind])
    rest = [value for value in lists[0] if all(fine(value, kind) for kind in allowed if kind in BAD)] if len(lists) > 1 else lists[0]
    return list(rest) if type(None) in allowed else [*rest, None]


def doors():
    for module in MODULES:
        of = importlib.import_module(f"nca_tutorial.{module}")
        for name in of.__all__:
            thing = getattr(of, name)
            if callable(thing) and f"{module}.{name}" not in LEFT: yield f"{module}.{name}", thing


def good(door, thing):
    signature, found = inspect.signature(thing), {}
    for name, p in signature.parameters.items():
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL): continue
        made = SPECIAL.get(door, {}).get(name) or (GENERAL.get(name) if p.default is p.empty or name in SLOW else None)
        if made: found[name] = made()
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()) and door.split(".")[1] in ("grow", "persist", "regenerate", "learn_texture"):
        found |= dict(steps=0, batch=1, progress=False)
    return found


def cases():
    for door, thing in doors():
        for name, p in inspect.signature(thing).parameters.items():
            if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) or f"{door}.{name}" in FREE: continue
            annotation = typing.get_type_hints(thing.__init__ if inspect.isclass(thing) else thing).get(name, inspect.Parameter.empty)
            for value in bad_values(annotation):
                # a default is fine, and so is any word where a file may bear it
                if value is None and p.default is None: continue
                if door.startswith("cli.") and name in ("out", "checkpoint") and isinstance(value, str): continue
                yield door, name, value


def brief(value): return " ".join(repr(value).split())[:30] if value is not NONSENSE else "object"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGBA", (64, 64), "red").save(tmp_path / "picture.png")
    return tmp_path


def test_good_arguments_are_good(folder):
    "Or the others would prove nothing"
    failed = []
    for door, thing in doors():
        if door.startswith("cli.") or door in ("pictures.grow_creature",): continue
        try: thing(**good(door, thing))
        except Exception as e: failed.append(f"{door}: {type(e).__name__}: {e}")
    assert not failed, "\n".join(failed)


def test_bad_arguments_are_named_and_leave_nothing(folder):
    things, wrong, count = dict(doors()), [], 0
    before = sorted(folder.iterdir())
    for door, name, value in cases():
        count += 1
        words = f"{door}({name}={brief(value)})"
        try: things[door](**good(door, things[door]) | {name: value})
        except (ValueError, TypeError, OSError, CliError) as e:
            if ONE.get(f"{door}.{name}", name) not in str(e): wrong.append(f"{words}: not named in {type(e).__name__}: {str(e)[:90]}")
        except Exception as e: wrong.append(f"{words}: {type(e).__name__}: {str(e)[:90]}")
        else:
            if (door, name) not in FINE: wrong.append(f"{words}: taken")
        if sorted(folder.iterdir()) != before:
            wrong.append(f"{words}: left {[f.name for f in folder.iterdir() if f not in before]}")
            before = sorted(folder.iterdir())
    assert count > 2000, count
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong)
