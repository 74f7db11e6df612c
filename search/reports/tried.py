"""What was tried of each decision, and how much each decision matters.

The importance is that of a simple surrogate: ridge regression on one indicator per option (main effects, no
interactions) of everything that was evaluated, the values on a scale that outliers cannot dominate. How far it may be
trusted is its leave-one-out rank correlation, which stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.rankers.regression import one_hot, rank_skill, ridge, scale_values
from search.reports.curves import Section
from search.reports.fronts import shown

LEVELS = 6  # ranges of a numeric decision that has more values than FEW
FEW = 8
ENOUGH = 12  # evaluations below which nothing is said about importance
MOST = 4000  # evaluations that the surrogate reads; a linear solve stays below a second
MISSING = "not set"


@dataclass(frozen=True)
class Option:
    """One option (or range) of a decision.

    tried: evaluations that had it.
    mean, best: of their values.
    effect: its main effect in the surrogate's units, higher is better (0 where it has no say).
    """

    label: str
    tried: int
    mean: float
    best: float
    chosen: bool
    effect: float = 0.0


@dataclass(frozen=True)
class Decided:
    """One decision.

    share: of all decisions' importance, 0-1 (NaN: not computed).
    """

    name: str
    options: tuple[Option, ...]
    share: float = math.nan


@dataclass(frozen=True)
class Tried:
    """All decisions of a section.

    evaluations: distinct usable ones.
    skill: leave-one-out rank correlation of the surrogate (NaN: no surrogate).
    """

    decisions: tuple[Decided, ...]
    evaluations: int
    skill: float = math.nan

    @property
    def explained(self) -> bool:
        """Whether there is an importance to show."""
        return math.isfinite(self.skill)


def tried(section: Section, winner: Mapping[str, Any] | None) -> Tried | None:
    """What the runs of a section evaluated, each architecture once; None when no trial names its options."""
    found: dict[str, tuple[Mapping[str, Any], float]] = {}
    for run in section.runs:
        for seed in run.seeds:
            for _, trial in seed.usable():
                arch = trial.get("arch")
                if isinstance(arch, Mapping) and arch:
                    found.setdefault(repr(sorted(arch.items(), key=str)), (arch, float(trial["value"])))
    if not found:
        return None
    rows = list(found.values())
    names = list(dict.fromkeys(name for arch, _ in rows for name in arch))
    values = np.array([v for _, v in rows])
    top: Any = winner.get("arch") if winner and isinstance(winner.get("arch"), Mapping) else {}
    columns = [
        _levels([_plain(arch.get(name, MISSING)) for arch, _ in rows], _plain(top.get(name, MISSING))) for name in names
    ]
    sign = -1.0 if section.direction == "minimize" else 1.0
    effects, skill = _effects(np.stack([c.level for c in columns], axis=1), [len(c.labels) for c in columns], values)
    decisions = [_decided(name, column, values, sign, e * sign) for name, column, e in zip(names, columns, effects)]
    total = sum(np.std(e) for e in effects)
    if math.isfinite(skill) and total > 0:
        shares = [float(np.std(e) / total) for e in effects]
        decisions = [Decided(d.name, d.options, s) for d, s in zip(decisions, shares)]
    else:
        skill = math.nan
    return Tried(tuple(decisions), len(rows), skill)


@dataclass(frozen=True)
class _Column:
    """labels of the levels of one decision; level of every evaluation, int64 (n,).

    chosen: the winner's level.
    """

    labels: tuple[str, ...]
    level: np.ndarray
    chosen: int


def _plain(option: Any) -> float | int | str:
    """A finite number as it is, anything else as text."""
    number = isinstance(option, (int, float)) and not isinstance(option, bool) and math.isfinite(option)
    return option if number else str(option)


def _levels(options: Sequence[Any], top: Any) -> _Column:
    """Options as levels: numbers in their order (in ranges of equal counts when there are many), others by name."""
    numbers = [o for o in options if not isinstance(o, str)]
    names = sorted({o for o in options if isinstance(o, str)} - {MISSING}) + [MISSING] * (MISSING in options)
    distinct = sorted(set(numbers))
    if len(distinct) > FEW and set(names) <= {MISSING}:
        return _ranges(options, numbers, top)
    place = {o: i for i, o in enumerate([*distinct, *names])}
    labels = (*(shown(n) for n in distinct), *names)
    return _Column(labels, np.array([place[o] for o in options]), place.get(top, -1))


def _ranges(options: Sequence[Any], numbers: Sequence[float], top: Any) -> _Column:
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, LEVELS + 1)))
    inner = edges[1:-1]
    labels = [f"{a:.3g} – {b:.3g}" for a, b in zip(edges[:-1].tolist(), edges[1:].tolist())]
    level = [len(labels) if o == MISSING else int(np.searchsorted(inner, o, side="right")) for o in options]
    labels += [MISSING] * (MISSING in options)
    chosen = -1 if isinstance(top, str) else int(np.searchsorted(inner, top, side="right"))
    return _Column(tuple(labels), np.array(level), chosen)


def _effects(levels: np.ndarray, sizes: Sequence[int], values: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Main effect of each level of each decision (mean 0 over what was tried), and the surrogate's skill."""
    nothing = [np.zeros(n) for n in sizes]
    if len(values) < ENOUGH or np.ptp(values) <= 0:
        return nothing, math.nan
    kept = np.linspace(0, len(values) - 1, min(len(values), MOST)).astype(int)
    y = scale_values(values[kept])
    x = one_hot(levels[kept], sizes)
    fit = ridge(x, y, np.concatenate([np.zeros((1, x.shape[1])), np.eye(x.shape[1])]))
    raw = np.split(fit.mean[1:] - fit.mean[0], np.cumsum(sizes)[:-1])
    shares = np.split(x.mean(axis=0), np.cumsum(sizes)[:-1])
    return [e - float(e @ s) for e, s in zip(raw, shares)], rank_skill(fit.loo, y)


def _decided(name: str, column: _Column, values: np.ndarray, sign: float, effects: np.ndarray) -> Decided:
    options = []
    for i, label in enumerate(column.labels):
        own = values[column.level == i]
        mean, best = (float(own.mean()), float((own * sign).max() * sign)) if len(own) else (math.nan, math.nan)
        options.append(Option(label, len(own), mean, best, i == column.chosen, float(effects[i])))
    return Decided(name, tuple(options))
