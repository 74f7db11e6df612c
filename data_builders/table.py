"""Rows from any table of yours: CSV, CSV.gz or Parquet with a column of digit strings or one column per decision.

python -m data_builders.table --source runs.csv.gz --code-column arch --metric acc_mean
python -m data_builders.table --source runs.csv --decisions depth,width --metric val_loss --direction minimize
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data_builders.options import add_arguments, run_builder
from data_builders.rows.batch import Source
from data_builders.rows.from_tables import path_fact, table_source
from data_builders.rows.sampling import RowShape
from search.errors import UserError, cli
from search.tables.base import natural_direction
from search.tables.columns import read_table


def make_source(
    shape: RowShape,
    source: str | None = None,
    encoding: str = "ncode",
    code_column: str | None = None,
    decisions: str | None = None,
    metric: str | None = None,
    direction: str | None = None,
) -> Source:
    """Rows from one metric of a file; the direction is guessed from the metric's name where that is clear."""
    if source is None or metric is None:
        raise UserError("a table needs a file and a metric - none was given - use --source FILE --metric COLUMN")
    columns = [d.strip() for d in decisions.split(",")] if decisions else None
    table = read_table(source, code_column=code_column, decisions=columns)
    direction = direction or table.directions.get(metric) or natural_direction(metric)
    facts = {**path_fact(source), "code_column": code_column or "", "decisions": decisions or ""}
    return table_source(Path(source).name, [table], metric, shape, direction, encoding, **facts)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, "table")
    parser.add_argument("--source", required=True, help="CSV, CSV.gz or Parquet file")
    parser.add_argument("--code-column", default=None, help="column of digit strings (default: code, ncode or arch)")
    parser.add_argument(
        "--decisions", default=None, help="comma-separated columns that are the decisions, instead of a code column"
    )
    parser.add_argument("--metric", required=True, help="column to rank by")
    parser.add_argument(
        "--direction",
        choices=("maximize", "minimize"),
        default=None,
        help="default: by the metric's name where it says so",
    )
    args = parser.parse_args()
    options = {
        "code_column": args.code_column,
        "decisions": args.decisions,
        "metric": args.metric,
        "direction": args.direction,
    }
    return run_builder(
        args, "table", lambda shape: make_source(shape, args.source, args.encoding, **options), {"options": options}
    )


if __name__ == "__main__":
    cli(main)
