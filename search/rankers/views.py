"""The evidence of the nano searcher without its language model: nine small Gaussian processes, an equal say for each.

    views                   an equal mixture of their nine forecasts; a search reads `blend`, an exam `mean`
    views:ei                another reading: mean, ei, blend (see search.prompts.mixture)
    views:ei?join=average   one normal distribution with their average mean and variance in place of the mixture
    views:?shown=100        of a longer history, read the 50 best and the 50 latest of the rest (default 200 in all)

It is what shows how much a model that reads the same evidence adds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from search.errors import UserError, did_you_mean
from search.prompts.evidence import FEW, MOST, read
from search.prompts.mixture import READINGS, acquire, average_gain, mixture_gain
from search.prompts.nano import arrays
from search.rankers.base import Context, Ranker, Ranking, from_scores
from search.rankers.spec import one_of, split_options
from search.spaces import Seen

DEFAULTS = {"search": "blend", "pick": "mean"}
JOINS = {"mixture": mixture_gain, "average": average_gain}


class ViewsRanker(Ranker):
    """Scores candidates by the views' joint forecast. Deterministic; ties go to the earlier candidate."""

    name = "views"
    control = fallback = True

    def __init__(self, reading: str = DEFAULTS["search"], join: str = "mixture", most: int = MOST):
        if reading not in READINGS:
            raise did_you_mean("reading of ranker views", reading, READINGS)
        if most < FEW:
            raise UserError(
                f"shown={most} was given - at least {FEW} entries of the history must be read - {MOST} is the default"
            )
        self.reading, self.join, self.most = reading, one_of("join of ranker views", join, tuple(JOINS)), most

    @classmethod
    def build(cls, argument: str, context: Context) -> ViewsRanker:
        reading, options = split_options(argument, {"join": "mixture", "shown": MOST})
        return cls(reading or DEFAULTS[context.goal], options["join"], options["shown"])

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        start = time.perf_counter()
        codes, values, new = arrays(history, candidates)
        views = read(codes, values, self.most)
        evidence = views.about(new)
        best = float(views.scores.max()) if len(values) else 0.0
        scores = acquire(JOINS[self.join](evidence, best), evidence.mean.mean(axis=1), self.reading)
        source = self.name if self.reading == DEFAULTS["search"] else f"{self.name}:{self.reading}"
        return from_scores(candidates, np.round(scores, 6), source, seconds=time.perf_counter() - start)
