"""How does any picture fare? Twelve pictures that are not the book's, each made into a creature by one call,
`grow_creature`, and measured: error over time, share healed of each kind of wound, seconds. Writes
pictures.json beside this file after every picture; a run that was stopped goes on where it was, and what is there
already is not trained again. Creatures are kept in build/pictures/.

    python benchmarks/pictures.py                        the whole table
    python benchmarks/pictures.py wreath bicycle --seeds 0 1 2
    python benchmarks/pictures.py holiday.png            a picture of your own
    python benchmarks/pictures.py --sheet                only the pictures: build/pictures.png
    python benchmarks/pictures.py --check                only what can be said before any training

Ten pictures are drawn here, by code; two are photographs that come inside scikit-image, both CC0 by their photographers:
`coffee` (Rachel Michetti) and `chelsea` (Stefan van der Walt). Nothing is downloaded."""
import argparse
import hashlib
import json
import math
import os
import sys
import time
from pathlib import Path

from bench import describe              # first: it says that threads which wait shall not spin
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from nca_tutorial.core import NCAModel, seed_state, to_rgba
from nca_tutorial.ground import write_files
from nca_tutorial.pictures import grow_creature, measure, obstacles, seat, verdict
from nca_tutorial.regeneration import cut_half
from nca_tutorial.targets import load_target
from nca_tutorial.viz import show_images

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
AGES = (200, 2000, 10000)
UNIT = 64                                                                   # dots a cell while drawing; a quarter is kept

# ---------------------------------------------------------------- twelve pictures, drawn in cells of a 24-cell square


def page(colour="#00000000"): return Image.new("RGBA", (24 * UNIT, 24 * UNIT), colour)


def dots(*cells): return [c * UNIT for c in cells]


def disc(pen, x, y, r, fill): pen.ellipse(dots(x - r, y - r, x + r, y + r), fill=fill)


def around(x, y, r, turns): return x + r * math.sin(2 * math.pi * turns), y - r * math.cos(2 * math.pi * turns)


def stroke(pen, places, fill, width):
    "A line through places, with round ends and corners."
    pen.line([tuple(dots(*p)) for p in places], fill, round(width * UNIT))
    for x, y in places: disc(pen, x, y, width / 2, fill)


def coffee():
    "A photograph, cut out with a soft edge: a cup on its saucer."
    from skimage import data
    photo, mask = Image.fromarray(data.coffee()).convert("RGBA"), Image.new("L", (600, 400))
    pen = ImageDraw.Draw(mask)
    pen.ellipse((76, 88, 480, 388), fill=255)
    pen.ellipse((172, 16, 412, 210), fill=255)
    photo.putalpha(mask.filter(ImageFilter.GaussianBlur(3)))
    return photo.crop((68, 8, 488, 396))


def badge():
    "A logo: a glider of Conway's Life on a rounded square."
    image = page()
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle(dots(0.5, 0.5, 23.5, 23.5), 5 * UNIT, fill="#5b3df0")
    for x, y in ((1, 0), (2, 1), (0, 2), (1, 2), (2, 2)): disc(pen, 6 + 6 * x, 6 + 6 * y, 2.4, "#ffd23f" if y < 2 else "#ffffff")
    return image.reduce(4)


def bicycle():
    "Thin lines, hardly more than one cell wide."
    image = page()
    pen = ImageDraw.Draw(image)
    rear, front, crank, seat, head = (5.2, 16), (18.8, 16), (11.2, 16), (9.4, 9), (16.8, 9)
    for wheel in (rear, front): pen.ellipse(dots(wheel[0] - 5, wheel[1] - 5, wheel[0] + 5, wheel[1] + 5), outline="#22303c", width=UNIT)
    stroke(pen, (rear, seat, crank, rear), "#e0312f", 0.9)
    stroke(pen, (seat, head, crank), "#e0312f", 0.9)
    stroke(pen, (front, (16.4, 7), (18.6, 6.4)), "#22303c", 0.9)
    stroke(pen, (seat, (9, 7.2)), "#22303c", 0.9)
    stroke(pen, ((7.6, 7), (10.6, 7)), "#7a4a21", 1.1)
    return image.reduce(4)


def wreath():
    "A ring with a hole in its middle, where the seed falls: leaves, berries and a bow."
    image = page()
    pen = ImageDraw.Draw(image)
    pen.ellipse(dots(2, 2, 22, 22), outline="#2c6e37", width=5 * UNIT)
    for i in range(44): disc(pen, *around(12, 12, (9.8, 7.2, 8.6)[i % 3], i / 44), 1.2, ("#3f9b4b", "#256030", "#6cbf5a")[i % 3])
    for i in range(7): disc(pen, *around(12, 12, 8.4, (i + 0.5) / 7), 1.15, "#d8202f")
    for way in (-1, 1): pen.polygon(dots(12, 20.5, 12 + way * 5, 17.6, 12 + way * 5, 23.4), fill="#f4c531")
    disc(pen, 12, 20.5, 1.5, "#d99a1c")
    return image.reduce(4)


def letters():
    "Two letters of a font that comes with Matplotlib."
    from matplotlib import get_data_path
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSerif-Bold.ttf", 17 * UNIT)
    image = Image.new("RGBA", (32 * UNIT, 26 * UNIT))
    pen = ImageDraw.Draw(image)
    pen.text(dots(1, 18), "A", font=font, fill="#c4262e", anchor="ls")
    pen.text(dots(13.6, 18), "g", font=font, fill="#1d4e9e", anchor="ls")
    return image.crop(image.getbbox()).reduce(4)


def orrery():
    "Three parts that do not touch: a planet, a star and a moon, with empty cells between them."
    image = page()
    pen = ImageDraw.Draw(image)
    disc(pen, 12, 12.2, 4.2, "#e8743b")
    for y, half in ((10.8, 3.8), (13.4, 3.8)): stroke(pen, ((12 - half + 0.7, y), (12 + half - 0.7, y)), "#f9b872", 1.1)
    pen.polygon(dots(*[c for i in range(10) for c in around(21, 3, (3, 1.6)[i % 2], i / 10)]), fill="#ffd23f")
    disc(pen, 3.2, 20.8, 3.2, "#7fb2e5")
    disc(pen, 5, 19.6, 2.4, (0, 0, 0, 0))
    return image.reduce(4)


def cat():
    "A photograph that fills its frame: a square without any empty cell."
    from skimage import data
    return Image.fromarray(data.chelsea()).convert("RGBA").crop((75, 0, 375, 300))


def elephant():
    "Shades of grey only."
    image = page()
    pen = ImageDraw.Draw(image)
    for x, shade in ((9.4, 95), (18.6, 95), (6, 130), (15.4, 130)): pen.rounded_rectangle(dots(x, 13, x + 3.2, 21.6), UNIT, fill=(shade,) * 3)
    pen.ellipse(dots(4.6, 5.4, 21.4, 17.2), fill=(150,) * 3)
    stroke(pen, ((21, 10), (22.6, 12.6), (22.4, 15)), (110,) * 3, 0.9)
    stroke(pen, ((3, 9), (1.7, 13), (1.8, 17), (3.2, 19.6)), (165,) * 3, 2.3)
    disc(pen, 5, 8.4, 4.3, (165,) * 3)
    pen.ellipse(dots(5.6, 4.2, 11.4, 13), fill=(105,) * 3)
    pen.ellipse(dots(6.4, 5, 11, 12.2), fill=(190,) * 3)
    disc(pen, 3.4, 7.6, 0.75, (15,) * 3)
    stroke(pen, ((3.4, 12.2), (4.4, 14.4), (6, 15)), (250,) * 3, 1)
    return image.reduce(4)


def ghost():
    "Soft edges: a glow without any outline."
    image, face = page("#bfe4ff00"), page("#27406b00")
    pen = ImageDraw.Draw(image)
    pen.pieslice(dots(5.5, 4.5, 18.5, 17.5), 180, 360, fill="#bfe4ff")
    pen.polygon(dots(5.5, 11, 18.5, 11, 19, 19.4, 16.8, 17.6, 14.4, 20, 12, 17.6, 9.6, 20, 7.2, 17.6, 5, 19.4), fill="#bfe4ff")
    glow = image.filter(ImageFilter.GaussianBlur(1.5 * UNIT))
    pen = ImageDraw.Draw(face)
    for x in (9.3, 14.7): pen.ellipse(dots(x - 1.2, 9, x + 1.2, 12.6), fill="#27406b")
    pen.ellipse(dots(11, 13.6, 13, 16), fill="#27406b")
    glow.alpha_composite(face.filter(ImageFilter.GaussianBlur(0.25 * UNIT)))
    return glow.reduce(4)


def panther():
    "Very dark: a black cat that sits, and its eyes."
    image, black = page(), "#0b0b10"
    pen = ImageDraw.Draw(image)
    stroke(pen, [around(17, 17.5, 4.6, t / 20) for t in range(2, 11)] + [(12, 22.2)], black, 1.9)
    pen.ellipse(dots(5.4, 9.6, 16.6, 25), fill=black)
    pen.rectangle(dots(0, 23, 24, 24), fill=(0, 0, 0, 0))
    pen.ellipse(dots(4.8, 3.4, 15.2, 12.6), fill=black)
    for way in (-1, 1): pen.polygon(dots(10 + way * 5, 0.6, 10 + way * 5.1, 7, 10 + way * 1.2, 4.2), fill=black)
    for x in (7.7, 12.3): pen.ellipse(dots(x - 1.15, 6.7, x + 1.15, 9), fill="#2f5a1c")
    return image.reduce(4)


def mandala():
    "Very symmetric: sixteen petals about the middle, each like every other of its kind."
    image = page()
    pen = ImageDraw.Draw(image)
    for far, wide, fills in ((11.7, 0.058, ("#e6446b", "#f2a33a")), (8.4, 0.06, ("#7b2d8b", "#2b7fb8"))):
        for i in (*range(0, 16, 2), *range(1, 16, 2)):
            t, out = i / 16, far * (1, 0.86)[i % 2]
            pen.polygon(dots(*[c for u in range(33) for c in around(12, 12, out * (1 - abs(u / 16 - 1) ** 1.6), t + wide * math.sin(math.pi * (u / 16 - 1)))]), fill=fills[i % 2])
    for r, fill in ((3.6, "#fff3d6"), (2.4, "#e6446b"), (1.2, "#f7d047")): disc(pen, 12, 12, r, fill)
    return image.reduce(4)


def girl():
    "A face: red hair, green eyes."
    image, hair, skin = page(), "#b5441f", "#f6c7a0"
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle(dots(2.2, 1, 21.8, 23), 9.6 * UNIT, fill=hair)
    pen.ellipse(dots(5, 4.6, 19, 22.6), fill=skin)
    pen.chord(dots(3.6, 1.4, 20, 13), 165, 345, fill=hair)
    for x in (8.8, 15.2):
        pen.ellipse(dots(x - 1.7, 10.6, x + 1.7, 14), fill="#ffffff")
        disc(pen, x, 12.4, 1.25, "#2d6b3f")
        disc(pen, x, 16.4, 1.5, "#f19a86")
    stroke(pen, ((12, 13.4), (12, 15.6)), "#d99570", 0.8)
    pen.chord(dots(8.8, 14.8, 15.2, 20.4), 15, 165, fill="#c2263a")
    return image.reduce(4)


PICTURES = {"coffee": (coffee, "a photograph, cut out"), "badge": (badge, "a logo"), "bicycle": (bicycle, "thin lines"),
            "wreath": (wreath, "a ring with a hole"), "letters": (letters, "letters"), "orrery": (orrery, "parts that do not touch"),
            "cat": (cat, "a full frame"), "elephant": (elephant, "grey"), "ghost": (ghost, "soft edges"),
            "panther": (panther, "very dark"), "mandala": (mandala, "very symmetric"), "girl": (girl, "a face")}


def read(name, size, padding):
    "A picture of this file by its name, or any picture file, as a target, its seed on ink."
    return seat(load_target(PICTURES[name][0]() if name in PICTURES else name, size, padding))


# ---------------------------------------------------------------- the table


def folder(row): return BUILD / "pictures" / "{picture}-{size}-{padding}-{seed}".format(**row)


def fare(asked, target):
    "Train a creature, keep it, measure it -> the row of the table."
    wall, cpu = time.monotonic(), time.process_time()
    row = asked | dict(obstacles=obstacles(target), machine=describe("cpu", torch.get_num_threads()))
    try: model, history = grow_creature(target, seed=asked["seed"], progress=False)
    except FloatingPointError as e: return row | dict(seconds=time.monotonic() - wall, cpu_seconds=time.process_time() - cpu, error={}, healed={}, verdict=f"training failed: {e}")
    spent = dict(seconds=time.monotonic() - wall, cpu_seconds=time.process_time() - cpu)
    if history.interrupted: raise KeyboardInterrupt
    measured = measure(model, target, asked["wounds"], AGES)
    model.save_pretrained(folder(row))
    return row | spent | dict(training_steps=len(history.losses), loss=history.final()) | measured | dict(events=history.events, verdict=verdict(measured))


def table(rows):
    kinds = next((list(r["healed"]) for r in rows if r["healed"]), [])
    head = f"{'picture':<10}{'':<24}{'size':>5}{'seed':>5}{'wall s':>8}{'cpu s':>8}" + "".join(f"{f'@{age:,}':>9}" for age in AGES) + f"{'healed':>8}" + "".join(f"{k:>8}" for k in kinds)
    lines = [head + "  verdict"]
    for r in rows:
        errors = "".join(f"{r['error'].get(str(age), math.nan):>9.1e}" for age in AGES)
        shares = [min(r["healed"].values(), default=math.nan), *(r["healed"].get(k, math.nan) for k in kinds)]
        lines.append(f"{r['picture']:<10}{r['kind']:<24}{r['size']:>5}{r['seed']:>5}{r['seconds']:>8.0f}{r['cpu_seconds']:>8.0f}{errors}"
                     + "".join(f"{100 * share:>6.0f} %" for share in shares) + f"  {r['verdict']}")
    return "\n".join(lines)


def look(rows, targets):
    "build/pictures-grown.png: each target, and its creature at four moments; half of it is cut off at step 2,000."
    seen, names = [], []
    for r in rows:
        if not folder(r).exists(): continue
        model, g = NCAModel.from_pretrained(folder(r)), torch.Generator().manual_seed(r["seed"])
        target, x = targets[r["picture"]], seed_state(1, model.channels, tuple(targets[r["picture"]].shape[1:]))
        with torch.no_grad():
            young = model(x, 200, g)
            old = model(young, 1800, g)
            hurt = cut_half(old, g)
            seen += [target, *(to_rgba(x)[0].clamp(0, 1) for x in (young, old, hurt, model(hurt, 400, g)))]
        names.append(f"{r['picture']} {r['seed']}")
    if seen: show_images(seen, cols=5, titles=["target", "step 200", "step 2,000", "a wound", "400 steps later"], rows=names).savefig(BUILD / "pictures-grown.png")


def sheet(names, size, padding, side=360, columns=6):
    "build/pictures.png: each picture as it is drawn, and below it as cells."
    columns = min(columns, len(names))
    whole = Image.new("RGB", (columns * side, -(-len(names) // columns) * 2 * side), "white")
    for i, name in enumerate(names):
        x, y = i % columns * side, i // columns * 2 * side
        picture = (PICTURES[name][0]() if name in PICTURES else Image.open(name)).convert("RGBA")
        picture.thumbnail((side - 20, side - 20))
        whole.paste(picture, (x + (side - picture.width) // 2, y + (side - picture.height) // 2), picture)
        target = read(name, size, padding)
        cells = Image.fromarray(((target[:3] + 1 - target[3:]) * 255).round().byte().permute(1, 2, 0).numpy())
        whole.paste(cells.resize((side, side), Image.Resampling.NEAREST), (x, y + side))
    whole.save(BUILD / "pictures.png")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help=f"{', '.join(PICTURES)}, or picture files (all of the former)")
    parser.add_argument("--size", type=int, default=24, help="cells along the longer side (24)")
    parser.add_argument("--padding", type=int, default=6, help="empty cells around it (6)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="train with each of these (0)")
    parser.add_argument("--wounds", type=int, default=64, help="wounds of each kind (64)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="CPU threads (2: half of each batch is lived by a second process)")
    parser.add_argument("--out", type=Path, default=HERE / "pictures.json", help="the rows (pictures.json beside this file)")
    parser.add_argument("--again", action="store_true", help="train again what is there already")
    parser.add_argument("--look", action="store_true", help="also write build/pictures-grown.png")
    parser.add_argument("--sheet", action="store_true", help="only write build/pictures.png: the pictures, and what is left of them in cells")
    parser.add_argument("--check", action="store_true", help="only say what stands in their way")
    args = parser.parse_args(arguments)
    names = args.pictures or list(PICTURES)
    BUILD.mkdir(exist_ok=True)
    if args.sheet: return sheet(names, args.size, args.padding)
    targets = {Path(n).name: read(n, args.size, args.padding) for n in names}
    for name, target in targets.items():
        for sentence in obstacles(target): print(f"{name}: {sentence}", file=sys.stderr)
    if args.check: return
    torch.set_num_threads(args.threads)
    rows = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    order, wanted = [*PICTURES, *targets], []
    for seed in args.seeds:
        for name, target in targets.items():
            asked = dict(picture=name, kind=PICTURES[name][1] if name in PICTURES else "", size=args.size, padding=args.padding, seed=seed, wounds=args.wounds,
                         cells=hashlib.sha256((target * 255).round().byte().numpy().tobytes()).hexdigest()[:12])
            place = {k: asked[k] for k in ("picture", "size", "padding", "seed")}
            row = next((r for r in rows if asked.items() <= r.items()), None)
            if row is None or args.again:
                row = fare(asked, target)
                rows = [r for r in rows if not place.items() <= r.items()] + [row]
                rows.sort(key=lambda r: (r["size"], order.index(r["picture"]) if r["picture"] in order else len(order), r["seed"]))
                write_files(args.out.parent, {args.out.name: (json.dumps(dict(machine=row["machine"], rows=rows), indent=1) + "\n").encode()})
                print(f"{name}, seed {seed}: {row['verdict']}, {row['seconds']:.0f} s", file=sys.stderr)
            wanted.append(row)
    wanted.sort(key=lambda r: (order.index(r["picture"]), r["seed"]))
    print(table(wanted))
    if args.look: look(wanted, targets)


if __name__ == "__main__": main()
