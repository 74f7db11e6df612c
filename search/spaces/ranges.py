"""Parameters with more values than one digit has: a ladder of levels, written as two digits or more, coarse first.

    Space([Real("lr", 1e-5, 1e-1, log=True), Integer("width", 16, 1024, log=True), Decision("act", ("relu", "gelu"))])

A code stays a string of digits: lr is a number of base 36 whose first digit says where roughly, the next how exactly.
Levels of an ordered ladder have places in [0, 1] (logarithms where it says so), so that near levels can be told from
far ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np

from search.errors import UserError
from search.spaces.decision import DIGITS, Decision

BASE = len(DIGITS)
STEPS = 12 * BASE  # levels of a continuum: 2.2 % apart on four decades, finer than an expensive evaluation can tell
MOST = BASE * BASE  # levels of an integer range; longer ranges are thinned

Active = Callable[[Mapping[str, Any]], bool]


class Ladder:
    """One parameter on several digits. Immutable.

    options: the values of the levels. places: where ordered levels lie, increasing in [0, 1], None for unordered ones.
    active says, from the decoded architecture, whether the parameter has any effect (None: always).
    """

    def __init__(
        self,
        name: str,
        options: Sequence[Any],
        places: Sequence[float] | np.ndarray | None = None,
        active: Active | None = None,
    ):
        self.name, self.options, self.active = name, tuple(options), active
        self.places = None if places is None else np.asarray(places, dtype=np.float64)
        if not self.options:
            raise UserError(f"parameter '{name}' has no value - at least one is needed")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.options)} levels)"

    @cached_property
    def digits(self) -> tuple[Decision, ...]:
        """The digits that spell a level, most significant first; only the first may have fewer than 36 options."""
        if len(self.options) <= BASE:
            return (Decision(self.name, self.options),)
        below = 1
        while len(self.options) > below * BASE:
            below *= BASE
        spelled = [Decision(f"{self.name}.1", self.options[::below])]
        while below > 1:
            spelled.append(Decision(f"{self.name}.{len(spelled) + 1}", tuple(range(BASE))))
            below //= BASE
        return tuple(spelled)

    def under(self, active: Active) -> Ladder:
        """The same ladder, active where that says so."""
        other = copy(self)
        other.active = active
        return other

    def level(self, value: Any) -> int | None:
        """The level nearest to a number of an ordered ladder; the level of exactly this value else, None if there is
        none.
        """
        value = value.item() if isinstance(value, np.generic) else value
        if (value, type(value)) in self._index:
            return self._index[value, type(value)]
        if (
            self.places is None
            or self._numbers is None
            or isinstance(value, bool)
            or not isinstance(value, (int, float))
        ):
            return None
        place = float(np.interp(value, self._numbers, self.places))
        return int(np.abs(self.places - place).argmin())

    def draw(self, shares: np.ndarray) -> np.ndarray:
        """Levels of uniform shares in [0, 1): evenly over the places of an ordered ladder, over the levels else."""
        count = len(self.options)
        if self.places is None or count == 1:
            return (shares * count).astype(np.int64)
        return np.searchsorted(self._borders, shares * (self._borders[-1] - self._borders[0]) + self._borders[0]) - 1

    def place(self, levels: np.ndarray) -> np.ndarray:
        """Where levels of an ordered ladder lie, float64."""
        assert self.places is not None
        return self.places[levels]

    def near(self, places: np.ndarray) -> np.ndarray:
        """The levels of an ordered ladder nearest to these places, int64."""
        return np.clip(np.searchsorted(self._borders, places) - 1, 0, len(self.options) - 1)

    @cached_property
    def _borders(self) -> np.ndarray:
        """Between the places of neighbours, and as far beyond the first and the last; float64 (levels + 1,)."""
        assert self.places is not None
        if len(self.places) == 1:
            return np.array([0.0, 1.0])
        middle = (self.places[1:] + self.places[:-1]) / 2
        return np.concatenate([[2 * self.places[0] - middle[0]], middle, [2 * self.places[-1] - middle[-1] + 1e-9]])

    @cached_property
    def _index(self) -> dict[tuple[Any, type], int]:
        try:
            return {(o, type(o)): i for i, o in enumerate(self.options)}
        except TypeError:
            raise UserError(
                f"parameter '{self.name}' has options that cannot be compared - use numbers or text"
            ) from None

    @cached_property
    def _numbers(self) -> np.ndarray | None:
        if self.places is None or not all(isinstance(o, (int, float)) for o in self.options):
            return None
        return np.array(self.options, dtype=np.float64)


class Real(Ladder):
    """A float between low and high, both included, in 432 levels; log: evenly in the logarithm."""

    def __init__(self, name: str, low: float, high: float, log: bool = False, active: Active | None = None):
        low, high = self.low, self.high = _checked(name, low, high, log)
        self.log = log
        places = np.linspace(0.0, 1.0, STEPS if high > low else 1)
        values = np.exp(_mix(math.log(low), math.log(high), places)) if log else _mix(low, high, places)
        inner = [min(high, max(low, float(v))) for v in values[1:-1]]
        super().__init__(name, [low, *inner, high] if high > low else [low], places, active)


class Integer(Ladder):
    """A whole number between low and high, both included, in steps; ranges of more than 1,296 values are thinned."""

    def __init__(self, name: str, low: int, high: int, log: bool = False, step: int = 1, active: Active | None = None):
        _checked(name, low, high, log)
        if not (isinstance(low, int) and isinstance(high, int) and isinstance(step, int) and step >= 1):
            raise UserError(
                f"integer '{name}' was given {low!r} to {high!r} in steps of {step!r} - whole numbers are allowed"
            )
        self.low, self.high, self.log, self.step = low, high, log, step
        values = np.arange(low, high + 1, step)
        if len(values) > MOST:
            even = np.geomspace(low, high, MOST) if log else np.linspace(low, high, MOST)
            values = np.unique(low + np.rint((even - low) / step).astype(np.int64) * step)
            values = values[values <= high]
        size = np.log(values) if log else values.astype(np.float64)
        places = (size - size[0]) / max(float(size[-1] - size[0]), 1e-12)
        super().__init__(name, [int(v) for v in values], places, active)


class Choice(Ladder):
    """One of many options (more than a decision can have); ordered: near options of the list are alike."""

    def __init__(self, name: str, options: Sequence[Any], ordered: bool = False, active: Active | None = None):
        options = tuple(options)
        super().__init__(name, options, np.linspace(0.0, 1.0, len(options)) if ordered else None, active)
        if len(self._index) != len(options):
            raise UserError(f"parameter '{name}' lists an option twice - options must differ")


def _mix(low: float, high: float, share: np.ndarray) -> np.ndarray:
    return low * (1 - share) + high * share


def _checked(name: str, low: float, high: float, log: bool) -> tuple[float, float]:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise UserError(f"parameter '{name}' was given {low!r} to {high!r} - low must not exceed high, both finite")
    if log and low <= 0:
        raise UserError(f"parameter '{name}' was given log=True from {low!r} - a logarithm needs values above 0")
    return float(low), float(high)
