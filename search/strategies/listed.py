"""The codes that can be evaluated, listed: somebody's past runs are a thousand codes of millions.

Drawing codes until one is among them does not end there, and one-digit mutants of a code are hardly ever among them. So
uniform codes are drawn from the list, and the moves of a code are the listed codes nearest to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from search.spaces import Space

SPARSE = (
    0.02  # a list with a smaller share of the space is searched as a list; others by drawing until a code is listed
)
MOVES = 16  # listed codes that count as one move away


class Listed:
    """Distinct codes of a space, uint8 (n, decisions)."""

    def __init__(self, space: Space, codes: np.ndarray):
        self.space, self.codes = space, np.asarray(codes, dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.codes)

    def shuffled(self, rng: np.random.Generator) -> Iterator[str]:
        """Every listed code once, in random order."""
        order = rng.permutation(len(self.codes))
        for start in range(0, len(order), 64):  # strings are made as they are asked for
            yield from self.space.to_codes(self.codes[order[start : start + 64]])

    def near(self, code: str, count: int = MOVES) -> np.ndarray:
        """The listed codes with the fewest digits that differ from `code` (in a space with ladders, those whose places
        are nearest), itself left out, nearest first, uint8 (count, decisions); among equally near ones those that come
        first in the list.
        """
        here = self.space.to_array([code])
        same, geometry = (self.codes == here).all(axis=1), self.space.geometry
        if geometry is None:
            far = (self.codes != here).sum(axis=1)
        else:
            far = geometry.apart(self._places, geometry.places(here)).sum(axis=1)
        order = np.argsort(np.where(same, np.inf, far), kind="stable")
        return self.codes[order[: min(count, len(same) - int(same.sum()))]]

    @cached_property
    def _places(self) -> np.ndarray:
        assert self.space.geometry is not None
        return self.space.geometry.places(self.codes)

    def moves(self, code: str) -> list[str]:
        """The codes one move away from `code`, nearest first."""
        return self.space.to_codes(self.near(code))


def listed(space: Space, codes: np.ndarray | None) -> Listed | None:
    """The list, if there is one and it holds so little of the space that it has to be searched as a list."""
    return Listed(space, codes) if codes is not None and len(codes) < SPARSE * space.size else None
