"""The samples in data/ are what their recipe builds, pass the check, and load through LLaMA-Factory's own loader."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from data_builders import build, card, check
from data_builders.registry import read_registry
from search.errors import UserError, cli

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLES = sorted((REPOSITORY / "data").glob("sample_*.jsonl"))


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(main, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["program", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli(main)
    return stop.value.code


QUICK = [p for p in SAMPLES if p.stem != "sample_graph"]  # its nine tables take a while to convert


def rebuild(patch, folder, only):
    recipe = REPOSITORY / "recipes" / "data" / "samples.yaml"
    words = ("--folder", folder, "--registry", folder / "dataset_info.json", "--quiet", "--workers", 1, "--only", only)
    return run(build.main, patch, recipe, *words)


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    """The samples built again."""
    folder = tmp_path_factory.mktemp("samples")
    patch = pytest.MonkeyPatch()
    try:
        assert rebuild(patch, folder, ",".join(p.stem for p in QUICK)) == 0
    finally:
        patch.undo()
    return folder


def test_samples_are_small_and_registered():
    assert len(SAMPLES) == 10 and sum(p.stat().st_size for p in SAMPLES) < 300_000
    entries = read_registry(REPOSITORY / "dataset_info.json")
    assert {p.stem for p in SAMPLES} == {n for n in entries if n.startswith("sample_")}
    for name, entry in entries.items():
        assert not os.path.isabs(entry["file_name"]), name


@pytest.mark.slow
def test_the_graph_sample_is_what_the_recipe_builds(tmp_path, monkeypatch):
    assert rebuild(monkeypatch, tmp_path, "sample_graph") == 0
    assert (tmp_path / "sample_graph.jsonl").read_bytes() == (REPOSITORY / "data" / "sample_graph.jsonl").read_bytes()
    assert run(check.main, monkeypatch, tmp_path / "sample_graph.jsonl", "--quiet", "--workers", 1) == 0


def test_samples_are_what_the_recipe_builds(rebuilt):
    for path in QUICK:
        assert (rebuilt / path.name).read_bytes() == path.read_bytes(), path.name


def test_samples_pass_the_check(rebuilt, monkeypatch):
    for path in QUICK:
        assert run(check.main, monkeypatch, rebuilt / path.name, "--quiet", "--workers", 1) == 0, path.name


def test_every_registered_sample_loads_through_llamafactory(tmp_path, monkeypatch):
    pytest.importorskip("llamafactory")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    from llamafactory.data.loader import _load_single_dataset
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments, ModelArguments
    from transformers import TrainingArguments

    names = [p.stem for p in SAMPLES]
    data = DataArguments(dataset=",".join(names), dataset_dir=str(REPOSITORY))
    model = ModelArguments(model_name_or_path="unused", cache_dir=str(tmp_path))
    training = TrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to=[])
    attributes = get_dataset_list(data.dataset, data.dataset_dir)
    assert [a.dataset_name for a in attributes] == [f"data/{n}.jsonl" for n in names]
    for path, attribute in zip(SAMPLES, attributes):
        loaded, rows = _load_single_dataset(attribute, model, data, training), rows_of(path)
        assert len(loaded) == len(rows)
        for seen, row in zip(loaded, rows):
            text = "\n".join(t for t in (row["instruction"], row["input"]) if t)
            assert seen["_prompt"] == [{"role": "user", "content": text}]
            assert seen["_response"] == [{"role": "assistant", "content": row["output"]}]


def test_the_card_tells_what_the_files_hold(rebuilt, tmp_path, monkeypatch):
    out = tmp_path / "CARD.md"
    out.write_text(f"# Mine\n\nkept above\n\n{card.BEGIN}\nold\n{card.END}\n\nkept below\n")
    files = [rebuilt / f"sample_{n}.jsonl" for n in ("nb201", "nb201_direct", "synthetic", "hpo")]
    assert run(card.main, monkeypatch, *files, "--out", out) == 0
    text = out.read_text()
    assert "kept above" in text and "kept below" in text and "\nold\n" not in text
    meta = json.loads(files[0].with_suffix(".meta.json").read_text())
    assert meta["sha256"] in text and f"{meta['counts']['mask_draws'] / meta['counts']['rows_sampled']:.1f}" in text
    assert "hpolib/naval_propulsion" in text and "Apache-2.0" in text and "random responses" in text
    first = out.read_bytes()
    assert run(card.main, monkeypatch, *files, "--out", out) == 0 and out.read_bytes() == first


def test_the_card_refuses_a_changed_file(rebuilt, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes((rebuilt / "sample_nb201.jsonl").read_bytes()[:-10])
    path.with_suffix(".meta.json").write_bytes((rebuilt / "sample_nb201.meta.json").read_bytes())
    with pytest.raises(UserError, match="was changed after it was built"):
        card.facts_of(path, None)
    with pytest.raises(UserError, match="has no lines"):
        card.replaced("# no marks\n", "text")


def test_truth_files_hold_the_candidates_values(rebuilt):
    truth = np.load(rebuilt / "sample_nb201.truth.npy", allow_pickle=False)
    rows = rows_of(rebuilt / "sample_nb201.jsonl")
    for row, record in zip(rows, truth):
        candidates = row["input"].split("Candidate:\n")[1].split("\n")
        assert candidates[int(np.argmax(record["value"]))] == row["output"]
