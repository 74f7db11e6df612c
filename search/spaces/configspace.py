"""ConfigSpace's spaces as ours: `space = from_configspace(ConfigSpace.ConfigurationSpace.from_yaml("space.yaml"))`.

Uniform, normal and beta ranges, categories, ordinals and constants become decisions and ladders, conditions become
`active`. ConfigSpace itself is only needed by whoever has such a space (extra `configspace`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.errors import UserError
from search.spaces.decision import DIGITS, Decision
from search.spaces.ranges import Active, Choice, Integer, Ladder, Real
from search.spaces.space import Space


def from_configspace(configuration_space: Any, name: str = "") -> Space:
    """The space with the same parameters and conditions; UserError for forbidden clauses, which have no counterpart.

    Distributions other than uniform keep their range, not their shape.
    """
    if list(configuration_space.forbidden_clauses):
        clause = str(list(configuration_space.forbidden_clauses)[0])
        raise UserError(
            f"the configuration space forbids something ({clause}) - a Space has no forbidden clauses - leave them out"
            " and give Study(feasible=...) a function that refuses such codes"
        )
    conditions: dict[str, list[Any]] = {}
    for condition in configuration_space.conditions:
        conditions.setdefault(condition.child.name, []).append(condition)
    rules: dict[str, Active] = {}
    for parameter in configuration_space.values():
        if parameter.name in conditions:
            rules[parameter.name] = _Conditions(conditions[parameter.name], rules)
    return Space(
        [_axis(p, rules.get(p.name)) for p in configuration_space.values()], name or str(configuration_space.name or "")
    )


class _Conditions:
    """Whether every condition of a parameter holds, and its parents are active themselves."""

    def __init__(self, conditions: list[Any], rules: Mapping[str, Active]):
        self.conditions, self.rules = conditions, rules

    def __call__(self, arch: Mapping[str, Any]) -> bool:
        for condition in self.conditions:
            for part in getattr(condition, "dlcs", [condition]):
                parent = part.parent.name
                if parent in self.rules and not self.rules[parent](arch):
                    return False
            if not condition.satisfied_by_value(dict(arch)):
                return False
        return True


def _axis(p: Any, active: Active | None) -> Decision | Ladder:
    if hasattr(p, "choices"):
        options = tuple(_plain(c) for c in p.choices)
        return (
            Decision(p.name, options, active) if len(options) <= len(DIGITS) else Choice(p.name, options, False, active)
        )
    if hasattr(p, "sequence"):
        return Choice(p.name, tuple(_plain(c) for c in p.sequence), True, active)
    if hasattr(p, "lower"):
        low, high = _plain(p.lower), _plain(p.upper)
        kind = Integer if isinstance(low, int) else Real
        return kind(p.name, low, high, bool(getattr(p, "log", False)), active=active)
    return Decision(p.name, (_plain(p.value),), active)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
