"""What a history says about a candidate, as numbers: the part of the nano searcher's prompt that does the retrieval.

Nine small Gaussian processes look at the same history through different kernels, each judged by leaving out one entry
at a time. A language model that reads all nine and their track records can learn which to trust when.

    add    equal digits count once each              ard    the same, decisions weighed by their effect
    exp    equal digits multiply (Hamming distance)  ord    options are levels, near ones alike, added over decisions
    hier   add + how often each option occurs        ordx   the same, multiplied, decisions weighed by their effect
    count  how often each option occurs, smoothly    sum, all   mixtures of the kernels above

Everything is a pure function of (history, one candidate): other candidates do not matter, nor does the order of the
history or of the decisions. One new name for an option in all decisions changes nothing either, except for `ord` and
`ordx`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from search.threads import single_blas_thread

VIEWS = ("add", "exp", "hier", "count", "ord", "ard", "ordx", "sum", "all")
NOISES = np.array([0.01, 0.03, 0.1, 0.3, 1.0, 3.0])
REACH = (0.15, 0.4, 1.0)
LEVEL_REACH = (0.05, 0.15, 0.5)
MOST = 200
FEW = 3


@dataclass(frozen=True)
class Evidence:
    """length, decisions, options, spread: of the history (entries, decisions, mean largest option index + 1, mean share
    of differing digits).

    mean, std: each view's prediction for each candidate in normal scores of the history, float64 (candidates, views).
    skill: correlation of each view's leave-one-out predictions with the values, float64 (views,).
    """

    length: int
    decisions: int
    options: float
    spread: float
    mean: np.ndarray
    std: np.ndarray
    skill: np.ndarray


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Normal quantiles of the mid-ranks, float64 (n,) -> (n,): only the order counts, equal values stay equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(counts) - counts).astype(np.int64)
    return _quantiles(len(values))[doubled - 1][inverse]


@lru_cache(maxsize=512)
def _quantiles(n: int) -> np.ndarray:
    inverse = NormalDist().inv_cdf
    return np.array([inverse(k / (2 * n)) for k in range(1, 2 * n)])


def shown(values: np.ndarray, most: int = MOST) -> np.ndarray:
    """Which entries of a long history are used, int64 indices in told order: the better half of `most` by value, the
    rest the latest.
    """
    n = len(values)
    if n <= most:
        return np.arange(n)
    best = np.argsort(-np.asarray(values), kind="stable")[: most // 2]
    late = np.setdiff1d(np.arange(n), best)[-(most - len(best)) :]
    return np.sort(np.concatenate([best, late]))


@single_blas_thread
def gather(codes: np.ndarray, values: np.ndarray, candidates: np.ndarray, most: int = MOST) -> Evidence:
    """The evidence of a history for candidates: uint8 (n, d), float64 (n,) higher is better, uint8 (m, d).

    most: how many entries of the history are used, see `shown`.
    """
    length = len(codes)
    kept = shown(values, most)
    told, y, new = (
        codes[kept].astype(np.int64),
        normal_scores(np.asarray(values, dtype=np.float64)[kept]),
        candidates.astype(np.int64),
    )
    n, d, m = len(told), new.shape[1], len(new)
    if n < FEW:
        return Evidence(
            length,
            d,
            float(new.max(initial=0) + 1),
            1.0,
            np.zeros((m, len(VIEWS))),
            np.ones((m, len(VIEWS))),
            np.zeros(len(VIEWS)),
        )
    both = np.concatenate([told, new])
    differ = both[:, None, :] != told[None, :, :]
    fits: dict[str, _Fit] = {}
    far = differ.mean(axis=2)
    add = 1.0 - far
    linear, squared = _counts(both, told)
    usual = float(np.median(squared[:n][squared[:n] > 0])) if (squared[:n] > 0).any() else 1.0
    gap = _levels(both, told)
    first = [add, *(np.exp(-far / r) for r in REACH), 0.5 * add + 0.5 * linear]
    first += [np.exp(-squared / (2 * usual * r)) for r in (0.5, 2.0)] + [np.exp(-2 * gap).mean(axis=2)]
    done = _fit(np.stack(first), y, n)
    fits["add"], fits["hier"], fits["ord"] = done[0], done[4], done[7]
    fits["exp"], fits["count"] = max(done[1:4], key=_likelihood), max(done[5:7], key=_likelihood)
    weight = _importance(told, done[0].alpha)
    weighed, stretched = differ @ weight / d, (gap * gap) @ weight / d
    done = _fit(np.stack([np.exp(-weighed / r) for r in REACH] + [np.exp(-stretched / r) for r in LEVEL_REACH]), y, n)
    fits["ard"], fits["ordx"] = max(done[:3], key=_likelihood), max(done[3:], key=_likelihood)
    k = {name: fit.kernel for name, fit in fits.items()}
    mixed = (k["add"] + k["exp"] + k["ard"] + k["hier"] + k["count"] + k["ordx"]) / 6
    product = (k["exp"] + k["ard"] + k["ordx"] + k["ard"] * k["count"]) / 4
    fits["sum"], fits["all"] = _fit(np.stack([mixed, product]), y, n)
    ordered = [fits[name] for name in VIEWS]
    return Evidence(
        length,
        d,
        float((told.max(axis=0) + 1).mean()),
        float(far[:n].mean()),
        np.round(np.stack([f.mean for f in ordered], axis=1), 6),
        np.round(np.stack([f.std for f in ordered], axis=1), 6),
        np.round(np.array([_correlation(f.left_out, y) for f in ordered]), 6),
    )


@dataclass(frozen=True)
class _Fit:
    kernel: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    left_out: np.ndarray
    alpha: np.ndarray
    likelihood: float


def _likelihood(fit: _Fit) -> float:
    return round(fit.likelihood, 9)


def _fit(kernels: np.ndarray, y: np.ndarray, n: int) -> list[_Fit]:
    """A Gaussian process per kernel (k, n + m, n) with a free offset; the noise with the best leave-one-out density is
    kept.
    """
    roots, basis = np.linalg.eigh(kernels[:, :n] + 1.0)
    roots = np.maximum(roots, 0.0)
    target, squares = np.einsum("kij,i->kj", basis, y), basis * basis
    gain = 1.0 / (roots[:, None, :] + NOISES[None, :, None])
    precision = np.einsum("kij,klj->kli", squares, gain)
    alpha = np.einsum("kij,klj->kli", basis, gain * target[:, None, :])
    residual, variance = alpha / precision, 1.0 / precision
    scale = ((residual**2 / variance).sum(axis=2) + 2.0) / (n + 2)
    density = -0.5 * (residual**2 / variance / scale[..., None] + np.log(variance * scale[..., None])).mean(axis=2)
    pick = np.round(density, 9).argmax(axis=1)
    fits = []
    for i, best in enumerate(pick):
        cross = kernels[i, n:] + 1.0
        spread = 2.0 + NOISES[best] - ((cross @ basis[i]) ** 2) @ gain[i, best]
        std = np.sqrt(np.maximum(spread * scale[i, best], 1e-6))
        fits.append(
            _Fit(
                kernels[i], cross @ alpha[i, best], std, y - residual[i, best], alpha[i, best], float(density[i, best])
            )
        )
    return fits


def _counts(both: np.ndarray, told: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inner products (centred on the history, mean square 1) and squared distances of the option counts; both (n + m,
    n).
    """
    n, d = told.shape
    share = np.stack([(both == o).sum(axis=1) for o in range(int(both.max()) + 1)], axis=1) / d
    centred = share - share[:n].mean(axis=0)
    inner = centred @ centred[:n].T
    size = (share * share).sum(axis=1)
    squared = np.maximum(size[:, None] + size[None, :n] - 2 * share @ share[:n].T, 0.0)
    return inner / max(float(np.diag(inner[:n]).mean()), 1e-9), np.round(squared, 12)


def _levels(both: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Distance of option indices per decision, the told range being 1; float64 (n + m, n, d)."""
    low, high = told.min(axis=0), told.max(axis=0)
    level = np.clip((both - low) / np.maximum(high - low, 1), -0.5, 1.5)
    return np.abs(level[:, None, :] - level[None, : len(told), :])


def _importance(told: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Weights of the decisions, mean 1, from the spread of their fitted additive effects; float64 (d,)."""
    n, d = told.shape
    effects = np.zeros(d)
    for j in range(d):
        total, count = np.bincount(told[:, j], weights=alpha), np.bincount(told[:, j])
        present = count > 0
        effect, share = total[present] / d, count[present] / n
        effects[j] = share @ (effect - share @ effect) ** 2
    weight = np.sqrt(effects / max(float(effects.mean()), 1e-12) + 0.15)
    return weight / weight.mean()


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-9 else 0.0
