"""Rows from NAS-Bench-ASR: 13,824 codes of 9 digits, 8,242 different speech models, phoneme error rate (minimised).

    python -m data_builders.nbasr --source nb-asr/ --samples 20000

The folder holds nb-asr-e40-1234.pickle and its sisters from the releases of github.com/SamsungLabs/nb-asr; they are
read by a restricted reader that runs no code.
"""

from __future__ import annotations

import argparse

from data_builders.options import add_arguments, run_builder
from data_builders.rows.batch import Source
from data_builders.rows.from_tables import path_fact, table_source
from data_builders.rows.sampling import RowShape
from search.errors import cli
from search.tables import load_table


def make_source(shape: RowShape, source: str | None = None, encoding: str = "ncode", metric: str = "val_per") -> Source:
    """Rows from the folder of release files."""
    return table_source("nbasr", [load_table("nbasr", source)], metric, shape, encoding=encoding, **path_fact(source))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.nbasr", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, "nbasr")
    parser.add_argument("--source", default=None, help="folder with nb-asr-e40-*.pickle")
    parser.add_argument(
        "--metric",
        default="val_per",
        help="metric of the table (default val_per, the lowest validation error over the epochs)",
    )
    args = parser.parse_args()
    options = {"metric": args.metric}
    return run_builder(
        args, "nbasr", lambda shape: make_source(shape, args.source, args.encoding, **options), {"options": options}
    )


if __name__ == "__main__":
    cli(main)
