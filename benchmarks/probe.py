"""What a method does, as a hash: a cached search is used again only while its method answers three questions as before.

The questions are asked on made-up tables: two complete ones and one with few measured rows, with histories of 8, 30 and
120 entries. A changed ranker, proposal, sampler or weight changes an answer, a moved or formatted file does not.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache

import numpy as np

from benchmarks.driver import build
from search.spaces import Seen, Space
from search.tables.base import Table
from search.tasks.tabular import TableTask

QUESTIONS = ((8, (4,) * 6, None), (30, (5, 2, 3, 4, 2, 3, 3, 2), None), (120, (4,) * 12, 2_000))
DIGITS_HASHED = 4


@cache
def fingerprint(method: str) -> str:
    """10 hex digits of what the method suggests to the questions, its candidates and their scores (to 4 digits)."""
    said = []
    for length, sizes, rows in QUESTIONS:
        task = _task(length, sizes, rows)
        order = np.random.default_rng(length).permutation(len(task.table.codes))[:length]
        codes = task.space.to_codes(task.table.codes[order])
        history = [Seen(c, float(task.values[i])) for c, i in zip(codes, order, strict=True)]
        found = build(method, task, 0).suggest(history, set(codes), length)
        scores = found.ranking.scores if found.ranking else None
        said.append([found.code, found.origin, *found.candidates, *(f"{s:.{DIGITS_HASHED}g}" for s in scores or ())])
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:10]


@cache
def _task(seed: int, sizes: tuple[int, ...], rows: int | None) -> TableTask:
    rng, space = np.random.default_rng(seed), Space.of_sizes(sizes)
    every = np.stack(np.unravel_index(np.arange(space.size), sizes), axis=1).astype(np.uint8) if rows is None else None
    codes = np.unique(space.sample(rng, rows), axis=0) if every is None else every
    effects = rng.normal(size=(len(sizes), max(sizes)))
    values = effects[np.arange(len(sizes)), codes].sum(axis=1) + 0.3 * rng.normal(size=len(codes))
    return TableTask(Table("probe", space, codes, {"value": values}), "value", "maximize")
