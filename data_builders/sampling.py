"""Rows from a finite table: prune the space, sample the subspace, split into history and candidates. All in bulk numpy.

A row's architectures all come from one pruned subspace and are distinct by canonical code, so history and candidates
cannot share an architecture. The mask is redrawn until the subspace holds enough of them (counted in `mask_draws`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_builders.masks import first_masks, first_of_each, mask_sizes, option_lists
from data_builders.rows import RowBatch
from search.errors import UserError

ENUMERATE = 4096  # subspaces up to this size are listed and shuffled, larger ones are drawn from
GRID = 1 << 24  # spaces up to this size get a direct address for every code
LEAST_HISTORY = 5
MOST_DRAWS = 200_000


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


class Pool:
    """Architectures that rows are drawn from: codes uint8 (n, d), the class of each by canonical code, options per decision."""

    def __init__(self, sizes: np.ndarray, codes: np.ndarray, classes: np.ndarray):
        self.sizes, self.codes = np.asarray(sizes, dtype=np.int64), codes
        self.classes, self.n_classes = classes.astype(np.int32), int(classes.max()) + 1
        space = float(np.prod(self.sizes.astype(np.float64)))
        self.place = np.cumprod(np.append(1, self.sizes[:0:-1]))[::-1] if space <= GRID else None
        if self.place is not None:
            self.grid = np.full(int(space), -1, dtype=np.int32)
            self.grid[self.address(codes)] = np.arange(len(codes), dtype=np.int32)
        else:
            self.bits = _bit_rows(codes, self.sizes)

    def address(self, codes: np.ndarray) -> np.ndarray:
        """Number of each code in the order of the space; int64 (n,)."""
        return codes.astype(np.int64) @ self.place

    def all_members(self, rng: np.random.Generator, need: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, entry) pairs, rows ascending, from the whole pool."""
        if len(self.codes) <= ENUMERATE:
            entry = rng.permuted(np.tile(np.arange(len(self.codes), dtype=np.int32), (len(need), 1)), axis=1).ravel()
            return np.repeat(np.arange(len(need)), len(self.codes)), entry
        row = np.repeat(np.arange(len(need)), 4 * need + 64)
        return row, rng.integers(len(self.codes), size=len(row), dtype=np.int32)

    def members(self, allowed: np.ndarray, rng: np.random.Generator, need: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, entry) pairs in random order within a row; a small subspace is listed whole, of a large one 4 need + 64 are drawn."""
        if self.place is None:
            return self._filtered(allowed, rng)
        options, kept = option_lists(allowed)
        size = mask_sizes(allowed)
        listed = size <= ENUMERATE
        amount = np.where(listed, size, 4 * need + 64).astype(np.int64)
        row = np.repeat(np.arange(len(need)), amount)
        local = np.arange(len(row)) - np.repeat(np.cumsum(amount) - amount, amount)
        key = (row.astype(np.uint64) << np.uint64(44)) | (rng.integers(1 << 32, size=len(row), dtype=np.uint64) << np.uint64(12)) | local.astype(np.uint64)
        key.sort()
        local = (key & np.uint64(4095)).astype(np.int32)
        drawn = ~listed[row]
        address = np.zeros(len(row), dtype=np.int32)
        for i in range(len(self.sizes)):
            n = kept[i][row].astype(np.int32)
            nth = local % n
            local //= n
            if drawn.any():
                nth = np.where(drawn, (rng.random(len(row), dtype=np.float32) * n).astype(np.int32) % n, nth)
            address += options[nth, i, row].astype(np.int32) * np.int32(self.place[i])
        entry = self.grid[address]
        there = entry >= 0
        return (row, entry) if there.all() else (row[there], entry[there])

    def _filtered(self, allowed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        rows, entries = [], []
        for r in range(allowed.shape[2]):
            outside = ~_bit_mask(allowed[:, :, r], self.sizes)
            inside = np.flatnonzero(((self.bits & outside[:, None]) == 0).all(axis=0))
            entries.append(rng.permutation(inside).astype(np.int32))
            rows.append(np.full(len(inside), r))
        return np.concatenate(rows), np.concatenate(entries)


def _bit_rows(codes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """One bit per (decision, option); uint64 (words, n)."""
    offset = np.cumsum(sizes) - sizes
    bits = np.zeros((int(sizes.sum()) // 64 + 1, len(codes)), dtype=np.uint64)
    for i, o in enumerate(offset):
        at = codes[:, i].astype(np.int64) + o
        for word in np.unique(at // 64):
            here = at // 64 == word
            bits[word, here] |= np.uint64(1) << (at[here] % 64).astype(np.uint64)
    return bits


def _bit_mask(allowed: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    flat = np.concatenate([allowed[:n, i] for i, n in enumerate(sizes)])
    flat = np.pad(flat, (0, -len(flat) % 64 + (64 if len(flat) % 64 == 0 else 0)))
    return np.packbits(flat, bitorder="little").view("<u8").astype(np.uint64)


class TableSource:
    """Rows from a pool with one or more value columns (data sets, metrics); each row uses one column, drawn uniformly.

    texts: uint8 (n, width), the JSON-escaped text of each code; columns: float64 (columns, n), higher is better, NaN = absent.
    """

    def __init__(self, name: str, pool: Pool, texts: np.ndarray, columns: np.ndarray, origins: Sequence[dict], shape: RowShape):
        self.name, self.pool, self.texts, self.columns, self.origins, self.shape = name, pool, texts, columns, list(origins), shape
        complete = ~np.isnan(columns)
        self.complete = complete.all()
        for column, origin in zip(complete, origins):
            distinct = len(np.unique(pool.classes[column]))
            least = shape.most if shape.small == "redraw" or not shape.pruning else LEAST_HISTORY + shape.candidates
            if distinct < least:
                raise UserError(f"{origin.get('table', name)} has {distinct} distinct architectures - a row needs up to {least} - ask for less with --history and --candidates")

    def batch(self, rng: np.random.Generator, rows: int) -> RowBatch:
        """The next rows; see the module's docstring."""
        shape, counts = self.shape, Counter()
        history = rng.integers(shape.history[0], shape.history[1] + 1, size=rows)
        column = rng.integers(len(self.columns), size=rows)
        need = history + shape.candidates
        chosen = np.full((rows, shape.most), -1, dtype=np.int32)
        got = np.zeros(rows, dtype=np.int64)
        pending, drawn = np.arange(rows), np.zeros(rows, dtype=np.int64)
        while len(pending):
            pending, row, entry = self._candidates(rng, pending, need, drawn, counts)
            row, entry = self._distinct(row, entry, column[pending])
            amount = np.bincount(row, minlength=len(pending))
            nth = np.arange(len(row)) - (np.cumsum(amount) - amount)[row]
            enough = amount >= (need[pending] if shape.small == "redraw" or not shape.pruning else LEAST_HISTORY + shape.candidates)
            use = enough[row] & (nth < need[pending][row])
            chosen[pending[row[use]], nth[use]] = entry[use]
            done = pending[enough]
            got[done] = np.minimum(amount[enough], need[done])
            for size, n in zip(*np.unique(np.log2(np.maximum(amount[enough], 1)).astype(int), return_counts=True)):
                counts[f"subspace_2^{size}"] += int(n)
            counts["subspaces_too_small"] += int((~enough).sum())
            pending = np.flatnonzero(got == 0)
            if len(pending) and drawn[pending].max() > MOST_DRAWS:
                raise UserError(
                    f"no pruned subspace of {self.name} with {need[pending].max()} architectures in {MOST_DRAWS} masks - "
                    "shorter rows or smaller subspaces are possible - use --history, --small shrink or --no-pruning"
                )
        counts["mask_draws"] += int(drawn.sum())
        counts["history_shrunk"] += int((got < need).sum())
        return self._rows(chosen, got - shape.candidates, column, counts)

    def _candidates(self, rng, pending, need, drawn, counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows that got a mask, and (row number among them, entry) pairs)."""
        if not self.shape.pruning:
            return pending, *self.pool.all_members(rng, need[pending])
        least = need if self.shape.small == "redraw" else np.full_like(need, LEAST_HISTORY + self.shape.candidates)
        while True:
            masks, found, n = first_masks(self.pool.sizes, rng, least[pending], 16, self.shape.p_decision, self.shape.p_option)
            drawn[pending] += n
            if found.any() or drawn[pending].max() > MOST_DRAWS:
                break
        return pending[found], *self.pool.members(masks[:, :, found], rng, need[pending[found]])

    def _distinct(self, row: np.ndarray, entry: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.complete:
            known = ~np.isnan(self.columns[column[row], entry])
            row, entry = row[known], entry[known]
        first = first_of_each(row, self.pool.classes[entry], self.pool.n_classes, int(row.max(initial=-1)) + 1)
        return row[first], entry[first]

    def _rows(self, chosen: np.ndarray, history: np.ndarray, column: np.ndarray, counts: Counter) -> RowBatch:
        entry = chosen[chosen >= 0]
        candidates = np.full(len(history), self.shape.candidates)
        total = history + candidates
        values = self.columns[np.repeat(column, total), entry]
        return RowBatch(self.texts[entry], values, history, candidates, column.astype(np.uint16), counts)
