"""Benchmark tables as search tasks: the search sees validation, test (where there is one) is read once for the winner.

    load_task("graph/cora")                                            from pip packages
    load_task("nb101", source="nasbench_only108.tfrecord")             from a file of yours
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.tables import load_table
from search.tasks.base import TableTask

OBJECTIVES = {
    "graph": ("val_acc", "test_acc"),
    "hpobench": ("val_acc", None),
    "hpolib": ("val_loss", None),
    "nb101": ("val_acc", "test_acc"),
    "nbasr": ("val_per", "test_per"),
}


class Benchmark(TableTask):
    """table: a name of search.tables.TABLES. source: the user's file or folder where no package has the table. metric: another column to search on."""

    def __init__(self, table: str, source: str | Path | Any | None = None, metric: str | None = None):
        objective, test = OBJECTIVES[table.split("/")[0]]
        read = load_table(table, source)
        super().__init__(read, metric or objective, test_metric=test if test in read.metrics else None, name=table)
