"""New tokens of concepts: their vectors beside a text encoder's table, which stays as it is.

A concept has two tokens; each has one vector, or one for every cross-attention layer of the UNet (16, as in ED-LoRA).
A prompt with layer-wise tokens is encoded once for every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

PER_CONCEPT = 2  # tokens: the first starts random, the second as the class word
_SPREAD = 0.013  # of the random start, about the size of a trained CLIP's entries


class ConceptTable(nn.Module):
    """A text encoder's token table, and after it the rows of concepts; only those are parameters that learn.

    Row of a token: the table's size + (concept x 2 + token) x layers + layer.
    """

    def __init__(self, table: nn.Module, layers: int = 1):
        super().__init__()
        self.table, self.layers = table, layers
        weight: Tensor = table.weight
        self.first = weight.shape[0]
        self.concepts: list[str] = []
        self.rows = nn.ParameterList()

    def add(self, name: str, vectors: Tensor) -> nn.Parameter:
        """A concept's vectors (2, layers, width), as a parameter."""
        assert vectors.shape[:2] == (PER_CONCEPT, self.layers)
        self.concepts.append(name)
        self.rows.append(nn.Parameter(vectors.float().clone().to(self.table.weight.device)))
        return self.rows[-1]

    def numbers(self, layer: int = 0) -> dict[str, list[int]]:
        """Placeholder -> its token numbers in one layer."""
        return {
            name: [self.first + (i * PER_CONCEPT + t) * self.layers + layer for t in range(PER_CONCEPT)]
            for i, name in enumerate(self.concepts)
        }

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors of token numbers; those of the table are the table's own."""
        old = self.table(tokens.clamp(max=self.first - 1))
        if not self.concepts:
            return old
        new = torch.cat([rows.flatten(0, 1) for rows in self.rows])
        own = tokens >= self.first
        return torch.where(own[..., None], new[(tokens - self.first).clamp(min=0)].to(old), old)


def starting_vectors(table: nn.Module, class_token: int, layers: int, dice: torch.Generator) -> Tensor:
    """A concept's first vectors (2, layers, width): one random, one as the class word's."""
    word = table.weight[class_token].detach().float().cpu()
    random = torch.randn(layers, len(word), generator=dice) * _SPREAD
    return torch.stack([random, word.expand(layers, -1)])


def encode(encoder: Any, tokenizer: Any, prompts: Sequence[str], device: str = "cpu") -> Tensor:
    """What cross-attention reads of prompts: (n, tokens, width), with layer-wise tokens (n, layers, tokens, width)."""
    table: ConceptTable = encoder.embeddings.token_embedding
    per_layer = [tokenizer(prompts, table.numbers(layer)) for layer in range(table.layers)]
    tokens = torch.stack(per_layer, 1).flatten(0, 1).to(device)
    states = encoder(input_ids=tokens).last_hidden_state
    return states if table.layers == 1 else states.unflatten(0, (len(prompts), table.layers))


def give_each_layer_its_text(unet: Any, blocks: Sequence[str]) -> None:
    """Let the cross-attention of block i read layer i of a text (n, layers, tokens, width); others pass as they are."""

    def pick(index: int) -> Any:
        def hook(module: Any, inputs: Any, given: dict[str, Any]) -> Any:
            text = given.get("encoder_hidden_states")
            if text is not None and text.dim() == 4:
                given = given | {"encoder_hidden_states": text[:, index]}
            return inputs, given

        return hook

    for index, block in enumerate(blocks):
        attention = unet.get_submodule(f"{block}.transformer_blocks.0.attn2")
        attention.register_forward_pre_hook(pick(index), with_kwargs=True)
