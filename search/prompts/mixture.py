"""The views of the evidence as one forecast: an equal mixture of their normal distributions, and what is read from it.

Values are normal scores of the history, as in `search.prompts.evidence`.

mean     expected value of the candidate
ei       expected improvement over the best entry of the history (its logarithm)
blend    expected improvement where there is any, the mean where there is none
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from search.prompts.evidence import Evidence

READINGS = ("mean", "ei", "blend")
LEAST_GAIN, MEAN_SHARE = {"ei": 1e-6, "blend": 0.003}, {"ei": 1e-3, "blend": 0.3}
REACHED = 6.0


def acquire(gain: np.ndarray, mean: np.ndarray, reading: str) -> np.ndarray:
    """One number per candidate, higher is better, from expected improvement and expected value; float64 (m,)."""
    return mean if reading == "mean" else np.log(gain + LEAST_GAIN[reading]) + MEAN_SHARE[reading] * mean


def mixture_gain(evidence: Evidence, best: float) -> np.ndarray:
    """Expected improvement over `best` of the equal mixture of the views; float64 (m,)."""
    return normal_gain(evidence.mean, evidence.std, best).mean(axis=1)


def average_gain(evidence: Evidence, best: float) -> np.ndarray:
    """The same of one normal distribution with the views' average mean and average variance; float64 (m,)."""
    return normal_gain(evidence.mean.mean(axis=1), np.sqrt(np.square(evidence.std).mean(axis=1)), best)


def normal_gain(mean: np.ndarray, std: np.ndarray, best: float) -> np.ndarray:
    """By how much a normal variable exceeds `best` on average, to 1e-7 standard deviations; the shape of `mean`."""
    z = (mean - best) / std
    return std * np.where(z > REACHED, z, np.interp(z, *_unit_gain()))


@lru_cache(maxsize=1)
def _unit_gain() -> tuple[np.ndarray, np.ndarray]:
    """A table of the gain of a standard normal variable over -z, from -6 (nothing) to 6 (z itself)."""
    z = np.linspace(-REACHED, REACHED, 12_001)
    below = np.array([math.erfc(x) for x in z * -(0.5**0.5)]) / 2
    gain = np.maximum(np.exp(-0.5 * z * z) * (2 * math.pi) ** -0.5 + z * below, 0.0)
    gain[0] = 0.0
    return z, gain
