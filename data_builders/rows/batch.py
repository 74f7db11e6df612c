"""What a source hands to the writer: a batch of rows as flat arrays. Every builder speaks this language.

A source is any object with
    name       str
    origins    list of dicts: for each table and metric (or prior) its rows may come from, what the datasheet says of it
    batch(rng, rows) -> RowBatch       a pure function of the generator's state; picklable, no files opened
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from search.prompts.formats import DIRECT_INSTRUCTION, TextFormat


@dataclass(frozen=True)
class RowBatch:
    """Rows before rendering. Entries of all rows lie one after another: a row's history in told order, then its
    candidates.

    texts: uint8 (m, width), the JSON-escaped code of each entry, NUL-padded (`search.prompts.bulk.digit_text` of
        digits).
    values: float64 (m,), higher is better; of a candidate: its true value.
    history, candidates: int64 (rows,) entries a row.
    origin: uint16 (rows,), index into the source's `origins`.
    counts: what the datasheet adds up (mask_draws, ...).
    """

    texts: np.ndarray
    values: np.ndarray
    history: np.ndarray
    candidates: np.ndarray
    origin: np.ndarray
    counts: Counter = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.history)

    @property
    def start(self) -> np.ndarray:
        """Where each row's entries begin; int64 (rows,)."""
        total = self.history + self.candidates
        return np.cumsum(total) - total

    def candidate_matrix(self) -> np.ndarray:
        """Values of the candidates, NaN-padded; float64 (rows, most candidates)."""
        most = int(self.candidates.max(initial=1))
        at = (self.start + self.history)[:, None] + np.arange(most)
        inside = np.arange(most) < self.candidates[:, None]
        return np.where(inside, self.values[np.where(inside, at, 0)], np.nan)

    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """(entry number of each row's best candidate, the first of equals; whether it has equals): int64 (rows,), bool
        (rows,).
        """
        matrix = self.candidate_matrix()
        best = np.nanargmax(matrix, axis=1)
        ties = (matrix == np.take_along_axis(matrix, best[:, None], axis=1)).sum(axis=1) > 1
        return self.start + self.history + best, ties

    def take(self, rows: slice) -> RowBatch:
        """Only these rows (the counts are kept: they tell of the work, not of the rows)."""
        first, last, _ = rows.indices(len(self))
        edges = np.append(self.start, len(self.values))
        entries = slice(int(edges[first]), int(edges[last]))
        parts = {name: getattr(self, name)[entries] for name in ("texts", "values")}
        parts |= {name: getattr(self, name)[rows] for name in ("history", "candidates", "origin")}
        return replace(self, **parts)


class Source(Protocol):
    """Where rows come from; see the module's docstring."""

    name: str
    origins: list[dict]

    def batch(self, rng: np.random.Generator, rows: int) -> RowBatch:
        """The next rows."""
        ...


def direct_format(fmt: TextFormat) -> TextFormat:
    """The format without a candidate list: the model writes a better code itself (the paper's 'w/o task
    reformulation').
    """
    return replace(fmt, name=f"{fmt.name}-direct", instruction=DIRECT_INSTRUCTION if fmt.instruction else "", middle="")


def told_format(fmt: TextFormat) -> TextFormat:
    """The format with the history in told order, whatever its own order is."""
    return replace(fmt, name=f"{fmt.name}-told", sort=False) if fmt.sort else fmt
