"""Training of a SAM model or of its adapters: resumable, and data parallel under `torchrun`.

Step s takes its pictures and its noise from (seed, s), so a killed training goes on to the same weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch

from search.errors import UserError
from search.tasks.sam import losses
from search.tasks.sam.model import adapters, logits, trained
from search.tasks.sam.pictures import normalised
from search.tasks.sam.recipe import Recipe
from search.tasks.training import Place, begun, sum_gradients, total_of, update_bar, write_checkpoint


class Source(Protocol):
    """Where training pictures come from."""

    def __len__(self) -> int: ...

    def batch(self, step: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The n pictures of a step, uint8 (n, 3, size, size), and their masks, bool (n, size, size)."""


Pick = Callable[[Any, int], None]  # (model, step): cut the adapters for that step


def train(
    model: Any,
    source: Source,
    recipe: Recipe,
    seed: int = 0,
    out: Path | None = None,
    about: dict[str, Any] | None = None,
    pick: Pick | None = None,
    place: Place = Place(),
    progress: bool = False,
    save_every: int = 50,
    until: int | None = None,
) -> list[float]:
    """Train what may be trained of the model; the mean loss of each step of this call.

    out: folder of last.pt, from which a killed training goes on; None keeps nothing.
    about: what the training belongs to; a folder that holds another one is refused.
    until: stop after that many steps (default: all of them).
    """
    model.to(place.device).train()
    steps = total_steps(recipe, len(source))
    optimizer = torch.optim.AdamW(_groups(model, recipe), lr=recipe.lr, weight_decay=recipe.weight_decay)
    if recipe.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    named = (about or {}) | {"recipe": recipe.identity(), "seed": seed}
    done, found = _resume(out, model, optimizer, named), []
    end = min(steps, until or steps)
    bar = update_bar(steps, done, progress and place.rank == 0)
    for step in range(done, end):
        if pick is not None:
            pick(model, step)
        found.append(_step(model, optimizer, source, recipe, step, steps, seed, place))
        if not math.isfinite(found[-1]):
            raise UserError(f"the loss of step {step + 1} is {found[-1]} - it must be finite - lower lr={recipe.lr:g}")
        bar.update(1)
        bar.set_postfix(loss=f"{found[-1]:.3f}", refresh=False)
        if out is not None and place.rank == 0 and ((step + 1) % save_every == 0 or step + 1 == end):
            state = {"model": weights(model), "optimizer": optimizer.state_dict(), "step": step + 1}
            write_checkpoint(out / "last.pt", copy.deepcopy(state) | named)
    bar.close()
    model.eval()
    return found


def total_steps(recipe: Recipe, pictures: int) -> int:
    """Updates of a training; the last pictures of an epoch that fill no batch are left out, at least one step stays."""
    return recipe.steps or recipe.epochs * max(1, pictures // recipe.batch)


def weights(model: Any) -> dict[str, torch.Tensor]:
    """Copies of the trained weights on the processor."""
    return {name: p.detach().cpu().clone() for name, p in trained(model).items()}


def load_weights(model: Any, saved: dict[str, torch.Tensor], where: str) -> Any:
    """Put trained weights back; UserError where they belong to another model."""
    here = trained(model)
    if {k: tuple(v.shape) for k, v in here.items()} != {k: tuple(v.shape) for k, v in saved.items()}:
        raise UserError(f"{where} holds weights of another model or code - give the one they were trained with")
    with torch.no_grad():
        for name, p in here.items():
            p.copy_(saved[name])
    return model


def _groups(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    decoder = {n for n in trained(model) if n.startswith("mask_decoder.")}
    fast = [p for n, p in trained(model).items() if n not in decoder]
    slow = [p for n, p in trained(model).items() if n in decoder]
    return [{"params": fast, "share": 1.0}, {"params": slow, "share": recipe.decoder}]


def _step(
    model: Any, optimizer: Any, source: Source, recipe: Recipe, step: int, steps: int, seed: int, place: Place
) -> float:
    torch.manual_seed((seed * 1_000_003 + step) * 64 + place.rank)
    for group in optimizer.param_groups:
        group["lr"] = group["share"] * recipe.rate(step, steps)
    x, y = source.batch(step, recipe.batch, seed)
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part_x, part_y in _parts(x, y, recipe, place):
        loss = loss_of(model, part_x.to(place.device), part_y.to(place.device), recipe) * (len(part_x) / len(x))
        loss.backward()
        total += float(loss.detach())
    sum_gradients(model, place)
    torch.nn.utils.clip_grad_norm_(trained(model).values(), recipe.clip)
    optimizer.step()
    return total_of(total, place)


def _parts(
    x: torch.Tensor, y: torch.Tensor, recipe: Recipe, place: Place
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    share = slice(place.rank, None, place.world)
    x, y = x[share], y[share]
    if not len(x):
        raise UserError(
            f"batch={recipe.batch} was given for {place.world} processes - each needs a picture - raise batch"
        )
    size = recipe.micro or len(x)
    yield from zip(x.split(size), y.split(size))


def loss_of(model: Any, x: torch.Tensor, y: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """The loss of masks plus the gates' load-balance losses; x: uint8, y: bool."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
        found = logits(model, normalised(x))
    return mask_loss(found, y, recipe) + sum(m.balance for m in adapters(model) if m.balance is not None)


def mask_loss(found: torch.Tensor, y: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """The recipe's loss of mask logits, the mean over the pictures."""
    if recipe.loss == "balanced":
        return losses.balanced(found, y.float())
    return losses.structure(found, y.float(), recipe.weighted_bce, recipe.border)


@torch.no_grad()
def predict(model: Any, x: torch.Tensor, precision: str = "fp32", batch: int = 256) -> torch.Tensor:
    """Logits of the object at every pixel, float32 (n, side, side) on the processor; x: uint8 (n, 3, side, side)."""
    device = next(model.parameters()).device
    model.eval()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        return torch.cat([logits(model, normalised(part.to(device))).cpu() for part in x.split(batch)])


def _resume(out: Path | None, model: Any, optimizer: Any, named: dict[str, Any]) -> int:
    saved = begun(out, named)
    if saved is None:
        return 0
    load_weights(model, saved["model"], f"{out}/last.pt")
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])
