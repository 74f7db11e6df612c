"""Benchmark tables as search tasks: the search sees validation, test (where there is one) is read once for the winner.

    load_task("graph/cora")                                            from pip packages
    load_task("nb101", source="nasbench_only108.tfrecord")             from a file of yours
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.errors import UserError
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
    """table: a name of search.tables.TABLES. source: the user's file or folder where no package has the table.

    metric: another column to search on (never the test column). epochs: another training length, where the source has it (nb101, nbasr).
    """

    def __init__(self, table: str, source: str | Path | Any | None = None, metric: str | None = None, epochs: int | None = None):
        objective, test = OBJECTIVES[table.split("/")[0]]
        refuse_test_metric(table, metric, objective)
        read = load_table(table, source, **({} if epochs is None else {"epochs": int(epochs)}))
        super().__init__(read, metric or objective, test_metric=test if test in read.metrics else None, name=table)


def refuse_test_metric(task: str, metric: str | None, objective: str) -> None:
    """UserError when a search is asked to look at the held-back test figures."""
    if metric and metric.startswith("test_"):
        raise UserError(f"metric '{metric}' was given for {task} - it is held back for the winner of a search - search on {objective}")
