"""Every recipe in yaml/ is one that LLaMA-Factory accepts, says what it is, loses no rows and can be resumed and
served.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "yaml"
FILES = sorted(FOLDER.glob("*.yaml"))
SETTINGS = {f.name: yaml.safe_load(f.read_text(encoding="utf-8")) for f in FILES}
TRAINING = sorted(n for n, s in SETTINGS.items() if s.get("do_train"))
CHAT = sorted(n for n, s in SETTINGS.items() if not s.get("do_train"))
PAPER_SIZES = [f"lmsearcher_{s}.yaml" for s in ("8b", "3b", "1b")]
BAD = [
    "yaml/lmsearcher_8b.yaml learning_rat=1.0e-5",
    "yaml/lmsearcher_8b.yaml val_size=0.1",
    "yaml/lmsearcher_8b.yaml save_strategy=sometimes",
    "yaml/lmsearcher_8b_qlora.yaml finetuning_type=full",
    "yaml/lmsearcher_8b_lora.yaml stage=dpo neat_packing=true",
    "yaml/lmsearcher_8b_lora_chat.yaml finetuning_type=full",
    "yaml/lmsearcher_8b_chat.yaml max_tokens=5",
]
ZERO3 = "yaml/lmsearcher_8b.yaml deepspeed=yaml/ds_z3.json"


@pytest.fixture(scope="module")
def parsed() -> dict[str, str | None]:
    """Every file, every bad variation, and ZeRO-3, through the parser in one process."""
    lines = [f"yaml/{f.name}" for f in FILES] + BAD + [ZERO3]
    command = [sys.executable, "tests/parse_recipes.py", *" -- ".join(lines).split()]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_llamafactory_accepts_every_file(parsed):
    wrong = {line: error for line, error in parsed.items() if line not in BAD and error}
    assert not wrong and len(parsed) == len(FILES) + len(BAD) + 1


def test_unknown_and_contradictory_keys_would_be_noticed(parsed):
    accepted = [line for line in BAD if parsed[line] is None]
    assert not accepted


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_headers_say_what_how_and_with_what(name):
    header = re.match(r"(?:#.*\n)+", (FOLDER / name).read_text(encoding="utf-8"))
    assert header, f"{name} has no header"
    wanted = ["# What ", "# Launch "] + (["# Override ", "# Paper "] if name in TRAINING else [])
    missing = [w for w in wanted if w not in header[0]] + (
        [] if re.search("# (Needs|Memory) ", header[0]) else ["# Memory or # Needs"]
    )
    assert not missing
    assert f"yaml/{name}" in header[0], "the launch line names the file"


@pytest.mark.parametrize("name", [n for n in TRAINING if "nano" not in n and "raw" not in n])
def test_recipes_lose_no_rows_and_can_be_resumed_and_served(name):
    settings = SETTINGS[name]
    assert not settings.get("val_size") and not settings.get("max_samples"), "rows would be left unused"
    assert settings["template"] == "llama3" and settings["dataset_dir"] == "." and settings["cutoff_len"] >= 1024
    chat = SETTINGS[name.replace(".yaml", "_chat.yaml")]
    served = chat.get("adapter_name_or_path") or chat["model_name_or_path"]
    assert served == settings["output_dir"] and chat["template"] == settings["template"]
    if settings["finetuning_type"] == "lora":
        assert chat["model_name_or_path"] == settings["model_name_or_path"]
    if "tiny" not in name:
        assert (
            not settings.get("save_only_model") and not settings["overwrite_output_dir"] and settings["save_steps"] > 0
        )
        assert settings.get("eval_dataset") or "smollm2" in name
        assert set(settings.get("eval_dataset", "").split(",")).isdisjoint(settings["dataset"].split(","))


def test_the_papers_settings():
    for name in PAPER_SIZES:
        s = SETTINGS[name]
        assert (s["num_train_epochs"], s["learning_rate"], s["lr_scheduler_type"], s["warmup_steps"], s["bf16"]) == (
            1.0,
            1e-5,
            "cosine",
            0.1,
            True,
        )
        assert 8 * s["per_device_train_batch_size"] * s["gradient_accumulation_steps"] == 16
        assert s["finetuning_type"] == "full" and s["deepspeed"] == "yaml/ds_z2.json"
    assert [SETTINGS[n]["model_name_or_path"] for n in PAPER_SIZES] == [
        f"meta-llama/Llama-{v}" for v in ("3.1-8B", "3.2-3B", "3.2-1B")
    ]
    fast = SETTINGS["lmsearcher_8b_fast.yaml"]
    assert fast["neat_packing"] and fast["enable_liger_kernel"] and fast["flash_attn"] == "fa2"
    same = (
        "learning_rate",
        "num_train_epochs",
        "warmup_steps",
        "lr_scheduler_type",
        "dataset",
        "eval_dataset",
        "template",
        "deepspeed",
    )
    assert all(fast[k] == SETTINGS["lmsearcher_8b.yaml"][k] for k in same)


def test_deepspeed_files_shard_what_their_names_say():
    for name, stage in (("ds_z2.json", 2), ("ds_z3.json", 3)):
        found = json.loads((FOLDER / name).read_text(encoding="utf-8"))
        assert found["zero_optimization"]["stage"] == stage and found["bf16"] == {"enabled": "auto"}


def test_the_folder_does_not_shadow_pyyaml():
    assert not list(FOLDER.glob("*.py"))
    assert Path(yaml.__file__).parent != FOLDER


def test_a_share_of_steps_is_a_warm_up_with_every_transformers_we_admit():
    """Before transformers 5, warmup_steps: 0.1 was compared with the step number: no warm-up, without a word."""
    import tomllib

    from transformers import TrainingArguments

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lowest = [w for extra in ("train", "nano") for w in extras[extra] if w.startswith("transformers")]
    assert lowest == ["transformers>=5.0,<6"] * 2
    shares = {n: s["warmup_steps"] for n, s in SETTINGS.items() if 0 < s.get("warmup_steps", 0) < 1}
    assert len(shares) >= 10 and set(shares.values()) == {0.1}
    arguments = TrainingArguments(output_dir="out/never-written", warmup_steps=0.1, use_cpu=True, report_to=[])
    assert arguments.get_warmup_steps(1000) == 100


def test_files_say_what_their_models_cannot_do():
    tiny = (FOLDER / "lmsearcher_tiny_chat.yaml").read_text()
    assert "mode=generate" not in tiny.split("# Limits")[0], "20 of 20 questions fell back"
    assert "shuffled" in tiny and "shuffled" in (ROOT / "recipes" / "search" / "demo.yaml").read_text()
    assert "encoding=domain" in (FOLDER / "lmsearcher_8b_ft_chat.yaml").read_text()
    assert "Table 2" in (ROOT / "recipes" / "search" / "hat.yaml").read_text().splitlines()[0]
