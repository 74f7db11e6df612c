"""Who is working on what: identities of processes, the owner lock of a run folder, and claims on codes.

A process is known by host, process id and start time, so that a process id that was given to somebody else is not
mistaken for the dead owner. Claims need no files: a trial is created in the storage first, and of two trials with
one canonical code the lower number is evaluated (see `lost_claim`). That holds for journals and databases alike.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.files import file_lock

OWNER_FILE = "owner.json"


def _start_time(pid: int) -> str | None:
    """When a process of this machine started (opaque text), None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        return None if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return answer.stdout.strip() or None


@lru_cache(maxsize=4)
def _identity_of(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": pid, "start": _start_time(pid)}


def identity() -> dict[str, Any]:
    """{host, pid, start} of this process."""
    return dict(_identity_of(os.getpid()))


def alive(owner: Mapping[str, Any]) -> bool | None:
    """Whether the owner still runs; None when it lived on another machine, where nothing can be known."""
    if owner.get("host") != socket.gethostname():
        return None
    start = _start_time(int(owner["pid"]))
    return start is not None and start == owner.get("start")


@contextmanager
def own(folder: Path, take_over: bool = False):
    """Own a run folder for the length of the block; UserError while another living process owns it.

    The file of a dead owner is replaced at once. An owner on another machine cannot be checked: `take_over` says it is
    gone.
    """
    path = folder / OWNER_FILE
    try:
        with file_lock(folder / ".guard"):
            owner = _read(path)
            if owner and owner != identity() and not take_over:
                state = alive(owner)
                if state:
                    raise UserError(
                        f"{folder} is in use by process {owner['pid']} - "
                        "one process owns a run folder - wait for it, stop it, or choose another --out"
                    )
                if state is None:
                    raise UserError(
                        f"{folder} belongs to process {owner['pid']} on {owner['host']}, which cannot be checked from"
                        " here - if it is gone, add --take-over"
                    )
            path.write_text(json.dumps(identity()))
    except OSError as error:
        raise UserError(
            f"cannot write in {folder}: {error.strerror} - choose a writable --out with free space"
        ) from error
    try:
        yield
    finally:
        if _read(path) == identity():
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads(path.read_text())
        return owner if isinstance(owner, dict) and "pid" in owner else None
    except (FileNotFoundError, ValueError):
        return None


def lost_claim(number: int, key: str, others: Iterable[tuple[int, str]]) -> bool:
    """Whether a trial with a lower number already holds the canonical code `key`."""
    return any(other < number and code == key for other, code in others)
