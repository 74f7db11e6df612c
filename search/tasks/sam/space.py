"""The space: the rank of the Conv-LoRA module of every block of SAM's image encoder."""

from __future__ import annotations

from dataclasses import dataclass

from search.spaces import Decision, Space

RANKS = (3, 6, 12, 24)
LARGEST = RANKS[-1]


@dataclass(frozen=True)
class Encoder:
    """The shape of an image encoder, as far as adapters depend on it.

    blocks: attention blocks, each with one fused qkv projection and so one digit.
    width: input features of that projection; it has three times as many outputs.
    experts: convolutions of a module, one per scale.
    """

    blocks: int = 32
    width: int = 1280
    experts: int = 8


# the published checkpoints of SAM (Kirillov et al. 2023); the paper's 32 digits are those of ViT-H
PUBLISHED = {
    "facebook/sam-vit-huge": Encoder(32, 1280),
    "facebook/sam-vit-large": Encoder(24, 1024),
    "facebook/sam-vit-base": Encoder(12, 768),
}
EMBEDDED = Encoder(32, 32, 3)  # three scales: the fourth alone would take three quarters of the time


def sam_space(blocks: int = 32) -> Space:
    """One digit a block; 000...0 is Conv-LoRA's own uniform rank 3."""
    return Space([Decision(f"block{i}", RANKS) for i in range(blocks)], f"sam-{blocks}")


def ranks(code: str) -> tuple[int, ...]:
    """The rank of each block."""
    return tuple(RANKS[int(digit)] for digit in code)


def adapter_parameters(code: str, encoder: Encoder) -> int:
    """Weights of all modules of a code: A, B, the two matrices of the gate and the experts' convolutions."""
    return sum(module_parameters(rank, encoder) for rank in ranks(code))


def module_parameters(rank: int, encoder: Encoder) -> int:
    """Weights of one module."""
    return rank * 4 * encoder.width + 2 * rank * encoder.experts + encoder.experts * (9 * rank * rank + rank)
