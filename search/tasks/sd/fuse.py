"""Several concepts in one model: fused layer by layer so that each does on its own inputs what its own LoRA did.

A layer's fused weight minimises sum over concepts ||W X_c - W_c X_c||^2 + ridge ||W - W_0||^2, where X_c are the inputs
that the layer sees with concept c and W_c = W_0 + D_c its merged weight (Mix-of-Show's gradient fusion). That is linear
least squares: with G_c = X_c X_c^T it is solved by W = W_0 + (sum D_c G_c) (sum G_c + ridge I)^-1. The original runs
L-BFGS from W_0 on the same sum; `lbfgs` does it for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from search.tasks.sd import lora, sample
from search.tasks.sd.base import Base
from search.tasks.sd.learn import Learned, Ranks

RIDGE = 1e-4  # of the mean diagonal of the summed Gram matrices: inputs span less than a layer's width


class Grams:
    """Sums of X X^T of what the modules of a model read, float64 (in, in) each, while it is watched."""

    def __init__(self, model: Any, names: Sequence[str]):
        self.found: dict[str, Tensor] = {}
        self.rows: dict[str, int] = {}
        self._hooks = [model.get_submodule(name).register_forward_pre_hook(self._hook(name)) for name in names]

    def _hook(self, name: str) -> Any:
        def see(module: Any, inputs: Any) -> None:
            x = inputs[0].detach()
            x = x.movedim(1, -1) if module.weight.dim() == 4 else x
            x = x.reshape(-1, x.shape[-1]).double()
            self.found[name] = self.found.get(name, 0) + (x.T @ x).cpu()
            self.rows[name] = self.rows.get(name, 0) + len(x)

        return see

    def __enter__(self) -> Grams:
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self._hooks:
            hook.remove()


def solve(changes: Sequence[Tensor], grams: Sequence[Tensor], ridge: float = RIDGE) -> Tensor:
    """The change of the base weight that the fused layer has, float64 (out, in).

    changes: D_c (out, in) of each concept. grams: its G_c (in, in).
    """
    total = torch.stack(list(grams)).sum(0)
    wanted = torch.stack([d.double() @ g for d, g in zip(changes, grams)]).sum(0)
    return torch.linalg.solve(total + penalty(total, ridge), wanted, left=False)


def penalty(total: Tensor, ridge: float) -> Tensor:
    """ridge times the mean diagonal of the summed Gram matrices, times I."""
    return ridge * total.diagonal().mean().clamp(min=1e-12) * torch.eye(len(total), dtype=total.dtype)


def objective(change: Tensor, changes: Sequence[Tensor], grams: Sequence[Tensor], ridge: float = RIDGE) -> Tensor:
    """The sum that `solve` minimises, as a function of the change of the base weight."""
    total = torch.stack(list(grams)).sum(0)
    fit = sum((((change - d.double()) @ g) * (change - d.double())).sum() for d, g in zip(changes, grams))
    return fit + ((change @ penalty(total, ridge)) * change).sum()


def lbfgs(changes: Sequence[Tensor], grams: Sequence[Tensor], steps: int = 500, ridge: float = RIDGE) -> Tensor:
    """The same minimum by L-BFGS from the base weight, with the original's settings (500 or 50 iterations)."""
    change = torch.zeros_like(changes[0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [change], lr=1, max_iter=steps, max_eval=2 * steps, history_size=25, line_search_fn="strong_wolfe",
        tolerance_grad=1e-16, tolerance_change=1e-16,
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective(change, changes, grams, ridge)
        loss.backward()
        return loss

    optimizer.step(closure)
    return change.detach()


def watched(
    base: Base, learned: Learned, ranks: Ranks | None, prompts: Sequence[str], steps: int = 20
) -> dict[str, Any]:
    """What a concept's own merged model reads at every layer that has LoRA: {'unet': grams, 'text': grams}.

    Text encoder and cross-attention's keys and values read the texts "X" and "photo of X" and the prompts; the other
    layers read a 20-step sampling of each prompt, without guidance.
    """
    own = base.copied()
    learned.put_on(own, ranks)
    with Grams(own.unet, list(learned.unet)) as unet, Grams(own.text_encoder, list(learned.text)) as text:
        sample.pictures(own, prompts, steps, 1.0, seed=17)
    return {"unet": unet.found, "text": text.found}


def fuse(
    base: Base, concepts: Sequence[tuple[Learned, Ranks | None, Sequence[str]]], ridge: float = RIDGE, steps: int = 20
) -> Base:
    """One model with all concepts' tokens and the fused weights."""
    seen = [watched(base, learned, ranks, prompts, steps) for learned, ranks, prompts in concepts]
    fused = _with_tokens(base, concepts)
    for part, model in (("unet", fused.unet), ("text", fused.text_encoder)):
        changes = [_changes(learned, ranks, part) for learned, ranks, _ in concepts]
        for name in changes[0]:
            change = solve([c[name] for c in changes], [s[part][name] for s in seen], ridge)
            _add(model, name, change)
    return fused


def average(base: Base, concepts: Sequence[tuple[Learned, Ranks | None, Sequence[str]]]) -> Base:
    """The plain alternative: all concepts' tokens and the mean of their weights."""
    mean = _with_tokens(base, concepts)
    for learned, ranks, _ in concepts:
        lora.merge(mean.unet, lora.cut(learned.unet, ranks) if ranks else learned.unet, 1 / len(concepts))
        lora.merge(mean.text_encoder, learned.text, 1 / len(concepts))
    return mean


def _with_tokens(base: Base, concepts: Sequence[tuple[Learned, Ranks | None, Sequence[str]]]) -> Base:
    model = base.copied()
    for learned, _, _ in concepts:
        model.text_encoder.embeddings.token_embedding.add(learned.name, learned.vectors).requires_grad_(False)
    return model


def _changes(learned: Learned, ranks: Ranks | None, part: str) -> dict[str, Tensor]:
    found = learned.text if part == "text" else lora.cut(learned.unet, ranks) if ranks else learned.unet
    return {name: b @ a for name, (a, b) in found.items()}


def _add(model: Any, name: str, change: Tensor) -> None:
    with torch.no_grad():
        weight = model.get_submodule(name).weight
        weight += change.reshape(weight.shape).to(weight)
