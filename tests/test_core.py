"""The model against an independent oracle, its symmetries for random models, what it refuses, and how it is kept."""
import base64
import copy
import inspect
import json
import math
import os
import pickle
import shutil
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file

from nca_tutorial import core
from nca_tutorial.core import NCAModel, alive_mask, dense_step, seed_state, to_rgb, to_rgba
from nca_tutorial.ground import write_files
from nca_tutorial.perception import kernel_bank, pad, perceive
from nca_tutorial.targets import load_target

BANKS = [("identity", "sobel_x", "sobel_y"), ("identity", "sobel_x", "sobel_y", "laplacian"), ("laplacian", "identity"),
         ("sobel_y", "identity", "sobel_x")]


def random_model(seed, scale=0.1, **config):
    g = torch.Generator().manual_seed(seed)
    model = NCAModel(generator=g, **config)
    for p in model.update[2].parameters(): torch.nn.init.uniform_(p, -scale, scale, generator=g)
    return model


# --- the oracle: plain loops in float64, written from the equations and not from the package -----------------------------------

def neighbour(x, channel, row, col, wrap):
    rows, cols = x.shape[1:]
    if wrap: return x[channel, row % rows, col % cols]
    return x[channel, row, col] if 0 <= row < rows and 0 <= col < cols else 0.0


def slope_x(x, c, i, j, wrap):
    at = lambda di, dj: neighbour(x, c, i + di, j + dj, wrap)
    return (at(-1, 1) - at(-1, -1) + 2 * at(0, 1) - 2 * at(0, -1) + at(1, 1) - at(1, -1)) / 8


def slope_y(x, c, i, j, wrap):
    at = lambda di, dj: neighbour(x, c, i + di, j + dj, wrap)
    return (at(1, -1) - at(-1, -1) + 2 * at(1, 0) - 2 * at(-1, 0) + at(1, 1) - at(-1, 1)) / 8


def bulge(x, c, i, j, wrap):
    at = lambda di, dj: neighbour(x, c, i + di, j + dj, wrap)
    corners, edges = at(-1, -1) + at(-1, 1) + at(1, -1) + at(1, 1), at(-1, 0) + at(1, 0) + at(0, -1) + at(0, 1)
    return (corners + 2 * edges - 12 * at(0, 0)) / 8


SENSES = {"identity": lambda x, c, i, j, wrap: x[c, i, j], "sobel_x": slope_x, "sobel_y": slope_y, "laplacian": bulge}


def is_alive(x, i, j, threshold, wrap):
    return any(neighbour(x, 3, i + di, j + dj, wrap) > threshold for di in (-1, 0, 1) for dj in (-1, 0, 1))


def oracle_step(x, fire, kernels, w1, b1, w2, b2, threshold, wrap):
    channels, rows, cols = x.shape
    new = x.copy()
    for i in range(rows):
        for j in range(cols):
            if not fire[i, j]: continue
            seen = np.array([SENSES[k](x, c, i, j, wrap) for c in range(channels) for k in kernels])
            new[:, i, j] += w2 @ np.maximum(w1 @ seen + b1, 0) + b2
    if threshold is None: return new
    out = np.zeros_like(new)
    for i in range(rows):
        for j in range(cols):
            if is_alive(x, i, j, threshold, wrap) and is_alive(new, i, j, threshold, wrap): out[:, i, j] = new[:, i, j]
    return out


@pytest.mark.parametrize("padding", ["zeros", "wrap"])
@pytest.mark.parametrize("kernels", BANKS, ids="+".join)
@pytest.mark.parametrize("threshold", [0.1, None], ids=["masked", "open"])
def test_fifty_steps_agree_with_the_oracle(padding, kernels, threshold):
    model = random_model(1, 0.05, channels=6, hidden=10, kernels=kernels, padding=padding, alive_threshold=threshold)
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in model.update.parameters())
    g = torch.Generator().manual_seed(2)
    x = torch.rand(1, 6, 7, 8, generator=g) * (torch.rand(1, 1, 7, 8, generator=g) < 0.3)
    fires = torch.rand(50, 1, 1, 7, 8, generator=g) < 0.5
    theirs = x[0].double().numpy()
    with torch.no_grad():
        for fire in fires:
            x = model.step(x, fire)
            theirs = oracle_step(theirs, fire[0, 0].numpy(), kernels, w1[:, :, 0, 0], b1, w2[:, :, 0, 0], b2, threshold, padding == "wrap")
    assert np.abs(theirs).max() > 0.1, "the oracle's world has died: this run would prove nothing"
    np.testing.assert_allclose(x[0].numpy(), theirs, atol=1e-5)


# --- properties of random models ------------------------------------------------------------------------------------------------

@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(3, 9), cols=st.integers(3, 9), dy=st.integers(-5, 5), dx=st.integers(-5, 5))
def test_a_shift_commutes_with_a_step_on_a_torus(seed, rows, cols, dy, dx):
    model, g = random_model(seed, padding="wrap", channels=5, hidden=8), torch.Generator().manual_seed(seed)
    x, fire = torch.rand(2, 5, rows, cols, generator=g), torch.rand(2, 1, rows, cols, generator=g) < 0.5
    shift = lambda t: torch.roll(t, (dy, dx), (2, 3))
    torch.testing.assert_close(model.step(shift(x), shift(fire)), shift(model.step(x, fire)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), quarters=st.integers(0, 3), padding=st.sampled_from(["zeros", "wrap"]))
def test_a_quarter_turn_commutes_with_a_turned_step(seed, quarters, padding):
    model, g = random_model(seed, padding=padding, channels=5, hidden=8), torch.Generator().manual_seed(seed)
    x, fire = torch.rand(1, 5, 6, 9, generator=g), torch.rand(1, 1, 6, 9, generator=g) < 0.5
    turn = lambda t: torch.rot90(t, quarters, (2, 3))
    torch.testing.assert_close(model.step(turn(x), turn(fire), angle=90.0 * quarters), turn(model.step(x, fire)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(0, 6))
def test_life_spreads_one_cell_a_step(seed, steps):
    x = random_model(seed, 1.0)(seed_state(size=17), steps, torch.Generator().manual_seed(seed))
    rows, cols = x.detach().abs().amax((0, 1)).nonzero().T
    if len(rows): assert max((rows - 8).abs().max(), (cols - 8).abs().max()) <= steps


def test_samples_of_a_batch_do_not_see_each_other():
    model, g = random_model(0), torch.Generator().manual_seed(0)
    x, fire = torch.rand(3, 16, 6, 6, generator=g), torch.rand(3, 1, 6, 6, generator=g) < 0.5
    together = model.step(x, fire)
    for b in range(3): torch.testing.assert_close(model.step(x[b:b + 1], fire[b:b + 1]), together[b:b + 1])


def test_the_same_generator_gives_the_same_life_in_pieces():
    model = random_model(0)
    whole = model(seed_state(size=12), 20, torch.Generator().manual_seed(3))
    g = torch.Generator().manual_seed(3)
    in_pieces = model(model(seed_state(size=12), 7, g), 13, g)
    assert torch.equal(whole, in_pieces)
    frames = model.trajectory(seed_state(size=12), 20, every=5, generator=torch.Generator().manual_seed(3))
    assert frames.shape == (5, 1, 16, 12, 12) and torch.equal(frames[-1], whole) and not frames.requires_grad


def test_evaluation_fires_like_training():
    model = random_model(0)
    train, evaluate = (m(seed_state(size=12), 9, torch.Generator().manual_seed(1)) for m in (model.train(), model.eval()))
    assert torch.equal(train, evaluate)


# --- bad input ------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("config, error, words", [
    (dict(channels=3), ValueError, "channels: got 3"), (dict(channels=0, alive_threshold=None), ValueError, "channels: got 0"),
    (dict(channels=16.0), TypeError, "channels: got 16.0"), (dict(channels=True), TypeError, "channels"), (dict(hidden=-1), ValueError, "hidden: got -1"),
    (dict(fire_rate=-0.1), ValueError, "fire_rate: got -0.1"), (dict(fire_rate=1.01), ValueError, "fire_rate"),
    (dict(fire_rate=math.nan), ValueError, "fire_rate"), (dict(fire_rate="half"), TypeError, "fire_rate"),
    (dict(kernels=()), TypeError, "kernels"), (dict(kernels=("sobel",)), ValueError, "sobel"), (dict(padding="same"), ValueError, "padding: got 'same'"),
    (dict(output_bias="no"), TypeError, "output_bias: got 'no'"),
    (dict(output_bias=1), TypeError, "output_bias: got 1"),
    (dict(alive_threshold=math.inf), ValueError, "alive_threshold"), (dict(engine="warp"), ValueError, "engine: got 'warp'"),
])
def test_settings_are_checked_at_the_door(config, error, words):
    with pytest.raises(error, match=words): NCAModel(**config)


@pytest.mark.parametrize("call, error, words", [
    (lambda m, x: m(x.numpy()), TypeError, "x: got ndarray"), (lambda m, x: m(x[0]), ValueError, "x: got shape"),
    (lambda m, x: m(x[:, :15]), ValueError, "expected \\(B, 16, H, W\\)"), (lambda m, x: m(x[..., :0]), ValueError, "nothing empty"),
    (lambda m, x: m(x.long()), TypeError, "int64"), (lambda m, x: m(x / 0), ValueError, "NaN or infinite"),
    (lambda m, x: m(x, steps=-1), ValueError, "steps: got -1"), (lambda m, x: m(x, steps=1.5), TypeError, "steps: got 1.5"),
    (lambda m, x: m(x, angle=math.nan), ValueError, "angle"), (lambda m, x: m.trajectory(x, 4, every=0), ValueError, "every: got 0"),
    (lambda m, x: m.step(x, torch.ones(1, 1, 9, 9)), TypeError, "torch.float32"),
    (lambda m, x: m.step(x, torch.ones(9, 9, dtype=torch.bool)), ValueError, "fire: got shape \\(9, 9\\)"),
    (lambda m, x: m.step(x, "all"), TypeError, "fire: got str"),
])
def test_states_are_checked_at_the_door(call, error, words):
    with pytest.raises(error, match=words): call(NCAModel(), seed_state(size=9))


@settings(max_examples=60, deadline=None)
@given(shape=st.lists(st.integers(0, 5), min_size=0, max_size=5), dtype=st.sampled_from([torch.float32, torch.int64, torch.bool]))
def test_any_tensor_runs_or_is_refused_by_name(shape, dtype):
    x = torch.zeros(shape, dtype=dtype)
    fits = len(shape) == 4 and shape[1] == 4 and 0 not in shape and dtype == torch.float32
    if fits: assert NCAModel(4, 4)(x, 2).shape == x.shape
    else:
        with pytest.raises((ValueError, TypeError), match="^x: "): NCAModel(4, 4)(x, 2)


def test_pictures_of_states_need_four_channels():
    for f in (to_rgb, to_rgba, lambda x: alive_mask(x[None])):
        with pytest.raises(ValueError, match="x: got shape"): f(torch.zeros(3, 5, 5))


# --- keeping --------------------------------------------------------------------------------------------------------------------

@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), channels=st.integers(4, 12), hidden=st.integers(1, 16), kernels=st.sampled_from(BANKS), rate=st.floats(0, 1),
       padding=st.sampled_from(["zeros", "wrap"]), threshold=st.sampled_from([None, 0.0, 0.1]), bias=st.booleans())
def test_what_is_saved_comes_back(tmp_path_factory, seed, channels, hidden, kernels, rate, padding, threshold, bias):
    folder = tmp_path_factory.mktemp("creature")
    model = random_model(seed, channels=channels, hidden=hidden, kernels=kernels, fire_rate=rate, padding=padding, alive_threshold=threshold, output_bias=bias)
    again = NCAModel.from_pretrained(model.save_pretrained(folder))
    x = torch.rand(1, channels, 6, 6)
    assert torch.equal(*(m(x, 4, torch.Generator().manual_seed(0)) for m in (model, again)))
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.fixture
def saved(tmp_path): return NCAModel(4, 4).save_pretrained(tmp_path / "creature")


def test_damaged_folders_are_refused(saved, tmp_path):
    weights, config = saved / "model.safetensors", saved / "config.json"
    good_weights, good_config = weights.read_bytes(), config.read_text()
    for data in (b"", good_weights[:-8], good_weights[:20], b"\x80\x04\x95pickle" * 9):
        weights.write_bytes(data)
        with pytest.raises(ValueError, match="damaged or no safetensors"): NCAModel.from_pretrained(saved)
    save_file({"update.0.weight": torch.zeros(3)}, weights)
    with pytest.raises(ValueError, match="config.json expects"): NCAModel.from_pretrained(saved)
    weights.write_bytes(good_weights)
    for text, words in (("{", "not JSON"), ("[]", "lacks"), (json.dumps({**json.loads(good_config), "channels": "4"}), "channels: got '4'"),
                        (json.dumps({k: v for k, v in json.loads(good_config).items() if k != "padding"}), "lacks padding")):
        config.write_text(text)
        with pytest.raises((ValueError, TypeError), match=words): NCAModel.from_pretrained(saved)
    config.write_text(good_config)
    assert NCAModel.from_pretrained(saved).channels == 4
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="no model.safetensors"): NCAModel.from_pretrained(saved)
    with pytest.raises(FileNotFoundError, match="no config.json"): NCAModel.from_pretrained(tmp_path)


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    model = NCAModel(4, 4)
    model.update[2].weight.data[0] = math.nan
    with pytest.raises(ValueError, match="holds NaN"): NCAModel.from_pretrained(model.save_pretrained(tmp_path))


def test_a_name_that_nobody_knows_lists_those_that_are_known():
    with pytest.raises(FileNotFoundError, match="no creature or folder 'dodo'; packaged are ") as unknown:
        NCAModel.from_pretrained("dodo")
    names = {f.parent.name for f in (Path(core.__file__).parent / "creatures").glob("*/config.json")}
    assert "gecko-grow" in names and set(str(unknown.value).split("packaged are ")[1].split(", ")) == names


def test_a_failed_download_names_the_files_and_the_offline_way(monkeypatch):
    import huggingface_hub
    def offline(*args, **kwargs): raise ConnectionError("no route")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FileNotFoundError, match="model.safetensors.*ConnectionError.*Offline: "): NCAModel.from_pretrained("someone/creature")


def test_a_hub_id_loads_what_the_hub_gives(saved, monkeypatch):
    import huggingface_hub
    asked = []
    def hub(name, allow_patterns): asked.append((name, allow_patterns)); return str(saved)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert NCAModel.from_pretrained("someone/creature").channels == 4
    assert asked == [("someone/creature", ["config.json", "model.safetensors"])]


def test_a_failed_save_leaves_the_old_creature(saved, monkeypatch):
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    def full(*args): raise OSError("disk full")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError): NCAModel(4, 8).save_pretrained(saved)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    with pytest.raises(NotADirectoryError): NCAModel(4, 4).save_pretrained(saved / "config.json")


def test_settings_of_the_wrong_kind_are_refused_with_the_file(saved):
    path = saved / "config.json"
    good = json.loads(path.read_text())
    for change, words in [
        ({"colour": "green"}, "unknown colour"), ({"hidden": None}, "hidden: got None"),
        ({"hidden": 10**9}, "holds .* expects"), ({"channels": 10**30, "hidden": 10**30}, "config.json"),
        ({"fire_rate": "half"}, "fire_rate: got 'half'"), ({"fire_rate": 2}, "fire_rate: got 2"),
        ({"kernels": "identity"}, "kernels: got 'identity'"), ({"kernels": [["identity"]]}, "config.json"),
        ({"padding": 0}, "padding: got 0"), ({"alive_threshold": "no"}, "alive_threshold: got 'no'"),
        ({"output_bias": "no"}, "output_bias: got 'no'"),
    ]:
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises((ValueError, TypeError), match=f"(?s){words}") as refusal: NCAModel.from_pretrained(saved)
        assert str(saved) in str(refusal.value)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match="is not JSON"): NCAModel.from_pretrained(saved)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is not JSON"): NCAModel.from_pretrained(saved)


def test_whole_numbers_are_no_weights(saved):
    whole = {k: v.to(torch.int32) for k, v in NCAModel(4, 4).state_dict().items()}
    save_file(whole, saved / "model.safetensors")
    with pytest.raises(ValueError, match="is torch.int32; expected floating point"): NCAModel.from_pretrained(saved)


class Canary:
    "Unpickling it writes a file."
    def __init__(self, path): self.path = path
    def __reduce__(self): return (open, (str(self.path), "w"))


def plain_pickle(bad, file): file.write_bytes(pickle.dumps(bad))


@pytest.mark.parametrize("write", [plain_pickle, torch.save])
def test_a_pickle_is_refused_and_never_opened(saved, tmp_path, write):
    ran, weights = tmp_path / "ran", saved / "model.safetensors"
    write(Canary(ran), weights)
    with pytest.raises(ValueError, match="damaged or no safetensors"): NCAModel.from_pretrained(saved)
    for ending in (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".PTH", ".weights"):
        file = tmp_path / f"stranger{ending}"
        write(Canary(ran), file)
        with pytest.raises(ValueError, match="stranger.* is not read. Only a folder with config.json and model.saf"):
            NCAModel.from_pretrained(file)
    write(Canary(ran), file := tmp_path / "stranger.json")
    with pytest.raises(ValueError, match="stranger.json' is not JSON"): NCAModel.from_pretrained(file)
    assert not ran.exists()


def test_an_ending_of_a_pickle_is_refused_before_the_hub_is_asked(saved, monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: pytest.fail("the Hub was asked"))
    for name in ("someone/model.bin", "someone/model.pth", str(saved / "model.safetensors")):
        with pytest.raises(ValueError, match="is not read"): NCAModel.from_pretrained(name)
    with pytest.raises(FileNotFoundError, match="no file 'someone/gecko.json'"):
        NCAModel.from_pretrained("someone/gecko.json")


def test_a_folder_may_be_called_anything(saved):
    for ending in (".json", ".bin"):
        assert NCAModel.from_pretrained(shutil.copytree(saved, saved.with_suffix(ending))).channels == 4


@pytest.mark.parametrize("name", [None, 3, ["gecko-grow"], b"gecko-grow"])
def test_a_name_is_text_or_a_path(name):
    with pytest.raises(TypeError, match="name: got "): NCAModel.from_pretrained(name)


# --- models of the Distill demo ---------------------------------------------------------------------------------------

def bytes_of(values, scale): return np.rint((values / scale + 0.5) * 255) if scale else np.full_like(values, 128)


def browser_layer(weight, bias):
    "Weight (out, in) and bias (out) in 8 bits, as the demo wants them: a row for each input, the biases last."
    weight_scale, bias_scale = (2 * float(np.abs(a).max()) for a in (weight, bias))
    data = np.concatenate([bytes_of(weight.T, weight_scale), bytes_of(bias[None], bias_scale)]).astype(np.uint8)
    return dict(data_b64=base64.b64encode(data.tobytes()).decode(), in_ch=weight.shape[1], out_ch=weight.shape[0],
                weight_scale=weight_scale, bias_scale=bias_scale, type="uint8")


def browser_layers(model):
    w1, b1, w2, b2 = (p.detach().double().squeeze().numpy() for p in model.update.parameters())
    grouped = np.concatenate([w1[:, k::3] for k in range(3)], axis=1)  # all channels, all slopes in x, then in y
    return [browser_layer(grouped, b1), browser_layer(w2, b2)]


def write_json(path, layers):
    path.write_text(json.dumps(layers))
    return path


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), channels=st.sampled_from([4, 8, 16]), hidden=st.sampled_from([4, 12, 128]))
def test_a_browser_model_is_ours_within_half_a_step(tmp_path_factory, seed, channels, hidden):
    model = random_model(seed, channels=channels, hidden=hidden)
    path = write_json(tmp_path_factory.mktemp("demo") / "creature.json", browser_layers(model))
    again = NCAModel.from_pretrained(path)
    assert {k: getattr(again, k) for k in core._SETTINGS} == {k: getattr(model, k) for k in core._SETTINGS}
    for (name, a), b in zip(model.state_dict().items(), again.state_dict().values()):
        step = 2 * a.abs().max() / 255
        assert (a - b).abs().max() <= step / 2 * 1.0001, name


def test_a_browser_model_of_the_gecko_grows_a_gecko(tmp_path):
    model = NCAModel.from_pretrained("gecko-grow")
    again = NCAModel.from_pretrained(str(write_json(tmp_path / "gecko.JSON", browser_layers(model))))
    target = load_target(Path(__file__).parent.parent / "nbs/images/gecko.png", 40, 16)
    with torch.no_grad():
        states = [m(seed_state(8), 95, torch.Generator().manual_seed(0)) for m in (model, again)]
    ours, theirs = (float((to_rgba(x) - target).square().mean()) for x in states)
    assert theirs < 2 * ours and theirs < 5e-4, (ours, theirs)                # measured 2.0e-4 and 2.8e-4


def test_a_browser_model_saves_as_a_folder(tmp_path):
    again = NCAModel.from_pretrained(write_json(tmp_path / "a.json", browser_layers(random_model(0))), engine="dense")
    x = torch.rand(1, 16, 6, 6)
    assert again.engine == "dense"
    twice = NCAModel.from_pretrained(again.save_pretrained(tmp_path / "a"), engine="dense")
    assert torch.equal(*(m(x, 4, torch.Generator().manual_seed(0)) for m in (again, twice)))


def altered(n, **change):
    def apply(layers): layers[n] = {**layers[n], **change}; return layers
    return apply


def without(key):
    def apply(layers): del layers[0][key]; return layers
    return apply


@pytest.mark.parametrize("change, words", [
    (lambda layers: layers[0], "holds dict; expected a list of two layers"),
    (lambda layers: {"layers": layers}, "holds dict"), (lambda layers: [], "holds a list of 0"),
    (lambda layers: layers[:1], "holds a list of 1"), (lambda layers: layers + layers, "holds a list of 4"),
    (lambda layers: None, "holds NoneType"), (lambda layers: 16, "holds int"),
    (lambda layers: [layers, layers], "layer 1: got list; expected an object of data_b64"),
    (lambda layers: layers[::-1], "layers 12 to 4 and 12 to 12; expected 3 \\* channels to hidden"),
    (lambda layers: [layers[0], layers[0]], "expected 3 \\* channels to hidden"),
    *((without(key), "layer 1: got .*; expected an object of data_b64, in_ch, out_ch") for key in core._LAYER),
    (altered(1, center=0.5), "layer 2: got .*center"),
    (altered(0, type="float32"), "layer 1: type is 'float32'; expected 'uint8'"),
    (altered(0, in_ch=13), "in_ch is 13; expected a multiple of 4"), (altered(0, out_ch=0), "out_ch is 0"),
    (altered(1, out_ch=-4), "out_ch is -4"), (altered(1, in_ch=12.0), "in_ch is 12.0"),
    (altered(1, in_ch=True), "in_ch is True"), (altered(1, in_ch="12"), "in_ch is '12'"),
    (altered(0, in_ch=16), "layer 1: data_b64 holds 156 bytes; expected .* = 204"),
    (altered(0, out_ch=10**9), "data_b64 holds 156 bytes"),
    (altered(0, data_b64="AAAA"), "layer 1: data_b64 holds 3 bytes; expected .* = 156"),
    (altered(0, data_b64=""), "holds 0 bytes"), (altered(0, data_b64="AAAAA"), "layer 1: data_b64 is not base64"),
    (altered(1, data_b64="A\nAA="), "layer 2: data_b64 is not base64"), (altered(1, data_b64="é" * 8), "not base64"),
    (altered(1, data_b64=None), "not base64"), (altered(1, data_b64=[1, 2, 3]), "not base64"),
    (altered(0, weight_scale=math.nan), "weight_scale is nan; expected a finite number"),
    (altered(0, bias_scale=math.inf), "bias_scale is inf"), (altered(1, weight_scale=-1.0), "weight_scale is -1.0"),
    (altered(1, weight_scale=10**400), "expected a finite number"), (altered(1, bias_scale="1"), "bias_scale is '1'"),
    (altered(1, bias_scale=True), "bias_scale is True"), (altered(1, bias_scale=None), "bias_scale is None"),
])
def test_a_bad_browser_model_is_refused_by_name(tmp_path, change, words):
    path = write_json(tmp_path / "stranger.json", change(browser_layers(random_model(0, channels=4, hidden=12))))
    with pytest.raises(ValueError, match=f"stranger.json'.*{words}"): NCAModel.from_pretrained(path)


def test_a_file_that_is_no_browser_model_is_refused_by_name(tmp_path, saved):
    path = tmp_path / "stranger.json"
    whole = write_json(path, browser_layers(random_model(0, channels=4, hidden=4))).read_bytes()
    for data in (b"", b"[{", b"\x80\x04\x95", b"[" * 100_000, whole[:-30], whole[:100]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="stranger.json' is not JSON"): NCAModel.from_pretrained(path)
    with pytest.raises(ValueError, match="config.json' holds dict; .*pass its folder"):
        NCAModel.from_pretrained(saved / "config.json")
    for missing in (tmp_path / "gone.json", "gone.json", str(tmp_path / "no" / "folder" / "gone.json")):
        with pytest.raises(FileNotFoundError, match="no file .*gone.json'"): NCAModel.from_pretrained(missing)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: (st.lists(inner, max_size=3)
                   | st.dictionaries(st.sampled_from([*core._LAYER, "shape"]), inner, max_size=6)), max_leaves=12)


@settings(max_examples=40, deadline=None)
@given(data=ANY_JSON)
def test_any_other_json_is_refused_with_a_sentence(tmp_path_factory, data):
    path = write_json(tmp_path_factory.mktemp("demo") / "any.json", data)
    with pytest.raises(ValueError, match="any.json'"): NCAModel.from_pretrained(path)


# --- sharing ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def hub(monkeypatch, tmp_path):
    "A Hub in a folder; it notes what it was asked."
    import huggingface_hub
    asked = []

    class FolderHub:
        def __init__(self, token=None): asked.append(("token", token))
        def create_repo(self, repo_id, private, exist_ok):
            asked.append(("create", repo_id, private, exist_ok))
            return f"https://huggingface.co/{repo_id}"
        def upload_folder(self, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)
            asked.append(("upload", repo_id))

    monkeypatch.setattr(huggingface_hub, "HfApi", FolderHub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(tmp_path / "hub" / name))
    return asked, tmp_path / "hub"


def test_what_is_pushed_comes_back(hub):
    asked, files = hub
    model = random_model(0, channels=5, hidden=6)
    url = model.push_to_hub("someone/creature", private=True, token="secret")
    assert url == "https://huggingface.co/someone/creature"
    assert asked == [("token", "secret"), ("create", "someone/creature", True, True), ("upload", "someone/creature")]
    assert sorted(p.name for p in (files / "someone/creature").iterdir()) == ["config.json", "model.safetensors"]
    again, x = NCAModel.from_pretrained("someone/creature"), torch.rand(1, 5, 6, 6)
    assert torch.equal(*(m(x, 4, torch.Generator().manual_seed(0)) for m in (model, again)))


def test_only_the_creature_itself_is_pushed(hub):
    asked, files = hub
    NCAModel.from_pretrained("gecko-grow").push_to_hub("someone/gecko")
    assert asked[:2] == [("token", None), ("create", "someone/gecko", False, True)]
    assert sorted(p.name for p in (files / "someone/gecko").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("repo_id", ["creature", "a/b/c", "", "/creature", "someone/", "some one/creature",
                                     "../creature", "someone/creature\n", "x/" + "y" * 200, None, 7])
def test_a_repository_is_checked_before_the_hub_is_asked(hub, repo_id):
    error = ValueError if isinstance(repo_id, str) else TypeError
    with pytest.raises(error, match="repo_id: got .*expected 'user/name'"): NCAModel(4, 4).push_to_hub(repo_id)
    assert not hub[0]


def test_private_is_yes_or_no(hub):
    with pytest.raises(TypeError, match="private: got 'no'"):
        NCAModel(4, 4).push_to_hub("someone/creature", private="no")
    assert not hub[0]


@pytest.mark.parametrize("method", ["__init__", "create_repo", "upload_folder"])
def test_a_failed_push_names_the_repository_and_the_offline_way(hub, monkeypatch, method):
    import huggingface_hub
    def offline(*args, **kwargs): raise ConnectionError("no route")
    monkeypatch.setattr(huggingface_hub.HfApi, method, offline)
    words = "someone/creature.*ConnectionError.*Offline: .*save_pretrained\\(folder\\).*by hand"
    with pytest.raises(RuntimeError, match=words) as failure:
        NCAModel(4, 4).push_to_hub("someone/creature", token="secret")
    assert isinstance(failure.value.__cause__, ConnectionError) and "secret" not in str(failure.value)


def test_the_hub_is_asked_in_words_that_it_knows():
    from huggingface_hub import HfApi
    create, upload = (set(inspect.signature(f).parameters) for f in (HfApi.create_repo, HfApi.upload_folder))
    assert {"repo_id", "private", "exist_ok"} <= create and {"repo_id", "folder_path", "commit_message"} <= upload
    assert "token" in inspect.signature(HfApi).parameters


# --- only what the settings say is kept ---------------------------------------------------------------------------------

class Louder(NCAModel):
    def _rollout(self, *args): return 2 * super()._rollout(*args)


class Named(NCAModel):
    "Adds what no step uses."
    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.nickname = "Dot"
    def extra_repr(self): return self.nickname


def put(name, value):
    def change(m): setattr(m, name, value)
    return change


def mixed(m): m.__class__ = type("Other", (type("Mixin", (), {"step": lambda self, x: x}), NCAModel), {})
def learned(m):
    kernels = m.kernel_weights
    del m.kernel_weights
    m.kernel_weights = torch.nn.Parameter(kernels.clone())
def doubled(m): torch.nn.utils.parametrize.register_parametrization(m.update[0], "weight", Louder4())
def pruned(m): torch.nn.utils.prune.l1_unstructured(m.update[2], "weight", 3)
def normed(m): torch.nn.utils.parametrizations.weight_norm(m.update[0])
def hooked(m): m.update[1].register_forward_hook(lambda m, x, y: -y)
def hooked_before(m): m.register_forward_pre_hook(lambda m, x: None)
def kept(m): m.register_buffer("kernel_weights", m.kernel_weights, persistent=True)


class Louder4(torch.nn.Module):
    def forward(self, w): return 4 * w


ALTERED = {
    "another activation": lambda m: m.update.__setitem__(1, torch.nn.Tanh()), "a kind of ReLU": lambda m: m.update.__setitem__(1, torch.nn.LeakyReLU()),
    "kernels halved": lambda m: m.kernel_weights[1:].mul_(0.5), "kernels swapped": lambda m: m.kernel_weights.copy_(m.kernel_weights[[0, 2, 1]]),
    "kernels learned": learned, "kernels kept": kept, "a third layer": lambda m: m.update.append(torch.nn.Conv2d(6, 6, 1)), "a layer less": lambda m: m.update.pop(1),
    "a wider layer": lambda m: m.update.__setitem__(0, torch.nn.Conv2d(18, 9, 1)), "3x3": lambda m: m.update.__setitem__(2, torch.nn.Conv2d(8, 6, 3, padding=1)),
    "strides": lambda m: setattr(m.update[0], "stride", (2, 2)), "no bias": lambda m: setattr(m.update[2], "bias", None), "identity": lambda m: m.update.__setitem__(0, torch.nn.Identity()),
    "a hook": hooked, "a hook before": hooked_before, "a parametrisation": doubled, "pruning": pruned, "weight norm": normed,
    "a mixin": mixed, "a step of its own": put("step", lambda x, fire=None: x), "a layer's own forward": lambda m: setattr(m.update[1], "forward", torch.sin),
    "another buffer": lambda m: m.register_buffer("more", torch.ones(3)), "another module": put("more", torch.nn.Linear(2, 2)), "whole numbers": lambda m: m.update[0].register_parameter("bias", torch.nn.Parameter(torch.ones(8, dtype=torch.int64), requires_grad=False)),
    "NaN": lambda m: m.update[0].bias.data.fill_(math.nan), "too large": lambda m: m.double().update[0].bias.data.fill_(1e300), "no memory": lambda m: m.to("meta"),
}


@pytest.mark.parametrize("how", ALTERED)
def test_what_no_setting_says_is_not_written(saved, hub, how):
    model, before = random_model(0, channels=6, hidden=8), {p.name: p.read_bytes() for p in saved.iterdir()}
    with torch.no_grad(): ALTERED[how](model)
    for write in (model.save_pretrained, lambda folder: model.push_to_hub("someone/creature")):
        with pytest.raises((ValueError, TypeError), match="^model: .*(come back as another|holds NaN|floating point)"): write(saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before and not hub[0]


def test_subclasses_are_told_apart(tmp_path):
    x = torch.rand(1, 6, 6, 6)
    with pytest.raises(ValueError, match="its class Louder has its own _rollout"): Louder(6, 8).save_pretrained(tmp_path / "loud")
    named = copy.deepcopy(Named(6, 8)).requires_grad_(False).eval()
    again = Named.from_pretrained(named.save_pretrained(tmp_path / "named"))
    assert torch.equal(*(m(x, 3, torch.Generator().manual_seed(0)) for m in (named, again))) and again.nickname == "Dot"
    compiled = NCAModel(6, 8)
    compiled.compile()
    assert compiled.save_pretrained(tmp_path / "compiled")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_model_of_any_precision_runs_and_is_saved(tmp_path, dtype):
    model = random_model(0, channels=6, hidden=8).to(dtype)
    x = torch.rand(1, 6, 6, 6, dtype=dtype)
    assert model(x, 3).dtype == model.step(x).dtype == model.trajectory(x, 2).dtype == dtype
    again = NCAModel.from_pretrained(model.save_pretrained(tmp_path))
    assert torch.equal(again.update[0].weight, model.update[0].weight.float()) and again.update[0].weight.dtype == torch.float32
    for run in (model, model.step, lambda x: model.trajectory(x, 2)):
        with pytest.raises(TypeError, match=f"x: got torch.float32; expected {dtype}"): run(x.float())
        with pytest.raises(ValueError, match="x: it is on meta"): run(x.to("meta"))


@pytest.mark.parametrize("name, bad, good", [
    ("fire_rate", ["x", None, math.nan, -1, 1.5, True, torch.tensor(0.5), []], [(1, 1), (np.float32(0.25), 0.25), (Fraction(1, 4), 0.25), (np.int64(0), 0)]),
    ("padding", ["mirror", None, 3, [], np.zeros(2)], [("wrap", "wrap")]),
    ("alive_threshold", ["x", math.nan, math.inf, 1e300, True, []], [(None, None), (np.float64(0.5), 0.5), (-1, -1), (10**30, 1e30)]),
    ("engine", ["warp", None, [], np.zeros(2)], [("dense", "dense")]),
    ("channels", ["x", 5, 6, None], []), ("hidden", [0, 8.5], []), ("kernels", [("identity",), "x"], []), ("own_kernels", [{}, None], []), ("output_bias", [False, "no"], []),
])
def test_a_setting_is_checked_whenever_it_is_set(tmp_path, name, bad, good):
    model = NCAModel(6, 8)
    before = model.extra_repr()
    for value in bad:
        with pytest.raises((ValueError, TypeError), match=f"^{name}: got "): setattr(model, name, value)
        if good:
            with pytest.raises((ValueError, TypeError), match=f"^{name}: "): NCAModel(**{name: value})
    assert model.extra_repr() == before
    for value, plain in good:
        setattr(model, name, value)
        assert getattr(model, name) == plain and type(getattr(model, name)) in (int, float, str, type(None))
        assert model(torch.rand(1, 6, 5, 5), 2).isfinite().all()
        assert name == "engine" or getattr(NCAModel.from_pretrained(model.save_pretrained(tmp_path)), name) == plain


def test_a_texture_gets_no_alive_mask_without_alpha():
    texture = NCAModel(3, 4, alive_threshold=None)
    with pytest.raises(ValueError, match="channels: got 3; expected 4 or more"): texture.alive_threshold = 0.1
    assert texture.alive_threshold is None


def test_settings_may_be_numpys(tmp_path):
    model = NCAModel(np.int64(5), np.int32(7), np.float32(0.5), alive_threshold=np.float64(0.1))
    config = json.loads((model.save_pretrained(tmp_path) / "config.json").read_text())
    assert (config["channels"], config["hidden"], config["fire_rate"], config["alive_threshold"]) == (5, 7, 0.5, 0.1)


@pytest.mark.parametrize("folder", [None, 3, "", b"x", [], "a\0b"])
def test_a_folder_is_a_path(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError), match="^folder: got"): NCAModel(4, 4).save_pretrained(folder)
    assert not list(tmp_path.iterdir())


# --- names and paths ----------------------------------------------------------------------------------------------------

def test_a_bare_name_is_the_packages_and_a_path_is_yours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    NCAModel(5, 4).save_pretrained("brick")
    with pytest.warns(UserWarning, match=r"'brick' is a creature of the package and also a folder here.*package's is taken.*Path\('brick'\) or './brick'"):
        assert NCAModel.from_pretrained("brick").channels == 12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mine in (Path("brick"), "./brick", str(tmp_path / "brick"), f"../{tmp_path.name}/brick", "brick/"): assert NCAModel.from_pretrained(mine).channels == 5
        assert NCAModel.from_pretrained("gecko-grow").channels == 16
        for gone in (Path("gecko-grow"), "./gecko-grow", Path("someone/creature")):
            with pytest.raises(FileNotFoundError, match="name: no creature or folder"): NCAModel.from_pretrained(gone)
        monkeypatch.chdir(Path(core.__file__).parent / "creatures")
        assert NCAModel.from_pretrained("brick").channels == 12, "here both are the same folder: nothing to warn of"


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 300, "x/" + "y" * 300])
def test_names_that_no_file_can_have(name, monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: 1 / 0)
    with pytest.raises((ValueError, FileNotFoundError), match="^name: "): NCAModel.from_pretrained(name)


def test_half_renamed_files_are_settled_before_they_are_read(saved, monkeypatch):
    "A program was killed between the two names: the pair that was meant is read"
    replace, calls = os.replace, []
    def dying(*args):
        calls.append(args)
        if len(calls) == 2: raise KeyboardInterrupt
        return replace(*args)
    with monkeypatch.context() as m:
        m.setattr(os, "replace", dying)
        with pytest.raises(KeyboardInterrupt): NCAModel(6, 5).save_pretrained(saved)
    assert NCAModel.from_pretrained(saved).channels == 6
    assert sorted(p.name for p in saved.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="no pipes of this kind")
@pytest.mark.parametrize("place", ["creature/config.json", "creature/model.safetensors", "pipe.json", "pipe.pth", "pipe"])
@pytest.mark.parametrize("what", ["pipe", "device"])
def test_pipes_and_devices_are_not_opened(saved, tmp_path, place, what):
    path = tmp_path / place
    path.unlink(missing_ok=True)
    os.mkfifo(path) if what == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="^name: .*pipe or a device"): NCAModel.from_pretrained(path.parent if "creature" in place else path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_files_that_are_far_too_large_are_not_read(saved, name):
    with open(saved / name, "ab") as f: f.truncate(10**11)                               # a hole: it takes no room
    with pytest.raises(ValueError, match=f"name: .*{name}' has 100000000000 bytes; expected .* at most"): NCAModel.from_pretrained(saved)
    (saved / name).unlink()
    (saved / name).mkdir()
    with pytest.raises(ValueError, match=f"{name}' is a folder"): NCAModel.from_pretrained(saved)


# --- kernels of one's own ------------------------------------------------------------------------------------------------

ODD = torch.tensor([[0.1, -0.2, 0.3], [0.7, 0.0, -1.1], [1e-7, 3.3, 0.9]])


@pytest.mark.parametrize("hidden", [7, 0])
@pytest.mark.parametrize("values", [ODD, ODD.double(), ODD.numpy(), ODD.tolist(), torch.nn.Parameter(ODD)], ids=["tensor", "double", "numpy", "list", "parameter"])
def test_own_kernels_are_seen_kept_and_loaded_exactly(tmp_path, hidden, values):
    model = NCAModel(5, hidden, kernels={"odd": values, "identity": None, "nothing": [[0] * 3] * 3}, alive_threshold=None)
    for p in model.parameters(): torch.nn.init.uniform_(p, -0.3, 0.3)
    assert model.kernels == ("odd", "identity", "nothing") and not model.kernel_weights.requires_grad
    again = NCAModel.from_pretrained(model.save_pretrained(tmp_path))
    want = torch.stack([ODD, kernel_bank(("identity",))[0], torch.zeros(3, 3)])
    if hidden: assert torch.equal(again.kernel_weights, want)
    assert torch.equal(again.kernel_weights, model.kernel_weights) and again.kernels == model.kernels and "own_kernels" in repr(again)
    x, g = torch.rand(1, 5, 6, 7), torch.Generator().manual_seed(0)
    fire = torch.rand(1, 1, 6, 7, generator=g) < 0.5
    copied = copy.deepcopy(again).double()
    assert torch.equal(model.step(x, fire), again.step(x, fire))
    model.engine = "dense"
    torch.testing.assert_close(model.step(x, fire), again.step(x, fire))
    assert copied.step(x.double(), fire).dtype == torch.float64


def test_a_model_sees_through_its_own_kernel():
    model, x = NCAModel(4, 3, 1.0, kernels={"odd": ODD}, alive_threshold=None), torch.rand(1, 4, 5, 5)
    with torch.no_grad():
        for p in model.parameters(): p.zero_()
        model.update[0].weight[0, 2], model.update[2].weight[1, 0], model.update[0].bias[0] = 1, 1, 9
    by_hand = (x[0, 2, 1:4, 2:5] * ODD).sum() + 9
    torch.testing.assert_close(model.step(x)[0, 1, 2, 3], x[0, 1, 2, 3] + by_hand)


def test_what_is_turned():
    x = torch.rand(1, 4, 5, 5)
    book = {"identity": None, "sobel_x": None, "sobel_y": None}
    model = NCAModel(4, 3, 1.0, kernels=book | {"odd": ODD}, alive_threshold=None)
    assert torch.equal(model._kernels_at(90)[3], ODD)
    assert torch.equal(model._kernels_at(30)[:3], kernel_bank(angle=30))
    for kernels in ({"odd": ODD}, book | {"sobel_x": ODD}, {"identity": None, "sobel_y": None}):
        with pytest.raises(ValueError, match="angle: 30 degrees needs both sobel_x and sobel_y.* as `KERNELS` has them"): NCAModel(4, 3, kernels=kernels)(x, angle=30)
    halved = NCAModel(4, 3)
    halved.kernel_weights[1:] *= 0.5
    assert halved(x).shape == x.shape
    with pytest.raises(ValueError, match="angle: 30 degrees would turn the kernels that .* kernel_weights are others"): halved(x, angle=30)
    for angle in (None, "x", math.nan, True, []):
        for run in (NCAModel(4, 3), NCAModel(4, 3).step, lambda x, angle: NCAModel(4, 3).trajectory(x, 1, angle=angle)):
            with pytest.raises((TypeError, ValueError), match="angle: got"): run(x, angle=angle)


@pytest.mark.parametrize("kernels, error, words", [
    ({"a": None}, ValueError, "kernels: unknown 'a'"), ({"a": 1}, ValueError, "'a': got 1; expected a \\(3, 3\\)"), ({"a": "x"}, TypeError, "'a': got 'x'"),
    ({"a": ODD[0]}, ValueError, "'a': got a tensor of shape \\(3,\\)"), ({"a": ODD / 0}, ValueError, "finite"), ({"a": [[1e300] * 3] * 3}, ValueError, "finite"),
    ({"a": ODD > 0}, TypeError, "real"), ({"a": ODD * 1j}, TypeError, "real"), ({"a": [[10**400] * 3] * 3}, TypeError, "'a': got"), ({1: ODD}, TypeError, "got 1 as a name"),
    ({}, TypeError, "non-empty"), ([["identity"]], TypeError, "as a name"), (np.array(["identity"]), TypeError, "kernels: got"), (None, TypeError, "kernels: got None"), (b"x", TypeError, "kernels: got"),
])
def test_bad_kernels_are_refused_by_name(saved, kernels, error, words):
    for make in (lambda: NCAModel(4, 4, kernels=kernels), lambda: kernel_bank(kernels)):
        with pytest.raises(error, match=f"^kernels: .*{words}|^kernels: {words[9:]}"): make()


def test_one_die_may_serve_many_cells():
    "`dense_step` takes any mask that spreads over the state; a wrong one is named"
    model, x = random_model(0, channels=4, hidden=4), torch.rand(2, 4, 5, 6)
    step = lambda fire: dense_step(x, fire, model.kernel_weights, model.update, "zeros", 0.1)
    one = torch.tensor([True, False]).view(2, 1, 1, 1)
    assert torch.equal(step(one), step(one.expand(2, 1, 5, 6))) and torch.equal(step(one), step(one.expand(2, 4, 5, 6)))
    with pytest.raises(ValueError, match="fire: got shape .2, 1, 6, 5.; expected one for x, .2, 4, 5, 6."): step(torch.ones(2, 1, 6, 5, dtype=torch.bool))


# --- words for bad input ------------------------------------------------------------------------------------------------

X = torch.rand(1, 4, 5, 5)


@pytest.mark.parametrize("call, words", [
    *((lambda v=v: alive_mask(X, v), "threshold: got") for v in (None, "x", math.nan, 10**40, True, [])),
    *((lambda v=v: to_rgb(X, v), "background: got") for v in (None, "x", math.nan, -0.1, 2, True)),
    *((lambda f=f, v=v: f(v), "x: got") for f in (alive_mask, to_rgb, to_rgba, pad, lambda x: perceive(x, kernel_bank())) for v in (None, "x", X.numpy(), X[0, 0])),
    *((lambda f=f: f(X.long()), "x: got torch.int64") for f in (alive_mask, to_rgb, to_rgba, lambda x: perceive(x, kernel_bank()))),
    *((lambda v=v: perceive(X, v), "kernels: got") for v in (None, "identity", X, torch.zeros(0, 3, 3), kernel_bank() * 1j, np.zeros((1, 3, 3)))),
    *((lambda v=v, f=f: f(X, v), "padding: got") for v in (None, 3, [], np.zeros(2), "mirror") for f in (pad, lambda x, p: perceive(x, kernel_bank(), p), lambda x, p: alive_mask(x, 0.1, p))),
    *((lambda v=v: kernel_bank(scale=v), "scale: got") for v in (None, "x", math.nan, 1e300, True)), *((lambda v=v: kernel_bank(angle=v), "angle: got") for v in (None, "x", math.nan, True)),
    *((lambda v=v: dense_step(X, v, kernel_bank(), NCAModel(4, 4).update, "zeros", 0.1), "fire: got") for v in (None, X, torch.ones(5, 5, dtype=torch.bool))),
    (lambda: dense_step(X, X[:, :1] > 0.5, kernel_bank(), None, "zeros", 0.1), "update: got None"), (lambda: dense_step(X, X[:, :1] > 0.5, kernel_bank(), abs, "zeros", "x"), "alive_threshold: got 'x'"),
    (lambda: seed_state(10**30), "batch, channels, size: got"), (lambda: seed_state(size=10**9), "batch, channels, size: got"), (lambda: NCAModel(hidden=10**30), "channels, hidden: got"),
    (lambda: NCAModel(generator=0), "generator: got 0"), *((lambda f=f: f(X, generator=0), "generator: got 0") for f in (NCAModel(4, 4), NCAModel(4, 4).step)),
    (lambda: NCAModel(4, 4)(X, 10**30), "steps: got"), (lambda: NCAModel.from_pretrained("gecko-grow", engine=[]), "engine: got"),
    (lambda: NCAModel(4, 4).push_to_hub("a/b", token=3), "token: expected"),
])
def test_bad_words_are_named(call, words):
    with pytest.raises((TypeError, ValueError), match=f"^{words}"): call()


def test_an_altered_model_is_told_in_words(tmp_path):
    model = random_model(0, channels=6, hidden=8)
    model.update[1] = torch.nn.Tanh()
    with pytest.raises(ValueError, match="^model: update.1 is Tanh, its settings say ReLU. Only settings and weights are kept"): model.save_pretrained(tmp_path)
