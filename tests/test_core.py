"""The model against an independent oracle, its symmetries for random models, what it refuses, and how it is kept."""
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file

from nca_tutorial.core import NCAModel, alive_mask, seed_state, to_rgb, to_rgba

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
    (dict(channels=16.0), TypeError, "channels: got 16.0"), (dict(channels=True), TypeError, "channels"), (dict(hidden=0), ValueError, "hidden: got 0"),
    (dict(fire_rate=-0.1), ValueError, "fire_rate: got -0.1"), (dict(fire_rate=1.01), ValueError, "fire_rate"),
    (dict(fire_rate=math.nan), ValueError, "fire_rate"), (dict(fire_rate="half"), TypeError, "fire_rate"),
    (dict(kernels=()), TypeError, "kernels"), (dict(kernels=("sobel",)), ValueError, "sobel"), (dict(padding="same"), ValueError, "padding: got 'same'"),
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
    with pytest.raises(FileNotFoundError, match="packaged are gecko-grow"): NCAModel.from_pretrained("dodo")


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
    import pathlib
    monkeypatch.setattr(pathlib.Path, "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError): NCAModel(4, 8).save_pretrained(saved)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    with pytest.raises(NotADirectoryError): NCAModel(4, 4).save_pretrained(saved / "config.json")
