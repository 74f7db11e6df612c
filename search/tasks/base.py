"""What is optimised: a space, a metric with a direction, and an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from search.errors import UserError
from search.space import Space
from search.tables.base import Table


@dataclass(frozen=True)
class Result:
    """One evaluation. value in the task's own direction; constraints: name -> float, <= 0 is feasible; info: extra metrics."""

    value: float
    constraints: Mapping[str, float] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


class Task:
    """Base class of tasks. A task knows its metric and nothing of rankers.

    optimum: the best reachable value if known. controls: samplers to run beside the search for the final table.
    """

    name: str = ""
    space: Space
    direction: str = "maximize"
    metric: str = "value"
    optimum: float | None = None
    table: Table | None = None
    controls: tuple[str, ...] = ()

    def prepare(self, progress: bool = True) -> None:
        """Do once what every evaluation needs (data, a supernet); called before the first trial."""

    def evaluate(self, code: str, seed: int) -> Result:
        """Evaluate one code; may raise, then the trial fails with the reason."""
        raise TypeError(f"{type(self).__name__} must define evaluate(code, seed)")

    def feasible(self, code: str) -> bool:
        """Whether a code may be evaluated at all, known before evaluation (latency limits, table membership)."""
        return True

    def test(self, code: str) -> float | None:
        """The held-back metric of a code: read once, for the best code of a finished search."""
        return None

    def epilogue(self, best: str) -> str:
        """What to tell the user about the winner at the end of a run ('' for nothing)."""
        return ""

    def describe(self) -> dict[str, Any]:
        """What goes into summary.json: names, size, checksums."""
        return {"task": self.name, "metric": self.metric, "direction": self.direction, "optimum": self.optimum, "space_size": str(self.space.size)}


class TableTask(Task):
    """A table as a task: evaluation is a look-up of the raw code; codes that the table lacks are infeasible."""

    def __init__(self, table: Table, metric: str, direction: str | None = None, test_metric: str | None = None, name: str | None = None):
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
            raise UserError(f"metric '{metric}' of table {table.name} has no finite value - choose one of {', '.join(table.metrics)}")
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

    def test(self, code: str) -> float | None:
        row = self._row(code)
        return None if self._test is None or row < 0 or not np.isfinite(self._test[row]) else float(self._test[row])

    def describe(self) -> dict[str, Any]:
        table = {"table": self.table.name, "table_rows": len(self.table), "table_sha256": self.table.sha256, "source": self.table.source}
        return super().describe() | table | {"test_metric": self.test_metric}
