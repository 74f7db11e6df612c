"""The weight-shared transformer: every sub-transformer is the first rows and columns of one set of weights.

Post-norm encoder-decoder as in HAT: linear, norm and embedding layers use the first k rows and columns; attention keeps
its width and changes the number of heads; decoder layers beyond the depth are skipped; a decoder layer may attend to
the last one, two or three encoder layers, concatenated along time. `cut` copies a sub-transformer out into a model of
its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search.errors import UserError
from search.tasks.hat.space import Arch

PAD, BOS, EOS, UNK = 0, 1, 2, 3
MAX_POSITIONS = 1024  # tokens of a sentence; far above the longest batch


def _linear(layer: nn.Linear, x: Tensor, out: int | None = None) -> Tensor:
    return F.linear(x, layer.weight[:out, : x.shape[-1]], layer.bias[:out])


def _norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    k = x.shape[-1]
    return F.layer_norm(x, (k,), layer.weight[:k], layer.bias[:k], layer.eps)


def sinusoids(positions: int, width: int) -> Tensor:
    """Sine and cosine interleaved, float32 (positions, width): the first k columns are whole pairs for every even k."""
    angle = torch.arange(positions)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@dataclass
class State:
    """Keys and values of an incremental decoding, one entry per decoder layer; tensors (batch, heads, time, head
    width).
    """

    own: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    cross: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    length: int = 0

    def reorder(self, rows: Tensor) -> None:
        """Keep the given beams; the source side must be the same for exchanged beams, so only `own` moves."""
        self.own = [(k[rows], v[rows]) for k, v in self.own]


class Attention(nn.Module):
    """Multi-head attention whose q, k, v width is fixed while its input width and head count are not."""

    def __init__(self, width: int, memory: int, qkv: int):
        super().__init__()
        self.q, self.k, self.v, self.out = (
            nn.Linear(width, qkv),
            nn.Linear(memory, qkv),
            nn.Linear(memory, qkv),
            nn.Linear(qkv, width),
        )

    def keys(self, memory: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        return _heads(_linear(self.k, memory), heads), _heads(_linear(self.v, memory), heads)

    def attend(
        self, x: Tensor, keys: tuple[Tensor, Tensor], heads: int, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        y = F.scaled_dot_product_attention(_heads(_linear(self.q, x), heads), *keys, attn_mask=mask, is_causal=causal)
        return _linear(self.out, y.transpose(1, 2).flatten(2), x.shape[-1])


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor, inner: int) -> Tensor:
        return _linear(self.down, F.relu(_linear(self.up, x, inner)), x.shape[-1])


class EncoderLayer(nn.Module):
    def __init__(self, width: int, ffn: int, qkv: int):
        super().__init__()
        self.attention, self.ffn = Attention(width, width, qkv), FeedForward(width, ffn)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, x: Tensor, mask: Tensor, ffn: int, heads: int, p: float) -> Tensor:
        y = self.attention.attend(x, self.attention.keys(x, heads), heads, mask)
        x = _norm(self.norms[0], x + F.dropout(y, p, self.training))
        return _norm(self.norms[1], x + F.dropout(self.ffn(x, ffn), p, self.training))


class DecoderLayer(nn.Module):
    def __init__(self, width: int, memory: int, ffn: int, qkv: int):
        super().__init__()
        self.attention, self.cross, self.ffn = (
            Attention(width, width, qkv),
            Attention(width, memory, qkv),
            FeedForward(width, ffn),
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])

    def forward(
        self, x: Tensor, own: tuple, causal: bool, memory: tuple, mask: Tensor, shape: tuple[int, int, int], p: float
    ) -> Tensor:
        ffn, heads, ende_heads = shape
        y = self.attention.attend(x, own, heads, causal=causal)
        x = _norm(self.norms[0], x + F.dropout(y, p, self.training))
        y = self.cross.attend(x, memory, ende_heads, mask)
        x = _norm(self.norms[1], x + F.dropout(y, p, self.training))
        return _norm(self.norms[2], x + F.dropout(self.ffn(x, ffn), p, self.training))


class Transformer(nn.Module):
    """A transformer of shape `arch` that can also run as any sub-transformer of it.

    source_words, target_words: vocabulary sizes.
    full_embed: embedding width of the super-transformer, which sets the positional frequencies and the scale of dropout
        (p x width / full_embed) also in a model that was cut out.
    init_gain: scale of the initial weights of every residual branch (1: Xavier, as HAT; DeepNorm's 0.35 lets post-norm
        layers learn in fewer updates).
    """

    def __init__(
        self,
        arch: Arch,
        source_words: int,
        target_words: int,
        dropout: float = 0.0,
        full_embed: int | None = None,
        init_gain: float = 1.0,
    ):
        super().__init__()
        self.arch, self.dropout = arch, dropout
        self.full_embed = full_embed or max(arch.enc_embed, arch.dec_embed)
        self.source, self.target = (
            nn.Embedding(source_words, arch.enc_embed),
            nn.Embedding(target_words, arch.dec_embed),
        )
        self.encoder = nn.ModuleList([EncoderLayer(arch.enc_embed, f, arch.qkv) for f in arch.enc_ffn])
        self.decoder = nn.ModuleList([DecoderLayer(arch.dec_embed, arch.enc_embed, f, arch.qkv) for f in arch.dec_ffn])
        self.output = nn.Parameter(torch.empty(target_words, arch.dec_embed))
        self.register_buffer("positions", sinusoids(MAX_POSITIONS, self.full_embed), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2 and not name.startswith(("source", "target", "output")):
                nn.init.xavier_uniform_(p, 1.0 if name.endswith((".q.weight", ".k.weight")) else init_gain)
            elif p.dim() == 2:
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
            elif "norms" not in name:
                nn.init.zeros_(p)

    def _embed(self, table: nn.Embedding, tokens: Tensor, width: int, start: int = 0) -> Tensor:
        end = start + tokens.shape[1]
        if end > MAX_POSITIONS:
            raise UserError(f"a sentence of {end} tokens was given - at most {MAX_POSITIONS} are allowed - shorten it")
        x = F.embedding(tokens, table.weight[:, :width]) * math.sqrt(width) + self.positions[start:end, :width]
        return F.dropout(x, self.dropout * width / self.full_embed, self.training)

    def encode(self, source: Tensor, arch: Arch | None = None) -> tuple[list[Tensor], Tensor]:
        """Outputs of the last three encoder layers, last first, and the mask of real tokens (batch, 1, 1, time)."""
        arch = arch or self.arch
        mask = (source != PAD)[:, None, None, :]
        p, x, layers = (
            self.dropout * arch.enc_embed / self.full_embed,
            self._embed(self.source, source, arch.enc_embed),
            [],
        )
        for layer, ffn, heads in zip(self.encoder, arch.enc_ffn, arch.enc_heads):
            x = layer(x, mask, ffn, heads, p)
            layers.append(x)
        return layers[:-4:-1], mask

    def memories(
        self, encoded: tuple[list[Tensor], Tensor], arch: Arch
    ) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        """Cross-attention keys, values and masks of every active decoder layer."""
        layers, mask = encoded
        joined = {n: torch.cat(layers[:n], dim=1) for n in set(arch.arbitrary)}
        masks = {n: mask.repeat(1, 1, 1, n) for n in joined}
        keys = [layer.cross.keys(joined[n], h) for layer, n, h in zip(self.decoder, arch.arbitrary, arch.ende_heads)]
        return keys, [masks[n] for n in arch.arbitrary]

    def decode(
        self, target: Tensor, encoded: tuple[list[Tensor], Tensor], arch: Arch | None = None, state: State | None = None
    ) -> Tensor:
        """Logits (batch, time, words). With a `state`, `target` is only the newest tokens and the state grows."""
        arch = arch or self.arch
        if state is None or not state.cross:
            cross, masks = self.memories(encoded, arch)
        else:
            cross, masks = state.cross, [encoded[1].repeat(1, 1, 1, n) for n in arch.arbitrary]
        x = self._embed(self.target, target, arch.dec_embed, state.length if state else 0)
        p, grown = self.dropout * arch.dec_embed / self.full_embed, []
        for i, (layer, *shape) in enumerate(zip(self.decoder, arch.dec_ffn, arch.dec_heads, arch.ende_heads)):
            own = layer.attention.keys(x, shape[1])
            if state is not None and state.own:
                own = tuple(torch.cat(pair, dim=2) for pair in zip(state.own[i], own))
            grown.append(own)
            x = layer(x, own, state is None or not state.own, cross[i], masks[i], tuple(shape), p)
        if state is not None:
            state.own, state.cross, state.length = grown, cross, state.length + target.shape[1]
        return F.linear(x, self.output[:, : arch.dec_embed])

    def forward(self, source: Tensor, target: Tensor, arch: Arch | None = None) -> Tensor:
        """Logits (batch, target time, words) of a sub-transformer (None: all of it); tokens are int64 (batch, time)."""
        return self.decode(target, self.encode(source, arch), arch)


def cut(model: Transformer, arch: Arch) -> Transformer:
    """The sub-transformer as a model of its own: the same outputs, only its weights."""
    own = Transformer(arch, model.source.num_embeddings, model.target.num_embeddings, model.dropout, model.full_embed)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, p in own.named_parameters():
            p.copy_(weights[name][tuple(slice(n) for n in p.shape)])
    return own.to(model.output.device).train(model.training)
