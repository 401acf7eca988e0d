"""Draw the creatures: images/*.svg (40 by 40 units) to 40 px RGBA pictures beside them.

Chromium renders each drawing at 16 times its size on a transparent ground; the mean of
every 16 by 16 block, taken with the colours premultiplied by alpha, is one pixel.
Run as `python tools/draw_targets.py [name ...]`; set CHROMIUM to use another browser.
"""

import io, os, shutil, sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "images"
CREATURES = ("gecko", "butterfly", "mushroom")
SIZE, TIMES = 40, 16


def render(page, svg: Path) -> np.ndarray:
    "The drawing at `SIZE * TIMES` pixels a side, straight alpha, uint8."
    style = "html,body{margin:0;background:transparent} svg{display:block;width:100vw;height:100vh}"
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
    solid = small[..., 3] > 25  # alpha 0.1, below which a cell counts as dead
    rim = np.concatenate([small[0, :, 3], small[-1, :, 3], small[:, 0, 3], small[:, -1, 3]])
    assert small[SIZE // 2, SIZE // 2, 3] == 255, f"{name}: the middle pixel is not opaque"
    assert not rim.any(), f"{name}: no transparent margin"
    reach = np.zeros_like(solid)
    reach[SIZE // 2, SIZE // 2] = True
    while True:
        grown = np.pad(reach, 1)
        grown = grown[1:-1, 1:-1] | grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]
        grown &= solid
        if (grown == reach).all():
            break
        reach = grown
    assert (reach == solid).all(), f"{name}: in more than one piece"
    return solid.mean()


def main(names):
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as play:
        chrome = play.chromium.launch(executable_path=browser, args=["--no-sandbox", "--force-color-profile=srgb"])
        page = chrome.new_page(viewport={"width": SIZE * TIMES, "height": SIZE * TIMES})
        for name in names:
            small = shrink(render(page, IMAGES / f"{name}.svg"))
            covered = check(name, small)
            Image.fromarray(small).save(IMAGES / f"{name}.png", optimize=True)
            print(f"images/{name}.png  {SIZE} by {SIZE}, {covered:.0%} covered")
        chrome.close()


if __name__ == "__main__":
    main(sys.argv[1:] or CREATURES)
