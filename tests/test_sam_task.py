"""SAM: training that resumes, the search task, retraining and scoring, all with four blocks of width 8."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from search.errors import UserError
from search.tasks import load_task
from search.tasks.recipes import named
from search.tasks.sam import retrain, score
from search.tasks.sam.cache import nested, random_ranks
from search.tasks.sam.model import adapters, add_adapters, small, trained
from search.tasks.sam.picture import bars, draw, global_blocks
from search.tasks.sam.pictures import Endless, generate
from search.tasks.sam.recipe import RECIPES
from search.tasks.sam.space import Encoder, adapter_parameters
from search.tasks.sam.train import loss_of, train, weights

TINY = {"steps": 4, "batch": 4}
SMALL = {"blocks": 4, "width": 8, "pictures": 6, "pretrain_steps": 3, **TINY}
WORDS = [word for name, value in SMALL.items() for word in ("--task-option", f"{name}={value}")]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LMSEARCHER_CACHE", str(tmp_path / "cache"))


def model(seed: int = 0, ranks: tuple[int, ...] = (24, 24, 24, 24)):
    torch.manual_seed(seed)
    return add_adapters(small(4, 8), ranks, 2)


def test_training_goes_on_to_the_same_weights(tmp_path):
    recipe, source = named("train", RECIPES, TINY), Endless(("polyps", "lesions"))
    whole, halves = model(), model()
    train(whole, source, recipe, 3, pick=random_ranks)
    train(halves, source, recipe, 3, tmp_path, until=2, pick=random_ranks)
    again = model()
    train(again, source, recipe, 3, tmp_path, pick=random_ranks)
    assert all(torch.equal(v, weights(again)[k]) for k, v in weights(whole).items())
    assert any(not torch.equal(v, weights(model())[k]) for k, v in weights(whole).items())
    with pytest.raises(UserError, match="another seed"):
        train(model(), source, recipe, 4, tmp_path)
    with pytest.raises(UserError, match="another model or code"):
        train(model(ranks=(3, 3, 3, 3)), source, recipe, 3, tmp_path)
    (tmp_path / "last.pt").write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be read"):
        train(model(), source, recipe, 3, tmp_path)


def test_only_what_may_learn_has_changed():
    found = model()
    before = {n: p.detach().clone() for n, p in found.named_parameters()}
    train(found, Endless(("polyps",)), named("train", RECIPES, {**TINY, "decoder": 0.0}))
    changed = {n for n, p in found.named_parameters() if not torch.equal(p, before[n])}
    assert changed and all(".attn.qkv." in n and ".base." not in n for n in changed)
    assert changed <= set(trained(found))


def test_blocks_computed_again_have_the_same_gradients():
    found = model()
    with torch.no_grad():
        for part in adapters(found):
            part.b.normal_(std=0.1)
    pictures, recipe = generate("lesions", 4, 1), RECIPES["train"]
    gradients = []
    for again in (False, True):
        if again:
            found.gradient_checkpointing_enable({"use_reentrant": False})
        found.train().zero_grad()
        torch.manual_seed(0)
        loss_of(found, pictures.x, pictures.y, recipe).backward()
        gradients.append({n: p.grad.clone() for n, p in trained(found).items() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(g, gradients[1][n], atol=1e-6) for n, g in gradients[0].items())


def test_parts_of_a_batch_and_bf16_train_as_well():
    losses = []
    for changes in ({}, {"micro": 2}, {"precision": "bf16"}, {"loss": "balanced"}):
        recipe = named("train", RECIPES, {**TINY, **changes, "steps": 1, "batch": 4})
        torch.manual_seed(1)
        losses.append(train(model(), Endless(("polyps",)), recipe)[0])
    assert losses[0] == pytest.approx(losses[1], rel=0.05) and losses[0] == pytest.approx(losses[2], rel=0.05)
    assert losses[3] < losses[0]


def test_nested_adapters_are_trained_once(tmp_path, capsys):
    recipe, source = named("nested", RECIPES, {"steps": 2, "batch": 4}), Endless(("polyps",))
    torch.manual_seed(0)
    start = small(4, 8).state_dict()

    def made():
        base = small(4, 8)
        base.load_state_dict(start)
        return nested(base, source, recipe, "the base")

    first = made()
    assert "training nested adapters" in capsys.readouterr().err
    second = made()
    assert "training" not in capsys.readouterr().err
    assert all(torch.equal(v, weights(second)[k]) for k, v in weights(first).items())


def test_the_task_validates_codes_with_nested_adapters():
    task = load_task("sam", metric="score", **SMALL)
    task.prepare(False)
    one, other = task.evaluate("0123"), task.evaluate("3210")
    assert one.value == task.evaluate("0123", seed=9).value != other.value
    assert one.value == pytest.approx((one.info["S polyps"] + one.info["IoU lesions"]) / 2)
    assert one.info["parameters"] == adapter_parameters("0123", Encoder(4, 8, 3)) == other.info["parameters"]
    assert 0 <= task.test("0123") <= 100 and task.test("0123") != one.value
    again = load_task("sam", **SMALL)
    assert again.metric == "loss" and again.evaluate("0123").info["score"] == one.value  # from the cache
    about = task.describe()
    assert (
        about["evaluation"] == "nested"
        and about["baseline"] == "0000"
        and about["validated"] == {"polyps": 6, "lesions": 6}
    )


def test_the_papers_evaluation_trains_each_code():
    task = load_task("sam", evaluation="train", metric="loss", **SMALL)
    assert task.direction == "minimize"
    one = task.evaluate("0123", 0)
    assert one.value == task.evaluate("0123", 0).value != task.evaluate("0123", 1).value
    assert "score" in one.info and one.value != load_task("sam", metric="loss", **SMALL).evaluate("0123").value


def test_a_budget_of_weights_is_a_constraint():
    sizes = [adapter_parameters(digit * 4, Encoder(4, 8, 3)) for digit in "0123"]
    task = load_task("sam", max_parameters=sizes[1], **SMALL)
    assert task.feasible("0000") and task.feasible("1111") and not task.feasible("1112")
    assert task.constraints("1112")["parameters"] > 0 >= task.constraints("1111")["parameters"]
    with pytest.raises(UserError, match="max_parameters"):
        load_task("sam", max_parameters=sizes[0] - 1, **SMALL)


def test_wrong_options_are_a_sentence():
    for wrong in (
        {"evaluation": "nest"}, {"metric": "S"}, {"blocks": 6}, {"pictures": 0}, {"recipe": "vit"}, {"steps": -1},
        {"model": "facebook/sam-vit-base"}, {"data": "datasets"}, {"precision": "fp8"}, {"max_parameters": "few"},
    ):  # fmt: skip
        with pytest.raises(UserError):
            load_task("sam", **wrong)


def test_a_model_that_is_none_is_a_sentence(tmp_path):
    for content in (None, "{}", "torn", '{"model_type": "llama"}'):
        if content is not None:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises(UserError, match=r"cannot be loaded|no SAM model"):
            load_task("sam", model=str(tmp_path), data=str(tmp_path))


def test_the_picture_has_a_bar_a_block(tmp_path):
    assert bars("0123").splitlines() == ["  24    #", "  12   ##", "   6  ###", "   3 ####", "     ^^^^"]
    assert global_blocks(32) == [7, 15, 23, 31] and global_blocks(12) == [2, 5, 8, 11]
    assert draw("0123" * 8, tmp_path / "ranks.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(UserError):
        draw("0124", tmp_path / "other.png")


def test_codes_are_retrained_with_seeds_and_scored(tmp_path, capsys):
    out = tmp_path / "long"
    words = ["--code", "0123,0000", "--alone", "--seeds", "0-1", "--steps", "1", "--batch", "4"]
    words += ["--pretrain-steps", "3", "--pictures", "8"]
    assert retrain.main([*words, "--out", str(out)]) == 0
    assert len(list(out.glob("generated/*/seed-*/best.pt"))) == 4  # two codes, two seeds
    before = {p: p.read_bytes() for p in out.glob("generated/*/seed-*/*.pt")}
    assert retrain.main([*words, "--out", str(out)]) == 0
    assert all(p.read_bytes() == content for p, content in before.items())
    capsys.readouterr()
    assert score.main(["--run", str(out)]) == 0
    found = json.loads((out / "scores.json").read_text())["generated"]
    assert set(found) == {"0123", "0000"} and set(found["0123"]) == {"polyps", "lesions"}
    assert set(found["0123"]["polyps"]) == {"S", "E", "Fw", "BER", "IoU", "loss"}
    assert all(0 <= mean <= 100 and spread >= 0 for mean, spread in found["0123"]["lesions"].values())
    assert "+-" in capsys.readouterr().out
    for torn in (["--run", str(tmp_path)], ["--run", str(out), "--data", str(tmp_path)]):
        with pytest.raises(UserError):
            score.main(torn)
    (out / "generated" / "0123" / "seed-1" / "best.pt").unlink()
    with pytest.raises(UserError, match="not finished"):
        score.main(["--run", str(out)])


def test_codes_of_another_model_are_a_sentence(tmp_path):
    for code in ("012", "0123,01", "0124", ""):
        with pytest.raises(UserError, match="digit"):
            retrain.main(["--code", code, "--out", str(tmp_path)])
    real = ["--model", "facebook/sam-vit-base", "--data", str(tmp_path), "--out", str(tmp_path)]
    with pytest.raises(UserError, match="12 decisions"):
        retrain.main(["--code", "0123", *real])
    with pytest.raises(UserError, match="unknown setting"):
        retrain.main(["--code", "0" * 12, "--settings", "kvasr", *real])


def test_seeds_are_a_range_or_a_list():
    assert retrain.seeds_of("0-2") == [0, 1, 2] and retrain.seeds_of("4,1") == [4, 1]
    for wrong in ("", "a", "3-1", "-1"):
        with pytest.raises(UserError, match="seeds"):
            retrain.seeds_of(wrong)


@pytest.mark.slow
def test_a_search_ends_with_a_picture_and_the_next_commands(tmp_path):
    command = [sys.executable, "-m", "search.run", "--task", "sam", "--ranker", "surrogate", "--budget", "8", "--quiet"]
    done = subprocess.run([*command, *WORDS, "--out", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "rank of each block" in done.stdout and "search.tasks.sam.retrain" in done.stdout
    assert "evolution" in done.stdout and "uniform rank 3" in done.stdout


@pytest.mark.slow
def test_a_killed_retraining_goes_on(tmp_path):
    words = ["--code", "0123", "--alone", "--seeds", "0", "--steps", "20", "--batch", "8"]
    words += ["--pretrain-steps", "3", "--pictures", "16"]
    command = [sys.executable, "-m", "search.tasks.sam.retrain", *words]
    killed = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    place, end = Path("generated/0123/seed-0"), time.monotonic() + 300
    while not (tmp_path / "killed" / place / "history.json").exists() and time.monotonic() < end:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    for out in ("killed", "whole"):
        done = subprocess.run([*command, "--out", str(tmp_path / out)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    histories = [json.loads((tmp_path / out / place / "history.json").read_text()) for out in ("killed", "whole")]
    assert histories[0] == histories[1] and len(histories[0]) == 10


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path):
    words = ["--code", "0123", "--alone", "--seeds", "0", "--steps", "4", "--batch", "8"]
    words += ["--pretrain-steps", "3", "--pictures", "16"]
    run = ["-m", "search.tasks.sam.retrain", *words, "--device", "cpu", "--out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.run(
        [sys.executable, *run, str(tmp_path / "one")], capture_output=True, text=True, env=environment
    )
    assert first.returncode == 0, first.stderr
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *run, str(tmp_path / "two")]
    both = subprocess.run(start, capture_output=True, text=True, env=environment)
    assert both.returncode == 0, both.stderr
    found = [json.loads((tmp_path / k / "generated/0123/seed-0/history.json").read_text()) for k in ("one", "two")]
    assert found[0] == pytest.approx(found[1], abs=2.0)  # the gates' noise differs between processes


@pytest.mark.slow
def test_the_shape_of_sam_vit_base_takes_a_step_with_random_weights():
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    large = add_adapters(SamModel(SamConfig()), [3, 6, 12, 24] * 3, 8)
    assert len(adapters(large)) == 12 and adapters(large)[0].base.in_features == 768
    recipe = named("polyp", RECIPES, {"batch": 1, "steps": 1})

    class One:
        def __len__(self) -> int:
            return 1

        def batch(self, step: int, n: int, seed: int):
            pictures = generate("polyps", n, 1, 1024)
            return pictures.x, pictures.y

    assert train(large, One(), recipe)[0] > 0
