"""The files of a report: report.html, curves.png, table.md, summary.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.files import write_atomic
from search.reports.compare import FALLBACKS, checkpoint_intervals, markdown, tests
from search.reports.curves import Interval, Section
from search.reports.headline import headline, winner
from search.reports.reading import read_sections
from search.reports.storages import folder_of, is_storage

TITLE = "Architecture search report"


def default_folder(paths: Sequence[str | Path]) -> Path:
    """Where a report goes: RUN/report for one run; for several, the folder report beside them.

    Never beside the runs where that is the current folder or one above it: then it goes into the first run's own.
    """
    homes = [(folder_of(p) if is_storage(p) else Path(p)).resolve() for p in paths]
    parents = {h.parent for h in homes}
    if len(set(homes)) > 1 and len(parents) == 1 and not Path.cwd().is_relative_to(homes[0].parent):
        return homes[0].parent / "report"
    return homes[0] / "report"


def write_report(paths: Sequence[str | Path], out: str | Path, title: str = TITLE) -> list[Path]:
    """Write report.html, curves.png, table.md and summary.json of the runs under `paths` into `out`; their paths."""
    return write_sections(read_sections(paths), out, title)


def write_sections(sections: Sequence[Section], out: str | Path, title: str = TITLE) -> list[Path]:
    """The same for runs that were read."""
    from search.reports.figure import draw
    from search.reports.page import page

    numbers = json.dumps({"title": title, "sections": summarise(sections)}, indent=1, ensure_ascii=False)
    files: dict[str, str | bytes] = {
        "report.html": page(title, sections),
        "curves.png": draw(sections),
        "table.md": markdown(sections),
        "summary.json": numbers + "\n",
    }
    return [write_atomic(Path(out) / name, content) for name, content in files.items()]


def summarise(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """The numbers of the tables and the headlines, JSON-friendly."""
    out = []
    for section in sections:
        runs = []
        for run in section.runs:
            best = winner(run)
            points = {str(c): _interval(i) for c, i in checkpoint_intervals(run, section.checkpoints()).items()}
            kept = ("number", "code", "arch", "value", "test", "seed")
            runs.append(
                {
                    "name": run.label,
                    "control": run.control,
                    "seeds": [s.seed for s in run.seeds],
                    "lengths": [len(s.trials) for s in run.seeds],
                    "stopped": [s.seed for s in run.seeds if s.stopped],
                    "evaluations": points,
                    "test_of_best": _interval(tests(run)),
                    "fallbacks": run.counted(FALLBACKS),
                    "best": None if best is None else {k: best.get(k) for k in kept},
                }
            )
        about = {k: getattr(section, k) for k in ("task", "metric", "direction", "optimum")}
        out.append(about | {"headline": _headline(section), "runs": runs})
    return out


def _headline(section: Section) -> dict[str, Any]:
    head = headline(section)
    numbers = ("optimal", "evaluations", "found", "seeds", "rival", "saved", "at_least")
    text = {"answer": head.answer(), "against": head.against(), "beside": head.beside(), "run": head.run.label}
    return text | {k: getattr(head, k) for k in numbers}


def _interval(i: Interval) -> dict[str, Any] | None:
    return asdict(i) if i.seeds else None
