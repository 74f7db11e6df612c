"""Small statistical models of codes in plain numpy: ridge regression, Gaussian process, nearest neighbours.

Codes are uint8 arrays (n, decisions); values are 'higher is better'. Every model predicts new codes and, in closed
form, each told code from all the others (leave-one-out), which is how far the model may be trusted: `rank_skill`.

One-hot digits of two codes have the inner product m, their matching digits, and one-hot pairs have m (m - 1) / 2. So
ridge regression on digits and pairs needs only the matrix of matches, whatever the number of features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

ALPHAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # penalties tried by leave-one-out, evenly spaced on a log scale
PAIR_SHARE = 0.5  # of the kernel: pairs of digits beside single ones, both counting alike


@dataclass(frozen=True)
class Prediction:
    """mean: of the new codes, float64 (m,). loo: each told code predicted from the others, (n,). std: of the new codes
    or None.

    Both are in the units of the values that were given.

    info: the chosen hyperparameters.
    """

    mean: np.ndarray
    loo: np.ndarray
    std: np.ndarray | None = None
    info: dict[str, Any] = field(default_factory=dict)


def one_hot(codes: np.ndarray, cardinalities: Sequence[int]) -> np.ndarray:
    """Indicator features, one column per decision and option; float64 (n, sum of cardinalities)."""
    codes = np.asarray(codes, dtype=np.int64)
    sizes = np.asarray(cardinalities, dtype=np.int64)
    out = np.zeros((len(codes), int(sizes.sum())))
    out[np.arange(len(codes))[:, None], codes + (np.cumsum(sizes) - sizes)] = 1.0
    return out


def pairs(codes: np.ndarray, cardinalities: Sequence[int]) -> np.ndarray:
    """Indicator features, one column per two decisions and their two options; float64 (n, sum of products)."""
    codes = np.asarray(codes, dtype=np.int64)
    sizes = [int(c) for c in cardinalities]
    both = list(combinations(range(len(sizes)), 2))
    if not both:
        return np.empty((len(codes), 0))
    joint = np.stack([codes[:, i] * sizes[j] + codes[:, j] for i, j in both], axis=1)
    return one_hot(joint, [sizes[i] * sizes[j] for i, j in both])


def matches(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Number of equal digits of every row of a (n, d) and every row of b (m, d); float64 (n, m)."""
    top = int(max(a.max(initial=0), b.max(initial=0))) + 1
    sizes = [top] * a.shape[1]
    return (one_hot(a, sizes).astype(np.float32) @ one_hot(b, sizes).astype(np.float32).T).astype(np.float64)


def pair_kernel(a: np.ndarray, b: np.ndarray, pair_share: float = PAIR_SHARE) -> np.ndarray:
    """Inner products of one-hot digits and pairs, each group scaled to 1 for equal codes; `pair_share` weighs the
    pairs.
    """
    d = a.shape[1]
    m = matches(a, b)
    if d < 2:
        return m / max(d, 1)
    return (1 - pair_share) * m / d + pair_share * m * (m - 1) / (d * (d - 1))


def scale_values(values: Sequence[float], kind: str = "blend") -> np.ndarray:
    """Targets that heavy tails cannot dominate, mean 0; float64 (n,).

    rank: normal scores of the ranks (ties share one). robust: (value - median) / spread, cut at 3, where the spread is
    twice the mean absolute deviation after cutting the outer tenths. blend: their mean - ranks keep the order, robust
    keeps the gaps.
    """
    y = np.asarray(values, dtype=np.float64)
    if len(y) == 0 or np.ptp(y) <= 0:
        return np.zeros(len(y))
    if kind == "rank":
        out = _normal_scores((_ranks(y) + 0.5) / len(y))
    elif kind == "robust":
        out = _robust(y)
    else:
        out = 0.5 * _normal_scores((_ranks(y) + 0.5) / len(y)) + 0.5 * _robust(y)
    return out - out.mean()


def ridge(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, alphas: Sequence[float] = ALPHAS) -> Prediction:
    """Ridge regression on features x (n, p) with a free intercept; alpha (per mean squared row norm) by leave-one-out
    error.

    Solved in whichever of rows and features is fewer.
    """
    y = np.asarray(y, dtype=np.float64)
    centre = x.mean(axis=0)
    x, x_new = x - centre, x_new - centre
    if x.shape[1] >= len(x):
        return _solve(x @ x.T, y, x_new @ x.T, alphas)
    scale = max(float((x * x).sum() / len(x)), 1e-12)
    eigen, basis = np.linalg.eigh(x.T @ x / scale)
    z, z_new = x @ basis / scale**0.5, x_new @ basis / scale**0.5
    target = z.T @ (y - y.mean())
    best: tuple[Any, ...] = ()
    for alpha in alphas:
        weights = target / (np.maximum(eigen, 0) + alpha)
        leverage = ((z * z) / (np.maximum(eigen, 0) + alpha)).sum(axis=1) + 1 / len(y)
        loo = y - (y - y.mean() - z @ weights) / np.maximum(1 - leverage, 1e-9)
        best = _better(best, float(((loo - y) ** 2).mean()), alpha, loo, z_new @ weights + y.mean())
    return Prediction(best[3], best[2], info={"alpha": best[1], "loo_mse": best[0]})


def kernel_ridge(
    kernel: np.ndarray, y: np.ndarray, kernel_new: np.ndarray, alphas: Sequence[float] = ALPHAS
) -> Prediction:
    """The same model from inner products: kernel (n, n) of the told rows, kernel_new (m, n) of new rows with told
    ones.
    """
    rows = kernel.mean(axis=0)
    centred_new = kernel_new - kernel_new.mean(axis=1, keepdims=True) - rows + rows.mean()
    return _solve(kernel - rows - rows[:, None] + rows.mean(), np.asarray(y, dtype=np.float64), centred_new, alphas)


def gp(
    codes: np.ndarray,
    y: np.ndarray,
    new: np.ndarray,
    rates: Sequence[float] = (0.15, 0.3, 0.6, 1.0, 1.6),
    noises: Sequence[float] = (0.01, 0.05, 0.2, 0.6),
    per_decision: bool = False,
) -> Prediction:
    """Gaussian process with kernel exp(-sum of rates over differing digits); rate and noise by marginal likelihood on a
    grid.

    per_decision: each decision's rate is then scaled (x 0.3, 1, 3) one after the other while the likelihood rises.
    std is the standard deviation of the function (without noise).
    """
    y = np.asarray(y, dtype=np.float64)
    n, d = codes.shape
    centre, spread = float(y.mean()), float(y.std())
    if n < 2 or spread <= 0:
        return Prediction(np.full(len(new), centre), y.copy(), np.full(len(new), spread))
    target = (y - centre) / spread
    weights = np.ones(d)
    distance = _distance(codes, codes, weights)
    fits = [(_likelihood(np.exp(-rate * distance), noise, target), rate, noise) for rate in rates for noise in noises]
    best, rate, noise = max(fits, key=lambda f: (f[0], -f[1], f[2]))
    if per_decision:
        for j in range(d):
            differ = (codes[:, None, j] != codes[None, :, j]).astype(np.float64)
            for factor in (0.3, 3.0):
                tried = distance + (factor - 1) * weights[j] * differ
                score = _likelihood(np.exp(-rate * tried), noise, target)
                if score > best + 1e-9:
                    best, distance = score, tried
                    weights[j] *= factor
                    break
    kernel = np.exp(-rate * distance)
    inverse = np.linalg.inv(kernel + noise * np.eye(n))
    alpha = inverse @ target
    cross = np.exp(-rate * _distance(new, codes, weights))
    amplitude = float(target @ alpha / n)
    variance = amplitude * np.maximum(1 - ((cross @ inverse) * cross).sum(axis=1), 1e-12)
    loo = target - alpha / np.maximum(np.diag(inverse), 1e-12)
    info = {"rate": rate, "noise": noise, "log_likelihood": best, "weights": weights.tolist()}
    return Prediction(cross @ alpha * spread + centre, loo * spread + centre, np.sqrt(variance) * spread, info)


def knn(codes: np.ndarray, y: np.ndarray, new: np.ndarray, rate: float = 1.0) -> Prediction:
    """Mean of the told values weighted by exp(-rate x differing digits): in effect the average over the nearest
    codes.
    """
    y = np.asarray(y, dtype=np.float64)
    told = _soft_weights(matches(codes, codes), rate, drop_self=True)
    loo = told @ y if len(y) > 1 else y.copy()
    return Prediction(_soft_weights(matches(new, codes), rate) @ y, loo)


def expected_improvement(mean: np.ndarray, std: np.ndarray, best: float) -> np.ndarray:
    """Logarithm of how much better than `best` a normal variable is on average; float64 (m,), finite in the far tail
    too.
    """
    std = np.maximum(std, 1e-12)
    z = (mean - best) / std
    log_density = -0.5 * z * z - 0.5 * np.log(2 * np.pi)
    below = np.array([0.5 * math.erfc(-v / 2**0.5) for v in z])
    near = np.log(np.maximum(np.exp(log_density) + z * below, 1e-300))
    far = log_density - 2 * np.log(np.maximum(-z, 1.0))
    return np.log(std) + np.where(z > -6, near, far)


def rank_skill(loo: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation of leave-one-out predictions with the values; 0 when either does not vary."""
    if len(y) < 3:
        return 0.0
    a, b = _ranks(np.asarray(loo, dtype=np.float64)), _ranks(np.asarray(y, dtype=np.float64))
    if np.ptp(a) <= 0 or np.ptp(b) <= 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _solve(kernel: np.ndarray, y: np.ndarray, kernel_new: np.ndarray, alphas: Sequence[float]) -> Prediction:
    """Ridge from a centred kernel; leave-one-out is exact: the leverage of the free intercept is 1 / n."""
    n = len(y)
    scale = max(float(np.trace(kernel)) / n, 1e-12)
    if n < 2 or np.ptp(y) <= 0:
        return Prediction(
            np.full(len(kernel_new), float(y.mean())), y.copy(), info={"alpha": float(alphas[-1]), "loo_mse": 0.0}
        )
    eigen, basis = np.linalg.eigh(kernel / scale)
    eigen = np.maximum(eigen, 0)
    target, squares = basis.T @ (y - y.mean()), basis * basis
    best: tuple[Any, ...] = ()
    for alpha in alphas:
        shrunk = eigen / (eigen + alpha)
        loo = y - (y - y.mean() - basis @ (shrunk * target)) / np.maximum(1 - squares @ shrunk - 1 / n, 1e-9)
        best = _better(best, float(((loo - y) ** 2).mean()), alpha, loo, basis @ (target / (eigen + alpha)))
    return Prediction(kernel_new @ best[3] / scale + y.mean(), best[2], info={"alpha": best[1], "loo_mse": best[0]})


def _better(best: tuple[Any, ...], error: float, alpha: float, *rest: np.ndarray) -> tuple[Any, ...]:
    """The fit with the smaller error; the stronger penalty when they are equal."""
    return (error, float(alpha), *rest) if not best or error <= best[0] else best


def _likelihood(kernel: np.ndarray, noise: float, target: np.ndarray) -> float:
    """Log marginal likelihood up to a constant, with the amplitude of the whole covariance at its best value."""
    n = len(target)
    try:
        lower = np.linalg.cholesky(kernel + noise * np.eye(n))
    except np.linalg.LinAlgError:
        return -np.inf
    white = np.linalg.solve(lower, target)
    return float(-0.5 * n * np.log(max(float(white @ white) / n, 1e-300)) - np.log(np.diag(lower)).sum())


def _distance(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    top = int(max(a.max(initial=0), b.max(initial=0))) + 1
    sizes = [top] * a.shape[1]
    scaled = one_hot(a, sizes) * np.repeat(weights, top)
    return np.maximum(weights.sum() - scaled @ one_hot(b, sizes).T, 0.0)


def _soft_weights(match: np.ndarray, rate: float, drop_self: bool = False) -> np.ndarray:
    score = rate * match
    if drop_self and len(score) > 1:
        np.fill_diagonal(score, -np.inf)
    weights = np.exp(score - score.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _ranks(y: np.ndarray) -> np.ndarray:
    """0-based ranks, equal values share their mean rank; float64 (n,)."""
    _, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def _normal_scores(p: np.ndarray) -> np.ndarray:
    """Approximate normal quantiles of p in (0, 1) by the logistic distribution of equal variance."""
    return np.log(p / (1 - p)) * (3**0.5 / np.pi)


def _robust(y: np.ndarray) -> np.ndarray:
    low, middle, high = np.quantile(y, [0.1, 0.5, 0.9])
    spread = float(np.abs(np.clip(y, low, high) - middle).mean()) or float(np.abs(y - middle).mean())
    return np.clip((y - middle) / (2 * spread), -3, 3)
