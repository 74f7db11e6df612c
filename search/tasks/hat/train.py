"""The trainer of the supernet and of single transformers: a pure function of (recipe, corpus), so a killed run goes on
as if it had not been.

Update u takes its batches, its sub-transformer and its dropout noise from (seed, u). Under `torchrun` each process
takes every n-th batch and the gradients are summed over the tokens of all: n processes equal one with `update_freq` n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from search.errors import UserError
from search.tasks.hat.data import Batch, Split
from search.tasks.hat.model import PAD, Transformer
from search.tasks.hat.recipe import Recipe
from search.tasks.hat.space import Arch
from search.tasks.training import (
    Place,
    checkpoints,
    read_checkpoint,
    sum_gradients,
    total_of,
    update_bar,
    write_checkpoint,
)

Pick = Callable[[int], Arch | None]


def train(
    model: Transformer,
    split: Split,
    recipe: Recipe,
    out: Path,
    pick: Pick,
    place: Place = Place(),
    progress: bool = True,
) -> list[float]:
    """Train up to recipe.updates and leave out/last.pt (to go on) and out/update-N.pt (weights); returns losses, nats
    per token.

    pick(update): the sub-transformer of that update (None: the whole model). Goes on from out/last.pt if it is there.
    """
    model.to(place.device).train()
    optimizer = torch.optim.Adam(
        model.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )
    scaler = torch.amp.GradScaler("cuda", enabled=recipe.precision == "fp16" and place.device.startswith("cuda"))
    done, losses = _resume(out, model, optimizer, scaler, recipe), []
    bar = update_bar(recipe.updates, done, progress and place.rank == 0)
    for update in range(done + 1, recipe.updates + 1):
        loss = update_once(model, optimizer, scaler, split, recipe, update, pick(update), place)
        losses.append(loss)
        bar.update(1)
        if update % 50 == 0:
            bar.set_postfix(loss=f"{sum(losses[-50:]) / len(losses[-50:]):.3f}", lr=f"{recipe.rate(update):.1e}")
        if not math.isfinite(loss) and recipe.precision != "fp16":
            raise UserError(f"the loss of update {update} is {loss} - it must be finite - lower --lr or raise --warmup")
        if (update % recipe.save_every == 0 or update == recipe.updates) and place.rank == 0:
            _save(out, model, optimizer, scaler, recipe, update)
    bar.close()
    return losses


def update_once(
    model, optimizer, scaler, split: Split, recipe: Recipe, update: int, arch: Arch | None, place: Place
) -> float:
    torch.manual_seed((recipe.seed * 1_000_003 + update) * 64 + place.rank)
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate(update)
    first = (update - 1) * recipe.update_freq * place.world
    batches = [
        split.training_batch(first + i * place.world + place.rank, recipe.max_tokens, recipe.seed)
        for i in range(recipe.update_freq)
    ]
    optimizer.zero_grad(set_to_none=True)
    tokens = total_of(sum(b.tokens for b in batches), place)
    total = 0.0
    for batch in batches:
        loss = loss_sum(model, batch.to(place.device), arch, recipe.label_smoothing, recipe.precision) / tokens
        scaler.scale(loss).backward()
        total += loss.detach()
    sum_gradients(model, place)
    if recipe.clip:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    scaler.step(optimizer)
    scaler.update()
    return total_of(float(total), place)


def loss_sum(
    model: Transformer, batch: Batch, arch: Arch | None, smoothing: float = 0.0, precision: str = "fp32"
) -> torch.Tensor:
    """Cross-entropy summed over the target tokens of a batch, in nats.

    precision: fp32, bf16 or fp16 (autocast).
    """
    kind = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    with torch.autocast(batch.source.device.type, dtype=kind, enabled=kind is not None):
        logits = model(batch.source, batch.given, arch)
    return F.cross_entropy(
        logits.float().flatten(0, 1),
        batch.expected.flatten(),
        ignore_index=PAD,
        label_smoothing=smoothing,
        reduction="sum",
    )


@torch.no_grad()
def validation_loss(model: Transformer, batches: list[Batch], arch: Arch | None = None) -> float:
    """Negative log-likelihood in nats per target token (</s> included), dropout off."""
    training = model.training
    model.eval()
    total = sum(float(loss_sum(model, batch, arch)) for batch in batches)
    model.train(training)
    return total / sum(batch.tokens for batch in batches)


def _save(out: Path, model, optimizer, scaler, recipe: Recipe, update: int) -> None:
    identity = {"update": update, "recipe": recipe.identity()}
    weights = {name: p.detach().cpu() for name, p in model.state_dict().items()}
    write_checkpoint(out / f"update-{update}.pt", {"model": weights, **identity})
    write_checkpoint(
        out / "last.pt",
        {"model": weights, "optimizer": optimizer.state_dict(), "scaler": scaler.state_dict(), **identity},
    )
    kept = sorted(checkpoints(out), key=lambda item: -item[0])
    for _, path in kept[recipe.keep :]:
        path.unlink(missing_ok=True)


def _resume(out: Path, model, optimizer, scaler, recipe: Recipe) -> int:
    last = Path(out) / "last.pt"
    if not last.exists():
        return 0
    saved = read_checkpoint(last)
    differ = [k for k, v in recipe.identity().items() if saved["recipe"].get(k) != v and k != "updates"]
    if differ:
        raise UserError(
            f"{out} holds a training with other {', '.join(differ)} - a run goes on with its own recipe - choose"
            " another --out"
        )
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    scaler.load_state_dict(saved["scaler"])
    return int(saved["update"])
