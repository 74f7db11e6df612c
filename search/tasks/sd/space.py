"""The space: a LoRA rank for each of 48 groups of modules of Stable Diffusion's UNet, in forward order.

attn1-attn2-rest    per transformer block: self-attention; cross-attention; feed-forward and projections (192 modules)
attention-only      per block: self-attention; cross-attention's q and out; its k and v (128 modules)

The paper says "48 distinct groups" and no more; the first reading gives 4 modules a group, the second has the modules
that every published configuration of the method uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.errors import did_you_mean
from search.spaces import Decision, Space

RANKS = (4, 8, 16)
BLOCKS = (
    *(f"down_blocks.{i}.attentions.{j}" for i in range(3) for j in range(2)),
    "mid_block.attentions.0",
    *(f"up_blocks.{i}.attentions.{j}" for i in range(1, 4) for j in range(3)),
)
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_INNER = "transformer_blocks.0"
_SELF = tuple(f"{_INNER}.attn1.{part}" for part in _ATTENTION)
PARTITIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "attn1-attn2-rest": {
        "attn1": _SELF,
        "attn2": tuple(f"{_INNER}.attn2.{part}" for part in _ATTENTION),
        "rest": ("proj_in", f"{_INNER}.ff.net.0.proj", f"{_INNER}.ff.net.2", "proj_out"),
    },
    "attention-only": {
        "attn1": _SELF,
        "attn2_qo": (f"{_INNER}.attn2.to_q", f"{_INNER}.attn2.to_out.0"),
        "attn2_kv": (f"{_INNER}.attn2.to_k", f"{_INNER}.attn2.to_v"),
    },
}


def groups(partition: str) -> dict[str, tuple[str, ...]]:
    """The UNet's module names of each of the 48 groups, in the order of the digits."""
    if partition not in PARTITIONS:
        raise did_you_mean("partition", partition, PARTITIONS)
    return {
        f"{block.replace('_blocks.', '').replace('_block', '').replace('.attentions.', '_')}_{kind}": tuple(
            f"{block}.{module}" for module in modules
        )
        for block in BLOCKS
        for kind, modules in PARTITIONS[partition].items()
    }


def rank_space(partition: str = "attn1-attn2-rest") -> Space:
    """48 decisions of three ranks each: 7.98e22 codes."""
    return Space([Decision(name, RANKS) for name in groups(partition)], f"sd-{partition}")


def ranks_of(space: Space, code: str, partition: str) -> dict[str, int]:
    """The rank of every module that carries LoRA."""
    ranks = space.decode(space.check(code))
    return {module: ranks[group] for group, modules in groups(partition).items() for module in modules}


def lora_parameters(unet: Any, ranks: Mapping[str, int]) -> int:
    """Weights that LoRA of these ranks adds to a UNet."""
    return sum(rank * sum(unet.get_submodule(name).weight.shape[:2]) for name, rank in ranks.items())
