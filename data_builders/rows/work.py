"""The hidden folder of a build in progress: what is written is kept, checked and gone on from.

Finished tasks are appended in order to `.NAME.work/` beside the output together with a journal; the files get their
names when everything is there. A build that was killed goes on after the last whole task of its journal.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any
from zlib import crc32

from search.errors import UserError, WorkLost
from search.files import file_lock, write_atomic

SPARE = 1.05  # of the estimated size, for the journal and rows that come out longer


class Work:
    """Parts (files that grow by one block a task) and a journal with one line per finished task.

    counts: what the finished tasks counted; digest: SHA-256 so far of the first part. Use it through `open_work`.
    """

    def __init__(self, folder: Path, parts: Sequence[str], plan: dict[str, Any]):
        self.folder, self.parts, self.journal = folder, [folder / name for name in parts], folder / "journal"
        self.counts: Counter = Counter()
        self.digest = hashlib.sha256()
        self._handles: list[IO[bytes]] = []
        kept, text = folder / "plan.json", json.dumps(plan, sort_keys=True)
        if not kept.exists() or kept.read_text(encoding="utf-8") != text:
            for path in (*self.parts, self.journal):
                path.unlink(missing_ok=True)
            write_atomic(kept, text)

    def resume(self, first_task: int, stack: ExitStack) -> int:
        """The next task, after dropping whatever is not whole; the parts end exactly there and are open to `add`."""
        task, ends, good = first_task, [0] * len(self.parts), []
        if all(path.exists() for path in (self.journal, *self.parts)):
            with ExitStack() as files:
                handles = [files.enter_context(open(path, "rb")) for path in self.parts]
                for line in self.journal.read_bytes().splitlines(keepends=True):
                    entry = _journal_entry(line)
                    if entry is None or entry["task"] != task:
                        break
                    blocks = [handle.read(size) for handle, size in zip(handles, entry["bytes"])]
                    if [crc32(b) for b in blocks] != entry["crc"]:
                        break
                    self.digest.update(blocks[0])
                    self.counts.update(entry["counts"])
                    ends = [e + len(b) for e, b in zip(ends, blocks)]
                    good.append(line)
                    task += 1
        write_atomic(self.journal, b"".join(good))
        for path, end in zip(self.parts, ends):
            with open(path, "ab") as handle:
                handle.truncate(end)
        self._handles = [stack.enter_context(open(path, "ab")) for path in (*self.parts, self.journal)]
        return task

    def add(self, task: int, blocks: Sequence[bytes], counts: Counter) -> None:
        """Append a finished task."""
        entry = {"task": task, "bytes": [len(b) for b in blocks], "crc": [crc32(b) for b in blocks], "counts": counts}
        for handle, block in zip(self._handles, (*blocks, json.dumps(entry).encode() + b"\n")):
            handle.write(block)
            handle.flush()
        self.digest.update(blocks[0])
        self.counts.update(counts)

    def check_space(self, share_left: float, blocks: Sequence[bytes], out: Path) -> None:
        """WorkLost when the disk cannot hold `share_left` more tasks of the size of these blocks."""
        need, free = SPARE * share_left * sum(map(len, blocks)), shutil.disk_usage(self.folder).free
        if need > free:
            raise WorkLost(
                f"{out} needs about {need / 1e9:.1f} GB more - {free / 1e9:.1f} GB are free - free some space or choose"
                " another --out; the same command goes on from what is finished"
            )


@contextmanager
def open_work(out: Path, targets: Sequence[Path], parts: Sequence[str], plan: dict[str, Any]) -> Iterator[Work]:
    """The work of building `out`, for one process at a time; the folder goes when the block ends without an error.

    targets: the files that will be written at the end. UserError, before anything is built, for an output that cannot
    be written and while another process builds it; WorkLost when the disk gives out on the way.
    """
    for target in targets:
        if os.path.lexists(target) and not target.is_file():
            raise UserError(f"{target} is there and is no file - rows are written to a file - choose another --out")
    folder = out.with_name(f".{out.name}.work")
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(folder / "lock", wait=False))
            work = Work(folder, parts, plan)
        except BlockingIOError:
            raise UserError(
                f"another process is building {out} - one at a time can - wait for it or choose another --out"
            ) from None
        except OSError as error:
            raise UserError(
                f"cannot write {out}: {error.strerror or error} - rows need a writable folder - choose another --out"
            ) from error
        try:
            yield work
        except OSError as error:
            raise WorkLost(
                f"cannot write {out}: {error.strerror or error} - what is finished is kept in {folder} - free some"
                " space and run the same command again to continue where it stopped"
            ) from error
        shutil.rmtree(folder, ignore_errors=True)


def _journal_entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
        return entry if isinstance(entry, dict) and {"task", "bytes", "crc", "counts"} <= set(entry) else None
    except ValueError:
        return None
