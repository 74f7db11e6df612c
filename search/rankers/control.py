"""What every result is shown beside: a ranker that knows nothing, one that knows everything, and a history that lies.

A ranker that learns from the history must lose its lead when the history's values are dealt anew among its codes
(`shuffled`, the paper's Table 6), and must turn against itself when they are negated (`negated`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from search.errors import UserError, did_you_mean
from search.rankers import HISTORY_CONTROLS
from search.rankers.base import Context, Ranker, Ranking, from_scores
from search.spaces import Seen


class RandomRanker(Ranker):
    """Chance: uniform scores, a pure function of the seed, the length of the history and the candidates."""

    name = "random"
    transcript = False
    control = stands_in = True

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
    seconds = 0.0  # and it knows only the codes of its table
    transcript = False
    control = True

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


class HistoryControl(Ranker):
    """Another ranker, shown a history whose values are shuffled among its codes or negated.

    The permutation is drawn anew for each question, from the seed, the codes and the values: a pure function of the
    question, so that the same entries keep no values of an earlier question.
    """

    def __init__(self, ranker: Ranker, kind: str, seed: int = 0):
        if kind not in HISTORY_CONTROLS:
            raise did_you_mean("history control", kind, HISTORY_CONTROLS)
        self.ranker, self.kind, self.seed = ranker, kind, seed
        self.name, self.writes = ranker.name, ranker.writes

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        return self.ranker.rank(self.shown(history), candidates)

    def compose(self, history: Sequence[Seen], allowed: Callable[[str], bool]) -> Ranking:
        return self.ranker.compose(self.shown(history), allowed)

    def shown(self, history: Sequence[Seen]) -> list[Seen]:
        """The history as the ranker sees it: the same codes in the same order with other values."""
        if self.kind == "negated":
            return [Seen(s.code, -s.value) for s in history]
        key = zlib.crc32("|".join(s.code for s in history).encode())
        order = np.random.default_rng([self.seed, len(history), key]).permutation(len(history))
        return [Seen(s.code, history[i].value) for s, i in zip(history, order, strict=True)]

    def close(self) -> None:
        self.ranker.close()


def controlled(ranker: Ranker, kind: str | None, seed: int = 0) -> Ranker:
    """The ranker behind a history control; itself for kind None. Answers of a replay were given under their own."""
    return ranker if kind is None or ranker.name == "replay" else HistoryControl(ranker, kind, seed)
