"""Does the raw searcher read the history it is shown? The exam with both controls, and together with the nine views.

    python -m benchmarks.raw_exam [--model models/raw] [--case nb201/cifar100 ...] [--repeats 200] [--processes 2]

On the same questions of every table: ridge regression, nearest neighbours, the plain average of the nine views of
search.prompts.evidence; the raw model with the true history, with its values shuffled among its codes, and negated; and
three ways to join the raw model and the views:

tenth    the raw model is one view more, all count alike
half     the raw model counts as much as the nine views together
skilled  every view counts by the square of its leave-one-out skill, the raw model by how well it guessed each entry of
         the history from the entries before it

Answers are kept in --out, a file a table: the command goes on where it stopped.
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
from search.errors import UserError, cli
from search.exam import numbers, questions
from search.files import sha256, write_atomic
from search.prompts.evidence import gather
from search.prompts.nano import arrays
from search.prompts.stamped import BOS, FIRST_CODE, FIRST_VALUE, bin_scores, naming, steady_bins
from search.rankers import Context, make_ranker
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
    """The percentile of each column's pick."""
    history, candidates, truth = question
    evidence = gather(*arrays(history, candidates))
    views, raw = evidence.mean, np.array(ranker.rank(history, candidates).scores)
    scores = {name: np.array(other.rank(history, candidates).scores) for name, other in others.items()}
    skills = np.append(evidence.skill, guessed(ranker, history))
    trust = np.maximum(skills, 0.0) ** 2 + LEAST_TRUST
    scores |= {"views": views.mean(axis=1), "raw": raw}
    scores |= {"tenth": views.sum(axis=1) + raw, "half": views.mean(axis=1) + raw}
    scores["skilled"] = np.column_stack([views, raw]) @ trust
    return [percentile(truth, scores[name]) for name in COLUMNS]


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
        "shuffled": HistoryControl(RawRanker(model, "mean"), "shuffled", seed),
        "negated": HistoryControl(RawRanker(model, "mean"), "negated", seed),
    }
    out = {}
    for length in lengths:
        try:
            asked = questions(task, length, repeats, seed=seed)
        except UserError:
            continue
        out[str(length)] = [np.round(marks(ranker, others, q), 6).tolist() for q in asked]
    return case, out


def table(found: dict[str, dict[str, list[list[float]]]], lengths: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """Markdown and figures: means over tables with intervals that resample tables, and every table."""
    parts, figures = [], {}
    for n in map(str, lengths):
        rows = {case: np.array(marks[n]) for case, marks in found.items() if n in marks}
        if not rows:
            continue
        own = np.array([r.mean(axis=0) for r in rows.values()])
        means = {c: bootstrap(own[:, i].tolist()) for i, c in enumerate(COLUMNS)}
        figures[n] = {c: [round(x, 4) for x in (m.mean, m.low, m.high)] for c, m in means.items()}
        for c in ("raw", "tenth", "half", "skilled"):
            for rival in ("ridge", "views"):
                gap = own[:, COLUMNS.index(c)] - own[:, COLUMNS.index(rival)]
                interval = bootstrap(gap.tolist())
                figures[n][f"{c} - {rival}"] = [round(x, 4) for x in (interval.mean, interval.low, interval.high)]
        lines = [f"**History {n}**, mean percentile of the pick (chance 0.5), {len(rows)} tables\n"]
        lines += ["| table | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        lines.append("| **mean** | " + " | ".join(f"**{means[c].mean:.3f}**" for c in COLUMNS) + " |")
        lines += [f"| {case} | " + " | ".join(f"{x:.3f}" for x in r.mean(axis=0)) + " |" for case, r in rows.items()]
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
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
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
    write_atomic(args.out / "raw_exam.md", f"{about} Model {weights}.\n\n{text}")
    print(write_atomic(args.out / "raw_exam.json", json.dumps({"about": about, "model": weights, **figures}, indent=1)))
    for n, row in figures.items():
        print(n, {c: row[c][0] for c in COLUMNS})
    return 0


if __name__ == "__main__":
    cli(main)
