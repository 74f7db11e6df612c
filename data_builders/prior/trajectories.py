"""Histories and candidates as a searcher meets them, drawn in random worlds: uniform samples, or the trail of a
search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from data_builders.prior.worlds import World, sample_world

SHORTEST, LONGEST = 3, 200
UNIFORM_SHARE = 0.55  # of the questions: histories of random codes; the others are left by a simulated search
SMALLEST_SPACE = 60  # codes; a smaller world has no fresh candidates after a history


@dataclass(frozen=True)
class Question:
    """A ranking question with its truth: codes uint8 (n, d) and (m, d), values float64 (n,) and (m,), higher is
    better.
    """

    world: World
    codes: np.ndarray
    values: np.ndarray
    candidates: np.ndarray
    truth: np.ndarray


def sample_question(
    rng: np.random.Generator, candidates: int = 48, most_decisions: int = 48, most_noise: float = 9.0
) -> Question:
    """A random world, a history of 3 to 200 entries (log-uniform) and fresh candidates; the limits serve a
    curriculum.
    """
    while True:
        world = sample_world(rng)
        d = len(world.layout.sizes)
        size = float(np.prod(world.layout.sizes.astype(float)))
        if size < SMALLEST_SPACE or d > most_decisions or world.noise > most_noise:
            continue
        n = int(min(round(np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST)))), size * 0.3))
        searched = rng.random() >= UNIFORM_SHARE and n >= 8
        codes, values = _search(world, rng, n) if searched else _uniform(world, rng, n)
        if len(codes) < SHORTEST or not np.ptp(values) > 1e-9 or _crowded(values, rng):
            continue
        kind = rng.choice(3, p=[0.2, 0.5, 0.3] if searched else [0.45, 0.35, 0.2])
        new = _candidates(world, rng, codes, values, candidates, near=[0, candidates // 2, candidates][kind])
        if len(new) >= 6:
            return Question(world, codes, values, new, world.observe(new, rng))


def _crowded(values: np.ndarray, rng: np.random.Generator) -> bool:
    """Whether nearly all entries share one value; such histories are kept once in ten."""
    return bool(np.unique(values, return_counts=True)[1].max() > 0.8 * len(values)) and rng.random() < 0.9


def _fresh(codes: np.ndarray, seen: set[bytes], most: int) -> np.ndarray:
    """The first `most` rows that are not in `seen`, which grows by them; uint8 (k, d)."""
    kept: list[Any] = []
    for i, row in enumerate(codes):
        key = row.tobytes()
        if len(kept) < most and key not in seen:
            seen.add(key)
            kept.append(i)
    return codes[kept]


def _uniform(world: World, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    codes = _fresh(world.sample(rng, 3 * n + 20), set(), n)
    return codes, world.observe(codes, rng)


def _search(world: World, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The trail of a search of some skill: a uniform start, then the pick of small pools of mutants and uniform
    codes.
    """
    codes, values = _uniform(world, rng, int(rng.integers(5, min(21, n) + 1)))
    blur, share, top = rng.choice([0.1, 0.5, 1.0, 3.0]), rng.choice([0.5, 0.8, 1.0]), int(rng.integers(1, 11))
    batch = max(1, n // 20)
    for _ in range(80):
        if len(codes) >= n:
            break
        pool = 12 * batch
        parents = codes[np.argsort(-values)[:top]]
        near = mutants(world, rng, parents, int(pool * share))
        new = _fresh(
            np.concatenate([near, world.sample(rng, pool - len(near) + 1)]), {r.tobytes() for r in codes}, pool
        )
        if not len(new):
            break
        truth = world.observe(new, rng)
        order = np.argsort(-(truth + rng.normal(size=len(truth)) * blur * (truth.std() + 1e-9)))[
            : min(batch, n - len(codes))
        ]
        codes, values = np.concatenate([codes, new[order]]), np.concatenate([values, truth[order]])
    return codes, values


def _candidates(
    world: World, rng: np.random.Generator, codes: np.ndarray, values: np.ndarray, n: int, near: int
) -> np.ndarray:
    """Up to n fresh codes, `near` of them mutants and crossings of the five best entries."""
    seen = {r.tobytes() for r in codes}
    parents = codes[np.argsort(-values)[:5]]
    close = rng.permutation(np.concatenate([mutants(world, rng, parents, 2 * near), crossings(rng, parents, near)]))
    kept = _fresh(close, seen, near)
    return np.concatenate([kept, _fresh(world.sample(rng, 6 * n), seen, n - len(kept))])


def mutants(world: World, rng: np.random.Generator, parents: np.ndarray, n: int) -> np.ndarray:
    """n copies of random parents with one digit redrawn (two in a fifth of them); uint8 (n, d)."""
    sizes = world.layout.sizes
    codes = parents[rng.integers(len(parents), size=n)].copy()
    for changed in (np.arange(n), np.flatnonzero(rng.random(n) < 0.2)):
        column = rng.integers(len(sizes), size=len(changed))
        codes[changed, column] = (rng.random(len(changed)) * sizes[column]).astype(np.uint8)
    return codes


def crossings(rng: np.random.Generator, parents: np.ndarray, n: int) -> np.ndarray:
    """n uniform crossovers of two random parents each; uint8 (n, d)."""
    left, right = (parents[rng.integers(len(parents), size=n)] for _ in range(2))
    return np.where(rng.random(left.shape) < 0.5, left, right)
