"""The paper, row by row: what each row needs, what it costs, and its command.

    python -m search.reproduce                        list: what runs here, what is missing
    python -m search.reproduce --run --only "Table 9" run what can run here, in its small size; goes on where it stopped
    python -m search.reproduce --run --full           the same in the paper's size
    python -m search.reproduce --page docs/paper.md   write our numbers beside the printed ones

--reader names the ranker that reads histories (default: the trained 8B model if its weights are there, else the shipped
raw model, else nano, which reads evidence instead of the paper's prompt).
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from search.errors import UserError, cli
from search.files import find, write_atomic
from search.rankers import SHIPPED
from search.reports.reproduction import Row, filled, page, read_rows, status

READERS = (("saves/lmsearcher_8b", "chat:yaml/lmsearcher_8b_chat.yaml"), (str(SHIPPED / "raw"), "raw"))
STAND_IN = "nano"


def default_reader() -> str:
    """The ranker spec of the first model that is there."""
    return next((spec for folder, spec in READERS if (Path(folder) / "config.json").is_file()), STAND_IN)


def listing(rows: Sequence[Row], size: str, sources: dict[str, str], reader: str) -> str:
    """The rows as text: status, cost and commands."""
    lines = []
    for row in rows:
        lines.append(f"{row.table.partition(':')[0]}, {row.name}: {status(row, sources)}")
        lines.append(f"    paper {row.paper or '-'}" + (f"; full size: {row.cost}" if row.cost else ""))
        lines += [f"    {c}" for c in row.command_lines(size, {**sources, "reader": reader})]
        lines += [f"    note: {row.note}"] if row.note else []
    return "\n".join(lines)


def run(rows: Sequence[Row], size: str, sources: dict[str, str], reader: str) -> int:
    """Run the commands of all rows that lack nothing; returns the worst exit code."""
    done: set[str] = set()
    worst, begin = 0, time.monotonic()
    for row in rows:
        if row.lacks(sources):
            print(f"-- {row.table}, {row.name}: {status(row, sources)}")
            continue
        for command in row.command_lines(size, {**sources, "reader": reader}):
            if command in done:
                continue
            done.add(command)
            print(f"-- {row.table.partition(':')[0]}, {row.name}\n   {command}", flush=True)
            worst = max(worst, subprocess.run(_words(command)).returncode)
    print(f"{len(done)} commands, {time.monotonic() - begin:.0f} s")
    return worst


def _words(command: str) -> list[str]:
    """A command line as words, with this interpreter; a run that has begun goes on."""
    words = shlex.split(command)
    words[0] = sys.executable if words[0] == "python" else words[0]
    if "search.run" in words and "--out" in words:
        out = Path(words[words.index("--out") + 1])
        if out.exists() and any(out.iterdir()):
            words.append("--resume")
    return words


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m search.reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose table or name holds this text")
    parser.add_argument("--reader", metavar="SPEC", help="ranker that reads histories, see above")
    parser.add_argument("--full", action="store_true", help="the paper's sizes instead of small ones")
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME=PATH", help="an original file, e.g. nb101=FILE"
    )
    parser.add_argument("--run", action="store_true", help="run every row that lacks nothing")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the numbers found in runs/paper into a page")
    parser.add_argument("--recipes", type=Path, default=Path("recipes/paper"), help="folder of rows")
    args = parser.parse_args()
    for text in args.source:
        if "=" not in text:
            raise UserError(f"--source was given '{text}' - the form is NAME=PATH - for example nb101=FILE.tfrecord")
    sources = dict(text.split("=", 1) for text in args.source)
    rows = [r for r in read_rows(find(args.recipes)) if args.only.lower() in f"{r.table} {r.name}".lower()]
    if not rows:
        raise UserError(f"--only '{args.only}' was given - no row holds that text - leave it out to see all rows")
    size, reader = "full" if args.full else "small", args.reader or default_reader()
    if args.page:
        if not args.page.is_file():
            raise UserError(f"--page {args.page} was given - it is no file - docs/paper.md is the page that is kept")
        write_atomic(args.page, filled(args.page.read_text(encoding="utf-8"), page(rows, Path("."), sources)))
        print(args.page)
        return 0
    print(f"reader {reader}" + ("" if reader != STAND_IN else " (reads evidence, not the paper's prompt)"))
    if args.run:
        return run(rows, size, sources, reader)
    print(listing(rows, size, sources, reader))
    return 0


if __name__ == "__main__":
    cli(main)
