"""Writes rows: in parallel, the same bytes whatever the number of workers, whole or not at all, resumable.

Row r belongs to batch r // 256, and batch b is a function of (seed, b) alone. Finished tasks are appended in order to
`.NAME.work/` beside the output together with a journal; the files get their names when everything is there. A run that
was killed continues after the last whole task of its journal.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from tqdm import tqdm

from data_builders.rows.batch import RowBatch, Source, direct_format, told_format
from search.errors import UserError
from search.files import write_atomic
from search.prompts.bulk import escaped, render_inputs
from search.prompts.formats import Format, format_hash, get_format

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

    def text_format(self) -> Format:
        """The prompt format with the job's variations applied."""
        fmt = get_format(self.format)
        fmt = told_format(fmt) if self.told else fmt
        return direct_format(fmt) if self.direct else fmt


def batch_lines(job: Job, fmt: Format, number: int) -> tuple[bytes, bytes, Counter]:
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
    lines = []
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


def task_lines(job: Job, fmt: Format, task: int) -> tuple[bytes, bytes, Counter]:
    """The same for a task of TASK rows."""
    low, high = max(job.first, task * TASK), min(job.last, (task + 1) * TASK)
    parts = [batch_lines(job, fmt, number) for number in range(low // BATCH, (high - 1) // BATCH + 1)]
    counts: Counter = Counter()
    for part in parts:
        counts.update(part[2])
    return b"".join(p[0] for p in parts), b"".join(p[1] for p in parts), counts


_worker: tuple[Job, Format] | None = None


def _start_worker(job: Job) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = (job, job.text_format())


def _run_task(task: int) -> tuple[bytes, bytes, Counter]:
    return task_lines(*_worker, task)


def _results(job: Job, tasks: range, workers: int) -> Iterator[tuple[bytes, bytes, Counter]]:
    """Results of the tasks in order; at most two unfinished tasks a worker, so that memory stays flat."""
    if workers <= 1 or len(tasks) <= 1:
        fmt = job.text_format()
        yield from (task_lines(job, fmt, task) for task in tasks)
        return
    context = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
    with context.Pool(min(workers, len(tasks)), _start_worker, (job,)) as pool:
        waiting: deque = deque()
        for task in tasks:
            waiting.append(pool.apply_async(_run_task, (task,)))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().get()
        while waiting:
            yield waiting.popleft().get()
        pool.close()
        pool.join()  # so that their times count as ours


class Work:
    """The hidden folder of a build in progress: rows, truth and a journal with one line per finished task."""

    def __init__(self, out: Path, plan: dict[str, Any]):
        self.folder = out.with_name(f".{out.name}.work")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.folder / "lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another process is building {out} - one at a time can - wait for it or choose another --out"
            ) from None
        self.rows, self.truth, self.journal = (self.folder / n for n in ("rows", "truth", "journal"))
        kept = self.folder / "plan.json"
        text = json.dumps(plan, sort_keys=True)
        if not kept.exists() or kept.read_text() != text:
            for path in (self.rows, self.truth, self.journal):
                path.unlink(missing_ok=True)
            write_atomic(kept, text)

    def resume(self, first_task: int) -> tuple[int, Counter, Any]:
        """(next task, counts so far, hash so far) after dropping whatever is not whole; the files end exactly there."""
        task, ends, counts, digest = first_task, [0, 0], Counter(), hashlib.sha256()
        good = []
        if self.journal.exists() and self.rows.exists() and self.truth.exists():
            with open(self.rows, "rb") as rows, open(self.truth, "rb") as truth:
                for line in self.journal.read_bytes().splitlines(keepends=True):
                    entry = _journal_entry(line)
                    if entry is None or entry["task"] != task:
                        break
                    blocks = rows.read(entry["bytes"][0]), truth.read(entry["bytes"][1])
                    if [crc32(b) for b in blocks] != entry["crc"]:
                        break
                    digest.update(blocks[0])
                    counts.update(entry["counts"])
                    ends = [e + len(b) for e, b in zip(ends, blocks)]
                    good.append(line)
                    task += 1
        write_atomic(self.journal, b"".join(good))
        for path, end in zip((self.rows, self.truth), ends):
            with open(path, "ab") as handle:
                handle.truncate(end)
        return task, counts, digest

    def close(self, remove: bool) -> None:
        """Give the lock back; remove the folder when its files have got their names."""
        self.lock.close()
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)


def _journal_entry(line: bytes) -> dict[str, Any] | None:
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


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
    work = Work(out, plan)
    done = False
    try:
        tasks = range(job.first // TASK, (job.last - 1) // TASK + 1)
        task, counts, digest = work.resume(tasks.start)
        with open(work.rows, "ab") as rows, open(work.truth, "ab") as truth, open(work.journal, "ab") as journal:
            with tqdm(
                total=job.last - job.first,
                initial=counts["rows"],
                unit="row",
                unit_scale=True,
                desc=out.name,
                disable=not progress,
            ) as bar:
                for lines, records, more in _results(job, range(task, tasks.stop), workers):
                    for handle, block in ((rows, lines), (truth, records)):
                        handle.write(block)
                        handle.flush()
                    entry = {
                        "task": task,
                        "bytes": [len(lines), len(records)],
                        "crc": [crc32(lines), crc32(records)],
                        "counts": more,
                    }
                    journal.write(json.dumps(entry).encode() + b"\n")
                    journal.flush()
                    digest.update(lines)
                    counts.update(more)
                    task += 1
                    bar.update(more["rows"])
        meta = {
            "file": out.name,
            "bytes": work.rows.stat().st_size,
            "sha256": digest.hexdigest(),
            **plan,
            "counts": dict(sorted(counts.items())),
        }
        _publish(work, job, out, meta)
        done = True
        return meta
    finally:
        work.close(remove=done)


def _publish(work: Work, job: Job, out: Path, meta: dict[str, Any]) -> None:
    """Give the finished files their names: the rows last, so that whoever sees them sees all."""
    header = np.lib.format
    named = work.folder / "truth.npy"
    with open(named, "wb") as target, open(work.truth, "rb") as records:
        header.write_array_header_1_0(
            target,
            {"descr": header.dtype_to_descr(job.record), "fortran_order": False, "shape": (job.last - job.first,)},
        )
        shutil.copyfileobj(records, target)
    out.unlink(missing_ok=True)
    os.replace(named, truth_path(out))
    write_atomic(meta_path(out), json.dumps(meta, indent=1) + "\n")
    os.replace(work.rows, out)


def truth_path(rows: str | Path) -> Path:
    """The candidates' true values of a rows file, see `Job.record`."""
    return Path(rows).with_suffix(".truth.npy")


def meta_path(rows: str | Path) -> Path:
    """How a rows file was made."""
    return Path(rows).with_suffix(".meta.json")
