"""Rows from NAS-Bench-301: the DARTS space, 1.08e18 codes of 22 digits, accuracies from a surrogate of the published runs.

    python -m data_builders.nb301 --source nb_301/ --samples 114000

The folder holds the benchmark's results_*.json (figshare 13246952). Their runs are refitted once into a gradient-boosting
ensemble whose held-out score is printed; predictions are without noise. Cells that compute the same from different digits
count as one architecture.
"""

from __future__ import annotations

import argparse

import numpy as np

from data_builders.common import origin, path_fact
from data_builders.encoding import SpaceText
from data_builders.options import add_arguments, run_builder
from data_builders.pools import LivePool
from data_builders.rows import Source
from data_builders.sampling import PoolSource, RowShape
from search.errors import UserError, cli
from search.tables import nb301

HOW = "no source was given for nb301 - no package has its runs - download them from figshare (13246952), unpack, give the folder: --source nb_301/"
_ODD = [np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)]


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(31))) * _ODD[1]
    x = (x ^ (x >> np.uint64(29))) * _ODD[2]
    return x ^ (x >> np.uint64(32))


def _sources(digits: np.ndarray, node: int) -> np.ndarray:
    """The two source states of a node of each cell; int64 (n, 2). digits: uint8 (n, 11)."""
    pairs = np.array(nb301.PAIRS[node])
    return pairs[digits[:, 5 + node] if node > 2 else np.zeros(len(digits), dtype=np.int64)]


def cell_keys(digits: np.ndarray) -> np.ndarray:
    """A number per cell that does not change with the order of its nodes; uint8 (n, 11) -> uint64 (n,)."""
    n = len(digits)
    state = np.empty((n, 6), dtype=np.uint64)
    state[:, 0], state[:, 1] = _ODD[0], _ODD[1]
    rows = np.arange(n)
    for node in (2, 3, 4, 5):
        total = np.zeros(n, dtype=np.uint64)
        for k, source in enumerate(_sources(digits, node).T):
            operation = digits[:, 2 * (node - 2) + k].astype(np.uint64)
            total += _mix(state[rows, source] * np.uint64(31) + operation + np.uint64(1))
        state[:, node] = _mix(total)
    return sum(_mix(state[:, node] + np.uint64(7)) for node in (2, 3, 4, 5))


def architecture_keys(codes: np.ndarray) -> np.ndarray:
    """A 63-bit number per architecture; uint8 (n, 22) -> int64 (n,)."""
    both = cell_keys(codes[:, :11]) * np.uint64(3) + _mix(cell_keys(codes[:, 11:]))
    return (_mix(both) >> np.uint64(1)).astype(np.int64)


def edge_features(codes: np.ndarray, operations: int) -> np.ndarray:
    """`search.tables.nb301.edge_matrix` of many codes at once; uint8 (n, 22) -> float32 (n, 28 * operations)."""
    out = np.zeros((len(codes), 28, operations), dtype=np.float32)
    rows = np.arange(len(codes))
    for cell in (0, 1):
        digits = codes[:, 11 * cell : 11 * cell + 11]
        for node in (2, 3, 4, 5):
            for k, source in enumerate(_sources(digits, node).T):
                out[rows, 14 * cell + nb301.EDGE_OFFSET[node] + source, digits[:, 2 * (node - 2) + k]] = 1
    return out.reshape(len(codes), -1)


class Predicted:
    """Values of a LivePool: the mean prediction of the surrogate's members."""

    def __init__(self, surrogate, sign: float):
        self.surrogate, self.sign = surrogate, sign

    def __call__(self, column: np.ndarray, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
        features = edge_features(codes, self.surrogate.operations)
        return self.sign * np.mean([m.inplace_predict(features) for m in self.surrogate.members], axis=0, dtype=np.float64)


def make_source(shape: RowShape, source: str | None = None, encoding: str = "ncode", metric: str = "val_acc", members: int = 10) -> Source:
    """Rows from the surrogate of one metric of the runs in `source`."""
    if source is None:
        raise UserError(HOW)
    from search.tables.nb301_surrogate import fit

    table = nb301.load(source)
    surrogate = fit(table, metric, members=members)
    direction = table.directions.get(metric, "maximize")
    space = nb301.space()
    pool = LivePool(
        space.cardinalities, architecture_keys, Predicted(surrogate, 1.0 if direction == "maximize" else -1.0), SpaceText(space, encoding), surplus=1.5
    )
    score = {k: round(float(v), 4) for k, v in surrogate.held_out.items()}
    facts = origin(table, metric, direction, **path_fact(source)) | {"table": "nb301", "surrogate": score}
    return PoolSource("nb301", pool, [facts], shape)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m data_builders.nb301", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "nb301")
    parser.add_argument("--source", default=None, help="folder of results_*.json, or a CSV with a column 'genotype'")
    parser.add_argument("--metric", default="val_acc", help="metric of the runs (default val_acc)")
    parser.add_argument("--members", type=int, default=10, help="members of the ensemble (default 10)")
    args = parser.parse_args()
    options = {"metric": args.metric, "members": args.members}
    return run_builder(args, "nb301", lambda shape: make_source(shape, args.source, args.encoding, **options), {"options": options})


if __name__ == "__main__":
    cli(main)
