"""Reading a corpus folder and making batches: a batch is a pure function of (seed, position), so a run can stop and go
on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.errors import UserError
from search.tasks.hat.bpe import LANGUAGES
from search.tasks.hat.model import BOS, EOS, MAX_POSITIONS, PAD, UNK

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
Sentences = list[np.ndarray]


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by number; 0 to 3 are padding, start, end and unknown."""

    tokens: tuple[str, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, line: str) -> np.ndarray:
        """Token numbers with the end mark, int64 (tokens + 1,)."""
        return np.array([*(self.index.get(token, UNK) for token in line.split()), EOS], dtype=np.int64)

    def decode(self, numbers: Sequence[int]) -> str:
        """The subword line up to the end mark."""
        words = []
        for n in numbers:
            if n == EOS:
                break
            if n not in (PAD, BOS):
                words.append(self.tokens[n])
        return " ".join(words)


@dataclass(frozen=True)
class Batch:
    """Token numbers, int64 (sentences, time): source and expected output end with </s>; given starts with <s>."""

    source: torch.Tensor
    given: torch.Tensor
    expected: torch.Tensor
    tokens: int

    def to(self, device: str | torch.device) -> Batch:
        return Batch(self.source.to(device), self.given.to(device), self.expected.to(device), self.tokens)


@dataclass(frozen=True)
class Split:
    """Sentence pairs of one split as token numbers."""

    source: Sentences
    target: Sentences
    _epoch: dict[Any, list[np.ndarray]] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The padded batch of the given sentences."""
        targets = [self.target[i] for i in rows]
        given = [np.concatenate([[BOS], t[:-1]]) for t in targets]
        return Batch(_pad([self.source[i] for i in rows]), _pad(given), _pad(targets), sum(map(len, targets)))

    def groups(self, max_tokens: int, order: Sequence[int] | None = None) -> list[np.ndarray]:
        """Sentences of like length in groups whose padded size stays within max_tokens on both sides."""
        rows = np.arange(len(self)) if order is None else np.asarray(order)
        lengths = np.array([[len(self.target[i]), len(self.source[i])] for i in rows]).reshape(-1, 2)
        rows, lengths = (
            rows[np.lexsort((lengths[:, 1], lengths[:, 0]))],
            lengths[np.lexsort((lengths[:, 1], lengths[:, 0]))].max(axis=1),
        )
        groups, start, longest = [], 0, 0
        for i, length in enumerate(lengths):
            longest = max(longest, length)
            if i > start and longest * (i - start + 1) > max_tokens:
                groups.append(rows[start:i])
                start, longest = i, length
        return [*groups, rows[start:]]

    def training_batch(self, position: int, max_tokens: int, seed: int) -> Batch:
        """Batch number `position` of the endless stream of shuffled epochs."""
        key = (max_tokens, seed)
        if key not in self._epoch:
            # groups depend on the seed only, so that every epoch has the same number of batches and positions can be
            # computed
            self._epoch.clear()
            self._epoch[key] = self.groups(max_tokens, np.random.default_rng(seed).permutation(len(self)))
        groups = self._epoch[key]
        epoch, place = divmod(position, len(groups))
        order = np.random.default_rng([seed, epoch]).permutation(len(groups))
        return self.batch(groups[order[place]])


@dataclass(frozen=True)
class Corpus:
    """A corpus folder in memory."""

    folder: Path
    about: dict[str, Any]
    source: Vocabulary
    target: Vocabulary
    splits: dict[str, Split]

    def subset(self, split: str, sentences: int | None) -> Split:
        """The first sentences of a split (None: all)."""
        full = self.splits[split]
        return Split(full.source[:sentences], full.target[:sentences])


def load(folder: Path, splits: Sequence[str] = ("train", "valid", "test")) -> Corpus:
    """Read a corpus folder; UserError if something is missing or the two languages disagree."""
    folder = Path(folder)
    try:
        about = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        source, target = (Vocabulary((*SPECIAL, *_lines(folder / f"dict.{language}"))) for language in LANGUAGES)
        read = {}
        for name in splits:
            sides = [
                [vocabulary.encode(line) for line in _lines(folder / f"{name}.{language}")]
                for vocabulary, language in ((source, "de"), (target, "en"))
            ]
            read[name] = _whole(folder, name, *sides)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "corpus.json or a text file is damaged"
        raise UserError(
            f"{folder} is not a readable corpus folder ({problem}) - it is made by python -m search.tasks.hat.prepare -"
            " make it again"
        ) from error
    return Corpus(folder, about, source, target, read)


def _whole(folder: Path, name: str, source: Sentences, target: Sentences) -> Split:
    if len(source) != len(target) or not source:
        raise UserError(
            f"{folder}/{name}.de and .en have {len(source)} and {len(target)} lines - both need the same number, at"
            " least one - prepare the corpus again"
        )
    keep = [i for i, (s, t) in enumerate(zip(source, target)) if len(s) <= MAX_POSITIONS and len(t) <= MAX_POSITIONS]
    return Split([source[i] for i in keep], [target[i] for i in keep])


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _pad(rows: list[np.ndarray]) -> torch.Tensor:
    out = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)
