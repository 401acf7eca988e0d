"""How soon is a drawing recognisable, and how often does the page see something new? The easel of chapter 11, at 28
cells, with PyTorch's own number of threads, for two pictures of this book and a face. (The easel begins with a gecko's weights, so the
gecko would prove nothing.) Writes drawing.json beside this file, and with --look what the page showed at that moment, as build/drawing.png.  `make bench`, or: python benchmarks/drawing.py --help

Recognisable is a preview whose error is a tenth of what an empty grid scores; look at build/drawing.png and judge for yourself."""
import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from bench import describe
from nca_tutorial.playground import QUICK, Easel, _from_bytes
from nca_tutorial.targets import load_target
from nca_tutorial.viz import show_images

HERE = Path(__file__).resolve().parent
PICTURES = ("butterfly", "mushroom", "face")


def picture(name):  # -> (4, 28, 28), premultiplied
    if name != "face": return load_target(HERE.parent / "nbs" / "images" / f"{name}.png", 28, 0)
    face = Image.new("RGBA", (224, 224))
    pen = ImageDraw.Draw(face)
    pen.ellipse((16, 16, 208, 208), fill="#ffc828")
    for x in (72, 128): pen.ellipse((x, 72, x + 24, 104), fill="#282828")
    pen.arc((64, 72, 160, 168), 20, 160, fill="#c82828", width=16)
    cells = torch.from_numpy(np.array(face.resize((28, 28), Image.Resampling.BOX))).permute(2, 0, 1) / 255
    return torch.cat([cells[:3] * cells[3:], cells[3:]])


def one(name, share, most=None):
    "Train a picture's creature: seconds until it is recognisable, seconds in all, previews a second, and what was seen"
    easel = Easel()
    easel.drawing = picture(name)
    goal, side = easel.target, easel.target.shape[1]
    empty, began, seen, last, when = goal.square().mean().item(), time.monotonic(), 0, b"", None
    shown = torch.zeros_like(goal)
    easel.train(QUICK if most is None else tuple(stage | dict(steps=most) for stage in QUICK))
    while easel.wait(0.02) is None:
        if easel._preview == last: continue
        last, seen = easel._preview, seen + 1
        if when is None and (_from_bytes(last, side) - goal).square().mean() < share * empty:
            when, shown = time.monotonic() - began, _from_bytes(last, side)
    seconds = time.monotonic() - began
    return dict(picture=name, recognisable=when, seconds=seconds, previews=seen / seconds, loss=sum(easel.losses[-20:]) / len(easel.losses[-20:])), (goal, shown)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1, help="of an empty grid's error, below which a preview is recognisable (0.1)")
    parser.add_argument("--look", action="store_true", help="also write build/drawing.png: picture and preview")
    parser.add_argument("--pictures", nargs="+", choices=PICTURES, default=PICTURES, help="only these (all)")
    parser.add_argument("--steps", type=int, help="training steps of each stage, for a trial; needs --out")
    parser.add_argument("--out", type=Path, help="the rows (drawing.json beside this file)")
    args = parser.parse_args(arguments)
    if args.steps is not None and not args.out: parser.error("--steps: name a file with --out; a trial is not for drawing.json")
    machine, rows, seen = describe("cpu", torch.get_num_threads()), [], []
    for name in args.pictures:
        row, pictures = one(name, args.share, args.steps)
        rows, seen = [*rows, row], [*seen, *pictures]
        early = "never" if row["recognisable"] is None else f"{row['recognisable']:.0f} s"
        print(f"{name:<10} recognisable after {early}, done after {row['seconds']:.0f} s, {row['previews']:.1f} previews/s, loss {row['loss']:.1e}", file=sys.stderr)
    (args.out or HERE / "drawing.json").write_text(json.dumps(dict(machine=machine, share=args.share, rows=rows), indent=1) + "\n")
    if args.look:
        (HERE.parent / "build").mkdir(exist_ok=True)
        show_images(seen, cols=2).savefig(HERE.parent / "build" / "drawing.png")


if __name__ == "__main__": main()
