"""The HAT spaces: 39 decisions of an encoder-decoder transformer, their code, and the ten features of latency models.

iwslt-space1  HAT's space for IWSLT'14 (default): FFN 2048/1024/512, heads 4/2
wmt-space0    HAT's space for WMT'14, which the paper prints for its IWSLT'14 experiment: FFN 3072/2048/1024, heads 8/4

Source: hardware-aware-transformers, configs/*/supertransformer/space*.yml. The encoder always has six layers. Widths
can be divided by `reduce` (embedding, FFN and attention width alike), which keeps codes and features and makes a CPU
enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.errors import UserError, did_you_mean
from search.spaces import Decision, Space

LAYERS = 6  # of encoder and of decoder at most, as in HAT
ARBITRARY = (-1, 1, 2)
FEATURES = (
    "encoder_embed_dim",
    "encoder_layer_num",
    "encoder_ffn_embed_dim_avg",
    "encoder_self_attention_heads_avg",
    "decoder_embed_dim",
    "decoder_layer_num",
    "decoder_ffn_embed_dim_avg",
    "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg",
    "decoder_arbitrary_ende_attn_avg",
)
SCALE = np.array([640, 6, 2048, 6, 640, 6, 2048, 6, 6, 2], dtype=np.float64)


@dataclass(frozen=True)
class Choices:
    """The options of a space at full width.

    qkv: the attention width, the same for every head count.
    """

    embed: tuple[int, ...] = (640, 512)
    ffn: tuple[int, ...] = (2048, 1024, 512)
    heads: tuple[int, ...] = (4, 2)
    qkv: int = 512


SPACES = {"iwslt-space1": Choices(), "wmt-space0": Choices(ffn=(3072, 2048, 1024), heads=(8, 4))}


@dataclass(frozen=True)
class Arch:
    """One sub-transformer, in real widths. Encoder tuples have 6 entries, decoder tuples one per decoder layer.

    arbitrary: how many of the last encoder layers (1, 2 or 3) each decoder layer attends to.
    """

    enc_embed: int
    enc_ffn: tuple[int, ...]
    enc_heads: tuple[int, ...]
    dec_embed: int
    dec_ffn: tuple[int, ...]
    dec_heads: tuple[int, ...]
    ende_heads: tuple[int, ...]
    arbitrary: tuple[int, ...]
    qkv: int

    @property
    def dec_layers(self) -> int:
        return len(self.dec_ffn)

    def describe(self) -> str:
        """One line a person can read."""
        join = lambda values: "-".join(map(str, values))  # noqa: E731
        return (
            f"encoder {self.enc_embed} wide, 6 layers, FFN {join(self.enc_ffn)}, heads {join(self.enc_heads)}; decoder"
            f" {self.dec_embed} wide, {self.dec_layers} layers, FFN {join(self.dec_ffn)}, self heads"
            f" {join(self.dec_heads)}, cross heads {join(self.ende_heads)}, attends to the last {join(self.arbitrary)}"
            " encoder layers"
        )


def choices(name: str, reduce: int = 1) -> Choices:
    """The options of a named space with every width divided by `reduce`."""
    if name not in SPACES:
        raise did_you_mean("HAT space", name, SPACES)
    full = SPACES[name]
    widths = (*full.embed, *full.ffn, full.qkv)
    if reduce < 1 or any(w % reduce for w in widths) or any((full.qkv // reduce) % h for h in full.heads):
        raise UserError(
            f"width divisor {reduce} was given - it must divide {sorted(set(widths))} and leave whole heads - use 1, 2,"
            " 4, 8 or 16"
        )
    shrink = lambda values: tuple(v // reduce for v in values)  # noqa: E731
    return Choices(shrink(full.embed), shrink(full.ffn), full.heads, full.qkv // reduce)


def hat_space(name: str = "iwslt-space1", reduce: int = 1) -> Space:
    """The 39 decisions as a Space; digits of decoder layers beyond the depth are inactive (canonically 0)."""
    c = choices(name, reduce)
    decisions = [Decision("enc_embed", c.embed)]
    decisions += [Decision(f"enc_ffn_{i}", c.ffn) for i in range(LAYERS)]
    decisions += [Decision(f"enc_heads_{i}", c.heads) for i in range(LAYERS)]
    decisions += [Decision("dec_embed", c.embed), Decision("dec_layers", tuple(range(1, LAYERS + 1)))]
    for kind, options in (
        ("dec_ffn", c.ffn),
        ("dec_heads", c.heads),
        ("ende_heads", c.heads),
        ("arbitrary", ARBITRARY),
    ):
        decisions += [Decision(f"{kind}_{i}", options, _deeper_than(i)) for i in range(LAYERS)]
    return Space(decisions, name if reduce == 1 else f"{name}/{reduce}")


def _deeper_than(layer: int):
    return lambda arch: arch["dec_layers"] > layer


def to_arch(space: Space, code: str) -> Arch:
    """The sub-transformer a code means; inactive digits have no influence."""
    values = space.decode(code)
    qkv = choices(*_split(space.name)).qkv
    depth = values["dec_layers"]
    layers = lambda kind, n: tuple(values[f"{kind}_{i}"] for i in range(n))  # noqa: E731
    return Arch(
        enc_embed=values["enc_embed"],
        enc_ffn=layers("enc_ffn", LAYERS),
        enc_heads=layers("enc_heads", LAYERS),
        dec_embed=values["dec_embed"],
        dec_ffn=layers("dec_ffn", depth),
        dec_heads=layers("dec_heads", depth),
        ende_heads=layers("ende_heads", depth),
        arbitrary=tuple(ARBITRARY.index(a) + 1 for a in layers("arbitrary", depth)),
        qkv=qkv,
    )


def largest(space: Space) -> Arch:
    """The super-transformer: the widest option everywhere, all decoder layers, all three encoder layers attended to."""
    best: Mapping[str, Any] = {d.name: max(d.options) for d in space.decisions}
    return to_arch(space, space.encode(best))


def features(space: Space, codes: list[str]) -> np.ndarray:
    """The ten shape features of HAT's latency tables in full widths, float64 (n, 10); means over the active layers."""
    name, reduce = _split(space.name)
    rows = []
    for code in codes:
        a = to_arch(space, code)
        mean = lambda values: sum(values) / len(values)  # noqa: E731
        rows.append(
            [
                a.enc_embed * reduce,
                LAYERS,
                mean(a.enc_ffn) * reduce,
                mean(a.enc_heads),
                a.dec_embed * reduce,
                a.dec_layers,
                mean(a.dec_ffn) * reduce,
                mean(a.dec_heads),
                mean(a.ende_heads),
                mean(a.arbitrary),
            ]
        )
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(FEATURES))


def parameters(arch: Arch, source_words: int, target_words: int) -> int:
    """Number of weights of a sub-transformer with untied embeddings."""
    e, d, q = arch.enc_embed, arch.dec_embed, arch.qkv
    attention = lambda width, memory: q * (width + 2 * memory) + 3 * q + width * q + width  # noqa: E731
    ffn = lambda width, inner: 2 * width * inner + inner + width  # noqa: E731
    encoder = sum(attention(e, e) + ffn(e, f) + 4 * e for f in arch.enc_ffn)
    decoder = sum(attention(d, d) + attention(d, e) + ffn(d, f) + 6 * d for f in arch.dec_ffn)
    return encoder + decoder + source_words * e + 2 * target_words * d


def _split(name: str) -> tuple[str, int]:
    base, _, reduce = name.partition("/")
    return base, int(reduce or 1)
