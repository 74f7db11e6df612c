"""The journal of a study: Optuna's journal file format behind a writer and a reader that survive kills and damage.

The file is one JSON record a line, readable by Optuna's own JournalFileBackend and by optuna-dashboard. What differs
is what happens when things break: a torn end is cut off on opening (a copy is kept as .damaged), a write that fails
half-way is undone, and the lock belongs to the operating system, so that a killed process never blocks the next.

Optuna numbers trials by counting records, so that one record lost in the middle would give every later value to
another code. Each record is therefore sealed: its last field is the checksum of its own text and of the seal before
it. A record that was changed, lost, repeated or moved breaks the chain, and such a journal is refused. Records that
another program (optuna-dashboard, an older version of this one) wrote have no seal; the next sealed one covers them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from search.errors import UserError
from search.files import file_lock

SYNC_SECONDS = 1.0  # between two flushes to the disk: what a power cut may cost
SEAL = "seal"
SEALED = re.compile(rb',"seal":"([0-9a-f]{8})"\}\n')
SEAL_BYTES = len(b',"seal":"00000000"}\n')
TAIL_BYTES = 1 << 16  # read from the end to find the last whole record
# Optuna's codes of the records that no program writes twice with the same text: they hold a time, or a new name.
CREATE_STUDY, CREATE_TRIAL, FINISH_TRIAL = 0, 4, 6


def _guard(path: Path) -> Path:
    return path.with_name(f".{path.name}.guard")


def repair(path: str | Path) -> str | None:
    """Cut a torn end off a journal; returns what was done (None: nothing was wrong).

    Torn is what stands behind the last line end: its writer died while writing it, so nobody acted upon it. The
    original is kept beside it as NAME.damaged, NAME.damaged.1, ... UserError for any other damage: nothing is changed
    then.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror} - fix the permissions, then resume") from error
    chain = Chain(path)
    for line in data.split(b"\n")[:-1]:
        chain.take(line + b"\n")
    if data.endswith(b"\n") or not data:
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
    """Cut off what stands behind the last line end, for a caller who holds the lock."""
    data = path.read_bytes()
    good = data.rfind(b"\n") + 1
    if good == len(data):
        return None
    copy = next(c for c in _damaged_names(path) if not c.exists())
    try:
        shutil.copyfile(path, copy)
    except OSError:
        copy.unlink(missing_ok=True)
        raise
    os.truncate(path, good)
    return f"{path} held a torn record: {len(data) - good} bytes were cut off, the original is kept as {copy.name}"


def _damaged_names(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.damaged")
    for i in count(1):
        yield path.with_name(f"{path.name}.damaged.{i}")


def _seal_of(line: bytes) -> int:
    """The seal that a line says it has, or the checksum of a line that has none."""
    sealed = SEALED.fullmatch(line, max(0, len(line) - SEAL_BYTES))
    return int(sealed[1], 16) if sealed else zlib.crc32(line)


def _with_seal(text: bytes, before: int) -> bytes:
    """The line of a record: its text without the closing brace, then its seal."""
    return b'%s,"%s":"%08x"}\n' % (text, SEAL.encode(), zlib.crc32(text, before))


class Chain:
    """Reads the lines of a journal one after the other and refuses the first that is not what was written there."""

    def __init__(self, path: Path):
        self.path, self.number, self.seal = path, 0, 0
        self._line = b""

    def take(self, line: bytes) -> dict[str, Any]:
        """The record of the next line; UserError when it, or a line before it, was damaged."""
        record = self._record(line)
        if record is None:
            raise UserError(
                f"{self.path} is damaged at record {self.number + 1} - values behind it could go to wrong trials, so"
                " nothing was read or changed - restore it from a copy; or move it away and continue with --resume:"
                " the study is then rebuilt from trials.jsonl beside it"
            )
        self.seal = _seal_of(line)
        self.number, self._line = self.number + 1, line
        return record

    def _record(self, line: bytes) -> dict[str, Any] | None:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict) or "op_code" not in record:
            return None
        if SEAL in record:
            return record if line == _with_seal(line[:-SEAL_BYTES], self.seal) else None
        headless = self.number == 0 and record["op_code"] != CREATE_STUDY
        again = line == self._line and record["op_code"] in (CREATE_STUDY, CREATE_TRIAL, FINISH_TRIAL)
        return None if headless or again else record


class Journal(BaseJournalBackend):
    """A journal file as an Optuna backend: `JournalStorage(Journal(path))`.

    Appends are atomic towards other processes and towards failure. A kill loses nothing. Against power cuts an append
    is forced to the disk (fsync) when the last one was `sync_seconds` ago or more: every evaluation slower than that
    is.
    """

    def __init__(self, path: str | Path, sync_seconds: float = SYNC_SECONDS):
        self.path = Path(path)
        self.sync_seconds = sync_seconds
        self._restart()
        self._synced = float("-inf")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            open(self.path, "ab").close()
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror} - choose a writable --out with free space"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "sync_seconds": self.sync_seconds}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _restart(self) -> None:
        self._chain, self._offset = Chain(self.path), 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Whole records from that number on; a line that is still being written is left for the next call."""
        if self._chain.number > log_number_from:
            self._restart()
        try:
            if os.stat(self.path).st_size == self._offset:
                return
            with open(self.path, "rb") as handle:
                handle.seek(self._offset)
                for line in handle:
                    if not line.endswith(b"\n"):
                        return
                    record = self._chain.take(line)
                    self._offset += len(line)
                    if self._chain.number > log_number_from:
                        yield record
        except OSError as error:
            raise UserError(
                f"cannot read {self.path}: {error.strerror} - bring it back or fix the permissions, then continue with"
                " --resume"
            ) from error

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write the records or none of them; UserError when the disk is full or may not be written."""
        try:
            with file_lock(_guard(self.path)):
                handle = os.open(self.path, os.O_RDWR | os.O_APPEND)
                try:
                    self._append(handle, logs)
                finally:
                    os.close(handle)
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror} - everything told so far is safe - "
                "free space or fix the permissions, then continue with --resume"
            ) from error

    def _append(self, handle: int, logs: list[dict[str, Any]]) -> None:
        before = os.fstat(handle).st_size
        if before and os.pread(handle, 1, before - 1) != b"\n":
            _cut(self.path)
            before = os.fstat(handle).st_size
        view = memoryview(_sealed(logs, _last_seal(handle, before)))
        try:
            while view:
                view = view[os.write(handle, view) :]
            if time.monotonic() - self._synced >= self.sync_seconds:
                os.fsync(handle)
                self._synced = time.monotonic()
        except OSError:
            os.ftruncate(handle, before)
            raise


def _sealed(logs: list[dict[str, Any]], seal: int) -> bytes:
    """The lines of records that follow a record with that seal."""
    lines = []
    for log in logs:
        lines.append(_with_seal(json.dumps(log, separators=(",", ":")).encode()[:-1], seal))
        seal = _seal_of(lines[-1])
    return b"".join(lines)


def _last_seal(handle: int, size: int) -> int:
    """The seal of the last record of an open journal: what it says, or the checksum of a line that has none."""
    line, start = b"", size
    while start > 0 and b"\n" not in line[:-1]:
        start = max(0, size - max(TAIL_BYTES, 2 * len(line)))
        line = os.pread(handle, size - start, start)
    line = line[line.rfind(b"\n", 0, -1) + 1 :]
    return _seal_of(line)
