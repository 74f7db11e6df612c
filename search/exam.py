"""How good is a ranker, offline? Questions with known answers from a table, the same ones for every ranker.

    python -m search.exam --task nb201/cifar100 --ranker nano --history 5,20,50,100,200
    python -m search.exam --table runs.csv.gz --code-column arch --metric val_loss --direction minimize --ranker knn

A question shows a history of told codes and asks for the best of a few candidates. JSON goes to standard output, a
table to read to standard error. Chance and the oracle are exact; ridge regression ('surrogate'), nearest neighbours and
a Gaussian process always take part.

Every ranker is asked which candidate is best, with nothing after it: where a search would read expected improvement
(nano), the exam reads the expected value, unless the spec names a reading (nano:blend is what a search reads).

--history-control shows every ranker the history's values shuffled among its codes, or negated: a ranker that learns
from the history must fall to chance, or below it. Chance and the oracle stay as they are. `all` sets the rankers of
--ranker beside themselves: true, shuffled and negated history on the same questions.

top1      share of questions where the best candidate was picked
percentile  mean share of the other candidates that the pick beats (ties count half): chance 0.5, oracle 1
regret    (best - pick) / (best - worst) of the pool, mean
closed    share of the way from the pool's mean (chance, 0) to its best (oracle, 1), mean
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from search.errors import UserError, cli, program
from search.rankers import HISTORY_CONTROLS, Context, Ranker, make_ranker
from search.rankers.control import controlled
from search.reports.curves import bootstrap
from search.spaces import Seen
from search.strategies.base import Setup
from search.tasks import Task

ALWAYS = ("surrogate", "knn", "gp")
ALL = "all"  # the true history and every control side by side
LENGTHS = (5, 20, 50, 100, 200)  # history lengths from a search's first question to its last
MEASURES = ("percentile", "top1", "regret", "closed")
POOLS = ("uniform", "mixed")
RESAMPLES = 2000  # bootstrap resamples; intervals then move by less than their third digit


class Question(NamedTuple):
    """Told entries (higher is better), candidates, and the candidates' true values, float64 (n,), higher is better."""

    history: list[Seen]
    candidates: list[str]
    values: np.ndarray


def questions(
    task: Task, length: int, repeats: int, candidates: int = 10, pool: str = "uniform", seed: int = 0
) -> list[Question]:
    """`repeats` questions with `length` history entries, drawn without repeats (canonically) from the task's table.

    pool: the candidates are uniform rows, or come from the search's own 'mixed' proposal. A pure function of its
    arguments; the first questions do not depend on `repeats`. UserError when the table is too small or there is none.
    """
    if task.table is None:
        raise UserError(f"task {task.name} has no table - the exam needs known values - use a table task or --table")
    values = task.table.metric(task.metric) * (-1.0 if task.direction == "minimize" else 1.0)
    known = np.flatnonzero(np.isfinite(values))
    need = length + candidates
    if need > len(known):
        raise UserError(
            f"{length} history entries and {candidates} candidates were asked for - table {task.table.name} has"
            f" {len(known)} rows - ask for fewer: --history {max(1, len(known) - candidates)} at most, or --candidates"
        )
    out = []
    for i in range(repeats):
        rng = np.random.default_rng([seed, length, i])
        codes, rows = _distinct(task, known, need if pool == "uniform" else length, rng)
        told = [Seen(c, float(values[r])) for c, r in zip(codes[:length], rows[:length], strict=True)]
        if pool == "uniform":
            shown, truth = codes[length:], values[rows[length:]]
        else:
            taken = {task.space.canonical(c) for c in codes}
            setup = Setup(task.space, feasible=task.feasible, codes=task.codes())
            shown = [c.code for c in setup.propose(told, taken, rng, candidates, pool)]
            truth = values[task.table.rows(shown)]
        if len(told) < length or len(shown) < (candidates if pool == "uniform" else 2):
            given = f"{length} history entries and {candidates} candidates were asked for"
            raise UserError(
                f"{given} - table {task.table.name} has too few different architectures - ask for fewer: --history or"
                " --candidates"
            )
        out.append(Question(told, shown, np.asarray(truth, dtype=np.float64)))
    return out


def judge(values: np.ndarray, pick: int) -> dict[str, float]:
    """The four measures of one answer."""
    v, best, worst, mean = values[pick], values.max(), values.min(), values.mean()
    beaten = float((values < v).sum() + 0.5 * ((values == v).sum() - 1)) / (len(values) - 1)
    if best <= worst:
        return {"percentile": 0.5, "top1": 1.0, "regret": 0.0, "closed": 0.0}
    return {
        "percentile": beaten,
        "top1": float(v == best),
        "regret": float((best - v) / (best - worst)),
        "closed": float((v - mean) / (best - mean)),
    }


def sit(ranker: Ranker, asked: Sequence[Question], answered: Callable[[], Any] = int) -> dict[str, Any]:
    """One ranker's answers: float64 (questions,) per measure, fallbacks and mean seconds.

    answered: called after each answer.
    """
    marks, fallbacks, seconds = [], 0, 0.0
    for q in asked:
        answer = ranker.rank(q.history, q.candidates)
        marks.append(judge(q.values, q.candidates.index(answer.best)))
        fallbacks += answer.fallback is not None
        seconds += answer.seconds
        answered()
    return {m: np.array([x[m] for x in marks]) for m in MEASURES} | {
        "fallbacks": fallbacks,
        "seconds": seconds / max(len(asked), 1),
    }


def chance(asked: Sequence[Question]) -> dict[str, Any]:
    """Exact expectation of a random pick for every question."""
    marks = [[judge(q.values, i) for i in range(len(q.candidates))] for q in asked]
    return {m: np.array([np.mean([x[m] for x in each]) for each in marks]) for m in MEASURES} | {
        "fallbacks": 0,
        "seconds": 0.0,
    }


def oracle(asked: Sequence[Question]) -> dict[str, Any]:
    """The best pick of every question."""
    marks = [judge(q.values, int(q.values.argmax())) for q in asked]
    return {m: np.array([x[m] for x in marks]) for m in MEASURES} | {"fallbacks": 0, "seconds": 0.0}


def examine(
    task: Task,
    rankers: Mapping[str, Ranker],
    lengths: Sequence[int] = LENGTHS,
    repeats: int = 200,
    candidates: int = 10,
    pool: str = "uniform",
    seed: int = 0,
    reference: str = "surrogate",
    answered: Callable[[], Any] = int,
) -> dict[str, Any]:
    """{ranker: {history length: {measure: [mean, low, high], ...}}} with 95 % bootstrap intervals over the questions.

    Every ranker but the reference also gets 'ahead': its paired difference in percentile to the reference ranker.
    answered: called after each answer of a ranker.
    """
    results: dict[str, Any] = {name: {} for name in ("chance", "oracle", *rankers)}
    for length in lengths:
        asked = questions(task, length, repeats, candidates, pool, seed)
        raw = {"chance": chance(asked), "oracle": oracle(asked)} | {
            name: sit(ranker, asked, answered) for name, ranker in rankers.items()
        }
        for name, marks in raw.items():
            row: dict[str, Any] = {m: _triple(marks[m]) for m in MEASURES}
            if reference in raw and name != reference:
                row["ahead"] = _triple(marks["percentile"] - raw[reference]["percentile"])
            results[name][str(length)] = row | {"fallbacks": marks["fallbacks"], "seconds": round(marks["seconds"], 6)}
    return results


def table(results: Mapping[str, Any], measure: str = "percentile") -> str:
    """A measure of all rankers by history length, to read in a terminal."""
    lengths = list(next(iter(results.values())))
    width = max(map(len, results)) + 2
    lines = [f"{measure:<{width}}" + "".join(f"{'history ' + n:>24}" for n in lengths)]
    for name, rows in results.items():
        lines.append(
            f"{name:<{width}}" + "".join(f"{'{:.3f} [{:.3f}, {:.3f}]'.format(*rows[n][measure]):>24}" for n in lengths)
        )
    return "\n".join(lines)


def _triple(x: np.ndarray) -> list[float]:
    i = bootstrap(x, RESAMPLES)
    return [round(i.mean, 6), round(i.low, 6), round(i.high, 6)]


def _distinct(task: Task, known: np.ndarray, count: int, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """`count` random rows that mean different architectures (fewer if there are not so many)."""
    assert task.table is not None
    seen: set[str] = set()
    codes: list[str] = []
    rows: list[int] = []
    order = rng.permutation(known)
    for start in range(0, len(order), count):
        chunk = order[start : start + count]
        for row, code in zip(chunk, task.space.to_codes(task.table.codes[chunk]), strict=True):
            key = task.space.canonical(code)
            if key not in seen:
                seen.add(key)
                codes.append(code)
                rows.append(int(row))
            if len(codes) == count:
                return codes, np.array(rows)
    return codes, np.array(rows)


def numbers(text: str) -> list[int]:
    """'5,20,50' as integers; UserError for anything else."""
    parts = [p.strip() for p in text.split(",") if p.strip()]
    if not parts or not all(p.isdigit() for p in parts) or min(map(int, parts)) < 1:
        raise UserError(
            f"history '{text}' was given - numbers of entries of at least 1, separated by commas, are allowed - e.g."
            " 5,20,50"
        )
    return sorted({int(p) for p in parts})


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    parser = argparse.ArgumentParser(
        prog=program("search.exam"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", help="a task with a table, e.g. nb201/cifar100")
    parser.add_argument("--task-option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--table", help="a CSV, CSV.gz or Parquet file")
    parser.add_argument("--code-column")
    parser.add_argument("--decisions", help="with --table: one column per decision, a,b,c")
    parser.add_argument("--metric")
    parser.add_argument("--direction", choices=("maximize", "minimize"))
    parser.add_argument(
        "--ranker",
        action="append",
        default=[],
        metavar="SPEC",
        help="repeatable; surrogate, knn and gp always take part",
    )
    parser.add_argument("--format", help="prompt format of a language-model ranker")
    parser.add_argument(
        "--history", default=",".join(map(str, LENGTHS)), help="lengths of the history (default %(default)s)"
    )
    parser.add_argument(
        "--history-control", choices=(*HISTORY_CONTROLS, ALL), help="show rankers a history with wrong values"
    )
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--pool", choices=POOLS, default="uniform")
    parser.add_argument("--repeats", type=int, default=200, help="questions per length (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> int:
    """The command line."""
    args = parser().parse_args()
    if bool(args.task) == bool(args.table):
        raise UserError("give exactly one of --task and --table - they say where the known values are")
    if args.table and not args.metric:
        raise UserError("--table was given without --metric - name the column to rank by")
    if args.candidates < 2 or args.repeats < 1:
        raise UserError(
            f"{args.candidates} candidates and {args.repeats} repeats were given - at least 2 and 1 are needed"
        )
    if args.history_control == ALL and not args.ranker:
        raise UserError("--history-control all was given without --ranker - it sets a ranker beside itself - name one")
    lengths = numbers(args.history)
    from tqdm import tqdm

    from search.cli.assemble import build_task
    from search.cli.options import DEFAULTS

    options = dict(o.partition("=")[::2] for o in args.task_option)
    what = {k: getattr(args, k) for k in ("task", "table", "code_column", "decisions", "metric", "direction")}
    task = build_task({**DEFAULTS, **what, "task_option": options})
    questions(task, max(lengths), 1, args.candidates, args.pool, args.seed)
    context = Context(task.space, args.seed, args.format, goal="pick")
    specs = [s for s in dict.fromkeys([*ALWAYS, *args.ranker]) if s not in ("oracle",)]
    one = None if args.history_control == ALL else args.history_control
    rankers = {}
    for spec in specs:
        ranker = make_ranker(spec, context)
        for kind in (None, *HISTORY_CONTROLS) if args.history_control == ALL and spec in args.ranker else (one,):
            name = f"{spec}, {kind}" if args.history_control == ALL and kind else spec
            rankers[name] = controlled(ranker, kind, args.seed)
    with tqdm(total=len(lengths) * args.repeats * len(rankers), desc="exam", unit="answer", disable=None) as bar:
        shape = (args.candidates, args.pool, args.seed)
        results = examine(task, rankers, lengths, args.repeats, *shape, answered=bar.update)
    about = task.describe() | {
        k: getattr(args, k) for k in ("pool", "candidates", "repeats", "seed", "format", "history_control")
    }
    print(json.dumps(about | {"results": results}, indent=1, default=str))
    print(
        f"{task.name} · {task.metric} ({task.direction}), {args.repeats} questions a length, {args.candidates}"
        f" {args.pool} candidates" + (f", history {one}" if one else ""),
        file=sys.stderr,
    )
    for measure in ("percentile", "closed"):
        print("\n" + table(results, measure), file=sys.stderr)
    return 0


if __name__ == "__main__":
    cli(main)
