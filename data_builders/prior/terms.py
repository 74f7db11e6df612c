"""The building blocks of random responses: each takes a generator and a layout and gives a function of int64 codes (n,
d) -> (n,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Term = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Layout:
    """A random space.

    sizes: options per decision, int64 (d,).
    group: decisions with the same group share their option list.
    ordered: whether a group's options are ordered (widths, depths).
    kind: flat, links (node inputs, then node operations).
    """

    sizes: np.ndarray
    group: np.ndarray
    ordered: np.ndarray
    kind: str = "flat"

    def members(self, rng: np.random.Generator) -> np.ndarray:
        """The decisions of one random group, larger groups first in the odds."""
        return np.flatnonzero(self.group == self.group[rng.integers(len(self.group))])


def _scales(rng: np.random.Generator, d: int) -> np.ndarray:
    """Importance of decisions, float (d,): from even to a few strong and many weak."""
    scales = np.exp(rng.normal(size=d) * rng.choice([0.0, 0.5, 1.0, 2.0]))
    return scales * (rng.random(d) < rng.choice([1.0, 0.5])) + 1e-3


def _positions(rng: np.random.Generator, d: int) -> np.ndarray:
    """Weights along the positions of a group: even, rising, falling, or ragged."""
    ramp = np.linspace(0.2, 1.0, d)
    return [np.ones(d), ramp, ramp[::-1], np.exp(rng.normal(size=d))][rng.integers(4)]


def _options(rng: np.random.Generator, n: int) -> np.ndarray:
    """Effects of n options: normal, one bad option, or one good option among equals."""
    effects = rng.normal(size=n)
    u = rng.random()
    if u < 0.3:
        effects *= 0.2
        effects[rng.integers(n)] += 2.0 if u < 0.08 else -2.0
    return effects


def _main(rng: np.random.Generator, layout: Layout) -> Term:
    sizes = layout.sizes
    table = np.zeros((len(sizes), sizes.max()))
    for j, scale in enumerate(_scales(rng, len(sizes))):
        table[j, : sizes[j]] = scale * _options(rng, sizes[j])
    columns = np.arange(len(sizes))
    return lambda x: table[columns, x].sum(1)


def _shared(rng: np.random.Generator, layout: Layout) -> Term:
    members = layout.members(rng)
    effects, weights = _options(rng, layout.sizes[members].max()), _positions(rng, len(members))
    return lambda x: effects[x[:, members]] @ weights


def _pairs(rng: np.random.Generator, layout: Layout) -> Term:
    return _crossed(rng, layout, 2, int(rng.integers(1, 2 * len(layout.sizes) + 1)))


def _triples(rng: np.random.Generator, layout: Layout) -> Term:
    return _crossed(rng, layout, 3, int(rng.integers(1, len(layout.sizes) + 1)))


def _crossed(rng: np.random.Generator, layout: Layout, order: int, n: int) -> Term:
    """Sum of n random tables over `order` decisions each, neighbours preferred half of the time."""
    d = len(layout.sizes)
    order = min(order, d)
    near = rng.random() < 0.5
    start = rng.integers(d - order + 1, size=n)
    picks = (
        start[:, None] + np.arange(order) if near else np.stack([rng.choice(d, order, replace=False) for _ in range(n)])
    )
    top = int(layout.sizes.max())
    table = rng.normal(size=top**order) if rng.random() < 0.25 else None
    tables = [table if table is not None else rng.normal(size=top**order) for _ in range(min(n, 24))]
    powers = top ** np.arange(order)
    strength = np.exp(rng.normal(size=len(tables)) * 0.7)
    return lambda x: sum(s * t[x[:, p] @ powers] for s, t, p in zip(strength, tables, picks))


def _count(rng: np.random.Generator, layout: Layout) -> Term:
    members = layout.members(rng)
    parts = []
    for option in rng.permutation(layout.sizes[members].max())[: rng.integers(1, 4)]:
        centre, power = rng.random(), rng.choice([0.5, 1.0, 2.0])
        curve = [lambda c, p=power: c**p, lambda c, m=centre: -((c - m) ** 2), lambda c, m=centre: (c > m) * 1.0][
            rng.integers(3)
        ]
        parts.append((rng.normal(), option, curve))
    return lambda x: sum(w * f((x[:, members] == o).mean(1)) for w, o, f in parts)


def _ordered(rng: np.random.Generator, layout: Layout) -> Term:
    """Monotone or single-peaked curves of ordered options, alike within a group or each decision its own."""
    columns = np.flatnonzero(layout.ordered[layout.group])
    top = np.maximum(layout.sizes[columns] - 1, 1)
    alike = rng.random() < 0.6
    groups = layout.group[columns] if alike else np.arange(len(columns))
    peaked = (rng.random(len(layout.sizes)) < 0.35)[groups]
    sign = np.where(rng.random(len(layout.sizes)) < 0.7, 1.0, -1.0)[groups]
    centre, power = rng.random(len(layout.sizes))[groups], np.exp(rng.normal(size=len(layout.sizes)) * 0.5)[groups]
    scale = _scales(rng, len(columns)) if not alike or rng.random() < 0.4 else _positions(rng, len(columns))

    def term(x: np.ndarray) -> np.ndarray:
        u = x[:, columns] / top
        return np.where(peaked, -4 * (u - centre) ** 2, sign * u**power) @ scale

    return term


def _bends(rng: np.random.Generator, layout: Layout) -> Term:
    """Interactions of ordered decisions: products, bottlenecks (the smaller counts), mismatches."""
    columns = np.flatnonzero(layout.ordered[layout.group])
    n = int(rng.integers(1, len(columns) + 1))
    left, right = rng.choice(columns, n), rng.choice(columns, n)
    way, weight = int(rng.integers(3)), rng.normal(size=n)

    def term(x: np.ndarray) -> np.ndarray:
        a, b = x[:, left] / (layout.sizes[left] - 1), x[:, right] / (layout.sizes[right] - 1)
        return [a * b, np.minimum(a, b), -np.abs(a - b)][way] @ weight

    return term


def _chain(rng: np.random.Generator, layout: Layout) -> Term:
    """Cost of a stack: products of neighbouring widths, for or against."""
    columns = np.flatnonzero(layout.ordered[layout.group])
    weight, sign, base = _positions(rng, len(columns)), rng.choice([-1.0, 1.0]), rng.uniform(0.1, 1.0)

    def term(x: np.ndarray) -> np.ndarray:
        u = base + x[:, columns] / (layout.sizes[columns] - 1)
        return sign * (u * np.roll(u, 1, axis=1)) @ weight

    return term


def _cell(rng: np.random.Generator, layout: Layout) -> Term:
    """A graph cell: edges carry operations with a gain (one may cut, one may pass), nodes add or take the best."""
    members = layout.members(rng)
    nodes = int(rng.choice([n for n in (2, 3, 4, 5, 6) if n * (n - 1) // 2 <= len(members)]))
    edges = [(i, j) for j in range(1, nodes) for i in range(j)]
    if rng.random() < 0.5:
        edges.sort()
    columns = members[: len(edges)] if rng.random() < 0.5 else rng.permutation(members)[: len(edges)]
    gain = np.exp(rng.normal(size=layout.sizes[members].max()) * rng.choice([0.3, 0.7, 1.2]))
    kinds = rng.permutation(len(gain))
    if rng.random() < 0.7:
        gain[kinds[0]] = rng.choice([0.0, 0.1])
    if rng.random() < 0.6:
        gain[kinds[-1]] = 1.0
    joins, deep = rng.random() < 0.7, rng.random() < 0.4
    lengths = np.where(gain > 0, np.log(gain + 1.5), -1e3)
    order = sorted(range(len(edges)), key=lambda e: edges[e][1])

    def term(x: np.ndarray) -> np.ndarray:
        value = np.zeros((len(x), nodes)) if not deep else np.full((len(x), nodes), -1e3)
        value[:, 0] = 0.0 if deep else 1.0
        for e in order:
            i, j = edges[e]
            if deep:
                value[:, j] = np.maximum(value[:, j], value[:, i] + lengths[x[:, columns[e]]])
            else:
                flow = value[:, i] * gain[x[:, columns[e]]]
                value[:, j] = value[:, j] + flow if joins else np.maximum(value[:, j], flow)
        return np.maximum(value[:, -1], -3.0) if deep else np.log(value[:, -1] + 0.05)

    return term


def _links(rng: np.random.Generator, layout: Layout) -> Term:
    """Nodes that choose their input: a node's value is its input's plus its operation's, read at the leaves or at the
    end.
    """
    nodes = len(layout.sizes) // 2
    effects, fade, spread = _options(rng, layout.sizes[-1]), rng.uniform(0.3, 1.0), rng.normal() * 0.5

    def term(x: np.ndarray) -> np.ndarray:
        value = np.zeros((len(x), nodes + 1))
        rows = np.arange(len(x))
        for i in range(nodes):
            parent = np.minimum(x[:, i], i)
            value[:, i + 1] = fade * value[rows, parent] + effects[x[:, nodes + i]] + spread * (parent == 0)
        return value[:, 1:].mean(1) if fade > 0.6 else value.max(1)

    return term


TERMS: dict[str, Callable[[np.random.Generator, Layout], Term]] = {
    "main": _main,
    "shared": _shared,
    "pairs": _pairs,
    "triples": _triples,
    "count": _count,
    "ordered": _ordered,
    "bends": _bends,
    "chain": _chain,
    "cell": _cell,
    "links": _links,
}
