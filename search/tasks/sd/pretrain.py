"""Train the embedded base model on generated scenes: about ten minutes, once, kept in the cache.

Three trainings, each a pure function of (recipe, step), so that a killed one goes on as if it had not been: CLIP on
scenes with captions, the identity encoder on pairs of pictures of one toy, the UNet on scenes with captions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search.tasks.sd import models
from search.tasks.sd.scenes import draw, draw_scenes, draw_settings, draw_toys
from search.tasks.training import read_checkpoint, update_bar, write_checkpoint

SAVE_EVERY = 50  # steps; half a minute of the UNet's training


@dataclass(frozen=True)
class Stage:
    """One training: steps, pictures a step, learning rate at its highest."""

    steps: int
    batch: int
    lr: float

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: 30 steps of warm-up, then a cosine down to 2 %."""
        return self.lr * min(1.0, (step + 1) / 30) * max(0.02, 0.5 * (1 + math.cos(math.pi * step / self.steps)))


@dataclass(frozen=True)
class BaseRecipe:
    """How the embedded base model is made.

    without: pairs (body, badge) of toys that it never sees: the concepts'.
    drop: share of captions that are emptied, for classifier-free guidance.
    """

    clip: Stage = Stage(300, 96, 2e-3)
    identity: Stage = Stage(250, 64, 2e-3)
    unet: Stage = Stage(900, 32, 2e-3)
    drop: float = 0.1
    without: tuple[tuple[int, int], ...] = ()
    seed: int = 1

    def identity_of(self) -> dict[str, Any]:
        """What makes two trainings the same."""
        return asdict(self)


def clip_loss(model: Any, tokenizer: models.WordTokenizer, recipe: BaseRecipe, dice: torch.Generator) -> Tensor:
    """Contrastive loss of a batch of scenes and their captions."""
    pictures, captions = draw_scenes(recipe.clip.batch, dice, recipe.without)
    scale, texts = model.logit_scale.exp().clamp(max=100), models.text_vectors(model, tokenizer(captions))
    logits = scale * texts @ models.picture_vectors(model, pictures).T
    wanted = torch.arange(len(logits))
    return 0.5 * (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted))


def identity_loss(model: nn.Module, recipe: BaseRecipe, dice: torch.Generator) -> Tensor:
    """Contrastive loss of two pictures of each toy."""
    toys = draw_toys(recipe.identity.batch, dice, recipe.without)
    one, two = (model(draw(toys, draw_settings(recipe.identity.batch, dice), dice)) for _ in range(2))
    logits, wanted = 12 * one @ two.T, torch.arange(len(one))
    return 0.5 * (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted))


def unet_loss(
    unet: Any, clip: Any, tokenizer: models.WordTokenizer, recipe: BaseRecipe, dice: torch.Generator
) -> Tensor:
    """Mean squared error of the predicted pictures, a noise level each, a tenth of the captions empty."""
    from diffusers import DDPMScheduler

    n = recipe.unet.batch
    pictures, captions = draw_scenes(n, dice, recipe.without)
    dropped = torch.rand(n, generator=dice) < recipe.drop
    tokens = tokenizer(["" if d else c for c, d in zip(captions, dropped.tolist())])
    clean = models.Patches().encode(pictures)
    noise = torch.randn(clean.shape, generator=dice)
    level = torch.randint(0, models.SCHEDULE["num_train_timesteps"], (n,), generator=dice)
    with torch.no_grad():
        text = clip.text_model(input_ids=tokens).last_hidden_state
    noisy = DDPMScheduler(**models.SCHEDULE).add_noise(clean, noise, level)
    return F.mse_loss(unet(noisy, level, text).sample, clean)


def train_part(name: str, model: Any, recipe: BaseRecipe, last: Path, clip: Any = None, progress: bool = True) -> Any:
    """Train one part of the base model: clip, unet (which reads texts through `clip`) or identity."""
    tokenizer = models.WordTokenizer()
    losses: dict[str, Callable[[torch.Generator], Tensor]] = {
        "clip": lambda dice: clip_loss(model, tokenizer, recipe, dice),
        "unet": lambda dice: unet_loss(model, clip, tokenizer, recipe, dice),
        "identity": lambda dice: identity_loss(model, recipe, dice),
    }
    return train(model, getattr(recipe, name), losses[name], last, recipe.seed, name, progress, average=name == "unet")


def train(
    model: nn.Module, stage: Stage, loss_of: Callable[[torch.Generator], Tensor], last: Path, seed: int, what: str,
    progress: bool = True, average: bool = False,
) -> nn.Module:  # fmt: skip
    """Train a model for the steps of a stage; goes on from the file `last`, and ends with the averaged weights."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.lr, weight_decay=0.01, fused=True)
    mean = {k: v.detach().clone() for k, v in model.state_dict().items()} if average else {}
    done = 0
    if last.exists():
        saved = read_checkpoint(last)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        mean, done = saved["mean"], int(saved["step"])
    bar = update_bar(stage.steps, done, progress, what)
    running = 0.0
    for step in range(done, stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = stage.rate(step)
        torch.manual_seed(seed * 1_000_003 + step)
        loss = loss_of(torch.Generator().manual_seed(seed * 1_000_003 + step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        keep = min(0.99, step / (step + 20))
        if average:
            torch._foreach_lerp_(list(mean.values()), [v.detach() for v in model.state_dict().values()], 1 - keep)
        running = 0.97 * running + 0.03 * float(loss.detach()) if step > done else float(loss.detach())
        bar.update(1)
        bar.set_postfix(loss=f"{running:.4f}")
        if (step + 1) % SAVE_EVERY == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "mean": mean, "step": step + 1}
            write_checkpoint(last, state | {"loss": running})
    bar.close()
    if average:
        model.load_state_dict(mean)
    last.unlink(missing_ok=True)
    return model.eval().requires_grad_(False)
