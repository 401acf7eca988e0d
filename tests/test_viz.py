"Pictures and films: exact pixels, files that can be read back, and bad input that leaves nothing behind."
import base64
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from nca_tutorial import viz
from nca_tutorial.viz import *

few = settings(max_examples=40, deadline=None)


@st.composite
def pictures(draw, channels=(1, 3, 4)):
    c, h, w = draw(st.sampled_from(channels)), draw(st.integers(1, 7)), draw(st.integers(1, 7))
    a = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((c, h, w), np.float32)
    if c == 4: a[:3] *= a[3:]
    return a


def frames_of(data):
    film = Image.open(io.BytesIO(data))
    for i in range(getattr(film, "n_frames", 1)):
        film.seek(i)
        yield np.asarray(film.convert("RGBA"))


def html_bytes(film): return base64.b64decode(re.search(r"base64,([^\"]+)", film._repr_html_())[1])


@few
@given(pictures(), st.integers(1, 4), st.sampled_from([torch.float32, torch.float64, torch.float16, "numpy"]))
def test_as_image_gives_the_pixels(a, scale, kind):
    img = np.asarray(as_image(a if kind == "numpy" else torch.tensor(a, dtype=kind), scale=scale)).astype(int)
    want = a[:3] + (1 - a[3:]) if len(a) == 4 else a.repeat(3, 0) if len(a) == 1 else a
    want = (want.transpose(1, 2, 0) * 255).repeat(scale, 0).repeat(scale, 1)
    assert img.shape == want.shape and np.abs(img - want).max() <= 0.75


@few
@given(pictures((4,)))
def test_kept_alpha_composites_to_the_same_picture(a):
    kept = as_image(a, background=None)
    assert kept.mode == "RGBA"
    on_white = Image.alpha_composite(Image.new("RGBA", kept.size, "white"), kept).convert("RGB")
    assert np.abs(np.asarray(on_white).astype(int) - np.asarray(as_image(a)).astype(int)).max() <= 2


def test_tensors_with_gradients_views_and_booleans():
    x = torch.rand(3, 4, 5, requires_grad=True)
    assert as_image(x.flip(1)).size == (5, 4)
    assert as_image(torch.ones(2, 2, dtype=torch.bool)).getpixel((0, 0)) == (255, 255, 255)
    assert as_image(np.zeros((2, 2), np.int64), colors=("ink", "paper")).getpixel((0, 0)) == (0x1F, 0x24, 0x30)


@pytest.mark.parametrize("bad, error, why", [
    (np.zeros(4), ValueError, "(4,)"), (np.zeros((2, 4, 4)), ValueError, "1, 3 or 4 channels"), (np.zeros((5, 4, 4)), ValueError, "channels"),
    (np.zeros((1, 4, 8, 8)), ValueError, "(1, 4, 8, 8)"), (np.zeros((0, 4)), ValueError, "nothing to show"), (np.zeros((3, 4, 0)), ValueError, "nothing"),
    (np.full((4, 4), np.nan), ValueError, "NaN"), (torch.full((4, 4), float("inf")), ValueError, "infinite"),
    (np.full((4, 4), 255, np.uint8), ValueError, "got whole numbers from 255 to 255; expected 0 or 1"), (np.full((4, 4), -1), ValueError, "from -1 to -1"),
    (np.array([["a"]]), TypeError, "array of numbers"), (None, TypeError, "got None"), ("glider.png", TypeError, "got 'glider.png'"), (np.zeros((4, 4), complex), TypeError, "numbers")])
def test_bad_pictures(bad, error, why):
    with pytest.raises(error, match="^picture: ") as e: as_image(bad)
    assert why in str(e.value)
    with pytest.raises(error, match="^picture: "): Film([bad])
    with pytest.raises(error, match="^picture: "): show_images([bad])


@pytest.mark.parametrize("options, why", [
    (dict(scale=0), "scale: got 0; expected 1 or more"), (dict(scale=-2), "scale: got -2"), (dict(background="nowhere"), "background: got 'nowhere'"), (dict(background=2.0), "from 0 to 1"),
    (dict(background=float("nan")), "from 0 to 1"), (dict(background=(0.1, 0.2)), "(r, g, b)"), (dict(colors=("ink", "paper")), "this picture has 4"), (dict(colors=("ink",)), "colors")])
def test_bad_options(options, why):
    with pytest.raises(ValueError) as e: as_image(np.zeros((4, 2, 2)), **options)
    assert why in str(e.value)


# films

@few
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 9), st.integers(1, 9))
def test_films_of_worlds_are_lossless(seed, n, h, w):
    worlds = np.random.default_rng(seed).integers(0, 2, (n, h, w))
    worlds[:, 0, 0] = np.arange(n) % 2  # neighbours in time differ, so that no writer may merge them
    back = list(frames_of(html_bytes(Film(torch.tensor(worlds), colors=("paper", "leaf")))))
    assert len(back) == n
    for frame, world in zip(back, worlds): np.testing.assert_array_equal(frame[..., :3], np.asarray(as_image(world, colors=("paper", "leaf"))))


def creature(t, size=40):
    y, x = np.mgrid[-1:1:size * 1j, -1:1:size * 1j]
    alpha = (6 * (0.5 + 0.3 * t - np.hypot(x, y))).clip(0, 1)
    noise = np.random.default_rng(int(t * 1000)).normal(0, 0.01, (3, size, size))
    return np.concatenate([(np.stack([0.5 + 0.4 * np.sin(5 * x), 0.6 + 0.3 * np.cos(4 * y), 0.5 + 0.2 * x]) + noise).clip(0, 1) * alpha, alpha[None]])


def test_films_of_creatures_are_small_and_close():
    a = [creature(t) for t in np.linspace(0, 1, 30)]
    film = Film(a)
    data = html_bytes(film)
    assert len(data) < 40_000
    for frame, want in zip(frames_of(data), film.images, strict=True):
        frame, want = frame.astype(float), np.asarray(want).astype(float)
        assert np.abs(frame[..., 3] - want[..., 3]).max() == 0
        seen = want[..., 3:] / 255
        assert np.sqrt((((frame - want)[..., :3] * seen) ** 2).mean()) < 6
    assert len(html_bytes(Film(a, quality=95))) > len(data)


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png", ".GIF"])
@pytest.mark.parametrize("c", [1, 3, 4])
def test_files_can_be_read_back(tmp_path, suffix, c):
    frames = np.stack([creature(t)[:c] if c > 1 else creature(t)[3:] for t in np.linspace(0, 1, 6)])
    path = Film(frames, fps=10, scale=3).save(tmp_path / f"film{suffix}")
    film = Image.open(path)
    assert (film.n_frames, film.size, film.info["loop"]) == (6, (120, 120), 0)
    assert film.info.get("duration", 100) == 100
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_saving_replaces_in_one_go(tmp_path, monkeypatch):
    film = Film(np.zeros((2, 4, 4)))
    path = film.save(str(tmp_path / "a.webp"))
    good = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"): film.save(path)
    assert path.read_bytes() == good and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name, error", [
    ("film.mp4", ValueError), ("film", ValueError), ("", ValueError), ("missing/film.gif", FileNotFoundError), ("file.txt/film.gif", NotADirectoryError), ("folder.gif", IsADirectoryError)])
def test_bad_paths_leave_nothing(tmp_path, name, error):
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "file.txt").write_text("kept")
    with pytest.raises(error, match="^path: "): Film(np.zeros((2, 4, 4))).save(tmp_path / name if name else "")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file.txt", "folder.gif"]


@pytest.mark.parametrize("frames, options, why", [
    ([], {}, "at least one picture"), (np.zeros((0, 4, 4)), {}, "at least one"), (np.zeros((2, 1, 4, 4, 4)), {}, "one world at a time"), (np.zeros((4,)), {}, "frames: got shape (4,); expected (T, H, W)"),
    ([np.zeros((4, 4)), np.zeros((4, 5))], {}, "one shape"), ([np.zeros((4, 4, 4)), np.zeros((3, 4, 4))], {}, "one shape"), ([np.zeros((4, 4))], dict(fps=0), "fps"),
    ([np.zeros((4, 4))], dict(fps=1000), "fps"), ([np.zeros((4, 4))], dict(fps=float("nan")), "fps"), ([np.zeros((4, 4))], dict(scale=0), "scale"), ([np.zeros((4, 4))], dict(quality=0), "quality")])
def test_bad_films(frames, options, why):
    with pytest.raises(ValueError) as e: Film(frames, **options)
    assert why in str(e.value)


def test_html_is_safe_and_fits_a_phone():
    film = Film(np.zeros((3, 10, 100)), scale=8, alt='a "sharp" <b>film</b>')
    tag = film._repr_html_()
    assert 'alt="a &quot;sharp&quot; &lt;b&gt;film&lt;/b&gt;"' in tag
    assert 'class="film"' in tag and "width:800px;max-width:100%;height:auto;image-rendering:pixelated" in tag
    assert "100 by 10 cells" in Film(np.zeros((3, 10, 100)))._repr_html_()
    assert len(film) == 3 and "3 frames of 100×10" in repr(film)


def test_film_takes_a_generator_and_one_frame():
    assert len(Film(np.zeros((4, 4)) for _ in range(3))) == 3
    assert len(list(frames_of(html_bytes(Film([np.ones((4, 4))]))))) == 1


# figures

def test_pictures_keep_whole_numbered_zoom_and_stay_in_the_figure():
    pics = [np.zeros((5, 9)), np.zeros((3, 20, 10)), np.zeros((4, 400, 400))]
    fig = show_images(pics, ["a", "", "c"], cols=2, size=1.0, suptitle="all")
    W, H = fig.get_size_inches() * fig.dpi
    for ax, pic in zip(fig.axes, pics, strict=True):
        box = ax.get_position()
        assert 0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1
        k = box.width * W / pic.shape[-1]
        assert abs(k - round(k)) < 1e-6 and k >= 1 and abs(box.height * H - k * pic.shape[-2]) < 1e-6
    fig.savefig(io.BytesIO())


def test_names_of_rows_stand_left_of_their_pictures_and_in_the_figure():
    fig = show_images([np.zeros((6, 6))] * 5, ["x", "y"], cols=2, size=0.5, rows=["a", "", "a long name"])
    fig.canvas.draw()
    names = [t.get_window_extent() for t in fig.texts]
    for name, ax in zip(names, fig.axes[::2], strict=True):
        box = ax.get_window_extent()
        assert 0 <= name.x0 and name.x1 < box.x0 and (name.width == 0 or abs((name.y0 + name.y1) - (box.y0 + box.y1)) < 4)


def test_bad_grids():
    for args, why in [(([],), "at least one"), (([np.zeros((2, 2))], ["a", "b"]), "2 titles for 1"), (([np.zeros((2, 2))], None, 0), "cols"), (([np.zeros((2, 2))], None, -1), "cols")]:
        with pytest.raises(ValueError) as e: show_images(*args)
        assert why in str(e.value)


@few
@given(st.lists(st.floats(-1e30, 1e30) | st.sampled_from([0.0, float("nan"), float("inf"), -float("inf")]), max_size=30))
def test_plot_loss_draws_or_refuses(losses):
    if any(0 < v < float("inf") for v in losses): assert plot_loss(losses).axes[0].get_yscale() == "log"
    else:
        with pytest.raises(ValueError, match="losses: got none among .*; expected positive numbers"): plot_loss(losses)


def test_plot_loss_takes_tensors_and_a_target():
    ax = plot_loss(torch.logspace(0, -3, 100), target=1e-2).axes[0]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["target 0.01"]
    assert viz.plt.get_fignums() == []


# bad input, by the name of the argument

CALLS = dict(
    as_color=(as_color, dict(color="ink")),
    as_image=(as_image, dict(picture=np.zeros((4, 4)), scale=1, background=1.0, colors=None)),
    book_figure=(book_figure, dict(rows=1, cols=1, width=3, height=3)),
    show_images=(show_images, dict(pictures=[np.zeros((4, 4))], titles=None, cols=None, size=1.6, suptitle=None, background=1.0, colors=None, grid=False, rows=None)),
    Film=(Film, dict(frames=np.zeros((2, 4, 4)), fps=20, scale=4, background=None, colors=None, alt=None, quality=75)),
    save=(Film(np.zeros((2, 4, 4))).save, dict(path="film.gif")),
    plot_loss=(plot_loss, dict(losses=[1.0, 0.5], target=None)))


class Odd:
    def __getattr__(self, name): raise AttributeError(name)
    def __repr__(self): raise RuntimeError("no repr")
    def __iter__(self): raise RuntimeError("no items")
    def __array__(self, *args, **kwargs): raise RuntimeError("no array")


BAD = [Odd(), 1j, b"x", {1: 2}, -1, float("nan"), float("inf"), (i for i in ()), np.zeros((3, 8, 8), complex), torch.zeros(2, 2, dtype=torch.complex64), torch.zeros(2, 2, device="meta"),
       torch.zeros(0), 10**30]


@pytest.mark.parametrize("call, name", [(c, n) for c, (_, kwargs) in CALLS.items() for n in kwargs])
def test_what_is_bad_is_refused_by_name(tmp_path, monkeypatch, call, name):
    monkeypatch.chdir(tmp_path)
    f, kwargs = CALLS[call]
    f(**kwargs)
    for bad in BAD:
        if name in ("titles", "rows") and isinstance(bad, (dict, torch.Tensor, np.ndarray)) or (name, bad is BAD[-1]) == ("target", True): continue
        if name in ("titles", "rows") and hasattr(bad, "__next__"): continue
        with pytest.raises((ValueError, TypeError), match=f"^({name}|picture): "): f(**{**kwargs, name: bad})
    assert len(list(tmp_path.iterdir())) == (call == "save")


@pytest.mark.parametrize("call, error, words", [
    (lambda: as_image(np.zeros((4, 4)), scale=1.5), TypeError, "scale: got 1.5; expected a whole number"), (lambda: as_image(np.zeros((4, 4)), scale=10**8), ValueError, "scale: got 100000000; expected 8192 or less"),
    (lambda: as_image(np.zeros((4, 4)), scale=True), TypeError, "scale: got True"), (lambda: as_image(np.zeros((4, 4)), colors={"ink", "paper"}), TypeError, "colors: got {"),
    (lambda: as_image(np.zeros((4, 4)), colors=("ink", "x")), ValueError, "colors: got 'x'; expected a colour"), (lambda: as_image(np.zeros((4, 4)), background="x"), ValueError, "background: got 'x'"),
    (lambda: Film(np.zeros((2, 4, 4)), scale=2049), ValueError, "scale: got 2049; expected 2048 or less"), (lambda: Film(np.zeros((2, 4, 4)), fps=1e-9), ValueError, "fps: got 1e-09; expected"),
    (lambda: Film(np.zeros((2, 4, 4)), fps="20"), TypeError, "fps: got '20'; expected a number"), (lambda: Film(np.zeros((2, 4, 4)), quality=7.5), TypeError, "quality: got 7.5"),
    (lambda: Film("ab"), TypeError, "frames: got 'ab'; expected a list of pictures"), (lambda: Film(np.zeros((4, 4)) for _ in iter(int, 1)), ValueError, "frames: got more than 10000"),
    (lambda: Film(np.zeros((1, 2, 8193))), ValueError, "frames: got the shape .*; expected 8192 cells or less"), (lambda: show_images([np.zeros((4, 4))] * 2, titles="ab"), TypeError, "titles: got 'ab'; expected a list"),
    (lambda: show_images([np.zeros((4, 4))], rows="a"), TypeError, "rows: got 'a'"), (lambda: show_images([np.zeros((4, 4))], cols=2.0), TypeError, "cols: got 2.0"),
    (lambda: show_images([np.zeros((4, 4))], size=64, cols=256), ValueError, "pictures: got 1, which need"), (lambda: show_images([np.zeros((4, 4))], suptitle=5), TypeError, "suptitle: got 5"),
    (lambda: book_figure(rows=10**6), ValueError, "rows: got 1000000; expected 64 or less"), (lambda: book_figure(width=0), ValueError, "width: got 0; expected more than 0"),
    (lambda: plot_loss("123"), TypeError, "losses: got '123'"), (lambda: plot_loss({1.0, 2.0}), TypeError, "losses: got {"), (lambda: plot_loss(torch.zeros(2, 2)), ValueError, r"losses: got shape \(2, 2\)"),
    (lambda: plot_loss([1.0], target=0), ValueError, "target: got 0; expected more than 0"), (lambda: plot_loss([1.0], target="x"), TypeError, "target: got 'x'")])
def test_bounds_by_value(call, error, words):
    with pytest.raises(error, match=f"^{words}"): call()


def test_numbers_of_other_kinds_count(tmp_path):
    assert as_image(np.zeros((4, 4)), scale=np.int64(3)).size == (12, 12)
    film = Film(np.zeros((2, 4, 4)), fps=np.int64(10), scale=np.uint8(3), quality=np.int32(50))
    assert film.fps == 10 and type(film.fps) is int and "10 a second" in repr(film)
    for suffix in ("gif", "webp", "png"):                           # the slowest film that all formats can hold
        with Image.open(Film(np.eye(4)[:, None] * np.ones((4, 1)), fps=1 / 60).save(tmp_path / f"f.{suffix}")) as slow: slow.seek(1); assert slow.info.get("duration", 60_000) == 60_000
    half = torch.full((2, 2), 0.5)
    for kind in (torch.bfloat16, torch.float16, torch.float64): assert as_image(half.to(kind)).getpixel((0, 0)) == (128, 128, 128)
    assert as_image(half.to_sparse()).getpixel((1, 1)) == (128, 128, 128)
    np.testing.assert_allclose(as_color(torch.tensor([0.25, 0.5, 1.0], requires_grad=True)), [0.25, 0.5, 1])
    assert len(show_images([np.zeros((4, 4))] * 3, cols=np.int64(2), titles=("a", "b")).axes) == 3
