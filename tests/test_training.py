"""LLaMA-Factory trains what the builders write, and what it trained is stamped, exported, served and searched with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_models import random_history, write_chat_yaml, write_model

from data_builders import pretrained
from data_builders.tokenizer import write_model_folder
from search.errors import UserError
from search.prompts import get_format
from search.prompts.stamp import write_stamp
from search.rankers import Context, make_ranker
from search.spaces import Space
from search.studies.study import Study

ROOT = Path(__file__).resolve().parent.parent
SPACE = Space.of_sizes([5] * 6, "toy")
QUIET = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "LLAMAFACTORY_VERBOSITY": "WARN",
    "TOKENIZERS_PARALLELISM": "false",
}


def value(code: str, seed: int = 0) -> float:
    """A toy accuracy: every 3 helps, every 0 hurts."""
    return 60.0 + 5.0 * code.count("3") - 4.0 * code.count("0")


def write_rows(folder: Path, n: int, seed: int = 0, entries: int = 8) -> None:
    """Ranking rows of the toy space in the paper's format, registered as `toy` in the folder's dataset_info.json."""
    form, rng = get_format("paper"), np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        codes = SPACE.to_codes(SPACE.sample(rng, entries + 10))
        history = [
            h._replace(value=value(h.code))
            for h in (random_history(SPACE, 1)[0]._replace(code=c) for c in codes[:entries])
        ]
        prompt = form.render(history, codes[entries:])
        rows.append(
            {"instruction": prompt.instruction, "input": prompt.input, "output": max(codes[entries:], key=value)}
        )
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    (folder / "dataset_info.json").write_text(json.dumps({"toy": {"file_name": "rows.jsonl", "columns": columns}}))


def environment(**more: str) -> dict[str, str]:
    """The environment of a training process: the interpreter's own scripts first on PATH."""
    return {**os.environ, **QUIET, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **more}


def llamafactory(*arguments: str, timeout: float = 900, **env: str) -> str:
    """Run llamafactory-cli from the repository root; its output, or a failure with the end of it."""
    done = subprocess.run(
        ["llamafactory-cli", *arguments],
        cwd=ROOT,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


def losses(folder: Path) -> list[float]:
    """The training losses that a finished or interrupted run logged."""
    lines = (folder / "trainer_log.jsonl").read_text().splitlines()
    return [r["loss"] for r in map(json.loads, lines) if "loss" in r]


def test_the_tiny_recipe_trains_and_its_model_searches(tmp_path):
    """The README's CPU route in small: the recipe itself with fewer rows, a stamp, a search with the result."""
    write_rows(tmp_path, 192)
    out, base = tmp_path / "model", write_model_folder(tmp_path / "base", "micro")
    overrides = [
        f"output_dir={out}",
        f"dataset_dir={tmp_path}",
        "dataset=toy",
        f"model_name_or_path={base}",
        "warmup_steps=2",
        "logging_steps=2",
    ]
    llamafactory("train", "yaml/lmsearcher_tiny.yaml", *overrides, HF_DATASETS_CACHE=str(tmp_path / "cache"))
    logged = losses(out)
    assert len(logged) == 6 and logged[-1] < logged[0] - 0.3
    write_stamp(out, "paper")
    ranker = make_ranker(f"chat:{write_chat_yaml(tmp_path / 'chat.yaml', out)}", Context(SPACE))
    asked = []
    study = Study(SPACE, ranker=ranker, warmup=3, transcript=lambda s, h: asked.append(s.ranking))
    study.run(value, 10)
    assert len({t.code for t in study.trials}) == 10 and len(asked) == 7
    assert all(len(r.scores) > 1 and r.fallback is None and r.info["format"] == "paper" for r in asked)
    with pytest.raises(UserError, match="trained with 'paper'"):
        make_ranker(f"chat:{tmp_path / 'chat.yaml'}", Context(SPACE, format="append"))
    ranker.close()


def wait_for(path: Path, process: subprocess.Popen, seconds: float) -> None:
    """Until a file is there and whole; fails when the process ends first."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, f"training ended before {path.name} was written"
        assert time.monotonic() < deadline, f"{path} did not appear in {seconds} s"
        time.sleep(0.2)
    time.sleep(2.0)


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="DeepSpeed on a CPU needs Linux and g++"
)
def test_two_processes_of_zero2_train_are_killed_resume_export_and_serve(tmp_path):
    """The paper's recipe (ZeRO-2, bf16, accumulation 2) on two CPU processes, killed with SIGKILL after its first
    checkpoint.
    """
    write_rows(tmp_path, 512)
    base, out = write_model(tmp_path / "base", "characters"), tmp_path / "model"
    settings = yaml.safe_load((ROOT / "yaml" / "lmsearcher_8b.yaml").read_text())
    settings |= {
        "model_name_or_path": str(base),
        "dataset": "toy",
        "dataset_dir": str(tmp_path),
        "output_dir": str(out),
        "eval_dataset": None,
    }
    settings |= {
        "use_cpu": True,
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 4,
        "save_steps": 8,
        "logging_steps": 4,
        "do_eval": False,
    }
    settings |= {
        "eval_strategy": "no",
        "eval_on_each_dataset": False,
        "dataloader_num_workers": 0,
        "preprocessing_num_workers": 1,
        "plot_loss": False,
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({k: v for k, v in settings.items() if v is not None}))
    env = environment(FORCE_TORCHRUN="1", NPROC_PER_NODE="2", HF_DATASETS_CACHE=str(tmp_path / "cache"))
    with open(tmp_path / "first.log", "w") as log:
        first = subprocess.Popen(
            ["llamafactory-cli", "train", str(recipe)],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_for(out / "checkpoint-8" / "trainer_state.json", first, 1500)
        finally:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    shards = sorted(p.name for p in (out / "checkpoint-8" / "global_step8").glob("*optim_states.pt"))
    assert len(shards) == 2 and all("zero_pp_rank" in s for s in shards), "one optimizer shard per process"
    assert not (out / "model.safetensors").exists(), "the first run was really cut short"
    two_more = {
        "FORCE_TORCHRUN": "1",
        "NPROC_PER_NODE": "2",
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
        "LLAMAFACTORY_VERBOSITY": "INFO",
    }
    output = llamafactory("train", str(recipe), **two_more)
    assert "Resuming training from" in output
    state = json.loads((out / "trainer_state.json").read_text())
    logged = [r["loss"] for r in state["log_history"] if "loss" in r]
    assert state["global_step"] == 32 and len(logged) == 8 and logged[-1] < logged[0] - 0.5
    write_stamp(out, "paper")
    chat = write_chat_yaml(tmp_path / "chat.yaml", out)
    exported = tmp_path / "exported"
    llamafactory("export", str(chat), f"export_dir={exported}")
    write_stamp(exported, "paper")
    write_chat_yaml(tmp_path / "exported.yaml", exported)
    rankers = [make_ranker(f"chat:{tmp_path / name}", Context(SPACE)) for name in ("chat.yaml", "exported.yaml")]
    history = [h._replace(value=value(h.code)) for h in random_history(SPACE, 8)]
    candidates = ["000000", "333333", "012340", "333330", "102030"]
    one, two = (r.rank(history, candidates) for r in rankers)
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-4)
    served_search(tmp_path / "exported.yaml", 8)


def served_search(chat: Path, budget: int) -> None:
    """Start the OpenAI-compatible API on this model, search through it, stop it."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = environment(API_HOST="127.0.0.1", API_PORT=str(port), API_KEY="k", API_MODEL_NAME="toy", API_VERBOSE="0")
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(
        ["llamafactory-cli", "api", str(chat)], cwd=ROOT, env=env, start_new_session=True, **nowhere
    )
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(600):
            assert server.poll() is None, "the API did not start"
            try:
                request = urllib.request.Request(f"{url}/models", headers={"authorization": "Bearer k"})
                if urllib.request.urlopen(request, timeout=5).status == 200:
                    break
            except OSError:
                time.sleep(0.5)
        os.environ["LMSEARCHER_API_KEY"] = "k"
        ranker = make_ranker(f"endpoint:{url}#toy?backoff=0&retries=1", Context(SPACE))
        asked = []
        study = Study(SPACE, ranker=ranker, warmup=3, transcript=lambda s, h: asked.append(s))
        study.run(value, budget)
        assert len({t.code for t in study.trials}) == budget
        assert all(
            s.ranking.best in s.candidates and not s.ranking.info["errors"] and s.ranking.tokens > 100 for s in asked
        )
        ranker.close()
    finally:
        os.environ.pop("LMSEARCHER_API_KEY", None)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.slow
def test_a_pretrained_llama_learns_to_rank_with_lora_and_is_served_and_searches(tmp_path):
    """The real route: pretrained base -> LoRA on ranking rows with the llama3 template -> chat API -> search."""
    try:
        pretrained.package_folder()
    except UserError as error:
        pytest.skip(str(error))
    base = pretrained.convert(tmp_path / "base")
    write_rows(tmp_path, 160, entries=6)
    out = tmp_path / "adapter"
    overrides = [f"model_name_or_path={base}", f"output_dir={out}", f"dataset_dir={tmp_path}", "dataset=toy"]
    overrides += ["max_steps=30", "logging_steps=5", "save_steps=30"]
    llamafactory(
        "train",
        "yaml/lmsearcher_smollm2_lora.yaml",
        *overrides,
        HF_DATASETS_CACHE=str(tmp_path / "cache"),
        timeout=3000,
    )
    logged = losses(out)
    assert logged[-1] < logged[0] - 0.2
    write_stamp(out, "paper")
    chat = write_chat_yaml(tmp_path / "chat.yaml", base, f"adapter_name_or_path: {out}", "finetuning_type: lora")
    for mode in ("score", "generate"):
        ranker = make_ranker(f"chat:{chat}?mode={mode}", Context(SPACE))
        asked = []
        study = Study(SPACE, ranker=ranker, warmup=3, transcript=lambda s, h, kept=asked: kept.append(s))
        study.run(value, 6)
        assert all(s.ranking.best in s.candidates for s in asked)
        if mode == "generate":
            assert sum(s.ranking.fallback is None for s in asked) >= 1, "thirty steps teach it the form of an answer"
        ranker.close()
    served_search(chat, 5)
