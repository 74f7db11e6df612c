"""Our Optuna sampler beside Optuna's own on twelve mixed problems: `python -m benchmarks.mixed_spaces`

    [--method smooth ...] [--problem lora ...] [--seeds 20] [--budget 100] [--minutes 30]

Methods: smooth, nano, surrogate, random-ranker (our sampler with that ranker, same proposals), tpe-multivariate
(grouped where a problem has an `if`), tpe, gp, random. Searches are kept in --cache, one file each, seed by seed over
all methods and problems, so that a run that is stopped (or stops itself after --minutes) goes on where it was, and its
results hold the seeds that are there. Mean rank: methods are ranked by mean best value on each problem, ranks averaged
over problems. Writes mixed_spaces.md and .json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.closed_loop import rank_methods
from benchmarks.exam_all import plain
from benchmarks.mixed_problems import PROBLEMS
from benchmarks.output import add_output, folder
from search.errors import cli
from search.files import write_atomic
from search.reports.curves import bootstrap
from search.samplers import LMSearcherSampler

OURS, RIVAL = "smooth", "tpe-multivariate"
SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    OURS: lambda seed: LMSearcherSampler(seed=seed, ranker="smooth"),
    RIVAL: lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "surrogate": lambda seed: LMSearcherSampler(seed=seed, ranker="surrogate"),
    "random-ranker": lambda seed: LMSearcherSampler(seed=seed, ranker="random"),
    "nano": lambda seed: LMSearcherSampler(seed=seed, ranker="nano"),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
}
POINTS = (25, 50, 100)


def search(method: str, problem: str, seed: int, budget: int, path: Path) -> None:
    """One study to its budget; its best value after each trial and its processor time are kept."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(sampler=SAMPLERS[method](seed))
        study.optimize(PROBLEMS[problem], n_trials=budget)
    best = np.minimum.accumulate([t.value for t in study.trials]).tolist()
    content = {"method": method, "problem": problem, "seed": seed, "best": best}
    write_atomic(path, json.dumps(content | {"seconds": time.process_time() - start}))


def results(curves: Mapping[str, Mapping[str, np.ndarray]], points: Sequence[int]) -> dict[str, Any]:
    """Ranks and mean best values from {problem: {method: best values (seeds, budget)}}."""
    out: dict[str, Any] = {"rank": {}, "value": {}, "wins": {}}
    for p in points:
        row = {
            problem: {m: c[:, p - 1] for m, c in methods.items() if c.shape[1] >= p}
            for problem, methods in curves.items()
        }
        means = {problem: {m: float(c.mean()) for m, c in methods.items()} for problem, methods in row.items()}
        ranks = [rank_methods(m) for m in means.values()]
        out["rank"][str(p)] = {m: float(np.mean([r[m] for r in ranks])) for m in ranks[0]}
        intervals = {problem: {m: bootstrap(c, 2000) for m, c in methods.items()} for problem, methods in row.items()}
        out["value"][str(p)] = {
            problem: {m: [i.mean, i.low, i.high] for m, i in methods.items()} for problem, methods in intervals.items()
        }
        out["wins"][str(p)] = {
            m: sum(m_[m] < m_[RIVAL] for m_ in means.values()) for m in ranks[0] if m != RIVAL and RIVAL in ranks[0]
        }
    return out


def markdown(found: Mapping[str, Any], about: str, seconds: Mapping[str, float]) -> str:
    """Ranks of the methods, then the mean best values on every problem."""
    points = list(found["rank"])
    order = sorted(found["rank"][points[-1]], key=found["rank"][points[-1]].__getitem__)
    head = ["method", *(f"mean rank @{p}" for p in points), *(f"ahead of {RIVAL} @{p}" for p in points), "s a search"]
    lines = [f"{about}\n", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for m in order:
        cells = [f"{found['rank'][p][m]:.2f}" for p in points]
        cells += [str(found["wins"][p].get(m, "–")) for p in points]
        lines.append(f"| {m} | " + " | ".join(cells) + f" | {seconds[m]:.1f} |")
    for p in points:
        lines += [f"\n**Best value @{p}** (mean over seeds [95 % bootstrap interval], lower is better)\n"]
        lines += ["| problem | " + " | ".join(order) + " |", "|---" * (len(order) + 1) + "|"]
        for problem, row in found["value"][p].items():
            cells = [f"{row[m][0]:.4g} [{row[m][1]:.4g}, {row[m][2]:.4g}]" for m in order]
            lines.append(f"| {problem} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed_spaces", description=__doc__.splitlines()[0])
    parser.add_argument("--method", action="append", choices=SAMPLERS, help="repeatable (default: all)")
    parser.add_argument("--problem", action="append", choices=PROBLEMS, help="repeatable (default: all twelve)")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="start no search after so many minutes")
    parser.add_argument("--cache", type=Path, default=Path("runs/mixed_spaces"))
    add_output(parser)
    args = parser.parse_args()
    methods, problems = args.method or list(SAMPLERS), args.problem or list(PROBLEMS)
    files = {
        (m, p, s): args.cache / m / f"{plain(p)}-{s}-{args.budget}.json"
        for s in range(args.seeds)
        for m in methods
        for p in problems
    }
    _search_all([(key, path) for key, path in files.items() if not path.is_file()], args)
    return _write(files, methods, problems, args)


def _search_all(todo: Sequence[tuple[tuple[str, str, int], Path]], args: argparse.Namespace) -> None:
    """The searches that are missing, until the time is over."""
    end = time.monotonic() + (args.minutes or float("inf")) * 60
    rest = iter(todo)
    with ProcessPoolExecutor(args.processes) as pool:
        running = set()
        while True:
            while len(running) < args.processes and time.monotonic() < end and (job := next(rest, None)):
                running.add(pool.submit(search, *job[0], args.budget, job[1]))
            if not running:
                return
            done = next(as_completed(running))
            done.result()
            running.discard(done)


def _write(files: Mapping[Any, Path], methods: Sequence[str], problems: Sequence[str], args: argparse.Namespace) -> int:
    found = {key: json.loads(path.read_text()) for key, path in files.items() if path.is_file()}
    seeds = {m: [s for s in range(args.seeds) if all((m, p, s) in found for p in problems)] for m in methods}
    there = [m for m in methods if seeds[m]]
    if not there:
        print("no seed is done on every problem yet: the same command goes on")
        return 1
    curves = {p: {m: np.array([found[m, p, s]["best"] for s in seeds[m]]) for m in there} for p in problems}
    seconds = {m: float(np.mean([found[m, p, s]["seconds"] for p in problems for s in seeds[m]])) for m in there}
    counts = ", ".join(f"{m} {len(seeds[m])}" for m in there)
    about = f"{len(problems)} problems, {args.budget} evaluations, seeds: {counts}. Processor seconds a search."
    ranks = results(curves, [p for p in POINTS if p <= args.budget])
    write_atomic(folder(args) / "mixed_spaces.md", markdown(ranks, about, seconds))
    content = {"about": about, "problems": problems, "seeds": {m: len(seeds[m]) for m in there}, "seconds": seconds}
    print(markdown(ranks, about, seconds).split("\n\n**")[0])
    print(write_atomic(folder(args) / "mixed_spaces.json", json.dumps(content | ranks, indent=1) + "\n"))
    return 0


if __name__ == "__main__":
    cli(main)
