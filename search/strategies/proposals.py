"""Candidate pools: where the ranker's choices come from. Never a code that is told, pending or already in the pool.

kinds  uniform    all candidates uniform over the space (the paper's loop)
       evolution  all candidates are one-digit mutants of the best codes so far
       mixed      half and half
       wide       the most promising of some hundreds of codes that the evidence looked at, see search.strategies.wide;
                  in a space with ladders (search.spaces.ranges) the same as mixed

A search that found nothing better for a while looks elsewhere: see `parents`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import NamedTuple

import numpy as np

from search.errors import did_you_mean
from search.spaces import DIGITS, Seen, Space
from search.strategies import PROPOSALS
from search.strategies.listed import Listed
from search.strategies.wide import promising

ENUMERABLE = 100_000  # codes; up to here the rest of a space can be listed in its end game
TRIES = 200  # blocks of 16 draws before a stream of mutants or uniform codes is called dry
PATIENCE, LONG_PATIENCE = 20, 40
APART = 3  # digits that make another region


class Candidate(NamedTuple):
    """A code that may be evaluated next and where it came from: uniform, mutant or scan."""

    code: str
    origin: str


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
    """Up to n fresh candidates; fewer only when the space runs out, none when it is exhausted.

    history: told trials.
    taken: canonical codes that may not come back (told and pending).
    top: how many entries are mutated, see `parents`.
    feasible: filter known before evaluation.
    codes: all that can be evaluated, where they are a short list.

    A pure function of its arguments and the rng's state.
    """
    if kind not in PROPOSALS:
        raise did_you_mean("proposal", kind, PROPOSALS)
    pool: dict[str, Candidate] = {}
    if kind == "wide" and space.geometry is not None:
        kind = "mixed"  # the scan reads digits; with ladders the strategy looks at many candidates by places anyway
    if kind == "wide" and space.geometry is not None:
        kind = "mixed"  # among many of these the strategy looks itself, with the evidence that knows distances
    if kind == "wide" and history:
        _fill(pool, n, promising(space, history, rng, codes), "scan", space, taken, feasible)
        kind = "uniform"  # what is missing, if anything
    mutants = 0 if kind in ("uniform", "wide") or not history else n if kind == "evolution" else n // 2
    heads = parents(space, history, taken, top, feasible, codes) if mutants else []
    stream = _mutants(space, heads, rng, len(history)) if codes is None else _near(codes, heads, rng)
    _fill(pool, mutants, stream, "mutant", space, taken, feasible)
    stream = _uniform(space, rng, n) if codes is None else codes.shuffled(rng)
    _fill(pool, n, stream, "uniform", space, taken, feasible)
    if len(pool) < n and space.size <= ENUMERABLE and codes is None:
        _fill(pool, n, _remaining(space, rng), "uniform", space, taken, feasible)
    return list(pool.values())


def _fill(
    pool: dict[str, Candidate],
    upto: int,
    stream: Iterator[str],
    origin: str,
    space: Space,
    taken: set[str],
    feasible: Callable[[str], bool] | None,
) -> None:
    """Add fresh, feasible codes of the stream until the pool holds `upto`; the pool is keyed by canonical code."""
    if len(pool) >= upto:
        return
    for code in stream:
        key = space.canonical(code)
        if key not in taken and key not in pool and (feasible is None or feasible(code)):
            pool[key] = Candidate(code, origin)
            if len(pool) >= upto:
                return


def parents(
    space: Space,
    history: Sequence[Seen],
    taken: set[str],
    top: int,
    feasible: Callable[[str], bool] | None = None,
    codes: Listed | None = None,
) -> list[str]:
    """The told codes whose mutants are proposed, best first: the `top` best of the history.

    A search that settled takes the best codes of other regions instead: each at least three digits (half of a short
    code) from every better one taken, and with a neighbour that may still be proposed. It settled when no neighbour of
    its best code is left (a proven local optimum); without that proof, every second step after 20 trials that brought
    nothing better, and every step after 40. Without this, a search on a local optimum proposes its exhausted
    surroundings for ever.
    """

    def open_(code: str) -> bool:
        return any(
            space.canonical(c) not in taken and (feasible is None or feasible(c))
            for c in (space.neighbours(code) if codes is None else codes.moves(code))
        )

    ordered = sorted(history, key=lambda s: -s.value)
    stalled = len(history) - 1 - max(range(len(history)), key=lambda i: (history[i].value, -i)) if history else 0
    patient = stalled < PATIENCE or (stalled < LONG_PATIENCE and stalled % 2)
    if not history or (patient and open_(ordered[0].code)):
        return [s.code for s in ordered[:top]]
    apart = min(APART, (len(space) + 1) // 2)
    heads: list[str] = []
    chosen: list[str] = []
    for code, _ in ordered:
        if any(sum(a != b for a, b in zip(code, head)) < apart for head in heads):
            continue
        heads.append(code)
        if open_(code):
            chosen.append(code)
        if len(chosen) == top:
            break
    return chosen


def _mutants(space: Space, chosen: Sequence[str], rng: np.random.Generator, told: int) -> Iterator[str]:
    if not chosen:
        return
    codes = space.to_array(chosen)
    for _ in range(TRIES):
        yield from space.to_codes(space.mutate(codes[rng.integers(len(codes), size=16)], rng, told))


def _near(codes: Listed, chosen: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    moves = list(dict.fromkeys(c for code in chosen for c in codes.moves(code)))
    return (moves[i] for i in rng.permutation(len(moves)))


def _uniform(space: Space, rng: np.random.Generator, n: int) -> Iterator[str]:
    for _ in range(TRIES):
        yield from space.to_codes(space.sample(rng, max(n, 16)))


def _remaining(space: Space, rng: np.random.Generator) -> Iterator[str]:
    """Every code of a small space once, in random order: the end game of a nearly exhausted space."""
    codes = ["".join(c) for c in islice(product(*(DIGITS[: len(d.options)] for d in space.decisions)), ENUMERABLE)]
    return (codes[i] for i in rng.permutation(len(codes)))
