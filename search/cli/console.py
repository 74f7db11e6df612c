"""What a person sees: the progress bar on standard error, the final block and the comparison on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search.reports.reading import read_sections
from search.reports.terminal import arch_lines, terminal_report
from search.studies.ending import Ending
from search.studies.study import Study
from search.studies.trial import Trial

PLATEAU = 40  # fruitless evaluations after which a search is said to stand still; see search.strategies.proposals


def final_block(
    study: Study, best: Trial | None, ending: Ending, home: Path, label: str, told: int, budget: int, resume: str
) -> str:
    """The lines that end one seed."""
    lines = [f"-- {label}: {told} of {budget} evaluations --"]
    if waiting := len(study.store.running()):
        lines.append(f"{waiting} more were begun elsewhere and not told; if that process is gone: {resume} --take-over")
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
