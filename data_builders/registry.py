"""dataset_info.json: LLaMA-Factory's list of data sets, kept at the repository's root (`dataset_dir: .`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.files import file_lock, write_atomic

DEFAULT, NONE = "dataset_info.json", "none"
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
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}) - it is a JSON file - choose another") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not JSON ({error}) - LLaMA-Factory reads the same file - repair it or move it away"
        ) from error
    if not isinstance(found, dict):
        raise UserError(
            f"{path} holds a {type(found).__name__} - it must hold an object {{name: entry}} - repair it or move it"
            " away"
        )
    return found


def check_registry(registry: str | None) -> None:
    """UserError when `enter` could not register in it, so that nothing is built in vain."""
    if registry == NONE:
        return
    path = Path(registry or DEFAULT)
    if not path.resolve().parent.is_dir() or not os.access(path.resolve().parent, os.W_OK):
        raise UserError(
            f"--registry was given '{path}' - its folder must exist and be writable - make it, or give '{NONE}'"
        )
    read_registry(path)


def enter(name: str, rows: str | Path, registry: str | None, history: bool = False) -> str:
    """Register rows where that is meant, and the sentence that says so.

    registry: a file; 'none' to leave all alone; None: dataset_info.json, but only for rows below the data/ beside it.
    history: rows hold the turns before their last one.
    """
    if registry == NONE:
        return ""
    if registry is None and Path(os.path.relpath(rows)).parts[0] != "data":
        return f"not registered, as {rows} is not below data/ - to register it, add --registry {DEFAULT}"
    register(name, rows, registry or DEFAULT, history)
    return f"registered as '{name}' in {registry or DEFAULT}"


def register(name: str, rows: str | Path, registry: str | Path = DEFAULT, history: bool = False) -> bool:
    """Enter the rows file under `name`; returns whether anything changed. Other entries stay as they are."""
    registry = Path(registry)
    file_name = Path(os.path.relpath(rows, registry.absolute().parent))
    outside = file_name.parts[0] == os.pardir
    columns = COLUMNS | ({"history": "history"} if history else {})
    entry = {"file_name": str(Path(rows).resolve()) if outside else file_name.as_posix(), "columns": columns}
    with file_lock(registry.resolve().parent):
        entries = read_registry(registry)
        if entries.get(name) == entry:
            return False
        entries[name] = entry
        write_atomic(registry, json.dumps(entries, indent=2) + "\n")
    return True
