"""HAT: the spaces, the weight sharing, decoding."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json

import numpy as np
import pytest

from search.errors import UserError
from search.tasks.hat.space import choices, features, hat_space, largest, parameters, to_arch

torch = pytest.importorskip("torch")

from search.tasks.hat.beam import translate
from search.tasks.hat.model import (
    BOS,
    EOS,
    PAD,
    DecoderLayer,
    EncoderLayer,
    State,
    Transformer,
    cut,
)

WORDS = 30


def codes_of(space, n, seed=0):
    return space.to_codes(space.sample(np.random.default_rng(seed), n))


def supernet(name="iwslt-space1", seed=0):
    space = hat_space(name, 16)
    torch.manual_seed(seed)
    model = Transformer(largest(space), WORDS, WORDS, dropout=0.1)
    for name, p in model.named_parameters():
        if p.dim() == 1:
            torch.nn.init.normal_(p, mean=float("norms" in name and "weight" in name), std=0.3)
    return space, model.eval()


def sentences(seed=1):
    generator = torch.Generator().manual_seed(seed)
    source, target = (torch.randint(4, WORDS, (3, n), generator=generator) for n in (11, 9))
    source[1, 6:] = PAD
    target[:, 0] = BOS
    return source, target


@pytest.mark.parametrize("name", ["iwslt-space1", "wmt-space0"])
def test_a_sub_network_cut_out_gives_the_outputs_of_the_supernet_in_that_configuration(name):
    space, model = supernet(name)
    source, target = sentences()
    outputs = []
    with torch.no_grad():
        for code in codes_of(space, 50):
            arch = to_arch(space, code)
            alone = cut(model, arch)
            outputs.append(model(source, target, arch))
            assert torch.allclose(outputs[-1], alone(source, target), atol=1e-5)
            assert sum(p.numel() for p in alone.parameters()) == parameters(arch, WORDS, WORDS)
    distinct = torch.stack(outputs).flatten(1)
    assert torch.pdist(distinct).min() > 1e-2, "every configuration computes something else"
    assert (outputs[0][0] - outputs[0][2]).abs().max() > 0.1, "and what it reads matters"


def test_inactive_digits_change_neither_outputs_nor_features_and_become_zero():
    space, model = supernet()
    source, target = sentences()
    names = [d.name for d in space.decisions]
    depth = names.index("dec_layers")
    for code in codes_of(space, 20):
        layers = int(code[depth]) + 1
        inactive = [
            i
            for i, n in enumerate(names)
            if n.startswith(("dec_ffn_", "dec_heads_", "ende_heads_", "arbitrary_")) and int(n[-1]) >= layers
        ]
        other = "".join(
            str((int(c) + 1) % len(space.decisions[i].options)) if i in inactive else c for i, c in enumerate(code)
        )
        canonical = space.canonical(other)
        assert canonical == space.canonical(code) and all(canonical[i] == "0" for i in inactive)
        assert all(canonical[i] == code[i] for i in range(len(code)) if i not in inactive)
        assert (features(space, [code]) == features(space, [other])).all()
        with torch.no_grad():
            assert torch.equal(
                model(source, target, to_arch(space, code)), model(source, target, to_arch(space, other))
            )


def test_the_spaces_are_the_published_ones():
    for name, ffn, heads in (("iwslt-space1", (2048, 1024, 512), (4, 2)), ("wmt-space0", (3072, 2048, 1024), (8, 4))):
        space = hat_space(name)
        assert len(space) == 39 and space.size == 2437438960041984
        assert choices(name).ffn == ffn and choices(name).heads == heads
        distinct = sum(36**n for n in range(1, 7)) * 2 * 2 * 3**6 * 2**6
        assert f"{distinct:.2e}" == "4.18e+14"
    assert hat_space("iwslt-space1", 8).decode("0" * 39)["enc_ffn_0"] == 256
    assert (features(hat_space("iwslt-space1", 8), ["0" * 39]) == features(hat_space(), ["0" * 39])).all()
    with pytest.raises(UserError, match="iwslt-space1"):
        hat_space("iwslt-space")
    with pytest.raises(UserError, match="divide"):
        hat_space("iwslt-space1", 7)


def test_the_published_models_are_codes_of_the_space_with_the_published_size(shared_table):
    path = shared_table("hat_searched_models.csv.gz")
    rows = [r for r in csv.DictReader(io.StringIO(gzip.open(path, "rt").read())) if r["task"] == "iwslt14deen"]
    space, sizes = hat_space(), []
    for row in rows:
        config = {
            k.removesuffix("-all-subtransformer").removesuffix("-subtransformer"): v
            for k, v in json.loads(row["subtransformer"]).items()
        }
        arch = {d.name: d.options[0] for d in space.decisions}
        arch |= {
            "enc_embed": config["encoder-embed-dim"],
            "dec_embed": config["decoder-embed-dim"],
            "dec_layers": config["decoder-layer-num"],
        }
        kinds = {
            "enc_ffn": "encoder-ffn-embed-dim",
            "enc_heads": "encoder-self-attention-heads",
            "dec_ffn": "decoder-ffn-embed-dim",
            "dec_heads": "decoder-self-attention-heads",
            "ende_heads": "decoder-ende-attention-heads",
            "arbitrary": "decoder-arbitrary-ende-attn",
        }
        for ours, theirs in kinds.items():
            arch |= {f"{ours}_{i}": v for i, v in enumerate(config[theirs][:6])}
        code = space.encode(arch)
        sizes.append(round(parameters(to_arch(space, code), 0, 0) / 1e6, 1))
        assert to_arch(space, code).dec_layers == config["decoder-layer-num"]
    # HAT gives 16.8 to 31.5 million parameters, embeddings not counted
    assert len(rows) == 5 and (min(sizes), max(sizes)) == (16.8, 31.5)


def test_layers_agree_with_torchs_own_transformer_layers():
    torch.manual_seed(3)
    wide, narrow = 40, 32
    ours = EncoderLayer(wide, 64, narrow).eval()
    theirs = torch.nn.TransformerEncoderLayer(narrow, 4, 48, batch_first=True).eval()
    decoder, reference = (
        DecoderLayer(wide, wide, 64, narrow).eval(),
        torch.nn.TransformerDecoderLayer(narrow, 2, 48, batch_first=True).eval(),
    )

    def copy(attention, mha):
        q, k, v = mha.in_proj_weight.data.chunk(3)
        for layer, weight, bias in zip(
            (attention.q, attention.k, attention.v), (q, k, v), mha.in_proj_bias.data.chunk(3)
        ):
            layer.weight.data[:, :narrow], layer.bias.data[:] = weight, bias
        attention.out.weight.data[:narrow], attention.out.bias.data[:narrow] = (
            mha.out_proj.weight.data,
            mha.out_proj.bias.data,
        )

    def copy_rest(layer, norms, theirs):
        layer.ffn.up.weight.data[:48, :narrow], layer.ffn.up.bias.data[:48] = (
            theirs.linear1.weight.data,
            theirs.linear1.bias.data,
        )
        layer.ffn.down.weight.data[:narrow, :48], layer.ffn.down.bias.data[:narrow] = (
            theirs.linear2.weight.data,
            theirs.linear2.bias.data,
        )
        for mine, other in zip(layer.norms, norms):
            torch.nn.init.normal_(other.weight), torch.nn.init.normal_(other.bias)
            mine.weight.data[:narrow], mine.bias.data[:narrow] = other.weight.data, other.bias.data

    copy(ours.attention, theirs.self_attn)
    copy_rest(ours, [theirs.norm1, theirs.norm2], theirs)
    copy(decoder.attention, reference.self_attn), copy(decoder.cross, reference.multihead_attn)
    copy_rest(decoder, [reference.norm1, reference.norm2, reference.norm3], reference)
    x, y, real = (
        torch.randn(2, 7, narrow),
        torch.randn(2, 5, narrow),
        torch.tensor([[True] * 7, [True] * 4 + [False] * 3]),
    )
    mask = real[:, None, None, :]
    with torch.no_grad():
        assert torch.allclose(ours(x, mask, 48, 4, 0.0)[real], theirs(x, src_key_padding_mask=~real)[real], atol=1e-5)
        keys = decoder.attention.keys(y, 2), decoder.cross.keys(x, 2)
        mine = decoder(y, keys[0], True, keys[1], mask, (48, 2, 2), 0.0)
        causal = torch.nn.Transformer.generate_square_subsequent_mask(5)
        assert torch.allclose(
            mine, reference(y, x, tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=~real), atol=1e-5
        )


def test_decoding_word_by_word_equals_decoding_at_once():
    space, model = supernet()
    source, target = sentences()
    with torch.no_grad():
        for code in codes_of(space, 4):
            arch = to_arch(space, code)
            encoded, state = model.encode(source, arch), State()
            steps = [model.decode(target[:, i : i + 1], encoded, arch, state) for i in range(target.shape[1])]
            assert torch.allclose(torch.cat(steps, dim=1), model(source, target, arch), atol=1e-5)


def test_padding_and_future_words_have_no_influence():
    space, model = supernet()
    source, target = sentences()
    with torch.no_grad():
        whole = model(source, target)
        short = model(source[1:2, :6], target[1:2])
        assert torch.allclose(whole[1:2], short, atol=1e-5)
        changed = target.clone()
        changed[:, 5:] = 7
        assert torch.allclose(model(source, changed)[:, :5], whole[:, :5], atol=1e-5)
        assert not torch.allclose(model(source, changed)[:, 5:], whole[:, 5:], atol=1e-3)


def test_a_wide_beam_finds_the_most_probable_translation():
    torch.manual_seed(5)
    space = hat_space("iwslt-space1", 16)
    model = Transformer(to_arch(space, "1" * 39), 7, 7).eval()
    source = torch.tensor([[4, EOS], [5, EOS], [6, 5]])
    words = [4, 5, 6]
    options = [seq for n in range(4) for seq in itertools.product(words, repeat=n)]

    def log_p(row, seq, penalty):
        given = torch.tensor([[BOS, *seq]])
        p = model(source[row : row + 1], given).log_softmax(-1)[0]
        return sum(float(p[i, w]) for i, w in enumerate([*seq, EOS])) / (len(seq) + 1) ** penalty

    with torch.no_grad():
        for penalty in (0.0, 1.0):
            found = translate(model, source, beam=40, length_penalty=penalty, extra=2)
            for row in range(3):
                assert tuple(found[row]) == max(options, key=lambda seq: log_p(row, seq, penalty))


def test_a_beam_of_one_is_greedy_and_batches_do_not_mix():
    space, model = supernet(seed=2)
    source, _ = sentences()
    found = translate(model, source, beam=1, extra=5)
    alone = translate(model, source[1:2, :6], beam=3, extra=12)
    together = translate(model, source, beam=3, extra=5)
    assert together[1][: len(alone[0])] == alone[0][: len(together[1])]
    with torch.no_grad():
        given = torch.tensor([[BOS, *found[0]]])
        logits = model(source[:1], given)[0]
        logits[:, [PAD, BOS, 3]] = float("-inf")
        assert logits.argmax(-1).tolist()[: len(found[0])] == found[0]
