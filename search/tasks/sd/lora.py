"""LoRA by module: any rank for each, no division by rank, from one draw; merged, cut to lower ranks, saved exactly.

y = W x + B A x with A (rank, in), B (out, rank). The library divides by the rank, so alpha is the rank of each module.
A comes from one draw at the highest rank whose first rows are taken: codes differ in ranks and not in luck.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from search.errors import UserError

Factors = dict[str, tuple[Tensor, Tensor]]  # module -> (A, B), as float32 matrices
MOST = 16  # the highest rank of a search, from which lower ones are cut
PARTS = ("lora_A", "lora_B")
TEXT_MODULES = ("q_proj", "k_proj", "v_proj", "out_proj")


def text_modules(text_encoder: nn.Module, rank: int = 4) -> dict[str, int]:
    """All attention layers of a text encoder, at one rank as in ED-LoRA; none at rank 0."""
    names = [n for n, _ in text_encoder.named_modules() if n.rpartition(".")[2] in TEXT_MODULES]
    return {name: rank for name in names} if rank else {}


def add(model: nn.Module, ranks: Mapping[str, int], seed: int = 0) -> list[nn.Parameter]:
    """Put LoRA of these ranks on a model's modules, in place; returns its parameters, A and B in turn."""
    from peft import LoraConfig, inject_adapter_in_model

    if not ranks:
        return []
    model.requires_grad_(False)
    # one pattern a rank: the library tries every pattern on every module
    same = {"|".join(re.escape(n) for n in ranks if ranks[n] == rank): rank for rank in set(ranks.values())}
    config = LoraConfig(r=1, lora_alpha=1, rank_pattern=same, alpha_pattern=same, target_modules=list(ranks))
    inject_adapter_in_model(config, model)
    out = []
    for name, layer in layers(model):
        a, b = (getattr(layer, part)["default"].float().weight for part in PARTS)  # fp32 beside frozen fp16 weights
        dice = torch.Generator().manual_seed(_seed(name, seed))
        most = max(MOST, a.shape[0])
        drawn = (torch.rand(most, a[0].numel(), generator=dice) * 2 - 1) / a[0].numel() ** 0.5  # Kaiming, a = sqrt 5
        with torch.no_grad():
            a.copy_(drawn[: a.shape[0]].reshape(a.shape))
            b.zero_()
        out += [a.requires_grad_(True), b.requires_grad_(True)]
    return out


def _seed(name: str, seed: int) -> int:
    from search.tasks.training import key

    return int(key(name, seed), 16) % 2**63


def layers(model: nn.Module) -> Iterable[tuple[str, Any]]:
    """(name, layer) of every layer that carries LoRA."""
    return [(name, layer) for name, layer in model.named_modules() if hasattr(layer, "lora_A")]


def built_ranks(model: nn.Module) -> dict[str, int]:
    """The rank that every module really has."""
    return {name: layer.lora_A["default"].weight.shape[0] for name, layer in layers(model)}


def factors(model: nn.Module) -> Factors:
    """A and B of every module, as they stand."""
    return {
        name: tuple(getattr(layer, part)["default"].weight.detach().float().cpu().flatten(1).clone() for part in PARTS)
        for name, layer in layers(model)
    }


def cut(found: Factors, ranks: Mapping[str, int]) -> Factors:
    """The first `rank` directions of each module; modules that have no rank are left out."""
    return {name: (found[name][0][:rank], found[name][1][:, :rank]) for name, rank in ranks.items()}


def merge(model: nn.Module, found: Factors, scale: float = 1.0) -> None:
    """Add scale * B A to the weights of a model without LoRA layers, in place."""
    with torch.no_grad():
        for name, (a, b) in found.items():
            weight = model.get_submodule(name).weight
            change = (b @ a).reshape(weight.shape)
            weight += scale * change.to(weight)


def weights(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Copies of the weights of these modules, to put back with `restore`."""
    return {name: model.get_submodule(name).weight.detach().clone() for name in names}


def restore(model: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Put weights back as `weights` found them."""
    with torch.no_grad():
        for name, weight in kept.items():
            model.get_submodule(name).weight.copy_(weight)


class NestedRanks:
    """Lets only the first directions of each module speak, so that one set of weights serves every code.

    model: carries LoRA at the highest rank. `use(ranks)` says how many directions each module has until the next call.
    """

    def __init__(self, model: nn.Module):
        self.masks: dict[str, Tensor] = {}
        for name, layer in layers(model):
            a = layer.lora_A["default"]
            self.masks[name] = torch.ones(a.weight.shape[0], device=a.weight.device)
            shape = (-1, 1, 1) if a.weight.dim() == 4 else (-1,)
            a.register_forward_hook(self._hook(name, shape))

    def _hook(self, name: str, shape: tuple[int, ...]) -> Any:
        return lambda layer, inputs, output: output * self.masks[name].view(shape).to(output.dtype)

    def use(self, ranks: Mapping[str, int]) -> None:
        """Set the ranks of the next steps."""
        for name, rank in ranks.items():
            self.masks[name].copy_(torch.arange(len(self.masks[name])) < rank)


def check_modules(model: nn.Module, names: Iterable[str]) -> None:
    """UserError if a model lacks one of the modules: it is no UNet of Stable Diffusion 1."""
    known = {name for name, _ in model.named_modules()}
    missing = [name for name in names if name not in known]
    if missing:
        raise UserError(
            f"the UNet has no module {missing[0]} ({len(missing)} are missing) - the task searches the ranks of Stable"
            " Diffusion 1.x, whose UNet has 16 transformer blocks - give such a model"
        )
