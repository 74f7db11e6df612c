"""The parts of the Stable Diffusion task: groups, LoRA by rank, new tokens, scores, fusion, in small."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers", reason="the Stable Diffusion task needs diffusers: pip install diffusers")
pytest.importorskip("peft")
pytest.importorskip("animal_shape_mnist")

from search.errors import UserError
from search.tasks.sd import concepts, fuse, lora, models, sample, scenes, scores, space, store
from search.tasks.sd.base import embedded
from search.tasks.sd.learn import RECIPES, Learned, held_out_loss, learn
from search.tasks.sd.tokens import encode

CHANNELS = (16, 16, 16, 16)  # two a group: a norm over single values would blow rounding up
QUICK = {"steps": 2, "batch": 2, "save_every": 1}


@pytest.fixture(scope="module")
def base():
    return tiny_base()


def tiny_base(layers: int = 1):
    """An untrained base model with the blocks of Stable Diffusion and 16 channels."""
    torch.manual_seed(0)
    return embedded(models.small_clip().eval(), models.small_unet(CHANNELS), models.IdentityEncoder().eval(), layers)


def random_factors(model, ranks, seed=0):
    dice = torch.Generator().manual_seed(seed)
    found = {}
    for name, rank in ranks.items():
        outside, inside = model.get_submodule(name).weight.shape[:2]
        found[name] = tuple(torch.randn(shape, generator=dice) * 0.2 for shape in ((rank, inside), (outside, rank)))
    return found


def codes(n, seed=0):
    ranks = space.rank_space()
    return ranks, ranks.to_codes(ranks.sample(np.random.default_rng(seed), n))


def ask(model, seed=0):
    """The UNet's answer to a fixed question."""
    dice = torch.Generator().manual_seed(seed)
    latent, text = torch.randn(2, 48, 4, 4, generator=dice), torch.randn(2, 16, 64, generator=dice)
    with torch.no_grad():
        return model(latent, 500, text).sample


@pytest.mark.parametrize("partition, modules", [("attn1-attn2-rest", 192), ("attention-only", 128)])
def test_48_groups_hold_every_module_once(base, partition, modules):
    found = space.groups(partition)
    names = [name for group in found.values() for name in group]
    assert len(found) == 48 and len(names) == len(set(names)) == modules
    assert space.rank_space(partition).size == 3**48
    linear = {n for n, m in base.unet.named_modules() if ".attentions." in n and isinstance(m, torch.nn.Linear)}
    inside = {n for n in linear if ".attn" in n} if partition == "attention-only" else linear
    assert inside <= set(names), "no linear layer of the transformer blocks is left out"
    with pytest.raises(UserError, match="attn1-attn2-rest"):
        space.groups("attn")


def test_digits_stand_in_the_order_of_the_forward_pass(base):
    unet, seen = copy.deepcopy(base.unet), []
    for block in space.BLOCKS:
        unet.get_submodule(block).register_forward_hook(lambda m, i, o, block=block: seen.append(block))
    ask(unet)
    assert tuple(seen) == space.BLOCKS and len(seen) == 16


@pytest.mark.parametrize("partition", list(space.PARTITIONS))
def test_the_ranks_asked_are_the_ranks_built(base, partition):
    check_ranks(base, partition, 2)


@pytest.mark.slow
def test_the_ranks_asked_are_the_ranks_built_for_50_codes(base):
    for partition in space.PARTITIONS:
        check_ranks(base, partition, 25)


def check_ranks(base, partition, n):
    ranks = space.rank_space(partition)
    for code in codes(n, seed=len(partition))[1]:
        unet = copy.deepcopy(base.unet)
        asked = space.ranks_of(ranks, code, partition)
        trained = lora.add(unet, asked)
        assert lora.built_ranks(unet) == asked
        assert sum(p.numel() for p in trained) == space.lora_parameters(base.unet, asked)
        assert {float(layer.scaling["default"]) for _, layer in lora.layers(unet)} == {1.0}, "no division by the rank"


def test_codes_share_one_draw_of_a(base):
    low, high = copy.deepcopy(base.unet), copy.deepcopy(base.unet)
    names = space.groups("attn1-attn2-rest")["mid_0_rest"]
    lora.add(low, dict.fromkeys(names, 4))
    lora.add(high, dict.fromkeys(names, 16))
    few, many = lora.factors(low), lora.factors(high)
    assert all(torch.equal(few[n][0], many[n][0][:4]) and few[n][0].abs().sum() > 0 for n in names)


def test_a_merged_adapter_answers_as_the_unmerged(base):
    ranks, (code,) = codes(1)
    asked = space.ranks_of(ranks, code, "attn1-attn2-rest")
    found = random_factors(base.unet, asked)
    split, merged = copy.deepcopy(base.unet), copy.deepcopy(base.unet)
    lora.add(split, asked)
    with torch.no_grad():
        for name, layer in lora.layers(split):
            for part, value in zip(lora.PARTS, found[name]):
                weight = getattr(layer, part)["default"].weight
                weight.copy_(value.reshape(weight.shape))
    kept = lora.weights(merged, found)
    lora.merge(merged, found)
    assert (ask(split) - ask(base.unet)).abs().max() > 0.1, "the adapter says something"
    assert torch.allclose(ask(split), ask(merged), atol=1e-5)
    lora.restore(merged, kept)
    assert torch.equal(ask(merged), ask(base.unet))


def test_nested_ranks_speak_as_the_cut_adapter(base):
    ranks, found_codes = codes(2)
    most = space.ranks_of(ranks, "2" * 48, "attn1-attn2-rest")
    unet = copy.deepcopy(base.unet)
    lora.add(unet, most)
    for _, layer in lora.layers(unet):
        torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.03)
    nested, found = lora.NestedRanks(unet), lora.factors(unet)
    for code in found_codes:
        asked = space.ranks_of(ranks, code, "attn1-attn2-rest")
        nested.use(asked)
        alone = copy.deepcopy(base.unet)
        lora.merge(alone, lora.cut(found, asked))
        assert (ask(unet) - ask(base.unet)).abs().max() > 1e-3
        assert torch.allclose(ask(unet), ask(alone), atol=1e-5)


@pytest.mark.parametrize("layers", [1, 16])
def test_new_tokens_change_no_other_prompt(layers):
    own, plain = tiny_base(layers), tiny_base(layers)
    table = own.text_encoder.embeddings.token_embedding
    prompts = ["a big red circle left on plain blue", ""]
    before = plain.text(prompts)
    table.add("<mint>", torch.randn(2, layers, 64))
    table.add("<rose>", torch.randn(2, layers, 64))
    assert torch.equal(own.text(prompts), before)
    one, other = own.text(["a big <mint> on plain blue"]), own.text(["a big <rose> on plain blue"])
    assert not torch.allclose(one, other)
    with pytest.raises(UserError, match="<sand>"):
        own.text(["a <sand>"])


def test_each_block_reads_its_own_layer_of_a_text(base):
    own = tiny_base(16)
    own.text_encoder.embeddings.token_embedding.add("<mint>", torch.randn(2, 16, 64))
    text = own.text(["a big <mint>", "a small <mint>"])
    assert text.shape == (2, 16, 16, 64)
    heard = {}
    for i, block in enumerate(space.BLOCKS):
        key = own.unet.get_submodule(f"{block}.transformer_blocks.0.attn2.to_k")
        key.register_forward_pre_hook(lambda m, x, i=i: heard.__setitem__(i, x[0]))
    with torch.no_grad():
        own.unet(torch.randn(2, 48, 4, 4), 3, text)
    assert all(torch.equal(heard[i], text[:, i]) for i in range(16))
    same = text[:, :1].expand(-1, 16, -1, -1)
    latent = torch.randn(2, 48, 4, 4)
    with torch.no_grad():
        assert torch.allclose(own.unet(latent, 3, same).sample, base.unet(latent, 3, same[:, 0]).sample, atol=1e-6)


def test_a_concept_has_its_own_settings_and_the_base_never_sees_its_parts():
    for concept in concepts.scene_concepts():
        sets = [set(x) for x in (concept.captions, concept.valid, concept.test, concept.held_out[1])]
        assert [len(s) for s in sets] == [15, 11, 20, 15]
        assert len(set.union(*sets)) == 61, "no setting is in two of them"
        assert concept.with_class(concept.valid)[0] == concept.valid[0].replace(f"<{concept.name}>", "toy")
    dice = torch.Generator().manual_seed(0)
    toys = scenes.draw_toys(2000, dice, concepts.HIDDEN_PAIRS)
    assert not set(zip(toys.body.tolist(), toys.badge.tolist())) & set(concepts.HIDDEN_PAIRS)
    pictures, captions = scenes.draw_scenes(64, dice)
    assert pictures.shape == (64, 3, 16, 16) and 0 <= pictures.min() and pictures.max() <= 1
    longest = models.WordTokenizer()(captions)
    assert (longest == models.EOS).sum() == 64
    with pytest.raises(UserError, match="sofa"):
        models.WordTokenizer()(["a big sofa"])


def test_scores_by_hand():
    one, two = torch.tensor([1.0, 0.0]), torch.tensor([0.6, 0.8])
    pictures, captions = torch.stack([one, two]), torch.stack([two, -two])
    assert scores.text_scores(pictures, captions).tolist() == pytest.approx([2.5 * 0.6, 0.0])
    references = torch.stack([one, two, one])
    assert scores.pair_scores(pictures, references).tolist() == pytest.approx([(1 + 0.6 + 1) / 3, (0.6 + 1 + 0.6) / 3])
    found = scores.Scores(0.7, 0.6, 0.4)
    assert found.score() == pytest.approx(0.65) and found.score(1, 0) == 0.7


def test_the_fused_weight_is_the_minimum():
    torch.manual_seed(0)
    inputs = [torch.randn(6, 40), torch.randn(6, 30)]
    changes, grams = [torch.randn(5, 6), torch.randn(5, 6)], [(x.double() @ x.double().T) for x in inputs]
    found = fuse.solve(changes, grams).requires_grad_(True)
    fuse.objective(found, changes, grams).backward()
    assert found.grad.abs().max() < 1e-8 * sum(g.abs().max() for g in grams)
    slow = fuse.lbfgs(changes, grams, 200)
    assert torch.allclose(found.detach(), slow, atol=1e-5)
    by_hand = sum(((found.detach() - c.double()) @ x.double()).square().sum() for c, x in zip(changes, inputs))
    ridge = 1e-4 * sum(grams).diagonal().mean() * found.detach().square().sum()
    assert float(fuse.objective(found.detach(), changes, grams)) == pytest.approx(float(by_hand + ridge))


def test_inputs_apart_are_fused_without_loss():
    x = torch.eye(6).double()
    changes = [torch.randn(5, 6), torch.randn(5, 6)]
    apart = [x[:, :3] @ x[:, :3].T, x[:, 3:] @ x[:, 3:].T]
    found = fuse.solve(changes, apart, ridge=1e-9)
    assert torch.allclose(found[:, :3], changes[0][:, :3].double(), atol=1e-6)
    assert torch.allclose(found[:, 3:], changes[1][:, 3:].double(), atol=1e-6)


def learned_at_random(base, name, seed):
    ranks = space.ranks_of(space.rank_space(), "0" * 48, "attn1-attn2-rest")
    text = random_factors(base.text_encoder, lora.text_modules(base.text_encoder), seed)
    return Learned(name, torch.randn(2, base.layers, 64), random_factors(base.unet, ranks, seed), text)


@pytest.mark.parametrize("layers", [1, 16])
def test_a_concept_fused_alone_is_itself_and_two_fuse_better_than_their_mean(layers):
    base = tiny_base(layers)
    made = [learned_at_random(base, name, seed) for seed, name in enumerate(("<mint>", "<rose>"))]
    parts = [(found, None, [f"a big {found.name} left on plain blue", found.name]) for found in made]
    alone = base.copied()
    made[0].put_on(alone)
    single = fuse.fuse(base, parts[:1], ridge=1e-9, steps=3)
    text = "a big <mint> left on plain blue"
    assert torch.allclose(single.text([text]), alone.text([text]), atol=1e-3)
    seen = [fuse.watched(base, found, ranks, prompts, 3) for found, ranks, prompts in parts]
    name = "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k"
    changes = [found.unet[name][1] @ found.unet[name][0] for found in made]
    grams = [s["unet"][name] for s in seen]
    fused, mean = fuse.solve(changes, grams), sum(changes).double() / 2
    assert fuse.objective(fused, changes, grams) < 0.9 * fuse.objective(mean, changes, grams)


def test_a_saved_concept_comes_back_exactly(base, tmp_path):
    found = learned_at_random(base, "<mint>", 3)
    path = store.save(tmp_path / "mint.safetensors", found, {"code": "0" * 48})
    again, about = store.load(path)
    assert about == {"code": "0" * 48} and again.name == "<mint>" and torch.equal(again.vectors, found.vectors)
    for mine, other in ((found.unet, again.unet), (found.text, again.text)):
        assert mine.keys() == other.keys()
        assert all(torch.equal(a, b) for n in mine for a, b in zip(mine[n], other[n]))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="no learned concept"):
        store.load(path)


def test_learning_goes_on_to_the_same_weights_and_leaves_the_base_alone(base, tmp_path):
    from dataclasses import replace

    concept, recipe = concepts.scene_concepts()[0], replace(RECIPES["embedded"], **QUICK)
    ranks = space.ranks_of(space.rank_space(), codes(1)[1][0], "attn1-attn2-rest")
    before = {k: v.clone() for k, v in base.unet.state_dict().items()}
    whole = learn(base, concept, ranks, recipe, 1)

    class Stopped(Exception):
        pass

    def stop(step):
        if step == 1:
            raise Stopped
        return ranks

    with pytest.raises(Stopped):
        learn(base, concept, ranks, recipe, 1, stop, tmp_path)
    resumed = learn(base, concept, ranks, recipe, 1, out=tmp_path)
    assert whole.losses == resumed.losses and torch.equal(whole.vectors, resumed.vectors)
    assert all(torch.equal(a, b) for n in whole.unet for a, b in zip(whole.unet[n], resumed.unet[n]))
    assert all(any(b.abs().sum() > 0 for _, b in part.values()) for part in (whole.unet, whole.text))
    assert all(torch.equal(v, before[k]) for k, v in base.unet.state_dict().items())
    with pytest.raises(UserError, match="another seed"):
        learn(base, concept, ranks, recipe, 2, out=tmp_path)
    model = base.copied()
    whole.put_on(model)
    assert held_out_loss(model, concept, 1) == held_out_loss(model, concept, 1) != held_out_loss_of(base, concept)


def held_out_loss_of(base, concept):
    plain = base.copied()
    plain.text_encoder.embeddings.token_embedding.add(concept.placeholder, torch.zeros(2, 1, 64))
    return held_out_loss(plain, concept, 1)


def test_only_the_masked_part_of_a_picture_counts(base):
    from dataclasses import replace

    from search.tasks.sd.learn import _latents, _loss, _masks

    concept = concepts.scene_concepts()[0]
    own = base.copied()
    own.text_encoder.embeddings.token_embedding.add(concept.placeholder, torch.zeros(2, 1, 64))
    left = torch.zeros(15, 1, 16, 16)
    left[..., :8] = 1
    recipe, latents = replace(RECIPES["embedded"], batch=4), _latents(own, concept)
    parts = [_masks(own, replace(concept, masks=m)) for m in (left, 1 - left)]
    one, other, whole = (float(_loss(own, concept, recipe, latents, m, 3)) for m in (*parts, None))
    assert parts[0].shape == (15, 1, 4, 4) and _masks(own, concept) is None
    assert one != pytest.approx(other, rel=1e-3) and (one + other) / 2 == pytest.approx(whole, rel=1e-5)


def test_a_picture_does_not_depend_on_its_batch(base):
    prompts = ["a big red circle left on plain blue", "a small toy top on plain red", "a big star on plain white"]
    once = sample.pictures(base, prompts, 2, 2.0, seed=4)
    assert once.shape == (3, 3, 16, 16)
    assert torch.allclose(once, sample.pictures(base, prompts, 2, 2.0, seed=4, batch=2), atol=1e-5)
    assert not torch.allclose(once, sample.pictures(base, prompts, 2, 2.0, seed=5))
    assert encode(base.text_encoder, base.tokenizer, prompts).shape == (3, 16, 64)
