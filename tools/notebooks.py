"""Run every notebook from top to bottom, as nbdev-test does, and say how long each took.

    python tools/notebooks.py [NAME ...]     all, or those whose name contains NAME
    WORKERS=1 python tools/notebooks.py      one at a time
"""
import os, sys, time
from pathlib import Path

LONG = ('05_', '06_', '07_', '08_', '09_')   # chapters that train
ROOT = Path(__file__).resolve().parent.parent


def run(nb, threads, timeout, flags):
    "Run one notebook in this process: (name, passed, seconds)"
    import torch
    from nbdev.test import test_nb
    torch.set_num_threads(threads)
    ok, secs = test_nb(nb, skip_flags=flags, basepath=ROOT, cell_timeout=timeout)
    return nb.name, ok, secs


def main(args):
    os.chdir(ROOT/'nbs')
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    workers = max(1, int(os.environ.get('WORKERS') or min(cores, 4)))
    threads = max(1, cores // workers)
    os.environ.update(OMP_NUM_THREADS=str(threads), MPLBACKEND='agg')
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context
    from nbdev.config import get_config
    cfg = get_config(ROOT)
    nbs = sorted(f for f in (ROOT/'nbs').glob('*.ipynb') if not f.name.startswith(('_', '.')) and (not args or any(a in f.name for a in args)))
    if not nbs: return f'no notebook in nbs/ matches {" ".join(args)}'
    nbs.sort(key=lambda f: (not f.name.startswith(LONG), -f.stat().st_size))      # the longest first, or one runs alone at the end
    print(f'Running {len(nbs)} notebooks, {workers} at a time, {threads} thread{"s" * (threads > 1)} each', flush=True)
    t0, failed = time.time(), []
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn'), max_tasks_per_child=1) as ex:
        jobs = {ex.submit(run, f, threads, cfg.cell_timeout, cfg.tst_flags.split()): f.name for f in nbs}
        for i, j in enumerate(as_completed(jobs), 1):
            try: name, ok, secs = j.result()
            except Exception as e: name, ok, secs = jobs[j], False, 0.; print(f'  {name}: {type(e).__name__}: {e}', file=sys.stderr)
            print(f'  {i:2}/{len(nbs)}  {"ok    " if ok else "FAILED"}  {name:28} {secs:6.1f} s', flush=True)
            if not ok: failed.append(name)
    print(f'Notebooks took {time.time() - t0:.0f} s')
    return f'These notebooks failed: {", ".join(sorted(failed))}' if failed else 0


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
