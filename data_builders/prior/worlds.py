"""The prior of the nano searcher: random search spaces and random response functions on them. Numpy only, nothing real.

    world = sample_world(np.random.default_rng(7))
    codes = world.sample(rng, 100)          # uint8 (100, decisions)
    values = world.observe(codes, rng)      # float64 (100,), higher is better

A world is a weighted sum of terms (main effects, options that mean the same in every decision, ordered options, pair
and triple interactions, counts of an option, cells and link graphs), bent by a shape (saturation, heavy tails), cut by
dead regions and blurred by noise. Every number below was chosen before any real table was scored with a trained model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_builders.prior.terms import TERMS, Layout, Term

PROBE = 256  # random codes that fix a world's scale


@dataclass(frozen=True)
class World:
    """A layout with its response. `clean` maps int64 codes (n, d) to float64 (n,); noise is in units of its spread."""

    layout: Layout
    terms: tuple[str, ...]
    clean: Term
    spread: float
    noise: float
    step: float
    gate: tuple[int, np.ndarray] | None

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n uniform codes, uint8 (n, d), repeats possible."""
        return (rng.random((n, len(self.layout.sizes))) * self.layout.sizes).astype(np.uint8)

    def observe(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Measured values of codes: response plus fresh noise, rounded to the world's step (0: not rounded)."""
        values = self.clean(codes.astype(np.int64)) + rng.normal(size=len(codes)) * self.noise * self.spread
        return np.round(values / self.step) * self.step if self.step else values


def sample_layout(rng: np.random.Generator) -> Layout:
    """A random space of 2 to 48 decisions with 2 to 30 options."""
    u = rng.random()
    d = int(
        rng.integers(2, 7)
        if u < 0.2
        else rng.integers(5, 13)
        if u < 0.75
        else rng.integers(12, 25)
        if u < 0.92
        else rng.integers(25, 49)
    )
    if rng.random() < 0.07 and d >= 4:
        nodes = min(d // 2, 8)
        options = int(rng.integers(2, 10))
        sizes = np.concatenate([np.arange(nodes) + int(rng.integers(1, 3)), np.full(nodes, options)])
        return Layout(sizes, np.repeat([0, 1], nodes), np.array([False, False]), "links")
    style = rng.choice(["shared", "blocks", "own"], p=[0.5, 0.3, 0.2])
    groups = 1 if style == "shared" else int(rng.integers(2, 5)) if style == "blocks" else d
    group = np.sort(rng.integers(groups, size=d)) if style != "own" else np.arange(d)
    group = np.unique(group, return_inverse=True)[1]
    groups = int(group.max()) + 1
    if rng.random() < 0.2:
        group = rng.permutation(group)
    wide = rng.random(groups) < 0.06
    options = np.where(
        wide, rng.integers(11, 31, groups), np.minimum(2 + rng.geometric(0.3, groups) - (rng.random(groups) < 0.2), 10)
    )
    ordered = rng.random(groups) < rng.choice([0.0, 0.5, 1.0], p=[0.45, 0.35, 0.2])
    return Layout(np.maximum(options, 2)[group].astype(np.int64), group, ordered)


def sample_world(rng: np.random.Generator, layout: Layout | None = None) -> World:
    """A random space (or this one) with a random response function on it."""
    layout = layout or sample_layout(rng)
    probe = (rng.random((PROBE, len(layout.sizes))) * layout.sizes).astype(np.int64)
    gate = _gate(rng, layout)
    see = (lambda codes: codes) if gate is None else (lambda codes: _closed(codes, gate))
    names = _recipe(rng, layout)
    parts = []
    for name in names:
        term = TERMS[name](rng, layout)
        seen = term(see(probe))
        parts.append((rng.exponential() + 0.15, term, seen.mean(), seen.std() + 1e-9))

    def total(codes: np.ndarray) -> np.ndarray:
        codes = see(codes)
        return sum(weight * (term(codes) - mean) / std for weight, term, mean, std in parts)

    seen = total(probe)
    bend = _shape(rng, seen.mean(), seen.std() + 1e-9)
    bent = bend(seen)
    dead = _dead(rng, layout)
    floor = float(np.quantile(bent, rng.choice([0.0, 0.02, 0.2])) - rng.exponential() * bent.std())

    def clean(codes: np.ndarray) -> np.ndarray:
        values = bend(total(codes))
        return values if dead is None else np.where(dead(see(codes)), floor + 0.02 * (values - floor) * blurred, values)

    blurred = float(rng.random() < 0.5)
    spread = float(clean(probe).std() + 1e-9)
    noise = float(
        rng.choice([0.0, rng.uniform(0.01, 0.1), rng.uniform(0.1, 0.5), rng.uniform(0.5, 1.5)], p=[0.3, 0.3, 0.3, 0.1])
    )
    step = spread * rng.uniform(0.02, 0.3) if rng.random() < 0.1 else 0.0
    return World(layout, tuple(names), clean, spread, noise, step, gate)


def _recipe(rng: np.random.Generator, layout: Layout) -> list[str]:
    """Which terms a world has: one to four, fitting the layout."""
    odds = {
        "main": 0.8,
        "shared": 1.2,
        "pairs": 0.7,
        "triples": 0.3,
        "count": 0.7,
        "cell": 0.9,
        "ordered": 0.0,
        "bends": 0.0,
        "chain": 0.0,
    }
    if layout.ordered[layout.group].any():
        odds |= {"ordered": 2.0, "bends": 0.7, "chain": 0.6}
    if layout.kind == "links":
        odds |= {"links": 3.0, "cell": 0.0}
    names, weights = list(odds), np.array(list(odds.values()))
    n = int(rng.choice([1, 2, 3, 4], p=[0.2, 0.35, 0.3, 0.15]))
    return list(rng.choice(names, size=n, p=weights / weights.sum()))


def _gate(rng: np.random.Generator, layout: Layout) -> tuple[int, np.ndarray] | None:
    """Sometimes one decision is a depth: it switches off the last decisions of a block."""
    d = len(layout.sizes)
    if d < 4 or rng.random() > 0.12:
        return None
    lever = int(rng.integers(d))
    rest = np.delete(np.arange(d), lever)
    block = rest[-int(rng.integers(1, min(d - 1, layout.sizes[lever]) + 1)) :]
    return lever, block


def _closed(codes: np.ndarray, gate: tuple[int, np.ndarray]) -> np.ndarray:
    """Codes with their inactive decisions set to option 0."""
    lever, block = gate
    codes = codes.copy()
    codes[:, block] *= np.arange(len(block)) < codes[:, [lever]]
    return codes


def _shape(rng: np.random.Generator, mean: float, std: float) -> Term:
    """How the sum of terms becomes a value: as it is, saturating at the top, squashed, or with a heavy tail."""
    way, k = int(rng.choice(5, p=[0.3, 0.3, 0.1, 0.2, 0.1])), rng.uniform(0.3, 1.5)
    return [
        lambda t: (t - mean) / std,
        lambda t: 1 - np.exp(np.minimum(-k * (t - mean) / std, 12.0)),
        lambda t: np.tanh(k * (t - mean) / std),
        lambda t: -np.exp(np.minimum(-2 * k * (t - mean) / std, 14.0)),
        lambda t: np.exp(np.minimum(k * (t - mean) / std, 14.0)),
    ][way]


def _dead(rng: np.random.Generator, layout: Layout) -> Term | None:
    """Sometimes a region fails: an option in one or two decisions, or too much of it."""
    u = rng.random()
    if u > 0.2:
        return None
    members = layout.members(rng)
    option = int(rng.integers(layout.sizes[members].max()))
    if u < 0.1:
        few = rng.permutation(members)[: int(rng.integers(1, 3))]
        return lambda x: (x[:, few] == option).all(1)
    limit = int(rng.integers(1, len(members) + 1))
    return lambda x: (x[:, members] == option).sum(1) >= max(limit, len(members) / 2)
