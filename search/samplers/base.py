"""A strategy of search.strategies as an Optuna sampler.

No sampler keeps state: what is suggested is a pure function of the seed and of the told trials in number order.
"""

from __future__ import annotations

import math
import os
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.samplers._base import _process_constraints_after_trial
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.samplers.axes import Axis, axes_of, level_of, suggested, value_of
from search.samplers.goals import worths
from search.samplers.union import Rule, joined, rules_of
from search.spaces import Seen, Space
from search.strategies.base import Setup, Strategy

TOLD = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Frame:
    """The space of one question and how Optuna stores each of its parameters. key: what tells two frames apart."""

    space: Space
    distributions: Mapping[str, BaseDistribution]
    key: str

    def code(self, params: Mapping[str, Any]) -> str | None:
        """The code of a trial; None when it lacks a parameter that is active, or has a value that is not listed."""
        levels = []
        for axis in self.space.axes:
            level: int | None = 0
            if axis.name in params:
                level = level_of(axis, params[axis.name], self.distributions[axis.name])
            elif axis.active is None:
                return None
            if level is None:
                return None
            levels.append(level)
        code = self.space.spell(levels)
        if len(params) < len(levels):
            arch = self.space.decode(code)
            if any(a.name not in params and a.active is not None and a.active(arch) for a in self.space.axes):
                return None
        return code

    def params(self, code: str) -> dict[str, Any]:
        """What Optuna is told for a code; values of inactive parameters are never asked for."""
        levels = zip(self.space.axes, self.space.levels(code))
        return {a.name: value_of(a, level, self.distributions[a.name]) for a, level in levels}


class StrategySampler(BaseSampler):
    """Base class: an Optuna sampler around a strategy.

    space: the parameters, known beforehand; without it, all that told trials had, see search.samplers.union.
    independent_sampler: draws what cannot be searched together (default: TPE); a warning names such a parameter once.
    constraints_func: as in Optuna's own samplers, values above 0 are violated.
    """

    def __init__(
        self,
        space: Space | None = None,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
        constraints_func: Callable[[FrozenTrial], Sequence[float]] | None = None,
    ):
        self.space = space
        self.seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        self.independent_sampler, self.constraints_func = independent_sampler, constraints_func
        self._warned: set[str] = set()
        self._frames: dict[str, tuple[Frame, Strategy]] = {}
        self._codes: dict[Any, str | None] = {}

    def strategy(self, setup: Setup) -> Strategy:
        """The strategy for a space; called once a space."""
        raise TypeError(f"{type(self).__name__} must define strategy(setup)")

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are searched together; see Optuna's BaseSampler."""
        known = joined(self._told(study, trial))
        if self.space is not None:
            return {a.name: known.get(a.name) or suggested(a) for a in self.space.axes}
        axes = {a.name: a for a in axes_of(known)}
        return {name: known[name] for name in rules_of(axes, known, self._told(study, trial))}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One suggestion for all parameters of the search space; see Optuna's BaseSampler."""
        if not search_space:
            return {}
        frame, strategy = self._frame(search_space, self._told(study, trial))
        history, taken, step = self._seen(study, trial, frame)
        suggestion = strategy.suggest(history, taken, step)
        if suggestion is None:
            return frame.params(
                frame.space.to_codes(frame.space.sample(np.random.default_rng([self.seed, step]), 1))[0]
            )
        return frame.params(suggestion.code)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """One parameter by the independent sampler; see Optuna's BaseSampler."""
        sampler = self.independent_sampler
        if sampler is None:
            number = zlib.crc32(f"{self.seed}|{trial.number}|{param_name}".encode())
            sampler = TPESampler(seed=number)
        if param_name not in self._warned and self._left_out(study, trial, param_name, param_distribution):
            self._warned.add(param_name)
            warnings.warn(
                f"parameter '{param_name}' is drawn by {type(sampler).__name__} on its own - its range or its kind"
                " changes from trial to trial, or nothing explains when it is asked for - give it one range to have it"
                " searched with the others",
                stacklevel=2,
            )
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _left_out(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> bool:
        """Whether a parameter that is known already cannot be searched together with the others as it is."""
        known = any(name in t.params for t in self._told(study, trial))
        return known and self.infer_relative_search_space(study, trial).get(name) != distribution

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Keep what the constraints are; see Optuna's BaseSampler."""
        if self.constraints_func is not None:
            _process_constraints_after_trial(self.constraints_func, study, trial, state)

    def reseed_rng(self) -> None:
        """Nothing: workers that share a study see each other's trials."""

    def _told(self, study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
        trials = study.get_trials(deepcopy=False, states=TOLD)
        return [t for t in trials if t.number != trial.number and "void" not in t.user_attrs]

    def _frame(
        self, search_space: Mapping[str, BaseDistribution], told: Sequence[FrozenTrial]
    ) -> tuple[Frame, Strategy]:
        """The space for these parameters with the rules that the told trials teach, and the strategy on it."""
        plain, rules = {}, {}
        if self.space is None or [a.name for a in self.space.axes] != list(search_space):
            plain = {a.name: a for a in axes_of(search_space)}
            rules = rules_of(plain, search_space, [t for t in told if t.params.keys() & search_space.keys()])
        key = repr((search_space, [rule and rule.key for rule in rules.values()]))
        if key not in self._frames:
            space = Space([_with(a, rules.get(name)) for name, a in plain.items()]) if plain else self.space
            assert space is not None
            frame = Frame(space, dict(search_space), key)
            self._frames = {key: (frame, self.strategy(Setup(space, self.seed)))}  # the old one would only grow old
        return self._frames[key]

    def _seen(self, study: Study, trial: FrozenTrial, frame: Frame) -> tuple[list[Seen], set[str], int]:
        """History, taken canonical codes and step: what a strategy sees. Void and foreign trials are passed over; in a
        space with ladders a running trial counts as a middling one until it is told.
        """
        codes, complete, running, taken, step = [], [], [], set(), 0
        for t in study.get_trials(deepcopy=False):
            if t.number == trial.number or "void" in t.user_attrs:
                continue
            code = self._code(study, t, frame)
            if t.state.is_finished() or code is not None:
                step += 1
            if code is not None:
                taken.add(frame.space.canonical(code))
                if t.state == TrialState.COMPLETE and all(map(math.isfinite, t.values)):
                    codes.append(code)
                    complete.append(t)
                elif t.state == TrialState.RUNNING:
                    running.append(code)
        rng = np.random.default_rng([self.seed, step, len(study.directions)])
        values = worths(complete, study.directions, rng)
        history = [Seen(c, v) for c, v in zip(codes, values)]
        if frame.space.geometry is not None and values:  # else workers would crowd around one place
            history += [Seen(c, float(np.median(values))) for c in running]
        return history, taken, step

    def _code(self, study: Study, t: FrozenTrial, frame: Frame) -> str | None:
        """The code of a trial, remembered once it is finished."""
        key = (study.study_name, t.number, frame.key)
        if key not in self._codes:
            code = frame.code(t.params)
            if not t.state.is_finished():
                return code
            if len(self._codes) > 4 * len(study.get_trials(deepcopy=False)) + 100:
                self._codes.clear()  # codes of frames that are gone
            self._codes[key] = code
        return self._codes[key]


def _with(axis: Axis, rule: Rule | None) -> Axis:
    """The axis with a rule that says when it is active."""
    return axis if rule is None else axis.under(rule)
