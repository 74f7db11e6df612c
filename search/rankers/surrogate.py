"""Rankers without a language model: the classical surrogates every language model has to beat.

surrogate[:pairs|onehot]  ridge regression on one-hot digits and their pairs, penalty by leave-one-out
knn                       the average over the nearest told codes
gp[:mean|ei|scales]       Gaussian process on digits: predicted value, expected improvement, or a length scale per
                          decision
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from search.errors import did_you_mean
from search.rankers import regression as surrogates
from search.rankers.base import Context, Ranker, Ranking, from_scores
from search.spaces import Seen, Space
from search.threads import single_blas_thread


class SurrogateRanker(Ranker):
    """Shared frame: codes to arrays, values to robust targets, prediction, scores.

    Deterministic; ties go to the earlier candidate.
    """

    many = True
    modes: tuple[str, ...] = ()
    target = "blend"

    def __init__(self, space: Space, mode: str | None = None):
        self.space = space
        self.mode = mode or self.modes[0]

    @classmethod
    def build(cls, argument: str, context: Context) -> SurrogateRanker:
        if argument and argument not in cls.modes:
            raise did_you_mean(f"mode of ranker {cls.name}", argument, cls.modes)
        return cls(context.space, argument or None)

    def at(self, space: Space) -> SurrogateRanker:
        return type(self)(space, self.mode)

    def predict(self, codes: np.ndarray, targets: np.ndarray, new: np.ndarray) -> surrogates.Prediction:
        """Predict `new` uint8 (m, d) from `codes` uint8 (n, d) and their targets float64 (n,), n >= 2 and not
        constant.
        """
        raise TypeError(f"{type(self).__name__} must define predict(codes, targets, new)")

    def score(self, prediction: surrogates.Prediction, targets: np.ndarray) -> np.ndarray:
        """One number per candidate, higher is better; float64 (m,)."""
        return prediction.mean

    @single_blas_thread
    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        start = time.perf_counter()
        source = self.name if self.mode == self.modes[0] else f"{self.name}:{self.mode}"
        told = [s for s in history if math.isfinite(s.value)]
        targets = surrogates.scale_values([s.value for s in told], self.target)
        if len(told) < 2 or not targets.any():
            return from_scores(candidates, np.zeros(len(candidates)), source, seconds=time.perf_counter() - start)
        prediction = self.predict(self.space.to_array([s.code for s in told]), targets, self.space.to_array(candidates))
        return from_scores(
            candidates,
            self.score(prediction, targets),
            source,
            seconds=time.perf_counter() - start,
            info=prediction.info,
        )


class RidgeRanker(SurrogateRanker):
    """Ridge regression on one-hot digits and (by default) their pairs: facts section 1, the baseline a model must
    beat.
    """

    name = "surrogate"
    control = stands_in = True
    modes = ("pairs", "onehot")

    def predict(self, codes: np.ndarray, targets: np.ndarray, new: np.ndarray) -> surrogates.Prediction:
        share = surrogates.PAIR_SHARE if self.mode == "pairs" else 0.0
        return surrogates.kernel_ridge(
            surrogates.pair_kernel(codes, codes, share), targets, surrogates.pair_kernel(new, codes, share)
        )


class NeighbourRanker(SurrogateRanker):
    """The average value of the told codes with the most equal digits."""

    name = "knn"
    stands_in = True
    modes = ("nearest",)

    def predict(self, codes: np.ndarray, targets: np.ndarray, new: np.ndarray) -> surrogates.Prediction:
        return surrogates.knn(codes, targets, new)


class GPRanker(SurrogateRanker):
    """Gaussian process with a kernel of digit mismatches, hyperparameters by marginal likelihood."""

    name = "gp"
    modes = ("mean", "ei", "scales")

    def predict(self, codes: np.ndarray, targets: np.ndarray, new: np.ndarray) -> surrogates.Prediction:
        return surrogates.gp(codes, targets, new, per_decision=self.mode == "scales")

    def score(self, prediction: surrogates.Prediction, targets: np.ndarray) -> np.ndarray:
        if self.mode != "ei" or prediction.std is None:
            return prediction.mean
        return surrogates.expected_improvement(prediction.mean, prediction.std, float(targets.max()))
