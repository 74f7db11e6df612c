"""What goes to others: cards, folders that load as they are, rows for TRL, and what may leave the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from data_builders import card, trl
from search import push
from search.errors import UserError
from search.prompts import Prompt
from search.prompts.stamp import write_stamp

REPOSITORY = Path(__file__).resolve().parent.parent
FRONT = "---\nlicense: apache-2.0\nlibrary_name: transformers\n---\n# Mine\n"


@pytest.fixture(name="model")
def _model(tmp_path) -> Path:
    """A folder as training leaves it: weights, a card, a stamp, and state that is nobody else's business."""
    folder = tmp_path / "mine"
    (folder / "checkpoint-5").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "training_args.bin", "trainer_state.json", "checkpoint-5/rng.pth"):
        (folder / name).write_text("{}")
    (folder / "README.md").write_text(FRONT)
    (folder / ".env").write_text("HF_TOKEN=secret")
    write_stamp(folder, "paper")
    return folder


def run(*words: object, monkeypatch, main=push.main) -> int:
    monkeypatch.setattr(sys, "argv", ["x", *map(str, words)])
    return main()


def test_a_dry_run_lists_what_would_leave_and_sends_nothing(model, monkeypatch, capsys):
    def never(*_, **__):
        raise AssertionError("a dry run must not send")

    monkeypatch.setattr(push, "_send", never)
    assert run(model, "me/mine", "--dry-run", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    assert [line.split()[-1] for line in said.splitlines()[:-2]] == [
        "README.md",
        "config.json",
        "model.safetensors",
        "prompt_format.json",
    ]
    assert "nothing was sent" in said


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("README.md", "no license and no library_name"),
        ("prompt_format.json", "which prompt format it learned"),
        ("model.safetensors", r"no config.json and \*.safetensors"),
    ],
)
def test_a_model_that_others_could_not_use_is_refused(model, lost, message):
    (model / lost).unlink()
    with pytest.raises(UserError, match=message):
        push.check(model, "model")


def test_the_hub_gets_exactly_the_listed_files(model, monkeypatch, capsys):
    """The client's own calls, recorded where they would leave the machine."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    calls = []
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, *a, **k: calls.append((a, k)))
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", lambda self, **k: calls.append(k) or "commit")
    assert run(model, "me/mine", "--private", monkeypatch=monkeypatch) == 0
    (_, created), sent = calls
    assert created["private"] and created["repo_type"] == "model"
    assert sent["allow_patterns"] == ["README.md", "config.json", "model.safetensors", "prompt_format.json"]
    assert "sent: commit" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nano", "nano_answer", "raw"])
def test_the_shipped_models_may_be_sent_as_they_are(name):
    assert push.check(REPOSITORY / "models" / name, "model")


def test_the_samples_may_be_sent_as_they_are_and_every_sample_has_a_configuration():
    push.check(REPOSITORY / "data", "dataset")
    named = {c["data_files"] for c in push.front_matter(REPOSITORY / "data", "dataset")["configs"]}
    assert named == {p.name for p in (REPOSITORY / "data").glob("sample_*.jsonl")}


def test_load_dataset_takes_the_folder_as_it_is(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    for path in (REPOSITORY / "data").glob("*"):
        if path.name == "README.md" or path.name.startswith("sample_"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    rows = datasets.load_dataset(str(tmp_path), "hpo", split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["instruction", "input", "output"]
    assert rows[0] == json.loads((tmp_path / "sample_hpo.jsonl").read_text().splitlines()[0])


def test_a_new_card_names_its_files_for_load_dataset(tmp_path):
    (tmp_path / "mine.jsonl").write_text("")
    text = card.new_document([str(tmp_path / "mine.jsonl")], tmp_path / "README.md")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["configs"] == [{"config_name": "mine", "data_files": "mine.jsonl"}]


@pytest.mark.parametrize("chat", [False, True])
def test_trl_rows_ask_what_llama_factory_asks(tmp_path, monkeypatch, chat):
    source, out = REPOSITORY / "data" / "sample_nb201.jsonl", tmp_path / "trl.jsonl"
    assert run(source, "--out", out, *["--chat"] * chat, monkeypatch=monkeypatch, main=trl.main) == 0
    old = [json.loads(line) for line in source.read_text().splitlines()]
    new = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(old) == len(new) and set(new[0]) == {"prompt", "completion"}
    for a, b in zip(old, new):
        prompt, completion = (b["prompt"][0]["content"], b["completion"][0]["content"]) if chat else b.values()
        assert (prompt, completion) == (Prompt(a["instruction"], a["input"]).text, a["output"])


def test_a_row_that_is_none_is_named_and_no_half_file_stays(tmp_path, monkeypatch):
    (tmp_path / "bad.jsonl").write_text('{"instruction": "a", "input": "b", "output": "c"}\n{"text": 1}\n')
    with pytest.raises(UserError, match="line 2"):
        run(tmp_path / "bad.jsonl", "--out", tmp_path / "out.jsonl", monkeypatch=monkeypatch, main=trl.main)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.jsonl"]


def test_the_command_says_what_is_missing_in_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "search.push", str(tmp_path), "me/x", "--dry-run"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
