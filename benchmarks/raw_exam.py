"""Does the raw searcher read the history it is shown? The exam with both controls, and together with the nine views.

    python -m benchmarks.raw_exam [--model models/raw] [--case nb201/cifar100 ...] [--repeats 200] [--processes 2]

On the same questions of every table: ridge regression, nearest neighbours, the plain average of the nine views of
search.prompts.evidence; the raw model with the true history, with its values shuffled among its codes, and negated; and
three ways to join the raw model and the views:

tenth    the raw model is one view more, all count alike
half     the raw model counts as much as the nine views together
skilled  every view counts by the square of its leave-one-out skill, the raw model by how well it guessed each entry of
         the history from the entries before it

Answers are kept in --cache, a file a table: the command goes on where it stopped. Writes raw_exam.md and .json to
runs/benchmarks, or with --write-results to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import present, task_of
from benchmarks.output import add_output, folder
from search.errors import UserError, cli
from search.exam import numbers, questions
from search.files import sha256, write_atomic
from search.prompts.evidence import gather
from search.prompts.nano import arrays
from search.prompts.stamped import BOS, FIRST_CODE, FIRST_VALUE, bin_scores, naming, steady_bins
from search.rankers import HISTORY_CONTROLS, Context, make_ranker
from search.rankers.control import HistoryControl
from search.rankers.raw import FOLDER, RawRanker
from search.reports.curves import bootstrap
from search.spaces import Seen

CASES = (  # one of each benchmark; `--case all` for every table
    "nb201/cifar100 analog/finetuned hwnasbench/edgegpu_energy macro channelbench transnas/scene ecnas_5v darts545"
    " fbnet/pixel3 ofa/v100 graph/cora graph/proteins hpobench/car hpobench/segment hpolib/protein_structure"
).split()
COLUMNS = ("ridge", "knn", "views", "raw", "shuffled", "negated", "tenth", "half", "skilled")
LEAST_TRUST = 0.05
CONTROLLED = (20, 50)  # lengths at which the history is also shuffled and negated


def percentile(values: np.ndarray, scores: np.ndarray) -> float:
    """Share of the other candidates that the pick beats, ties half."""
    v = values[int(np.argmax(np.round(scores, 9)))]
    return float(((values < v).sum() + 0.5 * ((values == v).sum() - 1)) / (len(values) - 1))


def guessed(ranker: RawRanker, history: Sequence[Seen]) -> float:
    """Correlation of the model's guesses of the entries from the entries before them with their values, second half."""
    import torch

    codes, values, _ = arrays(history, [])
    bins = steady_bins(values)
    names = naming(codes, bins, codes[:0], 0)
    width = 2 * len(names.columns) + 2
    kept = slice(-min(len(codes), (ranker.context - 1) // width), None)
    ids = np.concatenate([[BOS], names.entries(codes[kept], bins[kept]).reshape(-1)])
    ends = np.arange(1 + width // 2 - 1, len(ids), width)
    with torch.inference_mode():
        logits = ranker._model(input_ids=torch.from_numpy(ids)[None], logits_to_keep=torch.from_numpy(ends))
    mean = logits.logits[0, :, FIRST_VALUE:FIRST_CODE].double().softmax(-1).numpy() @ bin_scores()
    mean, true = mean[len(mean) // 2 :], bin_scores()[bins[kept]][len(mean) // 2 :]
    return float(np.corrcoef(mean, true)[0, 1]) if min(np.std(mean), np.std(true)) > 1e-9 and len(mean) > 2 else 0.0


def marks(ranker: RawRanker, others: dict[str, Any], question: Any) -> list[float]:
    """The percentile of each column's pick; nan for a ranker that was not asked."""
    history, candidates, truth = question
    evidence = gather(*arrays(history, candidates))
    views, raw = evidence.mean, np.array(ranker.rank(history, candidates).scores)
    scores = {name: np.array(other.rank(history, candidates).scores) for name, other in others.items()}
    skills = np.append(evidence.skill, guessed(ranker, history))
    trust = np.maximum(skills, 0.0) ** 2 + LEAST_TRUST
    scores |= {"views": views.mean(axis=1), "raw": raw}
    scores |= {"tenth": views.sum(axis=1) + raw, "half": views.mean(axis=1) + raw}
    scores["skilled"] = np.column_stack([views, raw]) @ trust
    return [percentile(truth, scores[name]) if name in scores else float("nan") for name in COLUMNS]


def examine(
    case: str, model: Path, lengths: Sequence[int], repeats: int, seed: int
) -> tuple[str, dict[str, list[list[float]]]]:
    """(case, {length: a row of percentiles a question}); a length the table is too small for is left out."""
    task = task_of(case)
    context = Context(task.space, seed, goal="pick")
    ranker = RawRanker(model, "mean")
    others = {
        "ridge": make_ranker("surrogate", context),
        "knn": make_ranker("knn", context),
    }
    lies = {kind: HistoryControl(RawRanker(model, "mean"), kind, seed) for kind in HISTORY_CONTROLS}
    out = {}
    for length in lengths:
        try:
            asked = questions(task, length, repeats, seed=seed)
        except UserError:
            continue
        also = others | (lies if length in CONTROLLED else {})
        out[str(length)] = [np.round(marks(ranker, also, q), 6).tolist() for q in asked]
    return case, out


def interval(x: np.ndarray) -> list[float]:
    """Mean with a 95 % interval that resamples tables."""
    found = bootstrap(x.tolist())
    return [round(v, 4) for v in (found.mean, found.low, found.high)]


def table(found: dict[str, dict[str, list[list[float]]]], lengths: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """Markdown and figures: means over tables, differences to ridge and to the views, and every table."""
    parts, figures = [], {}
    for n in map(str, lengths):
        rows = {case: np.array(marks[n]).mean(axis=0) for case, marks in found.items() if n in marks}
        if not rows:
            continue
        own = {c: np.array([r[i] for r in rows.values()]) for i, c in enumerate(COLUMNS)}
        own = {c: x for c, x in own.items() if not np.isnan(x).any()}
        figures[n] = {c: interval(x) for c, x in own.items()}
        for c in ("raw", "tenth", "half", "skilled"):
            figures[n] |= {f"{c} - {rival}": interval(own[c] - own[rival]) for rival in ("ridge", "views")}
        figures[n] |= {f"raw - {lie}": interval(own["raw"] - own[lie]) for lie in HISTORY_CONTROLS if lie in own}
        lines = [f"**History {n}**, mean percentile of the pick (chance 0.5), {len(rows)} tables\n"]
        lines += ["| table | " + " | ".join(own) + " |", "|---" * (len(own) + 1) + "|"]
        lines.append("| **mean** | " + " | ".join(f"**{x.mean():.3f}**" for x in own.values()) + " |")
        for i, case in enumerate(rows):
            lines.append(f"| {case} | " + " | ".join(f"{x[i]:.3f}" for x in own.values()) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n", figures


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.raw_exam", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--case", action="append", help="repeatable; all for every table (default: one a benchmark)")
    parser.add_argument("--history", default="5,20,50,100")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("runs/raw_exam"))
    add_output(parser)
    args = parser.parse_args()
    lengths = numbers(args.history)
    cases = present(None if args.case == ["all"] else args.case or CASES)
    weights = sha256(args.model / "model.safetensors")[:8]
    files = {
        c: args.cache / f"{c.replace('/', '_')}_{weights}_{args.history}_{args.repeats}_{args.seed}.json" for c in cases
    }
    with ProcessPoolExecutor(args.processes) as pool:
        missing = [c for c in cases if not files[c].is_file()]
        jobs = [pool.submit(examine, c, args.model, lengths, args.repeats, args.seed) for c in missing]
        for job in as_completed(jobs):
            case, found = job.result()
            write_atomic(files[case], json.dumps(found))
            print(case, {n: np.round(np.mean(r, axis=0), 3).tolist() for n, r in found.items()}, flush=True)
    text, figures = table({c: json.loads(files[c].read_text()) for c in cases}, lengths)
    about = (
        f"{len(cases)} tables, {args.repeats} questions a table and length, 10 uniform candidates, seed {args.seed}."
    )
    write_atomic(folder(args) / "raw_exam.md", f"{about} Model {weights}.\n\n{text}")
    said = {"about": about, "model": weights, **figures}
    print(write_atomic(folder(args) / "raw_exam.json", json.dumps(said, indent=1)))
    for n, row in figures.items():
        print(n, {c: x[0] for c, x in row.items()})
    return 0


if __name__ == "__main__":
    cli(main)
