"""What the task needs before its first trial, made once and kept: corpus, supernet, latency table.

Everything lies in $LMSEARCHER_CACHE (default ~/.cache/lmsearcher) under hat/, in folders named by a hash of what they
were made from.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from search.files import cache_folder, check_own
from search.tasks.hat import corpus as embedded
from search.tasks.hat import phrases
from search.tasks.hat.recipe import Recipe
from search.tasks.training import device_name, key


def root() -> Path:
    """The cache folder of this task."""
    return cache_folder() / "hat"


def _own(folder: Path) -> Path:
    return check_own(folder) if os.path.lexists(folder) else folder


def corpus_folder(sizes: dict[str, int], merges: int) -> Path:
    """The embedded corpus, generated if this version of its generator has not made it yet."""
    from search.tasks.hat.prepare import embedded_corpus

    made_by = [sha256(Path(module.__file__).read_bytes()).hexdigest() for module in (embedded, phrases)]
    folder = _own(root() / f"corpus-{key(made_by, sizes, merges)}")
    if not (folder / "corpus.json").exists():
        embedded_corpus(folder, sizes, merges)
    return folder


def supernet_folder(corpus, recipe: Recipe) -> Path:
    """Where the supernet of this corpus and recipe lies or will lie."""
    return _own(root() / f"supernet-{key(corpus.about['sha256'], recipe.identity())}")


def trained(folder: Path, recipe: Recipe) -> bool:
    """Whether the supernet has all its updates."""
    return (folder / f"update-{recipe.updates}.pt").exists()


def latency_table(space, words: tuple[int, int], device: str, n: int, repeats: int, progress: bool) -> Path:
    """Measured latencies of n sub-transformers on this device, in HAT's columns; measured on the first use."""
    from search.tasks.hat.latency import measure_many, spread_codes, write_table

    name = device_name(device)
    path = root() / f"latency-{key(space.name, words, name, n, repeats)}.csv"
    if not path.exists():
        rows = measure_many(space, spread_codes(space, n, 0), words, device, progress, repeats)
        write_table(path, rows, space.name.replace("/", "-by-"), "".join(c if c.isalnum() else "-" for c in name))
    return path
