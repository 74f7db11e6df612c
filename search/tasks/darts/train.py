"""Training a network from random weights: a pure function of (code, recipe, seed, pictures), resumable at every epoch.

Epoch e takes its order, its shifts and its dropped paths from (seed, e), so a killed training goes on to the same
weights. Under `torchrun` each process takes its share of every batch and the gradients are summed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from search.errors import UserError
from search.tasks.darts.network import Network, build
from search.tasks.darts.recipe import Recipe
from search.tasks.training import Place, begun, sum_gradients, total_of, update_bar, write_checkpoint

Batches = Callable[[int, Recipe, int], Iterator[tuple[torch.Tensor, torch.Tensor]]]  # (epoch, recipe, seed) -> (x, y)


class InMemory:
    """Training batches of pictures in memory: shuffled, moved, mirrored, partly blanked, normalised.

    x: uint8 (n, channels, size, size). y: int64 (n,).
    """

    def __init__(self, x: np.ndarray, y: np.ndarray):
        self.x, self.y = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y)
        values = self.x.float()
        self.mean, self.std = values.mean(dim=(0, 2, 3), keepdim=True), values.std(dim=(0, 2, 3), keepdim=True) + 1e-3

    def __len__(self) -> int:
        return len(self.y)

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures as the network reads them, float32."""
        return (x.float() - self.mean) / self.std

    def __call__(self, epoch: int, recipe: Recipe, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches of an epoch; the last rows that fill no batch are left out."""
        dice = torch.Generator().manual_seed(seed * 100_003 + epoch)
        n = min(recipe.rows or len(self), len(self))
        order = torch.randperm(n, generator=dice)
        for first in range(0, n - recipe.batch + 1, recipe.batch):
            rows = order[first : first + recipe.batch]
            yield changed(self.normalised(self.x[rows]), recipe, dice), self.y[rows]


def changed(x: torch.Tensor, recipe: Recipe, dice: torch.Generator) -> torch.Tensor:
    """Each picture moved by up to `shift` pixels (the border is 0), mirrored half of the time, `cutout` pixels
    blanked.
    """
    n, _, size, _ = x.shape
    padded = F.pad(x, (recipe.shift,) * 4)
    top, left = (torch.randint(0, 2 * recipe.shift + 1, (n, 1), generator=dice) for _ in range(2))
    across = torch.arange(size)
    mirrored = torch.rand(n, 1, generator=dice) < 0.5
    columns = left + torch.where(mirrored, across.flip(0), across)
    rows = top + across
    out = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if recipe.cutout:
        y, x0 = (torch.randint(0, size, (n, 1), generator=dice) for _ in range(2))
        half = recipe.cutout // 2
        inside = lambda centre: (across >= centre - half) & (across < centre + half)  # noqa: E731
        out = out * ~(inside(y)[:, None, :, None] & inside(x0)[:, None, None, :])
    return out


def train(
    code: str, recipe: Recipe, batches: Batches, shape: dict[str, Any], seed: int = 0, out: Path | None = None,
    place: Place = Place(), progress: bool = False,
) -> Network:  # fmt: skip
    """The trained network of a code.

    shape: size (pixels), classes and stem.
    out: folder for last.pt, from which a killed training goes on; None keeps nothing.
    """
    torch.manual_seed(seed)
    sizes = {"channels": recipe.channels, "layers": recipe.layers, "auxiliary": recipe.auxiliary > 0}
    network = build(code, shape["size"], classes=shape["classes"], stem=shape["stem"], **sizes).to(place.device)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = recipe.norm_momentum
    if place.device.startswith("cuda"):
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
    )
    about = {"code": code, "recipe": recipe.identity(), "seed": seed, "shape": shape}
    done = _resume(out, network, optimizer, about)
    run = torch.compile(network) if recipe.compiled else network
    bar = update_bar(recipe.epochs, done, progress and place.rank == 0, "epoch")
    for epoch in range(done, recipe.epochs):
        loss = _epoch(run, optimizer, recipe, batches, epoch, seed, place)
        if not np.isfinite(loss):
            raise UserError(f"the loss of epoch {epoch + 1} is {loss} - it must be finite - lower lr={recipe.lr:g}")
        bar.update(1)
        bar.set_postfix(loss=f"{loss:.3f}", lr=f"{recipe.rate(epoch):.1e}")
        if out is not None and place.rank == 0:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
            write_checkpoint(out / "last.pt", copy.deepcopy(state) | about)
    bar.close()
    if recipe.calibrate:
        calibrate(network, batches, recipe, seed, place)
    return network.eval()


def _epoch(
    network: Any, optimizer: Any, recipe: Recipe, batches: Batches, epoch: int, seed: int, place: Place
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate(epoch)
    drop = recipe.drop_path * epoch / recipe.epochs
    torch.manual_seed((seed * 1_000_003 + epoch) * 64 + place.rank)
    network.train()
    total = steps = 0.0
    for x, y in batches(epoch, recipe, seed):
        share = slice(place.rank, None, place.world)
        optimizer.zero_grad(set_to_none=True)
        # contiguous: torch 2.13's backward pass on CPUs corrupts memory when small pictures come channels-last
        part = x[share].contiguous().to(place.device)
        loss = loss_of(network, part, y[share].to(place.device), recipe, drop) / len(y)
        loss.backward()
        sum_gradients(network, place)
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()
        total, steps = total + float(loss.detach()), steps + 1
    if not steps:
        raise UserError(f"batch={recipe.batch} was given - there are fewer training pictures than that - lower it")
    return total_of(total, place) / steps


def loss_of(network: Any, x: torch.Tensor, y: torch.Tensor, recipe: Recipe, drop: float = 0.0) -> torch.Tensor:
    """Cross-entropy summed over the pictures, the auxiliary head's weighted share included."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
        logits, side = network(x, drop)
    loss = F.cross_entropy(logits.float(), y, label_smoothing=recipe.smoothing, reduction="sum")
    if side is None:
        return loss
    return loss + recipe.auxiliary * F.cross_entropy(side.float(), y, label_smoothing=recipe.smoothing, reduction="sum")


@torch.no_grad()
def calibrate(network: Network, batches: Batches, recipe: Recipe, seed: int, place: Place) -> None:
    """Measure batch norm's averages anew with the final weights, as plain means over `recipe.calibrate` batches."""
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # a cumulative average
    network.train()
    for step, (x, _) in enumerate(batches(recipe.epochs, recipe, seed)):
        if step == recipe.calibrate:
            break
        network(x.contiguous().to(place.device))


@torch.no_grad()
def score(
    network: Network, x: torch.Tensor, y: torch.Tensor, device: str = "cpu", batch: int = 500
) -> tuple[float, float]:
    """(accuracy in percent, loss in nats a picture) on pictures as the network reads them."""
    network.eval()
    logits = torch.cat([network(part.to(device))[0].float().cpu() for part in x.split(batch)])
    return 100 * float((logits.argmax(1) == y).double().mean()), float(F.cross_entropy(logits, y))


def _resume(out: Path | None, network: Network, optimizer: Any, about: dict[str, Any]) -> int:
    saved = begun(out, about)
    if saved is None:
        return 0
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["epoch"])
