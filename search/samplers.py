"""Our strategies as Optuna samplers: `optuna.create_study(sampler=LMSearcherSampler(seed=0))`.

They work on every study with one objective, whatever its storage, in `optimize` and in ask/tell. Parameters with at
most 36 values (categorical, integers, floats with a step) are searched together; the others are drawn independently,
uniformly.
No sampler keeps state: what is suggested is a pure function of the seed and of the told trials in number order.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.rankers import Context, default_ranker, make_ranker
from search.rankers.base import Ranker
from search.spaces import DIGITS, Decision, Seen, Space
from search.strategies.base import Setup, Strategy
from search.strategies.classical import LocalSearch, RegularizedEvolution
from search.strategies.lmsearch import LMSearch

SCALARS = (type(None), bool, int, float, str)


def options_of(distribution: BaseDistribution) -> tuple[Any, ...] | None:
    """The values of a parameter, None when there are more than 36 or a continuum."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices if len(distribution.choices) <= len(DIGITS) else None
    if distribution.single():
        return (distribution.low,)
    if isinstance(distribution, (IntDistribution, FloatDistribution)) and distribution.step is not None:
        count = int(math.floor((distribution.high - distribution.low) / distribution.step + 1e-9)) + 1
        values = (
            tuple(min(distribution.high, distribution.low + i * distribution.step) for i in range(count))
            if count <= len(DIGITS)
            else None
        )
        return tuple(map(int, values)) if values and isinstance(distribution, IntDistribution) else values
    return None


class StrategySampler(BaseSampler):
    """Base class: an Optuna sampler around a strategy.

    Without a space, it uses the parameters that all told trials share.
    """

    def __init__(self, space: Space | None = None, seed: int | None = None):
        self.space = space
        self.seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        self._shared = IntersectionSearchSpace(include_pruned=True)
        self._strategies: dict[Any, Strategy] = {}
        self._codes: dict[Any, str | None] = {}

    def strategy(self, setup: Setup) -> Strategy:
        """The strategy for a space; called once a space."""
        raise TypeError(f"{type(self).__name__} must define strategy(setup)")

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are searched together; see Optuna's BaseSampler."""
        _one_objective(study)
        shared = self._shared.calculate(study)
        if self.space is None:
            return {name: d for name, d in shared.items() if options_of(d)}
        return {d.name: shared.get(d.name) or _categorical(d) for d in self.space.decisions}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One suggestion for all listable parameters of the search space; see Optuna's BaseSampler."""
        _one_objective(study)
        if not search_space:
            return {}
        listable = {name: options for name, d in search_space.items() if (options := options_of(d))}
        params = {n: self.sample_independent(study, trial, n, d) for n, d in search_space.items() if n not in listable}
        if not listable:
            return params
        strategy = self._strategy_for(listable)
        history, taken, step = self._told(study, trial, strategy.setup.space, listable)
        suggestion = strategy.suggest(history, taken, step)
        if suggestion is None:
            code = strategy.setup.space.to_codes(
                strategy.setup.space.sample(np.random.default_rng([self.seed, step]), 1)
            )[0]
        else:
            code = suggestion.code
        return params | {name: options[DIGITS.index(c)] for (name, options), c in zip(listable.items(), code)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Uniform over one parameter (log-uniform where it says so); see Optuna's BaseSampler."""
        _one_objective(study)
        rng = np.random.default_rng([self.seed, trial.number, zlib.crc32(param_name.encode())])
        options = options_of(param_distribution)
        if options is not None:
            return options[int(rng.integers(len(options)))]
        d = param_distribution
        if isinstance(d, CategoricalDistribution):
            return d.choices[int(rng.integers(len(d.choices)))]
        if isinstance(d, IntDistribution):
            if d.log:
                return int(
                    min(d.high, max(d.low, round(math.exp(rng.uniform(math.log(d.low - 0.5), math.log(d.high + 0.5))))))
                )
            return d.low + d.step * int(rng.integers((d.high - d.low) // d.step + 1))
        if d.step is not None:
            return float(min(d.high, d.low + d.step * int(rng.integers(int((d.high - d.low) / d.step + 1e-9) + 1))))
        value = math.exp(rng.uniform(math.log(d.low), math.log(d.high))) if d.log else rng.uniform(d.low, d.high)
        return float(min(d.high, max(d.low, value)))

    def _strategy_for(self, listable: Mapping[str, tuple[Any, ...]]) -> Strategy:
        key = repr(listable)
        if key not in self._strategies:
            space = self.space
            if space is None or [d.name for d in space.decisions] != list(listable):
                space = Space([Decision(name, options) for name, options in listable.items()])
            self._strategies[key] = self.strategy(Setup(space, self.seed))
        return self._strategies[key]

    def _told(
        self, study: Study, trial: FrozenTrial, space: Space, listable: Mapping[str, tuple[Any, ...]]
    ) -> tuple[list[Seen], set[str], int]:
        """History, taken canonical codes and step: what a strategy sees. Void and foreign trials are passed over."""
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        history, taken, step, question = [], set(), 0, repr(listable)
        for t in study.get_trials(deepcopy=False):
            if t.number == trial.number or "void" in t.user_attrs:
                continue
            code = self._code(study, t, question, listable)
            if t.state.is_finished() or code is not None:
                step += 1
            if code is not None:
                taken.add(space.canonical(code))
                if t.state == TrialState.COMPLETE and math.isfinite(t.value):
                    history.append(Seen(code, sign * t.value))
        return history, taken, step

    def _code(self, study: Study, t: FrozenTrial, question: str, listable: Mapping[str, tuple[Any, ...]]) -> str | None:
        """The code of a trial, None when it lacks a parameter or has a value that is no longer listed; remembered once
        finished.
        """
        key = (study.study_name, t.number, question)
        if key not in self._codes:
            code = _encode(t.params, listable)
            if not t.state.is_finished():
                return code
            self._codes[key] = code
        return self._codes[key]


def _encode(params: Mapping[str, Any], listable: Mapping[str, tuple[Any, ...]]) -> str | None:
    digits = []
    for name, options in listable.items():
        if name not in params:
            return None
        index = _index(params[name], options)
        if index is None:
            return None
        digits.append(DIGITS[index])
    return "".join(digits)


def _index(value: Any, options: Sequence[Any]) -> int | None:
    """The position of a value; stepped floats are compared up to rounding."""
    for i, option in enumerate(options):
        if option is value or (type(option) is type(value) and option == value):
            return i
        if type(option) is type(value) is float and math.isclose(option, value, rel_tol=1e-9, abs_tol=1e-12):
            return i
    return None


def _categorical(decision: Decision) -> CategoricalDistribution:
    """Choices are the options themselves where Optuna can store them, else their numbers."""
    plain = all(isinstance(o, SCALARS) for o in decision.options)
    return CategoricalDistribution(decision.options if plain else tuple(range(len(decision.options))))


def _one_objective(study: Study) -> None:
    if len(study.directions) > 1:
        raise ValueError(
            f"the study has {len(study.directions)} objectives - this sampler works with one - use NSGAIISampler for"
            " several"
        )


class LMSearcherSampler(StrategySampler):
    """The paper's loop as an Optuna sampler: a pool of fresh candidates, a ranker chooses.

    ranker: a spec such as 'surrogate', 'nano', 'chat:YAML', 'endpoint:URL#MODEL', or a Ranker (default: nano where it
        is shipped, else surrogate).
    proposal, candidates, warmup: as in `python -m search.run`. seed=None draws one.
    """

    def __init__(
        self,
        space: Space | None = None,
        *,
        ranker: str | Ranker | None = None,
        proposal: str = "mixed",
        candidates: int = 10,
        warmup: int = 5,
        prompt_format: str | None = None,
        seed: int | None = None,
    ):
        super().__init__(space, seed)
        self.ranker, self.proposal, self.candidates, self.warmup, self.prompt_format = (
            ranker,
            proposal,
            candidates,
            warmup,
            prompt_format,
        )

    def strategy(self, setup: Setup) -> Strategy:
        ranker = self.ranker
        if not isinstance(ranker, Ranker):
            ranker = make_ranker(ranker or default_ranker(), Context(setup.space, setup.seed, self.prompt_format))
        return LMSearch(Setup(setup.space, setup.seed, ranker, self.proposal, self.candidates, self.warmup))


class RegularizedEvolutionSampler(StrategySampler):
    """Regularized evolution (Real et al. 2019): mutate the winner of a tournament among the youngest trials."""

    def __init__(
        self, space: Space | None = None, *, population: int = 50, tournament: int = 10, seed: int | None = None
    ):
        super().__init__(space, seed)
        self.population, self.tournament = population, tournament

    def strategy(self, setup: Setup) -> Strategy:
        return RegularizedEvolution(setup, self.population, self.tournament)


class LocalSearchSampler(StrategySampler):
    """Local search: first improvement over one-parameter moves, a new random start at each local optimum."""

    def __init__(self, space: Space | None = None, *, seed: int | None = None):
        super().__init__(space, seed)

    def strategy(self, setup: Setup) -> Strategy:
        return LocalSearch(setup)
