"""Which prompt format a model was trained with, written into its folder and checked wherever it is used.

    python -m search.stamp saves/lmsearcher_8b --format paper        # after training or export; several folders may be named
    python -m search.stamp saves/lmsearcher_8b_ft --format paper --encoding domain   # rows were operator text, not digits
    python -m search.stamp saves/lmsearcher_8b                       # show it

A model asked in another format than it learned answers badly without an error; so the folder carries the format's name and
a hash of its text, and a ranker refuses to serve it with anything else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from search.errors import UserError, cli, did_you_mean
from search.files import write_atomic
from search.operator_text import ENCODINGS
from search.prompt import FORMATS, format_hash, get_format

STAMP = "prompt_format.json"


def write_stamp(folder: str | Path, name: str, encoding: str = "ncode") -> Path:
    """Record format `name` and how codes were written; UserError if that is no folder with a model or an adapter in it."""
    folder = Path(folder)
    get_format(name)
    if encoding not in ENCODINGS:
        raise did_you_mean("encoding", encoding, ENCODINGS)
    if not any((folder / f).is_file() for f in ("config.json", "adapter_config.json")):
        raise UserError(f"{folder} holds no config.json or adapter_config.json - a trained or exported model folder is needed - train it first")
    return write_atomic(folder / STAMP, json.dumps({"format": name, "hash": format_hash(name), "encoding": encoding}) + "\n")


def read_stamp(folder: str | Path) -> dict[str, str] | None:
    """{'format', 'hash', 'encoding'} of a model folder; None when it has no stamp (or is the name of a hub model)."""
    path = Path(folder) / STAMP
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"format": str(found["format"]), "hash": str(found["hash"]), "encoding": str(found.get("encoding", "ncode"))}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}) - it holds a format and a hash - write it again with python -m search.stamp") from error


def agreed_format(requested: str | None, folders: Iterable[str | Path], default: str = "paper") -> str:
    """The format to use: the one asked for, which must be the one the first stamped folder was trained with.

    Without a stamp nothing can be checked: a note goes to standard error and the requested (or default) format is used.
    """
    folders = list(folders)
    for folder in folders:
        stamp = read_stamp(folder)
        if stamp is None:
            continue
        name = stamp["format"]
        if requested not in (None, name):
            raise UserError(f"format '{requested}' was asked of {folder} - it was trained with '{name}' - leave the format out, or train with '{requested}'")
        if name not in FORMATS or format_hash(name) != stamp["hash"]:
            had = f"{folder} was trained with another text of format '{name}' ({stamp['hash']}) than this version writes"
            raise UserError(f"{had} - use the version it was trained with, or train again")
        return name
    chosen = requested or default
    get_format(chosen)
    if folders:
        hint = "python -m search.stamp FOLDER --format NAME records it"
        print(f"note: {folders[-1]} does not say which prompt format it was trained with; using '{chosen}' ({hint})", file=sys.stderr)
    return chosen


def agreed_encoding(requested: str | None, folders: Iterable[str | Path]) -> str:
    """How codes are written, `ncode` or `domain`: as asked for, which must be as the first stamped folder was trained."""
    if requested not in (None, *ENCODINGS):
        raise did_you_mean("encoding", requested, ENCODINGS)
    for folder in folders:
        stamp = read_stamp(folder)
        if stamp is not None and requested not in (None, stamp["encoding"]):
            raise UserError(f"encoding '{requested}' was asked of {folder} - it was trained with '{stamp['encoding']}' - leave the encoding out")
        if stamp is not None:
            return stamp["encoding"]
    return requested or "ncode"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m search.stamp", description="Record or show the prompt format of model folders.")
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--format", metavar="NAME", help=", ".join(FORMATS))
    parser.add_argument("--encoding", default="ncode", metavar="NAME", help=", ".join(ENCODINGS))
    arguments = parser.parse_args()
    for folder in arguments.folders:
        if arguments.format:
            write_stamp(folder, arguments.format, arguments.encoding)
        stamp = read_stamp(folder)
        print(f"{folder}: {stamp['format']} {stamp['hash']} {stamp['encoding']}" if stamp else f"{folder}: no record")
    return 0


if __name__ == "__main__":
    cli(main)
