"""The samplers themselves: the paper's loop, regularized evolution, local search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search.errors import did_you_mean
from search.rankers import Context, default_ranker, make_ranker
from search.rankers.base import Ranker
from search.samplers.base import StrategySampler
from search.spaces import Space
from search.strategies import DEFAULT_PROPOSAL, PROPOSALS
from search.strategies.base import Setup, Strategy
from search.strategies.classical import LocalSearch, RegularizedEvolution
from search.strategies.lmsearch import LMSearch

Constraints = Callable[[FrozenTrial], Sequence[float]]


class LMSearcherSampler(StrategySampler):
    """The paper's loop as an Optuna sampler: a pool of fresh candidates, a ranker chooses.

    ranker: a spec such as 'surrogate', 'nano', 'chat:YAML', 'endpoint:URL#MODEL', or a Ranker (default: nano where it
    is shipped, else views; smooth where a parameter is continuous, logarithmic or long). proposal, candidates,
    warmup: as in `python -m search.run`. seed=None draws one. The rest: see StrategySampler.
    """

    def __init__(
        self,
        space: Space | None = None,
        *,
        ranker: str | Ranker | None = None,
        proposal: str = DEFAULT_PROPOSAL,
        candidates: int = 10,
        warmup: int = 5,
        prompt_format: str | None = None,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
        constraints_func: Constraints | None = None,
    ):
        super().__init__(space, seed, independent_sampler, constraints_func)
        if proposal not in PROPOSALS:
            raise did_you_mean("proposal", proposal, PROPOSALS)
        self._made: dict[str, Ranker] = {}
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
            spec = ranker or default_ranker(setup.space)
            if spec not in self._made:
                self._made[spec] = make_ranker(spec, Context(setup.space, setup.seed, self.prompt_format))
            ranker = self._made[spec].at(setup.space)
        return LMSearch(Setup(setup.space, setup.seed, ranker, self.proposal, self.candidates, self.warmup))


class RegularizedEvolutionSampler(StrategySampler):
    """Regularized evolution (Real et al. 2019): mutate the winner of a tournament among the youngest trials."""

    def __init__(
        self,
        space: Space | None = None,
        *,
        population: int = 50,
        tournament: int = 10,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
        constraints_func: Constraints | None = None,
    ):
        super().__init__(space, seed, independent_sampler, constraints_func)
        self.population, self.tournament = population, tournament

    def strategy(self, setup: Setup) -> Strategy:
        return RegularizedEvolution(setup, self.population, self.tournament)


class LocalSearchSampler(StrategySampler):
    """Local search: first improvement over one-parameter moves, a new random start at each local optimum."""

    def __init__(
        self,
        space: Space | None = None,
        *,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
        constraints_func: Constraints | None = None,
    ):
        super().__init__(space, seed, independent_sampler, constraints_func)

    def strategy(self, setup: Setup) -> Strategy:
        return LocalSearch(setup)
