"""SAM: the Conv-LoRA module, what is trained, losses and metrics."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch.nn import functional as F

from search.errors import UserError
from search.tasks.sam import metrics
from search.tasks.sam.conv_lora import ALPHA, ConvLoRA, balance
from search.tasks.sam.losses import balanced, structure
from search.tasks.sam.model import adapters, add_adapters, cut, logits, small, trained
from search.tasks.sam.pictures import KINDS, Endless, domains, generate, normalised, seed_of
from search.tasks.sam.recipe import RECIPES, Recipe
from search.tasks.sam.space import EMBEDDED, PUBLISHED, Encoder, adapter_parameters, sam_space
from search.tasks.sam.train import loss_of


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def module(rank: int = 24, experts: int = 8, width: int = 10, drawn: int = 24) -> ConvLoRA:
    """A module whose every matrix matters: B and the gate are not zero."""
    torch.manual_seed(1)
    found = ConvLoRA(torch.nn.Linear(width, 3 * width), rank, experts, dice(), drawn)
    torch.nn.init.normal_(found.b)
    torch.nn.init.normal_(found.gate)
    return found.eval()


@pytest.fixture(scope="module")
def tiny():
    """A function that gives fresh models of four blocks with the same weights."""
    torch.manual_seed(0)
    weights = small(4).state_dict()

    def fresh():
        model = small(4).eval()
        model.load_state_dict(weights)
        return model

    return fresh


def test_the_space_is_the_papers():
    space = sam_space()
    assert len(space) == 32 and space.size == 4**32 and space.decode("0" * 32)["block0"] == 3
    assert [len(sam_space(e.blocks)) for e in PUBLISHED.values()] == [32, 24, 12]


def test_parameters_are_counted_as_they_are_built():
    for rank, digit in ((3, "0"), (24, "3")):
        built = module(rank, 4, 32)
        weights = sum(p.numel() for n, p in built.named_parameters() if not n.startswith("base."))
        assert weights == adapter_parameters(digit, Encoder(1, 32, 4))


@pytest.mark.parametrize("rank", [3, 6, 12])
def test_a_module_cut_to_a_rank_is_one_built_with_that_rank(rank):
    large, built = module(), module(rank, drawn=rank)
    with torch.no_grad():
        built.a.copy_(large.a[:rank])
        built.b.copy_(large.b[:, :rank])
        built.kernels.copy_(large.kernels[:, :rank, :rank])
        built.biases.copy_(large.biases[:, :rank])
        built.gate.copy_(large.gate[:rank])
    built.base = large.base
    large.rank = rank
    x = torch.randn(6, 5, 5, 10)
    assert torch.allclose(large(x), built(x), atol=1e-5)
    large.rank = 24
    assert not torch.allclose(large(x), built(x), atol=1e-2)


def test_modules_of_different_rank_start_alike():
    few, many = (ConvLoRA(torch.nn.Linear(10, 30), rank, 3, dice(5), 24) for rank in (6, 24))
    assert torch.equal(few.a, many.a[:6])
    assert torch.allclose(few.kernels * few.largest**0.5, many.kernels[:, :6, :6] * many.largest**0.5)


def test_a_module_is_the_published_formula():
    found = module(6, 8)
    x = torch.randn(12, 4, 6, 10)
    h = F.linear(x, found.a).permute(0, 3, 1, 2)
    chosen = (h.mean((2, 3)) @ found.gate).argmax(1)
    assert len(chosen.unique()) > 2
    mixed = torch.empty_like(h)
    for row, i in enumerate(chosen.tolist()):
        enlarged = F.interpolate(h[row : row + 1], scale_factor=float(i + 1), mode="bicubic", align_corners=False)
        seen = F.gelu(F.conv2d(enlarged, found.kernels[i], found.biases[i], padding=1))
        mixed[row] = F.interpolate(seen, size=(4, 6), mode="bicubic", align_corners=False)[0]
    expected = found.base(x) + ALPHA / 6 * F.linear((h + mixed).permute(0, 2, 3, 1), found.b)
    assert torch.allclose(found(x), expected, atol=1e-4)


@pytest.mark.parametrize("factor", range(2, 9))
def test_every_expert_resamples_as_torch_does(factor):
    found, h = module(6, 8), torch.randn(2, 6, 5, 7)
    enlarged = F.interpolate(h, scale_factor=float(factor), mode="bicubic", align_corners=False)
    seen = F.gelu(F.conv2d(enlarged, found.kernels[factor - 1], found.biases[factor - 1], padding=1))
    expected = F.interpolate(seen, size=(5, 7), mode="bicubic", align_corners=False)
    assert torch.allclose(found._expert(factor - 1, h), expected, atol=1e-5)


def test_fresh_adapters_leave_sam_as_it_is(tiny):
    x = normalised(generate("polyps", 3, 1).x)
    with torch.no_grad():
        before = logits(tiny(), x)
        after = logits(add_adapters(tiny(), (3, 6, 12, 24), 3).eval(), x)
    assert torch.equal(before, after) and before.shape == (3, 64, 64)


def test_only_adapters_and_the_decoder_without_its_iou_head_learn(tiny):
    model = add_adapters(tiny(), (3, 24, 6, 12), 3).train()
    with torch.no_grad():
        for found in adapters(model):
            found.b.normal_(std=0.01)  # with B at zero nothing flows to A yet
    pictures = generate("lesions", 8, 2)
    loss_of(model, pictures.x, pictures.y, Recipe(border=15)).backward()
    learning = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert learning <= set(trained(model))
    parts = {n.split(".")[0] for n in learning}
    assert parts == {"vision_encoder", "mask_decoder"} and not any("iou_prediction_head" in n for n in trained(model))
    inside = {n.rsplit(".", 1)[1] for n in learning if n.startswith("vision_encoder.")}
    assert inside == {"a", "b", "kernels", "biases", "gate", "noise"}
    assert not any(".base." in n for n in trained(model))


def test_adapters_are_cut_and_never_grow(tiny):
    model = add_adapters(tiny(), (12, 12, 12, 12), 3)
    cut(model, (3, 6, 12, 3))
    assert [m.rank for m in adapters(model)] == [3, 6, 12, 3]
    with pytest.raises(UserError, match="only shrink"):
        cut(model, (24, 3, 3, 3))


def test_the_gate_balances_its_experts():
    even, one = torch.zeros(64, 4), torch.zeros(64, 4)
    one[:, 2] = 5.0
    noisy = F.one_hot(torch.arange(64) % 4, 4).float()
    deviation = torch.full((64, 4), 0.5)
    assert balance(even, noisy, deviation) < 0.05 < 3.0 < balance(one, one + noisy, deviation)
    torch.manual_seed(0)
    found = module(6, 4).train()
    x = torch.randn(256, 3, 3, 10) + 1
    gate = torch.optim.Adam([found.gate, found.noise], lr=0.05)
    losses = []
    for _ in range(40):
        gate.zero_grad()
        found(x)
        found.balance.backward()
        losses.append(float(found.balance.detach()))
        gate.step()
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 3
    assert found.eval()(x) is not None and found.balance is None


def test_losses_are_least_at_the_mask_and_border_pixels_count_more():
    mask = torch.zeros(2, 32, 32)
    mask[:, 8:24, 8:24] = 1
    right, wrong = (mask - 0.5) * 40, (0.5 - mask) * 40
    for loss in (structure, balanced):
        assert float(loss(right, mask)) < 1e-2 < 1 < float(loss(wrong, mask))
    middle, edge = right.clone(), right.clone()
    middle[:, 16, 16], edge[:, 8, 8] = -20, -20
    for weighted in (False, True):
        worse = [float(structure(z, mask, weighted, border=7)) for z in (middle, edge)]
        assert worse[1] > worse[0]
    assert float(structure(middle, mask, False)) != float(structure(middle, mask, True))


def test_the_balanced_loss_counts_both_sides_alike():
    mask = torch.zeros(1, 10, 10)
    mask[0, 0, 0] = 1
    missed, false = torch.full_like(mask, -9.0), torch.full_like(mask, 9.0)
    assert float(balanced(missed, mask)) == pytest.approx(float(balanced(false, mask)), rel=0.02)


def shapes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(prediction, object) pairs of 24 x 24 pixels."""
    line = np.linspace(-1, 1, 24)
    y, x = np.meshgrid(line, line, indexing="ij")
    disc = (x - 0.2) ** 2 + (y + 0.1) ** 2 < 0.3
    soft = 1 / (1 + np.exp(-8 * (0.5 - np.sqrt(x**2 + (y - 0.1) ** 2))))
    wave, nothing = 0.5 + 0.4 * np.sin(5 * x) * np.cos(4 * y), np.zeros_like(disc)
    return {
        "near": (soft, disc),
        "wave": (wave, disc),
        "corner": (soft, (x > 0.6) & (y < -0.6)),
        "none": (soft, nothing),
        "all": (soft, ~nothing),
        "exact": (disc * 1.0, disc),
        "flat": (np.full_like(soft, 0.4), disc),
    }


# S, mean E and weighted F (its beta argument .3) of these shapes, saved as 8-bit pictures, by pysodmetrics 1.6.2
REFERENCE = {
    "near": (0.732491416, 0.700946767, 0.548565397),
    "wave": (0.351740041, 0.399134016, 0.209598396),
    "corner": (0.392734306, 0.487850507, 0.041121721),
    "none": (0.778589830, 0.778274457, 0.0),
    "all": (0.221410170, 0.223464674, 0.718902368),
    "exact": (1.0, 0.998804348, 1.0),
    "flat": (0.420434697, 0.250434783, 0.183681793),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_metrics_of_salient_objects_are_those_of_the_reference(name):
    prediction, mask = shapes()[name]
    found = [metrics.per_picture(m, prediction[None], mask[None])[0] / 100 for m in ("S", "E", "Fw")]
    assert found == pytest.approx(REFERENCE[name], abs=1e-8)


def test_error_rate_and_overlap_by_hand():
    mask = np.zeros((4, 4), dtype=bool)
    mask[:2] = True
    found = np.zeros((4, 4))
    found[1:3] = 1.0
    assert metrics.jaccard(found, mask) == pytest.approx(4 / 12)
    assert metrics.balanced_error(found, mask) == pytest.approx(50.0)
    assert metrics.balanced_error(mask * 0.49, mask) == pytest.approx(50.0)  # the threshold is 125/255, not a half
    assert metrics.balanced_error(mask * 0.491, mask) == 0.0
    nothing = np.zeros_like(mask)
    assert metrics.jaccard(found * 0, nothing) == 1.0 and metrics.balanced_error(found, nothing) == pytest.approx(50.0)


def test_generated_pictures_hold_one_object_and_never_change():
    for kind in KINDS:
        one, two, other = (generate(kind, 6, seed) for seed in (1, 1, 2))
        assert torch.equal(one.x, two.x) and torch.equal(one.y, two.y) and not torch.equal(one.x, other.x)
        assert one.x.shape == (6, 3, 64, 64) and one.x.dtype == torch.uint8
        assert all(0.01 < float(y.float().mean()) < 0.7 for y in one.y)
    with pytest.raises(UserError, match="kind of pictures"):
        generate("polyp", 1, 1)


def test_training_pictures_are_fresh_and_never_those_of_another_split():
    source = Endless(("polyps", "lesions"))
    first, again, next_step, other = (source.batch(*a)[0] for a in ((0, 4, 0), (0, 4, 0), (1, 4, 0), (0, 4, 1)))
    assert torch.equal(first, again) and not torch.equal(first, next_step) and not torch.equal(first, other)
    splits = [domains(("polyps",), split, 2)["polyps"].x for split in ("train", "valid", "test")]
    assert not any(torch.equal(a, b) for a, b in zip(splits, splits[1:] + splits[:1]))
    with pytest.raises(UserError, match="seeds go to 1023"):
        seed_of("train", 1024)
    seeds = {seed_of(s, series, step) for s in ("train", "valid", "test") for series in (0, 9) for step in (0, 99)}
    assert len(seeds) == 12


def test_recipes_are_the_published_ones():
    assert (RECIPES["polyp"].lr, RECIPES["leaf"].lr, RECIPES["road"].lr) == (1e-4, 3e-4, 3e-4)
    assert [RECIPES[k].epochs for k in ("polyp", "sbu", "camo", "road", "proxy")] == [30, 10, 20, 20, 1]
    assert RECIPES["sbu"].loss == "balanced" and RECIPES["polyp"].experts == 8 and EMBEDDED.experts == 3
    assert RECIPES["polyp"].rate(0, 100) == 1e-4 and RECIPES["polyp"].rate(50, 100) == pytest.approx(5e-5)
    for wrong in ({"batch": 0}, {"loss": "dice"}, {"precision": "fp8"}, {"border": 30}, {"steps": 0, "epochs": 0}):
        with pytest.raises(UserError):
            Recipe(**wrong)
