"""Pruned subspaces in bulk: the rule of `Space.prune` (paper section 3.2) for thousands of masks at once.

Options are treated alike by the rule, so a mask is drawn in two steps of the same odds: how many options of each
decision survive (enough to know the subspace's size), and, for masks that are used, which ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np


@dataclass(frozen=True)
class Subspaces:
    """n pruned subspaces.

    options: uint8 (most options, decisions, n), the surviving ones first.
    kept: int64 (decisions, n), how many survive.
    """

    options: np.ndarray
    kept: np.ndarray

    def __len__(self) -> int:
        return self.kept.shape[1]

    @property
    def size(self) -> np.ndarray:
        """Number of codes in each, exact below 2**53; float64 (n,)."""
        return np.prod(self.kept, axis=0, dtype=np.float64)

    def take(self, which: np.ndarray) -> Subspaces:
        """Some of them."""
        return Subspaces(self.options[:, :, which], self.kept[:, which])

    def put(self, which: np.ndarray, other: Subspaces) -> None:
        """Replace some by others, in place."""
        self.options[:, :, which], self.kept[:, which] = other.options, other.kept

    def allowed(self) -> np.ndarray:
        """Which options survive; bool (most options, decisions, n)."""
        out = np.zeros(self.options.shape, dtype=bool)
        alive = np.arange(self.options.shape[0])[:, None, None] < self.kept
        np.put_along_axis(out, self.options.astype(np.int64), alive, axis=0)
        return out


def whole_space(sizes: np.ndarray, n: int) -> Subspaces:
    """n times the space itself."""
    options = np.broadcast_to(
        np.arange(int(sizes.max()), dtype=np.uint8)[:, None, None], (int(sizes.max()), len(sizes), n)
    ).copy()
    return Subspaces(options, np.repeat(np.asarray(sizes, dtype=np.int64)[:, None], n, axis=1))


@lru_cache(maxsize=4096)
def count_odds(size: int, p_decision: float, p_option: float) -> tuple[float, ...]:
    """P(at most 1, 2, ..., size options of a decision survive)."""
    alive = [comb(size, k) * (1 - p_option) ** k * p_option ** (size - k) for k in range(size + 1)]
    odds = [p_decision + (1 - p_decision) * (alive[0] + alive[1])] + [(1 - p_decision) * a for a in alive[2:]]
    return tuple(np.cumsum(odds).tolist())


def draw_counts(
    sizes: np.ndarray, rng: np.random.Generator, n: int, p_decision: float = 0.5, p_option: float = 0.5
) -> np.ndarray:
    """How many options of each decision survive in n masks; uint8 (decisions, n)."""
    drawn = rng.random((len(sizes), n), dtype=np.float32)
    counts = np.ones(drawn.shape, dtype=np.uint8)
    for i, size in enumerate(sizes.tolist()):
        for limit in count_odds(size, p_decision, p_option)[:-1]:
            counts[i] += drawn[i] >= np.float32(limit)
    return counts


def with_options(sizes: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> Subspaces:
    """Subspaces of these counts, uniform over which options survive."""
    widest = int(sizes.max())
    keys = rng.random((widest, *counts.shape), dtype=np.float32)
    for option in range(int(sizes.min()), widest):
        keys[option, sizes <= option] = 2.0
    return Subspaces(np.argsort(keys, axis=0).astype(np.uint8), counts.astype(np.int64))


def draw_masks(
    sizes: np.ndarray, rng: np.random.Generator, n: int, p_decision: float = 0.5, p_option: float = 0.5
) -> Subspaces:
    """n pruned subspaces of a space with `sizes` options per decision."""
    sizes = np.asarray(sizes, dtype=np.int64)
    return with_options(sizes, draw_counts(sizes, rng, n, p_decision, p_option), rng)


def first_masks(
    sizes: np.ndarray, rng: np.random.Generator, need: np.ndarray, tries: int, p_decision: float, p_option: float
) -> tuple[Subspaces, np.ndarray, np.ndarray]:
    """For each row the first of `tries` masks that holds at least `need` codes.

    Returns (subspaces of the rows that found one, found bool (rows,), masks drawn int64 (rows,)).
    """
    rows = len(need)
    counts = draw_counts(sizes, rng, rows * tries, p_decision, p_option)
    size = counts[0].astype(np.float32)
    for count in counts[1:]:
        size *= count
    large = size.reshape(rows, tries) >= need[:, None]  # exact: need is far below 2**24
    first = large.argmax(axis=1)
    found = large[np.arange(rows), first]
    chosen = (np.arange(rows) * tries + first)[found]
    return with_options(sizes, counts[:, chosen], rng), found, np.where(found, first + 1, tries)


def first_of_each(row: np.ndarray, key: np.ndarray, keys: int | None, rows: int) -> np.ndarray:
    """Which entries are the first of their (row, key) in array order; bool (m,).

    row < rows, key < keys (None: any integers).
    """
    if keys is None:
        key = np.unique(key, return_inverse=True)[1]
        keys = len(key) + 1
    slot = row.astype(np.int64) * keys + key
    if rows * keys <= 1 << 24:
        number = np.arange(len(slot))
        first = np.empty(rows * keys, dtype=np.int32)
        first[slot[::-1]] = number[::-1]  # of repeated slots the last one written stays: the first entry
        return first[slot] == number
    order = np.argsort(slot, kind="stable")
    fresh = np.ones(len(slot), dtype=bool)
    fresh[order[1:]] = slot[order[1:]] != slot[order[:-1]]
    return fresh
