"""Rows from NAS-Bench-301: the DARTS space, 1.08e18 codes of 22 digits, accuracies from a surrogate of the published
runs.

    python -m data_builders.nb301 --source nb_301/ --samples 114000

The folder holds the benchmark's results_*.json (figshare 13246952). Their runs are refitted once into a
gradient-boosting ensemble whose held-out score is printed; predictions are without noise. Cells that compute the same
from different digits count as one architecture.
"""

from __future__ import annotations

import argparse

import numpy as np

from data_builders.options import add_arguments, run_builder
from data_builders.rows.batch import Source
from data_builders.rows.from_tables import origin, path_fact
from data_builders.rows.pools import LivePool
from data_builders.rows.sampling import PoolSource, RowShape
from search.errors import UserError, cli
from search.prompts.bulk import SpaceText
from search.spaces.nb301 import architecture_keys, space
from search.tables import nb301

HOW = (
    "no source was given for nb301 - no package has its runs - download them from figshare (13246952), unpack, give the"
    " folder: --source nb_301/"
)


class Predicted:
    """Values of a LivePool: the mean prediction of the surrogate's members."""

    def __init__(self, surrogate, sign: float):
        self.surrogate, self.sign = surrogate, sign

    def __call__(self, column: np.ndarray, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
        return self.sign * self.surrogate.predict(codes)[0]


def make_source(
    shape: RowShape, source: str | None = None, encoding: str = "ncode", metric: str = "val_acc", members: int = 10
) -> Source:
    """Rows from the surrogate of one metric of the runs in `source`."""
    if source is None:
        raise UserError(HOW)
    from search.tables.nb301_surrogate import fit

    table = nb301.load(source)
    surrogate = fit(table, metric, members=members)
    direction = table.directions.get(metric, "maximize")
    own = space()
    values = Predicted(surrogate, 1.0 if direction == "maximize" else -1.0)
    pool = LivePool(own.cardinalities, architecture_keys, values, SpaceText(own, encoding), surplus=1.5)
    score = {k: round(float(v), 4) for k, v in surrogate.held_out.items()}
    facts = origin(table, metric, direction, **path_fact(source)) | {"table": "nb301", "surrogate": score}
    return PoolSource("nb301", pool, [facts], shape)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.nb301", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, "nb301")
    parser.add_argument("--source", default=None, help="folder of results_*.json, or a CSV with a column 'genotype'")
    parser.add_argument("--metric", default="val_acc", help="metric of the runs (default val_acc)")
    parser.add_argument("--members", type=int, default=10, help="members of the ensemble (default 10)")
    args = parser.parse_args()
    options = {"metric": args.metric, "members": args.members}
    return run_builder(
        args, "nb301", lambda shape: make_source(shape, args.source, args.encoding, **options), {"options": options}
    )


if __name__ == "__main__":
    cli(main)
