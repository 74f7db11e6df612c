"""What a trial is worth as one number, higher is better: objectives, constraints and several objectives at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

RHO = 0.05  # share of the sum in the augmented Chebyshev value (Knowles 2006, ParEGO)


def worths(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], rng: np.random.Generator
) -> list[float]:
    """One number per complete trial, higher is better, all finite.

    Several objectives: an augmented Chebyshev value of their ranks with random weights, so that other parts of the
    front are aimed at from step to step. Violated constraints: below every feasible trial, the less violated the
    higher (Deb 2000).
    """
    if not trials:
        return []
    signs = np.array([1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in directions])
    values = np.array([t.values for t in trials], dtype=np.float64) * signs
    out = values[:, 0] if len(signs) == 1 else _chebyshev(values, rng)
    broken = _violations(trials)
    if not broken.any():
        return [float(v) for v in out]
    kept = out[broken == 0]
    bottom, size = (float(kept.min()), float(np.ptp(kept)) or 1.0) if len(kept) else (0.0, 1.0)
    worst = bottom - size * (0.1 + broken / broken.max())
    return [float(v) for v in np.where(broken > 0, worst, out)]


def _chebyshev(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    weights = rng.dirichlet(np.ones(values.shape[1]))
    order = np.stack([np.unique(column, return_inverse=True)[1] for column in values.T], axis=1)
    loss = weights * (1.0 - order / np.maximum(order.max(axis=0), 1))
    return -(loss.max(axis=1) + RHO * loss.sum(axis=1))


def _violations(trials: Sequence[FrozenTrial]) -> np.ndarray:
    """How much each trial breaks its constraints, 0: not at all; every constraint counts alike.

    In a study with constraints a trial that lacks them breaks all. float64 (n,).
    """
    names = sorted({name for t in trials for name in t.constraints})
    if not names:
        return np.zeros(len(trials))
    broken = np.array([[max(t.constraints.get(n, math.inf), 0.0) for n in names] for t in trials])
    known = np.where(np.isfinite(broken), broken, 0.0)
    scale = np.maximum(known.max(axis=0), 1e-12)
    return np.where(np.isfinite(broken), broken / scale, 1.0).sum(axis=1)
