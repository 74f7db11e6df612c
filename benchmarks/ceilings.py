"""Where the known ceilings of NAS-Bench-201 lie: best validation accuracy after 192 evaluations, mean over seeds.

    python -m benchmarks.ceilings [--task nb201/cifar100] [--seeds 20] [--budget 192] [--processes 2] [--out DIR]

Reference values: our simulation on the complete table (README, section Results). Exit code 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache

from benchmarks.driver import best_so_far, build, drive
from benchmarks.output import add_output, folder
from search.errors import cli
from search.files import write_atomic
from search.reports.curves import bootstrap
from search.tasks import TableTask, load_task

BOUNDS = {
    "random+uniform": ("71.9 ± 0.3", lambda v: abs(v - 71.9) <= 0.3),
    "oracle+uniform": ("72.9 ± 0.25", lambda v: abs(v - 72.9) <= 0.25),
    "random+mixed": ("", None),
    "oracle+mixed": ("≥ 73.45", lambda v: v >= 73.45),
    "surrogate+mixed": ("≥ 73.4", lambda v: v >= 73.4),
    "local": ("≥ 73.4", lambda v: v >= 73.4),
    "evolution": ("≥ 73.0", lambda v: v >= 73.0),
    "random": ("71.9 ± 0.3", lambda v: abs(v - 71.9) <= 0.3),
}
POINTS = (25, 50, 100, 192)


@lru_cache(maxsize=4)
def task_of(name: str) -> TableTask:
    """The task, read once a process."""
    return load_task(name)


def one(task_name: str, method: str, seed: int, budget: int) -> tuple[str, list[float], float]:
    """Best value after each evaluation of one search, and its seconds."""
    task = task_of(task_name)
    start = time.perf_counter()
    steps = drive(task, build(method, task, seed), budget)
    return method, best_so_far(steps, task.direction, budget).tolist(), time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ceilings", description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="nb201/cifar100")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=192)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--method", action="append", help="only these methods (see benchmarks/driver.py), repeatable")
    add_output(parser)
    args = parser.parse_args()
    methods = args.method or list(BOUNDS)
    curves: dict[str, list[list[float]]] = {m: [] for m in methods}
    spent = dict.fromkeys(methods, 0.0)
    with ProcessPoolExecutor(args.processes) as pool:
        jobs = [pool.submit(one, args.task, m, s, args.budget) for m in methods for s in range(args.seeds)]
        for job in jobs:
            method, curve, seconds = job.result()
            curves[method].append(curve)
            spent[method] += seconds
    points = [p for p in POINTS if p < args.budget] + [args.budget]
    lines = [
        "| method | " + " | ".join(f"@{p}" for p in points) + " | bound | ms/trial |",
        "|---" * (len(points) + 3) + "|",
    ]
    missed, rows = [], {}
    for method in methods:
        at = {p: bootstrap([c[p - 1] for c in curves[method]]) for p in points}
        text, holds = (
            BOUNDS.get(method, ("", None)) if args.task == "nb201/cifar100" and args.budget == 192 else ("", None)
        )
        verdict = "" if holds is None else f"{text} {'ok' if holds(at[args.budget].mean) else 'MISSED'}"
        missed += [method] if verdict.endswith("MISSED") else []
        ms = spent[method] * 1e3 / (args.seeds * args.budget)
        lines.append(f"| {method} | " + " | ".join(at[p].text(2) for p in points) + f" | {verdict} | {ms:.1f} |")
        rows[method] = {
            "bound": text,
            "at": {str(p): [at[p].mean, at[p].low, at[p].high] for p in points},
            "ms_per_trial": ms,
        }
    table = "\n".join(lines)
    print(
        f"{args.task}, {args.seeds} seeds, best {task_of(args.task).metric}: mean [95 % bootstrap interval]\n\n{table}"
    )
    stem = f"ceilings_{args.task.replace('/', '_')}"
    write_atomic(folder(args) / f"{stem}.md", table + "\n")
    write_atomic(
        folder(args) / f"{stem}.json",
        json.dumps({"task": args.task, "seeds": args.seeds, "budget": args.budget, "methods": rows}, indent=1) + "\n",
    )
    return 1 if missed else 0


if __name__ == "__main__":
    cli(main)
