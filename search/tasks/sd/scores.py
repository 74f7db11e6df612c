"""What a set of generated pictures is worth: text, image and identity scores.

    CLIP-T     mean of 2.5 max(cos(picture, caption), 0), the caption with the concept's class word (CLIPScore, w 2.5)
    CLIP-I     mean cosine of CLIP's picture vectors over all pairs of a generated picture and a reference
    identity   the same with DINO's (or the embedded identity encoder's) vectors

The original's script pairs pictures by position, so that only its first reference counts; here all pairs count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from search.tasks.sd.base import Base

WEIGHT = 2.5  # of CLIPScore (Hessel et al. 2021): cosines of good captions come near 1


@dataclass(frozen=True)
class Scores:
    """Means over a set of generated pictures; score: the weighted sum of text and image that a search maximises."""

    clip_t: float
    clip_i: float
    identity: float

    def score(self, text: float = 0.5, image: float = 0.5) -> float:
        """The weighted sum of CLIP-T and CLIP-I."""
        return text * self.clip_t + image * self.clip_i

    def as_dict(self) -> dict[str, float]:
        """By name."""
        return asdict(self)


def text_scores(pictures: Tensor, captions: Tensor) -> Tensor:
    """CLIPScore of each picture with its own caption, (n,); both are unit vectors (n, width)."""
    return WEIGHT * (pictures * captions).sum(1).clamp(min=0)


def pair_scores(pictures: Tensor, references: Tensor) -> Tensor:
    """Mean cosine of each picture with all references, (n,); unit vectors (n, width) and (m, width)."""
    return (pictures @ references.T).mean(1)


def each(base: Base, pictures: Tensor, captions: Sequence[str], references: Tensor) -> dict[str, Tensor]:
    """The three scores of every picture, (n,) each."""
    with torch.no_grad():
        seen = base.picture_vectors(pictures)
        return {
            "clip_t": text_scores(seen, base.text_vectors(captions)),
            "clip_i": pair_scores(seen, base.picture_vectors(references)),
            "identity": pair_scores(base.identity_vectors(pictures), base.identity_vectors(references)),
        }


def scores(base: Base, pictures: Tensor, captions: Sequence[str], references: Tensor) -> Scores:
    """The scores of generated pictures against the captions' class-word form and the concept's references."""
    return Scores(**{name: float(rows.mean()) for name, rows in each(base, pictures, captions, references).items()})
