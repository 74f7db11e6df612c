"""Rows from a pool: prune the space, sample the subspace, split into history and candidates. All in bulk numpy.

A row's architectures all come from one pruned subspace and are distinct by canonical code, so history and candidates
cannot share an architecture. The mask is redrawn until the subspace holds enough of them (counted in `mask_draws`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_builders.rows.batch import RowBatch
from data_builders.rows.masks import Subspaces, first_masks, whole_space
from data_builders.rows.pools import LivePool, TablePool, distinct_in_rows, in_random_order, places
from data_builders.rows.variations import mutant_candidates, shuffled, told_order, too_many_best
from search.errors import UserError

LEAST_HISTORY = 5  # a shorter history says next to nothing
MOST_DRAWS = 200_000  # masks for one row before the space is called too small
MOST_SPARSE = 2_000  # subspaces without one success before a table is called too sparse
MOST_TIED = 64  # draws for one row; a source that fails so often has hardly any other rows
FIRST_TRIES, MOST_TRIES = 8, 512


@dataclass(frozen=True)
class RowShape:
    """How a row is sampled; see `data_builders.options` for the meaning of each field."""

    history: tuple[int, int] = (90, 190)
    candidates: int = 10
    pruning: bool = True
    p_decision: float = 0.5
    p_option: float = 0.5
    small: str = "redraw"
    mutants: bool = False
    order: str = "format"
    direct: bool = False
    shuffle_scores: bool = False

    @property
    def most(self) -> int:
        """The most architectures a row may have."""
        return self.history[1] + self.candidates

    @property
    def shrinks(self) -> bool:
        """Whether a subspace that is too small gives a shorter row."""
        return self.small == "shrink" and self.pruning

    def enough(self, need: np.ndarray) -> np.ndarray:
        """How many architectures a subspace must hold for rows that would like `need`; int64 (rows,)."""
        return np.minimum(need, LEAST_HISTORY + self.candidates) if self.shrinks else need


class PoolSource:
    """Rows from a pool with one or more value columns (data sets, metrics); each row uses one column, drawn
    uniformly.
    """

    def __init__(self, name: str, pool: TablePool | LivePool, origins: Sequence[dict], shape: RowShape):
        self.name, self.pool, self.origins, self.shape = name, pool, list(origins), shape
        for column, origin in enumerate(self.origins):
            have, least = pool.distinct(column), int(shape.enough(np.array([shape.most]))[0])
            if have < least:
                what = origin.get("table", name)
                raise UserError(
                    f"{what} has {have} distinct architectures - a row needs up to {least} - ask for less with"
                    " --history and --candidates"
                )

    def batch(self, rng: np.random.Generator, rows: int) -> RowBatch:
        """The next rows; see the module's docstring."""
        shape, counts = self.shape, Counter[str]()
        self.pool.begin()
        wanted = rng.integers(shape.history[0], shape.history[1] + 1, size=rows) + shape.candidates
        column = rng.integers(len(self.origins), size=rows)
        chosen = np.full((rows, shape.most), -1, dtype=np.int64)
        got, drawn = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
        tied = np.zeros(rows, dtype=np.int64)
        spaces = whole_space(self.pool.sizes, rows)
        while len(pending := np.flatnonzero(got == 0)):
            tried = self._masks(rng, pending, wanted, drawn, spaces)
            row, entry = self.pool.members(spaces.take(tried) if shape.pruning else None, rng, wanted[tried])
            row, entry, enough, amount = self._distinct(rng, tried, row, entry, wanted, column)
            nth = places(row, len(tried))
            use = nth < wanted[tried][row]
            chosen[tried[row[use]], nth[use]] = self.pool.keep(entry[use])
            done = tried[enough]
            got[done] = np.minimum(amount[enough], wanted[done])
            if shape.direct:
                fails = done[too_many_best(self._values(chosen[done], column[done]), shape.candidates)]
                chosen[fails], got[fails] = -1, 0
                tied[fails] += 1
                if tied.max() > MOST_TIED:
                    raise UserError(
                        f"{MOST_TIED} draws of {self.name} had more than {shape.candidates} equal best values - the"
                        " answer of a direct row is better than all of its history - use another metric, more"
                        " --candidates, or leave --direct out"
                    )
            for size, n in enumerate(np.bincount(np.log2(amount[enough]).astype(np.int64))):
                if n:
                    counts[f"subspace_2^{size}"] += int(n)
            counts["subspaces_too_small"] += int((~enough).sum())
            if counts["subspaces_too_small"] > MOST_SPARSE and not got.any():
                raise UserError(
                    f"{MOST_SPARSE} pruned subspaces of {self.name} held too few of its architectures - the table"
                    " covers too little of its space for pruning - use --no-pruning, --small shrink or shorter rows"
                    " with --history"
                )
        counts["mask_draws"] += int(drawn.sum())
        counts["history_shrunk"] += int((got < wanted).sum())
        return self._rows(rng, chosen, got, column, spaces, counts)

    def _masks(
        self, rng: np.random.Generator, pending: np.ndarray, wanted: np.ndarray, drawn: np.ndarray, spaces: Subspaces
    ) -> np.ndarray:
        """The rows that have a mask to try; their subspaces are put into `spaces`."""
        if not self.shape.pruning:
            drawn[pending] += 1
            if drawn[pending].max() > 100:
                raise UserError(
                    f"{self.name} gives no {wanted.max()} different architectures at once - it is too sparse - use"
                    " --history with less"
                )
            return pending
        while True:
            seen = int(drawn.sum())  # as many tries as the odds so far ask for
            hits = 1 + int((drawn > 0).sum() - (drawn[pending] > 0).sum())
            tries = min(max(FIRST_TRIES, 2 * seen // hits), MOST_TRIES) if seen else FIRST_TRIES
            new, found, n = first_masks(
                self.pool.sizes,
                rng,
                self.shape.enough(wanted[pending]),
                tries,
                self.shape.p_decision,
                self.shape.p_option,
            )
            drawn[pending] += n
            if drawn[pending].max() > MOST_DRAWS:
                raise UserError(
                    f"{MOST_DRAWS} masks of {self.name} left no subspace with {wanted[pending].max()} architectures - "
                    "shorter rows or none of the pruning are possible - use --history, --small shrink or --no-pruning"
                )
            if found.any():
                spaces.put(pending[found], new)
                return pending[found]

    def _distinct(
        self,
        rng: np.random.Generator,
        tried: np.ndarray,
        row: np.ndarray,
        entry: np.ndarray,
        wanted: np.ndarray,
        column: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(row, entry) pairs of the rows with enough architectures, one code of each, in random order; which rows; how
        many each has.
        """
        if not self.pool.complete:
            known = ~np.isnan(self.pool.value_of(column[tried][row], entry))
            row, entry = row[known], entry[known]
        keys = self.pool.class_of(entry)
        amount = distinct_in_rows(row, keys, self.pool.n_classes, len(tried))
        enough = amount >= self.shape.enough(wanted[tried])
        keep = enough[row]
        return (
            *in_random_order(row[keep], entry[keep], keys[keep], self.pool.n_classes, len(tried), rng),
            enough,
            amount,
        )

    def _values(self, chosen: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Values of a matrix of entries, NaN where there is none."""
        values = np.full(chosen.shape, np.nan)
        inside = chosen >= 0
        values[inside] = self.pool.value_of(np.broadcast_to(column[:, None], chosen.shape)[inside], chosen[inside])
        return values

    def _rows(
        self,
        rng: np.random.Generator,
        chosen: np.ndarray,
        got: np.ndarray,
        column: np.ndarray,
        spaces: Subspaces,
        counts: Counter,
    ) -> RowBatch:
        shape, n = self.shape, len(got)
        history = got - shape.candidates
        values = self._values(chosen, column)
        if shape.direct:
            chosen, values = _best_last(chosen, values, history)
        elif shape.mutants:
            found = mutant_candidates(self.pool, chosen, values, history, shape.candidates, column, spaces, rng)
            at = history[:, None] + np.arange(shape.candidates)
            counts["mutant_candidates"] += int(found[1].sum())
            chosen[np.arange(n)[:, None], at] = found[0]
            values = self._values(chosen, column)
        if shape.order in ("ascending", "descending"):
            chosen, values = told_order(chosen, values, history, shape.order == "descending")
        if shape.shuffle_scores:
            values = shuffled(values, history, rng)
        candidates = np.full(n, 1 if shape.direct else shape.candidates)
        inside = np.arange(chosen.shape[1]) < (history + candidates)[:, None]
        return RowBatch(
            self.pool.text_of(chosen[inside]), values[inside], history, candidates, column.astype(np.uint16), counts
        )


def _best_last(chosen: np.ndarray, values: np.ndarray, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows for `direct`: the history without the best of all, then the best; entries equal to the best are dropped."""
    rows = np.arange(len(values))
    best = np.nanargmax(values, axis=1)
    top = values[rows, best]
    late = np.isnan(values) | (values == top[:, None])  # moved behind the history
    order = np.argsort(late, axis=1, kind="stable")
    out, out_values = np.take_along_axis(chosen, order, axis=1), np.take_along_axis(values, order, axis=1)
    out[rows, history], out_values[rows, history] = chosen[rows, best], top
    return out, out_values
