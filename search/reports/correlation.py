"""Correlation of attention with similarity and performance, with and without what position explains (Table 10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from search.rankers.attention import Attended

PERMUTATIONS = 2000


@dataclass(frozen=True)
class Correlation:
    """Pearson's r over all pairs of all questions.

    partial: the same after a straight line in position was taken from both sides.
    p, partial_p: two-sided, by dealing the entries' attribute anew within each question: pairs of one question share
        entries, so the usual test of r, which takes them for independent, would be far too sure.
    """

    what: str
    r: float
    p: float
    partial: float
    partial_p: float
    pairs: int
    questions: int


def correlations(questions: Sequence[Attended], permutations: int = PERMUTATIONS, seed: int = 0) -> list[Correlation]:
    """Attention against similarity, performance and position."""
    return [
        _correlation(what, questions, get, permutations, seed)
        for what, get in (("similarity", _similarity), ("performance", _performance), ("position", _position))
    ]


def _similarity(q: Attended, order: np.ndarray) -> np.ndarray:
    return q.similarity[:, order]


def _performance(q: Attended, order: np.ndarray) -> np.ndarray:
    spread = q.performance.std() or 1.0
    return np.broadcast_to(((q.performance - q.performance.mean()) / spread)[order], q.attention.shape)


def _position(q: Attended, order: np.ndarray) -> np.ndarray:
    return np.broadcast_to((q.position / max(1, len(q.position) - 1))[order], q.attention.shape)


def _correlation(
    what: str,
    questions: Sequence[Attended],
    get: Callable[[Attended, np.ndarray], np.ndarray],
    permutations: int,
    seed: int,
) -> Correlation:
    rng = np.random.default_rng(seed)
    attention = np.concatenate([(q.attention * q.attention.shape[1]).ravel() for q in questions])
    position = np.concatenate([_position(q, np.arange(len(q.position))).ravel() for q in questions])
    rest = _without(attention, position)

    def both(orders: Sequence[np.ndarray]) -> tuple[float, float]:
        attribute = np.concatenate([get(q, order).ravel() for q, order in zip(questions, orders)])
        return _pearson(attention, attribute), _pearson(rest, _without(attribute, position))

    true = both([np.arange(len(q.position)) for q in questions])
    dealt = np.array([both([rng.permutation(len(q.position)) for q in questions]) for _ in range(permutations)])
    p = [(1 + int((np.abs(dealt[:, k]) >= abs(true[k])).sum())) / (1 + permutations) for k in (0, 1)]
    return Correlation(what, true[0], p[0], true[1], p[1], len(attention), len(questions))


def _without(values: np.ndarray, position: np.ndarray) -> np.ndarray:
    """What a straight line in position leaves of the values."""
    centred = position - position.mean()
    slope = float(centred @ values) / (float(centred @ centred) or 1.0)
    return values - values.mean() - slope * centred


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-12 else 0.0


def markdown(rows: Sequence[tuple[str, Correlation]]) -> str:
    """A table, one line an order of the history and an attribute."""
    lines = ["| history | attribute | r | p | r given position | p | pairs | questions |", "|" + "---|" * 8]
    for order, c in rows:
        partial = ("-", "-") if c.what == "position" else (f"{c.partial:+.3f}", f"{c.partial_p:.4f}")
        numbers = f"{c.r:+.3f} | {c.p:.4f} | {partial[0]} | {partial[1]} | {c.pairs} | {c.questions}"
        lines.append(f"| {order} | {c.what} | {numbers} |")
    return "\n".join(lines) + "\n"
