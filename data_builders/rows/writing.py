"""Writes rows: in parallel, the same bytes whatever the number of workers, whole or not at all, resumable.

Row r belongs to batch r // 256, and batch b is a function of (seed, b) alone. How a killed build goes on:
`data_builders.rows.work`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data_builders.parallel import in_order
from data_builders.rows.batch import RowBatch, Source, direct_format, told_format
from data_builders.rows.work import Work, open_work
from search.files import write_atomic
from search.prompts import format_hash
from search.prompts.bulk import escaped, render_inputs
from search.prompts.formats import TextFormat, text_format

BATCH = 256  # rows; part of the data's identity, never change it for speed
TASK = 1024  # rows a worker hands back at once


@dataclass(frozen=True)
class Job:
    """What is written: rows [first, last) of the endless stream of (source, seed) in a format.

    `plan` identifies it on disk.
    """

    source: Source
    seed: int
    first: int
    last: int
    format: str
    direct: bool
    told: bool
    most_candidates: int
    plan: dict[str, Any]

    @property
    def record(self) -> np.dtype:
        """One row of the truth file: index into `origins` and the candidates' true values, NaN-padded."""
        return np.dtype([("origin", "<u2"), ("value", "<f8", (self.most_candidates,))])

    def text_format(self) -> TextFormat:
        """The prompt format with the job's variations applied."""
        fmt = text_format(self.format)
        fmt = told_format(fmt) if self.told else fmt
        return direct_format(fmt) if self.direct else fmt


def batch_lines(job: Job, fmt: TextFormat, number: int) -> tuple[bytes, bytes, Counter]:
    """(JSON lines, truth records, counts) of the job's part of one batch."""
    batch = job.source.batch(np.random.default_rng([job.seed, number]), BATCH)
    batch = batch.take(slice(max(0, job.first - number * BATCH), job.last - number * BATCH))
    answer, ties = batch.answers()
    shown = without_candidates(batch) if job.direct else batch
    inputs = render_inputs(fmt, shown.texts, shown.values, shown.history, shown.candidates)
    answers = batch.texts[answer]
    width = answers.shape[1]
    outputs = answers.tobytes()
    head = b'{"instruction": "' + escaped(fmt.instruction) + b'", "input": "'
    lines: list[bytes] = []
    for i, text in enumerate(inputs):
        lines += (head, text, b'", "output": "', outputs[i * width : (i + 1) * width].rstrip(b"\0"), b'"}\n')
    truth = np.zeros(len(batch), dtype=job.record)
    truth["origin"], truth["value"] = batch.origin, np.nan
    truth["value"][:, : int(batch.candidates.max())] = batch.candidate_matrix()
    counts = Counter(batch.counts)
    counts["rows"] = len(batch)
    counts["rows_sampled"] = BATCH
    counts["tied_answers"] = int(ties.sum())
    counts["history_entries"] = int(batch.history.sum())
    return b"".join(lines), truth.tobytes(), counts


def without_candidates(batch: RowBatch) -> RowBatch:
    """The batch with history entries only."""
    inside = np.ones(len(batch.values), dtype=bool)
    at = np.repeat(batch.start + batch.history, batch.candidates)
    inside[at + np.arange(len(at)) - np.repeat(np.cumsum(batch.candidates) - batch.candidates, batch.candidates)] = (
        False
    )
    return RowBatch(
        batch.texts[inside], batch.values[inside], batch.history, np.zeros_like(batch.candidates), batch.origin
    )


def task_lines(job: Job, fmt: TextFormat, task: int) -> tuple[bytes, bytes, Counter]:
    """The same for a task of TASK rows."""
    low, high = max(job.first, task * TASK), min(job.last, (task + 1) * TASK)
    parts = [batch_lines(job, fmt, number) for number in range(low // BATCH, (high - 1) // BATCH + 1)]
    counts: Counter = Counter()
    for part in parts:
        counts.update(part[2])
    return b"".join(p[0] for p in parts), b"".join(p[1] for p in parts), counts


_worker: tuple[Job, TextFormat] | None = None


def _start_worker(job: Job) -> None:
    global _worker
    _worker = (job, job.text_format())


def _run_task(task: int) -> tuple[bytes, bytes, Counter]:
    assert _worker is not None
    return task_lines(*_worker, task)


def write_rows(job: Job, out: str | Path, workers: int, progress: bool = True) -> dict[str, Any]:
    """Build the job's rows into `out` with `NAME.truth.npy` and `NAME.meta.json` beside it; returns the meta data.

    KeyboardInterrupt passes through after nothing visible was left behind; the same call continues the work.
    """
    out = Path(out)
    plan = {
        **job.plan,
        "format": job.format,
        "format_hash": format_hash(job.format),
        "rows": [job.first, job.last],
        "seed": job.seed,
    }
    plan["origins"] = job.source.origins
    tasks = range(job.first // TASK, (job.last - 1) // TASK + 1)
    with open_work(out, (out, truth_path(out), meta_path(out)), ("rows", "truth"), plan) as work:
        with (
            ExitStack() as files,
            tqdm(total=job.last - job.first, unit="row", unit_scale=True, desc=out.name, disable=not progress) as bar,
        ):
            task = work.resume(tasks.start, files)
            bar.update(work.counts["rows"])
            left = range(task, tasks.stop)
            for lines, records, counts in in_order(_run_task, left, min(workers, len(left)), _start_worker, (job,)):
                if task == left.start:
                    work.check_space(
                        (job.last - job.first - work.counts["rows"]) / counts["rows"], (lines, records), out
                    )
                work.add(task, (lines, records), counts)
                task += 1
                bar.update(counts["rows"])
        meta = {
            "file": out.name,
            "bytes": work.parts[0].stat().st_size,
            "sha256": work.digest.hexdigest(),
            **plan,
            "counts": dict(sorted(work.counts.items())),
        }
        _publish(work, job, out, meta)
    return meta


def _publish(work: Work, job: Job, out: Path, meta: dict[str, Any]) -> None:
    """Give the finished files their names: the rows last, so that whoever sees them sees all."""
    header = np.lib.format
    rows, truth = work.parts
    named = work.folder / "truth.npy"
    with open(named, "wb") as target, open(truth, "rb") as records:
        header.write_array_header_1_0(
            target,
            {"descr": header.dtype_to_descr(job.record), "fortran_order": False, "shape": (job.last - job.first,)},
        )
        shutil.copyfileobj(records, target)
    out.unlink(missing_ok=True)
    os.replace(named, truth_path(out))
    write_atomic(meta_path(out), json.dumps(meta, indent=1) + "\n")
    os.replace(rows, out)


def truth_path(rows: str | Path) -> Path:
    """The candidates' true values of a rows file, see `Job.record`."""
    return Path(rows).with_suffix(".truth.npy")


def meta_path(rows: str | Path) -> Path:
    """How a rows file was made."""
    return Path(rows).with_suffix(".meta.json")
