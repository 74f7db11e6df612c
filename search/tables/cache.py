"""Converted tables on disk: one .npz without pickle per source, rebuilt whenever it is missing, damaged or of another
source.

The folder is LMSEARCHER_CACHE, else ~/.cache/lmsearcher. It may be shared: files of other users are not read.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError
from search.files import cache_folder, read_own, sha256, write_atomic
from search.spaces import Choice, Decision, Space
from search.tables.base import Table

FORMAT = 1  # raise when the layout or a reader changes: older files are then rebuilt
_ALWAYS_HASH = 64 << 20  # bytes; a smaller file is read again rather than trusted by its time


def file_sum(path: str | Path) -> str:
    """SHA-256 of a file.

    For files above 64 MiB it is remembered by path, size and time, so that it is computed once.
    """
    path = Path(path)
    stat = path.stat()
    if stat.st_size <= _ALWAYS_HASH:
        return sha256(path)
    name = hashlib.sha256(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:24]
    note = cache_folder() / "sums" / name
    try:
        known = read_own(note).decode("ascii").strip()
        if re.fullmatch("[0-9a-f]{64}", known):
            return known
    except (OSError, ValueError):
        pass
    digest = sha256(path)
    _keep(note, digest + "\n")
    return digest


def folder_sum(files: Iterable[Path]) -> str:
    """A checksum of many files by name, size and time (their contents are not read)."""
    digest = hashlib.sha256()
    for path in sorted(files):
        stat = path.stat()
        digest.update(f"{path.name}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def cached(
    name: str, key: str, build: Callable[[], Table], canonical: Callable[[str], str] | None = None, note: str = ""
) -> Table:
    """The table `name` built by `build()`, or its copy in the cache.

    key: what the copy depends on (checksum, options, version).

    note: printed to standard error before a slow conversion.
    canonical is given to the space again after loading, because a function is not stored. A copy that cannot be
    read is rebuilt; a folder that cannot be written costs a warning, not the table.
    """
    label = re.sub(r"[^0-9A-Za-z.-]+", "_", name)
    path = cache_folder() / f"{label}-{hashlib.sha256(f'{FORMAT}|{name}|{key}'.encode()).hexdigest()[:20]}.npz"
    try:
        return _from_bytes(read_own(path), canonical)
    except Exception:  # none, another user's, or damaged in any way at all: build it
        pass
    if note:
        print(note, file=sys.stderr)
    table = build()
    _keep(path, _to_bytes(table))
    return table


def _keep(path: Path, content: str | bytes) -> None:
    try:
        write_atomic(path, content)
    except UserError as error:
        warnings.warn(
            f"the converted table is not kept: {error} (set LMSEARCHER_CACHE to a writable folder)", stacklevel=3
        )


def _to_bytes(table: Table) -> bytes:
    meta = {
        "name": table.name,
        "space": {
            "name": table.space.name,
            "decisions": [[a.name, list(a.options), *["ordered"] * isinstance(a, Choice)] for a in table.space.axes],
        },
        "metrics": list(table.metrics),
        "directions": dict(table.directions),
        "source": table.source,
        "licence": table.licence,
        "sha256": table.sha256,
        "by_canonical": table.by_canonical,
    }
    arrays: dict[str, Any] = {
        f"metric_{i}": np.asarray(values, dtype=np.float64) for i, values in enumerate(table.metrics.values())
    }
    text = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, meta=text, codes=table.codes.astype(np.uint8), **arrays)
    return buffer.getvalue()


def _from_bytes(data: bytes, canonical: Callable[[str], str] | None) -> Table:
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        meta = json.loads(stored["meta"].tobytes())
        codes = stored["codes"]
        metrics = {name: stored[f"metric_{i}"] for i, name in enumerate(meta["metrics"])}
    axes = [
        Choice(n, o, ordered=True) if ladder else Decision(n, tuple(o)) for n, o, *ladder in meta["space"]["decisions"]
    ]
    space = Space(axes, meta["space"]["name"], canonical)
    if codes.shape[1] != len(space) or any(len(v) != len(codes) for v in metrics.values()):
        raise ValueError("sizes do not match")
    details = {key: meta[key] for key in ("directions", "source", "licence", "sha256", "by_canonical")}
    return Table(meta["name"], space, codes, metrics, **details)
