"""Training speed and memory of yaml/lmsearcher_1b.yaml against yaml/lmsearcher_1b_fast.yaml, on your GPUs.

    python -m data_builders.nb201 --samples 600 --out data/nb201_600.jsonl
    python -m benchmarks.train_1b --rows data/nb201_600.jsonl                         # every GPU of this machine
    python -m benchmarks.train_1b --rows data/nb201_600.jsonl --gpus 1 --set gradient_accumulation_steps=4
    python -m benchmarks.train_1b --rows FILE --shape micro --cpu                     # tries the script itself, no GPU

Both recipes run as they are (ZeRO-2, bf16, their own batch, packing and kernels) for one pass over the same real rows,
on a model of Llama-3.2-1B's shape, 128,256 output classes included, with random weights and the character tokenizer (so
no download is needed). Reported: real tokens per second (padding not counted), peak memory of the first GPU, and the
ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data_builders.tokenizer import build_tokenizer, llama_config
from search.errors import UserError, cli
from search.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ("lmsearcher_1b", "lmsearcher_1b_fast")
SHAPES = {
    "1b": (2048, 16, 32, 8192, 8, 128256),
    "micro": (64, 2, 4, 128, 4, 512),
}  # hidden, layers, heads, inner, kv heads, vocabulary


def write_base(folder: Path, shape: str) -> Path:
    """Config and tokenizer of the model to train from scratch."""
    hidden, layers, heads, inner, kv, vocabulary = SHAPES[shape]
    tokenizer = build_tokenizer(max_length=8192)
    config = llama_config(tokenizer, hidden, layers, heads, inner, context=8192)
    config.num_key_value_heads, config.vocab_size = kv, vocabulary
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def count_tokens(rows: Path, base: Path) -> tuple[int, int]:
    """(rows, tokens) of the file, answers and template included."""
    from data_builders.checks.tokens import token_lengths

    lengths = token_lengths(rows, base)
    return len(lengths), int(lengths.sum())


def settings(recipe: str, base: Path, rows: Path, out: Path, cpu: bool, overrides: dict[str, Any]) -> dict[str, Any]:
    """The recipe with another model, other rows and no saving."""
    import yaml

    found = yaml.safe_load((ROOT / "yaml" / f"{recipe}.yaml").read_text(encoding="utf-8"))
    for key in (
        "eval_dataset",
        "eval_strategy",
        "eval_steps",
        "eval_on_each_dataset",
        "compute_accuracy",
        "plot_loss",
        "save_steps",
    ):
        found.pop(key, None)
    found |= {
        "model_name_or_path": str(base),
        "train_from_scratch": True,
        "dataset": "rows",
        "dataset_dir": str(rows.parent),
        "output_dir": str(out),
    }
    found |= {
        "do_eval": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "overwrite_cache": True,
        "preprocessing_num_workers": 4,
    }
    if cpu:
        found |= {
            "use_cpu": True,
            "enable_liger_kernel": False,
            "flash_attn": "sdpa",
            "dataloader_num_workers": 0,
            "preprocessing_num_workers": 1,
        }
        found.pop("deepspeed", None)
    return found | overrides


def train(config: dict[str, Any], folder: Path, gpus: int, cpu: bool) -> dict[str, float]:
    """Run LLaMA-Factory once: {'seconds', 'loss', 'gigabytes'}; UserError with the end of its output if it fails."""
    import yaml

    recipe = write_atomic(folder / f"{Path(config['output_dir']).name}.yaml", yaml.safe_dump(config))
    env = {**os.environ, "RECORD_VRAM": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if not cpu:
        env |= {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": str(gpus)}
    done = subprocess.run(["llamafactory-cli", "train", str(recipe)], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"training failed - the end of its output: {' / '.join((done.stdout + done.stderr).splitlines()[-12:])}"
        )
    out = Path(config["output_dir"])
    results = json.loads((out / "train_results.json").read_text(encoding="utf-8"))
    log = [json.loads(line) for line in (out / "trainer_log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "seconds": results["train_runtime"],
        "loss": results["train_loss"],
        "gigabytes": max(0.0, *(float(r.get("vram_reserved", 0.0)) for r in log)),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_1b", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", required=True, metavar="FILE", help="ranking rows (JSON lines)")
    parser.add_argument("--gpus", type=int, default=0, help="default: all")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="1b")
    parser.add_argument(
        "--cpu", action="store_true", help="no DeepSpeed, FlashAttention or Liger: only tries the script"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override in both recipes; may be repeated"
    )
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args()
    import torch
    import yaml

    if not Path(arguments.rows).is_file():
        raise UserError(
            f"rows file {arguments.rows} does not exist - build it first, for example with python -m"
            " data_builders.nb201 --samples 600"
        )
    gpus = arguments.gpus or torch.cuda.device_count()
    if not gpus and not arguments.cpu:
        raise UserError(
            "no GPU was found - this benchmark measures GPU training - run it where there is one (--cpu --shape micro"
            " only tries the script)"
        )
    overrides = {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in arguments.set)}
    device = "cpu" if arguments.cpu else torch.cuda.get_device_name()
    found: dict[str, Any] = {"device": device, "gpus": gpus, "shape": arguments.shape, "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = Path(shutil.copy(arguments.rows, folder / "rows.jsonl"))
        write_atomic(folder / "dataset_info.json", json.dumps({"rows": {"file_name": "rows.jsonl"}}))
        base = write_base(folder / "base", arguments.shape)
        found["rows"], found["tokens"] = count_tokens(rows, base)
        for recipe in RECIPES:
            started = time.perf_counter()
            one = train(
                settings(recipe, base, rows, folder / recipe, arguments.cpu, overrides), folder, gpus, arguments.cpu
            )
            found[recipe] = {
                **one,
                "tokens_per_second": found["tokens"] / one["seconds"],
                "wall": time.perf_counter() - started,
            }
            print(
                f"{recipe}: {found[recipe]['tokens_per_second']:,.0f} tokens/s, {one['gigabytes']:.1f} GB, mean loss"
                f" {one['loss']:.3f}",
                flush=True,
            )
    plain, fast = (found[r] for r in RECIPES)
    print(f"fast / plain: {fast['tokens_per_second'] / plain['tokens_per_second']:.2f} x tokens/s on {found['device']}")
    if arguments.out:
        write_atomic(arguments.out, json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    cli(main)
