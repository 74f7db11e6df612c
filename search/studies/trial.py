"""One evaluation of a study, as everything above the storage sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OUTCOME = ("reason", "metrics", "constraints", "traceback")  # notes that an evaluation may leave with its trial
NOTES = (*OUTCOME, "ranker")


@dataclass(frozen=True)
class Trial:
    """One evaluation.

    state: RUNNING, COMPLETE, INFEASIBLE (a constraint was violated) or FAIL (reason says why).
    """

    number: int
    code: str
    arch: dict[str, Any]
    origin: str
    state: str
    value: float | None = None
    test: float | None = None
    seconds: float | None = None
    reason: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)
    ranker: Mapping[str, Any] = field(default_factory=dict)
    traceback: str | None = field(default=None, repr=False)
    trial_id: int = field(default=-1, compare=False, repr=False)

    def row(self) -> dict[str, Any]:
        """The line of trials.jsonl: the eight fields of the contract, then what this trial has beyond them."""
        out = {k: getattr(self, k) for k in ("number", "code", "arch", "value", "test", "state", "origin", "seconds")}
        return out | {k: v for k in NOTES if (v := getattr(self, k))}
