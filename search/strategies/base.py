"""How the next code is chosen: pure functions of (seed, what was told), so that a resumed search is the same search.

lmsearcher  proposals ranked by a ranker (lmsearch)      random, evolution, local   the classical strategies (classical)
tpe, gp     Optuna's own samplers (from_optuna)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from search.rankers.base import Ranker, Ranking
from search.spaces import Seen, Space
from search.strategies import DEFAULT_PROPOSAL
from search.strategies.listed import Listed, listed
from search.strategies.pool import Candidate, propose


class Suggestion(NamedTuple):
    """A code to evaluate next, where it came from, and the ranking that chose it among `candidates` (if one did)."""

    code: str
    origin: str
    ranking: Ranking | None = None
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """What every strategy is built from.

    feasible: filter known before evaluation.
    repeats: codes may come back.
    codes: all that can be evaluated, uint8 (n, decisions), where that can be listed.
    """

    space: Space
    seed: int = 0
    ranker: Ranker | None = None
    proposal: str = DEFAULT_PROPOSAL
    candidates: int = 10
    warmup: int = 5
    feasible: Callable[[str], bool] | None = None
    repeats: bool = False
    codes: np.ndarray | None = None

    @cached_property
    def listed(self) -> Listed | None:
        """The codes as a list to search, where they are a small share of the space."""
        return listed(self.space, self.codes)

    def propose(
        self, history: Sequence[Seen], taken: AbstractSet[str], rng: np.random.Generator, n: int, kind: str
    ) -> list[Candidate]:
        """Up to n fresh candidates, see `search.strategies.proposals.propose`."""
        return propose(self.space, history, set(taken), rng, n, kind, feasible=self.feasible, codes=self.listed)

    def moves(self, code: str) -> list[str]:
        """The codes one move away: one digit changed, or the nearest of a list."""
        return self.space.neighbours(code) if self.listed is None else self.listed.moves(code)

    def fresh(self, rng: np.random.Generator, taken: AbstractSet[str], origin: str) -> Suggestion | None:
        """One uniform code that is not taken; None when the space is exhausted."""
        pool = self.propose((), set() if self.repeats else taken, rng, 1, "uniform")
        return Suggestion(pool[0].code, origin) if pool else None

    def allowed(self, code: str, taken: AbstractSet[str]) -> bool:
        """Whether a code may be evaluated: feasible, and new unless repeats are wanted."""
        return (self.repeats or self.space.canonical(code) not in taken) and (
            self.feasible is None or self.feasible(code)
        )


class Strategy:
    """Base class. `suggest` must depend on nothing but the setup and its arguments."""

    name = ""

    def __init__(self, setup: Setup):
        self.setup = setup

    def suggest(self, history: Sequence[Seen], taken: AbstractSet[str], step: int) -> Suggestion | None:
        """The next code, None when the space is exhausted.

        history: values told so far, higher is better, in trial order.
        taken: canonical codes told, failed or pending.
        step: number of trials before this one; it seeds this step.
        """
        raise TypeError(f"{type(self).__name__} must define suggest(history, taken, step)")
