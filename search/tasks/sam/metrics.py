"""How good a mask is: S-measure, E-measure, weighted F, balanced error rate and Jaccard index (IoU) of a picture.

Each takes a prediction, float (height, width) between 0 and 1, and the object, bool (height, width). S, E and F are
those of salient-object detection, on predictions stretched to 0 ... 1 (`stretched`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

EPS = np.spacing(1.0)
BETA = 0.3  # of the weighted F: precision counts more than recall
ALPHA = 0.5  # of the S-measure: its two parts count alike
SHADOW = 125 / 255  # the threshold of the balanced error rate


def stretched(p: np.ndarray) -> np.ndarray:
    """The prediction with its least value at 0 and its largest at 1; a constant one as it is. Rounded to 256 levels
    before, as predictions are when they are saved as pictures.
    """
    p = np.round(np.asarray(p, dtype=np.float64) * 255) / 255
    low, high = p.min(), p.max()
    return (p - low) / (high - low) if high > low else p


def s_measure(p: np.ndarray, y: np.ndarray) -> float:
    """Structure measure (Fan et al. 2017), between 0 and 1: half by object and ground, half by four regions."""
    share = y.mean()
    if share in (0, 1):
        return float(p.mean() if share else 1 - p.mean())
    by_object = share * _alike(p[y]) + (1 - share) * _alike(1 - p[~y])
    return float(max(0.0, ALPHA * by_object + (1 - ALPHA) * _by_region(p, y)))


def _alike(x: np.ndarray) -> float:
    spread = x.std(ddof=1) if x.size > 1 else 0.0
    return 2 * x.mean() / (x.mean() ** 2 + 1 + spread + EPS)


def _by_region(p: np.ndarray, y: np.ndarray) -> float:
    row, column = (int(v) + 1 for v in np.argwhere(y).mean(axis=0).round())  # the centroid belongs to the first parts
    parts = [(a, b) for a in (slice(0, row), slice(row, None)) for b in (slice(0, column), slice(column, None))]
    return sum(p[part].size / p.size * _ssim(p[part], y[part]) for part in parts if p[part].size)


def _ssim(p: np.ndarray, y: np.ndarray) -> float:
    a, b, n = p.mean(), y.mean(), p.size - 1 + EPS
    varied = ((p - a) ** 2).sum() / n + ((y - b) ** 2).sum() / n
    common = 4 * a * b * ((p - a) * (y - b)).sum() / n
    scale = (a**2 + b**2) * varied
    return common / (scale + EPS) if common else float(scale == 0)


def e_measure(p: np.ndarray, y: np.ndarray) -> float:
    """Enhanced-alignment measure (Fan et al. 2018), between 0 and 1: the mean over 256 thresholds."""
    levels = (p * 255).astype(np.uint8)
    above = [np.cumsum(np.bincount(levels[part], minlength=256)[::-1]) for part in (y, ~y)]
    hit, false, n, inside = above[0], above[1], y.size, int(y.sum())
    found = hit + false
    if inside in (0, n):
        return float(((found if inside else n - found) / (n - 1 + EPS)).mean())
    part, mean_p, mean_y = [hit, false, inside - hit, n - inside - false], found / n, inside / n
    total = np.zeros(256)
    for count, in_p, in_y in zip(part, (1, 1, 0, 0), (1, 0, 1, 0)):
        a, b = in_p - mean_p, in_y - mean_y
        total += ((2 * a * b / (a**2 + b**2 + EPS) + 1) ** 2 / 4) * count
    return float((total / (n - 1 + EPS)).mean())


def weighted_f(p: np.ndarray, y: np.ndarray) -> float:
    """Weighted F-measure (Margolin et al. 2014), between 0 and 1; errors weigh by place; 0 without an object."""
    if not y.any():
        return 0.0
    far, nearest = ndimage.distance_transform_edt(~y, return_indices=True)
    error = np.abs(p - y)
    carried = error.copy()
    carried[~y] = error[tuple(nearest[:, ~y])]
    line = np.exp(-(np.arange(-3, 4) ** 2) / 50.0)  # a Gaussian of deviation 5, cut at 7 pixels
    kernel = np.outer(line, line) / line.sum() ** 2
    smooth = ndimage.convolve(carried, kernel, mode="constant")
    error = np.where(y & (smooth < error), smooth, error)
    error = error * np.where(y, 1.0, 2 - np.exp(np.log(0.5) / 5 * far))
    right, false = y.sum() - error[y].sum(), error[~y].sum()
    recall, precision = 1 - error[y].mean(), right / (right + false + EPS)
    return float((1 + BETA) * recall * precision / (recall + BETA * precision + EPS))


def balanced_error(p: np.ndarray, y: np.ndarray) -> float:
    """Balanced error rate in percent; a picture without object or without ground counts the other half alone."""
    found = p > SHADOW
    rates = [(found[part] == value).mean() for part, value in ((y, True), (~y, False)) if part.any()]
    return float(100 * (1 - np.mean(rates)))


def jaccard(p: np.ndarray, y: np.ndarray) -> float:
    """Intersection over union at one half, between 0 and 1; two empty masks agree."""
    found = p > 0.5
    either = (found | y).sum()
    return float((found & y).sum() / either) if either else 1.0


@dataclass(frozen=True)
class Metric:
    """A metric of Table 3.

    of: (prediction, object) -> number of one picture.
    stretch: whether it reads stretched predictions.
    scale: what its mean is multiplied by, so that all are in percent.
    better: maximize or minimize.
    """

    of: Callable[[np.ndarray, np.ndarray], float]
    stretch: bool
    scale: float = 100.0
    better: str = "maximize"


METRICS = {
    "S": Metric(s_measure, True),
    "E": Metric(e_measure, True),
    "Fw": Metric(weighted_f, True),
    "BER": Metric(balanced_error, False, 1.0, "minimize"),
    "IoU": Metric(jaccard, False),
}


def per_picture(name: str, predictions: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """A metric of each picture in percent, float64 (n,); predictions and masks: (n, height, width)."""
    metric = METRICS[name]
    pairs = zip(predictions, masks)
    return metric.scale * np.array([metric.of(stretched(p) if metric.stretch else p, y) for p, y in pairs])


def means(names: Sequence[str], predictions: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """The mean over pictures of several metrics, in percent."""
    return {name: float(per_picture(name, predictions, masks).mean()) for name in names}
