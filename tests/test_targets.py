"""Targets from files of every kind that a reader may bring, and from those that are no pictures at all."""
import gc
import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import EpsImagePlugin, Image, ImageOps

from nca_tutorial import targets
from nca_tutorial.targets import FORMATS, MOST_CELLS, MOST_PIXELS, emoji_target, load_target


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


# what a number in a file means

def png(width, height, depth, kind, rows, clear=b""):
    "A PNG by hand: bits, kind (0 grey, 2 colours), rows of bytes, and the colour that is clear."
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + (chunk(b"tRNS", clear) if clear else b"")
            + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows))) + chunk(b"IEND", b""))


def tiff(width, height, bits, white, data, sample=1):
    "A grey TIFF by hand; `white` 1: 0 is black, 0: 0 is white; `sample` 1 whole, 2 signed, 3 floating point."
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, white), (273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1),
            (279, 4, len(data)), (339, 3, sample)]
    return b"II*\0" + struct.pack("<IH", 8, 9) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in tags) + bytes(4) + data


def columns(path, n=4):
    "The (4, n) columns of a picture of n equal stripes, each 4 pixels wide."
    t = load_target(path, 4 * n, 0)
    top = (t.shape[1] - 4) // 2
    return t[:, top + 2, 2::4]


GREY = np.float32([0, 0.25, 0.5, 1])                                # of the stripes
stripes = lambda values: np.tile(np.repeat(values, 4), (4, 1))
all_grey = torch.tensor(np.stack([GREY] * 3 + [np.ones(4, np.float32)]))


def grey_files():
    yield "png 16", "p.png", lambda f: Image.fromarray(stripes((GREY * 65535).round().astype(np.uint16))).save(f)
    yield "png 8", "p.png", lambda f: Image.fromarray(stripes((GREY * 255).round().astype(np.uint8))).save(f)
    yield "tiff 16", "p.tif", lambda f: Image.fromarray(stripes((GREY * 65535).round().astype(np.uint16))).save(f)
    yield "tiff 16, big-endian", "p.tif", lambda f: Image.fromarray(stripes((GREY * 65535).round().astype(">u2"))).save(f)
    yield "tiff, floats", "p.tif", lambda f: Image.fromarray(stripes(GREY)).save(f)
    yield "tiff 16, 0 is white", "p.tif", lambda f: f.write_bytes(tiff(16, 4, 16, 0, stripes(((1 - GREY) * 65535).round().astype("<u2")).tobytes()))
    yield "tiff floats, 0 is white", "p.tif", lambda f: f.write_bytes(tiff(16, 4, 32, 0, stripes(1 - GREY).tobytes(), 3))
    yield "tiff 12", "p.tif", lambda f: f.write_bytes(tiff(16, 4, 12, 1, twelve(stripes((GREY * 4095).round().astype(int)))))
    yield "pgm 16", "p.pgm", lambda f: f.write_bytes(b"P5 16 4 65535\n" + stripes((GREY * 65535).round().astype(">u2")).tobytes())
    yield "pgm up to 1000", "p.pgm", lambda f: f.write_bytes(b"P5 16 4 1000\n" + stripes((GREY * 1000).round().astype(">u2")).tobytes())
    yield "pfm", "p.pfm", lambda f: f.write_bytes(b"Pf 16 4 -1.0\n" + stripes(GREY).tobytes())
    for suffix in ("bmp", "webp", "tga", "tiff", "pgm", "gif"):
        yield suffix, f"p.{suffix}", lambda f: Image.fromarray(stripes((GREY * 255).round().astype(np.uint8))).save(f, **dict(lossless=True) if f.suffix == ".webp" else {})


def twelve(values):
    "Pairs of numbers of 12 bits in three bytes."
    a, b = values.reshape(-1, 2).T
    return np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], 1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("name, write", [pytest.param(n, w, id=i) for i, n, w in grey_files()])
def test_the_range_follows_from_the_format(tmp_path, name, write):
    write(tmp_path / name)
    torch.testing.assert_close(columns(tmp_path / name), all_grey, atol=0.0025, rtol=0)


@pytest.mark.parametrize("scale", [1, 0.1, 0.001])
@pytest.mark.parametrize("dtype, most", [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_a_dark_picture_stays_dark(tmp_path, dtype, most, scale):
    Image.fromarray(np.full((8, 8), most * scale).astype(dtype)).save(tmp_path / "p.tif")
    assert load_target(tmp_path / "p.tif", 8, 0)[0].max().item() == pytest.approx(scale, abs=0.004)


@pytest.mark.parametrize("mode, pixel, want", [
    ("1", 1, (1, 1, 1, 1)), ("L", 51, (0.2, 0.2, 0.2, 1)), ("LA", (102, 128), (0.2, 0.2, 0.2, 0.5)), ("La", (51, 128), (0.2, 0.2, 0.2, 0.5)),
    ("RGB", (255, 0, 51), (1, 0, 0.2, 1)), ("RGBA", (255, 0, 102, 128), (0.5, 0, 0.2, 0.5)), ("RGBa", (128, 0, 51, 128), (0.5, 0, 0.2, 0.5)),
    ("RGBX", (255, 0, 51, 0), (1, 0, 0.2, 1)), ("CMYK", (0, 255, 204, 0), (1, 0, 0.2, 1)), ("YCbCr", (76, 85, 255), (1, 0, 0, 1)),
    ("HSV", (0, 255, 255), (1, 0, 0, 1)), ("LAB", (128, 128, 128), (0.468, 0.468, 0.468, 1)), ("I;16", 13107, (0.2, 0.2, 0.2, 1)),
    ("F", 0.2, (0.2, 0.2, 0.2, 1))])
@pytest.mark.parametrize("side", [8, 1100])                         # the large ones are shrunk in another way
def test_each_mode_by_value(mode, pixel, want, side):
    t = load_target(Image.new(mode, (side, side), pixel), 8, 0)
    torch.testing.assert_close(t, torch.tensor(want, dtype=torch.float32)[:, None, None].expand(4, 8, 8), atol=0.012, rtol=0)


@pytest.mark.parametrize("side", [8, 1100])
def test_palettes_with_transparency(tmp_path, side):
    p = Image.new("P", (side, side), 1)
    p.putpalette([0, 0, 255, 255, 0, 0])
    for clear, alpha in ((1, 0), (bytes([255, 128]), 0.5), (0, 1)):
        p.paste(0, (0, 0, side // 2, side))
        p.save(tmp_path / "p.png", transparency=clear)
        t = load_target(tmp_path / "p.png", 8, 0)[:, 4, 6]
        torch.testing.assert_close(t, torch.tensor([alpha, 0.0, 0, alpha]), atol=0.01, rtol=0)


SHORTS = struct.Struct(">H").pack
CLEAR = [  # bits, kind, two pixels, the first of which is clear
    (1, 0, b"\x80", SHORTS(1)), (2, 0, b"\x60", SHORTS(1)), (4, 0, b"\x5c", SHORTS(5)), (8, 0, bytes([9, 200]), SHORTS(9)),
    (16, 0, struct.pack(">2H", 51300, 51301), SHORTS(51300)), (16, 0, struct.pack(">2H", 1, 40000), SHORTS(1)),
    (8, 2, bytes([1, 2, 3, 255, 0, 51]), struct.pack(">3H", 1, 2, 3)),
    (16, 2, struct.pack(">6H", 65000, 7, 13000, 65000, 7, 13001), struct.pack(">3H", 65000, 7, 13000)),    # the lower bytes tell them apart
]


@pytest.mark.parametrize("depth, kind, pixels, clear", CLEAR)
@pytest.mark.parametrize("high", [1, 1100])
def test_the_clear_colour_of_a_png_is_kept(tmp_path, depth, kind, pixels, clear, high):
    (tmp_path / "p.png").write_bytes(png(2, high, depth, kind, [pixels] * high, clear))
    picture, _, _ = targets._open_picture(tmp_path / "p.png", 8)
    planes = [np.asarray(p) for p in targets._planes(picture, targets._ends(picture), 1)]
    assert planes[3].tolist() == [[0, 1]] * high and all((p[:, 0] == 0).all() for p in planes)
    opaque = png(2, high, depth, kind, [pixels] * high)
    (tmp_path / "q.png").write_bytes(opaque)
    picture, _, _ = targets._open_picture(tmp_path / "q.png", 8)
    for got, want in zip(planes[:3], targets._planes(picture, targets._ends(picture), 1)): np.testing.assert_allclose(got[:, 1], np.asarray(want)[:, 1])


def test_transparency_of_large_16_bit_colours(tmp_path):
    rows = [struct.pack(">3H", 700, 700, 700) * 600 + struct.pack(">3H", 65535, 0, 0) * 600] * 1000
    (tmp_path / "p.png").write_bytes(png(1200, 1000, 16, 2, rows, struct.pack(">3H", 700, 700, 700)))
    t = load_target(tmp_path / "p.png", 12, 0)
    assert t[3, 6].tolist() == pytest.approx([0] * 6 + [1] * 6, abs=0.1) and t[1:3].max() == 0


@pytest.mark.parametrize("values, words", [
    ([0, np.nan], "NaN or infinite"), ([np.inf, 0], "NaN or infinite"), ([-0.5, 1], "got -0.5 to 1; expected 0 to 1"), ([0, 255], "got 0 to 255; expected 0 to 1")])
@pytest.mark.parametrize("side", [2, 1100])
def test_floats_outside_their_range_are_refused(tmp_path, values, words, side):
    Image.fromarray(np.tile(np.float32(values), (side, side // 2))).save(tmp_path / "p.tif")
    for picture in (tmp_path / "p.tif", Image.open(tmp_path / "p.tif")):
        with pytest.raises(ValueError, match=f"^picture: .*{words}"): load_target(picture)


@pytest.mark.parametrize("data", [
    tiff(2, 1, 32, 1, struct.pack("<2I", 5, 70000)), tiff(2, 1, 32, 1, struct.pack("<2i", 5, -5), 2), tiff(2, 1, 16, 1, struct.pack("<2h", 5, -5), 2)])
def test_whole_numbers_without_a_white_are_refused(tmp_path, data):
    (tmp_path / "p.tif").write_bytes(data)
    with pytest.raises(ValueError, match="^picture: got whole numbers of 32 bits"): load_target(tmp_path / "p.tif")


# large pictures

def exactly(picture, size):
    "The target in floats all the way."
    rgba = np.asarray(picture.convert("RGBA"), np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]
    w, h = (max(1, round(size * side / max(picture.size))) for side in picture.size)
    small = np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(rgba[..., c])).resize((w, h), Image.LANCZOS)) for c in range(4)]).clip(0, 1)
    return torch.tensor(np.minimum(small, small[3:]))


def scene(width, height, mode="RGBA"):
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 9, (height, width)).astype(np.float32)
    planes = [128 + 100 * np.sin(x / 37) * np.cos(y / 91) + noise, 128 + 90 * np.sin((x + y) / 211), x // 97 % 2 * 200 + 20, (np.hypot(x - width / 2, y - height / 2) < 0.4 * height) * 255]
    return Image.fromarray(np.stack(planes, -1).clip(0, 255).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK"])
@pytest.mark.parametrize("width, height, size", [(1601, 1203, 16), (1999, 1117, 40), (4001, 703, 40)])
def test_a_large_picture_is_shrunk_as_exactly_as_a_small_one(mode, width, height, size):
    picture = scene(width, height, mode)
    t = load_target(picture, size, 0)
    want = exactly(picture, size)
    top = (size - want.shape[1]) // 2
    torch.testing.assert_close(t[:, top:top + want.shape[1]], want, atol=0.01, rtol=0)


def test_large_16_bits_and_floats_are_shrunk_as_exactly(tmp_path):
    grey = np.asarray(scene(1601, 1203, "L"))
    want = exactly(Image.fromarray(grey), 16)
    for values in (grey.astype(np.uint16) * 257, grey / np.float32(255)):
        Image.fromarray(values).save(tmp_path / "p.tif")
        torch.testing.assert_close(load_target(tmp_path / "p.tif", 16, 0)[:, 2:14], want, atol=0.01, rtol=0)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_large_photograph_stands_upright(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    picture = scene(1701, 1203, "RGB")
    picture.save(tmp_path / "p.jpg", quality=97, subsampling=0, exif=exif)
    with Image.open(tmp_path / "p.jpg") as stored: want = exactly(ImageOps.exif_transpose(stored), 20)
    t = load_target(tmp_path / "p.jpg", 20, 0)
    torch.testing.assert_close(t[t[3].expand(4, 20, 20) > 0], want.flatten(), atol=0.02, rtol=0)


def test_clear_colours_do_not_bleed():
    picture = Image.new("RGBA", (1600, 1600), (0, 255, 0, 0))
    picture.paste((255, 0, 0, 255), (801, 0, 1600, 1600))
    t = load_target(picture, 10, 0)
    assert t[1].max() == 0 and (t[0] - t[3]).abs().max() < 0.005


MEASURE = """
import sys
from nca_tutorial.targets import load_target
from nca_tutorial.texture import load_example
def peak(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
before = peak()
for name in sys.argv[1:]: load_target(name)
print(peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="measures memory as Linux does")
def test_memory_is_little_more_than_the_pixels(tmp_path, root):
    colour = {"RGB": "red", "RGBA": (255, 0, 0, 99), "I;16": 9999, "P": 0}
    for mode, value in colour.items(): Image.new(mode, (4000, 3000), value).save(tmp_path / f"{mode[0]}{len(mode)}.png", compress_level=1)
    done = subprocess.run([sys.executable, "-c", MEASURE, *tmp_path.iterdir()], env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True)
    assert int(done.stdout) < 90_000, done.stdout + done.stderr     # kB; the pixels are 48,000, as floats they would be 192,000


# other people's files

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize("fmt", [*FORMATS, "APNG"])
def test_files_are_closed_and_cut_ones_are_refused(tmp_path, fmt):
    path = tmp_path / "p.png"                                       # the name says nothing
    PICTURE.save(path, fmt.removeprefix("A"), **dict(save_all=True, append_images=[PICTURE.rotate(90)]) if fmt in ("APNG", "GIF", "WEBP") else {})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
        t = load_target(path, 64, 0)
        if before: assert len(os.listdir("/proc/self/fd")) == before
        gc.collect()
    assert not [w for w in said if w.category is ResourceWarning]
    if fmt not in ("JPEG", "WEBP", "GIF"): torch.testing.assert_close(t, exactly(PICTURE, 64))       # the first frame
    data = path.read_bytes()
    for share in (0.1, 0.4) if fmt in ("GIF", "APNG", "WEBP") else (0.1, 0.5, 0.8):    # of two frames, the first one
        path.write_bytes(data[:int(share * len(data))])
        with pytest.raises(ValueError, match="^picture: .*not a picture that Pillow can read"): load_target(path)


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (16, 16), c) for c in ("red", "blue", "green")]
    for suffix in ("gif", "webp", "png", "tiff"):
        frames[0].save(tmp_path / f"p.{suffix}", save_all=True, append_images=frames[1:])
        torch.testing.assert_close(load_target(tmp_path / f"p.{suffix}", 8, 0)[:, 4, 4], torch.tensor([1., 0, 0, 1]), atol=0.02, rtol=0)


@pytest.mark.parametrize("fmt", ["EPS", "PDF", "PCX", "SGI", "JPEG2000", "IM"])
def test_no_other_decoder_is_started(tmp_path, monkeypatch, fmt):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: pytest.fail("Ghostscript was started"))
    PICTURE.save(tmp_path / "p.png", fmt)
    with pytest.raises(ValueError, match="not a picture that Pillow can read; expected PNG, JPEG"): load_target(tmp_path / "p.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path, what in ((tmp_path / "pipe.png", "a device or a pipe"), ("/dev/zero", "a device or a pipe"), (tmp_path, "a folder")):
        for read in (load_target, lambda p: emoji_target("🦋", font=p)):
            with pytest.raises(FileNotFoundError, match=f"there is no file .*, but {what}; expected a"): read(path)


@pytest.mark.parametrize("width, height", [(2**14, 2**14), (2**27 + 1, 1), (9, 2**26)])
def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch, width, height):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)            # the limit is not Pillow's
    (tmp_path / "p.png").write_bytes(png(width, height, 8, 2, []))
    with pytest.raises(ValueError, match=f"^picture: got {width} x {height} pixels; expected 1 to {MOST_PIXELS:,} in all"): load_target(tmp_path / "p.png")
    monkeypatch.setattr(targets, "MOST_PIXELS", 8)
    with pytest.raises(ValueError, match="got 3 x 3 pixels; expected 1 to 8 in all"): load_target(Image.new("L", (3, 3)))


@pytest.mark.parametrize("picture, error", [
    (None, TypeError), (3, TypeError), (b"p.png", TypeError), ([], TypeError), (np.zeros((8, 8)), TypeError), (torch.zeros(4, 8, 8), TypeError),
    ("", FileNotFoundError), ("a\0b", FileNotFoundError), ("x" * 5000, FileNotFoundError), ("\ud800", FileNotFoundError), (Image.new("RGB", (0, 5)), ValueError)])
def test_what_is_no_picture_is_refused_by_name(picture, error):
    with pytest.raises(error, match="^picture: "): load_target(picture)


@pytest.mark.parametrize("size, padding, words", [
    (60_000, 0, "size: got 60000; expected 1024 or less"), (40, 10**8, "padding: got 100000000; expected 492 or less"), (1023, 1, "padding: got 1; expected 0 or less")])
def test_large_targets_are_refused(size, padding, words):
    for make in (lambda: load_target(PICTURE, size, padding), lambda: emoji_target("🦋", size, padding)):
        with pytest.raises(ValueError, match=words): make()
    assert load_target(PICTURE, np.int64(1000), np.uint8(12)).shape == (4, MOST_CELLS, MOST_CELLS)


@pytest.mark.parametrize("emoji, error", [
    (None, TypeError), (5, TypeError), (b"x", TypeError), ("", ValueError), ("\ud83e", ValueError), ("🦋 🌷", ValueError), ("🦋\n🌷", ValueError), ("🦋" * 99, ValueError)])
def test_what_is_no_emoji_is_refused_by_name(emoji, error):
    with pytest.raises(error, match="^emoji: got"): emoji_target(emoji)


def test_what_a_font_cannot_draw_is_refused():
    try: targets._emoji_font()
    except FileNotFoundError: pytest.skip("no emoji font here")
    for text in ("🦋🌷", "a", "\0", "\ufe0f", "\u200d"):
        with pytest.raises(ValueError, match="^emoji: "): emoji_target(text)
    assert emoji_target("👩", 8, 0).shape == (4, 8, 8)


def test_a_font_without_emoji_draws_no_empty_box():
    from matplotlib import get_data_path
    with pytest.raises(ValueError, match="cannot draw '🦋'"): emoji_target("🦋", font=f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf")
    with pytest.raises(ValueError, match="cannot draw '🦋'"): emoji_target("🦋", font=__file__)
