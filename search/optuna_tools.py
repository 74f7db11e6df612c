"""Between a space and Optuna: parameters and codes turned into each other, and Optuna kept quiet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.spaces import DIGITS, Decision, Integer, Ladder, Real, Space

SCALARS = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class Layout:
    """How Optuna stores the codes of a space. distributions: one per stored parameter."""

    space: Space
    distributions: dict[str, BaseDistribution]

    def params(self, code: str) -> dict[str, Any]:
        """What is stored for a code: the values themselves, so that every tool of Optuna shows them."""
        chosen = zip(self.space.axes, self.space.levels(code))
        return {a.name: _stored(a, level, self.distributions[a.name]) for a, level in chosen}

    def code(self, params: Mapping[str, Any]) -> str:
        """The code of stored parameters; numbers between two levels count as the nearer one."""
        return self.space.spell([self._level(a, params[a.name]) for a in self.space.axes])

    def _level(self, axis: Decision | Ladder, value: Any) -> int:
        stored = self.distributions[axis.name]
        if isinstance(stored, CategoricalDistribution):
            return int(stored.to_internal_repr(value))
        assert isinstance(axis, Ladder)
        level = axis.level(value)
        assert level is not None
        return level


class Numbered(Layout):
    """The layout of studies that were started before values were stored: the option number of every digit."""

    def params(self, code: str) -> dict[str, Any]:
        return {d.name: DIGITS.index(c) for d, c in zip(self.space.decisions, code)}

    def code(self, params: Mapping[str, Any]) -> str:
        return "".join(DIGITS[params[d.name]] for d in self.space.decisions)


def layout(space: Space) -> Layout:
    """Ranges as ranges, options as choices, or their texts where Optuna cannot hold the options themselves."""
    return Layout(space, {a.name: distribution_of(a) for a in space.axes})


def numbered(space: Space) -> Numbered:
    """The older layout: one categorical parameter per digit whose choices are option numbers."""
    return Numbered(space, {d.name: CategoricalDistribution(tuple(range(len(d.options)))) for d in space.decisions})


def distribution_of(axis: Decision | Ladder) -> BaseDistribution:
    """How Optuna stores one parameter."""
    if isinstance(axis, Real):
        return FloatDistribution(axis.low, axis.high, log=axis.log)
    if isinstance(axis, Integer):
        return IntDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
    return CategoricalDistribution(_choices(axis.options))


def _texts(options: tuple[str, ...]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    out = []
    for text in options:
        seen[text] = seen.get(text, 0) + 1
        out.append(text if seen[text] == 1 else f"{text} #{seen[text]}")
    return tuple(out)


def _choices(options: tuple[Any, ...]) -> tuple[Any, ...]:
    """The options where Optuna can store them and tell them apart (1, 1.0 and True are one to it), else their texts."""
    plain = all(isinstance(o, SCALARS) for o in options)
    if plain and len(set(options)) == len(options) and all(o == o for o in options):
        return options
    return _texts(tuple(map(str, options)))


def _stored(axis: Decision | Ladder, level: int, distribution: BaseDistribution) -> Any:
    return distribution.choices[level] if isinstance(distribution, CategoricalDistribution) else axis.options[level]


@contextmanager
def quiet() -> Iterator[None]:
    """No information lines from Optuna inside the block; the user's own verbosity comes back after it."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
