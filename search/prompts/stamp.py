"""The prompt format that a model folder was trained with: written into it, and checked wherever the model is used."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from search.errors import UserError, did_you_mean
from search.files import write_atomic
from search.prompts import FORMATS, format_hash, get_format
from search.prompts.encodings import ENCODINGS

STAMP = "prompt_format.json"


def write_stamp(folder: str | Path, name: str, encoding: str = "ncode") -> Path:
    """Record format `name` and how codes were written; UserError if that is no folder with a model or an adapter in
    it.
    """
    folder = Path(folder)
    get_format(name)
    if encoding not in ENCODINGS:
        raise did_you_mean("encoding", encoding, ENCODINGS)
    if not any((folder / f).is_file() for f in ("config.json", "adapter_config.json")):
        raise UserError(
            f"{folder} holds no config.json or adapter_config.json - a trained or exported model folder is needed -"
            " train it first"
        )
    return write_atomic(
        folder / STAMP, json.dumps({"format": name, "hash": format_hash(name), "encoding": encoding}) + "\n"
    )


def read_stamp(folder: str | Path) -> dict[str, str] | None:
    """{'format', 'hash', 'encoding'} of a model folder; None when it has no stamp (or is the name of a hub model)."""
    path = Path(folder) / STAMP
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            "format": str(found["format"]),
            "hash": str(found["hash"]),
            "encoding": str(found.get("encoding", "ncode")),
        }
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}) - it holds a format and a hash - write it again with python -m"
            " search.stamp"
        ) from error


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
            raise UserError(
                f"format '{requested}' was asked of {folder} - it was trained with '{name}' - leave the format out, or"
                f" train with '{requested}'"
            )
        if name not in FORMATS or format_hash(name) != stamp["hash"]:
            had = (
                f"{folder} was trained with another text of format '{name}' ({stamp['hash']}) than this version writes"
            )
            raise UserError(f"{had} - use the version it was trained with, or train again")
        return name
    chosen = requested or default
    get_format(chosen)
    if folders:
        hint = "python -m search.stamp FOLDER --format NAME records it"
        print(
            f"note: {folders[-1]} does not say which prompt format it was trained with; using '{chosen}' ({hint})",
            file=sys.stderr,
        )
    return chosen


def agreed_encoding(requested: str | None, folders: Iterable[str | Path]) -> str:
    """How codes are written, `ncode` or `domain`: as asked for, which must be as the first stamped folder was
    trained.
    """
    if requested not in (None, *ENCODINGS):
        raise did_you_mean("encoding", requested, ENCODINGS)
    for folder in folders:
        stamp = read_stamp(folder)
        if stamp is not None and requested not in (None, stamp["encoding"]):
            raise UserError(
                f"encoding '{requested}' was asked of {folder} - it was trained with '{stamp['encoding']}' - leave the"
                " encoding out"
            )
        if stamp is not None:
            return stamp["encoding"]
    return requested or "ncode"


def require_format(folder: str | Path, formats: Sequence[str], how: str) -> str:
    """The format that a model folder was trained with, one of `formats`.

    UserError (ending in `how` to get such a model) when it holds no model, no stamp, another format, or the same format
    with another text than this version writes.
    """
    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"{folder} holds no model - a trained folder is needed - {how}")
    stamp = read_stamp(folder)
    if stamp is None:
        missing = f"{folder} does not say which prompt format it learned - {STAMP} is missing"
        raise UserError(f"{missing} - python -m search.stamp writes it")
    if stamp["format"] not in formats or stamp["hash"] != format_hash(stamp["format"]):
        given = f"{folder} was trained with format '{stamp['format']}' ({stamp['hash']})"
        raise UserError(f"{given} - {' or '.join(formats)} as this version writes them are needed - {how}")
    return stamp["format"]
