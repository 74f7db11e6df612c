"""What the task needs before its first trial, made once and kept: corpus, supernet, latency table.

Everything lies in $LMSEARCHER_CACHE (default ~/.cache/lmsearcher) under hat/, in folders named by a hash of what they were made from.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.tasks.hat import corpus as embedded
from search.tasks.hat import phrases
from search.tasks.hat.recipe import Recipe


def root() -> Path:
    """The cache folder of this task."""
    return Path(os.environ.get("LMSEARCHER_CACHE") or Path.home() / ".cache" / "lmsearcher") / "hat"


def key(*parts: Any) -> str:
    """16 hex digits of what something is made from."""
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time makes what the cache lacks; the others wait and then find it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "w")
    except OSError as error:
        raise UserError(
            f"the cache folder {folder} cannot be written ({error.strerror}) - it keeps corpus and supernet - set LMSEARCHER_CACHE to a writable folder"
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def corpus_folder(sizes: dict[str, int], merges: int) -> Path:
    """The embedded corpus, generated if this version of its generator has not made it yet."""
    from search.tasks.hat.prepare import embedded_corpus

    made_by = [sha256(Path(module.__file__).read_bytes()).hexdigest() for module in (embedded, phrases)]
    folder = root() / f"corpus-{key(made_by, sizes, merges)}"
    if not (folder / "corpus.json").exists():
        embedded_corpus(folder, sizes, merges)
    return folder


def supernet_folder(corpus, recipe: Recipe) -> Path:
    """Where the supernet of this corpus and recipe lies or will lie."""
    return root() / f"supernet-{key(corpus.about['sha256'], recipe.identity())}"


def trained(folder: Path, recipe: Recipe) -> bool:
    """Whether the supernet has all its updates."""
    return (folder / f"update-{recipe.updates}.pt").exists()


def device_name(device: str) -> str:
    """The processor or GPU that latency is measured on, with the number of threads."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def latency_table(space, words: tuple[int, int], device: str, n: int, repeats: int, progress: bool) -> Path:
    """Measured latencies of n sub-transformers on this device, in HAT's columns; measured on the first use."""
    from search.tasks.hat.latency import measure_many, spread_codes, write_table

    name = device_name(device)
    path = root() / f"latency-{key(space.name, words, name, n, repeats)}.csv"
    if not path.exists():
        rows = measure_many(space, spread_codes(space, n, 0), words, device, progress, repeats)
        write_table(path, rows, space.name.replace("/", "-by-"), "".join(c if c.isalnum() else "-" for c in name))
    return path
