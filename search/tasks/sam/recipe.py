"""How a model is adapted: the embedded default's settings and the published ones of Conv-LoRA."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from search.errors import UserError, did_you_mean

LOSSES = ("structure", "balanced")  # of search.tasks.sam.losses


@dataclass(frozen=True)
class Recipe:
    """A training by AdamW.

    steps: updates; 0 counts them from `epochs` and the training pictures.
    epochs: passes over the training pictures, where steps is 0.
    batch: pictures an update, over all processes.
    micro: pictures that go through the model at once in one process (0: all of its share).
    lr: first learning rate; falls to 0 along a line after `warmup` steps of rising.
    decoder: the mask decoder's learning rate as a share of the adapters'.
    weight_decay, clip: of AdamW, and the largest norm of the gradient.
    loss: structure or balanced (search.tasks.sam.losses).
    weighted_bce: whether the structure loss also weighs its cross-entropy.
    border: pixels of the neighbourhood that the structure loss takes for the border.
    experts: convolutions of a Conv-LoRA module.
    patience: epochs without a better validation after which a training on data sets ends (0: never).
    precision: fp32 or bf16 (autocast).
    checkpointing: blocks computed again in the backward pass, which saves memory.
    """

    steps: int = 0
    epochs: int = 30
    batch: int = 4
    micro: int = 1
    lr: float = 1e-4
    decoder: float = 1.0
    weight_decay: float = 1e-4
    warmup: int = 0
    clip: float = 1.0
    loss: str = "structure"
    weighted_bce: bool = False
    border: int = 31
    experts: int = 8
    patience: int = 10
    precision: str = "fp32"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if min(self.batch, self.experts, max(self.steps, self.epochs)) < 1 or min(self.steps, self.micro) < 0:
            raise UserError(
                f"steps={self.steps} epochs={self.epochs} batch={self.batch} micro={self.micro} experts={self.experts}"
                " were given - batch, experts and one of steps and epochs must be at least 1, micro at least 0"
            )
        if self.precision not in ("fp32", "bf16"):
            raise did_you_mean("precision", self.precision, ("fp32", "bf16"))
        if self.loss not in LOSSES:
            raise did_you_mean("loss", self.loss, LOSSES)
        if self.border % 2 == 0:
            raise UserError(f"border={self.border} was given - an odd number of pixels is needed")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step 0, 1, ... of `steps`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        return self.lr * (1 - (step - self.warmup) / max(1, steps - self.warmup))

    def identity(self) -> dict[str, Any]:
        """What makes two trainings the same."""
        return asdict(self)


# A small step keeps adaptation near its beginning, where the blocks' shares add up and two seeds agree.
_SMALL = Recipe(steps=40, batch=32, micro=0, lr=1e-3, decoder=0.1, border=15, experts=3, patience=0)
_PAPER = Recipe(precision="bf16", checkpointing=True)
RECIPES = {
    "pretrain": replace(_SMALL, steps=500, lr=2e-3, decoder=1.0, warmup=30),
    "nested": replace(_SMALL, steps=80),
    "train": _SMALL,
    "embedded-long": replace(_SMALL, steps=300),
    "proxy": replace(_PAPER, epochs=1, patience=0),  # the paper's: one epoch a code
    "polyp": _PAPER,
    "isic2017": _PAPER,
    "leaf": replace(_PAPER, lr=3e-4),
    "road": replace(_PAPER, lr=3e-4, epochs=20),
    "camo": replace(_PAPER, epochs=20),
    "sbu": replace(_PAPER, epochs=10, loss="balanced"),
}
