"""Candidate pools: where the ranker's choices come from. Never a code that is told, pending or already in the pool.

A proposal is a function of a Request that gives streams of codes, in the order in which the pool takes from them; what
they leave open is filled with uniform codes. PROPOSALS in search/strategies/__init__.py names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import NamedTuple

import numpy as np

from search.registry import resolve
from search.spaces import DIGITS, Seen, Space
from search.strategies import PROPOSALS
from search.strategies.listed import Listed

ENUMERABLE = 100_000  # codes; up to here the rest of a space can be listed in its end game
TRIES = 200  # blocks of 16 draws before a stream of mutants or uniform codes is called dry


class Candidate(NamedTuple):
    """A code that may be evaluated next and where it came from: uniform, mutant or scan."""

    code: str
    origin: str


@dataclass(frozen=True)
class Request:
    """What a proposal is asked; nothing else may decide what it gives.

    history: told trials, in the order they were told.
    taken: canonical codes that may not come back (told and pending).
    n: candidates wanted.
    top: how many entries of the history are mutated, see search.strategies.proposals.parents.
    feasible: filter known before evaluation; the pool applies it too.
    codes: all that can be evaluated, where they are a short list.
    """

    space: Space
    history: Sequence[Seen]
    taken: set[str]
    rng: np.random.Generator
    n: int = 10
    top: int = 5
    feasible: Callable[[str], bool] | None = None
    codes: Listed | None = None


@dataclass(frozen=True)
class Stream:
    """Codes, the best first; repeats, told and infeasible ones are passed over.

    origin: what a candidate from here is called in the transcript.
    upto: how full the pool may become from this stream.
    """

    codes: Iterator[str]
    origin: str
    upto: int


Proposal = Callable[[Request], Sequence[Stream]]


def propose(
    space: Space,
    history: Sequence[Seen],
    taken: set[str],
    rng: np.random.Generator,
    n: int = 10,
    kind: str = "mixed",
    top: int = 5,
    feasible: Callable[[str], bool] | None = None,
    codes: Listed | None = None,
) -> list[Candidate]:
    """Up to n fresh candidates of the proposal `kind`; fewer only when the space runs out, none when it is exhausted.

    The other arguments are the fields of Request. A pure function of its arguments and the rng's state; UserError for
    an unknown kind.
    """
    proposal: Proposal = resolve("proposal", kind, PROPOSALS)
    request = Request(space, history, taken, rng, n, top, feasible, codes)
    pool: dict[str, Candidate] = {}
    for stream in proposal(request):
        _fill(pool, stream, request)
    uniform = _uniform(space, rng, n) if codes is None else codes.shuffled(rng)
    _fill(pool, Stream(uniform, "uniform", n), request)
    if len(pool) < n and space.size <= ENUMERABLE and codes is None:
        _fill(pool, Stream(_remaining(space, rng), "uniform", n), request)
    return list(pool.values())


def _fill(pool: dict[str, Candidate], stream: Stream, request: Request) -> None:
    """Add fresh, feasible codes of the stream until the pool is as full as it may become; its keys are canonical."""
    if len(pool) >= stream.upto:
        return
    for code in stream.codes:
        key = request.space.canonical(code)
        fresh = key not in request.taken and key not in pool
        if fresh and (request.feasible is None or request.feasible(code)):
            pool[key] = Candidate(code, stream.origin)
            if len(pool) >= stream.upto:
                return


def _uniform(space: Space, rng: np.random.Generator, n: int) -> Iterator[str]:
    for _ in range(TRIES):
        yield from space.to_codes(space.sample(rng, max(n, 16)))


def _remaining(space: Space, rng: np.random.Generator) -> Iterator[str]:
    """Every code of a small space once, in random order: the end game of a nearly exhausted space."""
    codes = ["".join(c) for c in islice(product(*(DIGITS[: len(d.options)] for d in space.decisions)), ENUMERABLE)]
    return (codes[i] for i in rng.permutation(len(codes)))
