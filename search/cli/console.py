"""What a person sees: the progress bar on standard error, the final block and the comparison on standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from search.reports.reading import read_sections
from search.reports.terminal import arch_lines, terminal_report
from search.studies.study import Ending, Study
from search.studies.trials import Trial


class Bar:
    """Trials told, best value so far and the time that is left. A context manager; silent when `quiet`."""

    def __init__(self, study: Study, budget: int, label: str, quiet: bool):
        from tqdm import tqdm

        tqdm.monitor_interval = 0
        self.study = study
        self.maximize = study.store.direction == "maximize"
        self.best = study.best.value if study.best else None
        told = sum(t.state != "RUNNING" for t in study.trials)
        self.bar = tqdm(
            total=budget,
            initial=told,
            desc=label,
            unit="trial",
            file=sys.stderr,
            disable=quiet or None,  # None: no bar where standard error is not a terminal
            mininterval=0.5,
            dynamic_ncols=True,
        )
        self._show()

    def add(self, trial: Trial) -> None:
        """One more trial was told."""
        if trial.state == "COMPLETE" and (
            self.best is None or (trial.value > self.best) == self.maximize and trial.value != self.best
        ):
            self.best = trial.value
            self._show()
        self.bar.update(1)

    def refresh(self) -> None:
        """Look at the storage: how many were told by whoever works on it."""
        trials = self.study.trials
        told = sum(t.state != "RUNNING" for t in trials)
        best = self.study.store.best(trials)
        if best is not None and best.value != self.best:
            self.best = best.value
            self._show()
        self.bar.update(told - self.bar.n)

    def _show(self) -> None:
        if self.best is not None:
            self.bar.set_postfix_str(f"best {self.best:.6g}", refresh=False)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()


PLATEAU = 40  # fruitless evaluations after which a search is said to stand still; see search.strategies.proposals


def final_block(
    study: Study, best: Trial | None, ending: Ending, home: Path, label: str, told: int, budget: int, resume: str
) -> str:
    """The lines that end one seed."""
    lines = [f"-- {label}: {told} of {budget} evaluations --"]
    if ending.why == "exhausted":
        lines.append(
            f"the space is exhausted: all {told} codes that can be evaluated were; there is nothing left to search"
        )
    if ending.why == "failures":
        lines.append(f"stopped after {ending.failures} failed evaluations; the last one {ending.last_reason}")
    if best is None:
        lines.append("best   none: no evaluation succeeded")
    else:
        lines.append(
            f"best   {best.code}  value {best.value:.6g}  test {'-' if best.test is None else f'{best.test:.6g}'} "
            f" (trial {best.number})"
        )
        lines.append(arch_lines(best.arch, "       "))
        idle = told - 1 - best.number
        if idle >= PLATEAU and ending.why == "budget":
            lines.append(f"       the last {idle} evaluations found nothing better: the search stands on a plateau")
    lines.append(f"files  {home}/trials.jsonl, summary.json")
    more = "after correcting the cause, continue with" if ending.why == "failures" else "more evaluations"
    lines.append(f"{more}: {resume}" + ("" if ending.why == "failures" else f" --budget {2 * budget}"))
    return "\n".join(lines)


def closing(arms: Sequence[Path]) -> str:
    """What the runs came to: the report's own headline and table."""
    return terminal_report(read_sections(arms))
