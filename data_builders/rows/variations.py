"""Variations of sampled rows, on matrices (rows, longest): mutant candidates, order of the history, shuffled scores."""

from __future__ import annotations

import numpy as np

from data_builders.rows.masks import Subspaces, first_of_each
from data_builders.rows.pools import places

TOP = 5  # how many of the best history entries are mutated, as `search.strategies.proposals` does
MUTANT_TRIES = 8  # mutants drawn per mutant wanted


def too_many_best(values: np.ndarray, candidates: int) -> np.ndarray:
    """Rows that cannot be `direct` rows: so many equals of the best that the history would lose entries; bool
    (rows,).
    """
    return (values == np.nanmax(values, axis=1, keepdims=True)).sum(axis=1) > candidates


def told_order(
    chosen: np.ndarray, values: np.ndarray, history: np.ndarray, descending: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Each row's history sorted by value; what follows it stays in place."""
    place = np.arange(values.shape[1], dtype=np.float64)
    late = place >= history[:, None]
    key = np.where(late, np.inf, -values if descending else values)
    order = np.argsort(key, axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1), np.take_along_axis(values, order, axis=1)


def shuffled(values: np.ndarray, history: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each row's history values permuted among its history entries; candidates keep theirs."""
    place = np.arange(values.shape[1])
    order = np.argsort(np.where(place < history[:, None], rng.random(values.shape), 1 + place), axis=1)
    return np.take_along_axis(values, order, axis=1)


def mutant_candidates(
    pool,
    chosen: np.ndarray,
    values: np.ndarray,
    history: np.ndarray,
    candidates: int,
    column: np.ndarray,
    spaces: Subspaces,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Half the candidates replaced by one-digit mutants of the best history entries, inside the row's subspace.

    Mutants that the pool lacks or that repeat an architecture of the row are skipped; where too few are left, uniform
    candidates stay. Returns (entries int64 (rows, candidates) in random order, mutants used int64 (rows,)).
    """
    rows, half = len(history), candidates // 2
    shown = np.arange(values.shape[1]) < history[:, None]
    best = np.argsort(np.where(shown, -values, np.inf), axis=1, kind="stable")[:, :TOP]
    tries = half * MUTANT_TRIES
    parent = np.take_along_axis(
        chosen,
        np.take_along_axis(best, (rng.random((rows, tries)) * np.minimum(history, TOP)[:, None]).astype(int), axis=1),
        axis=1,
    )
    row = np.repeat(np.arange(rows), tries)
    mutants = _mutated(pool.codes_of(parent.ravel()), row, spaces, rng)
    entry = np.where(mutants[1], pool.find(mutants[0]), -1)
    good = entry >= 0
    if not pool.complete:
        good[good] = ~np.isnan(pool.value_of(column[row[good]], entry[good]))
    uniform = chosen[np.arange(rows)[:, None], history[:, None] + np.arange(candidates)]
    old_row, old = np.nonzero(shown)[0], chosen[shown]
    parts = [(old_row, old), (row[good], entry[good])]
    fresh = _fresh(pool, parts, rows)
    used_row, used = (part[fresh[len(old) :]] for part in parts[1])
    nth = places(used_row, rows)
    used_row, used = used_row[nth < half], used[nth < half]
    parts = [(used_row, used), (np.repeat(np.arange(rows), candidates), uniform.ravel())]
    keep = _fresh(pool, parts, rows)
    all_rows, all_entries = (np.concatenate([a[i] for a in parts])[keep] for i in (0, 1))
    order = np.argsort(all_rows, kind="stable")  # a row's mutants before its uniform candidates
    all_rows, all_entries = all_rows[order], all_entries[order]
    nth = places(all_rows, rows)
    out = all_entries[nth < candidates].reshape(rows, candidates)
    return rng.permuted(out, axis=1), np.bincount(used_row, minlength=rows)


def _fresh(pool, parts: list[tuple[np.ndarray, np.ndarray]], rows: int) -> np.ndarray:
    row, entry = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    return first_of_each(row, pool.class_of(entry), pool.n_classes, rows)


def _mutated(
    codes: np.ndarray, row: np.ndarray, spaces: Subspaces, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One digit of each code changed to another surviving option of the row's mask; (codes, whether a change was
    possible).
    """
    options, kept = spaces.options, spaces.kept
    free = kept > 1
    n_free = free.sum(axis=0)
    free_first = np.argsort(~free, axis=0, kind="stable")
    which = free_first[
        np.minimum((rng.random(len(row)) * n_free[row]).astype(int), np.maximum(n_free[row] - 1, 0)), row
    ]
    n = kept[which, row]
    at = (options[:, which, row] == codes[np.arange(len(row)), which]).argmax(axis=0)
    step = 1 + np.minimum((rng.random(len(row)) * (n - 1)).astype(int), np.maximum(n - 2, 0))
    out = codes.copy()
    out[np.arange(len(row)), which] = options[(at + step) % np.maximum(n, 1), which, row]
    return out, n_free[row] > 0
