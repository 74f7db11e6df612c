"""The default in spaces with continuous or long parameters: the evidence by places, each view trusted by its skill.

    smooth         expected improvement over the best entry (its logarithm), as a search wants
    smooth:mean    the expected value

Near levels of an ordered parameter are alike here (search.prompts.places). No language model: on such spaces the nano
searcher, which never saw one, was behind on two of three problems with four seeds (lora, hartmann6; not ackley).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from search.errors import did_you_mean
from search.prompts.evidence import FEW, normal_scores, shown
from search.prompts.places import evidence_of, trusted
from search.rankers.base import Context, Ranker, Ranking, from_scores
from search.rankers.regression import expected_improvement
from search.spaces import Seen, Space

MODES = ("ei", "mean")
UNSURE = 1.5  # the views' spread times this: with less a search over continuous parameters settles too early


class SmoothRanker(Ranker):
    """Expected improvement, or mean, of the views' mixture. Deterministic; ties go to the earlier candidate."""

    name = "smooth"
    many = True

    def __init__(self, space: Space, mode: str = MODES[0]):
        self.space, self.mode = space, mode

    @classmethod
    def build(cls, argument: str, context: Context) -> SmoothRanker:
        if argument and argument not in MODES:
            raise did_you_mean(f"mode of ranker {cls.name}", argument, MODES)
        return cls(context.space, argument or ("ei" if context.goal == "search" else "mean"))

    def at(self, space: Space) -> SmoothRanker:
        return type(self)(space, self.mode)

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        start = time.perf_counter()
        source = self.name if self.mode == "ei" else f"{self.name}:{self.mode}"
        told = [s for s in history if math.isfinite(s.value)]
        return from_scores(
            candidates, promising(told, candidates, self.space, self.mode), source, seconds=time.perf_counter() - start
        )


def promising(history: Sequence[Seen], candidates: Sequence[str], space: Space, mode: str = "ei") -> np.ndarray:
    """One number per candidate from the evidence alone, higher is better; float64 (m,). All 0 for a short history."""
    if len(history) < FEW:
        return np.zeros(len(candidates))
    mean, std = trusted(evidence_of(history, candidates, space=space))
    if mode == "mean":
        return mean
    values = np.array([s.value for s in history], dtype=np.float64)
    return expected_improvement(mean, UNSURE * std, float(normal_scores(values[shown(values)]).max()))
