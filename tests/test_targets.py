"""Targets from files of every kind that a reader may bring, and from those that are no pictures at all."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from nca_tutorial.targets import emoji_target, load_target


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(4, 40), padding=st.integers(0, 9), seed=st.integers(0, 999))
def test_any_picture_fits_is_premultiplied_and_padded(width, height, size, padding, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    pixels[0, 0, 3] = 255
    pixels[..., 3] |= 64                                            # never empty
    t = load_target(Image.fromarray(pixels), size, padding)
    side = size + 2 * padding
    assert t.shape == (4, side, side) and t.dtype == torch.float32
    assert t.min() >= 0 and t.max() <= 1 and (t[:3] <= t[3:]).all()
    rows, cols = (t[3] > 0).nonzero().T
    assert rows.min() >= padding and rows.max() < side - padding and cols.min() >= padding and cols.max() < side - padding
    long_side = max(rows.max() - rows.min(), cols.max() - cols.min()) + 1
    assert long_side == size


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "RGBa", "La"])
def test_every_mode_of_pillow_becomes_white_where_it_is_white(mode):
    white = {"I": 65535, "F": 255.0, "I;16": 65535}
    picture = Image.new(mode, (8, 8), white[mode]) if mode in white else Image.new("RGBA", (8, 8), "white").convert("RGB")
    if mode not in white:
        picture = picture.convert("RGBA").convert("RGBa") if mode == "RGBa" else picture.convert("LA").convert("La") if mode == "La" else \
            Image.merge("LAB", [Image.new("L", (8, 8), v) for v in (255, 128, 128)]) if mode == "LAB" else \
            picture.convert("P").convert("PA") if mode == "PA" else picture.convert(mode)
    try: t = load_target(picture, 8, 0)
    except ValueError as e:                                         # refused by name is fine, wrong colours are not
        assert str(e).startswith("picture: "), e
        return
    torch.testing.assert_close(t, torch.ones(4, 8, 8), atol=0.02, rtol=0)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tiff", "ico", "ppm"])
def test_formats(tmp_path, suffix):
    file = tmp_path / f"red.{suffix}"
    Image.new("RGB", (64, 64), (255, 0, 0)).save(file)
    torch.testing.assert_close(load_target(file, 8, 1)[:, 4, 4], torch.tensor([1.0, 0, 0, 1]), atol=0.03, rtol=0)
    assert torch.equal(load_target(str(file), 8, 1), load_target(file, 8, 1))


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_exif_turn_is_undone(tmp_path, turn):
    upright = Image.fromarray(np.uint8([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]])).resize((16, 16), Image.NEAREST)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}               # Pillow's transpose that a viewer applies, inverted
    stored = upright if turn == 1 else upright.transpose(Image.Transpose(undo[turn]))
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / "p.png", exif=exif)
    torch.testing.assert_close(load_target(tmp_path / "p.png", 16, 0), load_target(upright, 16, 0), atol=1e-6, rtol=0)


def test_damaged_and_foreign_files_are_refused(tmp_path, root):
    good = (root / "nbs" / "images" / "gecko.png").read_bytes()
    for data in (b"", good[:40], good[:len(good) // 2], b"not a picture", b"\x89PNG\r\n\x1a\n" + bytes(99)):
        (tmp_path / "p.png").write_bytes(data)
        with pytest.raises(ValueError, match="not a picture that Pillow can read"): load_target(tmp_path / "p.png")
    for missing in (tmp_path / "none.png", tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file"): load_target(missing)


@pytest.mark.parametrize("kwargs, error, words", [
    (dict(size=3), ValueError, "size: got 3"), (dict(size="40"), TypeError, "size: got '40'"), (dict(size=True), TypeError, "size"),
    (dict(padding=-1), ValueError, "padding: got -1"), (dict(padding=0.5), TypeError, "padding: got 0.5")])
def test_settings_are_checked(root, kwargs, error, words):
    with pytest.raises(error, match=words): load_target(root / "nbs" / "images" / "gecko.png", **kwargs)


@pytest.mark.parametrize("name", ["gecko", "butterfly", "mushroom"])
def test_the_drawings_of_the_book_can_grow_from_their_middle(root, name):
    t = load_target(root / "nbs" / "images" / f"{name}.png")
    assert Image.open(root / "nbs" / "images" / f"{name}.png").size == (40, 40)
    assert t[3, 36, 36] > 0.9, "the seed stands in the middle: it must be inside the creature"
    alive = torch.nn.functional.max_pool2d(t[3][None], 3, 1, 1)[0] > 0.1
    reached = torch.zeros_like(alive)
    reached[36, 36] = True
    for _ in range(72): reached = torch.nn.functional.max_pool2d(reached[None].float(), 3, 1, 1)[0].bool() & alive
    assert (reached == alive).all(), "a creature in two pieces cannot grow from one seed"


def test_emoji(tmp_path):
    with pytest.raises(ValueError, match="expected one emoji"): emoji_target("  ")
    with pytest.raises(FileNotFoundError, match="no file"): emoji_target("🦋", font=tmp_path / "none.ttf")
    try: t = emoji_target("🦋", 24, 4)
    except FileNotFoundError as e: assert "install one" in str(e)
    else: assert t.shape == (4, 32, 32) and t[3].mean() > 0.1
