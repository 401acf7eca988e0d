"""The packaged creatures: their cards tell the truth, their recipes make them again."""
import json, math, shutil

import pytest
import torch

from nca_tutorial.core import NCAModel, _packaged
from nca_tutorial.growing import error_over_time
from nca_tutorial.regeneration import DAMAGE, recovery
from nca_tutorial.targets import load_target
from nca_tutorial.texture import PHOTOS, load_example, noise_state, texture_quality, to_texture
from nca_tutorial.zoo import CREATURES, NAMES, TEXTURES, measure, measure_texture, read_card, recipe, train_creature


@pytest.fixture
def creatures(root): return root / "nca_tutorial" / "creatures"


def unjudged(model, target): return {}

PACKAGED = [n for n in _packaged() if n not in TEXTURES]
SURE = ("half", "tail", "scatter", "noise")    # damage that `gecko-anywhere` survives nearly always; of discs and squares it survives most

def test_every_creature_has_a_recipe(creatures):
    assert {p.name for p in creatures.iterdir()} == set(_packaged()) == set(NAMES)
    assert {"gecko-grow", "gecko-persist", "gecko-anywhere", "gecko-regenerate"} <= set(PACKAGED)
    for name in _packaged(): assert (recipe(name)["parent"] or name) in _packaged(), f"{name} is packaged without its parent"


@pytest.mark.parametrize("name", PACKAGED)
def test_card_and_recipe_agree(name, creatures):
    card = read_card(name)
    assert card["name"] == name and card["recipe"] == json.loads(json.dumps(recipe(name)))
    parent = card["recipe"]["parent"]
    assert (parent is None) == name.endswith("-grow") and (parent is None or CREATURES.index(parent) < CREATURES.index(name))   # trained before
    assert math.isfinite(card["loss"]) and card["seconds"] > 60 and set(card["versions"]) == {"nca_tutorial", "torch"} and card["threads"] >= 1
    assert sum(p.stat().st_size for p in (creatures / name).iterdir()) <= 40_000
    assert {p.name for p in (creatures / name).iterdir()} == {"card.json", "config.json", "model.safetensors"}


@pytest.mark.parametrize("name", TEXTURES)
def test_textures_are_as_good_as_their_cards_say(name, root, creatures):
    "From other noise than the card's."
    card, model, g = read_card(name), NCAModel.from_pretrained(name), torch.Generator().manual_seed(7)
    assert card["name"] == name and card["recipe"] == json.loads(json.dumps(recipe(name)))
    assert sum(p.stat().st_size for p in (creatures / name).iterdir()) <= 40_000
    picture = card["recipe"]["picture"]
    example = load_example(picture if picture in PHOTOS else root / "nbs" / "images" / picture, card["recipe"]["size"])
    quality = texture_quality(to_texture(model(noise_state(1, model.channels, 96, g), 300, g))[0].detach(), example)
    measured = card["measured"]
    assert quality["ratio"] < 0.5 * measured["noise"] and quality["ratio"] < 2 * measured["ratio"]["500"]
    assert quality["floor"] == pytest.approx(measured["floor"], rel=1e-3)


@pytest.mark.parametrize("name", ["gravel", "scales", "gravel-tiny"])
def test_a_texture_recipe_trains(name, root, creatures, tmp_path):
    if parent := recipe(name)["parent"]: shutil.copytree(creatures / parent, tmp_path / parent)
    made = train_creature(name, tmp_path, root / "nbs" / "images", steps=2, rollout=(4, 5), pool=4, progress=False, judge=unjudged)["recipe"]
    assert json.loads(json.dumps(made)) == read_card(name)["recipe"] | {"steps": 2, "rollout": [4, 5], "pool": 4}
    assert NCAModel.from_pretrained(tmp_path / name).padding == "wrap"


def test_measure_texture_says_what_is():
    example = load_example("gravel", 64)
    still = NCAModel(12, 8, kernels=("identity",), alive_threshold=None)
    result = measure_texture(still, example, lives=1, ages=(1, 3))
    assert result["ratio"]["1"] == result["ratio"]["3"] and 0.5 < result["ratio"]["1"] / result["noise"] < 2


@pytest.mark.parametrize("name", PACKAGED)
def test_creatures_are_as_good_as_their_cards_say(name, root):
    "Grown anew, with other dice than the card's."
    card, model = read_card(name), NCAModel.from_pretrained(name)
    target = load_target(root / "nbs" / "images" / card["recipe"]["picture"], card["recipe"]["size"], card["recipe"]["padding"])
    error = error_over_time(model, target, 100, every=100, batch=2, generator=torch.Generator().manual_seed(7))[-1].item()
    assert card["measured"]["error"]["100"] / 5 < error < 5 * card["measured"]["error"]["100"]
    experiment = name.split("-")[1]
    if experiment != "grow": assert card["measured"]["error"]["10000"] <= {"persist": 2e-4, "anywhere": 1.5e-3, "regenerate": 1.5e-3}[experiment]
    if experiment in ("anywhere", "regenerate"):
        healed = card["measured"]["healed"]
        assert set(healed) == set(DAMAGE) and min(healed[kind] for kind in (DAMAGE if experiment == "regenerate" else SURE)) >= 0.95
        for kind in SURE: assert recovery(model, target, DAMAGE[kind], wounds=3, generator=torch.Generator().manual_seed(7))[1].median() <= 1.5e-3


@pytest.mark.parametrize("name", ["gecko-grow", "gecko-persist", "gecko-anywhere", "gecko-regenerate", "mushroom-regenerate", "butterfly-regenerate"])
def test_a_recipe_trains(name, root, creatures, tmp_path):
    "At reduced length; the card holds the recipe of the packaged creature, but for what was reduced, and the run is reproducible."
    if parent := recipe(name)["parent"]: shutil.copytree(creatures / parent, tmp_path / parent)
    cards, weights = [], []
    for _ in range(2):
        cards.append(train_creature(name, tmp_path, root / "nbs" / "images", steps=3, rollout=(8, 9), pool=24, progress=False, judge=unjudged)
                     if parent else train_creature(name, tmp_path, root / "nbs" / "images", steps=3, rollout=(8, 9), progress=False, judge=unjudged))
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    packaged, made = read_card(name)["recipe"], json.loads((tmp_path / name / "card.json").read_text())["recipe"]
    reduced = {"steps": 3, "rollout": [8, 9]} | ({"pool": 24} if parent else {})
    if "before" in packaged: reduced["before"] = [part | {k: v for k, v in reduced.items() if k in part} for part in packaged["before"]]
    assert made == packaged | reduced and weights[0] == weights[1] and cards[0]["loss"] == cards[1]["loss"]
    assert NCAModel.from_pretrained(tmp_path / name).channels == 16


def test_a_checkpoint_lets_a_recipe_go_on(root, tmp_path):
    go = lambda: train_creature("gecko-grow", tmp_path, root / "nbs" / "images", tmp_path / "run.safetensors", steps=2, rollout=(4, 5), progress=False, judge=unjudged)
    first = go()
    assert (tmp_path / "run.safetensors").exists() and go()["loss"] == first["loss"]


def test_both_parts_of_a_recipe_are_kept_and_go_on(root, creatures, tmp_path):
    shutil.copytree(creatures / "gecko-persist", tmp_path / "gecko-persist")
    def go(run): return train_creature("gecko-anywhere", tmp_path, root / "nbs" / "images", run, steps=2, rollout=(4, 5), pool=24, progress=False, judge=unjudged)
    first, plain = go(tmp_path / "run.safetensors"), go(None)
    weights = NCAModel.from_pretrained(tmp_path / "gecko-anywhere").update[2].weight
    assert {p.name for p in tmp_path.glob("run*")} == {"run.safetensors", "run-1.safetensors"}
    (tmp_path / "run.safetensors").unlink()                       # stopped after the first part
    again = go(tmp_path / "run.safetensors")
    assert again["loss"] == first["loss"] == plain["loss"]
    assert torch.equal(weights, NCAModel.from_pretrained(tmp_path / "gecko-anywhere").update[2].weight)


def test_measure_says_what_is(root):
    target = load_target(root / "nbs" / "images" / "gecko.png", 8, 2)
    lazy = NCAModel(generator=torch.Generator().manual_seed(0))
    result = measure(lazy, target, wounds=2, ages=(2, 4))
    assert set(result["error"]) == {"2", "4"} and result["error"]["2"] == result["error"]["4"] and set(result["healed"].values()) == {0.0}


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="name: got 'cat'; expected one of gecko-grow"): recipe("cat")
    with pytest.raises(FileNotFoundError, match="no creature 'cat'; packaged are .*gecko-grow"): read_card("cat")
    with pytest.raises(ValueError, match="name: got 'cat'"): train_creature("cat", ".")


def test_a_missing_parent_is_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="gecko-grow"): train_creature("gecko-persist", tmp_path, root / "nbs" / "images", steps=1)
