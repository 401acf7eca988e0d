"""Train the packaged creatures again by their recipes: `make zoo`, or `python tools/zoo.py gecko-grow ...` for some of them.

Weights and cards are written to nca_tutorial/creatures. The runs are kept in build/zoo: a stopped one goes on where it was, a finished one is
not trained again (`make clean` forgets them). Together they took some 19 hours on two cores; results differ a little with the number of threads.
`--quick --out FOLDER` only shows that everything works: two training steps for each, hardly measured."""
import argparse
from pathlib import Path

from nca_tutorial.pictures import measure
from nca_tutorial.zoo import NAMES, TEXTURES, measure_texture, train_creature

ROOT = Path(__file__).resolve().parent.parent
CREATURES = ROOT / "nca_tutorial" / "creatures"


def glance(model, target):
    "A measurement that takes no time."
    if model.alive_threshold is None: return measure_texture(model, target, lives=1, ages=(1, 2))
    return measure(model, target, wounds=0, ages=(1, 2))


def line(card):
    "What came of it, a creature or a texture."
    measured = card["measured"]
    said = [f"loss {card['loss']:.1e} after {card['seconds']:.0f} s"]
    if "ratio" in measured: said.append("ratio at " + ", ".join(f"step {age} {ratio:.1f}" for age, ratio in measured["ratio"].items()))
    if "error" in measured: said.append("error at " + ", ".join(f"step {age} {error:.1e}" for age, error in measured["error"].items()))
    if measured.get("healed"): said.append("healed " + ", ".join(f"{kind} {share:.0%}" for kind, share in measured["healed"].items()))
    return f"{card['name']}: " + "; ".join(said)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (all)")
    parser.add_argument("--out", type=Path, help="folder of the creatures (nca_tutorial/creatures)")
    parser.add_argument("--quick", action="store_true", help="two training steps each, in a folder named with --out; the runs are not kept")
    args = parser.parse_args(arguments)
    if unknown := [n for n in args.names if n not in NAMES]: parser.error(f"no creature {', '.join(unknown)}; there are {', '.join(NAMES)}")
    out = args.out or CREATURES
    if args.quick and out.resolve() == CREATURES: parser.error("--quick: name another folder with --out; these creatures are not for it")
    for name in args.names or NAMES:
        print(f"{name}: training", flush=True)
        how = dict(steps=2, rollout=(4, 5), progress=False, judge=glance) if args.quick else dict(checkpoint=ROOT / "build" / "zoo" / f"{name}.safetensors")
        if args.quick and not name.endswith("-grow"): how["pool"] = 4 if name in TEXTURES else 24
        print(line(train_creature(name, out, ROOT / "nbs" / "images", **how)), flush=True)


if __name__ == "__main__": main()
