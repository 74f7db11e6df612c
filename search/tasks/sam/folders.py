"""Pictures and masks as files: what belongs together in a published folder, and how it is read.

AutoGluon's copies name their files in tables (train.csv, val.csv, test*.csv with the columns image and label); the
data sets as published have a folder of pictures and one of masks each. A mask is white (above 128, or 1) where the
object is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.errors import UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
Pair = tuple[Path, Path]  # picture, mask


def paired(images: Path, masks: Path, suffix: str = "", prefix: str = "") -> list[Pair]:
    """Every picture of a folder with its mask, by name; UserError for a picture without one.

    suffix: what a mask's name has after the picture's. prefix: only pictures whose names begin so.
    """
    found = {f.stem: f for f in sorted(masks.iterdir()) if f.suffix.lower() in ENDINGS}
    pairs, lacking = [], []
    for image in sorted(images.iterdir()):
        if (
            image.suffix.lower() not in ENDINGS
            or not image.stem.startswith(prefix)
            or image.stem.endswith("_superpixels")
        ):
            continue
        mask = found.get(image.stem + suffix)
        if mask is None:
            lacking.append(image.name)
        else:
            pairs.append((image, mask))
    if lacking or not pairs:
        raise UserError(
            f"{images} has {len(pairs)} pictures with a mask in {masks} and {len(lacking)} without"
            f"{f', first {lacking[0]}' if lacking else ''} - every picture needs NAME{suffix} among the masks -"
            " unpack the data set again"
        )
    return pairs


def listed(table: Path, folder: Path) -> list[Pair]:
    """The pairs of a table with the columns image and label, paths relative to the data set's folder."""
    try:
        with open(table, newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        pairs = [(folder / row["image"], folder / row["label"]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError) as error:
        raise UserError(
            f"{table} cannot be read ({type(error).__name__}) - a table with the columns image and label is needed -"
            " unpack the data set again"
        ) from error
    missing = [str(p) for pair in pairs for p in pair if not p.is_file()]
    if missing or not pairs:
        raise UserError(
            f"{table} names {len(pairs)} pictures and {len(missing)} files that are not there"
            f"{f', first {missing[0]}' if missing else ''} - paths are relative to {folder} - unpack the data set again"
        )
    return pairs


def read(pair: Pair, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture, uint8 (3, size, size), bicubic, and its mask, bool (size, size), nearest pixel; UserError if torn."""
    from PIL import Image

    try:
        with Image.open(pair[0]) as opened, Image.open(pair[1]) as mask:
            picture, label, sizes = opened.convert("RGB"), mask.convert("L"), (opened.size, mask.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{pair[0]} or its mask {pair[1]} cannot be read ({type(error).__name__}) - whole pictures are needed -"
            " mend or remove both"
        ) from error
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{pair[0]} has {sizes[0][0]}x{sizes[0][1]} pixels and its mask {pair[1]} {sizes[1][0]}x{sizes[1][1]} - a"
            " picture and its mask have the same size - they do not belong together"
        )
    x = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
    y = np.asarray(label.resize((size, size), Image.Resampling.NEAREST))
    return torch.from_numpy(x.copy()).permute(2, 0, 1), torch.from_numpy(y > (128 if y.max() > 1 else 0))


@dataclass(frozen=True)
class Files:
    """Pictures that are read when they are needed; a source of training pictures, or what is validated on.

    pairs: picture and mask. size: pixels of a side. threads: that decode.
    """

    pairs: tuple[Pair, ...]
    size: int = 1024
    threads: int = 8

    def __len__(self) -> int:
        return len(self.pairs)

    def first(self, n: int) -> Files:
        """The first n pictures; all of them for 0."""
        return replace(self, pairs=self.pairs[: n or None])

    def fingerprint(self) -> str:
        """16 hex digits of the names and sizes of all files."""
        lines = (f"{p.name} {p.stat().st_size}" for pair in self.pairs for p in pair)
        return sha256("\n".join(lines).encode()).hexdigest()[:16]

    def batch(self, step: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The n pictures of a step: shuffled anew each epoch, mirrored half of the time."""
        each = max(1, len(self) // n)
        order = np.random.default_rng([seed, step // each]).permutation(len(self))
        rows = np.resize(order, max(n, len(self)))[(step % each) * n :][:n]
        mirrored = np.random.default_rng([seed, step, 1]).random(n) < 0.5
        x, y = self._read([self.pairs[i] for i in rows])
        turn = torch.from_numpy(mirrored)
        return torch.where(turn[:, None, None, None], x.flip(3), x), torch.where(turn[:, None, None], y.flip(2), y)

    def parts(self, n: int = 4, rank: int = 0, world: int = 1) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every picture once, n at a time; of several processes each takes its share."""
        mine = iter(self.pairs[rank::world])
        while some := list(islice(mine, n)):
            yield self._read(some)

    def _read(self, pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
        with ThreadPoolExecutor(min(self.threads, len(pairs))) as pool:
            found = list(pool.map(lambda pair: read(pair, self.size), pairs))
        return torch.stack([x for x, _ in found]), torch.stack([y for _, y in found])


@dataclass(frozen=True)
class Mixed:
    """Several sources in one: of every batch each gives its share by size."""

    sources: tuple[Any, ...]

    def __len__(self) -> int:
        return sum(len(s) for s in self.sources)

    def batch(self, step: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """n pictures; which source gives each one is drawn for the step, so that small batches are fair as well."""
        shares = np.array([len(s) for s in self.sources]) / len(self)
        drawn = np.random.default_rng([seed, step, 2]).choice(len(self.sources), n, p=shares)
        parts = [
            s.batch(step, int(k), seed) for s, k in zip(self.sources, np.bincount(drawn, minlength=len(shares))) if k
        ]
        return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
