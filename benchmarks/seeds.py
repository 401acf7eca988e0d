"""How many of 20 seeds succeed? Experiments 1 to 3 at the quick settings of chapters 5 to 7, with the guard of `train` and without it,
and by the paper's plain recipe (same picture, batch 8, rollouts 64-95, learning rate 2e-3, pool 1024, no guard, always from scratch).

`make seeds` writes benchmarks/seeds.json; it takes some hours, can be stopped, and goes on where it was.
Success is a mean loss of 20 training steps below SUCCESS, and ends a run. Experiment 3 goes on from the creature that experiment 2 has made.
A guarded run in which the guard never acted is, step for step, the run without it (chapter 92 asserts it), so that one is not repeated."""
import argparse, copy, json, multiprocessing, os, platform, sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from nca_tutorial.cli import EXPERIMENTS
from nca_tutorial.ground import write_files
from nca_tutorial.targets import load_target

HERE = Path(__file__).parent
RECORD = HERE / "seeds.json"
QUICK = {
    "grow": dict(steps=2400, batch=2, rollout=(40, 56), lr=5e-3, lr_drops=((0.75, 0.3), (0.92, 0.3))),
    "persist": dict(steps=1800, batch=4, rollout=(40, 56), lr=4e-3, lr_drops=((0.65, 0.3), (0.88, 0.3)), pool=128),
    "regenerate": dict(steps=1200, batch=4, rollout=(40, 56), lr=3e-3, lr_drops=((0.6, 0.3), (0.85, 0.3)), pool=64, damaged=2),
}
PLAIN = dict(steps=2000, batch=8, rollout=(64, 95), lr=2e-3, lr_drops=())   # the paper's first 2,000 steps
PAPER = {"grow": PLAIN, "persist": dict(PLAIN, pool=1024), "regenerate": dict(PLAIN, pool=1024, damaged=3)}
SUCCESS = 5e-3   # an empty grid scores 0.09


def one(experiment, seed, guard, parent=None, recipe=QUICK, most=None):
    "One run, ended at success: the model, and what came of it."
    target = load_target(HERE.parent / "nbs" / "images" / "gecko.png", 24, 6)
    settings = recipe[experiment] | ({} if most is None else dict(steps=most))
    try:
        model, history = EXPERIMENTS[experiment](target, copy.deepcopy(parent), seed=seed, stop_at=SUCCESS, guard=guard, progress=False,
                                                 **settings)
    except (FloatingPointError, ValueError) as e: return None, dict(seed=seed, success=False, ended=str(e))
    if history.interrupted: raise KeyboardInterrupt
    return model, dict(seed=seed, success=history.final() < SUCCESS, steps=len(history.losses), loss=history.final(),
                       events=history.events, reseeded=history.reseeded, seconds=round(history.seconds, 1))


def by_quick_settings(seed, most=None):
    "The three experiments, each with the guard and without."
    runs, model = {}, None
    for experiment in EXPERIMENTS:
        parent = model if experiment == "regenerate" else None
        model, guarded = one(experiment, seed, True, parent, most=most)
        acted = guarded.get("events") or guarded.get("reseeded") or not guarded["success"]
        runs[experiment] = dict(guarded=guarded, unguarded=one(experiment, seed, False, parent, most=most)[1] if acted else guarded)
    return runs


def by_paper(seed, experiment, most=None):
    "The paper's plain recipe."
    return one(experiment, seed, False, recipe=PAPER, most=most)[1]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many runs at once, each on one thread")
    parser.add_argument("--steps", type=int, help="cut every run to so many training steps, for a trial; needs --out")
    parser.add_argument("--out", type=Path, default=RECORD, help="where the record is, and goes on")
    args = parser.parse_args(arguments)
    if args.steps is not None and args.out == RECORD: parser.error("--steps: name another file with --out; a trial is not for seeds.json")
    machine = f"PyTorch {torch.__version__.split('+')[0]}, one thread of {platform.machine()}"
    record = json.loads(args.out.read_text()) if args.out.exists() else dict(machine=machine, success=SUCCESS, quick=QUICK, paper=PAPER, seeds={})
    seeds = record["seeds"]

    def keep(seed, runs):
        print(seed, runs, file=sys.stderr, flush=True)
        seeds.setdefault(str(seed), {}).update(runs)
        in_order = record | dict(seeds={seed: seeds[seed] for seed in sorted(seeds, key=int)})
        write_files(args.out.parent, {args.out.name: (json.dumps(in_order, indent=1) + "\n").encode()})

    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as workers:
        quick = {workers.submit(by_quick_settings, seed, args.steps): seed for seed in range(args.seeds) if str(seed) not in seeds}
        for done in as_completed(quick): keep(quick[done], done.result())
        paper = {workers.submit(by_paper, seed, experiment, args.steps): (seed, experiment) for seed in range(args.seeds)   # the slow part
                 for experiment in EXPERIMENTS if "paper" not in seeds[str(seed)][experiment]}
        for done in as_completed(paper):
            seed, experiment = paper[done]
            keep(seed, {experiment: dict(seeds[str(seed)][experiment], paper=done.result())})
    print(f"wrote {args.out}")


if __name__ == "__main__": main()
