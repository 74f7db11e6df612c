"""Rows from NAS-Bench-Graph: graph neural networks of four layers on nine data sets, 5 digits.

    python -m data_builders.graph --samples 20000
    python -m data_builders.graph --datasets cora,arxiv

The tables come with the pip package nas-bench-graph. The data set proteins has a smaller space of its own.
"""

from __future__ import annotations

import argparse

from data_builders.options import add_arguments, run_builder
from data_builders.rows.batch import Source
from data_builders.rows.from_tables import table_source
from data_builders.rows.mixing import MixedSource
from data_builders.rows.sampling import RowShape
from search.errors import UserError, cli, did_you_mean
from search.tables import GRAPH, load_table

OWN_SPACE = ("proteins",)


def make_source(
    shape: RowShape,
    source: str | None = None,
    encoding: str = "ncode",
    datasets: str = ",".join(GRAPH),
    metric: str = "val_acc",
) -> Source:
    """Rows from the named data sets."""
    if source is not None:
        raise UserError(
            f"source '{source}' was given - these tables are read from the pip package nas-bench-graph - leave it out"
        )
    names = [d.strip() for d in datasets.split(",")]
    for wrong in [d for d in names if d not in GRAPH]:
        raise did_you_mean("data set", wrong, GRAPH)
    groups = [[d for d in names if d not in OWN_SPACE], [d for d in names if d in OWN_SPACE]]
    sources = [
        table_source("graph", [load_table(f"graph/{d}") for d in group], metric, shape, encoding=encoding)
        for group in groups
        if group
    ]
    return sources[0] if len(sources) == 1 else MixedSource("graph", sources, [float(len(g)) for g in groups])


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.graph", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, "graph")
    parser.add_argument("--datasets", default=",".join(GRAPH), help=f"comma-separated, of {', '.join(GRAPH)}")
    parser.add_argument("--metric", default="val_acc", help="metric of the tables (default val_acc)")
    args = parser.parse_args()
    options = {"datasets": args.datasets, "metric": args.metric}
    return run_builder(
        args, "graph", lambda shape: make_source(shape, None, args.encoding, **options), {"options": options}
    )


if __name__ == "__main__":
    cli(main)
