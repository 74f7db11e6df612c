"""The parameters of a study that can be searched together, also those inside an `if`.

Every parameter that a told trial had is part of one space. A trial without it had it inactive, and the rest of the
trial must say why: a rule `active where OTHER has these values` that no told trial contradicts. A parameter without a
rule, or whose distribution changed in kind, is left to the independent sampler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.trial import FrozenTrial

from search.samplers.axes import Axis, level_of
from search.spaces import Ladder


def joined(trials: Sequence[FrozenTrial]) -> dict[str, BaseDistribution]:
    """Every parameter that occurs, by name; a numeric range that changes counts from its lowest to its highest end."""
    found: dict[str, BaseDistribution | None] = {}
    for t in trials:
        for name, d in t.distributions.items():
            known = found.setdefault(name, d)
            if known is not None and known != d:
                found[name] = _hull(known, d)
    return {name: d for name, d in sorted(found.items()) if d is not None}


def _hull(a: BaseDistribution, b: BaseDistribution) -> BaseDistribution | None:
    """One range around both, None where they cannot be one parameter."""
    try:
        check_distribution_compatibility(a, b)
    except ValueError:
        return None
    if isinstance(a, CategoricalDistribution) or a.step != b.step:
        return None
    low, high = min(a.low, b.low), max(a.high, b.high)
    if a.step is not None and abs((a.low - b.low) / a.step - round((a.low - b.low) / a.step)) > 1e-6:
        return None
    kind = IntDistribution if isinstance(a, IntDistribution) else FloatDistribution
    return kind(low, high, log=a.log, step=a.step)


@dataclass(frozen=True)
class Rule:
    """Says from an architecture whether a parameter has any effect.

    parent: the axis that decides. seen: its told levels, and whether the parameter was there. above: the parent's own
    rule. orphan: whether the parameter is there where the parent is not. A level that nobody tried counts as its
    nearest told one where levels are ordered, else as active, so that it is tried.
    """

    parent: Axis
    seen: Mapping[int, bool]
    above: Rule | None = None
    orphan: bool = False

    def __call__(self, arch: Mapping[str, Any]) -> bool:
        if self.above is not None and not self.above(arch):
            return self.orphan
        value = arch[self.parent.name]
        level = self.parent.level(value) if isinstance(self.parent, Ladder) else self.parent.options.index(value)
        if level is None or level in self.seen:
            return level is None or self.seen[level]
        if isinstance(self.parent, Ladder) and self.parent.places is not None:
            return self.seen[min(self.seen, key=lambda known: abs(known - level))]
        return True

    @property
    def key(self) -> tuple:
        """What tells two rules apart."""
        return self.parent.name, tuple(sorted(self.seen.items())), self.orphan, self.above and self.above.key


def rules_of(
    axes: Mapping[str, Axis], distributions: Mapping[str, BaseDistribution], trials: Sequence[FrozenTrial]
) -> dict[str, Rule | None]:
    """The rule of each parameter, None for those that every trial has; parameters that no rule explains are left out.

    Trials must be told ones (complete or pruned).
    """
    levels = {
        name: [level_of(axis, t.params[name], distributions[name]) if name in t.params else None for t in trials]
        for name, axis in axes.items()
    }
    count = {name: sum(name in t.params for t in trials) for name in axes}
    rules: dict[str, Rule | None] = {name: None for name in axes if count[name] == len(trials)}
    for name in sorted((n for n in axes if n not in rules), key=lambda n: (-count[n], n)):
        there = [name in t.params for t in trials]
        found = {parent: _rule(axes[parent], rules[parent], levels[parent], there) for parent in rules}
        fits = [(_effort(axes[p], r, _before(p, name, trials)), p, r) for p, r in found.items() if r]
        if fits:
            rules[name] = min(fits, key=lambda f: f[:2])[2]
    return {name: rules[name] for name in axes if name in rules}


def _rule(parent: Axis, above: Rule | None, levels: Sequence[int | None], there: Sequence[bool]) -> Rule | None:
    """The rule by this parent, None when a trial contradicts it."""
    found: dict[int | None, bool] = {}
    for level, active in zip(levels, there):
        if found.setdefault(level, active) != active:
            return None
    seen = {level: active for level, active in found.items() if level is not None}
    return Rule(parent, seen, above, found.get(None, False)) if seen else None


def _effort(parent: Axis, rule: Rule, before: bool) -> tuple[bool, int, int]:
    """How far-fetched a rule is: parents that are asked for first, few changes along the levels, few options."""
    along = [active for _, active in sorted(rule.seen.items())]
    return not before, sum(a != b for a, b in zip(along, along[1:])), len(parent.options)


def _before(parent: str, child: str, trials: Sequence[FrozenTrial]) -> bool:
    """Whether trials ask for the parent first."""
    for t in trials:
        if parent in t.params and child in t.params:
            names = list(t.params)
            return names.index(parent) < names.index(child)
    return True
