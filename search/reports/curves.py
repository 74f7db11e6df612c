"""Searches as numbers: the best value over the trials, means over seeds with bootstrap intervals, Pareto fronts.

Runs of the same task, metric and direction belong together in one section. search/reports/reading.py fills these from
run folders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

CHECKPOINTS = (25, 50, 100, 192)  # evaluations at which the tables compare; 192 is the paper's budget
MOST_ENDS = 3  # more columns than that and nobody reads the table
RESAMPLES = 10_000  # bootstrap resamples; reports are made once, so many


@dataclass(frozen=True)
class SeedRun:
    """One search.

    trials: the objects of trials.jsonl in order.
    summary: of summary.json ({} while the search is unfinished).
    budget: evaluations it was to have (None: nobody said).
    """

    seed: str
    trials: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]
    budget: int | None = None

    @property
    def exhausted(self) -> bool:
        """Whether every code of the space was evaluated: then the last best value holds for ever."""
        return self.summary.get("ending") == "exhausted"

    @property
    def stopped(self) -> bool:
        """Whether it ends before its budget although codes are left."""
        return self.budget is not None and len(self.trials) < self.budget and not self.exhausted

    @cached_property
    def _usable(self) -> list[tuple[int, Mapping[str, Any]]]:
        return [(i, t) for i, t in enumerate(self.trials) if _counts(t)]

    def usable(self) -> list[tuple[int, Mapping[str, Any]]]:
        """(position, trial) of the trials that count: finished, finite, no constraint violated."""
        return self._usable


@dataclass(frozen=True)
class Run:
    """The seeds of one method on one task.

    directions: of further metrics, where the run says so ('minimize', 'maximize').
    origin: 'run' for a folder of search.run, 'journal' for a file written by search.Study, 'optuna' for another Optuna
        storage.
    address, study: of the storage, as they may be shown.
    """

    label: str
    path: Path
    seeds: tuple[SeedRun, ...]
    control: bool = False
    task: str = ""
    metric: str = "value"
    direction: str = "maximize"
    optimum: float | None = None
    directions: Mapping[str, str] = field(default_factory=dict)
    origin: str = "run"
    address: str = ""
    study: str = ""

    @property
    def length(self) -> int:
        """Evaluations of the longest seed."""
        return max((len(s.trials) for s in self.seeds), default=0)

    @property
    def sign(self) -> float:
        """+1 for maximised metrics, -1 for minimised ones."""
        return -1.0 if self.direction == "minimize" else 1.0

    def anytime(self, length: int | None = None) -> np.ndarray:
        """Best value so far after each trial, float64 (seeds, length); NaN before the first usable and past the end.

        Only an exhausted space keeps its last value: nobody knows what a search of 60 evaluations would have after 80.
        """
        length = length or self.length
        out = np.full((len(self.seeds), length), np.nan)
        for row, seed in zip(out, self.seeds, strict=True):
            for i, trial in seed.usable():
                if i < length:
                    row[i] = float(trial["value"]) * self.sign
            row[:] = np.fmax.accumulate(row)
            if not seed.exhausted:
                row[len(seed.trials) :] = np.nan
        return out * self.sign

    def best(self) -> list[Mapping[str, Any] | None]:
        """The best usable trial of each seed (the earlier one when equal), None where there is none."""
        return [
            max((t for _, t in s.usable()), key=lambda t: float(t["value"]) * self.sign, default=None)
            for s in self.seeds
        ]

    def reached(self, value: float) -> list[int | None]:
        """The evaluation at which each seed was first as good as `value`, counted from 1 (None: never)."""
        good = self.anytime() * self.sign >= value * self.sign
        return [int(row.argmax()) + 1 if row.any() else None for row in good]

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

    def text(self, digits: int, of: int = 0) -> str:
        """'73.21 [73.10, 73.33]', without brackets for one seed, an en dash for none.

        of: how many seeds there are; a mean over fewer says so ('73.21 (1 of 3 seeds)').
        """
        if self.seeds == 0:
            return "–"
        fewer = f" ({self.seeds} of {of} seeds)" if self.seeds < of else ""
        if self.seeds == 1:
            return f"{self.mean:.{digits}f}{fewer}"
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]{fewer}"


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
        """Evaluations at which the table is read: the usual ones that were reached, and where runs end.

        Of many different ends the first and the last are taken.
        """
        ends = sorted({r.length for r in self.runs} - {0})
        chosen = ends if len(ends) <= MOST_ENDS else [ends[0], ends[-1]]
        return sorted({c for c in CHECKPOINTS if ends and c <= ends[-1]} | set(chosen))

    def digits(self) -> int:
        """Decimals that show the differences between final values."""
        return self._digits

    @cached_property
    def _digits(self) -> int:
        finals = [v for r in self.runs for v in final_values(r)]
        spread = float(np.ptp(finals)) if finals else 0.0
        spread = spread if spread > 0 else max(map(abs, finals), default=0.0) or 1.0
        return int(np.clip(2 - math.floor(math.log10(max(spread, 1e-6))), 2, 6))


def bootstrap(values: Sequence[float] | np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
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
    """Mean, low and high of curves (seeds, length) per column over the seeds that have a value there; three float64
    (length,), NaN where none has.
    """
    there = np.isfinite(curves)
    values, count = np.where(there, curves, 0.0), there.sum(axis=0)
    mean = np.where(count > 0, values.sum(axis=0) / np.maximum(count, 1), np.nan)
    if len(curves) < 2:
        return mean, mean, mean
    picks = np.random.default_rng(seed).integers(len(curves), size=(resamples, len(curves)))
    weights = np.stack([(picks == i).sum(axis=1) for i in range(len(curves))], axis=1).astype(np.float64)
    drawn = weights @ there
    means = np.where(drawn > 0, (weights @ values) / np.maximum(drawn, 1), mean)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return mean, low, high


def regret(optimum: float, value: float) -> float:
    """Distance from the optimum; exactly 0 where only the rounding of a mean lies between."""
    return 0.0 if math.isclose(optimum, value, rel_tol=1e-9, abs_tol=1e-12) else abs(optimum - value)


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
