"""The exam on every real table: how well do rankers pick, zero-shot, on average, and on how many tables do they beat
ridge?

    python -m benchmarks.exam_all --ranker nano [--repeats 100] [--history 5,20,50,100,200] [--processes 2] [--out DIR]

Writes exam_<pool>.md and exam_<pool>.json. Answers are kept in --cache and reused while the ranker
answers a few fixed questions as it did; --fresh NAME asks it again all the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.cases import left_out, present, task_of
from benchmarks.output import add_output, folder
from search.errors import UserError, cli
from search.exam import LENGTHS, POOLS, numbers, questions, sit
from search.files import write_atomic
from search.rankers import Context, make_ranker
from search.reports.curves import bootstrap
from search.spaces import Decision, Seen, Space

REFERENCE = "surrogate"
ALWAYS = (REFERENCE, "knn")
ANSWERING = ("random", "surrogate", "knn", "gp", "views", "nano", "raw")  # the same answer to the same question
Marks = dict[str, dict[str, list[float]]]


@cache
def stamp(spec: str) -> str:
    """10 hex digits of a ranker's answers to fixed questions: cached answers depend on it beside the spec.

    Empty for what is no ranker of this process (a strategy, a server, the oracle). UserError when the ranker cannot
    answer, for example because a file of its model is missing.
    """
    if spec.partition(":")[0] not in ANSWERING:
        return ""
    space = Space([Decision(f"d{i}", (0, 1, 2, 3)) for i in range(6)])
    codes = space.to_codes(np.unique(space.sample(np.random.default_rng(0), 99), axis=0)[::-1])[:60]
    told = [Seen(code, float(value)) for code, value in zip(codes, np.random.default_rng(1).normal(size=50))]
    answers = []
    try:
        for goal in ("pick", "search"):
            ranker = make_ranker(spec, Context(space, 0, goal=goal))
            for length in (5, 20, 50):
                found = ranker.rank(told[:length], codes[50:])
                answers.append([found.best, *(f"{score:.4g}" for score in found.scores or ())])
            ranker.close()
    except OSError as error:
        raise UserError(
            f"ranker {spec} cannot answer ({str(error).splitlines()[0]}) - its model must be whole - restore its files"
        ) from error
    return hashlib.sha256(json.dumps(answers).encode()).hexdigest()[:10]


def plain(name: str) -> str:
    """A file name that is different for different names."""
    return re.sub(r"[^A-Za-z0-9.+-]", "_", name) + "-" + hashlib.sha256(name.encode()).hexdigest()[:6]


def answer(
    case: str, spec: str, lengths: Sequence[int], repeats: int, candidates: int, pool: str, seed: int
) -> tuple[str, str, Marks]:
    """(case, spec, {length: {measure: one number a question}}); a length the table is too small for is left out."""
    task = task_of(case)
    ranker = make_ranker(spec, Context(task.space, seed, goal="pick"))
    out: Marks = {}
    for length in lengths:
        try:
            asked = questions(task, length, repeats, candidates, pool, seed)
        except UserError:
            continue
        marks = sit(ranker, asked)
        row = {m: np.round(marks[m], 6).tolist() for m in ("percentile", "closed", "top1")}
        out[str(length)] = row | {"seconds": [marks["seconds"]], "fallbacks": [marks["fallbacks"]]}
    ranker.close()
    return case, spec, out


def summarise(marks: Mapping[str, Mapping[str, Marks]], measure: str = "percentile") -> dict[str, Any]:
    """{ranker: {length: {mean over tables with interval, share of tables ahead of ridge, ...}}} from {ranker: {case:
    marks}}.

    The interval resamples tables: it says how far the mean could move on other tables of this kind.
    """
    out: dict[str, Any] = {}
    lengths = list(dict.fromkeys(n for cases in marks.values() for m in cases.values() for n in m))
    for spec, cases in marks.items():
        out[spec] = {}
        for n in lengths:
            own = {c: float(np.mean(m[n][measure])) for c, m in cases.items() if n in m}
            interval = bootstrap(list(own.values()))
            row: dict[str, Any] = {"mean": [interval.mean, interval.low, interval.high], "tables": len(own)}
            rival = {c: float(np.mean(m[n][measure])) for c, m in marks.get(REFERENCE, {}).items() if n in m}
            both = [c for c in own if c in rival]
            if spec != REFERENCE and both:
                ahead = bootstrap([own[c] - rival[c] for c in both])
                row |= {
                    "ahead": [ahead.mean, ahead.low, ahead.high],
                    "wins": sum(own[c] > rival[c] for c in both) / len(both),
                }
            row["seconds"] = float(np.mean([m[n]["seconds"][0] for m in cases.values() if n in m]))
            out[spec][n] = row
    return out


def markdown(marks: Mapping[str, Mapping[str, Marks]], about: str) -> str:
    """The summary, then every table."""
    parts = [about]
    for measure, title in (
        ("percentile", "Mean percentile of the pick (chance 0.5)"),
        ("closed", "Share of the oracle-over-chance gap closed (chance 0)"),
    ):
        summary = summarise(marks, measure)
        lengths = list(next(iter(summary.values())))
        lines = [f"**{title}**, mean over tables (difference to ridge, share of tables ahead of ridge)\n"]
        lines.append("| ranker | " + " | ".join(f"history {n}" for n in lengths) + " |")
        lines.append("|---" * (len(lengths) + 1) + "|")
        for spec, rows in summary.items():
            cells = [
                f"{rows[n]['mean'][0]:.3f}"
                + (f" ({rows[n]['ahead'][0]:+.3f}, {rows[n]['wins']:.0%})" if "ahead" in rows[n] else "")
                for n in lengths
            ]
            lines.append(f"| {spec} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    specs = list(marks)
    for n in list(next(iter(summarise(marks).values()))):
        lines = [
            f"**History {n}**, mean percentile\n",
            "| table | " + " | ".join(specs) + " |",
            "|---" * (len(specs) + 1) + "|",
        ]
        for case in next(iter(marks.values())):
            row = [
                float(np.mean(marks[s][case][n]["percentile"])) if n in marks[s].get(case, {}) else None for s in specs
            ]
            known = [v for v in row if v is not None]
            if known:
                lines.append(
                    f"| {case} | "
                    + " | ".join("–" if v is None else f"**{v:.3f}**" if v >= max(known) else f"{v:.3f}" for v in row)
                    + " |"
                )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exam_all", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--ranker", action="append", default=[], metavar="SPEC", help="repeatable; surrogate and knn always take part"
    )
    parser.add_argument("--case", action="append", help="only these tables (benchmarks/cases.py), repeatable")
    parser.add_argument("--history", default=",".join(map(str, LENGTHS)))
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--pool", choices=POOLS, default="uniform")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--fresh", action="append", default=[], metavar="SPEC", help="ask this ranker again")
    parser.add_argument("--cache", type=Path, default=Path("runs/exam_all"))
    add_output(parser)
    args = parser.parse_args()
    lengths, cases = numbers(args.history), present(args.case)
    specs = list(dict.fromkeys([*args.ranker, *ALWAYS]))
    settings = (lengths, args.repeats, args.candidates, args.pool, args.seed)
    files = {(c, s): args.cache / f"{plain(f'{c}|{s}|{stamp(s)}|{settings}')}.json" for c in cases for s in specs}
    missing = [key for key, path in files.items() if key[1] in args.fresh or not path.is_file()]
    with ProcessPoolExecutor(args.processes) as pool:
        jobs = [pool.submit(answer, c, s, *settings) for c, s in sorted(missing, key=lambda k: (k[1], k[0]))]
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="exam", disable=None):
            case, spec, found = job.result()
            write_atomic(files[case, spec], json.dumps(found))
    marks = {s: {c: json.loads(files[c, s].read_text()) for c in cases} for s in specs}
    about = (
        f"{len(cases)} tables, {args.repeats} questions a table and length, {args.candidates} {args.pool} candidates,"
        f" seed {args.seed}." + left_out(args.case)
    )
    text = markdown(marks, about)
    print("\n\n".join(text.split("\n\n")[:5]))
    summary = {"about": about, "cases": cases, "percentile": summarise(marks), "closed": summarise(marks, "closed")}
    write_atomic(folder(args) / f"exam_{args.pool}.md", text)
    print(write_atomic(folder(args) / f"exam_{args.pool}.json", json.dumps(summary, indent=1) + "\n"))
    return 0


if __name__ == "__main__":
    cli(main)
