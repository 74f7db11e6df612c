"""The HAT task, searched by several methods under the same latency limit and budget: best validation loss, mean over
seeds.

    python -m benchmarks.hat_search --seeds 10 --budget 60 [--methods nano+mixed,random+mixed,evolution] [--out DIR]

Methods are those of benchmarks.driver: samplers, or RANKER+PROPOSAL. Evaluations are deterministic and shared between
methods; finished searches are kept in OUT/hat_search.json, so that a stopped run goes on. Lower is better.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.driver import best_so_far, build, drive
from search.errors import UserError, cli
from search.files import write_atomic
from search.reports.curves import bootstrap
from search.tasks import load_task

METHODS = "nano+mixed,surrogate+mixed,random+mixed,evolution,random"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hat_search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--sentences", type=int, default=200, help="size of the validation subset")
    parser.add_argument("--out", type=Path, default=Path("runs/hat-search"))
    args = parser.parse_args()
    if args.seeds < 1 or args.budget < 6:
        raise UserError(f"--seeds {args.seeds} --budget {args.budget} were given - at least 1 and 6 are needed")
    methods = args.methods.split(",")
    task = load_task("hat", sentences=args.sentences)
    task.prepare()
    path = args.out / "hat_search.json"
    done = json.loads(path.read_text()) if path.exists() else {}
    started = time.perf_counter()
    for seed in range(args.seeds):
        for method in methods:
            key = f"{method} {seed} {args.budget} {args.sentences}"
            if key not in done:
                steps = drive(task, build(method, task, seed), args.budget)
                done[key] = [float(v) for v in best_so_far(steps, task.direction, args.budget)]
                write_atomic(path, json.dumps(done) + "\n")
        print(f"seed {seed} done after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    points = [p for p in (10, 25, 50, args.budget) if p <= args.budget]
    print(
        f"best validation loss (nats/token, lower is better), {args.seeds} seeds, "
        f"limit {task.limit:g} ms removes {task.removed / 20:.0f} % of random candidates"
    )
    print(f"{'method':18}" + "".join(f"{f'after {p}':>10}" for p in points) + f"{'95 % interval at the end':>28}")
    for method in methods:
        curves = np.array([done[f"{method} {seed} {args.budget} {args.sentences}"] for seed in range(args.seeds)])
        end = bootstrap(curves[:, -1])
        print(
            f"{method:18}"
            + "".join(f"{curves[:, p - 1].mean():10.4f}" for p in points)
            + f"{f'{end.low:.4f} to {end.high:.4f}':>28}"
        )
    return 0


if __name__ == "__main__":
    cli(main)
