"""The proposals that look at the history alone: uniform codes, mutants of the best codes so far, half and half.

A search that found nothing better for a while looks elsewhere: see `parents`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from search.spaces import Seen, Space
from search.strategies.listed import Listed
from search.strategies.pool import TRIES, Request, Stream

PATIENCE, LONG_PATIENCE = 20, 40
APART = 3  # digits that make another region


def uniform(request: Request) -> Sequence[Stream]:
    """All candidates uniform over the space: the paper's loop."""
    return ()


def evolution(request: Request) -> Sequence[Stream]:
    """All candidates are one-digit mutants of the best codes so far."""
    return (mutants(request, request.n),)


def mixed(request: Request) -> Sequence[Stream]:
    """Half one-digit mutants of the best codes so far, half uniform."""
    return (mutants(request, request.n // 2),)


def mutants(request: Request, upto: int) -> Stream:
    """One-digit mutants of the parents; in a short list of codes, their nearest ones."""
    space, history, rng, codes = request.space, request.history, request.rng, request.codes
    heads = parents(space, history, request.taken, request.top, request.feasible, codes) if upto and history else []
    stream = _mutants(space, heads, rng, len(history)) if codes is None else _near(codes, heads, rng)
    return Stream(stream, "mutant", upto)


def apart(decisions: int) -> int:
    """How many digits make another region: three, in a short code half of them."""
    return min(APART, (decisions + 1) // 2)


def since_best(history: Sequence[Seen]) -> int:
    """How many trials were told since the first of the best ones."""
    return len(history) - 1 - max(range(len(history)), key=lambda i: (history[i].value, -i)) if history else 0


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
    stalled = since_best(history)
    patient = stalled < PATIENCE or (stalled < LONG_PATIENCE and stalled % 2)
    if not history or (patient and open_(ordered[0].code)):
        return [s.code for s in ordered[:top]]
    heads: list[str] = []
    chosen: list[str] = []
    for code, _ in ordered:
        if any(sum(a != b for a, b in zip(code, head)) < apart(len(space)) for head in heads):
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
