"""What a set of runs shows: the answer, one picture, one table, one page.

    python -m search.report runs/A runs/B ... [--out DIR] [--title TEXT]

Writes report.html (self-contained), curves.png, table.md and summary.json. A run is a folder of search.run with its
seeds (its controls are included), a journal written by search.Study, or an Optuna storage (sqlite:///FILE, or another
database URL). Runs of different tasks, metrics or directions become sections of their own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from search.errors import cli, program
from search.reports.reading import read_sections
from search.reports.terminal import terminal_report
from search.reports.writing import TITLE, default_folder, write_sections


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    parser = argparse.ArgumentParser(
        prog=program("search.report"), description="Compare finished (or running) searches."
    )
    parser.add_argument(
        "runs", nargs="+", help="run folders, a folder of run folders, journals of search.Study, Optuna storage URLs"
    )
    parser.add_argument("--out", type=Path, help="where to write (default: RUN/report; for several, beside them)")
    parser.add_argument("--title", default=TITLE)
    return parser


def main() -> int:
    """The command line."""
    args = parser().parse_args()
    sections = read_sections(args.runs)
    written = write_sections(sections, args.out or default_folder(args.runs), args.title)
    print(terminal_report(sections))
    print("\nwritten:")
    for path in written:
        print(f"  {path}")
    return 0


if __name__ == "__main__":
    cli(main)
