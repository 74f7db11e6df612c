"""The paper's rows: what each needs, what it costs, which command gives it, and our number beside the printed one.

recipes/paper/*.yaml holds one file per table and figure; its rows have

name     which cell of the table
command  a template (or several): {reader} is the ranker that reads histories, {size} the row's size, {NAME} a source
         that --source NAME=PATH gives
small    the size on a small machine; full: the paper's size
needs    what must be there: 'path PATH', 'source NAME' (a file), 'given NAME', 'package NAME', 'gpu', 'missing WHAT'
cost     what the full size takes
reads    {label: folder of a run} whose results fill the page; metric: value (validation) or test
paper    the printed numbers, as text
note     what must be known to compare, contradictions of the paper included
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from search.errors import UserError
from search.reports.curves import bootstrap
from search.studies.folder import read_summary

SIZES = ("small", "full")
METRICS = ("value", "test")
READER = "reader"  # the label whose ranker is whatever {reader} was when the row ran
BEGIN, END = "<!-- rows -->", "<!-- end of rows -->"


@dataclass(frozen=True)
class Row:
    """One row of a table of the paper; the fields are those of the module's docstring.

    table: which table or figure, with its title.
    """

    table: str
    name: str
    commands: tuple[str, ...] = ()
    small: str = ""
    full: str = ""
    needs: tuple[str, ...] = ()
    cost: str = ""
    reads: Mapping[str, str] = field(default_factory=dict)
    metric: str = "value"
    paper: str = ""
    note: str = ""

    def command_lines(self, size: str, fill: Mapping[str, str]) -> list[str]:
        """The commands of a size with their placeholders filled; unknown placeholders stay."""
        known = {**fill, "size": getattr(self, size)}
        return [re.sub(r"\{(\w+)\}", lambda m: known.get(m[1], m[0]), c) for c in self.commands]

    def lacks(self, sources: Mapping[str, str]) -> list[str]:
        """What is needed and not there."""
        return [need for need in self.needs if not there(need, sources)]


def there(need: str, sources: Mapping[str, str]) -> bool:
    """Whether one need is met on this machine."""
    kind, _, what = need.partition(" ")
    if kind == "path":
        return Path(what.split(" ")[0]).exists()
    if kind == "source":
        name = what.split(" ")[0]
        return name in sources and Path(sources[name]).exists()
    if kind == "given":
        return what.split(" ")[0] in sources
    if kind == "package":
        return find_spec(what.split(" ")[0]) is not None
    if kind == "gpu":
        if find_spec("torch") is None:
            return False
        import torch

        return bool(torch.cuda.is_available())
    return False


def read_rows(folder: Path) -> list[Row]:
    """The rows of all files of a folder, in their order; UserError names the file that is wrong."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise UserError(f"{folder} holds no *.yaml - the rows of the paper are in recipes/paper - give that folder")
    return [row for file in files for row in _rows_of(file)]


def _rows_of(file: Path) -> list[Row]:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    try:
        return [_row(content["title"], dict(r)) for r in content["rows"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is no list of rows ({error}) - it has title and rows, see its neighbours") from error


def _row(table: str, given: dict[str, Any]) -> Row:
    commands = given.pop("command", ())
    row = Row(
        table=table,
        commands=(commands,) if isinstance(commands, str) else tuple(commands),
        needs=tuple(given.pop("needs", ())),
        paper=str(given.pop("paper", "")),
        **given,
    )
    if row.metric not in METRICS:
        raise ValueError(f"metric {row.metric} is none of {', '.join(METRICS)}")
    return row


def found(folder: Path, metric: str) -> str:
    """'mean [low, high] (seeds x evaluations)' of a run's seeds, '' where it has not run."""
    values, budgets = [], set()
    for path in sorted(folder.glob("seed-*/summary.json")):
        summary = read_summary(path)
        best = summary.get("best")
        if isinstance(best, dict) and best.get(metric) is not None:
            values.append(float(best[metric]))
            budgets.add(sum(summary.get("trials", {}).values()))
    if not values:
        return ""
    interval = bootstrap(values)
    size = "-".join(str(b) for b in sorted({min(budgets), max(budgets)}))
    return f"{interval.text(2)} ({len(values)} x {size})"


def asked(folder: Path) -> str:
    """The ranker that a run asked, as its summary names it."""
    summary = read_summary(next(iter(sorted(folder.glob("seed-*/summary.json")))))
    return str(summary.get("configuration", {}).get("ranker") or READER)


def status(row: Row, sources: Mapping[str, str]) -> str:
    """'runs here', 'needs ...' (never run by us at full size), or 'missing: ...'."""
    lacking = row.lacks(sources)
    never = [need.partition(" ")[2] for need in lacking if need.startswith("missing ")]
    if never:
        return f"missing: {'; '.join(never)}"
    return f"needs {'; '.join(lacking)}" if lacking else "runs here"


def page(rows: Sequence[Row], root: Path, sources: Mapping[str, str]) -> str:
    """Markdown: one section a table, our numbers (where a run is in its folder) beside the printed ones."""
    lines: list[str] = []
    table = ""
    for row in rows:
        if row.table != table:
            table = row.table
            lines += ["", f"## {table}", "", "| row | paper | here | |", "|---|---|---|---|"]
        results = [(label, root / path, found(root / path, row.metric)) for label, path in row.reads.items()]
        ours = [f"{asked(path) if label == READER else label} {text}" for label, path, text in results if text]
        note = " ".join(part for part in (_capital(status(row, sources)) + ".", row.note) if part)
        lines.append(f"| {row.name} | {row.paper or '-'} | {'<br>'.join(ours) or '-'} | {note} |")
    return "\n".join(lines).strip() + "\n"


def filled(text: str, rows: str) -> str:
    """A page with everything between its two marks replaced; UserError when it has no marks."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise UserError(f"the page has no lines '{BEGIN}' and '{END}' - the rows go between them - add both")
    return f"{head}{BEGIN}\n\n{rows}\n{END}{tail}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
