"""A model writes the next code instead of ranking proposals (the paper's Table 7, "without task reformulation")."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from search.rankers.base import Ranker
from search.spaces import Seen
from search.strategies.base import Setup, Suggestion


def suggest_written(
    ranker: Ranker, setup: Setup, history: Sequence[Seen], taken: AbstractSet[str], step: int
) -> Suggestion | None:
    """The code that the model writes, checked; a uniform one when no attempt gave a new valid code (its ranking says
    why). None when the space is exhausted.
    """
    ranking = ranker.compose(history, lambda code: setup.allowed(code, taken))
    if ranking.best:
        return Suggestion(ranking.best, "written", ranking)
    found = setup.fresh(np.random.default_rng([setup.seed, step]), taken, "fallback")
    return found and Suggestion(found.code, "fallback", ranking)
