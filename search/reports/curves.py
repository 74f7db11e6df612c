"""Searches as numbers: the best value over the trials, means over seeds with bootstrap intervals, Pareto fronts.

Runs of the same task, metric and direction belong together in one section. search/reports/reading.py fills these from
run folders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHECKPOINTS = (25, 50, 100, 192)
RESAMPLES = 10_000


@dataclass(frozen=True)
class SeedRun:
    """One search.

    trials: the objects of trials.jsonl in order; summary: of summary.json ({} while the search is unfinished).
    """

    seed: str
    trials: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]

    def usable(self) -> list[tuple[int, Mapping[str, Any]]]:
        """(position, trial) of the trials that count: finished, finite, no constraint violated."""
        return [(i, t) for i, t in enumerate(self.trials) if _counts(t)]


@dataclass(frozen=True)
class Run:
    """The seeds of one method on one task."""

    label: str
    path: Path
    seeds: tuple[SeedRun, ...]
    control: bool = False
    task: str = ""
    metric: str = "value"
    direction: str = "maximize"
    optimum: float | None = None

    @property
    def sign(self) -> float:
        """+1 for maximised metrics, -1 for minimised ones."""
        return -1.0 if self.direction == "minimize" else 1.0

    def anytime(self, length: int | None = None) -> np.ndarray:
        """Best value so far after each trial, float64 (seeds, length); NaN before the first usable one and past an
        unfinished end.
        """
        length = length or max((len(s.trials) for s in self.seeds), default=0)
        out = np.full((len(self.seeds), length), np.nan)
        for row, seed in zip(out, self.seeds, strict=True):
            for i, trial in seed.usable():
                if i < length:
                    row[i] = float(trial["value"]) * self.sign
            row[:] = np.fmax.accumulate(row)
            if not seed.summary:
                row[len(seed.trials) :] = np.nan
        return out * self.sign

    def best(self) -> list[Mapping[str, Any] | None]:
        """The best usable trial of each seed (the earlier one when equal), None where there is none."""
        return [
            max((t for _, t in s.usable()), key=lambda t: float(t["value"]) * self.sign, default=None)
            for s in self.seeds
        ]

    def counted(self, name: str) -> int | None:
        """Sum over seeds of a count in the summaries, None when none has it."""
        found = [_find(s.summary, name) for s in self.seeds]
        known = [int(f) for f in found if isinstance(f, (int, float))]
        return sum(known) if known else None


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % bootstrap interval (low == high == mean for one seed)."""

    mean: float
    low: float
    high: float
    seeds: int

    def text(self, digits: int) -> str:
        """'73.21 [73.10, 73.33]', without brackets for one seed, an en dash for none."""
        if self.seeds == 0:
            return "–"
        if self.seeds == 1:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True)
class Section:
    """Runs that may be compared: same task, metric and direction."""

    task: str
    metric: str
    direction: str
    runs: tuple[Run, ...]
    optimum: float | None = None

    @property
    def title(self) -> str:
        return f"{self.task} · {self.metric} ({self.direction})"

    @property
    def source(self) -> str:
        """The table behind the values: name, rows, where it came from, checksum; '' when the task has none."""
        known = next((s.summary for r in self.runs for s in r.seeds if s.summary.get("table_sha256")), None)
        if known is None:
            return ""
        rows = f"{known['table_rows']:,} rows, " if isinstance(known.get("table_rows"), int) else ""
        return (
            f"table {known.get('table', self.task)}, {rows}{known.get('source') or 'unnamed source'}, sha256"
            f" {known['table_sha256']}"
        )

    def checkpoints(self) -> list[int]:
        """Evaluations at which the table is read: the usual ones that were reached, and the end."""
        longest = max((len(s.trials) for r in self.runs for s in r.seeds), default=0)
        return sorted({c for c in CHECKPOINTS if c <= longest} | ({longest} if longest else set()))

    def digits(self) -> int:
        """Decimals that show the differences between final values."""
        finals = [v for r in self.runs for v in final_values(r)]
        spread = float(np.ptp(finals)) if len(finals) > 1 else max(map(abs, finals), default=1.0) / 100
        return int(np.clip(2 - math.floor(math.log10(max(spread, 1e-6))), 2, 6))


def bootstrap(values: Sequence[float], resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean of the finite values and its 95 % percentile bootstrap interval; deterministic."""
    x = np.asarray(values, dtype=np.float64)
    x = x[np.isfinite(x)]
    if len(x) == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(x.mean())
    if len(x) == 1:
        return Interval(mean, mean, mean, 1)
    picks = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    low, high = np.percentile(x[picks].mean(axis=1), [2.5, 97.5])
    return Interval(mean, float(low), float(high), len(x))


def band(curves: np.ndarray, resamples: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, low and high of curves (seeds, length) per column, NaN where a seed is missing; three float64 (length,)."""
    mean = curves.mean(axis=0)
    if len(curves) < 2:
        return mean, mean, mean
    picks = np.random.default_rng(seed).integers(len(curves), size=(resamples, len(curves)))
    weights = np.stack([(picks == i).sum(axis=1) for i in range(len(curves))], axis=1) / len(curves)
    low, high = np.percentile(weights @ curves, [2.5, 97.5], axis=0)
    return mean, low, high


def final_values(run: Run) -> list[float]:
    """Best value of each seed that has one."""
    return [float(t["value"]) for t in run.best() if t is not None]


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points no other point beats in both coordinates (higher is better), best first coordinate
    first.
    """
    order = sorted(range(len(points)), key=lambda i: (-points[i][0], -points[i][1], i))
    front: list[int] = []
    best = -math.inf
    for i in order:
        if points[i][1] > best:
            front.append(i)
            best = points[i][1]
    return front


def _counts(trial: Mapping[str, Any]) -> bool:
    value = trial.get("value")
    finished = str(trial.get("state", "COMPLETE")).upper().startswith("COMPLETE")
    number = isinstance(value, (int, float)) and math.isfinite(value)
    return finished and number and all(float(v) <= 0 for v in constraints(trial).values())


def constraints(trial: Mapping[str, Any]) -> dict[str, float]:
    """The constraint values of a trial, <= 0 is feasible."""
    found = trial.get("constraints") or {}
    return (
        {str(k): float(v) for k, v in found.items() if isinstance(v, (int, float))} if isinstance(found, dict) else {}
    )


def _find(summary: Mapping[str, Any], name: str) -> Any:
    """A value at the top level of a summary or one level below."""
    return next(
        (
            level[name]
            for level in (summary, *(v for v in summary.values() if isinstance(v, dict)))
            if level.get(name) is not None
        ),
        None,
    )
