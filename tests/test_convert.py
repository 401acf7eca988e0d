"""Weights of other programs: plain foreign automata in every convention, against the model that takes them over."""
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from nca_tutorial.core import NCAModel

SOBEL = torch.tensor([[-1., 0, 1], [-2, 0, 2], [-1, 0, 1]])
LAPLACIAN = torch.tensor([[1., 2, 1], [2, -12, 2], [1, 2, 1]])
IDENTITY = torch.tensor([[0., 0, 0], [0, 1, 0], [0, 0, 0]])
BLUR = torch.tensor([[1., 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


class Foreign(nn.Module):
    "Written as others write it: a bank of 3x3 kernels, two layers, a mask; nothing of it is the package's."
    def __init__(self, bank, channels=6, hidden=10, grouped=False, linear=False, biases=(True, True), torus=False, threshold=0.1):
        super().__init__()
        self.bank, self.grouped, self.linear, self.torus, self.threshold = bank, grouped, linear, torus, threshold
        make = nn.Linear if linear else lambda i, o, bias: nn.Conv2d(i, o, 1, bias=bias)
        self.dmodel = nn.ModuleDict(dict(think=make(channels * len(bank), hidden, bias=biases[0]), act=make(hidden, channels, bias=biases[1])))

    def see(self, x):
        edge = F.pad(x, (1, 1, 1, 1), mode="circular" if self.torus else "constant")
        views = [F.conv2d(edge, k.expand(x.shape[1], 1, 3, 3), groups=x.shape[1]) for k in self.bank]
        return torch.stack(views, 1 if self.grouped else 2).flatten(1, 2)

    def living(self, x): return F.max_pool2d(F.pad(x[:, 3:4], (1, 1, 1, 1), mode="circular" if self.torus else "constant"), 3, 1) > self.threshold

    def forward(self, x, fire):
        y = self.see(x).movedim(1, 3 if self.linear else 1)
        d = self.dmodel["act"](F.relu(self.dmodel["think"](y))).movedim(3 if self.linear else 1, 1)
        new = x + d * fire
        return new if self.threshold is None else new * (self.living(x) & self.living(new))


def lives_agree(foreign, model, steps=20, channels=6):
    g = torch.Generator().manual_seed(0)
    a = b = torch.rand(2, channels, 9, 11, generator=g) * (torch.rand(2, 1, 9, 11, generator=g) < 0.4)
    with torch.no_grad():
        for fire in torch.rand(steps, 2, 1, 9, 11, generator=g) < 0.5: a, b = foreign(a, fire), model.step(b, fire)
    assert a.abs().max() > 0.1, "this world has died: it would prove nothing"
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def make(*args, **kw):
    "Gentle enough to stay alive"
    torch.manual_seed(0)
    foreign = Foreign(*args, **kw)
    for p in foreign.dmodel["act"].parameters(): p.data *= 0.1
    return foreign


CASES = {
    "conv, by channel": (dict(bank=[IDENTITY, SOBEL / 8, SOBEL.T / 8]), {}),
    "conv, grouped": (dict(bank=[IDENTITY, SOBEL / 8, SOBEL.T / 8], grouped=True), dict(order="kernels")),
    "linear, grouped, undivided": (dict(bank=[IDENTITY, SOBEL, SOBEL.T], grouped=True, linear=True), dict(order="kernels", scale=1)),
    "swapped": (dict(bank=[IDENTITY, SOBEL.T / 8, SOBEL / 8]), dict(swap_xy=True)),
    "swapped, grouped, a quarter": (dict(bank=[IDENTITY, SOBEL.T / 4, SOBEL / 4], grouped=True), dict(order="kernels", swap_xy=True, scale=0.25)),
    "flipped": (dict(bank=[IDENTITY, -SOBEL / 8, -SOBEL.T / 8]), dict(scale=-1 / 8)),
    "no bias behind, torus": (dict(bank=[IDENTITY, SOBEL / 8, SOBEL.T / 8], biases=(True, False), torus=True), dict(padding="wrap")),
    "no bias ahead": (dict(bank=[IDENTITY, SOBEL / 8, SOBEL.T / 8], biases=(False, True), linear=True), {}),
    "no bias, no mask": (dict(bank=[IDENTITY, SOBEL / 8, SOBEL.T / 8], biases=(False, False), threshold=None), dict(alive_threshold=None)),
    "as wide as deep": (dict(bank=[IDENTITY, SOBEL / 8, SOBEL.T / 8], hidden=6), {}),
    "four kernels": (dict(bank=[IDENTITY, SOBEL / 2, SOBEL.T / 2, LAPLACIAN / 2], grouped=True),
                     dict(order="kernels", scale=0.5, kernels=("identity", "sobel_x", "sobel_y", "laplacian"))),
    "own kernels": (dict(bank=[BLUR, SOBEL, IDENTITY], grouped=True), dict(order="kernels", scale=1, kernels={"blur": BLUR, "sobel_x": None, "identity": None})),
    "one kernel": (dict(bank=[BLUR], hidden=7), dict(kernels={"blur": BLUR})),
}


@pytest.mark.parametrize("case, file", [(case, file) for case in CASES for file in (False, True) if not (file and case == "one kernel")])
def test_a_foreign_creature_lives_the_same_life(tmp_path, case, file):
    how, told = CASES[case]
    foreign = make(**how)
    weights = foreign.state_dict()
    if file: save_file(weights, weights := tmp_path / "stranger.safetensors")
    model = NCAModel.from_state_dict(weights, fire_rate=0.25, **told)
    assert (model.fire_rate, model.channels, model.hidden) == (0.25, 6, foreign.dmodel["act"].weight.shape[1])
    assert model.output_bias == how.get("biases", (True, True))[1]
    lives_agree(foreign, model)
    if not file: lives_agree(foreign, NCAModel.from_pretrained(model.save_pretrained(tmp_path / "ours")))


def test_a_wrong_convention_is_not_the_same_life():
    "The comparison above sees what it should see"
    foreign = make([IDENTITY, SOBEL / 8, SOBEL.T / 8], grouped=True)
    for told in ({}, dict(order="kernels", swap_xy=True), dict(order="kernels", scale=1)):
        with pytest.raises(AssertionError): lives_agree(foreign, NCAModel.from_state_dict(foreign.state_dict(), **told))


@pytest.mark.parametrize("names", [("a", "b", "c", "d"), ("module.fc.weight", "b0", "module.out.weight", "b1")])
def test_any_names_and_kernels_beside_them(names):
    foreign = make([IDENTITY, SOBEL / 8, SOBEL.T / 8])
    w1, b1, w2, b2 = foreign.state_dict().values()
    weights = dict(zip(names, (w1, b1, w2, b2))) | {"step": torch.tensor(3), "perceive.weight": torch.stack(foreign.bank).repeat(6, 1, 1)[:, None], "sobel": SOBEL / 8}
    lives_agree(foreign, NCAModel.from_state_dict(weights))
    weights["perceive.weight"] = torch.stack(foreign.bank).repeat_interleave(6, 0)[:, None]
    with pytest.raises(ValueError, match="'perceive.weight' holds other kernels"): NCAModel.from_state_dict(weights)
    with pytest.raises(ValueError, match="'perceive.weight' holds other kernels"): NCAModel.from_state_dict(weights | {"perceive.weight": SOBEL / 4})


def test_a_bias_is_found_by_its_name_where_its_length_fits_both():
    w = make([IDENTITY, SOBEL / 8, SOBEL.T / 8], hidden=6, biases=(False, False)).state_dict()
    named = NCAModel.from_state_dict(w | {"dmodel.act.bias": torch.ones(6)})
    assert named.update[2].bias.sum() == 6 and named.update[0].bias.abs().sum() == 0
    with pytest.raises(ValueError, match="'loose' fits both layers"): NCAModel.from_state_dict(w | {"loose": torch.ones(6)})


def test_what_a_file_leaves_open_is_not_guessed(tmp_path):
    "With one kernel each layer could be the first, and loose biases of one length belong to either; a file has no order"
    path = tmp_path / "x.safetensors"
    save_file(make([BLUR], hidden=7).state_dict(), path)
    with pytest.raises(ValueError, match="found 2 .a file keeps no order: pass a state_dict"): NCAModel.from_state_dict(path, kernels={"blur": BLUR})
    w1, b1, w2, b2 = make([IDENTITY, SOBEL / 8, SOBEL.T / 8], hidden=6).state_dict().values()
    loose = {"a": w1, "b": b1, "c": w2, "d": b2}
    assert torch.equal(NCAModel.from_state_dict(loose).update[2].bias, b2)
    save_file(loose, path)
    with pytest.raises(ValueError, match="fits both layers"): NCAModel.from_state_dict(path)


GOOD = dict(make([IDENTITY, SOBEL / 8, SOBEL.T / 8]).state_dict())


@pytest.mark.parametrize("weights, told, error, words", [
    (None, {}, TypeError, "weights: got None"), (3, {}, TypeError, "weights: got 3"), ([], {}, TypeError, "weights: got"), (b"x", {}, TypeError, "weights: got"),
    ({}, {}, ValueError, "weights: got .*found 0"), (nn.Linear(2, 2), {}, TypeError, "weights: got"),
    ({"state_dict": GOOD}, {}, TypeError, "'state_dict' is .*pass that"), ({"a": 1.0}, {}, TypeError, "'a' is 1.0"),
    (GOOD | {"third": torch.ones(6, 6, 1, 1)}, {}, ValueError, "'third' of shape .* no place"), (GOOD | {"norm": torch.ones(7)}, {}, ValueError, "'norm' of shape .* no place"),
    (GOOD | {"norm": torch.full((1,), math.nan)}, {}, ValueError, "'norm' holds NaN"), (GOOD | {"c": torch.ones(2, dtype=torch.complex64)}, {}, ValueError, "'c' holds"),
    (GOOD, dict(kernels=("identity", "sobel_x")), ValueError, r"expected one pair of 1x1 layers, \(hidden, channels \* 2\)"),
    (GOOD, dict(order="rows"), ValueError, "order: got 'rows'"), (GOOD, dict(order=None), ValueError, "order: got None"), (GOOD, dict(swap_xy=1), TypeError, "swap_xy: got 1"),
    (GOOD, dict(swap_xy=True, kernels=("identity", "sobel_x", "laplacian")), ValueError, "swap_xy: got True; expected both"),
    (GOOD, dict(scale=0), ValueError, "scale: got 0"), (GOOD, dict(scale=math.nan), ValueError, "scale: got nan"), (GOOD, dict(scale="1"), TypeError, "scale: got '1'"),
    (GOOD, dict(fire_rate="x"), TypeError, "fire_rate: got 'x'"), (GOOD, dict(channels=6), TypeError, "channels: not a setting here"), (GOOD, dict(kernels=None), TypeError, "kernels: got None"),
])
def test_what_cannot_be_taken_over_is_refused_by_name(weights, told, error, words):
    with pytest.raises(error, match=words): NCAModel.from_state_dict(weights, **told)


def test_a_pickle_is_refused_with_the_safe_way(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(1))
    for read in (NCAModel.from_state_dict, NCAModel.from_pretrained):
        with pytest.raises(ValueError, match=r"torch.load\(path, weights_only=True\).*from_state_dict"): read(path)
    torch.save(GOOD, path)
    assert NCAModel.from_state_dict(torch.load(path, weights_only=True)).channels == 6
    for bad in (tmp_path / "gone.safetensors", tmp_path / "cut.safetensors"):
        (tmp_path / "cut.safetensors").write_bytes(b"12345678{")
        with pytest.raises((ValueError, FileNotFoundError), match="weights: "): NCAModel.from_state_dict(bad)
