"""Benchmark tables as search tasks: the search sees validation, test (where there is one) is read once for the winner.

load_task("graph/cora")                                            from pip packages
load_task("nb101", source="nasbench_only108.tfrecord")             from a file of yours
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError
from search.tables import TABLES, load_table
from search.tables.base import Table
from search.tasks.base import Result, Task


class TableTask(Task):
    """A table as a task: evaluation is a look-up of the raw code; codes that the table lacks are infeasible."""

    table: Table

    def __init__(
        self,
        table: Table,
        metric: str,
        direction: str | None = None,
        test_metric: str | None = None,
        name: str | None = None,
    ):
        self.table = table
        self.space = table.space
        self.metric = metric
        self.direction = direction or table.directions.get(metric) or "maximize"
        if self.direction not in ("maximize", "minimize"):
            raise UserError(f"direction '{self.direction}' was given - allowed are maximize and minimize")
        self.name = name or table.name
        self.values = table.metric(metric)
        self.test_metric = test_metric
        self._test = table.metric(test_metric) if test_metric else None
        known = self.values[np.isfinite(self.values)]
        if not len(known):
            raise UserError(
                f"metric '{metric}' of table {table.name} has no finite value - choose one of"
                f" {', '.join(table.metrics)}"
            )
        self.optimum = float(known.max() if self.direction == "maximize" else known.min())
        self._complete = len(known) == table.space.size

    def _row(self, code: str) -> int:
        row = int(self.table.rows([code])[0])
        return row if row >= 0 and np.isfinite(self.values[row]) else -1

    def evaluate(self, code: str, seed: int = 0) -> Result:
        row = self._row(code)
        if row < 0:
            raise UserError(f"code {code} has no '{self.metric}' in table {self.table.name} - ask for a code it has")
        return Result(float(self.values[row]))

    def feasible(self, code: str) -> bool:
        return self._complete or self._row(code) >= 0

    def codes(self) -> np.ndarray | None:
        """The measured rows of an incomplete table; None where one row stands for several codes."""
        return None if self._complete or self.table.by_canonical else self.table.codes[np.isfinite(self.values)]

    def test(self, code: str) -> float | None:
        row = self._row(code)
        return None if self._test is None or row < 0 or not np.isfinite(self._test[row]) else float(self._test[row])

    def describe(self) -> dict[str, Any]:
        table = {
            "table": self.table.name,
            "table_rows": len(self.table),
            "table_sha256": self.table.sha256,
            "source": self.table.source,
        }
        return super().describe() | table | {"test_metric": self.test_metric}


class Benchmark(TableTask):
    """table: a name of search.tables.TABLES. source: the user's file or folder where no package has the table.

    metric: another column to search on (never the test column).
    epochs: another training length, where the source has it (nb101, nbasr).
    """

    def __init__(
        self, table: str, source: str | Path | Any | None = None, metric: str | None = None, epochs: int | None = None
    ):
        _, objective, test = TABLES[table]
        refuse_test_metric(table, metric, objective)
        read = load_table(table, source, **({} if epochs is None else {"epochs": int(epochs)}))
        super().__init__(read, metric or objective, test_metric=test if test in read.metrics else None, name=table)


def refuse_test_metric(task: str, metric: str | None, objective: str) -> None:
    """UserError when a search is asked to look at the held-back test figures."""
    if metric and metric.startswith("test_"):
        raise UserError(
            f"metric '{metric}' was given for {task} - it is held back for the winner of a search - search on"
            f" {objective}"
        )
