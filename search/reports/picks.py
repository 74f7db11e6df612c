"""Which candidates a ranker picks: uniform ones or mutants of the best codes, over the trial number (Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search.reports.curves import Run, bootstrap

ORIGINS = ("uniform", "mutant")  # of a candidate; a trial's origin says which kind the ranker picked
WINDOW = 15  # trials on either side that a share is averaged over, so that a few seeds make a curve
GENERATOR = (
    "half of the candidates uniform, half one-digit mutants of the five best codes so far (search.strategies.proposals)"
)


@dataclass(frozen=True)
class Share:
    """The share of picks that were uniform candidates.

    trials: trial numbers at which it is given.
    mean, low, high: share and its 95 % interval over seeds (bootstrap), one per trial number.
    overtaken: first trial number from which mutants stay ahead; None if they never do.
    """

    label: str
    seeds: int
    trials: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    overtaken: int | None


def share(run: Run, window: int = WINDOW, step: int = 10) -> Share | None:
    """The share of uniform picks of a run's seeds; None when its ranker never chose between the two kinds."""
    picks = [_picks(seed.trials) for seed in run.seeds]
    picks = [p for p in picks if {0.0, 1.0} <= set(p[np.isfinite(p)])]
    if not picks:
        return None
    length = max(map(len, picks))
    table = np.full((len(picks), length), np.nan)
    for row, p in zip(table, picks):
        row[: len(p)] = p
    trials = np.arange(window, length + 1, step)
    smooth = np.stack([_window(table, int(t), window) for t in trials], axis=1)
    usable = np.isfinite(smooth).all(axis=0)
    trials, smooth = trials[usable], smooth[:, usable]
    intervals = [bootstrap(column) for column in smooth.T]
    mean = smooth.mean(axis=0)
    behind = np.flatnonzero(mean >= 0.5)
    after = 0 if not len(behind) else int(behind[-1]) + 1
    return Share(
        run.label,
        len(picks),
        trials,
        mean,
        np.array([i.low for i in intervals]),
        np.array([i.high for i in intervals]),
        int(trials[after]) if after < len(trials) else None,
    )


def _picks(trials: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """1 for a uniform pick, 0 for a mutant, NaN for trials that no ranker chose; float64 (trials,)."""
    kinds = {ORIGINS[0]: 1.0, ORIGINS[1]: 0.0}
    return np.array([kinds.get(str(t.get("origin")), np.nan) for t in trials], dtype=np.float64)


def _window(table: np.ndarray, centre: int, window: int) -> np.ndarray:
    part = table[:, max(0, centre - window) : centre + window]
    known = np.isfinite(part)
    counts = known.sum(axis=1)
    total = np.where(known, part, 0.0).sum(axis=1)
    return np.divide(total, counts, out=np.full(len(table), np.nan), where=counts > 0)


def markdown(shares: Sequence[Share], window: int = WINDOW) -> str:
    """A table: one line a ranker, the share at every fourth place, and where mutants take over."""
    places = sorted({int(t) for s in shares for t in s.trials[::4]})
    head = "| ranker | seeds | " + " | ".join(f"@{t}" for t in places) + " | mutants ahead from |"
    lines = [head, "|" + "---|" * (len(places) + 3)]
    for s in shares:
        at = {int(t): f"{m:.2f} [{lo:.2f}, {hi:.2f}]" for t, m, lo, hi in zip(s.trials, s.mean, s.low, s.high)}
        cells = " | ".join(at.get(t, "") for t in places)
        lines.append(f"| {s.label} | {s.seeds} | {cells} | {s.overtaken or 'never'} |")
    told = f"Share of picks that were uniform candidates, over {2 * window} trials, 95 % bootstrap over seeds."
    return "\n".join([*lines, "", f"{told} Candidates: {GENERATOR}. A random picker's share is one half."]) + "\n"


def draw(shares: Sequence[Share], path: Path, title: str) -> Path:
    """The shares with their intervals as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), dpi=150)
    for s in shares:
        (line,) = axes.plot(s.trials, s.mean, label=f"{s.label} ({s.seeds} seeds)")
        axes.fill_between(s.trials, s.low, s.high, alpha=0.15, color=line.get_color(), linewidth=0)
    axes.axhline(0.5, color="0.4", linestyle=":", label="a picker at random")
    axes.set(xlabel="evaluations", ylabel="share of uniform picks", ylim=(0, 1), title=title)
    axes.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
    return path
