"""A report for a terminal: the headline, the winner and one line a run; plain text of at most 80 columns."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from search.reports.compare import comparison_rows, lengths_text, optimum_text
from search.reports.curves import Section
from search.reports.fronts import shown
from search.reports.headline import headline

WIDTH = 80
NAME_WIDTH = 30
BOLD, FAINT, END = "\033[1m", "\033[2m", "\033[0m"


def terminal_report(sections: Sequence[Section], colours: bool | None = None) -> str:
    """The text of all sections; colours (None: only where standard output is a terminal that wants them)."""
    paint = wants_colours(sys.stdout) if colours is None else colours
    return "\n\n".join("\n".join(_section(section, paint)) for section in sections)


def wants_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose user has not asked for plain text (NO_COLOR, a dumb terminal)."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def arch_lines(arch: Mapping[str, Any] | Any, indent: str) -> str:
    """An architecture as 'name=option' pairs, wrapped at 80 columns."""
    pairs = [f"{k}={shown(v)}" for k, v in arch.items()] if isinstance(arch, Mapping) else [str(arch)]
    return textwrap.fill(
        ", ".join(pairs),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _section(section: Section, paint: bool) -> list[str]:
    head = headline(section)
    lines = [f"{section.title}{optimum_text(section)}", ""]
    said = [head.answer(), head.against(), head.beside()]
    lines += [_painted(line, BOLD, paint and not i) for i, text in enumerate(said) if text for line in _wrapped(text)]
    if head.winner is not None:
        name = ", ".join(
            [f"code {head.winner['code']}"] * bool(head.winner.get("code"))
            + [f"{head.run.label}, seed {head.winner['seed']}, trial {head.winner.get('number', '?')}"]
        )
        lines += ["", *_wrapped(name), arch_lines(head.winner.get("arch") or {}, "    ")]
    rows = comparison_rows(section, brief=True)
    lines += ["", *_table(rows, paint)]
    if any("*" in row[1] for row in rows[1:]):
        lines += [line for run in section.runs if (text := lengths_text(run)) for line in _wrapped(f"* {text}")]
    return lines


def _table(rows: Sequence[Sequence[str]], paint: bool) -> list[str]:
    """Rows with aligned columns; columns are dropped from the left of the evaluations until 80 characters hold them."""
    table = [list(row) for row in rows]
    while len(table[0]) > 3 and sum(_widths(table)) + 2 * (len(table[0]) - 1) > WIDTH:
        table = [row[:2] + row[3:] for row in table]
    widths = _widths(table)
    lines = []
    for i, row in enumerate(table):
        cells = [row[0][: widths[0]].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        lines.append(_painted("  ".join(cells).rstrip(), FAINT, paint and (i == 0 or row[0].endswith("(control)"))))
    return lines


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    widths = [max(len(row[j]) for row in table) for j in range(len(table[0]))]
    return [min(widths[0], NAME_WIDTH), *widths[1:]]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _painted(text: str, code: str, paint: bool) -> str:
    return f"{code}{text}{END}" if paint else text
