"""Searches to the end on real tables: which method finds the best architecture, how early, over tables and seeds?

    python -m benchmarks.closed_loop [--method nano+wide ...] [--case macro ...] [--seeds 20] [--budget 100]
    python -m benchmarks.closed_loop --case nb201/cifar10 --case nb201/cifar100 --budget 192 --name nb201

Methods are those of benchmarks/driver.py. Regret is (optimum - best so far) / (optimum - median of the table): 0 is the
optimum, 1 the median architecture. Mean rank: methods are ranked by mean regret on each table, ranks averaged over
tables. Searches are kept in --cache, one file a method, table and seed, and used for every budget up to their own and
as long as the method answers the questions of benchmarks/probe.py as it did; --fresh METHOD forgets one. A search that
found the best row of its table is ended, as its curve can only stay there. --cached runs nothing and reports what is
kept. Peers (extra `peers`): smac, botorch, hebo, nevergrad, tpe-multivariate. Writes closed_loop[_NAME].md and .json to
runs/benchmarks, or with --write-results to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.cases import LOOP, left_out, present, task_of
from benchmarks.driver import best_so_far, build, drive
from benchmarks.exam_all import plain
from benchmarks.output import add_output, folder
from benchmarks.probe import fingerprint
from search.errors import UserError, cli
from search.files import write_atomic
from search.rankers import SHIPPED
from search.reports.curves import bootstrap

METHODS = ("views+wide", "surrogate+wide", "random+wide", "surrogate+mixed", "random+mixed")
METHODS += ("local", "evolution", "tpe", "tpe-multivariate", "gp", "random")
NANO = "nano+wide"
POINTS = (25, 50, 100, 192)
CONTROL = "random+mixed"


def search(method: str, case: str, seed: int, budget: int) -> dict[str, Any]:
    """Best value after each of `budget` evaluations of one search, and processor seconds per suggestion."""
    task, start = task_of(case), time.process_time()
    steps = drive(task, build(method, task, seed), budget, to_optimum=True)
    spent = (time.process_time() - start) / len(steps)
    return {
        "best": best_so_far(steps, task.direction, budget).tolist(),
        "seconds": round(spent, 5),
        "steps": len(steps),
    }


def work(method: str, case: str, seeds: Sequence[int], budget: int, files: Sequence[Path]) -> int:
    """The searches of several seeds, each kept as soon as it is done; returns how many."""
    for seed, path in zip(seeds, files, strict=True):
        write_atomic(
            path,
            json.dumps(
                {
                    "method": method,
                    "case": case,
                    "seed": seed,
                    "budget": budget,
                    **search(method, case, seed, budget),
                }
            ),
        )
    return len(seeds)


def kept(path: Path) -> list[float]:
    """The best values of a search that was done before, [] for none.

    A shorter budget is the beginning of a longer one.
    """
    return json.loads(path.read_text())["best"] if path.is_file() else []


def seconds(paths: Sequence[Path]) -> float:
    """Processor seconds per suggestion over all steps of kept searches."""
    found = [json.loads(p.read_text()) for p in paths if p.is_file()]
    steps = sum(f["steps"] for f in found)
    return sum(f["seconds"] * f["steps"] for f in found) / max(steps, 1)


def regrets(case: str, curves: np.ndarray) -> np.ndarray:
    """Best values (seeds, budget) in the task's direction -> normalised regret of the same shape."""
    task = task_of(case)
    assert task.optimum is not None
    known = task.values[np.isfinite(task.values)]
    return (task.optimum - curves) / (task.optimum - float(np.median(known)))


def rank_methods(table: Mapping[str, float]) -> dict[str, float]:
    """1 for the smallest regret; equal ones share the mean of their ranks."""
    values = np.array(list(table.values()))
    ranks = [(values < v - 1e-12).sum() + (np.abs(values - v) <= 1e-12).sum() / 2 + 0.5 for v in values]
    return dict(zip(table, map(float, ranks), strict=True))


def results(
    curves: Mapping[str, Mapping[str, np.ndarray]], points: Sequence[int], earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All numbers from {case: {method: best values (seeds, budget)}}; a method must have every case, but not every
    point.

    earlier: a result file of the same cases; methods that are not in curves are taken from it.
    """
    out: dict[str, Any] = {"regret": {}, "value": {}, "rank": {}, "mean_regret": {}, "against_control": {}}
    for p in map(str, points):
        for kind in ("regret", "value"):
            out[kind][p] = {}
            for case, methods in curves.items():
                row = {
                    m: v
                    for m, v in ((earlier or {}).get(kind, {}).get(p, {}).get(case, {})).items()
                    if m not in methods
                }
                for m, c in methods.items():
                    if c.shape[1] >= int(p):
                        row[m] = _triple((regrets(case, c) if kind == "regret" else c)[:, int(p) - 1])
                out[kind][p][case] = row
        means = {case: {m: v[0] for m, v in row.items()} for case, row in out["regret"][p].items()}
        ranks = [rank_methods(row) for row in means.values()]
        names = list(next(iter(means.values())))
        out["rank"][p] = {m: _triple([r[m] for r in ranks]) for m in names}
        out["mean_regret"][p] = {m: _triple([row[m] for row in means.values()]) for m in names}
        if CONTROL in names:
            gaps = {m: [row[CONTROL] - row[m] for row in means.values()] for m in names if m != CONTROL}
            out["against_control"][p] = {
                m: {"gain": _triple(g), "wins": float(np.mean(np.array(g) > 0))} for m, g in gaps.items()
            }
    return out


def markdown(found: Mapping[str, Any], about: str, values: bool) -> str:
    """Ranks and mean regrets of the methods, then a table per budget; a method that was not run that far has a dash."""
    points = list(found["rank"])
    last = {m: ranks[m][0] for p in points for ranks in [found["rank"][p]] for m in ranks}
    order = sorted(last, key=last.__getitem__)
    rule = "|---" * (2 * len(points) + 3) + "|"
    header = ["method", *(f"mean rank @{p}" for p in points), *(f"regret @{p}" for p in points), "beats control", "s"]
    lines = [f"{about}\n", "| " + " | ".join(header) + " |", rule]
    for m in order:
        ranks = [f"{found['rank'][p][m][0]:.2f}" if m in found["rank"][p] else "–" for p in points]
        means = [f"{found['mean_regret'][p][m][0]:.4f}" if m in found["mean_regret"][p] else "–" for p in points]
        wins = (
            " ".join(
                f"{found['against_control'][p][m]['wins']:.0%}"
                for p in points
                if m in found["against_control"].get(p, {})
            )
            or "–"
        )
        spent = f"{found['seconds'][m]:.3f}" if m in found.get("seconds", {}) else "–"
        lines.append(f"| {m} | " + " | ".join(ranks + means) + f" | {wins} | {spent} |")
    parts = ["\n".join(lines)]
    for kind, title in (
        (("value", "best value"), ("regret", "normalised regret")) if values else (("regret", "normalised regret"),)
    ):
        for p in points:
            here = [m for m in order if m in found["rank"][p]]
            lines = [
                f"**@{p}, {title}** (mean over seeds [95 % bootstrap interval])\n",
                "| table | " + " | ".join(here) + " |",
            ]
            lines.append("|---" * (len(here) + 1) + "|")
            digits = 4 if kind == "regret" else 2
            for case, row in found[kind][p].items():
                lines.append(
                    f"| {case} | "
                    + " | ".join(
                        f"{row[m][0]:.{digits}f} [{row[m][1]:.{digits}f}, {row[m][2]:.{digits}f}]" for m in here
                    )
                    + " |"
                )
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _triple(x: Any) -> list[float]:
    i = bootstrap(x, 2000)
    return [i.mean, i.low, i.high]


def _limits(option: str, texts: Sequence[str]) -> dict[str, int]:
    """METHOD=N options as {method: N}."""
    pairs = [t.rpartition("=") for t in texts]
    if not all(m and n.isdigit() and int(n) for m, _, n in pairs):
        raise UserError(f"{option} {' '.join(texts)} was given - METHOD=NUMBER is allowed - e.g. gp=5")
    return {m: int(n) for m, _, n in pairs}


def _earlier(path: Path | None, cases: Sequence[str]) -> dict[str, Any] | None:
    """The numbers of a result file of the same tables."""
    if path is None:
        return None
    if not path.is_file():
        raise UserError(f"--earlier {path} does not exist - a closed_loop*.json of an earlier run is needed")
    found = json.loads(path.read_text())
    if found.get("cases") != list(cases):
        raise UserError(
            f"--earlier {path} has other tables ({', '.join(found.get('cases', []))}) - name the same with --case, or"
            " leave --earlier out"
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.closed_loop", description=__doc__.splitlines()[0])
    parser.add_argument("--method", action="append", help=f"repeatable (default: {', '.join((NANO, *METHODS))})")
    parser.add_argument(
        "--also", action="append", default=[], metavar="METHOD", help="beside the default methods, repeatable"
    )
    parser.add_argument(
        "--case", action="append", help=f"tables of benchmarks/cases.py, repeatable (default: {', '.join(LOOP)})"
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--seeds-of", action="append", default=[], metavar="METHOD=N", help="fewer seeds of a slow method"
    )
    parser.add_argument(
        "--budget-of", action="append", default=[], metavar="METHOD=N", help="fewer evaluations of a slow method"
    )
    parser.add_argument(
        "--earlier",
        type=Path,
        metavar="JSON",
        help="take methods that are not run from this earlier result file (same tables)",
    )
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--fresh", action="append", default=[], metavar="METHOD")
    parser.add_argument("--cached", action="store_true", help="run nothing: report the seeds that are kept")
    parser.add_argument("--cache", type=Path, default=Path("runs/closed_loop"))
    add_output(parser)
    parser.add_argument("--name", default="", help="what the result files are called: closed_loop_NAME")
    parser.add_argument("--values", action="store_true", help="print best values beside regrets")
    args = parser.parse_args()
    shipped = (SHIPPED / "nano" / "config.json").is_file()
    methods = list(dict.fromkeys([*(args.method or ([NANO] if shipped else []) + list(METHODS)), *args.also]))
    cases, limits = present(args.case or list(LOOP)), _limits("--seeds-of", args.seeds_of)
    budgets, earlier = (
        {m: args.budget for m in methods} | _limits("--budget-of", args.budget_of),
        _earlier(args.earlier, cases),
    )
    seeds = {m: range(min(args.seeds, limits.get(m, args.seeds))) for m in methods}
    folders = {m: args.cache / plain(f"{m}|{fingerprint(m)}") for m in methods}
    files = {(m, c, s): folders[m] / f"{plain(c)}-{s}.json" for m in methods for c in cases for s in seeds[m]}
    todo = [k for k, path in files.items() if k[0] in args.fresh or len(kept(path)) < budgets[k[0]]]
    if args.cached:
        whole = {m: [s for s in seeds[m] if not any((m, c, s) in set(todo) for c in cases)] for m in methods}
        methods, seeds, todo = [m for m in methods if whole[m]], {m: s for m, s in whole.items() if s}, []
        limits = {m: len(s) for m, s in seeds.items() if len(s) < args.seeds}
    with ProcessPoolExecutor(args.processes) as pool:  # seed by seed, so that a run cut short is even over the tables
        jobs = [
            pool.submit(work, m, c, [s], budgets[m], [files[m, c, s]])
            for m, c, s in sorted(todo, key=lambda k: (k[2], methods.index(k[0]), cases.index(k[1])))
        ]
        bar = tqdm(total=len(todo), desc="searches", disable=None)
        for job in as_completed(jobs):
            bar.update(job.result())
        bar.close()
    curves = {c: {m: np.array([kept(files[m, c, s])[: budgets[m]] for s in seeds[m]]) for m in methods} for c in cases}
    found = results(curves, [p for p in POINTS if p <= args.budget], earlier)
    exceptions = "".join(f", {m} {n}" for m, n in limits.items()) + "".join(
        f", {m} to {budgets[m]}" for m in methods if budgets[m] < args.budget
    )
    about = (
        f"{len(cases)} tables, {args.seeds} seeds{exceptions}, budget {args.budget}; 'beats control': share of tables"
        f" ahead of {CONTROL} at each budget; s: processor seconds a suggestion." + left_out(args.case or list(LOOP))
    )
    found["seconds"] = {m: seconds([files[m, c, s] for c in cases for s in seeds[m]]) for m in methods}
    found["seconds"] |= {m: s for m, s in (earlier or {}).get("seconds", {}).items() if m not in methods}
    text = markdown(found, about, args.values)
    print(text.split("\n\n")[0], "\n\n" + text.split("\n\n")[1])
    stem = "closed_loop" + f"_{args.name}" * bool(args.name)
    write_atomic(folder(args) / f"{stem}.md", text)
    print(
        write_atomic(
            folder(args) / f"{stem}.json",
            json.dumps(
                {
                    "about": about,
                    "cases": cases,
                    "methods": methods,
                    "seeds": {m: len(s) for m, s in seeds.items()},
                    **found,
                },
                indent=1,
            )
            + "\n",
        )
    )
    return 0


if __name__ == "__main__":
    cli(main)
