"""How the next code is chosen: pure functions of (seed, what was told), so that a resumed search is the same search.

lmsearcher  proposals ranked by a ranker (paper section 3.3)      random  uniform, never a repeat
evolution   regularized evolution (Real et al. 2019)              local   first improvement over one-digit moves, with restarts
tpe, gp     Optuna's samplers (see baselines.py)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

import numpy as np

from search.errors import UserError, did_you_mean
from search.propose import propose
from search.rankers.base import Ranker, Ranking
from search.space import Seen, Space

RESTARTS_WITHOUT_NEWS = 50


class Suggestion(NamedTuple):
    """A code to evaluate next, where it came from, and the ranking that chose it among `candidates` (if one did)."""

    code: str
    origin: str
    ranking: Ranking | None = None
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """What every strategy is built from. feasible: filter known before evaluation; repeats: codes may come back."""

    space: Space
    seed: int = 0
    ranker: Ranker | None = None
    proposal: str = "mixed"
    candidates: int = 10
    warmup: int = 5
    feasible: Callable[[str], bool] | None = None
    repeats: bool = False

    def fresh(self, rng: np.random.Generator, taken: AbstractSet[str], origin: str) -> Suggestion | None:
        """One uniform code that is not taken; None when the space is exhausted."""
        pool = propose(self.space, (), set() if self.repeats else set(taken), rng, 1, "uniform", feasible=self.feasible)
        return Suggestion(pool[0].code, origin) if pool else None

    def allowed(self, code: str, taken: AbstractSet[str]) -> bool:
        """Whether a code may be evaluated: feasible, and new unless repeats are wanted."""
        return (self.repeats or self.space.canonical(code) not in taken) and (self.feasible is None or self.feasible(code))


class Strategy:
    """Base class. `suggest` must depend on nothing but the setup and its arguments."""

    name = ""

    def __init__(self, setup: Setup):
        self.setup = setup

    def suggest(self, history: Sequence[Seen], taken: AbstractSet[str], step: int) -> Suggestion | None:
        """The next code, None when the space is exhausted.

        history: values told so far, higher is better, in trial order. taken: canonical codes told, failed or pending.
        step: number of trials before this one; it seeds this step.
        """
        raise TypeError(f"{type(self).__name__} must define suggest(history, taken, step)")


class RandomSearch(Strategy):
    """Uniform over the codes that were not evaluated yet."""

    name = "random"

    def suggest(self, history: Sequence[Seen], taken: AbstractSet[str], step: int) -> Suggestion | None:
        return self.setup.fresh(np.random.default_rng([self.setup.seed, step]), taken, "uniform")


class LMSearch(Strategy):
    """The paper's loop: a pool of fresh candidates, a ranker chooses. The first `warmup` codes are uniform."""

    name = "lmsearcher"

    def __init__(self, setup: Setup):
        super().__init__(setup)
        if setup.ranker is None:
            raise UserError("sampler lmsearcher was given no ranker - it needs one - see --ranker")

    def suggest(self, history: Sequence[Seen], taken: AbstractSet[str], step: int) -> Suggestion | None:
        setup = self.setup
        rng = np.random.default_rng([setup.seed, step])
        if step < setup.warmup or not history:
            return setup.fresh(rng, taken, "warmup")
        pool = propose(setup.space, history, set(taken), rng, setup.candidates, setup.proposal, feasible=setup.feasible)
        if not pool:
            return None
        codes = [c.code for c in pool]
        ranking = setup.ranker.rank(history, codes)
        if ranking.best not in codes:
            raise RuntimeError(f"ranker {setup.ranker.name} answered {ranking.best!r}, which is none of its {len(codes)} candidates")
        return Suggestion(ranking.best, pool[codes.index(ranking.best)].origin, ranking, tuple(codes))


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
            child = setup.space.to_codes(setup.space.mutate(setup.space.to_array([parent.code]), rng))[0]
            if setup.allowed(child, taken):
                return Suggestion(child, "mutant")
        return setup.fresh(rng, taken, "uniform")


class LocalSearch(Strategy):
    """First improvement over one-digit moves in random order; a new uniform start at each local optimum.

    The walk is replayed from its beginning against what was told: every code it meets is looked up, and the first
    one that is unknown is the suggestion. Failed, infeasible and pending codes count as no improvement.
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
            return -np.inf if key in taken or not (self.setup.feasible is None or self.setup.feasible(code)) else unknown

        idle, met = 0, len(known)
        seen: set[str] = set()
        restart = 0
        while idle < RESTARTS_WITHOUT_NEWS:
            rng = np.random.default_rng([seed, restart])
            restart += 1
            center = space.to_codes(space.sample(rng, 1))[0]
            here = look(center)
            if here is unknown:
                return Suggestion(center, "start")
            before = len(seen)
            seen.add(center)
            moved = True
            while moved:
                moved = False
                moves = space.neighbours(center)
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


STRATEGIES = {
    "lmsearcher": "search.strategies:LMSearch",
    "random": "search.strategies:RandomSearch",
    "evolution": "search.strategies:RegularizedEvolution",
    "local": "search.strategies:LocalSearch",
    "tpe": "search.baselines:TPE",
    "gp": "search.baselines:GP",
}


def make_strategy(name: str, setup: Setup) -> Strategy:
    """The strategy of that name; UserError for an unknown one."""
    if name not in STRATEGIES:
        raise did_you_mean("sampler", name, STRATEGIES)
    module, cls = STRATEGIES[name].split(":")
    return getattr(import_module(module), cls)(setup)
