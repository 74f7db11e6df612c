"""Training recipes: HAT's published settings and the reduced one of the embedded corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search.errors import UserError, did_you_mean
from search.tasks.recipes import named

PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Recipe:
    """How a transformer is trained.

    max_tokens: padded target or source tokens a batch.
    update_freq: batches an update.

    init_gain: scale of the initial residual branches (model.Transformer).
    keep: how many checkpoints, saved every `save_every` updates, stay on disk for averaging.
    """

    space: str = "iwslt-space1"
    reduce: int = 1
    updates: int = 50000
    warmup: int = 10000
    lr: float = 5e-4
    warmup_from: float = 1e-7
    schedule: str = "inverse_sqrt"
    min_lr: float = 1e-9
    dropout: float = 0.375
    init_gain: float = 1.0
    label_smoothing: float = 0.1
    weight_decay: float = 1e-4
    clip: float = 0.0
    max_tokens: int = 4096
    update_freq: int = 1
    save_every: int = 1000
    keep: int = 10
    precision: str = "fp32"
    seed: int = 1

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise did_you_mean("precision", self.precision, PRECISIONS)
        if self.schedule not in ("inverse_sqrt", "cosine"):
            raise did_you_mean("schedule", self.schedule, ("inverse_sqrt", "cosine"))
        if not (
            0 < self.warmup
            and 0 < self.updates
            and 0 < self.save_every
            and 0 < self.keep
            and 0 < self.update_freq
            and self.max_tokens >= 16
        ):
            raise UserError(
                f"a recipe with a count of zero or fewer was given ({self}) - "
                "updates, warmup, save_every, keep, update_freq must be positive and max_tokens at least 16"
            )

    def rate(self, update: int) -> float:
        """Learning rate of update 1, 2, ...: linear warm-up, then inverse square root or cosine."""
        from math import cos, pi

        if update <= self.warmup:
            return self.warmup_from + (self.lr - self.warmup_from) * update / self.warmup
        if self.schedule == "inverse_sqrt":
            return self.lr * (self.warmup / update) ** 0.5
        done = min(1.0, (update - self.warmup) / max(1, self.updates - self.warmup))
        return self.min_lr + 0.5 * (self.lr - self.min_lr) * (1 + cos(pi * done))

    def identity(self) -> dict[str, Any]:
        """What makes two trainings the same: everything but how often they save."""
        return {k: v for k, v in asdict(self).items() if k not in ("save_every", "keep")}


# iwslt14 and wmt14 are HAT's supernet settings; the -sub recipes train a found sub-transformer from scratch
RECIPES = {
    "iwslt14": Recipe(),
    "iwslt14-sub": Recipe(warmup=4000),
    "iwslt14-wmt-space": Recipe(space="wmt-space0"),
    "wmt14": Recipe(
        space="wmt-space0", updates=40000, lr=1e-3, schedule="cosine", dropout=0.3, weight_decay=0.0, update_freq=16
    ),
    "embedded": Recipe(
        reduce=8,
        updates=1500,
        warmup=200,
        lr=2e-3,
        dropout=0.05,
        init_gain=0.35,
        max_tokens=1024,
        save_every=250,
        keep=1,
    ),
    "embedded-sub": Recipe(
        reduce=8,
        updates=800,
        warmup=200,
        lr=2e-3,
        dropout=0.05,
        init_gain=0.35,
        max_tokens=1024,
        save_every=50,
        keep=10,
    ),
}


def get_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A named recipe with some settings replaced."""
    return named(name, RECIPES, changes)
