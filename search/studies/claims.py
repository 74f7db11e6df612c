"""Who is working on what: identities of processes, the owner lock of a run folder, and claims on codes.

A process is known by host, process id and start time, so that a process id that was given to somebody else is not
mistaken for the dead owner. Claims on codes need no files: a trial is created in the storage first, and of two running
trials with one canonical code the earlier is evaluated (see search.studies.trials).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.files import file_lock

OWNER_FILE, LOCK_FILE, GUARD_FILE = "owner.json", ".owner.lock", ".guard"
OWNERSHIP = (OWNER_FILE, LOCK_FILE, GUARD_FILE)


def _start_time(pid: int) -> str | None:
    """When a process of this machine started (opaque text), None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        return None if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    import subprocess  # here, as no Linux machine needs it

    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return answer.stdout.strip() or None


@lru_cache(maxsize=4)
def _identity_of(pid: int) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "start": _start_time(pid),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "machine": _text("/etc/machine-id"),
        "namespace": _namespace(),
    }


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip() or None
    except OSError:
        return None


def _namespace() -> str | None:
    """What process numbers count in here: a container counts its own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def identity() -> dict[str, Any]:
    """{host, pid, start} of this process, and the {boot, machine, namespace} in which that pid means something."""
    return dict(_identity_of(os.getpid()))


def alive(owner: Mapping[str, Any]) -> bool | None:
    """Whether the owner still runs; None when it lived where nothing can be known from here: on another machine, or in
    another container.
    """
    here = identity()
    if owner.get("host") != here["host"]:
        return None
    if owner.get("boot", here["boot"]) != here["boot"]:
        return False if here["machine"] and owner.get("machine") == here["machine"] else None
    if owner.get("namespace", here["namespace"]) != here["namespace"]:
        return None
    pid = owner.get("pid")
    start = _start_time(pid) if isinstance(pid, int) else None
    return start is not None and start == owner.get("start")


def lives_here(owner: Mapping[str, Any]) -> bool:
    """Whether an owner's process number means something here: it may be somebody else's elsewhere."""
    here = identity()
    return all(owner.get(key, here[key]) == here[key] for key in ("host", "boot", "namespace"))


@contextmanager
def own(folder: Path, take_over: bool = False):
    """Own a run folder for the length of the block; UserError while another living process owns it.

    A lock that ends with its process says who is alive, in a container too. The file beside it says who that is. The
    file of a dead owner is replaced at once; so is that of an owner in a container under this kernel, whose lock would
    be seen. An owner on another machine cannot be checked: `take_over` says it is gone; a lock that can be seen to be
    held is never taken over.
    """
    path = folder / OWNER_FILE
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        try:
            with file_lock(folder / GUARD_FILE):
                _claim(folder, path, _hold(handle), take_over)
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            yield
        finally:
            if _read(path) == identity():
                path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _claim(folder: Path, path: Path, free: bool | None, take_over: bool) -> None:
    """Write this process down as the owner; UserError when another one is."""
    owner = _read(path)
    state = None if owner in (None, identity()) else alive(owner)
    if owner and state is None and free and owner.get("boot") == identity()["boot"] is not None:
        state = False
    if free is False or (state and not take_over):
        who = f"process {owner['pid']} on {owner.get('host')}" if owner else "another process"
        raise UserError(
            f"{folder} is in use by {who} - one process owns a run folder - wait for it, stop it, or choose another"
            " --out"
        )
    if owner and owner != identity() and state is None and not take_over:
        raise UserError(
            f"{folder} belongs to process {owner['pid']} on {owner.get('host')}, which cannot be checked from here - if"
            " it is gone, add --take-over"
        )
    path.write_text(json.dumps(identity()))


def _hold(handle: int) -> bool | None:
    """Take the lock that this process holds until it ends; False: another one has it; None: there are no locks here.

    A record lock (POSIX), as those are not handed on to forked children: these may outlive the owner.
    """
    if os.name == "nt":
        return None
    import fcntl

    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write in {folder}: {error.strerror} - choose a writable --out with free space")


def _read(path: Path) -> dict[str, Any] | None:
    """Who owns a folder; None when nobody does, or the file says nothing readable (the lock decides then)."""
    try:
        owner = json.loads(path.read_bytes())
        return owner if isinstance(owner, dict) and isinstance(owner.get("pid"), int) else None
    except (OSError, ValueError, RecursionError):
        return None
