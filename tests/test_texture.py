"""Textures: the losses against other ways to compute them, VGG from files, exact resume, bad input of many kinds."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from safetensors.torch import save_file

from nca_tutorial import texture as T
from nca_tutorial.train import Callback, Checkpoint

lists = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=12)


def picture(side=64, seed=0): return torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(lists, lists)
def test_sorted_distance_equals_the_lists_repeated_to_one_length(a, b):
    a, b = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    n = math.lcm(len(a), len(b))
    repeated = (np.repeat(np.sort(a.numpy()), n // len(a)) - np.repeat(np.sort(b.numpy()), n // len(b)))**2
    assert T.sorted_distance(a, b).item() == pytest.approx(repeated.mean(), abs=1e-9)
    assert T.sorted_distance(a, b).item() == pytest.approx(T.sorted_distance(b, a).item(), abs=1e-9)


def test_sorted_distance_has_the_gradient_of_moving_each_value():
    a, b = torch.tensor([3., 1., 2.], dtype=torch.float64, requires_grad=True), torch.tensor([0., 4.], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: T.sorted_distance(t, b), a)


def test_gram_by_hand():
    loss, rgb = T.StyleLoss(picture(), lambda x: [x], kind="gram"), picture(40, 1)
    by_hand = [np.einsum("chw,dhw->cd", p, p) / p[0].size for p in (picture().numpy(), rgb.numpy())]
    assert loss(rgb[None]).item() == pytest.approx(((by_hand[0] - by_hand[1])**2).mean(), rel=1e-4)


@pytest.mark.parametrize("kind", ["ot", "gram"])
def test_each_picture_is_judged_alone_and_the_gradient_stays_with_it(kind):
    both = torch.stack([picture(), picture(seed=1)]).requires_grad_()
    loss = T.StyleLoss(picture(seed=2), kind=kind, points=None)
    loss.each(both)[1].backward()
    assert both.grad[0].abs().max() == 0 and both.grad[1].abs().max() > 0
    alone = T.StyleLoss(picture(seed=2), kind=kind, points=None).each(both[1:].detach())
    torch.testing.assert_close(alone[0], T.StyleLoss(picture(seed=2), kind=kind, points=None).each(both.detach())[1])


def test_a_sample_of_places_says_on_average_what_all_places_say():
    target, other = picture(), picture(seed=1)**2
    full = T.StyleLoss(target, lambda x: [], points=None, directions=256)(other[None]).item()
    some = [T.StyleLoss(target, lambda x: [], points=512, directions=64, seed=s)(other[None]).item() for s in range(12)]
    assert sum(some) / 12 == pytest.approx(full, rel=0.15)


def test_vgg_is_frozen_and_lets_gradients_through():
    vgg, rgb = T.VGGFeatures((1, 6), "random"), picture()[None].requires_grad_()
    T.StyleLoss(picture(seed=1), vgg)(rgb).backward()
    assert rgb.grad.abs().sum() > 0 and all(p.grad is None for p in vgg.parameters())
    assert vgg.net[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    "A weights file as timm names them; the classifier, which is not read, is left out."
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    net = T._vgg16("random", 5)
    save_file({f"features.{k}": v.contiguous() for k, v in net.state_dict().items()} | {"head.fc.bias": torch.zeros(1000)}, path)
    return path


def test_vgg_weights_come_from_a_file(vgg_file):
    from_file, made = T.VGGFeatures((6,), vgg_file), T.VGGFeatures((6,), "random", seed=5)
    assert torch.equal(from_file(picture()[None])[0], made(picture()[None])[0])


def test_vgg_agrees_with_its_layers_one_by_one(vgg_file):
    net, rgb = T._vgg16("random", 5), picture()[None]
    x = (rgb - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    want = {}
    for n, layer in enumerate(net[:7]):
        x = layer(x)
        want[n] = x.clone()
    for got, n in zip(T.VGGFeatures((1, 4, 6), vgg_file)(rgb), (1, 4, 6)): torch.testing.assert_close(got, torch.relu(want[n]) if n == 4 else want[n], rtol=1e-4, atol=1e-5)


def test_broken_weight_files_are_refused(vgg_file, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(vgg_file.read_bytes()[:5000])
    with pytest.raises(ValueError, match="no safetensors file, or damaged"): T.VGGFeatures((1,), tmp_path / "cut.safetensors")
    save_file({"features.0.weight": torch.zeros(64, 4, 3, 3)}, tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError, match="features\\.0\\."): T.VGGFeatures((1,), tmp_path / "wrong.safetensors")
    with pytest.raises(FileNotFoundError, match="expected 'imagenet', 'random' or a .safetensors file"): T.VGGFeatures((1,), "gatys")


@pytest.mark.parametrize("name", list(T.PRESETS))
def test_presets_judge(name):
    target, other = picture(140), picture(140, 1)**3
    loss = T.StyleLoss.preset(name, target, weights="random")
    assert loss.kind == T.PRESETS[name]["kind"] and loss(other[None]) > 5 * loss(target[None])


def test_a_texture_run_goes_on_to_the_last_bit(tmp_path):
    "Pool, noise and the dice of the loss included."
    def run(steps, path=None, stop=None):
        model = T.texture_model("tiny")
        callbacks = [Checkpoint(path, every=2)] if path else []
        T.learn_texture(picture(), model, T.StyleLoss(picture(), T.RandomFeatures(2, 4)), grid=24, pool=6, steps=steps, batch=2, rollout=(3, 5),
                        progress=False, callbacks=callbacks + ([Stop(stop)] if stop else []))
        return model.state_dict()
    class Stop(Callback):
        def __init__(self, at): self.at = at
        def after_step(self, run):
            if run.step == self.at: raise KeyboardInterrupt
    whole = run(6)
    run(6, tmp_path / "run.safetensors", stop=4)
    resumed = run(6, tmp_path / "run.safetensors")
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)




@pytest.mark.parametrize("bad, words", [
    (torch.rand(1, 64, 64), "three colour channels"), (torch.rand(4, 64, 64), "three colour channels"), (torch.rand(3, 64, 40), "look at 56 x 56"),
    (torch.full((3, 64, 64), torch.nan), "NaN"), (torch.full((3, 64, 64), torch.inf), "NaN"), (np.zeros((3, 64, 64)), "three colour channels")])
def test_bad_examples_are_refused(bad, words):
    with pytest.raises(ValueError, match=words): T.StyleLoss(bad)


def test_bad_pictures_are_refused(tmp_path):
    for clear in (Image.new("RGBA", (128, 128), (9, 9, 9, 254)), Image.new("LA", (128, 128)), Image.new("RGBa", (128, 128))):
        with pytest.raises(ValueError, match="^picture: got alpha below 1 in places; expected an opaque picture"): T.load_example(clear)
    for side in (128, 1600):                                        # one clear pixel
        clear = Image.new("RGBA", (side, side), "red")
        clear.putpixel((side // 2, side // 2), (0, 0, 0, 0))
        with pytest.raises(ValueError, match="^picture: got alpha below 1"): T.load_example(clear)
    with pytest.raises(ValueError, match="^picture: got whole numbers of 32 bits"): T.load_example(Image.new("I", (128, 128)))
    with pytest.raises(TypeError, match="^picture: got None"): T.load_example(None)
    with pytest.raises(ValueError, match="^size: got 60000; expected 1024 or less"): T.load_example("brick", 60_000)
    with pytest.raises(ValueError, match="40 x 200 pixels; expected 96"): T.load_example(Image.new("RGB", (40, 200)))
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match="not a picture"): T.load_example(tmp_path / "a.png")
    with pytest.raises(ValueError, match="size: got 2"): T.load_example("brick", 2)
    with pytest.raises(TypeError, match="size"): T.load_example("brick", 96.5)


def test_quality_ranks_as_the_eye_does():
    brick = T.load_example("brick")
    blurred = torch.nn.functional.avg_pool2d(brick[None], 5, 1, 2)[0]
    other = T.load_example("grass")
    far = {name: T.texture_quality(p, brick)["ratio"] for name, p in dict(shift=brick.roll(20, 2), blurred=blurred, other=other, noise=picture(96)).items()}
    assert far["shift"] < 1 < far["blurred"] < far["other"] < far["noise"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "La"])
@pytest.mark.parametrize("side", [100, 1200])
def test_an_opaque_picture_of_any_mode_is_an_example(mode, side):
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (25, 30, 3), np.uint8)).resize((side * 6 // 5, side), Image.Resampling.NEAREST)
    if mode in ("La", "RGBa"): other = rgb.convert(mode.upper()).convert(mode)
    elif mode == "PA": other = rgb.convert("P").convert("PA")
    else: other = rgb.convert(mode)
    want = T.load_example((other.convert("RGBA") if mode in ("PA", "RGBX") else other if mode not in ("La", "RGBa") else other.convert(mode.upper())).convert("RGB"), 64)
    torch.testing.assert_close(T.load_example(other, 64), want, atol=0 if side == 100 else 0.005, rtol=0)


def test_deep_and_large_examples_by_value(tmp_path):
    grey = np.random.default_rng(0).integers(80, 176, (25, 25), np.uint8).repeat(5, 0).repeat(5, 1)    # soft, so that no filter overshoots
    want = T.load_example(Image.fromarray(grey), 64)
    for values in (grey.astype(np.uint16) * 257, grey / np.float32(255)):
        Image.fromarray(values).save(tmp_path / "p.tif")
        torch.testing.assert_close(T.load_example(tmp_path / "p.tif", 64), want, atol=0.004, rtol=0)
    large = Image.fromarray(grey).resize((2000, 2000), Image.Resampling.NEAREST)
    exact = np.asarray(large.resize((64, 64), Image.Resampling.LANCZOS), np.float32) / 255
    large.save(tmp_path / "p.jpg", quality=98)
    for picture, gap in ((large, 0.01), (tmp_path / "p.jpg", 0.03)):
        torch.testing.assert_close(T.load_example(picture, 64), torch.tensor(exact).expand(3, 64, 64), atol=gap, rtol=0)


def test_a_photograph_that_lies_on_its_side_stands_up(tmp_path):
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 25, 3), np.uint8)).resize((100, 120), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "p.png", exif=exif)
    assert torch.equal(T.load_example(tmp_path / "p.png", 64), T.load_example(upright, 64))


small = T.texture_model("tiny")
style = T.StyleLoss(picture(), lambda x: [], points=None)
zeros = torch.zeros(1, 4, 8, 8)
CALLS = dict(                                                       # each argument with what works; what does not is tried below
    sorted_distance=(T.sorted_distance, dict(a=torch.rand(4), b=torch.rand(3))),
    RandomFeatures=(T.RandomFeatures, dict(levels=1, width=2, seed=0)),
    look=(T.RandomFeatures(1, 2), dict(rgb=picture()[None])),
    VGGFeatures=(T.VGGFeatures, dict(layers=(1,), weights="random", seed=0)),
    style_features=(T.style_features, dict(weights="random")),
    StyleLoss=(T.StyleLoss, dict(target=picture(), features=lambda x: [x], kind="ot", directions=2, points=5, pixels=None, weight=1.0, seed=0)),
    preset=(T.StyleLoss.preset, dict(name="sliced", target=picture(), weights="random")),
    each=(T.StyleLoss(picture()).each, dict(rgb=picture()[None])),
    load_state_dict=(style.load_state_dict, dict(tensors=style.state_dict())),
    texture_model=(T.texture_model, dict(kind="tiny", seed=0)),
    noise_state=(T.noise_state, dict(batch=1, channels=4, size=8, generator=None)),
    to_texture=(T.to_texture, dict(x=zeros)),
    NoisePool=(T.NoisePool, dict(channels=4, grid=8, size=4, reseed=2, seed=0)),
    learn_texture=(lambda **k: T.learn_texture(**k, steps=0, batch=2, progress=False), dict(example=picture(), model=small, style=style, grid=8, pool=4, reseed=2, seed=0)),
    patch_distance=(T.patch_distance, dict(a=picture(), b=picture(), sides=(3,), scales=2, directions=4, seed=0)),
    texture_quality=(T.texture_quality, dict(picture=picture(), example=picture(), seed=0)),
    graft=(T.graft, dict(left=small, right=small, x=zeros, blend=torch.zeros(8), steps=1, generator=None)),
    load_example=(T.load_example, dict(picture="brick", size=16)))
BAD = [object(), "x", math.nan, math.inf, -1, 2.5, [], {1}, {}, b"x", 1j, 10**30, "\ud800", (i for i in ()), np.zeros(3), torch.zeros(0), torch.zeros(2, 0, 8),
       torch.zeros(1, 12, 8, 8, dtype=torch.complex64), torch.zeros(3, 64, 64, dtype=torch.int64), torch.eye(64).to_sparse(), torch.zeros(64, 64, device="meta")]
FINE = {("StyleLoss", "points", 10**30), ("StyleLoss", "weight", 2.5), ("StyleLoss", "weight", 10**30), ("NoisePool", "reseed", 10**30), ("learn_texture", "reseed", 10**30)}


@pytest.mark.parametrize("call, name", [(c, n) for c, (_, kwargs) in CALLS.items() for n in kwargs])
def test_what_is_bad_is_refused_by_name(call, name):
    f, kwargs = CALLS[call]
    f(**kwargs)
    for bad in BAD:
        if isinstance(bad, (int, float)) and (call, name, bad) in FINE or (call, name) == ("graft", "steps") and type(bad) is int and bad > 0: continue
        with pytest.raises((ValueError, TypeError, OSError), match=f"^{name}: "): f(**{**kwargs, name: bad})


@pytest.mark.parametrize("call, words", [
    (lambda: T.StyleLoss(picture(), directions=0), "directions: got 0; expected 1 or more"), (lambda: T.StyleLoss(picture(), points=0), "points: got 0"),
    (lambda: T.StyleLoss(picture(), weight=0), "weight: got 0; expected more than 0"), (lambda: T.StyleLoss(picture(), seed=-1), "seed: got -1"),
    (lambda: T.StyleLoss(picture() * 255), "target: got values from 0.* to 25.*; expected 0 to 1"),
    (lambda: T.StyleLoss(picture(), lambda x: [], kind="gram"), "features: got no map"), (lambda: T.RandomFeatures(levels=40), "levels: got 40; expected 12"),
    (lambda: T.VGGFeatures((1, 31), "random"), "layers: got .*; expected whole numbers from 0 to 30"),
    (lambda: T.noise_state(size=60_000), "size: got 60000; expected 16384 or less"), (lambda: T.noise_state(64, 64, 1024), "size: got 64 x 64 x 1024 x 1024 numbers"),
    (lambda: T.NoisePool(12, 64, size=10**6), "size: got 1000000 x 12 x 64 x 64 numbers"), (lambda: T.to_texture(zeros[:, :2]), "x: got shape .*; expected .* C of 3 or more"),
    (lambda: T.learn_texture(picture(), grid=40, steps=1), "grid: got .*; expected 56 or more"), (lambda: T.learn_texture(picture(), style=style, pool=2), "pool: got 2; expected 4"),
    (lambda: T.patch_distance(picture(), picture(), scales=8), "scales: got 8; expected 7 or less"), (lambda: T.patch_distance(picture(), picture(), sides=(65,)), "a: got shape"),
    (lambda: T.texture_quality(picture(), picture()[..., :20]), "example: got shape .*; expected a width of 30"),
    (lambda: T.graft(small, small, zeros, torch.full((8,), torch.nan)), "blend: got nan to nan; expected 0 to 1"),
    (lambda: T.graft(small, small, zeros, torch.zeros(4, 1, 1, 1)), r"blend: got shape \(4, 1, 1, 1\); expected one that spreads to \(1, 1, 8, 8\)")])
def test_bounds_by_value(call, words):
    with pytest.raises(ValueError, match=f"^{words}"): call()


def test_whole_numbers_of_numpy_count():
    n = np.int64
    assert torch.equal(T.noise_state(n(2), n(3), n(4), torch.Generator().manual_seed(0)), T.noise_state(2, 3, 4, torch.Generator().manual_seed(0)))
    assert T.StyleLoss(picture(), directions=n(4), points=n(9), seed=n(3))(picture(64, 1)[None]) == T.StyleLoss(picture(), directions=4, points=9, seed=3)(picture(64, 1)[None])
    assert T.VGGFeatures([n(6), n(1), 1], "random").layers == (1, 6)
    assert T.patch_distance(picture(), picture(64, 1), [n(3)], n(2), n(4)) == T.patch_distance(picture(), picture(64, 1), (3,), 2, 4)
