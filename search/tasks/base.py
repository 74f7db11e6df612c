"""What is optimised: a space, a metric with a direction, and an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from search.spaces import Space
from search.tables.base import Table


@dataclass(frozen=True)
class Result:
    """One evaluation.

    value in the task's own direction.

    constraints: name -> float, <= 0 is feasible.
    info: extra metrics.
    """

    value: float
    constraints: Mapping[str, float] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


class Task:
    """Base class of tasks. A task knows its metric and nothing of rankers.

    optimum: the best reachable value if known.
    controls: samplers to run beside the search for the final table.
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

    def codes(self) -> np.ndarray | None:
        """Every code that may be evaluated, uint8 (n, decisions), where only some can and they can be listed."""
        return None

    def test(self, code: str) -> float | None:
        """The held-back metric of a code: read once, for the best code of a finished search."""
        return None

    def epilogue(self, best: str) -> str:
        """What to tell the user about the winner at the end of a run ('' for nothing)."""
        return ""

    def describe(self) -> dict[str, Any]:
        """What goes into summary.json: names, size, checksums."""
        return {
            "task": self.name,
            "metric": self.metric,
            "direction": self.direction,
            "optimum": self.optimum,
            "space_size": str(self.space.size),
        }
