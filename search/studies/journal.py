"""The journal of a study: Optuna's journal file format behind a writer and a reader that survive kills and full disks.

The file is one JSON record a line, readable by Optuna's own JournalFileBackend and by optuna-dashboard. What differs
is what happens when things break: a torn last line is cut off on opening (a copy is kept as .damaged), a write that
fails half-way is undone, and the lock belongs to the operating system, so that a killed process never blocks the next.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from search.errors import UserError
from search.files import file_lock, write_atomic

SYNC_SECONDS = 1.0


def _guard(path: Path) -> Path:
    return path.with_name(f".{path.name}.guard")


def repair(path: str | Path) -> str | None:
    """Take unreadable records out of a journal; returns what was done (None: nothing was wrong).

    The original is kept beside it as NAME.damaged, NAME.damaged.1, ... A torn record was never acted upon by anybody:
    its writer died while writing it, and no reader can pass it. So what follows it (if another program appended) stays
    valid.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror} - fix the permissions, then resume") from error
    if all(_salvage(line) == line for line in data.splitlines(keepends=True)):
        return None
    try:
        with file_lock(_guard(path)):
            return _cut(path)
    except OSError as error:
        raise UserError(
            f"{path} ends in a torn record and cannot be repaired ({error.strerror}) - "
            "make the folder writable, with free space, then resume"
        ) from error


def _cut(path: Path) -> str | None:
    """`repair` for a caller who holds the lock."""
    data = path.read_bytes()
    good = b"".join(_salvage(line) for line in data.splitlines(keepends=True))
    if good == data:
        return None
    copy = next(c for c in _damaged_names(path) if not c.exists())
    try:
        shutil.copyfile(path, copy)
    except OSError:
        copy.unlink(missing_ok=True)
        raise
    if data.startswith(good):
        os.truncate(path, len(good))
    else:
        write_atomic(path, good)
    return f"{path} held a torn record: {len(data) - len(good)} bytes were cut off, the original is kept as {copy.name}"


def _damaged_names(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.damaged")
    for i in count(1):
        yield path.with_name(f"{path.name}.damaged.{i}")


def _salvage(line: bytes) -> bytes:
    """The whole record that a line holds or ends with; nothing if there is none."""
    start = 0
    while line.endswith(b"\n") and start >= 0:
        try:
            if isinstance(record := json.loads(line[start:]), dict) and "op_code" in record:
                return line[start:]
        except ValueError:
            pass
        start = line.find(b'{"op_code"', start + 1)
    return b""


class Journal(BaseJournalBackend):
    """A journal file as an Optuna backend: `JournalStorage(Journal(path))`.

    Appends are atomic towards other processes and towards failure. A kill loses nothing. Against power cuts an append
    is forced to the disk (fsync) when the last one was `sync_seconds` ago or more: every evaluation slower than that
    is.
    """

    def __init__(self, path: str | Path, sync_seconds: float = SYNC_SECONDS):
        self.path = Path(path)
        self.sync_seconds = sync_seconds
        self._offsets = {0: 0}
        self._synced = float("-inf")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            open(self.path, "ab").close()
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror} - choose a writable --out with free space"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_offsets": {0: 0}}

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Whole records from that number on; a line that is still being written is left for the next call."""
        number = log_number_from if log_number_from in self._offsets else 0
        offset = self._offsets[number]
        if os.stat(self.path).st_size <= offset:
            return
        with open(self.path, "rb") as handle:
            handle.seek(offset)
            for line in handle:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                number += 1
                self._offsets[number] = offset
                if number > log_number_from:
                    yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write the records or none of them; UserError when the disk is full or may not be written."""
        data = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        try:
            with file_lock(_guard(self.path)):
                handle = os.open(self.path, os.O_RDWR | os.O_APPEND)
                try:
                    self._append(handle, data)
                finally:
                    os.close(handle)
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror} - everything told so far is safe - "
                "free space or fix the permissions, then continue with --resume"
            ) from error

    def _append(self, handle: int, data: bytes) -> None:
        before = os.fstat(handle).st_size
        if before and os.pread(handle, 1, before - 1) != b"\n":
            _cut(self.path)
            before = os.fstat(handle).st_size
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(handle, view) :]
            if time.monotonic() - self._synced >= self.sync_seconds:
                os.fsync(handle)
                self._synced = time.monotonic()
        except OSError:
            os.ftruncate(handle, before)
            raise
