"""The tables, numbers and files of a report: runs compared section by section."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.files import write_atomic
from search.reports.curves import Interval, Run, Section, bootstrap, constraints, final_values, pareto
from search.reports.reading import read_sections

Rows = list[list[str]]
PARETO_ROWS = 12
FALLBACKS = "fallbacks"


def compare(paths: Sequence[str | Path]) -> str:
    """The tables of the runs under `paths` as Markdown, one section a task."""
    return markdown(read_sections(paths))


def markdown(sections: Sequence[Section]) -> str:
    """Markdown of all sections and their tables."""
    parts = []
    for section in sections:
        parts.append(
            f"## {section.title}"
            + (f", optimum {section.optimum:.{section.digits()}f}" if section.optimum is not None else "")
        )
        parts += [section.source] * bool(section.source)
        parts += [f"**{caption}**\n\n{_markdown_table(rows)}" for caption, rows in tables(section)]
    return "\n\n".join(parts) + "\n"


def tables(section: Section) -> list[tuple[str, Rows]]:
    """(caption, rows) of a section: the comparison, the winners, and the Pareto front where trials recorded more
    metrics.
    """
    out = [
        (
            "Mean best value over seeds after so many evaluations, with its 95 % bootstrap interval",
            _comparison(section),
        ),
        ("Best architecture of each run", _winners(section)),
    ]
    for metric in _other_metrics(section):
        rows = _pareto_rows(section, metric)
        if len(rows) > 2:
            out.append((f"Pareto front of {section.metric} and {metric}", rows))
    return out


def checkpoint_intervals(run: Run, checkpoints: Sequence[int]) -> dict[int, Interval]:
    """Mean best value at each checkpoint over the seeds that reached it; a finished search keeps its last value."""
    last = max(max(checkpoints, default=0), 1)
    curves = run.anytime(last)
    return {c: bootstrap(curves[:, c - 1]) for c in checkpoints}


def summarise(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """The numbers of the tables, JSON-friendly."""
    out = []
    for section in sections:
        runs = []
        for run in section.runs:
            best = _winner(run)
            points = {str(c): _interval(i) for c, i in checkpoint_intervals(run, section.checkpoints()).items()}
            row = {
                "name": run.label,
                "control": run.control,
                "seeds": [s.seed for s in run.seeds],
                "evaluations": points,
            }
            row |= {"test_of_best": _interval(_tests(run)), "fallbacks": run.counted(FALLBACKS)}
            runs.append(
                row
                | {
                    "best": (
                        None
                        if best is None
                        else {k: best.get(k) for k in ("number", "code", "arch", "value", "test", "seed")}
                    )
                }
            )
        about = {
            "task": section.task,
            "metric": section.metric,
            "direction": section.direction,
            "optimum": section.optimum,
        }
        out.append(about | {"runs": runs})
    return out


def write_report(paths: Sequence[str | Path], out: str | Path, title: str = "Architecture search report") -> list[Path]:
    """Write report.html, curves.png, table.md and summary.json into `out`; their paths."""
    from search.reports.figure import draw
    from search.reports.page import page

    sections = read_sections(paths)
    folder = Path(out)
    png = draw(sections)
    html = page(title, sections, {s.title: tables(s) for s in sections}, png)
    numbers = json.dumps({"title": title, "sections": summarise(sections)}, indent=1, ensure_ascii=False)
    files = {"report.html": html, "curves.png": png, "table.md": markdown(sections), "summary.json": numbers + "\n"}
    return [write_atomic(folder / name, content) for name, content in files.items()]


def _comparison(section: Section) -> Rows:
    points, digits = section.checkpoints(), section.digits()
    has_test = any(_tests(r).seeds for r in section.runs)
    has_fallbacks = any(r.counted(FALLBACKS) for r in section.runs)
    header = (
        ["run", "seeds", *(f"@{c}" for c in points), "best seed"]
        + ["test of the best"] * has_test
        + ["fallbacks"] * has_fallbacks
    )
    rows = []
    for run in section.runs:
        at = checkpoint_intervals(run, points)
        finals = final_values(run)
        top = (max if run.sign > 0 else min)(finals, default=math.nan)
        row = [run.label + " (control)" * run.control, str(len(run.seeds)), *(at[c].text(digits) for c in points)]
        row += [f"{top:.{digits}f}" if finals else "–"]
        row += [_tests(run).text(digits)] * has_test + [_count(run.counted(FALLBACKS))] * has_fallbacks
        rows.append(([-at[c].mean * run.sign if at[c].seeds else math.inf for c in reversed(points)], row))
    return [header, *(row for _, row in sorted(rows, key=lambda r: r[0]))]


def _winners(section: Section) -> Rows:
    rows = [["run", "value", "code", "seed", "trial", "architecture"]]
    for run in [r for r in section.runs if not r.control] or section.runs:
        best = _winner(run)
        if best is None:
            rows.append([run.label, "–", "–", "–", "–", "no usable trial"])
            continue
        arch = best.get("arch") or {}
        text = ", ".join(f"{k}={v}" for k, v in arch.items()) if isinstance(arch, dict) else str(arch)
        cells = [run.label, f"{best['value']:.{section.digits()}f}", str(best.get("code", ""))]
        rows.append(
            [*cells, str(best["seed"]), str(best.get("number", "")), text if len(text) <= 160 else text[:157] + "..."]
        )
    return rows


def _winner(run: Run) -> dict[str, Any] | None:
    found = [dict(t) | {"seed": s.seed} for s, t in zip(run.seeds, run.best(), strict=True) if t is not None]
    return max(found, key=lambda t: float(t["value"]) * run.sign, default=None)


def _tests(run: Run) -> Interval:
    """Test metric of each seed's best code, from its summary or its trial."""
    values = []
    for seed, trial in zip(run.seeds, run.best(), strict=True):
        stated = seed.summary.get("best")
        test = (stated or {}).get("test") if isinstance(stated, dict) else None
        test = test if test is not None else (trial or {}).get("test")
        if isinstance(test, (int, float)):
            values.append(float(test))
    return bootstrap(values)


def _metrics(trial: Any) -> dict[str, float]:
    """What a trial recorded beside its value: further metrics, and constraints that are not the slack of one of them
    (latency of latency_ms).
    """
    found: dict[str, float] = {}
    for key in ("info", "metrics"):
        extra = trial.get(key)
        if isinstance(extra, dict):
            found |= {
                str(k): float(v)
                for k, v in extra.items()
                if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)
            }
    return {k: v for k, v in constraints(trial).items() if not any(name.startswith(f"{k}_") for name in found)} | found


def _other_metrics(section: Section) -> list[str]:
    names: dict[str, None] = {}
    for run in section.runs:
        for seed in run.seeds:
            for _, trial in seed.usable():
                names |= dict.fromkeys(_metrics(trial))
    return [n for n in names if n != section.metric]


def _pareto_rows(section: Section, metric: str) -> Rows:
    """The front over all runs; the second metric is minimised unless its name says it is a score."""
    from search.tables.base import natural_direction

    lower = natural_direction(metric) != "maximize"
    sign = -1.0 if section.direction == "minimize" else 1.0
    found: dict[tuple[float, float, str], str] = {}
    for run in section.runs:
        for seed in run.seeds:
            for _, trial in seed.usable():
                if metric in (more := _metrics(trial)):
                    found.setdefault((float(trial["value"]), more[metric], str(trial.get("code", ""))), run.label)
    points = list(found)
    front = pareto([(v * sign, -m if lower else m) for v, m, _ in points])
    step = max(1, math.ceil(len(front) / PARETO_ROWS))
    header = ["run", section.metric, f"{metric} ({'lower' if lower else 'higher'} is better)", "code"]
    return [
        header,
        *(
            [found[points[i]], f"{points[i][0]:.{section.digits()}f}", f"{points[i][1]:.6g}", points[i][2]]
            for i in front[::step]
        ),
    ]


def _interval(i: Interval) -> dict[str, Any] | None:
    return {"mean": i.mean, "low": i.low, "high": i.high, "seeds": i.seeds} if i.seeds else None


def _count(n: int | None) -> str:
    return "–" if n is None else str(n)


def _markdown_table(rows: Rows) -> str:
    safe = [[c.replace("|", "\\|").replace("\n", " ") for c in row] for row in rows]
    rule = ["---"] + ["---:"] * (len(safe[0]) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [safe[0], rule, *safe[1:]])
