"""The paper's loop (section 3.3): proposals ranked by a ranker, or codes written by one.

In a space with ladders (search.spaces.ranges) ten proposals are a drop in the ocean: there many are drawn, and the
ten with the most expected improvement by the evidence alone are what the ranker chooses from.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from search.errors import UserError, did_you_mean
from search.rankers.smooth import promising
from search.spaces import Seen
from search.strategies import PROPOSALS
from search.strategies.base import Setup, Strategy, Suggestion
from search.strategies.writing import suggest_written

MANY = 20  # proposals drawn for each one that the ranker sees, in a space with ladders


class LMSearch(Strategy):
    """The paper's loop: a pool of fresh candidates, a ranker chooses. The first `warmup` codes are uniform."""

    name = "lmsearcher"

    def __init__(self, setup: Setup):
        super().__init__(setup)
        if setup.ranker is None:
            raise UserError("sampler lmsearcher was given no ranker - it needs one - see --ranker")
        if setup.proposal not in PROPOSALS:
            raise did_you_mean("proposal", setup.proposal, PROPOSALS)

    def suggest(self, history: Sequence[Seen], taken: AbstractSet[str], step: int) -> Suggestion | None:
        setup = self.setup
        rng = np.random.default_rng([setup.seed, step])
        if step < setup.warmup or not (history or setup.ranker.writes):
            return setup.fresh(rng, taken, "warmup")
        if setup.ranker.writes:
            return suggest_written(setup.ranker, setup, history, taken, step)
        many = setup.candidates * (1 if setup.space.geometry is None else MANY)
        pool = setup.propose(history, taken, rng, many, setup.proposal)
        if not pool:
            return None
        if len(pool) > setup.candidates and not setup.ranker.many:
            promise = promising(history, [c.code for c in pool], setup.space)
            pool = [pool[i] for i in np.sort(np.argsort(-promise, kind="stable")[: setup.candidates])]
        codes = [c.code for c in pool]
        ranking = setup.ranker.rank(history, codes)
        if ranking.best not in codes:
            raise RuntimeError(
                f"ranker {setup.ranker.name} answered {ranking.best!r}, which is none of its {len(codes)} candidates"
            )
        return Suggestion(ranking.best, pool[codes.index(ranking.best)].origin, ranking, tuple(codes))
