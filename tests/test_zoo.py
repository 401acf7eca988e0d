"""The packaged creatures: their cards tell the truth, their recipes make them again."""
import json, math, shutil

import pytest
import torch

from nca_tutorial.core import NCAModel, _packaged
from nca_tutorial.growing import error_over_time
from nca_tutorial.regeneration import DAMAGE, recovery
from nca_tutorial.targets import load_target
from nca_tutorial.texture import PHOTOS, load_example, noise_state, texture_quality, to_texture
from nca_tutorial import zoo
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


# ---------------------------------------------------------------- what is wrong, in words

def tiny(root, folder, **how): return train_creature("gecko-grow", folder, root / "nbs" / "images", **dict(steps=1, rollout=(4, 5), progress=False, judge=unjudged) | how)


@pytest.mark.parametrize("change, words", [
    (dict(loss=math.nan), "card.json in .*gecko-grow.*: loss is nan; expected a finite number"), (dict(measured=dict(error={"100": math.inf})), "measured: error: 100 is inf"),
    (dict(recipe=dict(lr_drops=[[0.5, math.nan]])), "recipe: lr_drops is nan"), (dict(name="mushroom-grow"), "is the card of 'mushroom-grow'"), (dict(versions=None), "lacks versions")])
def test_a_card_that_cannot_be_right_is_refused(creatures, tmp_path, monkeypatch, change, words):
    card = read_card("gecko-grow") | change
    if change == dict(versions=None): del card["versions"]
    (tmp_path / "gecko-grow").mkdir()
    (tmp_path / "gecko-grow" / "card.json").write_text(json.dumps(card))
    monkeypatch.setattr(zoo, "_packaged", lambda: {"gecko-grow": tmp_path / "gecko-grow"})
    with pytest.raises(ValueError, match=words): read_card("gecko-grow")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"loss": 1e999}'])
def test_a_card_that_is_none_is_refused(tmp_path, monkeypatch, text):
    (tmp_path / "card.json").write_text(text)
    monkeypatch.setattr(zoo, "_packaged", lambda: {"gecko-grow": tmp_path})
    with pytest.raises(ValueError, match="^card.json in .* (is not JSON|lacks name)"): read_card("gecko-grow")
    (tmp_path / "card.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no card.json"): read_card("gecko-grow")


@pytest.mark.parametrize("wrong", [math.nan, math.inf, [1.0, -math.inf]])
def test_nothing_is_written_with_a_card_that_holds_no_number(root, tmp_path, wrong):
    with pytest.raises(ValueError, match="^card: measured: error is (nan|inf|-inf); expected a finite number"): tiny(root, tmp_path, judge=lambda *_: dict(error=wrong))
    assert not list(tmp_path.iterdir())


def test_weights_and_card_are_written_together(root, tmp_path, monkeypatch):
    sets = []
    monkeypatch.setattr(zoo, "write_files", lambda folder, contents: sets.append((folder, sorted(contents))))
    tiny(root, tmp_path)
    assert sets == [(tmp_path / "gecko-grow", ["card.json", "config.json", "model.safetensors"])]


@pytest.mark.parametrize("how, error, words", [
    (dict(step=3), ValueError, "^step: it is no setting of this recipe; expected some of picture, size"), (dict(judge="well"), TypeError, "^judge: got 'well'"), (dict(steps=-1), ValueError, "^steps: got -1"),
    (dict(checkpoint="."), ValueError, "^checkpoint: "), (dict(rollout=(9, 4)), ValueError, "got 4; expected 9 or more"), (dict(lr=math.nan), ValueError, "^lr: got nan")])
def test_mistakes_in_a_trial_are_told_before_it(root, tmp_path, how, error, words):
    with pytest.raises(error, match=words): tiny(root, tmp_path, **how)
    assert not list(tmp_path.iterdir())


def test_files_are_tried_before_the_training(root, tmp_path, creatures, monkeypatch):
    def trained(*args, **how): raise AssertionError("it was trained")
    for name, (_, settings) in zoo.EXPERIMENTS.items(): monkeypatch.setitem(zoo.EXPERIMENTS, name, (trained, settings))
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="^zoo: "): tiny(root, tmp_path / "file")
    with pytest.raises(NotADirectoryError, match="^checkpoint: "): tiny(root, tmp_path, checkpoint=tmp_path / "file" / "run")
    shutil.copytree(creatures / "gecko-persist", tmp_path / "gecko-persist")
    (tmp_path / "run-1").mkdir()                                  # where the first of two parts would be kept
    with pytest.raises(IsADirectoryError, match="^checkpoint: .*run-1"): train_creature("gecko-anywhere", tmp_path, root / "nbs" / "images", tmp_path / "run")


def test_a_parent_is_looked_for_in_the_zoo_and_nowhere_else(root, tmp_path, monkeypatch):
    "A folder and a name look like an address on the Hub"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="^zoo: 'mine' holds no 'gecko-grow'"): train_creature("gecko-persist", "mine", root / "nbs" / "images")


@pytest.mark.parametrize("wrong, words", [(dict(lives=0), "lives: got 0"), (dict(ages=()), "ages: got"), (dict(ages=(5, 2)), "ages: got 2; expected 5 or more"), (dict(seed=-1), "seed: got -1"),
    (dict(example=torch.zeros(4, 9, 9)), "example: got .4, 9, 9."), (dict(example=None), "example: got"), (dict(example=torch.full((3, 64, 64), math.nan)), "example: .*NaN")])
def test_a_texture_is_measured_by_what_can_be_measured(wrong, words):
    model = NCAModel(12, 8, kernels=("identity",), alive_threshold=None)
    with pytest.raises((ValueError, TypeError), match=f"^{words}"): measure_texture(**dict(model=model, example=torch.zeros(3, 64, 64), ages=(1,)) | wrong)


@pytest.mark.parametrize("name", [None, 3, ["gecko-grow"], "", torch.zeros(2)])
def test_names_are_words(name):
    with pytest.raises(ValueError, match="^name: got"): recipe(name)
    with pytest.raises(FileNotFoundError, match="^name: no creature"): read_card(name)
