"""Rows from NAS-Bench-101: 423,624 cells; 26 digits, of which several spell the same cell.

    python -m data_builders.nb101 --source nasbench_only108.tfrecord --samples 100000

Subspaces are those of the 26 digits. A code is looked up by its cell (pruned, up to isomorphism); codes that are no
cell of the benchmark are left out, and a row never shows a cell twice.
"""

from __future__ import annotations

import argparse

import numpy as np

from data_builders.options import add_arguments, run_builder
from data_builders.rows.batch import Source
from data_builders.rows.from_tables import higher_is_better, origin, path_fact
from data_builders.rows.pools import LivePool
from data_builders.rows.sampling import PoolSource, RowShape
from search.errors import UserError, cli
from search.prompts.bulk import SpaceText
from search.spaces.nb101 import cell_keys
from search.tables import load_table


class CellIndex:
    """Rows of a NAS-Bench-101 table by cell. Picklable: the `keys` and `values` functions of a LivePool."""

    def __init__(self, codes: np.ndarray, values: np.ndarray):
        keys = cell_keys(codes)
        order = np.argsort(keys)
        self.known, self.measured = keys[order], values[order]
        if len(keys) and (self.known[0] < 0 or (np.diff(self.known) == 0).any()):
            raise UserError(
                "the NAS-Bench-101 table lists a cell twice or one that is none - it was changed or is of another kind"
                " - download it again"
            )

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


def make_source(
    shape: RowShape,
    source: str | None = None,
    encoding: str = "ncode",
    metric: str = "val_acc",
    direction: str | None = None,
) -> Source:
    """Rows from the original TFRecord file (or a CSV of cells)."""
    table = load_table("nb101", source)
    index = CellIndex(table.codes, higher_is_better(table, metric, direction))
    pool = CellPool(table.space.cardinalities, index, SpaceText(table.space, encoding))
    return PoolSource("nb101", pool, [origin(table, metric, direction, **path_fact(source))], shape)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.nb101", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, "nb101")
    parser.add_argument(
        "--source", default=None, help="nasbench_only108.tfrecord, nasbench_full.tfrecord, or a CSV of cells"
    )
    parser.add_argument(
        "--metric", default="val_acc", help="metric of the table (default val_acc, mean of the repeats)"
    )
    parser.add_argument(
        "--direction", choices=("maximize", "minimize"), default=None, help="needed only where the table does not say"
    )
    args = parser.parse_args()
    options = {"metric": args.metric, "direction": args.direction}
    return run_builder(
        args, "nb101", lambda shape: make_source(shape, args.source, args.encoding, **options), {"options": options}
    )


if __name__ == "__main__":
    cli(main)
