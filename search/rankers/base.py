"""What a ranker is: (history, candidates) -> one of the candidates, with scores when it has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from search.spaces import Seen, Space


@dataclass(frozen=True)
class Ranking:
    """The answer to one ranking question.

    best: one of the candidates, always.
    scores: one float per candidate, higher is better; None when the ranker only chooses.
    source: who answered.
    tokens: how many a model processed.
    seconds: wall time.
    fallback: why the ranker could not answer itself; None when it did.
    info: anything worth a line in the transcript.
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
    """What a ranker may be built from.

    space: the search space.
    seed: of the search.
    format: name of the prompt format, if one was asked for.
    oracle: the true value of a code, higher is better; None where values are not known beforehand.
    goal: 'search' asks what to evaluate next, 'pick' which candidate is best, with nothing after it (the exam). A
        ranker that knows how unsure it is may answer the two differently.
    """

    space: Space
    seed: int = 0
    format: str | None = None
    oracle: Callable[[str], float] | None = None
    goal: str = "search"


class Ranker:
    """Base class: a subclass in a module of its own and a line in `search.rankers.RANKERS` make a new ranker.

    Everything the rest of the program must know about a kind of ranker is said by these class attributes.

    name: how specs, transcripts and reports call it.
    shared: one object serves all seeds of a run (it holds a model or a connection, and nothing of a seed).
    local: a call needs no more than this machine and a moment, so `--check` may time one.
    seconds: what a call takes, where that is known without trying; else None.
    characters_a_token: characters of a prompt that make a token of the language model; None: it reads no prompt.
    prompt: the prompt format it asks in when none was named; None: it reads no prompt.
    formats: the only prompt formats it can ask in; empty: any, or none at all.
    transcript: its answers are worth keeping (and replaying).
    control: it may run beside a search as NAME-ranker.
    stands_in: it may answer for a language model that could not.
    writes: it proposes codes of its own (see `compose`) instead of choosing among candidates.
    many: hundreds of candidates cost it little more than ten.
    """

    name: str = ""
    shared: ClassVar[bool] = False
    local: ClassVar[bool] = True
    seconds: ClassVar[float | None] = None
    characters_a_token: ClassVar[float | None] = None
    prompt: ClassVar[str | None] = None
    formats: ClassVar[tuple[str, ...]] = ()
    transcript: ClassVar[bool] = True
    control: ClassVar[bool] = False
    stands_in: ClassVar[bool] = False
    writes: bool = False
    many: ClassVar[bool] = False

    @classmethod
    def build(cls, argument: str, context: Context) -> Ranker:
        """A ranker from its spec's argument (the text after the colon) and its context; UserError for a wrong one."""
        raise TypeError(f"{cls.__name__} must define build(argument, context)")

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        """Choose among `candidates` (at least one) given `history` in told order; a pure function of both.

        history: told entries, higher is better.
        """
        raise TypeError(f"{type(self).__name__} must define rank(history, candidates)")

    def compose(self, history: Sequence[Seen], allowed: Callable[[str], bool]) -> Ranking:
        """A code of its own that is `allowed`, for rankers that write; best is '' and fallback says why when there is
        none.
        """
        raise TypeError(f"{type(self).__name__} must define compose(history, allowed)")

    def at(self, space: Space) -> Ranker:
        """The same ranker on another space (that of an Optuna study may change); it shares what is loaded."""
        return self

    def close(self) -> None:
        """Free what the ranker holds (models, connections)."""


def from_scores(candidates: Sequence[str], scores: Iterable[float], source: str, **more: Any) -> Ranking:
    """The ranking given by `scores`; a tie goes to the earlier candidate.

    Scores are kept to 9 significant digits, so that ties are ties on every machine.
    """
    rounded = tuple(float(f"{float(s):.9g}") for s in scores)
    best = max(range(len(rounded)), key=rounded.__getitem__)
    return Ranking(best=candidates[best], scores=rounded, source=source, **more)
