"""The answer of a report in two sentences: what was found, after how many evaluations, and what that saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from search.reports.curves import Run, Section, final_values, regret

RIVAL = "random"


@dataclass(frozen=True)
class Headline:
    """The best run of a section and how it compares with random search.

    winner: its best trial with its seed (None: no usable trial).
    optimal: whether that is the known optimum.
    evaluations: after how many the seeds that found it had it, the median.
    last: after how many the last of them had it.
    found, seeds: how many seeds found exactly this value, of how many.
    rival: mean best value of random search after as many evaluations (None: no such run).
    saved: evaluations random search needed more (None: unknown).
    at_least: some of its seeds never got there.
    control: the control (random search apart) that found the same value in most seeds, of those the earliest: label,
        median evaluations, seeds.
    """

    run: Run
    digits: int
    winner: Mapping[str, Any] | None
    optimal: bool = False
    evaluations: int = 0
    last: int = 0
    found: int = 0
    seeds: int = 0
    rival: float | None = None
    saved: int | None = None
    at_least: bool = False
    control: tuple[str, int, int] | None = None

    @property
    def value(self) -> str:
        """The best value as text."""
        if self.winner is None:
            return "–"
        value = float(self.winner["value"])
        text = f"{value:.{self.digits}f}"
        return f"{value:.2g}" if value and not float(text) else text  # never 0.00 for what is not 0

    def answer(self) -> str:
        """'best 73.49, the optimum, after 44 evaluations (median of 3 seeds, the last after 60)'."""
        if self.winner is None:
            return "no evaluation succeeded yet"
        optimum = ", the optimum," if self.optimal else ""
        text = f"best {self.value}{optimum} after {_counted(self.evaluations)}"
        if self.seeds == 1:
            return text
        if self.found == self.seeds:
            return f"{text} (median of {self.seeds} seeds, the last after {self.last})"
        return f"{text} (in {self.found} of {self.seeds} seeds)"

    def against(self) -> str:
        """'random search had 71.2 by then; evaluations saved: at least 148'; '' without such a run."""
        if self.rival is None:
            return ""
        text = f"random search had {self.rival:.{self.digits}f} by then"
        if self.saved is None:
            return text
        if self.saved < 0:
            return f"{text}, and the same value {_counted(-self.saved)} earlier"
        return f"{text}; evaluations saved: {'at least ' * self.at_least}{self.saved}"

    def beside(self) -> str:
        """'best control: local, after 60 evaluations'; '' when none but random search found the value."""
        if self.control is None:
            return ""
        label, after, seeds = self.control
        return f"best control: {label}, after {_counted(after)}" + f" (in {seeds} of its seeds)" * (seeds < self.seeds)


def headline(section: Section) -> Headline:
    """The headline of a section: of its best run that is not a control, or of its best run."""
    runs = [r for r in section.runs if not r.control] or list(section.runs)
    run = max(runs, key=_standing)
    trial = winner(run)
    if trial is None:
        return Headline(run, section.digits(), None, seeds=len(run.seeds))
    value = float(trial["value"])
    hits = [h for h in run.reached(value) if h is not None]
    after = int(median(hits))
    rival = next((r for r in section.runs if r is not run and is_random(r)), None)
    said: dict[str, Any] = {} if rival is None or is_random(run) else _rival(rival, value, after)
    optimal = section.optimum is not None and regret(section.optimum, value) == 0
    said["control"] = _control(section, run, value)
    return Headline(run, section.digits(), trial, optimal, after, max(hits), len(hits), len(run.seeds), **said)


def _control(section: Section, run: Run, value: float) -> tuple[str, int, int] | None:
    """The control, random search apart, that reached the value in most seeds, then earliest; None without."""
    found = []
    for other in section.runs:
        hits = [h for h in other.reached(value) if h is not None]
        if other.control and other is not run and not is_random(other) and hits:
            found.append((other.label.split("/")[-1], int(median(hits)), len(hits)))
    return min(found, key=lambda c: (-c[2], c[1]), default=None)


def winner(run: Run) -> dict[str, Any] | None:
    """The best trial over the seeds of a run, with its seed; None when no trial is usable."""
    found = [dict(t) | {"seed": s.seed} for s, t in zip(run.seeds, run.best(), strict=True) if t is not None]
    return max(found, key=lambda t: float(t["value"]) * run.sign, default=None)


def is_random(run: Run) -> bool:
    """Whether a run is random search: by its configuration, else by its name."""
    stated = [s.summary["configuration"] for s in run.seeds if s.summary.get("configuration")]
    return any(c.get("sampler") == RIVAL for c in stated) or run.label.split("/")[-1] == RIVAL


def _standing(run: Run) -> tuple[float, float]:
    """Best value, then mean over seeds, higher is better."""
    finals = [v * run.sign for v in final_values(run)]
    return (max(finals), float(np.mean(finals))) if finals else (-np.inf, -np.inf)


def _rival(rival: Run, value: float, after: int) -> dict[str, Any]:
    """What random search had after as many evaluations, and how many more it needed.

    A seed that never got there needed at least one more than it made.
    """
    there = [v for v in rival.anytime(max(after, rival.length))[:, after - 1] if np.isfinite(v)]
    if not there:
        return {}
    reached: Sequence[int | None] = rival.reached(value)
    needed = [len(s.trials) if r is None else r for s, r in zip(rival.seeds, reached, strict=True)]
    saved, at_least = int(median(needed)) - after, sum(r is None for r in reached) * 2 >= len(reached)
    known = saved >= 0 or not at_least
    return {"rival": float(np.mean(there)), "saved": saved if known else None, "at_least": at_least}


def _counted(n: int) -> str:
    return f"{n} evaluation{'s' if n != 1 else ''}"
