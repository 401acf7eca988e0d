"""Draw the pictures that are kept as PNG from their SVG sources in nbs/images/.

A creature (40 by 40 units) becomes a 40 px RGBA picture: Chromium renders it at 16 times
its size on a transparent ground; the mean of every 16 by 16 block, taken with the colours
premultiplied by alpha, is one pixel. A texture (96 by 96 units, no alpha) becomes 96 px
in the same way. The logo and the cover are rendered as they are.
Run as `python tools/draw_targets.py [name ...]`; CHROMIUM names another browser, and
`--out FOLDER` another folder for the pictures.
"""

import argparse
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import browser

IMAGES = Path(__file__).resolve().parent.parent / "nbs" / "images"
SIZE, TIMES = 40, 16
CREATURES = ("gecko", "butterfly", "mushroom")
TEXTURES, TEXTURE_SIZE = ("scales", "weave", "spots"), 96
PLAIN = {"logo": (256, 256), "cover": (1280, 640)}
ALL = (*CREATURES, *TEXTURES, *PLAIN)


def render(page, svg: Path, width: int, height: int) -> np.ndarray:
    "The drawing at `width` by `height` pixels, straight alpha, uint8."
    style = "html,body{margin:0;background:transparent} svg{display:block;width:100vw;height:100vh}"
    page.set_viewport_size({"width": width, "height": height})
    page.set_content(f"<style>{style}</style>{svg.read_text(encoding='utf-8')}")
    png = page.screenshot(omit_background=True)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def shrink(big: np.ndarray) -> np.ndarray:
    "Block means with premultiplied colours, back to straight alpha."
    rgba = big.astype(np.float64) / 255
    rgba[..., :3] *= rgba[..., 3:]
    rgba = rgba.reshape(SIZE, TIMES, SIZE, TIMES, 4).mean(axis=(1, 3))
    alpha = rgba[..., 3:]
    rgba[..., :3] = np.divide(rgba[..., :3], alpha, out=np.zeros_like(rgba[..., :3]), where=alpha > 0)
    small = np.round(rgba * 255).clip(0, 255).astype(np.uint8)
    small[small[..., 3] == 0] = 0
    return small


def check(name: str, small: np.ndarray):
    "A target grows from its middle: opaque there, in one piece, with a clear margin."
    solid = np.pad(small[..., 3] > 25, 1)  # alpha 0.1, below which a cell counts as dead
    rim = np.concatenate([small[[0, -1], :, 3].ravel(), small[:, [0, -1], 3].ravel()])
    if small[SIZE // 2, SIZE // 2, 3] < 255:
        sys.exit(f"{name}: the middle pixel is not opaque")
    if rim.any():
        sys.exit(f"{name}: no transparent margin")
    reach, before = np.zeros_like(solid), None
    reach[SIZE // 2 + 1, SIZE // 2 + 1] = True
    while before is None or (reach != before).any():
        before = reach
        reach = solid & np.logical_or.reduce([np.roll(reach, s, a) for s in (-1, 0, 1) for a in (0, 1)])
    if (reach != solid).any():
        sys.exit(f"{name}: in more than one piece")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)} (all)")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures (nbs/images)")
    args = parser.parse_args(arguments)
    names = args.names or ALL
    for name in names:
        if name not in ALL:
            sys.exit(f"no drawing named {name!r}; there are {', '.join(ALL)}")
    path = browser.find() or sys.exit(browser.MISSING)
    browser.lend_node()
    with sync_playwright() as play:
        chrome = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--force-color-profile=srgb"])
        page = chrome.new_page()
        for name in names:
            side = (TEXTURE_SIZE if name in TEXTURES else SIZE) * TIMES
            picture = render(page, IMAGES / f"{name}.svg", *PLAIN.get(name, (side, side)))
            if name in CREATURES:
                picture = shrink(picture)
                check(name, picture)
            picture = Image.fromarray(picture)
            if name in TEXTURES:
                picture = picture.convert("RGB").resize((TEXTURE_SIZE, TEXTURE_SIZE), Image.Resampling.BOX)
            if name == "cover":
                picture = picture.convert("RGB")
            file = args.out / f"{name}.png"
            picture.save(file, optimize=True)
            print(f"{args.out.name}/{file.name}  {picture.width} by {picture.height}, {file.stat().st_size / 1024:.1f} KB")
        chrome.close()


if __name__ == "__main__":
    main()
