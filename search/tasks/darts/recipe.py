"""How a network is trained: the embedded sets', the paper's proxy on CIFAR-10, DARTS' own retraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import cos, pi
from typing import Any

from search.errors import UserError, did_you_mean
from search.tasks.recipes import named


@dataclass(frozen=True)
class Recipe:
    """A training from random weights.

    channels, layers: shape of the network.
    epochs: passes over the training pictures.
    rows: training pictures of an epoch, the first of the split (0: all).
    batch: pictures a step.
    lr: first learning rate; falls along a cosine to 0, or by `decay` each epoch if that is below 1.
    momentum, weight_decay: of SGD with Nesterov's momentum where `nesterov` says so.
    clip: largest norm of the gradient.
    drop_path: probability of a dropped path in the last epoch, growing from 0.
    auxiliary: weight of the auxiliary head's loss; 0 builds none.
    cutout: pixels of the square that is blanked in each picture (0: none).
    shift: pixels that a picture is moved at most; it may be mirrored too.
    smoothing: label smoothing.
    norm_momentum: of batch norm's running averages.
    calibrate: steps that measure batch norm's averages anew after training (short trainings leave them behind).
    precision: fp32 or bf16 (autocast).
    compiled: torch.compile, which pays on GPUs.
    """

    channels: int = 16
    layers: int = 8
    epochs: int = 10
    rows: int = 0
    batch: int = 64
    lr: float = 0.025
    decay: float = 1.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0
    drop_path: float = 0.0
    auxiliary: float = 0.0
    cutout: int = 0
    shift: int = 4
    smoothing: float = 0.0
    norm_momentum: float = 0.1
    calibrate: int = 0
    precision: str = "fp32"
    compiled: bool = False

    def __post_init__(self) -> None:
        for name in ("channels", "layers", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} was given - a whole number of at least 1 is needed")
        if self.precision not in ("fp32", "bf16"):
            raise did_you_mean("precision", self.precision, ("fp32", "bf16"))
        if self.layers < 3:
            raise UserError(
                f"layers={self.layers} was given - at least 3 are needed, for two reduction cells - raise it"
            )

    def rate(self, epoch: int) -> float:
        """Learning rate of epoch 0, 1, ..."""
        if self.decay < 1:
            return self.lr * self.decay**epoch
        return 0.5 * self.lr * (1 + cos(pi * epoch / self.epochs))

    def identity(self) -> dict[str, Any]:
        """What makes two trainings the same."""
        return asdict(self)


_SMALL = Recipe(
    channels=6, layers=5, epochs=4, rows=640, batch=32, lr=0.1, nesterov=True, shift=1, norm_momentum=0.2, calibrate=8
)
RECIPES = {
    "embedded": _SMALL,
    "embedded-long": replace(_SMALL, epochs=20, rows=1280),  # ten times as many steps
    "cifar10": Recipe(),  # the paper's ten epochs, on DARTS' own search network
    "cifar10-long": Recipe(36, 20, 200, batch=96, drop_path=0.2, auxiliary=0.4, cutout=16),
    "imagenet": Recipe(
        48, 14, 250, batch=128, lr=0.1, decay=0.97, weight_decay=3e-5, auxiliary=0.4, smoothing=0.1, precision="bf16"
    ),
}


def get_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A named recipe with some settings replaced."""
    return named(name, RECIPES, changes)
