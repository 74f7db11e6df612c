"""Each ablation is a training of its own: own rows, held-out rows and folder; the rest is the base to the letter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from data_builders import arms, build
from search.errors import UserError, cli

ROOT = Path(__file__).resolve().parent.parent
ABLATIONS = ("no_pruning", "direct", "random_order", "shuffled_training")
BASE = ROOT / arms.BASE


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def recipe(name: str) -> Path:
    return ROOT / "recipes" / "data" / f"ablation_{name}.yaml"


def run(main, monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["program", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli(main)
    return stop.value.code


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_from_the_main_run_only_where_it_says(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    base, arm = load(BASE), load(BASE.with_name(f"lmsearcher_8b_{name}.yaml"))
    assert {k for k in base.keys() | arm.keys() if base.get(k) != arm.get(k)} == set(arms.CHANGED)
    sets = build.read_recipe(recipe(name))
    assert arm["dataset"].split(",") == [s for s in sets if not s.endswith("_eval")]
    assert arm["eval_dataset"].split(",") == [s for s in sets if s.endswith("_eval")]
    common = load(recipe(name))["common"]
    main = load(ROOT / "recipes" / "data" / "lmsearcher_228k.yaml")["common"]
    assert len({k for k in common.keys() | main.keys() if common.get(k) != main.get(k)}) == 1, "one thing is ablated"


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_shipped_files_are_what_the_command_writes(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = Path("recipes/data") / recipe(name).name
    arm = arms.arm_of(path, build.read_recipe(path))
    assert Path(arms.arm_file(Path(arms.BASE), arm)).read_text() == arms.training_text(Path(arms.BASE), arm)
    chat = Path(f"yaml/lmsearcher_8b_{name}_chat.yaml")
    assert chat.read_text() == arms.chat_text(Path(arms.BASE), arm)
    assert load(chat)["model_name_or_path"] == f"saves/lmsearcher_8b_{name}"


def test_no_two_trainings_share_a_folder_or_a_stamp_they_did_not_learn():
    trained = [load(p) for p in sorted((ROOT / "yaml").glob("*.yaml")) if load(p).get("do_train")]
    folders = [t["output_dir"] for t in trained]
    assert len(set(folders)) == len(folders) >= 14
    assert "--format direct" in (ROOT / "yaml" / "lmsearcher_8b_direct.yaml").read_text()


def test_every_set_of_every_training_is_registered():
    registered = json.loads((ROOT / "dataset_info.json").read_text())
    for name in ABLATIONS:
        arm = load(ROOT / "yaml" / f"lmsearcher_8b_{name}.yaml")
        assert set(f"{arm['dataset']},{arm['eval_dataset']}".split(",")) <= set(registered)


def test_the_next_line_of_a_substitute_trains_on_what_was_built(tmp_path, monkeypatch, capsys):
    """It used to keep the base's eval_dataset, which the substitute has not, and the base's finished folder."""
    (tmp_path / "yaml").symlink_to(ROOT / "yaml")
    text = recipe("no_pruning").read_text().replace("90-190", "6-8").replace("114000", "8").replace("500", "4")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "ablation_no_pruning.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    words = ("recipes/ablation_no_pruning.yaml", "--substitute", "synthetic")
    assert run(build.main, monkeypatch, *words, "--quiet", "--workers", 1, "--registry", tmp_path / "info.json") == 0
    said = capsys.readouterr().out.split("next:")[1]
    assert "python -m data_builders.arms recipes/ablation_no_pruning.yaml --substitute synthetic" in said
    assert "llamafactory-cli train yaml/lmsearcher_8b_no_pruning_synthetic.yaml" in said
    assert "search.stamp saves/lmsearcher_8b_no_pruning_synthetic --format paper" in said
    monkeypatch.setattr(arms, "write_atomic", lambda path, text: (tmp_path / Path(path).name).write_text(text))
    assert run(arms.main, monkeypatch, *words) == 0
    arm = load(tmp_path / "lmsearcher_8b_no_pruning_synthetic.yaml")
    built = {p.stem for p in (tmp_path / "data").glob("*.jsonl")}
    assert set(f"{arm['dataset']},{arm['eval_dataset']}".split(",")) == built
    assert not set(arm["dataset"].split(",")) & set(arm["eval_dataset"].split(","))


def test_the_next_line_of_a_known_recipe_names_its_own_training(monkeypatch):
    monkeypatch.chdir(ROOT)
    for stem, file in [("lmsearcher_228k", "lmsearcher_8b"), ("ablation_direct", "lmsearcher_8b_direct")]:
        path = Path(f"recipes/data/{stem}.yaml")
        lines = arms.next_lines(path, build.read_recipe(path), False, "data")
        assert f"FORCE_TORCHRUN=1 llamafactory-cli train yaml/{file}.yaml" in lines
        assert any(f"search.stamp saves/{file} --format" in t for t in lines)


def test_a_base_or_recipe_that_cannot_be_varied_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = Path("recipes/data/samples.yaml")
    arm = arms.arm_of(path, build.read_recipe(path))
    with pytest.raises(UserError, match="no set whose name ends in _eval"):
        arms.training_text(Path(arms.BASE), arm)
    with pytest.raises(UserError, match="is no file"):
        arms.training_text(Path("yaml/none.yaml"), arm)
    twice = tmp_path / "twice.yaml"
    twice.write_text("do_train: true\n# \ndataset: a\noutput_dir: saves/x\n# dataset: b\n")
    assert "dataset: sample_" in arms.training_text(twice, arm)


def test_rows_of_the_direct_format_are_direct_rows(monkeypatch, capsys):
    from data_builders import nb201

    monkeypatch.chdir(ROOT)
    assert run(nb201.main, monkeypatch, "--format", "direct", "--samples", 1) == 2
    assert "add --direct" in capsys.readouterr().err


@pytest.mark.slow
def test_the_weights_of_an_ablation_are_not_those_of_the_main_run(tmp_path):
    """Both trained for real with LLaMA-Factory, one after the other in one folder of work, as a user would."""
    from safetensors.numpy import load_file

    for name in ("yaml", "models", "recipes"):
        (tmp_path / name).mkdir()
    (tmp_path / "models" / "tiny").symlink_to(ROOT / "models" / "tiny")
    for name in ("lmsearcher_tiny.yaml", "lmsearcher_tiny_chat.yaml"):
        text = (
            (ROOT / "yaml" / name)
            .read_text()
            .replace("dataset: nb201_tiny", "dataset: synthetic_for_nb101,synthetic_for_nb301")
        )
        text = text.replace(
            "template: llama3\ncutoff_len", "eval_dataset: synthetic_for_nb101_eval\ntemplate: llama3\ncutoff_len"
        )
        (tmp_path / "yaml" / name).write_text(text)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def do(*words):
        done = subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    weights, base = {}, "yaml/lmsearcher_tiny.yaml"
    for stem in ("lmsearcher_228k", "ablation_no_pruning"):
        text = (ROOT / "recipes" / "data" / f"{stem}.yaml").read_text().replace("90-190", "5-9")
        (tmp_path / "recipes" / f"{stem}.yaml").write_text(text)
        rows = ("--substitute", "synthetic", "--samples", "64", "--quiet", "--workers", "1")
        do("data_builders.build", f"recipes/{stem}.yaml", *rows)
        file, folder = base, "saves/lmsearcher_tiny"
        if stem.startswith("ablation"):
            do("data_builders.arms", f"recipes/{stem}.yaml", "--base", base, "--substitute", "synthetic")
            file, folder = "yaml/lmsearcher_tiny_no_pruning_synthetic.yaml", f"{folder}_no_pruning_synthetic"
        do("llamafactory.cli", "train", file)
        weights[stem] = load_file(tmp_path / folder / "model.safetensors")
    one, other = weights.values()
    assert any((one[k] != other[k]).any() for k in one)
