"""Random search, regularized evolution and local search, as pure functions of (seed, what was told)."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from search.spaces import Seen
from search.strategies.base import Setup, Strategy, Suggestion
from search.strategies.listed import MOVES

RESTARTS_WITHOUT_NEWS = 50  # replayed walks that met nothing unknown before a uniform code is taken


class RandomSearch(Strategy):
    """Uniform over the codes that were not evaluated yet."""

    name = "random"

    def suggest(self, history: Sequence[Seen], taken: AbstractSet[str], step: int) -> Suggestion | None:
        return self.setup.fresh(np.random.default_rng([self.setup.seed, step]), taken, "uniform")


class RegularizedEvolution(Strategy):
    """Mutate the winner of a tournament among the youngest codes (Real et al. 2019, arXiv 1802.01548)."""

    name = "evolution"

    def __init__(self, setup: Setup, population: int = 50, tournament: int = 10):
        super().__init__(setup)
        self.population, self.tournament = population, tournament

    def suggest(self, history: Sequence[Seen], taken: AbstractSet[str], step: int) -> Suggestion | None:
        setup = self.setup
        rng = np.random.default_rng([setup.seed, step])
        if len(history) < min(self.population, max(2, self.tournament)):
            return setup.fresh(rng, taken, "initial")
        youngest = history[-self.population :]
        for _ in range(100):
            rivals = rng.choice(len(youngest), size=min(self.tournament, len(youngest)), replace=False)
            parent = max((youngest[i] for i in rivals), key=lambda s: s.value)
            child = self._child(parent.code, rng)
            if setup.allowed(child, taken):
                return Suggestion(child, "mutant")
        return setup.fresh(rng, taken, "uniform")

    def _child(self, parent: str, rng: np.random.Generator) -> str:
        """The parent with one digit changed, or one of the listed codes nearest to it."""
        space, listed = self.setup.space, self.setup.listed
        if listed is None:
            return space.to_codes(space.mutate(space.to_array([parent]), rng))[0]
        return listed.moves(parent)[int(rng.integers(min(MOVES, len(listed) - 1)))] if len(listed) > 1 else parent


class LocalSearch(Strategy):
    """First improvement over one-digit moves in random order; a new uniform start at each local optimum.

    The walk is replayed from its beginning against what was told: every code it meets is looked up, and the first
    one that is unknown is the suggestion. In a list of codes the moves are the nearest listed ones. Failed,
    infeasible and pending codes count as no improvement.
    """

    name = "local"

    def suggest(self, history: Sequence[Seen], taken: AbstractSet[str], step: int) -> Suggestion | None:
        space, seed = self.setup.space, self.setup.seed
        known = {space.canonical(s.code): s.value for s in history}
        unknown = object()

        def look(code: str) -> float | object:
            key = space.canonical(code)
            if key in known:
                return known[key]
            return (
                -np.inf if key in taken or not (self.setup.feasible is None or self.setup.feasible(code)) else unknown
            )

        idle, met = 0, len(known)
        seen: set[str] = set()
        restart = 0
        while idle < RESTARTS_WITHOUT_NEWS:
            rng = np.random.default_rng([seed, restart])
            restart += 1
            listed = self.setup.listed
            center = space.to_codes(space.sample(rng, 1))[0] if listed is None else next(listed.shuffled(rng))
            here = look(center)
            if here is unknown:
                return Suggestion(center, "start")
            before = len(seen)
            seen.add(center)
            moved = True
            while moved:
                moved = False
                moves = self.setup.moves(center)
                for i in rng.permutation(len(moves)):
                    value = look(moves[i])
                    if value is unknown:
                        return Suggestion(moves[i], "neighbour")
                    seen.add(moves[i])
                    if value > here:
                        center, here, moved = moves[i], value, True
                        break
            idle = 0 if len(seen) > before else idle + 1
        return self.setup.fresh(np.random.default_rng([seed, met, len(taken)]), taken, "uniform")
