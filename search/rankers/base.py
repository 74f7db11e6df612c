"""What a ranker is: (history, candidates) -> one of the candidates, with scores when it has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from search.spaces import Seen, Space


@dataclass(frozen=True)
class Ranking:
    """The answer to one ranking question.

    best: always one of the candidates. scores: one float per candidate, higher is better, or None when the ranker only
    chooses. source: who answered. tokens: processed by a model. seconds: wall time. fallback: why the ranker
    could not answer itself (None: it did). info: anything worth a line in the transcript.
    """

    best: str
    scores: tuple[float, ...] | None = None
    source: str = ""
    tokens: int = 0
    seconds: float = 0.0
    fallback: str | None = None
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a ranker may be built from: the space, the seed, the prompt format, and (oracle only) the true values.

    goal: "search" asks what to evaluate next, "pick" which candidate is best, with nothing after it (the exam). A
    ranker that knows how unsure it is may answer the two differently.
    """

    space: Space
    seed: int = 0
    format: str | None = None
    oracle: Callable[[str], float] | None = None
    goal: str = "search"


class Ranker:
    """Base class. Subclasses set `name` and implement `rank`; `build` parses the part after ':' of a ranker spec."""

    name = ""

    @classmethod
    def build(cls, argument: str, context: Context) -> Ranker:
        """A ranker from its spec argument (the text after the colon) and its context."""
        raise TypeError(f"{cls.__name__} must define build(argument, context)")

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        """Choose among `candidates` (at least one) given `history` in told order; a pure function of both."""
        raise TypeError(f"{type(self).__name__} must define rank(history, candidates)")

    def close(self) -> None:
        """Free what the ranker holds (models, connections)."""


def from_scores(candidates: Sequence[str], scores: Sequence[float], source: str, **more: Any) -> Ranking:
    """The ranking given by `scores`, kept to 9 significant digits so that ties are ties everywhere; a tie goes to the
    earlier candidate.
    """
    rounded = tuple(float(f"{float(s):.9g}") for s in scores)
    return Ranking(best=candidates[int(np.argmax(rounded))], scores=rounded, source=source, **more)
