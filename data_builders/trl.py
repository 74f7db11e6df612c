"""Rows as TRL's SFTTrainer reads them: {"prompt": ..., "completion": ...} instead of the Alpaca columns.

    python -m data_builders.trl data/nb201.jsonl --out data/nb201_trl.jsonl
    python -m data_builders.trl data/nb201.jsonl --out data/nb201_trl.jsonl --chat     # lists of messages

The prompt is the text that LLaMA-Factory makes of instruction and input, so a model trained by either is asked alike.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search.errors import UserError, cli, program
from search.files import open_atomic
from search.prompts import Prompt


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    p = argparse.ArgumentParser(
        prog=program("data_builders.trl"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("file", type=Path, help="JSONL rows of a builder")
    p.add_argument("--out", type=Path, required=True, help="JSONL file to write")
    p.add_argument(
        "--chat", action="store_true", help="messages of user and assistant, for a tokenizer's chat template"
    )
    return p


def trl_row(row: dict[str, str], chat: bool = False) -> dict[str, Any]:
    """One row with TRL's two columns."""
    prompt, completion = Prompt(row["instruction"], row["input"]).text, row["output"]
    if not chat:
        return {"prompt": prompt, "completion": completion}
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a file; UserError that names the line which is none."""
    try:
        with open(path, encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                row = json.loads(line)
                if not isinstance(row, dict) or not {"instruction", "input", "output"} <= row.keys():
                    raise ValueError(f"line {number} lacks instruction, input or output")
                yield row
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}) - rows of a builder are needed - build them"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} holds no rows of a builder ({error}) - see data_builders/README.md") from error


def main() -> int:
    """The command line."""
    args = parser().parse_args()
    if args.out.resolve() == args.file.resolve():
        raise UserError(f"--out {args.out} is the file that is read - it would be lost - give another name")
    count = 0
    with open_atomic(args.out) as handle:
        for row in rows_of(args.file):
            handle.write(json.dumps(trl_row(row, args.chat), ensure_ascii=False) + "\n")
            count += 1
    print(f"{args.out}: {count} rows for TRL's SFTTrainer")
    return 0


if __name__ == "__main__":
    cli(main)
