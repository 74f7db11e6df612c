"""Rows from several sources in one file, mixed row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from data_builders.rows.batch import RowBatch, Source


class MixedSource:
    """Each row comes from one of the sources, drawn with these weights; a row's origin counts through all their
    origins.
    """

    def __init__(self, name: str, sources: Sequence[Source], weights: Sequence[float]):
        self.name, self.sources = name, list(sources)
        self.share = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self.origins = [{**o, "share": round(float(w), 6)} for s, w in zip(sources, self.share) for o in s.origins]
        self.offset = np.cumsum([0] + [len(s.origins) for s in sources])

    def batch(self, rng: np.random.Generator, rows: int) -> RowBatch:
        """The next rows, in random order."""
        which = rng.choice(len(self.sources), size=rows, p=self.share)
        parts = [(i, self.sources[i].batch(rng, int((which == i).sum()))) for i in np.unique(which)]
        joined = join([b for _, b in parts], [self.offset[i] for i, _ in parts])
        return reorder(joined, np.argsort(np.argsort(which, kind="stable"), kind="stable"))


def join(batches: Sequence[RowBatch], offsets: Sequence[int]) -> RowBatch:
    """The batches one after another, their origins moved by the offsets."""
    width = max(b.texts.shape[1] for b in batches)
    texts = np.concatenate([np.pad(b.texts, ((0, 0), (0, width - b.texts.shape[1]))) for b in batches])
    counts: Counter = Counter()
    for batch in batches:
        counts.update(batch.counts)
    values, history, candidates = (
        np.concatenate([getattr(b, n) for b in batches]) for n in ("values", "history", "candidates")
    )
    origin = np.concatenate([b.origin + o for b, o in zip(batches, offsets)]).astype(np.uint16)
    return RowBatch(texts, values, history, candidates, origin, counts)


def reorder(batch: RowBatch, order: np.ndarray) -> RowBatch:
    """The batch with row order[i] at place i."""
    total = (batch.history + batch.candidates)[order]
    entry = np.repeat(batch.start[order] - (np.cumsum(total) - total), total) + np.arange(int(total.sum()))
    return RowBatch(
        batch.texts[entry],
        batch.values[entry],
        batch.history[order],
        batch.candidates[order],
        batch.origin[order],
        batch.counts,
    )
