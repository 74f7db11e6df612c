"""Small clean worlds, many at once: what a model reads first. Arrays over a batch of worlds, no loop over worlds.

Level 0 is additive; level 1 also has worlds whose options mean the same in every decision, and noise; level 2 also
ordered options, pair interactions, and counts of an option.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Easy:
    """decisions, options: smallest and largest number of each in a world; level: 0 to 2, see above."""

    decisions: tuple[int, int]
    options: tuple[int, int]
    level: int


@dataclass(frozen=True)
class Batch:
    """codes: int64 (worlds, n, most decisions), values: float64 (worlds, n); decisions: int64 (worlds,), the columns
    that count.
    """

    codes: np.ndarray
    values: np.ndarray
    decisions: np.ndarray


def sample_easy(rng: np.random.Generator, worlds: int, n: int, easy: Easy) -> Batch:
    """`worlds` random worlds of that kind with n uniform codes and their values each."""
    most, top = easy.decisions[1], easy.options[1]
    d = rng.integers(easy.decisions[0], most + 1, worlds)
    live = np.arange(most) < d[:, None]
    shared = rng.random(worlds) < (0.5 if easy.level else 0.0)
    low, high = easy.options[0], top + 1
    sizes = np.where(shared[:, None], rng.integers(low, high, (worlds, 1)), rng.integers(low, high, (worlds, most)))
    codes = (rng.random((worlds, n, most)) * sizes[:, None]).astype(np.int64)
    values = _units(_look_up(_effects(rng, sizes, top, shared, easy.level) * live[..., None], codes))
    if easy.level >= 2:
        values = values + _pairs(rng, codes, d, top) + _counts(rng, codes, d, live, sizes)
    if easy.level:
        values = _units(values) + rng.normal(size=values.shape) * rng.choice([0.0, 0.1, 0.3, 0.6], (worlds, 1))
    return Batch(codes, values, d)


def _units(values: np.ndarray) -> np.ndarray:
    """Each world's values with mean 0 and spread 1."""
    return (values - values.mean(1, keepdims=True)) / (values.std(1, keepdims=True) + 1e-9)


def _look_up(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Sum over decisions of table[world, decision, option]; (worlds, n)."""
    worlds, decisions = np.arange(len(codes))[:, None, None], np.arange(codes.shape[2])
    return table[worlds, decisions, codes].sum(-1)


def _effects(rng: np.random.Generator, sizes: np.ndarray, top: int, shared: np.ndarray, level: int) -> np.ndarray:
    """Effects of the options, float64 (worlds, decisions, top): each decision its own, ordered, or one list for all."""
    worlds, most = sizes.shape
    own = rng.normal(size=(worlds, most, top)) * np.exp(rng.normal(size=(worlds, most, 1)) * (0.5 if level else 0.3))
    alike = rng.normal(size=(worlds, 1, top)) * np.exp(rng.normal(size=(worlds, most, 1)) * 0.3)
    if level >= 2:
        place = np.arange(top) / np.maximum(sizes[..., None] - 1, 1)
        centre, peaked = rng.random((worlds, most, 1)), rng.random((worlds, most, 1)) < 0.35
        curve = np.where(peaked, -4 * (place - centre) ** 2, np.sign(rng.normal(size=(worlds, most, 1))) * place)
        ordered = rng.random((worlds, most, 1)) < (rng.random((worlds, 1, 1)) < 0.4)
        own = np.where(ordered, curve * 3 * np.exp(rng.normal(size=(worlds, most, 1)) * 0.5), own)
    return np.where(shared[:, None, None], alike, own)


def _pairs(rng: np.random.Generator, codes: np.ndarray, d: np.ndarray, top: int) -> np.ndarray:
    """Random tables over pairs of decisions, in half of the worlds; (worlds, n)."""
    worlds, n, most = codes.shape
    left, right = (rng.integers(0, 1 << 20, (worlds, most)) % d[:, None] for _ in range(2))
    counts = np.arange(most) < rng.integers(1, most + 1, (worlds, 1))
    table = rng.normal(size=(worlds, most, top, top)) * counts[..., None, None]
    a, b = (np.take_along_axis(codes, np.broadcast_to(side[:, None], (worlds, n, most)), 2) for side in (left, right))
    values = table[np.arange(worlds)[:, None, None], np.arange(most), a, b].sum(-1)
    return _units(values) * rng.exponential(size=(worlds, 1)) * (rng.random((worlds, 1)) < 0.5)


def _counts(
    rng: np.random.Generator, codes: np.ndarray, d: np.ndarray, live: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """How often one option occurs, for, against or near a share, in a third of the worlds; (worlds, n)."""
    worlds = len(codes)
    option = rng.integers(0, 1 << 20, worlds) % sizes.min(1)
    share = ((codes == option[:, None, None]) & live[:, None]).sum(-1) / d[:, None]
    near = -((share - rng.random((worlds, 1))) ** 2)
    values = np.where(rng.random((worlds, 1)) < 0.5, share, near) * np.sign(rng.normal(size=(worlds, 1)))
    return _units(values) * rng.exponential(size=(worlds, 1)) * (rng.random((worlds, 1)) < 0.35)
