"""The tables of a report: the runs of a section side by side, their winners, its Pareto fronts, its failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.reports.curves import Interval, Run, Section, bootstrap, final_values
from search.reports.fronts import Front, fronts, name_of
from search.reports.headline import headline, winner
from search.reports.reading import read_sections

Rows = list[list[str]]
PARETO_ROWS = 12  # points of a front that a table lists; the picture has them all
FALLBACKS = "fallbacks"
MEANS = "Mean best value over seeds after so many evaluations, with its 95 % bootstrap interval"


def compare(paths: Sequence[str | Path]) -> str:
    """The tables of the runs under `paths` as Markdown, one section a task."""
    return markdown(read_sections(paths))


def markdown(sections: Sequence[Section]) -> str:
    """Markdown of all sections and their tables, the answer first."""
    parts = []
    for section in sections:
        head = headline(section)
        parts.append(f"## {section.title}{optimum_text(section)}")
        parts += [". ".join(t[0].upper() + t[1:] for t in (head.answer(), head.against(), head.beside()) if t) + "."]
        parts += [section.source] * bool(section.source)
        parts += [f"**{caption}**\n\n{_markdown_table(rows)}" for caption, rows in tables(section)]
    return "\n\n".join(parts) + "\n"


def tables(section: Section) -> list[tuple[str, Rows]]:
    """(caption, rows) of a section: the comparison, the winners, the Pareto fronts, the failures."""
    out = [(MEANS, comparison_rows(section)), ("Best architecture of each run", winner_rows(section))]
    out += [(f"Pareto front of {section.metric} and {f.metric}", front_rows(section, f)) for f in fronts(section)]
    failed = failure_rows(section)
    return out + [("Evaluations that do not count", failed)] * (len(failed) > 1)


def optimum_text(section: Section) -> str:
    """', optimum 73.49', or nothing where it is not known."""
    return "" if section.optimum is None else f", optimum {section.optimum:.{section.digits()}f}"


def lengths_text(run: Run) -> str:
    """'nano: seed 1 stopped at 34 of 60 evaluations, seed 2 is at 12 of 60'; '' when no seed ends early."""
    early = [
        f"seed {s.seed} {'stopped' if s.summary else 'is'} at {len(s.trials)} of {s.budget} evaluations"
        for s in run.seeds
        if s.stopped
    ]
    return f"{run.label}: {', '.join(early)}" if early else ""


def checkpoint_intervals(run: Run, checkpoints: Sequence[int]) -> dict[int, Interval]:
    """Mean best value at each checkpoint over the seeds that got there."""
    curves = run.anytime(max(max(checkpoints, default=0), 1))
    return {c: bootstrap(curves[:, c - 1]) for c in checkpoints}


def tests(run: Run) -> Interval:
    """Test metric of each seed's best code, from its summary or its trial."""
    values = []
    for seed, trial in zip(run.seeds, run.best(), strict=True):
        stated = seed.summary.get("best")
        test = (stated or {}).get("test") if isinstance(stated, dict) else None
        test = test if test is not None else (trial or {}).get("test")
        if isinstance(test, (int, float)):
            values.append(float(test))
    return bootstrap(values)


def comparison_rows(section: Section, brief: bool = False) -> Rows:
    """One row a run, best first: its mean best value at the checkpoints.

    brief: without intervals, for a terminal.

    A run says at a checkpoint only what it evaluated; a mean over fewer seeds says so.
    """
    points, digits = section.checkpoints(), section.digits()
    extra = [] if brief else _extra_columns(section)
    uneven = len({len(s.trials) for r in section.runs for s in r.seeds}) > 1
    header = ["run", "seeds", *(f"@{c}" for c in points), *["evaluations"] * uneven, *(name for name, _ in extra)]
    rows = []
    for run in section.runs:
        at = checkpoint_intervals(run, points)
        row = [run.label + " (control)" * run.control, str(len(run.seeds)) + "*" * any(s.stopped for s in run.seeds)]
        row += [_brief(at[c], digits, len(run.seeds)) if brief else at[c].text(digits, len(run.seeds)) for c in points]
        row += [_span([len(s.trials) for s in run.seeds])] * uneven
        rows.append((_order(run, at, points), row + [cell(run) for _, cell in extra]))
    return [header, *(row for _, row in sorted(rows, key=lambda r: r[0]))]


def _extra_columns(section: Section) -> list[tuple[str, Any]]:
    """(title, cell of a run) of what stands behind the evaluations."""
    digits = section.digits()
    columns: list[tuple[str, Any]] = [("best seed", lambda run: _best_seed(run, digits))]
    if any(tests(r).seeds for r in section.runs):
        columns.append(("test of the best", lambda run: tests(run).text(digits)))
    if any(r.counted(FALLBACKS) for r in section.runs):
        columns.append(("fallbacks", lambda run: _count(run.counted(FALLBACKS))))
    return columns


def _order(run: Run, at: dict[int, Interval], points: Sequence[int]) -> list[float]:
    """Sorts by the last checkpoint, then by those before it; a run that has none of one stands behind."""
    return [-at[c].mean * run.sign if at[c].seeds else math.inf for c in reversed(points)]


def _best_seed(run: Run, digits: int) -> str:
    finals = final_values(run)
    return f"{(max if run.sign > 0 else min)(finals):.{digits}f}" if finals else "–"


def _brief(interval: Interval, digits: int, of: int) -> str:
    if interval.seeds == 0:
        return "–"
    return f"{interval.mean:.{digits}f}" + f" ({interval.seeds})" * (interval.seeds < of)


def _span(lengths: Sequence[int]) -> str:
    low, high = min(lengths, default=0), max(lengths, default=0)
    return str(high) if low == high else f"{low}–{high}"


def winner_rows(section: Section) -> Rows:
    """The best architecture of each run that is not a control."""
    rows = [["run", "value", "code", "seed", "trial", "architecture"]]
    for run in [r for r in section.runs if not r.control] or section.runs:
        best = winner(run)
        if best is None:
            rows.append([run.label, "–", "–", "–", "–", "no usable trial"])
            continue
        text = name_of({"arch": best.get("arch")})
        cells = [run.label, f"{best['value']:.{section.digits()}f}", str(best.get("code", "")), str(best["seed"])]
        rows.append([*cells, str(best.get("number", "")), text])
    return rows


def front_rows(section: Section, front: Front) -> Rows:
    """The front over all runs, thinned to a dozen rows."""
    way = "lower" if front.lower else "higher"
    header = ["run", section.metric, f"{front.metric} ({way} is better)", "code"]
    step = max(1, math.ceil(len(front.best) / PARETO_ROWS))
    digits = section.digits()
    return [header, *([p.run, f"{p.value:.{digits}f}", f"{p.other:.6g}", p.code] for p in front.best[::step])]


def failure_rows(section: Section) -> Rows:
    """How many evaluations of each run failed or broke a constraint, by reason; only the header when none did."""
    rows = [["run", "state", "reason", "evaluations", "of"]]
    for run in section.runs:
        counts: Counter[tuple[str, str]] = Counter()
        for seed in run.seeds:
            good = {i for i, _ in seed.usable()}
            for i, trial in enumerate(seed.trials):
                if i not in good:
                    state = str(trial.get("state", "FAIL"))
                    broken = ", ".join(k for k, v in (trial.get("constraints") or {}).items() if v > 0)
                    reason = f"constraint {broken}" if broken else str(trial.get("reason") or "no reason was recorded")
                    counts[("FAIL" if state == "COMPLETE" and not broken else state, reason)] += 1
        total = sum(len(s.trials) for s in run.seeds)
        rows += [[run.label, state, reason, str(n), str(total)] for (state, reason), n in counts.most_common()]
    return rows


def _count(n: int | None) -> str:
    return "–" if n is None else str(n)


def _markdown_table(rows: Rows) -> str:
    safe = [[c.replace("|", "\\|").replace("\n", " ") for c in row] for row in rows]
    rule = ["---"] + ["---:"] * (len(safe[0]) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [safe[0], rule, *safe[1:]])
