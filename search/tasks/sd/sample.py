"""Pictures from prompts: classifier-free guidance, the same noise for the same (seed, picture) whatever the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from search.tasks.sd.base import Base


def scheduler(base: Base) -> Any:
    """DPM-Solver for noise in latents, as the original samples; DDIM where pictures are predicted."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    if base.schedule["prediction_type"] == "sample":
        return DDIMScheduler(**base.schedule, timestep_spacing="trailing", clip_sample=True)
    return DPMSolverMultistepScheduler(**base.schedule)


def noise_of(base: Base, seed: int, first: int, n: int) -> Tensor:
    """Starting noise of pictures first ... first + n - 1 of a seed, float32 (n, channels, side, side)."""
    shape = (base.codec.channels, base.codec.side, base.codec.side)
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed * 1_000_003 + first + i)) for i in range(n)]
    return torch.stack(rows)


@torch.no_grad()
def pictures(
    base: Base, prompts: Sequence[str], steps: int, guidance: float, seed: int = 0, batch: int = 64, first: int = 0
) -> Tensor:
    """One picture a prompt, float32 (n, 3, pixels, pixels) from 0 to 1.

    guidance: 1 asks the model once a step, more leads away from the negative prompt.
    first: number of the first picture.
    """
    unguided = base.text([base.negative])
    out = []
    for start in range(0, len(prompts), batch):
        part = list(prompts[start : start + batch])
        text = base.text(part)
        latent = noise_of(base, seed, first + start, len(part)).to(base.device)
        steps_of = scheduler(base)
        steps_of.set_timesteps(steps)
        latent = latent * steps_of.init_noise_sigma
        for level in steps_of.timesteps:
            latent = steps_of.step(_guided(base, latent, level, text, unguided, guidance), level, latent).prev_sample
        out.append(base.codec.decode(latent).float().cpu())
    return torch.cat(out)


def _guided(base: Base, latent: Tensor, level: Tensor, text: Tensor, unguided: Tensor, guidance: float) -> Tensor:
    dtype = base.unet.dtype
    if guidance == 1:
        return base.unet(latent.to(dtype), level, text.to(dtype)).sample.float()
    both = torch.cat([unguided.expand_as(text), text]).to(dtype)
    away, towards = base.unet(torch.cat([latent, latent]).to(dtype), level, both).sample.float().chunk(2)
    return away + guidance * (towards - away)
