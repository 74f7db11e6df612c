"""Rows from NAS-Bench-101: 423,624 cells; 26 digits, of which several spell the same cell.

    python -m data_builders.nb101 --source nasbench_only108.tfrecord --samples 100000

Subspaces are those of the 26 digits. A code is looked up by its cell (pruned, up to isomorphism); codes that are no cell of
the benchmark are left out, and a row never shows a cell twice.
"""

from __future__ import annotations

import argparse

import numpy as np

from data_builders.common import higher_is_better, origin, path_fact
from data_builders.encoding import SpaceText
from data_builders.options import add_arguments, run_builder
from data_builders.pools import LivePool
from data_builders.rows import Source
from data_builders.sampling import PoolSource, RowShape
from search.errors import UserError, cli
from search.tables import load_table
from search.tables.nb101 import EDGES, valid_array

_ODD = [np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)]


def _mix(x: np.ndarray, k: int) -> np.ndarray:
    x = (x + _ODD[k]) * _ODD[(k + 1) % 5]
    x ^= x >> np.uint64(29)
    x *= _ODD[(k + 2) % 5]
    return x ^ (x >> np.uint64(32))


def cell_keys(codes: np.ndarray) -> np.ndarray:
    """A 63-bit number per code, equal for equal cells, -1 for codes that are no valid cell; uint8 (n, 26) -> int64 (n,).

    The same Weisfeiler-Lehman rounds as the benchmark's md5 key, on 64-bit integers and many codes at once.
    """
    bits = codes[:, :21].astype(bool)
    n = len(codes)
    forward, backward = np.zeros((7, n), dtype=bool), np.zeros((7, n), dtype=bool)
    forward[0] = backward[6] = True
    for k, (i, j) in enumerate(EDGES):
        forward[j] |= bits[:, k] & forward[i]
    for k in range(20, -1, -1):
        i, j = EDGES[k]
        backward[i] |= bits[:, k] & backward[j]
    alive = forward & backward
    edge = {e: (bits[:, k] & alive[e[0]] & alive[e[1]]).astype(np.uint64) for k, e in enumerate(EDGES)}
    out_degree = [sum((edge[v, j] for j in range(v + 1, 7)), np.zeros(n, np.uint64)) for v in range(7)]
    in_degree = [sum((edge[i, v] for i in range(v)), np.zeros(n, np.uint64)) for v in range(7)]
    labels = [np.full(n, 3, np.uint64), *(codes[:, 20 + v].astype(np.uint64) for v in range(1, 6)), np.full(n, 4, np.uint64)]
    color = [_mix(out_degree[v] * np.uint64(64) + in_degree[v] * np.uint64(8) + labels[v], 0) for v in range(7)]
    rounds = alive.sum(axis=0)
    for r in range(7):
        before, after = [_mix(c, 1) for c in color], [_mix(c, 2) for c in color]
        fresh = []
        for v in range(7):
            left = sum((edge[i, v] * before[i] for i in range(v)), np.zeros(n, np.uint64))
            right = sum((edge[v, j] * after[j] for j in range(v + 1, 7)), np.zeros(n, np.uint64))
            fresh.append(np.where(r < rounds, _mix(_mix(left, 3) ^ right * _ODD[4] ^ color[v] * _ODD[1], 4), color[v]))
        color = fresh
    total = sum((_mix(c, 3) * a for c, a in zip(color, alive.astype(np.uint64))), np.zeros(n, np.uint64))
    key = (_mix(total, 0) >> np.uint64(1)).astype(np.int64)
    return np.where(valid_array(codes), key, -1)


class CellIndex:
    """Rows of a NAS-Bench-101 table by cell. Picklable: the `keys` and `values` functions of a LivePool."""

    def __init__(self, codes: np.ndarray, values: np.ndarray):
        keys = cell_keys(codes)
        order = np.argsort(keys)
        self.known, self.measured = keys[order], values[order]
        if len(keys) and (self.known[0] < 0 or (np.diff(self.known) == 0).any()):
            raise UserError("the NAS-Bench-101 table lists a cell twice or one that is none - it was changed or is of another kind - download it again")

    def keys(self, codes: np.ndarray) -> np.ndarray:
        """The place of each code's cell in the table, -1 where it has none or no value."""
        wanted = cell_keys(codes)
        at = np.minimum(np.searchsorted(self.known, wanted), len(self.known) - 1)
        return np.where((self.known[at] == wanted) & ~np.isnan(self.measured[at]), at, -1)

    def values(self, column: np.ndarray, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """The value of each cell."""
        return self.measured[keys]


class CellPool(LivePool):
    """The pool of a table's cells; distinct cells are those of the table."""

    def __init__(self, sizes: np.ndarray, index: CellIndex, text):
        super().__init__(sizes, index.keys, index.values, text)
        self.cells = int((~np.isnan(index.measured)).sum())

    def distinct(self, column: int) -> int:
        """Cells with a value."""
        return self.cells


def make_source(shape: RowShape, source: str | None = None, encoding: str = "ncode", metric: str = "val_acc", direction: str | None = None) -> Source:
    """Rows from the original TFRecord file (or a CSV of cells)."""
    table = load_table("nb101", source)
    index = CellIndex(table.codes, higher_is_better(table, metric, direction))
    pool = CellPool(table.space.cardinalities, index, SpaceText(table.space, encoding))
    return PoolSource("nb101", pool, [origin(table, metric, direction, **path_fact(source))], shape)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m data_builders.nb101", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "nb101")
    parser.add_argument("--source", default=None, help="nasbench_only108.tfrecord, nasbench_full.tfrecord, or a CSV of cells")
    parser.add_argument("--metric", default="val_acc", help="metric of the table (default val_acc, mean of the repeats)")
    parser.add_argument("--direction", choices=("maximize", "minimize"), default=None, help="needed only where the table does not say")
    args = parser.parse_args()
    options = {"metric": args.metric, "direction": args.direction}
    return run_builder(args, "nb101", lambda shape: make_source(shape, args.source, args.encoding, **options), {"options": options})


if __name__ == "__main__":
    cli(main)
