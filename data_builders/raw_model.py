"""The untrained raw searcher: an ordinary LLaMA and a word tokenizer for the prompt format `stamped`, started as a
copying machine.

    python -m data_builders.raw_model saves/raw_start --size small --seed 0

From the usual random weights this model does not learn to read raw histories in any time we can pay; from these it does
in minutes (benchmarks.raw_ablations). Every step below is a property of the starting weights alone, the model stays a
`LlamaForCausalLM`:

- a code token's embedding is marker + option + own + value, the values' part smooth in the bin and orthogonal to the
  rest;
- even heads attend locally: W_q = W_k on a direction that all embeddings share, on the fast RoPE pairs only;
- odd heads match: W_q = W_k random on the codes' part, on the slow RoPE pairs, so that a token attends to tokens like
  it, anywhere;
- W_o = W_v^T: what is attended to is copied; the MLP starts small; the head's rows of values are the values' part of
  the embeddings.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_builders.tokenizer import llama_config, save_start, wrapped
from search.errors import cli, did_you_mean
from search.prompts.stamped import (
    FIRST_CODE,
    FIRST_VALUE,
    MARKERS,
    OPTIONS,
    SIZE,
    SPECIAL,
    bin_scores,
    vocabulary,
)

if TYPE_CHECKING:
    import torch

SIZES = {  # hidden, layers, heads, inner; heads of 32
    "tiny": (64, 4, 2, 128),
    "small": (128, 6, 4, 256),
    "base": (192, 8, 6, 512),
    "large": (384, 10, 12, 1024),
    "wide": (512, 8, 16, 1408),
}
THETA, CONTEXT = 1e5, 4096  # slow RoPE pairs must stay slow over a history of 2k tokens
# bos stands first, nothing stands between turns; blanks only separate words
CHAT = (
    "{{ bos_token + ' ' }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% else %}{{ m['content'] + ' ' }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Start:
    """Strengths of the starting weights; each was chosen on synthetic worlds alone.

    local, match: largest attention logits of local and matching heads.
    common, value: lengths of the shared direction and of the values' part beside the codes' part (1).
    scale: standard deviation of an embedding.
    head: of the values' rows.
    mlp, noise: of the rest.
    """

    local: float = 3.0
    match: float = 8.0
    common: float = 0.7
    value: float = 0.7
    scale: float = 0.5
    head: float = 1.0
    mlp: float = 0.05
    noise: float = 0.1


def build_tokenizer(max_length: int = CONTEXT) -> Any:
    """A word tokenizer: one token per word of the format, words separated by blanks."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary())}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", SPECIAL.index("<s>"))])
    return wrapped(core, CHAT, max_length)


class _Directions:
    """Orthogonal directions of the hidden space: the shared one, four of the value, one that marks asked codes."""

    def __init__(self, width: int, generator: torch.Generator):
        import torch

        basis = torch.linalg.qr(torch.randn(width, 6, generator=generator))[0].T * width**0.5
        self.basis, self.common, self.values, self.asked = basis, basis[:1], basis[1:5], basis[5:]

    def clean(self, x: torch.Tensor) -> torch.Tensor:
        """x without its parts along these directions."""
        return x - (x @ self.basis.T) @ self.basis / x.shape[-1]


def copying_start(model: Any, start: Start, seed: int) -> None:
    """Give a LlamaForCausalLM the weights of the copying start: a pure function of shape, `start` and seed."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    width = model.config.hidden_size
    along = _Directions(width, generator)
    features = _value_features(torch.from_numpy(bin_scores()).float()) @ along.values
    features = features / _value_features(torch.from_numpy(bin_scores()).float()).pow(2).sum(1).mean().sqrt()
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(_embeddings(width, along, features, start, generator))
        model.lm_head.weight.copy_(_head(width, along, features, start, generator))
        for layer in model.model.layers:
            _start_layer(layer, model.config, along, start, generator)


def _value_features(z: torch.Tensor) -> torch.Tensor:
    """Four smooth functions of the normal score, float32 (bins, 4)."""
    import torch

    z = z[:, None]
    return torch.cat([1.5 * z, (z * z - 1) / 1.5, torch.sin(2 * z), torch.cos(2 * z)], 1)


def _embeddings(
    width: int, along: _Directions, features: torch.Tensor, start: Start, generator: torch.Generator
) -> torch.Tensor:
    import torch

    def noise(*shape: int) -> torch.Tensor:
        return along.clean(torch.randn(*shape, width, generator=generator))

    table = noise(FIRST_CODE) + start.common * along.common
    table[FIRST_VALUE:] += start.value * features
    own = (noise(MARKERS, 1) + noise(1, OPTIONS) + 2 * noise(MARKERS, OPTIONS)) / 6**0.5
    stamps = start.value * torch.cat([along.asked * 0.5, features])
    codes = own[:, :, None] + stamps + start.common * along.common
    scale = start.scale / (1 + start.common**2 + start.value**2) ** 0.5
    return torch.cat([table, codes.reshape(-1, width)]) * scale


def _head(
    width: int, along: _Directions, features: torch.Tensor, start: Start, generator: torch.Generator
) -> torch.Tensor:
    """Rows of values are smooth in the bin; all other words are ruled out by the direction that every hidden state
    shares.
    """
    import torch

    head = 0.01 * torch.randn(SIZE, width, generator=generator)
    head -= along.common * 2.0 / width**0.5
    head[FIRST_VALUE:FIRST_CODE] = (features - features.mean(0)) * start.head / width**0.5
    return head


def _start_layer(layer: Any, config: Any, along: _Directions, start: Start, generator: torch.Generator) -> None:
    import torch

    width, heads = config.hidden_size, config.num_attention_heads
    size = width // heads
    half, fast = size // 2, max(2, size // 2 * 3 // 8)
    total = 1 + start.common**2 + start.value**2
    shared, code = (
        start.common**2 / total,
        1 / total,
    )  # shares of a normalised hidden state along the common direction, in the code part
    look = torch.zeros(heads, size, width)
    slow = torch.arange(half // 2, half)
    rows = torch.cat([slow, slow + half])
    for h in range(heads):
        if h % 2 == 0:
            look[h, :fast] = (start.local * size**0.5 / fast / shared) ** 0.5 * along.common / width
        else:
            strength = (start.match * size**0.5 / len(rows) / code) ** 0.5 / width**0.5
            look[h, rows] = along.clean(torch.randn(len(rows), width, generator=generator)) * strength
    look = look.reshape(heads * size, width)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / width**0.5

    attention, mlp = layer.self_attn, layer.mlp
    attention.k_proj.weight.copy_(look + start.noise * noise(*look.shape))
    attention.q_proj.weight.copy_(look + start.noise * noise(*look.shape))
    seen = noise(heads * size, width)
    attention.v_proj.weight.copy_(seen)
    attention.o_proj.weight.copy_(seen.T)
    mlp.gate_proj.weight.copy_(noise(*mlp.gate_proj.weight.shape))
    mlp.up_proj.weight.copy_(noise(*mlp.up_proj.weight.shape))
    mlp.down_proj.weight.copy_(start.mlp * noise(*mlp.down_proj.weight.shape))


def config_of(size: str, tokenizer: Any) -> Any:
    """The LlamaConfig of that size; UserError for an unknown one."""
    if size not in SIZES:
        raise did_you_mean("size", size, SIZES)
    return llama_config(tokenizer, *SIZES[size], context=CONTEXT, tie=False, rope_theta=THETA)


def write_start(folder: str | Path, size: str = "small", seed: int = 0, copying: bool = True) -> Path:
    """Config, tokenizer and starting weights of an untrained model; returns the folder.

    copying: False keeps the usual random weights.
    """
    import torch
    from transformers import LlamaForCausalLM

    folder, tokenizer = Path(folder), build_tokenizer()
    config = config_of(size, tokenizer)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    if copying:
        copying_start(model, Start(), seed)
    return save_start(model, tokenizer, folder, longest=1)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.raw_model", description="Write the untrained raw searcher."
    )
    parser.add_argument("folder")
    parser.add_argument("--size", default="small", help=", ".join(SIZES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--usual", action="store_true", help="usual random weights instead of the copying start (for the ablation)"
    )
    arguments = parser.parse_args()
    print(write_start(arguments.folder, arguments.size, arguments.seed, not arguments.usual))
    return 0


if __name__ == "__main__":
    cli(main)
