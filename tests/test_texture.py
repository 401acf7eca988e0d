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
    for mode in ("L", "LA", "RGBA", "P", "1", "CMYK", "I;16"):
        with pytest.raises(ValueError, match="picture: its mode is"): T.load_example(Image.new(mode, (128, 128)))
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
