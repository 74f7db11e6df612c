"""Learn a concept as ED-LoRA does: two new tokens, LoRA on the UNet (a rank for every group) and on the text encoder.

    learn(base, concept, ranks, recipe)          the ranks of one code
    learn(base, concept, None, recipe, draw=...)  nested: the highest ranks everywhere, another code's ranks each step

Resumable: with `out`, the training goes on at its last checkpoint to the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from search.errors import UserError, did_you_mean
from search.tasks.sd import lora
from search.tasks.sd.base import Base
from search.tasks.sd.concepts import Concept
from search.tasks.sd.tokens import starting_vectors
from search.tasks.training import begun, update_bar, write_checkpoint

Ranks = Mapping[str, int]


@dataclass(frozen=True)
class Learning:
    """How a concept is learned.

    steps, batch: updates, and pictures of each.
    lr, lr_text, lr_token: of the UNet's LoRA, the text encoder's, the new tokens; all fall linearly to 0.
    text_rank: LoRA rank in the text encoder (0: none).
    weight_decay: of AdamW, on the tokens too.
    noise_offset: size of the noise that all pixels of a channel share.
    masked: whether only the pixels of a concept's masks count.
    save_every: steps between checkpoints.
    precision: fp32, bf16 or fp16, of the frozen weights; what is learned stays in fp32.
    """

    steps: int = 1000
    batch: int = 2
    lr: float = 1e-4
    lr_text: float = 1e-5
    lr_token: float = 1e-3
    text_rank: int = 4
    weight_decay: float = 0.01
    noise_offset: float = 0.01
    masked: bool = True
    save_every: int = 100
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.save_every) < 1 or self.text_rank < 0:
            raise UserError(f"steps={self.steps} batch={self.batch} text_rank={self.text_rank} were given - at least 1")
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise did_you_mean("precision", self.precision, ("fp32", "bf16", "fp16"))


# the paper's training, and the embedded model's: few steps, larger ones in proportion to its untrained size
RECIPES = {
    "sd15": Learning(),
    "embedded": Learning(steps=80, batch=8, lr=2e-3, lr_text=5e-4, lr_token=1e-2, save_every=1000),
    "embedded-nested": Learning(steps=160, batch=8, lr=2e-3, lr_text=5e-4, lr_token=1e-2, save_every=1000),
    "embedded-long": Learning(steps=240, batch=8, lr=2e-3, lr_text=5e-4, lr_token=1e-2, save_every=60),
}


@dataclass(frozen=True)
class Learned:
    """What was learned of a concept.

    name: its placeholder. vectors: float32 (2, layers, width).
    unet, text: LoRA factors by module. losses: of each step.
    """

    name: str
    vectors: Tensor
    unet: lora.Factors
    text: lora.Factors
    losses: tuple[float, ...] = ()

    def put_on(self, base: Base, ranks: Ranks | None = None) -> None:
        """Add the concept to a base model in place: its tokens, and its LoRA merged (cut to `ranks`)."""
        base.text_encoder.embeddings.token_embedding.add(self.name, self.vectors).requires_grad_(False)
        lora.merge(base.unet, lora.cut(self.unet, ranks) if ranks else self.unet)
        lora.merge(base.text_encoder, self.text)


def learn(
    base: Base, concept: Concept, ranks: Ranks, recipe: Learning, seed: int = 0,
    draw: Callable[[int], Ranks] | None = None, out: Path | None = None, progress: bool = False,
) -> Learned:  # fmt: skip
    """Train on the concept's pictures; the base model given stays as it is.

    ranks: of every module. draw(step): the ranks that speak in that step, at most these.
    """
    own = base.copied()
    table = own.text_encoder.embeddings.token_embedding
    dice = torch.Generator().manual_seed(seed)
    tokens = table.add(
        concept.placeholder, starting_vectors(table.table, _class_token(base, concept), base.layers, dice)
    )
    in_unet = lora.add(own.unet, ranks, seed)
    in_text = lora.add(own.text_encoder, lora.text_modules(own.text_encoder, recipe.text_rank), seed)
    tokens.requires_grad_(True)
    nested = lora.NestedRanks(own.unet) if draw else None
    rates = (recipe.lr, recipe.lr_text, recipe.lr_token)
    learning = [{"params": p, "lr": r} for p, r in zip((in_unet, in_text, [tokens]), rates) if p]
    optimizer = torch.optim.AdamW(learning, weight_decay=recipe.weight_decay)
    scaler = torch.amp.GradScaler("cuda", enabled=recipe.precision == "fp16" and base.device.startswith("cuda"))
    starts = [group["lr"] for group in optimizer.param_groups]
    about = {
        "recipe": asdict(recipe),
        "seed": seed,
        "concept": concept.name,
        "ranks": dict(ranks),
        "layers": base.layers,
    }
    trained = [*in_unet, *in_text, tokens]
    losses = _resume(out, trained, optimizer, scaler, about)
    latents, masks = _latents(own, concept), _masks(own, concept) if recipe.masked else None
    bar = update_bar(recipe.steps, len(losses), progress, "step")
    for step in range(len(losses), recipe.steps):
        for group, start in zip(optimizer.param_groups, starts):
            group["lr"] = start * (1 - step / recipe.steps)
        if nested and draw:
            nested.use(draw(step))
        loss = _loss(own, concept, recipe, latents, masks, seed * 1_000_003 + step)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(loss.detach()))
        if losses[-1] != losses[-1]:
            raise UserError(f"the loss of step {step + 1} is no number - it must be finite - lower lr={recipe.lr:g}")
        bar.update(1)
        bar.set_postfix(loss=f"{sum(losses[-20:]) / len(losses[-20:]):.4f}")
        if out is not None and ((step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps):
            state = {"trained": [p.detach().cpu() for p in trained], "optimizer": optimizer.state_dict()}
            write_checkpoint(out / "last.pt", state | {"scaler": scaler.state_dict(), "losses": losses, **about})
    bar.close()
    vectors = tokens.detach().float().cpu()
    return Learned(concept.placeholder, vectors, lora.factors(own.unet), lora.factors(own.text_encoder), tuple(losses))


def _class_token(base: Base, concept: Concept) -> int:
    return int(base.tokenizer([concept.class_word])[0, 1])


def _latents(base: Base, concept: Concept) -> Tensor:
    return torch.cat([base.codec.encode(p[None].to(base.device)) for p in concept.pictures]).float()


def _masks(base: Base, concept: Concept) -> Tensor | None:
    if concept.masks is None:
        return None
    side = base.codec.side
    return F.interpolate(concept.masks.float(), (side, side), mode="area").to(base.device)


def noisy(base: Base, clean: Tensor, dice: torch.Generator, offset: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """(noised latents, noise levels, what the model must predict of them)."""
    from diffusers import DDPMScheduler

    steps = DDPMScheduler(**base.schedule)
    noise = torch.randn(clean.shape, generator=dice)
    noise = (noise + offset * torch.randn(*clean.shape[:2], 1, 1, generator=dice)).to(clean.device)
    level = torch.randint(0, steps.config.num_train_timesteps, (len(clean),), generator=dice).to(clean.device)
    kind = base.schedule["prediction_type"]
    target = {"sample": clean, "epsilon": noise}.get(kind)
    if target is None:
        target = steps.get_velocity(clean, noise, level)
    return steps.add_noise(clean, noise, level), level, target


def _loss(base: Base, concept: Concept, recipe: Learning, latents: Tensor, masks: Tensor | None, seed: int) -> Tensor:
    dice = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, len(latents), (recipe.batch,), generator=dice)
    given, level, target = noisy(base, latents[rows], dice, recipe.noise_offset)
    kind = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[recipe.precision]
    with torch.autocast(base.device.split(":")[0], dtype=kind, enabled=kind is not None):
        text = base.text([concept.captions[i] for i in rows.tolist()])
        predicted = base.unet(given.to(base.unet.dtype), level, text.to(base.unet.dtype)).sample
    error = (predicted.float() - target.float()) ** 2
    if masks is None:
        return error.mean()
    weight = masks[rows].expand_as(error)
    return (error * weight).sum() / weight.sum().clamp(min=1e-6)


@torch.no_grad()
def held_out_loss(base: Base, concept: Concept, draws: int = 4) -> float:
    """Mean squared error on pictures of the concept that nothing was trained on, the same noise for every model."""
    assert concept.held_out is not None
    pictures, captions = concept.held_out
    latents = torch.cat([base.codec.encode(p[None].to(base.device)) for p in pictures]).float()
    dice, total, text = torch.Generator().manual_seed(5), 0.0, base.text(captions)
    for _ in range(draws):
        given, level, target = noisy(base, latents, dice)
        predicted = base.unet(given.to(base.unet.dtype), level, text.to(base.unet.dtype)).sample
        total += float(F.mse_loss(predicted.float(), target.float()))
    return total / draws


def _resume(out: Path | None, trained: list[Any], optimizer: Any, scaler: Any, about: dict[str, Any]) -> list[float]:
    saved = begun(out, about)
    if saved is None:
        return []
    with torch.no_grad():
        for parameter, value in zip(trained, saved["trained"]):
            parameter.copy_(value)
    optimizer.load_state_dict(saved["optimizer"])
    scaler.load_state_dict(saved["scaler"])
    return list(saved["losses"])
