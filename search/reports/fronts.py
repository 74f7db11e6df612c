"""Second metrics of a section, and the Pareto front of its metric and one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.reports.curves import Section, constraints, pareto
from search.tables.base import natural_direction

DRAWN = 2000  # points beside the front: some 500 kB of a page, and more would be one blot


@dataclass(frozen=True)
class Point:
    """One architecture: its value, the second metric, its code (or settings) and the run that found it first."""

    value: float
    other: float
    code: str
    run: str


@dataclass(frozen=True)
class Front:
    """Everything measured of a metric pair.

    lower: whether the second metric is to be minimised.
    best: the points of `points` that no other beats in both, best value first.
    """

    metric: str
    lower: bool
    points: tuple[Point, ...]
    best: tuple[Point, ...]

    def drawn(self) -> tuple[Point, ...]:
        """The points for a plot: the front, and an even choice of the others where there are too many for a page."""
        best = set(self.best)
        others = [p for p in self.points if p not in best]
        return (*self.best, *others[:: max(1, math.ceil(len(others) / DRAWN))])


def fronts(section: Section) -> list[Front]:
    """One front for each second metric that some trial recorded, where it has at least two points."""
    found = [_front(section, metric) for metric in other_metrics(section)]
    return [f for f in found if len(f.best) > 1]


def other_metrics(section: Section) -> list[str]:
    """Names of what usable trials recorded beside the section's metric, in the order they appear."""
    names: dict[str, None] = {}
    for run in section.runs:
        for seed in run.seeds:
            for _, trial in seed.usable():
                names |= dict.fromkeys(metrics(trial))
    return [n for n in names if n != section.metric]


def metrics(trial: Mapping[str, Any]) -> dict[str, float]:
    """What a trial recorded beside its value: further metrics, and constraints that are not the slack of one of them
    (latency of latency_ms).
    """
    found: dict[str, float] = {}
    for key in ("info", "metrics"):
        extra = trial.get(key)
        if isinstance(extra, Mapping):
            found |= {
                str(k): float(v)
                for k, v in extra.items()
                if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)
            }
    return {k: v for k, v in constraints(trial).items() if not any(name.startswith(f"{k}_") for name in found)} | found


def name_of(trial: Mapping[str, Any]) -> str:
    """The code of a trial, or its settings where it has none."""
    if trial.get("code"):
        return str(trial["code"])
    arch = trial.get("arch") or {}
    return ", ".join(f"{k}={shown(v)}" for k, v in arch.items()) if isinstance(arch, Mapping) else str(arch)


def shown(option: Any) -> str:
    """An option as people write it: 0.000312 rather than 0.00031204519."""
    return f"{option:.4g}" if isinstance(option, float) else str(option)


def _front(section: Section, metric: str) -> Front:
    """The second metric goes the way the runs say, else the way of its name, else down."""
    said = next((r.directions[metric] for r in section.runs if metric in r.directions), None)
    lower = (said or natural_direction(metric)) != "maximize"
    sign = -1.0 if section.direction == "minimize" else 1.0
    found: dict[tuple[float, float, str], Point] = {}
    for run in section.runs:
        for seed in run.seeds:
            for _, trial in seed.usable():
                if metric in (more := metrics(trial)):
                    point = Point(float(trial["value"]), more[metric], name_of(trial), run.label)
                    found.setdefault((point.value, point.other, point.code), point)
    points = tuple(found.values())
    best = pareto([(p.value * sign, -p.other if lower else p.other) for p in points])
    return Front(metric, lower, points, tuple(points[i] for i in best))
