"""Rows from the synthetic prior: random spaces with random responses (`data_builders.prior.worlds`). No files are
needed.

Every group of rows shares a random world, each row has its own pruned subspace of it. A row shows noisy measurements;
the answer is the candidate that is best without noise. Codes that a depth decision makes equal count as one
architecture.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from data_builders.prior.worlds import World, sample_world
from data_builders.rows.batch import RowBatch
from data_builders.rows.masks import draw_counts
from data_builders.rows.mixing import join
from data_builders.rows.pools import LivePool, code_keys
from data_builders.rows.sampling import PoolSource, RowShape
from search.errors import UserError

GROUP = 32  # rows that share a world
PROBE = 64  # masks that decide whether a world's subspaces are large enough
FACTS = {
    "table": "synthetic",
    "metric": "value",
    "direction": "maximize",
    "source": "random responses, no real table",
    "licence": "Apache-2.0",
    "sha256": "",
}


def same_architecture(world: World, codes: np.ndarray) -> np.ndarray:
    """Codes with the decisions that their depth switches off set to 0; uint8 (n, d)."""
    if world.gate is None:
        return codes
    lever, block = world.gate
    codes = codes.copy()
    codes[:, block] *= np.arange(len(block)) < codes[:, [lever]]
    return codes


class PriorSource:
    """Rows from random worlds; see the module's docstring."""

    def __init__(self, shape: RowShape, group: int = GROUP):
        self.name, self.origins, self.shape, self.group = "synthetic", [FACTS], shape, group

    def batch(self, rng: np.random.Generator, rows: int) -> RowBatch:
        """The next rows."""
        parts, counts = list[RowBatch](), Counter[str]()
        while rows > 0:
            world = sample_world(rng)
            if not self.large_enough(world, rng):
                counts["worlds_too_small"] += 1
                continue
            n = min(rows, self.group)
            try:
                parts.append(self._from_world(world, rng, n))
            except UserError:  # too few different architectures in its subspaces, or (direct) too many equal best ones
                counts["worlds_without_rows"] += 1
                continue
            counts["worlds"] += 1
            rows -= n
        joined = join(parts, [0] * len(parts))
        joined.counts.update(counts)
        return joined

    def large_enough(self, world: World, rng: np.random.Generator) -> bool:
        """Whether pruned subspaces of this world often hold enough codes for a row."""
        sizes, need = world.layout.sizes, int(self.shape.enough(np.array([self.shape.most]))[0])
        if float(np.prod(sizes.astype(np.float64))) < 2 * need:
            return False
        if not self.shape.pruning:
            return True
        counts = draw_counts(sizes, rng, PROBE, self.shape.p_decision, self.shape.p_option)
        return bool((np.prod(counts, axis=0, dtype=np.float64) >= 2 * need).sum() >= 2)

    def _from_world(self, world: World, rng: np.random.Generator, rows: int) -> RowBatch:
        pool = LivePool(
            world.layout.sizes,
            keys=lambda codes: code_keys(same_architecture(world, codes)),
            values=lambda column, codes, keys: world.clean(codes.astype(np.int64)),
            surplus=1.25 if world.gate is None else 3.0,
        )
        batch = PoolSource("synthetic", pool, [FACTS], self.shape).batch(rng, rows)
        return measured(world, batch, rng, self.shape.direct)


def measured(world: World, batch: RowBatch, rng: np.random.Generator, direct: bool) -> RowBatch:
    """The batch with noise on the history (never above the answer of a direct row) and all values on the world's
    grid.
    """
    place = np.arange(len(batch.values)) - np.repeat(batch.start, batch.history + batch.candidates)
    shown = place < np.repeat(batch.history, batch.history + batch.candidates)
    values = batch.values.copy()
    if world.noise and not direct:
        values[shown] += rng.normal(size=int(shown.sum())) * world.noise * world.spread
    if world.step and not direct:
        values = np.round(values / world.step) * world.step
    return RowBatch(batch.texts, values, batch.history, batch.candidates, batch.origin, batch.counts)


def make_source(shape: RowShape, source: str | None = None, encoding: str = "ncode", group: int = GROUP) -> PriorSource:
    """The synthetic source; it has neither files nor operator names."""
    if source is not None:
        raise UserError(f"source '{source}' was given - synthetic rows need no file - leave it out")
    if encoding != "ncode":
        raise UserError(f"encoding '{encoding}' was given - options of synthetic spaces have no names - use ncode")
    return PriorSource(shape, group)
