"""Optuna's distributions as axes of our spaces: digits for short lists, ladders for what is longer, continuous or
logarithmic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.optuna_tools import SCALARS, distribution_of
from search.spaces import DIGITS, Choice, Decision, Integer, Ladder, Real
from search.spaces.ranges import MOST

Axis = Decision | Ladder


def options_of(distribution: BaseDistribution) -> tuple[Any, ...] | None:
    """The values of a parameter, None when there are more than 36 or a continuum."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices if len(distribution.choices) <= len(DIGITS) else None
    if distribution.single():
        return (distribution.low,)
    if isinstance(distribution, (IntDistribution, FloatDistribution)) and distribution.step is not None:
        return _stepped(distribution) if _steps(distribution) <= len(DIGITS) else None
    return None


def axes_of(distributions: Mapping[str, BaseDistribution]) -> list[Axis]:
    """One axis per parameter: plain decisions if every parameter can be listed, else ladders for all that is ordered.

    A space of short lists stays what it always was: digits whose order means nothing.
    """
    if all(options_of(d) and not getattr(d, "log", False) for d in distributions.values()):
        return [Decision(name, options_of(d) or ()) for name, d in distributions.items()]
    return [_axis(name, d) for name, d in distributions.items()]


def _axis(name: str, d: BaseDistribution) -> Axis:
    if isinstance(d, CategoricalDistribution):
        numbers = [c for c in d.choices if isinstance(c, (int, float)) and not isinstance(c, bool)]
        ordered = len(numbers) == len(d.choices) and all(a < b for a, b in zip(numbers, numbers[1:]))
        return (
            Choice(name, d.choices, ordered) if ordered or len(d.choices) > len(DIGITS) else Decision(name, d.choices)
        )
    if d.single():
        return Decision(name, (d.low,))
    if isinstance(d, IntDistribution):
        return Integer(name, d.low, d.high, d.log, d.step)
    if d.step is None:
        return Real(name, d.low, d.high, d.log)
    options = _stepped(d)
    return Ladder(name, options, [(o - d.low) / (d.high - d.low) for o in options])


def _steps(d: IntDistribution | FloatDistribution) -> int:
    return int(math.floor((d.high - d.low) / d.step + 1e-9)) + 1


def _stepped(d: IntDistribution | FloatDistribution) -> tuple[Any, ...]:
    """The values of a stepped range, thinned evenly to what two digits hold."""
    count = _steps(d)
    wanted = range(count) if count <= MOST else sorted({round(i * (count - 1) / (MOST - 1)) for i in range(MOST)})
    values = tuple(min(d.high, d.low + i * d.step) for i in wanted)
    return tuple(map(int, values)) if isinstance(d, IntDistribution) else values


def suggested(axis: Axis) -> BaseDistribution:
    """What an objective asks for by a parameter of a given space: ranges, options where Optuna can hold them, else
    their numbers.
    """
    if isinstance(axis, (Real, Integer)) or all(isinstance(o, SCALARS) for o in axis.options):
        return distribution_of(axis)
    return CategoricalDistribution(tuple(range(len(axis.options))))


def value_of(axis: Axis, level: int, distribution: BaseDistribution) -> Any:
    """What Optuna is told for a level."""
    return distribution.choices[level] if isinstance(distribution, CategoricalDistribution) else axis.options[level]


def level_of(axis: Axis, value: Any, distribution: BaseDistribution) -> int | None:
    """The level of a value in a trial, None when it is not (or no longer) one of the axis."""
    if isinstance(axis, Ladder) and getattr(distribution, "choices", axis.options) == axis.options:
        return axis.level(value)
    return _index(value, getattr(distribution, "choices", axis.options))


def _index(value: Any, options: Sequence[Any]) -> int | None:
    """The position of a value; stepped floats are compared up to rounding."""
    for i, option in enumerate(options):
        if option is value or (type(option) is type(value) and option == value):
            return i
        if type(option) is type(value) is float and math.isclose(option, value, rel_tol=1e-9, abs_tol=1e-12):
            return i
    return None
