"""dataset_info.json: LLaMA-Factory's list of data sets, kept at the repository's root (`dataset_dir: .`)."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.files import write_atomic

COLUMNS = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
}  # without `query` the input is dropped silently


def read_registry(path: str | Path) -> dict[str, Any]:
    """The entries of a registry; {} when there is no such file."""
    path = Path(path)
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path} is not JSON ({error}) - LLaMA-Factory reads the same file - repair it or move it away"
        ) from error
    if not isinstance(found, dict):
        raise UserError(
            f"{path} holds a {type(found).__name__} - it must hold an object {{name: entry}} - repair it or move it"
            " away"
        )
    return found


def register(name: str, rows: str | Path, registry: str | Path = "dataset_info.json") -> bool:
    """Enter the rows file under `name`; returns whether anything changed. Other entries stay as they are."""
    registry = Path(registry)
    file_name = Path(os.path.relpath(Path(rows).resolve(), registry.resolve().parent))
    entry = {"file_name": file_name.as_posix(), "columns": COLUMNS}
    if file_name.parts[0] == os.pardir:
        entry["file_name"] = str(Path(rows).resolve())
    folder = os.open(registry.resolve().parent, os.O_RDONLY)  # the lock of the folder: no lock file is left behind
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entries = read_registry(registry)
        if entries.get(name) == entry:
            return False
        entries[name] = entry
        write_atomic(registry, json.dumps(entries, indent=2) + "\n")
    finally:
        os.close(folder)
    return True
