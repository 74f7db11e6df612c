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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from search.threads import single_blas_thread

VIEWS = ("add", "exp", "hier", "count", "ord", "ard", "ordx", "sum", "all")
NOISES = np.array([0.01, 0.03, 0.1, 0.3, 1.0, 3.0])
REACH = (0.15, 0.4, 1.0)  # kernel lengths in shares of the mean distance: local, middle, far
LEVEL_REACH = (0.05, 0.15, 0.5)  # the same for ordered digits, whose distances are squared
COUNT_REACH = (0.5, 2.0)  # the same for counts of options
MOST = 200  # entries of a longer history that are read; the factorisations grow with the cube
FEW = 3  # entries below which nothing can be fitted


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


def gather(codes: np.ndarray, values: np.ndarray, candidates: np.ndarray, most: int = MOST) -> Evidence:
    """The evidence of a history for candidates: uint8 (n, d), float64 (n,) higher is better, uint8 (m, d).

    most: how many entries of the history are used, see `shown`.
    """
    return read(codes, values, most).about(candidates)


def read(codes: np.ndarray, values: np.ndarray, most: int = MOST) -> History:
    """The nine views of a history, fitted once and kept: whoever asks about the same history next pays nothing."""
    codes, values = np.ascontiguousarray(codes, dtype=np.uint8), np.ascontiguousarray(values, dtype=np.float64)
    return _read(codes.tobytes(), values.tobytes(), codes.shape[1], most)


@lru_cache(maxsize=4)  # a step asks about one history: first for a scan, then for its short list
def _read(codes: bytes, values: bytes, decisions: int, most: int) -> History:
    return History(np.frombuffer(codes, dtype=np.uint8).reshape(-1, decisions), np.frombuffer(values), most)


class History:
    """The views fitted to a history; `about` answers for any number of candidates.

    codes: uint8 (n, d).
    values: float64 (n,), higher is better.
    """

    @single_blas_thread
    def __init__(self, codes: np.ndarray, values: np.ndarray, most: int = MOST):
        kept = shown(values, most)
        self.length, self.told = len(codes), codes[kept].astype(np.int64)
        self.scores = normal_scores(values[kept])
        self.views: dict[str, _Fit] = {}
        if len(kept) >= FEW:
            self._fit()

    def _fit(self) -> None:
        told, y = self.told, self.scores
        n, d = told.shape
        self.top, self.marks = int(told.max()) + 1, _one_hot(told, int(told.max()) + 1)
        far, (linear, squared) = _far(self.marks, self.marks, d), self._counts(told)
        self.spread = float(far.mean())
        self.usual = float(np.median(squared[squared > 0])) if (squared > 0).any() else 1.0
        self.low, self.width = told.min(axis=0), np.maximum(told.max(axis=0) - told.min(axis=0), 1)
        add, ord_ = 1.0 - far, self._near_levels(told)
        first = [add, *(np.exp(-far / r) for r in REACH), 0.5 * add + 0.5 * linear]
        first += [np.exp(-squared / (2 * self.usual * r)) for r in COUNT_REACH] + [ord_]
        done = _fit(np.stack(first), y)
        fits = {"add": done[0], "hier": done[4], "ord": done[7]}
        fits["exp"], self.exp_reach = _likeliest(done[1:4], REACH)
        fits["count"], self.count_reach = _likeliest(done[5:7], COUNT_REACH)
        self.weight = _importance(told, done[0].alpha)
        weighed, stretched = self._weighed(told)
        kernels = [np.exp(-weighed / r) for r in REACH] + [np.exp(-stretched / r) for r in LEVEL_REACH]
        done = _fit(np.stack(kernels), y)
        fits["ard"], self.ard_reach = _likeliest(done[:3], REACH)
        fits["ordx"], self.ordx_reach = _likeliest(done[3:], LEVEL_REACH)
        mixed, product = _mixtures({name: fit.kernel for name, fit in fits.items()})
        fits["sum"], fits["all"] = _fit(np.stack([mixed, product]), y)
        self.views = {name: fits[name] for name in VIEWS}

    @single_blas_thread
    def about(self, candidates: np.ndarray) -> Evidence:
        """What the views say about candidates, uint8 (m, d); each one's figures do not depend on the others."""
        new = candidates.astype(np.int64)
        m, d = new.shape
        if not self.views:
            nothing = np.zeros((m, len(VIEWS)))
            return Evidence(
                self.length, d, float(new.max(initial=0) + 1), 1.0, nothing, nothing + 1.0, np.zeros(len(VIEWS))
            )
        far, (linear, squared) = _far(_one_hot(new, self.top), self.marks, d), self._counts(new)
        weighed, stretched = self._weighed(new)
        k = {"add": 1.0 - far, "exp": np.exp(-far / self.exp_reach), "ord": self._near_levels(new)}
        k |= {"hier": 0.5 * k["add"] + 0.5 * linear, "count": np.exp(-squared / (2 * self.usual * self.count_reach))}
        k |= {"ard": np.exp(-weighed / self.ard_reach), "ordx": np.exp(-stretched / self.ordx_reach)}
        k["sum"], k["all"] = _mixtures(k)
        said = [fit.predict(k[name]) for name, fit in self.views.items()]
        return Evidence(
            self.length,
            d,
            float((self.told.max(axis=0) + 1).mean()),
            self.spread,
            np.round(np.stack([mean for mean, _ in said], axis=1), 6),
            np.round(np.stack([std for _, std in said], axis=1), 6),
            np.round(np.array([_correlation(fit.left_out, self.scores) for fit in self.views.values()]), 6),
        )

    def _counts(self, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inner products (centred on the history, mean square 1) and squared distances of the option counts between
        rows (m, d) and the history; both (m, n).
        """
        top = max(int(new.max(initial=0)), int(self.told.max())) + 1
        share, told = _shares(new, top), _shares(self.told, top)
        centred = told - told.mean(axis=0)
        inner = (share - told.mean(axis=0)) @ centred.T
        size = (share * share).sum(axis=1)[:, None] + (told * told).sum(axis=1)[None, :]
        squared = np.maximum(size - 2 * share @ told.T, 0.0)
        return inner / max(float((centred * centred).sum(axis=1).mean()), 1e-9), np.round(squared, 12)

    def _levels(self, new: np.ndarray) -> np.ndarray:
        """Option indices as levels, the told range being 0 to 1; float64 (m, d)."""
        return np.clip((new - self.low) / self.width, -0.5, 1.5)

    def _near_levels(self, new: np.ndarray) -> np.ndarray:
        """Mean over the decisions of exp(-2 x distance of the levels); float64 (m, n)."""
        top = int(new.max(initial=0)) + 1
        options = self._levels(np.tile(np.arange(top)[:, None], (1, new.shape[1])))
        near = np.exp(-2 * np.abs(options.T[:, :, None] - self._levels(self.told).T[:, None, :]))
        return _one_hot(new, top) @ near.reshape(-1, len(self.told)) / new.shape[1]

    def _weighed(self, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share of differing digits and squared distance of the levels, decisions by weight; both (m, n)."""
        d = new.shape[1]
        marks = _one_hot(new, self.top) * np.repeat(self.weight, self.top)
        differ = np.maximum(self.weight.sum() - marks @ self.marks.T, 0.0)
        a, b = self._levels(new), self._levels(self.told)
        size = (a * a) @ self.weight[:, None] + ((b * b) @ self.weight)[None, :]
        return np.round(differ, 12) / d, np.round(np.maximum(size - 2 * (a * self.weight) @ b.T, 0.0), 12) / d


@dataclass(frozen=True)
class _Fit:
    """A Gaussian process with a free offset: its kernel (n, n), left-out predictions (n,) and how it answers."""

    kernel: np.ndarray
    left_out: np.ndarray
    alpha: np.ndarray
    likelihood: float
    root: np.ndarray  # basis x square root of the gains: the quadratic form is a sum of squares
    noise: float
    scale: float

    def predict(self, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation from the kernel of the candidates with the history (m, n); both (m,)."""
        cross = kernel + 1.0
        spread = 2.0 + self.noise - np.square(cross @ self.root).sum(axis=1)
        return cross @ self.alpha, np.sqrt(np.maximum(spread * self.scale, 1e-6))


def _likeliest(fits: Sequence[_Fit], reaches: Sequence[float]) -> tuple[_Fit, float]:
    best = max(range(len(fits)), key=lambda i: round(fits[i].likelihood, 9))
    return fits[best], reaches[best]


def _mixtures(k: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The kernels of the views `sum` and `all` from those of the others."""
    mixed = (k["add"] + k["exp"] + k["ard"] + k["hier"] + k["count"] + k["ordx"]) / 6
    return mixed, (k["exp"] + k["ard"] + k["ordx"] + k["ard"] * k["count"]) / 4


def _fit(kernels: np.ndarray, y: np.ndarray) -> list[_Fit]:
    """A Gaussian process per kernel (k, n, n); the noise with the best leave-one-out density is kept."""
    n = len(y)
    roots, basis = np.linalg.eigh(kernels + 1.0)
    roots = np.maximum(roots, 0.0)
    target = (y @ basis)[:, None, :]
    gain = 1.0 / (roots[:, None, :] + NOISES[None, :, None])
    precision = gain @ np.square(basis).transpose(0, 2, 1)
    alpha = (gain * target) @ basis.transpose(0, 2, 1)
    residual, variance = alpha / precision, 1.0 / precision
    scale = ((residual**2 / variance).sum(axis=2) + 2.0) / (n + 2)
    density = -0.5 * (residual**2 / variance / scale[..., None] + np.log(variance * scale[..., None])).mean(axis=2)
    pick = np.round(density, 9).argmax(axis=1)
    return [
        _Fit(
            kernels[i],
            y - residual[i, b],
            alpha[i, b],
            float(density[i, b]),
            basis[i] * np.sqrt(gain[i, b]),
            float(NOISES[b]),
            float(scale[i, b]),
        )
        for i, b in enumerate(pick)
    ]


def _one_hot(codes: np.ndarray, top: int) -> np.ndarray:
    """Indicators of the options below `top`, `top` columns a decision, none for options beyond; float64
    (m, d * top).
    """
    return (codes[:, :, None] == np.arange(top)).reshape(len(codes), codes.shape[1] * top).astype(np.float64)


def _far(a: np.ndarray, b: np.ndarray, decisions: int) -> np.ndarray:
    """Share of differing digits between rows of indicators; float64 (m, n)."""
    return (decisions - a @ b.T) / decisions


def _shares(codes: np.ndarray, top: int) -> np.ndarray:
    """How often each option occurs, as a share of the decisions; float64 (m, top)."""
    return np.stack([(codes == o).sum(axis=1) for o in range(top)], axis=1) / codes.shape[1]


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
