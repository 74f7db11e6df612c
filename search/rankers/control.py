"""The two rankers every result is shown beside: one that knows nothing and one that knows everything."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from search.errors import UserError
from search.rankers.base import Context, Ranker, Ranking, from_scores
from search.spaces import Seen


class RandomRanker(Ranker):
    """Chance: uniform scores, a pure function of the seed, the length of the history and the candidates."""

    name = "random"

    def __init__(self, seed: int = 0):
        self.seed = seed

    @classmethod
    def build(cls, argument: str, context: Context) -> RandomRanker:
        return cls(context.seed)

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        key = zlib.crc32("|".join(candidates).encode())
        return from_scores(
            candidates, np.random.default_rng([self.seed, len(history), key]).random(len(candidates)), "random"
        )


class OracleRanker(Ranker):
    """The true value of every candidate, read from the task: the ceiling of any ranker with the same proposals."""

    name = "oracle"

    def __init__(self, value: Callable[[str], float]):
        self.value = value

    @classmethod
    def build(cls, argument: str, context: Context) -> OracleRanker:
        if context.oracle is None:
            raise UserError(
                "ranker 'oracle' was given for a task without a table - it needs known values - use a table task or"
                " another ranker"
            )
        return cls(context.oracle)

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        return from_scores(candidates, [self.value(c) for c in candidates], "oracle")
