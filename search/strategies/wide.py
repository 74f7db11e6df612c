"""Proposal `wide`: look at some hundreds of codes with the evidence, hand the few most promising to the ranker.

The scan holds every kind of move that can lead on: one digit of the best codes, two and three digits, crossings of
good codes, and uniform codes. Its codes are ordered by the reading `blend` of the views' mixture (see
search.prompts.mixture) and the best that are new and feasible become candidates.

A mixture of nine opinions agrees with itself and can stay around one local optimum for ever. After ten trials that
brought nothing better, one step in three goes by the expected improvement that a single view sees, another view each
time, and one in three does so away from the best code, starting from the best codes of other regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from search.prompts.evidence import FEW, read
from search.prompts.mixture import acquire, mixture_gain, normal_gain
from search.spaces import Seen, Space
from search.strategies.listed import Listed
from search.strategies.pool import Request, Stream
from search.strategies.proposals import apart, mixed, since_best

HEADS, PARENTS = 5, 10  # whose one-digit moves are all looked at; whose wider moves and crossings are drawn
NEAR, WIDER, CROSSED, UNIFORM = 300, 240, 80, 300
PATIENT = 10  # trials without a better one; measured on NAS-Bench-201, 12 seeds: fewer searches stay in a second basin
USUAL, ONE_VIEW, ELSEWHERE = range(3)


def wide(request: Request) -> Sequence[Stream]:
    """The most promising of some hundreds of codes that the evidence looked at; with ladders, the same as mixed.

    The scan reads digits; in a space with ladders (search.spaces.ranges) the strategy itself looks at many candidates,
    with the evidence that knows distances.
    """
    if request.space.geometry is not None:
        return mixed(request)
    return (Stream(promising(request.space, request.history, request.rng, request.codes), "scan", request.n),)


def promising(
    space: Space, history: Sequence[Seen], rng: np.random.Generator, listed: Listed | None = None
) -> Iterator[str]:
    """The codes of a scan that were not told, the most promising first; nothing from a history that is too short for
    evidence.
    """
    if len(history) < FEW:
        return iter(())
    told = space.to_array([s.code for s in history])
    ordered = told[np.argsort([-s.value for s in history], kind="stable")]
    turn = since_best(history) % 3 if since_best(history) >= PATIENT else USUAL
    best, heads = ordered[0], ordered
    if turn == ELSEWHERE:
        heads = regions(ordered)[1:]
        heads = heads if len(heads) else ordered
    codes = untold(scan(space, heads, rng) if listed is None else look_up(listed, heads, rng), told)
    if turn == ELSEWHERE:
        codes = codes[(codes != best).sum(axis=1) >= apart(len(space))]
    if not len(codes):
        return iter(())
    views = read(told, np.array([s.value for s in history]))
    evidence, top = views.about(codes), float(views.scores.max())
    if turn == USUAL:
        score = acquire(mixture_gain(evidence, top), evidence.mean.mean(axis=1), "blend")
    else:
        i = rng.integers(evidence.mean.shape[1])
        mean, std = evidence.mean[:, i], evidence.std[:, i]
        score = acquire(normal_gain(mean, std, top), mean, "ei")
    order = np.argsort(-np.round(score, 6), kind="stable")
    return (space.to_codes(codes[i : i + 1])[0] for i in order)


def regions(ordered: np.ndarray) -> np.ndarray:
    """The first of the codes and the next HEADS that lie apart from it and from each other; uint8 (k, d)."""
    heads = ordered[:1]
    for code in ordered[1:]:
        if len(heads) <= HEADS and ((heads != code).sum(axis=1) >= apart(heads.shape[1])).all():
            heads = np.concatenate([heads, code[None]])
    return heads


def scan(space: Space, ordered: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Codes worth a look: told codes, best first, uint8 (n, d) -> (m, d), with repeats."""
    good = ordered[:PARENTS]
    wider = space.mutate(space.mutate(good[rng.integers(len(good), size=WIDER)], rng), rng)
    wider[::4] = space.mutate(wider[::4], rng)
    mother, father = (good[rng.integers(len(good), size=CROSSED)] for _ in range(2))
    crossed = np.where(rng.random(mother.shape) < 0.5, mother, father)
    crossed[::2] = space.mutate(crossed[::2], rng)
    return np.concatenate([moves(space, ordered[:HEADS], rng), wider, crossed, space.sample(rng, UNIFORM)])


def look_up(listed: Listed, ordered: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same where the codes are a list: all of a short one, else those nearest to good codes and random ones."""
    most = NEAR + WIDER + CROSSED + UNIFORM
    if len(listed) <= most:
        return listed.codes
    near = [listed.near(code, (most - UNIFORM) // PARENTS) for code in listed.space.to_codes(ordered[:PARENTS])]
    return np.concatenate([*near, listed.codes[rng.choice(len(listed), size=UNIFORM, replace=False)]])


def untold(codes: np.ndarray, told: np.ndarray) -> np.ndarray:
    """The distinct codes that were not told, in order; uint8 (m, d)."""
    rows = np.ascontiguousarray(np.concatenate([told, codes]))
    _, first = np.unique(rows.view(np.dtype((np.void, rows.shape[1]))).ravel(), return_index=True)
    return rows[np.sort(first[first >= len(told)])]


def moves(space: Space, codes: np.ndarray, rng: np.random.Generator, most: int = NEAR) -> np.ndarray:
    """One-digit moves of codes: all of them, or `most` drawn at random where there are more; uint8 (m, d)."""
    where = np.repeat(np.arange(len(space)), space.cardinalities - 1)
    step = np.concatenate([np.arange(1, n) for n in space.cardinalities]).astype(np.int64)
    total = len(codes) * len(where)
    chosen = np.arange(total) if total <= most else np.sort(rng.choice(total, size=most, replace=False))
    out, at = codes[chosen // max(len(where), 1)].copy(), chosen % max(len(where), 1)
    rows = np.arange(len(out))
    out[rows, where[at]] = (out[rows, where[at]] + step[at]) % space.cardinalities[where[at]]
    return out
