"""Train the packaged creatures again by their recipes: `make zoo`, or `python tools/zoo.py gecko-grow ...` for some of them.

Weights and cards are written to nca_tutorial/creatures. The runs are kept in build/zoo: a stopped one goes on where it was, a finished one is
not trained again (`make clean` forgets them). Together they took some 19 hours on two cores; results differ a little with the number of threads."""
import argparse
from pathlib import Path

from nca_tutorial.zoo import NAMES, train_creature

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--out", type=Path, default=ROOT / "nca_tutorial" / "creatures", help="folder of the creatures")
    args = parser.parse_args()
    if unknown := [n for n in args.names if n not in NAMES]: parser.error(f"no creature {', '.join(unknown)}; there are {', '.join(NAMES)}")
    for name in args.names:
        print(f"{name}: training", flush=True)
        card = train_creature(name, args.out, ROOT / "nbs" / "images", ROOT / "build" / "zoo" / f"{name}.safetensors")
        healed = ", ".join(f"{kind} {share:.0%}" for kind, share in card["measured"]["healed"].items())
        errors = ", ".join(f"step {age} {error:.1e}" for age, error in card["measured"]["error"].items())
        print(f"{name}: loss {card['loss']:.1e} after {card['seconds']:.0f} s; error at {errors}; healed {healed}", flush=True)
