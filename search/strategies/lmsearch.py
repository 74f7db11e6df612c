"""The paper's loop (section 3.3): proposals ranked by a ranker, or codes written by one."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from search.errors import UserError
from search.spaces import Seen
from search.strategies.base import Setup, Strategy, Suggestion
from search.strategies.writing import suggest_written


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
        if step < setup.warmup or not (history or setup.ranker.writes):
            return setup.fresh(rng, taken, "warmup")
        if setup.ranker.writes:
            return suggest_written(setup.ranker, setup, history, taken, step)
        pool = setup.propose(history, taken, rng, setup.candidates, setup.proposal)
        if not pool:
            return None
        codes = [c.code for c in pool]
        ranking = setup.ranker.rank(history, codes)
        if ranking.best not in codes:
            raise RuntimeError(
                f"ranker {setup.ranker.name} answered {ranking.best!r}, which is none of its {len(codes)} candidates"
            )
        return Suggestion(ranking.best, pool[codes.index(ranking.best)].origin, ranking, tuple(codes))
