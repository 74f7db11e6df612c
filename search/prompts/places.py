"""The nine views of `search.prompts.evidence` for spaces with ladders (search.spaces.ranges): places instead of digits.

How alike two values of an ordered parameter are falls with their distance; options of an unordered one are the same or
not; an inactive parameter is the same as an inactive one and as far as can be from an active one.

    add, exp, ard, ord, ordx   as for digits, with such distances
    hier                       add + a trend, linear and quadratic in every ordered parameter
    count                      a smooth function of all places
    sum, all                   the same mixtures
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.prompts.evidence import (
    COUNT_REACH,
    FEW,
    LEVEL_REACH,
    MOST,
    REACH,
    VIEWS,
    Evidence,
    _correlation,
    _Fit,
    _fit,
    _likeliest,
    _mixtures,
    gather,
    normal_scores,
    shown,
)
from search.prompts.nano import arrays
from search.spaces import Seen, Space
from search.spaces.geometry import Geometry
from search.threads import single_blas_thread

ALIKE = 0.25  # two places so far apart (as a share of the range) are alike by 1/e
OPTIONS = 6.0  # what the nano prompt is told of the number of options: as many as are not alike


def evidence_of(
    history: Sequence[Seen], candidates: Sequence[str], most: int = MOST, space: Space | None = None
) -> Evidence:
    """The evidence of a ranking question; by places where the space knows near and far, else by digits."""
    codes, values, new = arrays(history, candidates)
    if space is None or space.geometry is None:
        return gather(codes, values, new, most)
    told = space.places([s.code for s in history])
    return _Places(told, values, space.geometry, most).about(space.places(candidates))


def trusted(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """What the views say together, each weighed by the square of its skill: mean and standard deviation.

    Both float64 (candidates,), in normal scores.
    """
    trust = np.maximum(evidence.skill, 0.0) ** 2 + 0.05
    trust = trust / trust.sum()
    mean = evidence.mean @ trust
    return mean, np.sqrt((evidence.std**2 + (evidence.mean - mean[:, None]) ** 2) @ trust)


class _Places:
    """The views fitted to a history of places, float64 (n, parameters), NaN where inactive."""

    @single_blas_thread
    def __init__(self, told: np.ndarray, values: np.ndarray, geometry: Geometry, most: int):
        kept = shown(values, most)
        self.length, self.told, self.geometry = len(told), told[kept], geometry
        self.ordered = geometry.ordered
        self.scores = normal_scores(values[kept])
        self.views: dict[str, _Fit] = {}
        if len(kept) >= FEW:
            self._fit()

    def _fit(self) -> None:
        y, d = self.scores, self.told.shape[1]
        differ, gap = self._apart(self.told)
        far, squared = differ.mean(axis=2), np.round((gap * gap).sum(axis=2), 12)
        self.spread, add = float(far.mean()), 1.0 - far
        self.usual = float(np.median(squared[squared > 0])) if (squared > 0).any() else 1.0
        first = [add, *(np.exp(-far / r) for r in REACH), 0.5 * add + 0.5 * self._trend(self.told)]
        first += [np.exp(-squared / (2 * self.usual * r)) for r in COUNT_REACH] + [np.exp(-2 * gap).mean(axis=2)]
        done = _fit(np.stack(first), y)
        fits = {"add": done[0], "hier": done[4], "ord": done[7]}
        fits["exp"], self.exp_reach = _likeliest(done[1:4], REACH)
        fits["count"], self.count_reach = _likeliest(done[5:7], COUNT_REACH)
        effects = np.einsum("ijk,j->ik", 1.0 - differ, done[0].alpha).var(axis=0)
        weight = np.sqrt(effects / max(float(effects.mean()), 1e-12) + 0.15)
        self.weight = weight / weight.mean() / d
        weighed, stretched = differ @ self.weight, (gap * gap) @ self.weight
        kernels = [np.exp(-weighed / r) for r in REACH] + [np.exp(-stretched / r) for r in LEVEL_REACH]
        done = _fit(np.stack(kernels), y)
        fits["ard"], self.ard_reach = _likeliest(done[:3], REACH)
        fits["ordx"], self.ordx_reach = _likeliest(done[3:], LEVEL_REACH)
        fits["sum"], fits["all"] = _fit(np.stack(_mixtures({name: fit.kernel for name, fit in fits.items()})), y)
        self.views = {name: fits[name] for name in VIEWS}

    @single_blas_thread
    def about(self, new: np.ndarray) -> Evidence:
        """What the views say about candidates, float64 (m, parameters)."""
        m, d = new.shape
        if not self.views:
            nothing = np.zeros((m, len(VIEWS)))
            return Evidence(self.length, d, OPTIONS, 1.0, nothing, nothing + 1.0, np.zeros(len(VIEWS)))
        differ, gap = self._apart(new)
        far, squared = differ.mean(axis=2), np.round((gap * gap).sum(axis=2), 12)
        k = {"add": 1.0 - far, "exp": np.exp(-far / self.exp_reach), "ord": np.exp(-2 * gap).mean(axis=2)}
        k["hier"] = 0.5 * k["add"] + 0.5 * self._trend(new)
        k["count"] = np.exp(-squared / (2 * self.usual * self.count_reach))
        k["ard"] = np.exp(-(differ @ self.weight) / self.ard_reach)
        k["ordx"] = np.exp(-((gap * gap) @ self.weight) / self.ordx_reach)
        k["sum"], k["all"] = _mixtures(k)
        said = [fit.predict(k[name]) for name, fit in self.views.items()]
        return Evidence(
            self.length,
            d,
            OPTIONS,
            self.spread,
            np.round(np.stack([mean for mean, _ in said], axis=1), 6),
            np.round(np.stack([std for _, std in said], axis=1), 6),
            np.round(np.array([_correlation(fit.left_out, self.scores) for fit in self.views.values()]), 6),
        )

    def _apart(self, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How much rows differ from the history, and how far they lie apart, per parameter; both 0..1, (m, n, d)."""
        gap = self.geometry.apart(new[:, None, :], self.told[None, :, :])
        off, off_told = np.isnan(new)[:, None, :], np.isnan(self.told)[None, :, :]
        gap = np.where(off & off_told, 0.0, np.where(off | off_told, 1.0, gap))
        return np.where(self.ordered & ~(off ^ off_told), 1.0 - np.exp(-gap / ALIKE), gap), gap

    def _trend(self, new: np.ndarray) -> np.ndarray:
        """Inner products of the ordered places and their squares, centred on the history, mean square 1; (m, n)."""
        here, told = _bowl(new[:, self.ordered]), _bowl(self.told[:, self.ordered])
        centred = told - told.mean(axis=0)
        inner = (here - told.mean(axis=0)) @ centred.T
        return inner / max(float((centred * centred).sum(axis=1).mean()), 1e-9)


def _bowl(places: np.ndarray) -> np.ndarray:
    middle = np.where(np.isnan(places), 0.5, places) - 0.5
    return np.concatenate([middle, 2.0 * middle * middle], axis=1)
