"""How fast is a step? One table, and results.json beside this file.  `make bench`, or: python benchmarks/bench.py --help

The engines take turns within a round, so that whatever else the machine does falls on all of them; a ratio is taken within
a round, and the table shows the middle one, with the smallest and the largest. Memory is measured in processes of their own."""
import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ.setdefault("OMP_WAIT_POLICY", "passive")             # threads that wait should not spin; before torch is imported
if str(HERE.parent) not in sys.path: sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402
from nca_tutorial import engine as speed  # noqa: E402
from nca_tutorial.core import NCAModel, alive_mask, dense_step  # noqa: E402
from nca_tutorial.engine import BLOCK, _Net, _together, draw_keys, fire_mask  # noqa: E402
from nca_tutorial.targets import load_target  # noqa: E402
from nca_tutorial.texture import StyleLoss, load_example, noise_state, texture_model, to_texture  # noqa: E402

WORK = "8 of 72x72, 28% alive"                                      # 16 channels, 128 hidden units


def reference(batch=8, size=72, device="cpu", **settings):
    "A gecko at rest (a model whose last layer is nearly zero), so that every step is the same work."
    g = torch.Generator().manual_seed(0)
    model = NCAModel(generator=g, **settings)
    for p in model.update[2].parameters(): p.data = (torch.rand(p.shape, generator=g) - 0.5) * 1e-3
    gecko = load_target(HERE.parent / "nbs" / "images" / "gecko.png", size=44, padding=14)      # (4, 72, 72)
    body = torch.cat([gecko, torch.rand(model.channels, 72, 72, generator=g) * gecko[3:]])[:model.channels]
    x, at = torch.zeros(batch, model.channels, size, size), (size - 72) // 2
    x[:, :, at:at + 72, at:at + 72] = body
    return model.to(device), x.to(device)


def rollout(model, x, engine, steps, train, compiled=None):
    model.engine = engine
    dice = torch.Generator().manual_seed(0)
    with torch.set_grad_enabled(train):
        if compiled is None: y = model(x, steps, dice)
        else:
            y = x
            for key in draw_keys(steps, dice): y = compiled(y, fire_mask(y, key, model.fire_rate), *model._law(model.kernel_weights))
        if train:
            y.square().mean().backward()
            for p in model.parameters(): p.grad = None
    if x.is_cuda: torch.cuda.synchronize()


def race(runners, rounds):
    "-> name -> seconds of each round"
    times = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            start = time.perf_counter()
            inner = run()
            times[name].append(time.perf_counter() - start if inner is None else inner)
    return times


def rows_of(what, times, steps, base="dense"):
    each = {name: [t / steps[name] * 1000 for t in ts] for name, ts in times.items()}
    rows = []
    for name, ts in each.items():
        ratios = sorted(b / t for b, t in zip(each[base], ts)) if base in each else []
        ratio = f"{statistics.median(ratios):.1f}x [{ratios[0]:.1f} .. {ratios[-1]:.1f}]" if ratios and name != base else ""
        rows.append(dict(what=what, engine=name, value=min(ts), median=statistics.median(ts), unit="ms/step", ratio=ratio))
    return rows


def floor(cells, weights, steps, train):
    "Nothing but the matrix products that cannot be avoided, shared out among the cores."
    workers = torch.get_num_threads()
    _together(lambda n: products(n, _Net(*weights, 3, BLOCK), steps, train), [cells // workers] * workers)


def products(cells, net, steps, train):
    rows = torch.randn(cells, net.w1.shape[0])
    for _ in range(steps):
        for seen in rows.split(BLOCK):
            h = torch.addmm(net.b1, seen, net.w1, out=net.h[:len(seen)])
            out = h @ net.w2t
            if not train: continue
            net.dw2.addmm_(out.t(), h)
            torch.mm(out, net.w2, out=net.gh[:len(seen)])
            net.dw1.addmm_(seen.t(), h)
            h @ net.w1t


def cax_child(steps):
    "A process in an environment of its own that runs CAX when asked."
    folder = HERE.parent / "build" / "cax"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print("setting up CAX in", folder, flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "cax"], check=True)
    import numpy as np
    x = reference()[1][:, [*range(3), *range(4, 16), 3]].permute(0, 2, 3, 1).contiguous().numpy()      # alpha last
    path = Path(tempfile.mkdtemp()) / "state.npy"
    np.save(path, x)
    child = subprocess.Popen([python, HERE / "cax_worker.py", path, str(steps)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if not child.stdout.readline().startswith("ready"): raise RuntimeError("CAX did not start")
    def ask(mode):
        child.stdin.write(mode + "\n"); child.stdin.flush()
        return float(child.stdout.readline())
    return ask


def compiled_step(model, x, train):
    "torch.compile of the plain step, where there is a compiler."
    if not torch.cuda.is_available() and not any(os.access(Path(p) / c, os.X_OK) for p in os.get_exec_path() for c in ("g++", "clang++")): return None
    try:
        step = torch.compile(dense_step)
        rollout(model, x, "dense", 2, train, step)
        return step
    except Exception as e:
        print(f"torch.compile does not work here ({type(e).__name__}); left out")


def main_race(args, device):
    rows = []
    model, x = reference(device=device)
    ask = cax_child(args.cax_steps) if args.cax else None
    for train in (True, False):
        what = f"{'forward + backward' if train else 'forward'}; {WORK}"
        engines = ["dense", "active"] if device == "cpu" else ["dense", "graph"]
        runners = {e: lambda e=e: rollout(model, x, e, args.steps, train) for e in engines}
        if args.compile and (step := compiled_step(model, x, train)): runners["torch.compile"] = lambda: rollout(model, x, "dense", args.steps, train, step)
        if ask: runners["CAX (JAX)"] = lambda: ask("train" if train else "forward")
        cells = int(alive_mask(x).sum() * model.fire_rate)
        weights = [p.detach() for p in model.update.parameters()]
        if device == "cpu": runners["floor"] = lambda: floor(cells, weights, args.steps, train)
        race(runners, 1)                                                               # warm up
        steps = dict.fromkeys(runners, args.steps) | {"CAX (JAX)": args.cax_steps}
        rows += rows_of(what, race(runners, args.rounds), steps)
    return rows


def other_worlds(args, device):
    rows = []
    fast = "active" if device == "cpu" else "graph"
    settings = dict(channels=12, hidden=96, kernels=("identity", "sobel_x", "sobel_y", "laplacian"), padding="wrap", alive_threshold=None)
    model, x = reference(4, 72, device, **settings)
    runners = {e: lambda e=e: rollout(model, x, e, args.steps, True) for e in ("dense", fast)}
    race(runners, 1)
    rows += rows_of("forward + backward; texture, 4 of 72x72, no mask", race(runners, args.rounds), dict.fromkeys(runners, args.steps))
    for size in args.sizes:
        model, x = reference(1, size, device)
        steps = {"dense": max(2, args.steps * 72**2 // size**2), fast: args.steps}
        runners = {e: lambda e=e: rollout(model, x, e, steps[e], False) for e in steps}
        race(runners, 1)
        rows += rows_of(f"forward; one gecko alone in {size}x{size}", race(runners, args.rounds), steps)
    return rows


def style_rows(args, device, lived="rollout, 48 steps"):
    "What judging costs beside living: the rollout of one training step, and each loss; all ahead and back."
    model, example = texture_model().to(device), load_example(HERE.parent / "nbs" / "images" / "weave.png").to(device)
    x = noise_state(2, 12, 64).to(device).requires_grad_()
    losses = {kind: StyleLoss(example, kind=kind) for kind in ("ot", "gram")}
    runners = {lived: lambda: model(x.detach(), 48).square().mean().backward()}
    for kind, loss in losses.items():
        loss.features.to(device)
        runners[f"loss: {kind}"] = lambda loss=loss: loss(to_texture(x)).backward()
    race(runners, 1)
    return rows_of("texture, a training step, 2 of 64x64", race(runners, args.rounds), dict.fromkeys(runners, 1), base=lived)


def shared_rows(args):
    "A batch as a picture of one's own is trained with: by one core, by two threads, by this process and a helper."
    model, _ = reference(1)
    model.engine = "active"
    gecko = load_target(HERE.parent / "nbs" / "images" / "gecko.png", size=24, padding=6)       # (4, 36, 36)
    x = torch.cat([gecko, torch.rand(12, 36, 36, generator=torch.Generator().manual_seed(0)) * gecko[3:]]).repeat(6, 1, 1, 1)
    def run(threads, patience):
        torch.set_num_threads(threads)
        speed.PATIENCE = patience
        rollout(model, x, "active", args.steps, True)
    runners = {"one thread": lambda: run(1, math.inf), "two threads": lambda: run(2, math.inf), "with a helper": lambda: run(2, -1)}
    race(runners, 1)
    while not speed._crew(2)[1]: time.sleep(0.1)                                       # the race before has called it
    rows = rows_of(f"forward + backward; 6 of 36x36, {alive_mask(x).float().mean():.0%} alive", race(runners, args.rounds), dict.fromkeys(runners, args.steps), base="one thread")
    torch.set_num_threads(args.threads)
    speed.PATIENCE = math.inf
    return rows


def held(peak=False):
    "Bytes of memory that this process holds, or has held at most."
    if sys.platform == "linux":
        line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM" if peak else "VmRSS"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def memory(engine, steps):
    "Peak of a training step beyond what the process held before it, in MiB; runs in a fresh process."
    model, x = reference()
    rollout(model, x[:1, :, :20, :20].clone(), engine, 2, True)                        # load what is loaded once
    if sys.platform == "linux": Path("/proc/self/clear_refs").write_text("5")          # forget the peak so far
    before = held()
    rollout(model, x, engine, steps, True)
    print((held(peak=True) - before) / 2**20)


def memory_rows(steps):
    peak = {e: float(subprocess.run([sys.executable, __file__, "--memory", e, "--steps", str(steps)], capture_output=True, text=True, check=True).stdout)
            for e in ("dense", "active")}
    return [dict(what=f"peak memory, {steps} steps trained; {WORK}", engine=e, value=m, median=m, unit="MiB",
                 ratio=f"1/{peak['dense'] / m:.0f}" if e != "dense" else "") for e, m in peak.items()]


def describe(device, threads):
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        name = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), name)
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    where = f"{threads} threads on {name}" if device == "cpu" else torch.cuda.get_device_name()
    return f"PyTorch {torch.__version__.split('+')[0]}, {where}{load}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="CPU threads (2)")
    parser.add_argument("--steps", type=int, default=64, help="steps of a rollout (64)")
    parser.add_argument("--rounds", type=int, default=5, help="how often the engines take turns (5)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--cax", action="store_true", help="also CAX, installed from PyPI into build/cax")
    parser.add_argument("--cax-steps", type=int, default=8, help="steps of a rollout of CAX, which is slow to train on CPUs (8)")
    parser.add_argument("--only", nargs="+", default=[], metavar="GROUP", help="measure these groups of rows again and keep the others: main, worlds, style, shared, memory")
    parser.add_argument("--sizes", nargs="+", type=int, default=[72, 256, 1024], help="sides of the worlds with one gecko (72 256 1024)")
    parser.add_argument("--memory-steps", type=int, default=96, help="steps of the rollout whose memory is measured (96)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="also torch.compile, where there is a compiler")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="the table (results.json beside this file)")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    if hasattr(os, "sched_setaffinity"): os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:max(args.threads, 1)])
    if args.memory: return memory(args.memory, args.steps)
    speed.PATIENCE = math.inf                                                          # only one group of rows is about helpers
    groups = dict(main=lambda: main_race(args, args.device), worlds=lambda: other_worlds(args, args.device), style=lambda: style_rows(args, args.device))
    if args.device == "cpu": groups |= dict(shared=lambda: shared_rows(args), memory=lambda: memory_rows(args.memory_steps))
    if unknown := set(args.only) - set(groups): parser.error(f"--only: got {', '.join(unknown)}; expected some of {', '.join(groups)}")
    machine, out = describe(args.device, args.threads), args.out
    settings = dict(steps=args.steps, rounds=args.rounds, threads=args.threads, device=args.device)
    rows = [row | dict(group=name) for name in args.only or groups for row in groups[name]()]
    if args.only and out.exists():
        there = json.loads(out.read_text())
        if there["settings"] != settings: parser.error(f"--only: the table was made with {there['settings']}, not with {settings}")
        old, order = [r for r in there["rows"] if r["group"] not in args.only], list(groups)
        machine, rows = there["machine"], sorted(old + rows, key=lambda r: order.index(r["group"]))
    print(machine)
    for r in rows: print(f"{r['what']:<58}{r['engine']:<15}{r['value']:>9.2f} {r['unit']:<8} {r['ratio']}")
    out.write_text(json.dumps(dict(machine=machine, settings=settings, rows=rows), indent=1) + "\n")


if __name__ == "__main__": main()
