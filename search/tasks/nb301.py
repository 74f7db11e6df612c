"""The DARTS space with the NAS-Bench-301 surrogate: maximise the predicted validation accuracy of a 100-epoch training.

NB301(source="nb_301/")                                       the published runs, refitted
NB301(source="genotypes.csv", metric="test_acc", members=5)   a list of measured genotypes
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from search.spaces.nb301 import genotype
from search.tables import nb301
from search.tables.nb301_surrogate import fit
from search.tasks.base import Result, Task


class NB301(Task):
    """source: runs folder or CSV. metric: what to predict. members: boosters in the ensemble.

    noise: add normal noise with the members' standard deviation, fixed by (seed, code), as the original does by
    default.
    """

    direction = "maximize"

    def __init__(
        self, source: str | Path | None = None, metric: str = "val_acc", members: int = 10, noise: bool = False
    ):
        self.name, self.metric, self.noise = "nb301", metric, noise
        measured = nb301.load(source)
        members = int(members)
        self.space = measured.space
        self.direction = measured.directions.get(metric, "maximize")
        self.surrogate = fit(measured, metric, members)
        self._about = {
            "source": measured.source,
            "table_sha256": measured.sha256,
            "held_out": self.surrogate.held_out,
            "noise": noise,
        }

    def evaluate(self, code: str, seed: int = 0) -> Result:
        mean, spread = (float(x[0]) for x in self.surrogate.predict(self.space.to_array([code])))
        noise = np.random.default_rng((seed, zlib.crc32(code.encode()))).normal() * spread if self.noise else 0.0
        return Result(mean + noise, info={"spread": spread})

    def epilogue(self, best: str) -> str:
        return f"genotype: {genotype(best)}"

    def describe(self) -> dict[str, Any]:
        return super().describe() | self._about
