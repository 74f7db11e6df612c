"""Check rows, independently of the builder that made them: exit 1 and the row numbers where a rule is broken.

    python -m data_builders.check data/nb201.jsonl --tokenizer models/nano --cutoff-len 8192 --held-out nb201

Reads NAME.meta.json (format, tables) and NAME.truth.npy (true values of candidates) beside the rows where they are
there; tables are read again and looked up. The rules are listed in `data_builders.checks.rules`. Row 1 is the first
line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data_builders.checks.origins import held_out_tables, truth_of
from data_builders.checks.rules import RULES, Expectation, Finding, check_row, leaking_origins
from data_builders.checks.tokens import token_lengths
from data_builders.options import ORDERS
from data_builders.parallel import in_order
from data_builders.rows.writing import meta_path, truth_path
from search.errors import UserError, cli, program
from search.prompts.formats import text_format

CHUNK = 512  # rows a process checks at once; more would delay the first finding
SHOWN = 20  # offending rows listed for each rule; the count says how many there are


def read_meta(rows: Path) -> dict[str, Any]:
    """What NAME.meta.json says; {} without one."""
    path = meta_path(rows)
    if not path.exists():
        return {}
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        shape, origins = meta.get("shape", {}), meta.get("origins", [])
        if not isinstance(shape, dict) or not all({"table", "metric"} <= set(o) for o in origins):
            raise ValueError("its shape or origins are of another form")
        return meta
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is not what a builder writes ({error}) - it says how the rows were made - build the rows again"
        ) from error


def read_truth(rows: Path, origins: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(origin of each row, its candidates' values) from NAME.truth.npy; None without one."""
    path = truth_path(rows)
    if not path.exists():
        return None, None
    try:
        records = np.load(path, mmap_mode="r", allow_pickle=False)
        origin, value = records["origin"], records["value"]
        if origin.ndim != 1 or value.ndim != 2 or (len(origin) and int(origin.max()) >= max(origins, 1)):
            raise ValueError("it is of another form")
    except (OSError, ValueError, IndexError, KeyError, TypeError, EOFError) as error:
        raise UserError(
            f"{path} is not what a builder writes ({error}) - it holds the true values - build the rows again"
        ) from error
    return origin, value


def expectation(rows: Path, meta: dict[str, Any], args: argparse.Namespace) -> Expectation:
    """What the file's rows should be, from its meta data and the command line."""
    shape, origins = meta.get("shape", {}), meta.get("origins", [])
    fmt = args.format or meta.get("format", "paper")
    text_format(fmt)
    truths = [truth_of(o) for o in origins]
    held = held_out_tables(args.held_out)
    origin, value = read_truth(rows, len(origins))
    order = shape.get("order", ORDERS[0])
    return Expectation(
        fmt,
        bool(shape.get("direct")),
        order != ORDERS[0],
        meta.get("encoding") == "domain",
        bool(shape.get("shuffle_scores")),
        truths,
        origin,
        value,
        held,
        leaking_origins(origins, truths, held),
    )


_expected: Expectation | None = None


def _start(expected: Expectation) -> None:
    global _expected
    _expected = expected


def _check_chunk(chunk: tuple[Path, int, int, int]) -> list[Finding]:
    path, first, offset, size = chunk
    assert _expected is not None
    with open(path, "rb") as handle:
        handle.seek(offset)
        lines = handle.read(size).splitlines(keepends=True)
    return [check_row(line, first + i, _expected) for i, line in enumerate(lines)]


def _chunks(path: Path) -> Iterator[tuple[Path, int, int, int]]:
    """(path, first row, where it begins, bytes) of CHUNK rows at a time."""
    with open(path, "rb") as handle:
        first = offset = 0
        while lengths := [len(line) for line in islice(handle, CHUNK)]:
            yield path, first, offset, sum(lengths)
            first, offset = first + len(lengths), offset + sum(lengths)


def findings(path: Path, expected: Expectation, workers: int, progress: bool) -> Iterator[Finding]:
    """The finding of every row, in order."""
    workers = workers if sys.platform.startswith("linux") else 1  # tables reach the processes by forking alone
    with tqdm(unit="row", unit_scale=True, desc=f"check {path.name}", disable=not progress) as bar:
        for found in in_order(_check_chunk, _chunks(path), workers, _start, (expected,)):
            bar.update(len(found))
            yield from found


def check_file(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Every broken rule with its rows, and what was counted."""
    meta = read_meta(path)
    expected = expectation(path, meta, args)
    if expected.origin is not None:
        with open(path, "rb") as handle:
            rows = sum(1 for _ in handle)
        if rows != len(expected.origin):
            told = f"{truth_path(path).name} tells of {len(expected.origin)}"
            raise UserError(f"{path} has {rows} rows, {told} - they belong together - build the rows again")
    broken: dict[str, list[int]] = defaultdict(list)
    counts: Counter = Counter()
    seen: dict[int, int] = {}
    unverified = 0
    for number, found in enumerate(findings(path, expected, args.workers, not args.quiet), start=1):
        for rule in found.broken:
            broken[rule].append(number)
        if found.key and found.key in seen:
            broken["duplicate"].append(number)
        seen.setdefault(found.key, number)
        unverified += found.verified == "no" and not found.broken
        counts["rows"] += 1
        counts["tied_answers"] += found.tied
        counts["history_entries"] += found.history
        counts[f"argmax_by_{found.verified.replace(' ', '_')}"] += 1
    lengths = {}
    if args.tokenizer:
        tokens = token_lengths(path, args.tokenizer)
        broken["tokens"] += (np.flatnonzero(tokens > args.cutoff_len) + 1).tolist()
        lengths = {f"p{q}": int(np.percentile(tokens, q)) for q in (50, 90, 99, 100)} if len(tokens) else {}
    return {
        "file": str(path),
        "counts": dict(counts),
        "tokens": lengths,
        "broken": {r: broken[r] for r in RULES if broken[r]},
        "unverified": 0 if expected.direct and meta else unverified,  # direct rows may have no known values
    }


def sound(result: Mapping[str, Any]) -> bool:
    """Whether there are rows, no rule is broken, and every answer was compared with true values."""
    return bool(result["counts"].get("rows")) and not result["broken"] and not result["unverified"]


def report(result: dict[str, Any], cutoff: int) -> None:
    """What was found, for people."""
    counts = result["counts"]
    verified = ", ".join(
        f"{n} {k.removeprefix('argmax_').replace('_', ' ')}" for k, n in counts.items() if k.startswith("argmax_by")
    )
    print(
        f"{result['file']}: {counts.get('rows', 0)} rows; best candidate verified: {verified or 'none'};"
        f" {counts.get('tied_answers', 0)} tied answers"
    )
    if result["tokens"]:
        print("tokens a row: " + ", ".join(f"{k} {v}" for k, v in result["tokens"].items()) + f" (cutoff_len {cutoff})")
    for rule, rows in result["broken"].items():
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        print(f"BROKEN {rule}: {len(rows)} rows: {', '.join(map(str, rows[:SHOWN]))}{more}")
    if result["unverified"]:
        print(
            f"NOT VERIFIED: whether the answers of {result['unverified']} rows are the best candidates - that takes"
            " NAME.meta.json and NAME.truth.npy of the builder beside the rows"
        )
    faults = [f"{len(result['broken'])} rules broken"] if result["broken"] else []
    faults += ["answers not verified"] if result["unverified"] else []
    faults += [] if counts.get("rows") else ["no rows"]
    print("ok" if sound(result) else f"not ok: {', '.join(faults)}")


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    parser = argparse.ArgumentParser(
        prog=program("data_builders.check"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="JSONL rows")
    parser.add_argument("--format", default=None, help="prompt format (default: what NAME.meta.json says, else paper)")
    parser.add_argument(
        "--tokenizer", default=None, help="folder of a tokenizer; rows longer than --cutoff-len break the rule 'tokens'"
    )
    parser.add_argument("--cutoff-len", type=int, default=8192, help="as in the training YAML (default 8192)")
    parser.add_argument(
        "--held-out",
        action="append",
        default=[],
        metavar="TABLE",
        help="evaluation table (nb201, nb201/cifar100, NAME=PATH); repeatable",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main() -> int:
    """The command line."""
    args = parser().parse_args()
    path = Path(args.file)
    if not path.is_file():
        raise UserError(
            f"rows file {path} does not exist - JSON lines are checked - build it first, for example: python -m"
            f" data_builders.nb201 --out {path}"
        )
    result = check_file(path, args)
    print(json.dumps(result)) if args.json else report(result, args.cutoff_len)
    return 0 if sound(result) else 1


if __name__ == "__main__":
    cli(main)
