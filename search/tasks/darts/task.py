"""The task: find the two cells whose network classifies held-out pictures best after a short training.

--task darts             ten animals' silhouettes (animal-shape-mnist), no download
--task darts/photos      which photograph a crop comes from (scikit-image, scikit-learn)
--task darts/cifar10     the paper's: ten epochs on a part of CIFAR-10's training pictures, validated on the rest
--task darts/imagenet    the paper's: the NAS-Bench-301 surrogate; the winner is trained on ImageNet
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError
from search.files import cache_folder
from search.spaces.nb301 import OPS, canonical, genotype, space
from search.tasks.base import Result, Task
from search.tasks.darts.recipe import get_recipe
from search.tasks.nb301 import NB301

HELD_OUT = {"animals": 1000, "photos": 1440, "cifar10": 5000}  # pictures a search validates on
LONG = {"animals": "embedded-long", "photos": "embedded-long", "cifar10": "cifar10-long"}


class Darts(Task):
    """Cells trained on pictures.

    pictures: animals, photos or cifar10.
    data: CIFAR-10's archive, Parquet files or folders (cifar10 only).
    held_out: pictures a search validates on, taken from the training pictures.
    recipe: named training recipe; epochs, channels, layers, rows, batch, lr, precision: its settings.
    metric: accuracy (percent, default) or loss (nats a picture), both on the held-out pictures.
    threads: of torch in this process; 1 lets several workers run side by side.
    """

    controls = ("random", "evolution")

    def __init__(
        self,
        pictures: str = "animals",
        data: str | None = None,
        held_out: Any = None,
        recipe: str | None = None,
        epochs: Any = None,
        channels: Any = None,
        layers: Any = None,
        rows: Any = None,
        batch: Any = None,
        lr: Any = None,
        precision: str | None = None,
        metric: str = "accuracy",
        threads: Any = 1,
        device: str = "auto",
    ):
        self.name, self.pictures_name, self.data = f"darts/{pictures}", pictures, data
        given = {"epochs": epochs, "channels": channels, "layers": layers, "rows": rows, "batch": batch, "lr": lr}
        default = "cifar10" if pictures == "cifar10" else "embedded"
        self.recipe_name = recipe or default
        self.recipe = get_recipe(self.recipe_name, {**given, "precision": precision})
        if metric not in ("accuracy", "loss"):
            raise UserError(f"metric '{metric}' was given for {self.name} - accuracy and loss are known - choose one")
        self.metric, self.direction = metric, "maximize" if metric == "accuracy" else "minimize"
        self.space = space(OPS)
        self.threads, self.device = int(threads), device
        self.held_out = HELD_OUT[pictures] if held_out is None else int(held_out)
        self._ready = False

    def prepare(self, progress: bool = True) -> None:
        """Read the pictures and split them."""
        if self._ready:
            return
        import torch

        from search.tasks.darts.pictures import load
        from search.tasks.darts.train import InMemory
        from search.tasks.training import open_place

        torch.set_num_threads(self.threads)
        self.place = open_place(self.device)
        self.pictures = load(self.pictures_name, self.data)
        rows, held = self.pictures.split(self.held_out)
        order = np.random.default_rng(1).permutation(rows)  # an epoch of few rows takes the first of them
        self.batches = InMemory(self.pictures.x[order], self.pictures.y[order])
        self.valid = self._read(self.pictures.x[held]), torch.from_numpy(self.pictures.y[held])
        self.shape = {"size": self.pictures.size, "classes": self.pictures.classes, "stem": self.pictures.stem}
        self._ready = True

    def _read(self, x: np.ndarray) -> Any:
        import torch

        return self.batches.normalised(torch.from_numpy(np.ascontiguousarray(x)))

    def evaluate(self, code: str, seed: int = 0) -> Result:
        """Train the code's network and classify the held-out pictures."""
        self.prepare(False)
        from search.tasks.darts.network import parameters
        from search.tasks.darts.train import score, train

        network = train(self.space.check(code), self.recipe, self.batches, self.shape, seed, place=self.place)
        accuracy, loss = score(network, *self.valid, self.place.device)
        info = {"accuracy": accuracy, "loss": loss, "parameters": parameters(network)}
        return Result(info[self.metric], info={k: v for k, v in info.items() if k != self.metric})

    def epilogue(self, best: str) -> str:
        """The winner in words, its picture, and the command that trains the five best long."""
        from search.tasks.darts.picture import draw

        path = cache_folder() / "darts" / f"{canonical(best)}.png"
        draw(best, path)
        data = f" --data {self.data}" if self.data else ""
        lines = [
            f"best cells: {genotype(best)}",
            f"picture of both cells: {path}",
            "to train the five best ten times longer, choose by validation and test the winner once:",
            (
                f"  python -m search.tasks.darts.retrain --run RUN --pictures {self.pictures_name}{data}"
                f" --recipe {LONG[self.pictures_name]}"
            ),
        ]
        return "\n".join(lines)

    def describe(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"recipe": self.recipe.identity(), "held_out": self.held_out}
        facts["controls"] = list(self.controls)
        if self._ready:
            facts |= {"pictures": self.pictures.source, "training_pictures": len(self.batches)}
        return super().describe() | facts


class DartsImageNet(NB301):
    """The paper's ImageNet route: search on the NAS-Bench-301 surrogate; the winner is trained on ImageNet's folders.

    source: the published runs or a CSV of genotypes, as for the task nb301.
    """

    def __init__(self, source: str | Path | None = None, metric: str = "val_acc", members: int = 10):
        super().__init__(source, metric, members)
        self.name = "darts/imagenet"

    def epilogue(self, best: str) -> str:
        """The winner, and how it is trained."""
        return (
            f"best cells: {genotype(best)}\nto train it: torchrun --nproc-per-node 8 -m search.tasks.darts.retrain"
            f" --code {best} --folder /data/imagenet --recipe imagenet --out runs/imagenet"
        )
