"""The nine views written down plainly: every kernel by comparing digits, every fit by inverting a matrix.

Slow, and the yardstick for `search.prompts.evidence`, which gets the same figures from matrix products.
"""

from __future__ import annotations

import numpy as np

from search.prompts.evidence import COUNT_REACH, LEVEL_REACH, NOISES, REACH, VIEWS, normal_scores


def plain(told: np.ndarray, values: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, std) of every view for every candidate, float64 (m, views), unrounded."""
    n, d = told.shape
    both, y = np.concatenate([told, new]).astype(np.int64), normal_scores(values)
    told = told.astype(np.int64)
    differ = both[:, None, :] != told[None, :, :]
    level = np.clip((both - told.min(axis=0)) / np.maximum(np.ptp(told, axis=0), 1), -0.5, 1.5)
    gap = np.abs(level[:, None, :] - level[None, :n, :])
    share = np.stack([(both == o).mean(axis=1) for o in range(both.max() + 1)], axis=1)
    centred = share - share[:n].mean(axis=0)
    linear = centred @ centred[:n].T / max((centred[:n] ** 2).sum(axis=1).mean(), 1e-9)
    squared = ((share[:, None, :] - share[None, :n, :]) ** 2).sum(axis=2)
    usual = np.median(squared[:n][squared[:n] > 1e-12]) if (squared[:n] > 1e-12).any() else 1.0
    far = differ.mean(axis=2)
    fits = {"add": fit(1 - far, y), "hier": fit(0.5 * (1 - far) + 0.5 * linear, y)}
    fits["ord"] = fit(np.exp(-2 * gap).mean(axis=2), y)
    fits["exp"] = likeliest([np.exp(-far / r) for r in REACH], y)
    fits["count"] = likeliest([np.exp(-squared / (2 * usual * r)) for r in COUNT_REACH], y)
    effects = np.zeros(d)
    for j in range(d):
        effect = np.array([fits["add"]["alpha"][told[:, j] == o].sum() / d for o in told[:, j]])
        effects[j] = effect.var()
    weight = np.sqrt(effects / max(effects.mean(), 1e-12) + 0.15)
    weight /= weight.mean()
    fits["ard"] = likeliest([np.exp(-(differ @ weight / d) / r) for r in REACH], y)
    fits["ordx"] = likeliest([np.exp(-(gap**2 @ weight / d) / r) for r in LEVEL_REACH], y)
    k = {name: f["kernel"] for name, f in fits.items()}
    fits["sum"] = fit((k["add"] + k["exp"] + k["ard"] + k["hier"] + k["count"] + k["ordx"]) / 6, y)
    fits["all"] = fit((k["exp"] + k["ard"] + k["ordx"] + k["ard"] * k["count"]) / 4, y)
    return (np.stack([fits[v]["mean"] for v in VIEWS], axis=1), np.stack([fits[v]["std"] for v in VIEWS], axis=1))


def fit(kernel: np.ndarray, y: np.ndarray) -> dict:
    """A Gaussian process of kernel (n + m, n) with the likeliest noise, by leaving out one entry at a time."""
    n = len(y)
    best: dict = {"density": -np.inf}
    for noise in NOISES:
        inverse = np.linalg.inv(kernel[:n] + 1 + noise * np.eye(n))
        residual, variance = inverse @ y / np.diag(inverse), 1 / np.diag(inverse)
        scale = ((residual**2 / variance).sum() + 2) / (n + 2)
        density = -0.5 * (residual**2 / variance / scale + np.log(variance * scale)).mean()
        if density > best["density"] + 1e-9:
            cross = kernel[n:] + 1
            spread = 2 + noise - ((cross @ inverse) * cross).sum(axis=1)
            best = {"density": density, "kernel": kernel, "alpha": inverse @ y, "mean": cross @ inverse @ y}
            best["std"] = np.sqrt(np.maximum(spread * scale, 1e-6))
    return best


def likeliest(kernels: list[np.ndarray], y: np.ndarray) -> dict:
    """The fit of the kernel with the best leave-one-out density."""
    return max((fit(k, y) for k in kernels), key=lambda f: round(f["density"], 9))
