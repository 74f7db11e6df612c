"""Levels behind digits: what a space with ladders (search.spaces.ranges) knows of near and far.

One row of levels per code, one column per parameter; a plain decision is a parameter whose level is its digit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.spaces.decision import DIGITS, Decision
from search.spaces.ranges import Ladder

SHORTEST, LONGEST = 0.003, 0.5  # spread of a mutation as a share of the range: from one level of a float to anywhere
COARSE, SETTLING = 0.3, 15.0  # least spread before any trial, and how many trials divide it by e
MORE_AT_ONCE = (0.0, 0.25, 0.6)  # chance of every further parameter to move too: one, some or most of them


class Geometry:
    """The parameters of a space and where their digits stand."""

    def __init__(self, axes: Sequence[Decision | Ladder]):
        self.axes = tuple(axes)
        widths = [len(a.digits) for a in self.axes]
        self.starts = [sum(widths[:i]) for i in range(len(widths) + 1)]
        self.counts = np.array([len(a.options) for a in self.axes], dtype=np.int64)
        self.ordered = np.array([isinstance(a, Ladder) and a.places is not None for a in self.axes])
        digits = [d for a in self.axes for d in a.digits]
        self._weights: np.ndarray = np.zeros((len(digits), len(self.axes)), dtype=np.int64)
        for i, start in enumerate(self.starts[:-1]):
            weight = 1
            for j in range(self.starts[i + 1] - 1, start - 1, -1):
                self._weights[j, i] = weight
                weight *= len(digits[j].options)
        last = "".join(DIGITS[d] for d in self.codes(self.counts[None] - 1)[0])
        self._last = [last[start:end] for start, end in zip(self.starts, self.starts[1:])]

    def levels(self, codes: np.ndarray) -> np.ndarray:
        """Level of each parameter, uint8 (n, digits) -> int64 (n, parameters).

        A few codes spell levels that a ladder lacks (its top digit is not full): they mean its last level.
        """
        return np.minimum(codes.astype(np.int64) @ self._weights, self.counts - 1)

    def codes(self, levels: np.ndarray) -> np.ndarray:
        """Digits of levels, the inverse of `levels`; uint8 (n, digits)."""
        out = np.zeros((len(levels), len(self._weights)), dtype=np.uint8)
        for i, (start, end) in enumerate(zip(self.starts[:-1], self.starts[1:])):
            rest = levels[:, i].copy()
            for j in range(start, end):
                out[:, j], rest = rest // self._weights[j, i], rest % self._weights[j, i]
        return out

    def fold(self, code: str, active: Sequence[bool]) -> str:
        """The code with inactive parameters at 0 and levels that a ladder lacks at its last."""
        parts = []
        for start, end, last, on in zip(self.starts, self.starts[1:], self._last, active):
            parts.append(min(code[start:end], last) if on else "0" * (end - start))
        return "".join(parts)

    def places(self, codes: np.ndarray) -> np.ndarray:
        """Where levels lie: in [0, 1] for ordered parameters, the bare level for others; float64 (n, parameters)."""
        levels = self.levels(codes)
        out = levels.astype(np.float64)
        for i, axis in enumerate(self.axes):
            if isinstance(axis, Ladder) and self.ordered[i]:
                out[:, i] = axis.place(levels[:, i])
        return out

    def apart(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """How far rows of places lie apart in each parameter, 0 to 1; shapes broadcast."""
        gap = np.abs(a - b)
        return np.where(self.ordered, gap, gap > 0)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n codes, each parameter evenly over its range; uint8 (n, digits)."""
        shares = rng.random((n, len(self.axes)))
        drawn = [
            a.draw(shares[:, i]) if isinstance(a, Ladder) else (shares[:, i] * len(a.options)).astype(np.int64)
            for i, a in enumerate(self.axes)
        ]
        return self.codes(np.stack(drawn, axis=1))

    def mutate(self, codes: np.ndarray, rng: np.random.Generator, told: int = 0) -> np.ndarray:
        """Each code with one or more parameters moved: ordered ones by a step of random size, others to any option.

        The size is drawn anew for every code, evenly in its logarithm, so that a pool holds near and far mutants; the
        more trials were told, the finer the finest. uint8 (n, digits) -> the same.
        """
        n, free = len(codes), np.flatnonzero(self.counts > 1)
        if not n or not len(free):
            return np.array(codes, dtype=np.uint8)
        move = rng.random((n, len(free))) < rng.choice(MORE_AT_ONCE, size=n)[:, None]
        move[np.arange(n), rng.integers(len(free), size=n)] = True
        shortest = max(SHORTEST, COARSE * np.exp(-told / SETTLING))
        spread = np.exp(rng.uniform(np.log(shortest), np.log(LONGEST), size=n))
        steps, jumps = rng.standard_normal((n, len(free))) * spread[:, None], rng.random((n, len(free)))
        levels = self.levels(codes)
        for k, i in enumerate(free):
            rows, here = np.flatnonzero(move[:, k]), levels[move[:, k], i]
            axis = self.axes[i]
            if isinstance(axis, Ladder) and self.ordered[i]:
                aim = axis.near(_reflected(axis.place(here) + steps[rows, k]))
                way = np.where((steps[rows, k] > 0) & (here < self.counts[i] - 1) | (here == 0), 1, -1)
                levels[rows, i] = np.where(aim == here, here + way, aim)
            else:
                levels[rows, i] = (here + 1 + (jumps[rows, k] * (self.counts[i] - 1)).astype(np.int64)) % self.counts[i]
        return self.codes(levels)


def _reflected(places: np.ndarray) -> np.ndarray:
    """Places beyond an end come back from it."""
    return 1.0 - np.abs(1.0 - np.abs(places) % 2.0)
