"""Pruned subspaces in bulk: the rule of `Space.prune` (paper section 3.2) for thousands of masks at once."""

from __future__ import annotations

import numpy as np


def draw_masks(sizes: np.ndarray, rng: np.random.Generator, n: int, p_decision: float = 0.5, p_option: float = 0.5) -> np.ndarray:
    """n masks of a space with `sizes` options per decision; bool (max options, decisions, n): which options survive.

    Each option is dropped with p_option (one uniform option comes back where none survives); each decision is frozen to a
    uniform survivor with p_decision.
    """
    widest, d = int(sizes.max()), len(sizes)
    allowed = rng.random((widest, d, n), dtype=np.float32) >= np.float32(p_option)
    for option in range(widest):
        allowed[option] &= (option < sizes)[:, None]
    count = allowed.sum(axis=0, dtype=np.int8)
    pick = rng.random((d, n), dtype=np.float32)
    frozen = rng.random((d, n), dtype=np.float32) < np.float32(p_decision)
    empty = count == 0
    keep = np.minimum((pick * sizes[:, None]).astype(np.int8), (sizes - 1)[:, None])
    nth = np.minimum((pick * count).astype(np.int8), count - 1)  # which survivor a frozen decision keeps
    seen = np.zeros((d, n), dtype=np.int8)
    for option in range(widest):
        survivor = allowed[option].copy()
        allowed[option] = np.where(empty, keep == option, survivor & (~frozen | (seen == nth)))
        seen += survivor
    return allowed


def mask_sizes(allowed: np.ndarray) -> np.ndarray:
    """Number of codes of each mask, exact below 2**53; bool (options, decisions, n) -> float64 (n,)."""
    return np.prod(allowed.sum(axis=0), axis=0, dtype=np.float64)


def first_masks(
    sizes: np.ndarray, rng: np.random.Generator, need: np.ndarray, tries: int, p_decision: float, p_option: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row the first of `tries` masks that holds at least `need` codes.

    Returns (masks bool (options, decisions, rows), found bool (rows,), masks drawn int64 (rows,)).
    """
    rows = len(need)
    allowed = draw_masks(sizes, rng, rows * tries, p_decision, p_option)
    large = mask_sizes(allowed).reshape(rows, tries) >= need[:, None]
    first = large.argmax(axis=1)
    found = large[np.arange(rows), first]
    return allowed[:, :, np.arange(rows) * tries + first], found, np.where(found, first + 1, tries)


def option_lists(allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(options of each decision, the surviving ones first: uint8 (options, decisions, n); how many survive: int64 (decisions, n))."""
    return np.argsort(~allowed, axis=0, kind="stable").astype(np.uint8), allowed.sum(axis=0)


def first_of_each(row: np.ndarray, key: np.ndarray, keys: int | None, rows: int) -> np.ndarray:
    """Which entries are the first of their (row, key) in array order; bool (m,). row < rows, key < keys (None: any integers)."""
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
