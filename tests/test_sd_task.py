"""The Stable Diffusion task from its commands: embedded in small, and the route with tiny random weights."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers", reason="the Stable Diffusion task needs diffusers: pip install diffusers")
pytest.importorskip("peft")
pytest.importorskip("animal_shape_mnist")

from search.errors import UserError
from search.tasks import load_task
from search.tasks.sd import concepts, lora, models, prepare, pretrain, retrain, score, space
from search.tasks.sd.learn import RECIPES

TINY = replace(
    prepare.default_recipe(),
    clip=pretrain.Stage(2, 4, 1e-3),
    identity=pretrain.Stage(2, 4, 1e-3),
    unet=pretrain.Stage(2, 2, 1e-3),
)
QUICK = {"updates": 2, "batch": 2, "images": 1, "steps": 2}
LOW = "0" * 48


@pytest.fixture(scope="module", autouse=True)
def tiny_pretraining():
    """The embedded base model after two steps each, with 16 channels."""
    patch = pytest.MonkeyPatch()
    unet = models.small_unet
    patch.setattr(prepare, "default_recipe", lambda: TINY)
    patch.setattr(models, "small_unet", lambda: unet((16, 16, 16, 16)))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def task():
    found = load_task("sd", **QUICK)
    found.prepare(False)
    return found


def test_an_evaluation_is_the_same_twice_and_another_code_differs(task):
    one, two, other = (task.evaluate(code, seed) for code, seed in ((LOW, 0), (LOW, 5), ("2" * 48, 0)))
    assert one == two, "nested ranks are one training: nothing depends on the seed"
    assert one.value != other.value
    assert one.value == pytest.approx(0.5 * one.info["clip_t"] + 0.5 * one.info["clip_i"])
    assert other.info["parameters"] == 4 * one.info["parameters"]
    assert set(one.info) == {"clip_t", "clip_i", "identity", "loss", "parameters"}


def test_every_code_may_also_learn_anew(task):
    own = load_task("sd", evaluation="train", metric="loss", **QUICK)
    own.prepare(False)
    assert own.direction == "minimize"
    one, again, other = own.evaluate(LOW, 0), own.evaluate(LOW, 0), own.evaluate(LOW, 1)
    assert one == again and one.value != other.value


def test_a_limit_on_parameters_filters_codes(task):
    low, high = task.parameters(LOW), task.parameters("2" * 48)
    ranks = space.ranks_of(task.space, LOW, task.partition)
    assert high == 4 * low and low == space.lora_parameters(task.base.unet, ranks)
    limited = load_task("sd", limit=2 * low, **QUICK)
    assert limited.feasible(LOW) and not limited.feasible("2" * 48)
    assert limited.evaluate(LOW, 0).constraints == {"parameters": -low}


def test_wrong_options_are_a_sentence(task):
    wrongs = (
        {"partition": "attn"}, {"evaluation": "none"}, {"metric": "f1"}, {"toy": "lego"}, {"layers": 3},
        {"images": "x"}, {"updates": 0}, {"precision": "fp8"}, {"sd": "here"}, {"recipe": "sd2"}, {"limit": -1},
    )  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(UserError, match=" - "):
            load_task("sd", **wrong)


def test_without_diffusers_there_is_one_sentence(monkeypatch):
    found = prepare.find_spec
    monkeypatch.setattr(prepare, "find_spec", lambda name: None if name == "diffusers" else found(name))
    with pytest.raises(UserError, match="needs diffusers - it is not installed - pip install diffusers"):
        load_task("sd")


def test_a_search_ends_with_its_winner_and_a_contact_sheet(task, tmp_path, capsys):
    from search.run import main

    words = ["--task", "sd", *(w for k, v in QUICK.items() for w in ("--task-option", f"{k}={v}"))]
    assert main([*words, "--ranker", "surrogate", "--budget", "4", "--out", str(tmp_path / "run"), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "best ranks" in said and "uniform 16" in said and "random" in said and "evolution" in said
    sheet = Path(next(line.rsplit(": ", 1)[1] for line in said.splitlines() if "contact sheet" in line))
    from PIL import Image

    assert Image.open(sheet).size == (130 + 11 * 64, 4 * 66)
    rows = [json.loads(line) for line in (tmp_path / "run" / "seed-0" / "trials.jsonl").read_text().splitlines()]
    assert len(rows) == 4 and all(len(row["code"]) == 48 and row["metrics"]["parameters"] > 0 for row in rows)


def test_pretraining_goes_on_to_the_same_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrain, "SAVE_EVERY", 1)
    recipe = replace(TINY, unet=pretrain.Stage(3, 2, 1e-3))
    clip = models.small_clip().eval()

    def built():
        torch.manual_seed(5)
        return models.small_unet()

    whole = pretrain.train_part("unet", built(), recipe, tmp_path / "whole", clip, False)
    loss, calls = pretrain.unet_loss, []

    def stopping(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(*given)

    monkeypatch.setattr(pretrain, "unet_loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        pretrain.train_part("unet", built(), recipe, tmp_path / "cut", clip, False)
    resumed = pretrain.train_part("unet", built(), recipe, tmp_path / "cut", clip, False)
    assert len(calls) == 4, "only the last step was made anew"
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values()))
    assert not (tmp_path / "cut").exists()


def test_three_concepts_are_learned_fused_and_scored(task, tmp_path, capsys):
    out = ["--out", str(tmp_path / "long")]
    assert retrain.main(["--code", LOW, *out, "--steps", "2", "--batch", "2"]) == 0
    assert retrain.main(["--code", LOW, *out, "--steps", "2", "--batch", "2"]) == 0, "goes on where it ended"
    assert score.main(["--run", str(tmp_path / "long"), "--images", "1", "--steps", "2"]) == 0
    found = json.loads((tmp_path / "long" / "scores.json").read_text())
    assert found["code"] == LOW and set(found["means"]) == {"base", "alone", "fused", "averaged"}
    assert len(found["rows"]) == 12 and (tmp_path / "long" / "sheet.png").stat().st_size > 1000
    assert "mean of" in capsys.readouterr().out
    with pytest.raises(UserError, match="no learned concept"):
        score.main(["--run", str(tmp_path)])


def picture(path, seed, size=(40, 30)):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def concept_folder(path, n=5):
    """A user's concept: pictures, captions, masks."""
    for i in range(n):
        picture(path / "image" / f"{i}.png", i)
        picture(path / "mask" / f"{i}.png", i + 50)
        (path / "caption").mkdir(exist_ok=True)
        (path / "caption" / f"{i}.txt").write_text("<TOK> lies on a table" if i % 2 else "a dog outside\n")
    return path


def test_a_users_folder_is_a_concept(tmp_path):
    found = concepts.from_folder(concept_folder(tmp_path / "My Dog"), "dog", 32, held_out=1)
    assert found.placeholder == "<my-dog>" and found.pictures.shape == (4, 3, 32, 32) and len(found.held_out[1]) == 1
    assert found.captions[:2] == ("<my-dog>, a dog outside", "<my-dog> lies on a table")
    assert found.masks.shape == (4, 1, 32, 32) and set(found.masks.unique().tolist()) == {0.0, 1.0}
    assert len(found.valid) == 11 and len(found.test) == 20 and found.with_class(found.valid)[0] == "dog"
    for i in range(4):
        picture(tmp_path / "flat" / f"{i:02}.jpg", i)
    plain = concepts.from_folder(tmp_path / "flat", "mug", 16)
    assert plain.masks is None and plain.held_out is None and plain.captions[0] == "a photo of <flat>"


def test_bad_folders_get_a_sentence(tmp_path):
    good = concept_folder(tmp_path / "dog")
    with pytest.raises(UserError, match="class word"):
        concepts.from_folder(good, None)
    with pytest.raises(UserError, match="no folder"):
        concepts.from_folder(tmp_path / "cat", "cat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="keep at least 2"):
        concepts.from_folder(good, "dog", 16, held_out=4)
    with pytest.raises(UserError, match="0 pictures"):
        concepts.from_folder(tmp_path / "empty", "cat")
    (good / "mask" / "2.png").unlink()
    with pytest.raises(UserError, match="no mask for 2"):
        concepts.from_folder(good, "dog", 16)
    (good / "caption" / "1.txt").unlink()
    with pytest.raises(UserError, match="1.txt is missing"):
        concepts.from_folder(good, "dog", 16)
    torn = concept_folder(tmp_path / "torn")
    (torn / "image" / "3.png").write_bytes((torn / "image" / "3.png").read_bytes()[:60])
    with pytest.raises(UserError, match="cannot be read as a picture"):
        concepts.from_folder(torn, "dog", 16)


def words_of_clip(folder):
    """A CLIP tokenizer whose vocabulary is single letters."""
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    facts = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": "<|startoftext|>"}
    facts |= {"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    return len(vocabulary)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Stable Diffusion, CLIP and DINO as Hugging Face lays them out, tiny and with random weights."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPTextConfig,
        CLIPTextModel,
        ViTConfig,
        ViTImageProcessor,
        ViTModel,
    )

    root = tmp_path_factory.mktemp("real")
    sd, clip, dino = (root / name for name in ("sd", "clip", "dino"))
    size = words_of_clip(sd / "tokenizer")
    words_of_clip(clip)
    torch.manual_seed(1)
    text = {"vocab_size": size, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text |= {
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
        "bos_token_id": size - 2,
        "eos_token_id": size - 1,
    }
    CLIPTextModel(CLIPTextConfig(**text)).save_pretrained(sd / "text_encoder")
    UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8, 8, 8), cross_attention_dim=16, attention_head_dim=2, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    ).save_pretrained(sd / "unet")  # fmt: skip
    AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=8, layers_per_block=1, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).save_pretrained(sd / "vae")  # fmt: skip
    DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(sd / "scheduler")
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(clip)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(clip)
    ViTModel(ViTConfig(**vision), add_pooling_layer=False).save_pretrained(dino)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(dino)
    return {"sd": str(sd), "clip": str(clip), "dino": str(dino)}


def real_task(folders, tmp_path, **more):
    dog = concept_folder(tmp_path / "dog")
    return load_task("sd", **folders, concept=str(dog), class_word="dog", pixels=16, **QUICK, **more)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_route_with_real_weights_loads_learns_and_scores(folders, tmp_path, precision):
    task = real_task(folders, tmp_path, precision=precision)
    assert task.evaluation == "train" and task.layers == 16 and task.recipe_name == "sd15"
    found = task.evaluate(LOW, 0)
    assert np.isfinite([found.value, *found.info.values()]).all() and 0 <= found.info["clip_t"] <= 2.5
    assert task.base.unet.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert task.base.codec.side == 8 and task.base.schedule["prediction_type"] == "epsilon"
    placeholders = {"<dog>": [500, 501]}
    row = task.base.tokenizer(["a <dog> b"], placeholders)[0].tolist()
    assert row[2:4] == [500, 501] and len(row) == 77 and row[0] == task.base.tokenizer.inner.bos_token_id


def test_real_concepts_are_learned_fused_and_scored(folders, tmp_path):
    dog, mug = concept_folder(tmp_path / "dog"), concept_folder(tmp_path / "mug")
    words = [w for name, folder in folders.items() for w in (f"--{name}", folder)]
    words += ["--concept", f"{dog}=dog", "--concept", f"{mug}=mug", "--pixels", "16", "--layers", "1"]
    out = str(tmp_path / "long")
    assert retrain.main(["--code", LOW, "--recipe", "sd15", "--steps", "1", "--out", out, *words]) == 0
    assert score.main(["--run", out, "--images", "1", "--steps", "1", *words]) == 0
    assert set(json.loads((Path(out) / "scores.json").read_text())["means"]) == {"base", "alone", "fused", "averaged"}
    with pytest.raises(UserError, match="needs --sd"):
        retrain.main(["--code", LOW, "--out", out, "--sd", folders["sd"]])


def test_damaged_weights_get_a_sentence(folders, tmp_path):
    with pytest.raises(UserError, match="no folder"):
        real_task(folders | {"dino": str(tmp_path / "none")}, tmp_path).prepare(False)
    with pytest.raises(UserError, match="does not hold CLIP"):
        real_task(folders | {"clip": folders["dino"]}, tmp_path).prepare(False)


@pytest.mark.slow
def test_the_unet_of_stable_diffusion_takes_a_step_with_lora():
    """860 million random weights in bf16 on 64x64 pixels; memory is printed with -s."""
    from diffusers import UNet2DConditionModel

    torch.set_default_dtype(torch.bfloat16)
    try:
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    finally:
        torch.set_default_dtype(torch.float32)
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964
    ranks = space.ranks_of(space.rank_space(), LOW, "attn1-attn2-rest")
    assert space.lora_parameters(unet, ranks) == 399_360 + 397_824 + 698_880 + 199_680
    trained = lora.add(unet, ranks)
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    before = trained[1].clone()
    with torch.autocast("cpu", torch.bfloat16):
        answer = unet(torch.randn(1, 4, 8, 8), 500, torch.randn(1, 77, 768)).sample
    answer.float().square().mean().backward()
    optimizer.step()
    assert not torch.equal(before, trained[1]) and {len(a) for a in (ranks, lora.built_ranks(unet))} == {192}
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def test_recipes_are_the_papers():
    paper = RECIPES["sd15"]
    assert (paper.steps, paper.batch, paper.lr, paper.lr_text, paper.lr_token) == (1000, 2, 1e-4, 1e-5, 1e-3)
    assert (paper.text_rank, paper.weight_decay, paper.noise_offset) == (4, 0.01, 0.01)
