"""What a set of runs shows: one picture, one table, one page.

    python -m search.report runs/A runs/B ... [--out DIR] [--title TEXT]

Writes report.html (self-contained), curves.png, table.md and summary.json. A run is a folder of search.run with its
seeds; its controls are included. Runs of different tasks, metrics or directions become sections of their own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from search.errors import cli
from search.reports.compare import write_report


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.report", description="Compare finished (or running) searches."
    )
    parser.add_argument("runs", nargs="+", help="run folders, or a folder of run folders")
    parser.add_argument("--out", type=Path, help="where to write (default: folder report beside the first run)")
    parser.add_argument("--title", default="Architecture search report")
    args = parser.parse_args()
    out = args.out or Path(args.runs[0]).resolve().parent / "report"
    written = write_report(args.runs, out, args.title)
    print((out / "table.md").read_text(encoding="utf-8"))
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    cli(main)
