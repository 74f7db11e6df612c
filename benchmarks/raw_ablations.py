"""What the raw searcher owes to what: one thing changed at a time, trained with LLaMA-Factory, judged on fresh worlds.

    python -m benchmarks.raw_ablations [--arm reference --arm usual_start ...] [--tokens 1e6] [--out runs/raw_ablations]
    python -m benchmarks.raw_ablations --speed                   # tokens a second of three trainers, one after another
    python -m benchmarks.raw_ablations --correlation models/raw  # of any model folder

reference    size small, the copying start, easy worlds in rows of 160 tokens, `--tokens` tokens
usual_start  the usual random weights
once         entries are not written again with their value (asked and answered only)
unmarked     written again, but without the value on the code tokens
tiny, base   other sizes
seed_1       other starting weights and other rows
half, twice  half and twice the tokens
long         rows of 320 tokens, as many tokens

Printed: correlation of expected and true value by quarter of fresh easy histories. Results are kept in --out, so the
command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.prior.stamped_rows import STAGES, histories, plan_of, stream, written
from data_builders.raw_model import write_start
from data_builders.registry import register
from search.errors import UserError, cli, did_you_mean
from search.files import write_atomic
from search.prompts.stamped import BOS, FIRST_CODE, FIRST_VALUE, bin_scores

ARMS = ("reference", "usual_start", "once", "unmarked", "tiny", "base", "seed_1", "half", "twice", "long")
QUARTERS = 4
YAML = Path("yaml/lmsearcher_raw.yaml")
SPEED_STEPS = 40


def changed(row: dict[str, Any], arm: str) -> dict[str, Any]:
    """A row as the arm writes it: what stands before the first asked code of a turn is the entry written again."""
    if arm not in ("once", "unmarked"):
        return row

    def question(text: str) -> str:
        words = text.split()
        asked = [w for w in words if w.endswith(":?") or w == "="]
        again = [] if arm == "once" else [w.split(":")[0] + ":?" for w in words if w not in asked]
        return " ".join(again + asked)

    turns = [[question(u), a] for u, a in row["history"]]
    return row | {"input": question(row["input"]), "history": turns}


def correlations(folder: Path, arm: str = "", stage: str = "easy", length: int = 160, blocks: int = 3) -> list[float]:
    """Of expected and true values, for each quarter of fresh histories of a stage."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    parts: list[list[np.ndarray]] = [[], [], []]
    for block in range(blocks):
        rng = np.random.default_rng([999, block])
        for told in histories(rng, length, replace(STAGES[stage], told=0.0)):
            ids, d = written(rng, told), told.codes.shape[1]
            if arm == "once":
                ids = ids[:, : d + 2]
            if arm == "unmarked":
                ids[:, d + 2 :] = ids[:, :d]
            width = ids.shape[1]
            flat = np.concatenate([[BOS], ids.reshape(-1)])[:length]
            ends = np.arange(1 + d, len(flat) - 1, width)
            with torch.inference_mode():
                out = model(input_ids=torch.from_numpy(flat)[None], logits_to_keep=torch.from_numpy(ends)).logits[0]
            mean = out[:, FIRST_VALUE:FIRST_CODE].double().softmax(-1).numpy() @ bin_scores()
            for part, x in zip(parts, (mean, bin_scores()[flat[ends + 1] - FIRST_VALUE], ends / length), strict=True):
                part.append(x)
    mean, true, place = map(np.concatenate, parts)
    quarter = np.minimum((place * QUARTERS).astype(int), QUARTERS - 1)
    return [round(float(np.corrcoef(mean[quarter == q], true[quarter == q])[0, 1]), 3) for q in range(QUARTERS)]


def build(out: Path, arm: str, tokens: float, seed: int) -> None:
    """The rows of an arm and the registry that names them."""
    out.mkdir(parents=True, exist_ok=True)
    factor = {"half": 0.5, "twice": 2.0}.get(arm, 1.0)
    plan = plan_of([f"easy={factor * tokens}"], "320" if arm == "long" else None)
    with open(out / "rows.jsonl", "w", encoding="utf-8") as file:
        for text, _ in stream(seed, plan, 1):
            file.writelines(json.dumps(changed(json.loads(line), arm)) + "\n" for line in text.splitlines())
    (out / "dataset_info.json").write_text("{}")
    register("rows", out / "rows.jsonl", out / "dataset_info.json", history=True)


def train(out: Path, *options: str, module: str = "data_builders.train") -> Path:
    """Train on the rows of a folder from its start; the trained folder."""
    where = [f"model_name_or_path={out / 'start'}", f"dataset_dir={out}", "dataset=rows", f"output_dir={out / 'model'}"]
    command = [sys.executable, "-m", module, *(["train"] if module == "llamafactory.cli" else [])]
    subprocess.run([*command, str(YAML), *where, "save_strategy='no'", "plot_loss=false", *options], check=True)
    return out / "model"


def run_arm(arm: str, out: Path, tokens: float) -> list[float]:
    """Correlations of an arm that was built and trained."""
    seed = 1 if arm == "seed_1" else 0
    build(out, arm, tokens, seed)
    size = arm if arm in ("tiny", "base") else "small"
    write_start(out / "start", size, seed, copying=arm != "usual_start")
    return correlations(train(out, "lr_scheduler_type=linear"), arm, length=320 if arm == "long" else 160)


def plain_loop(out: Path, steps: int, batch: int = 24) -> float:
    """Tokens a second of the plainest PyTorch loop on the same rows: forward, backward, clip, AdamW."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(out / "start"), AutoTokenizer.from_pretrained(out / "start")
    values = torch.tensor(tokenizer.convert_tokens_to_ids([f"v{k}" for k in range(FIRST_CODE - FIRST_VALUE)]))
    rows = [json.loads(line) for line in open(out / "rows.jsonl", encoding="utf-8")]
    texts = [" ".join(w for u, a in [*r["history"], [r["input"], r["output"]]] for w in (u, a)) for r in rows]
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    tokens, start = 0, time.perf_counter()
    for step in range(steps):
        ids = tokenizer(texts[step * batch : (step + 1) * batch], return_tensors="pt", padding=True)["input_ids"]
        answers = torch.isin(ids[:, 1:], values)
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][answers]
        torch.nn.functional.cross_entropy(model.lm_head(hidden), ids[:, 1:][answers]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += ids.numel()
    return tokens / (time.perf_counter() - start)


def speed(out: Path) -> dict[str, float]:
    """Tokens a second: LLaMA-Factory's command, ours around it, a plain loop; the same rows, one after another."""
    import torch

    torch.set_num_threads(1)
    build(out, "reference", 24 * SPEED_STEPS * 170, 0)
    write_start(out / "start", "small", 0)
    found = {}
    for name, module in (
        ("llamafactory-cli train", "llamafactory.cli"),
        ("data_builders.train", "data_builders.train"),
    ):
        folder = train(out, f"max_steps={SPEED_STEPS}", "overwrite_output_dir=true", module=module)
        seconds = json.loads((folder / "all_results.json").read_text())["train_runtime"]
        found[name] = 24 * SPEED_STEPS * 155 / seconds  # rows of 155 tokens on average, up to 160
    found["plain loop"] = plain_loop(out, SPEED_STEPS)
    return {name: round(x) for name, x in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.raw_ablations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arm", action="append", metavar="NAME", help=f"repeatable (default all: {', '.join(ARMS)})")
    parser.add_argument("--tokens", type=float, default=1e6)
    parser.add_argument("--speed", action="store_true", help="time three trainers instead")
    parser.add_argument("--correlation", type=Path, metavar="FOLDER", help="judge this model instead")
    parser.add_argument("--stage", default="easy", help=f"with --correlation: {', '.join(STAGES)}")
    parser.add_argument("--length", type=int, default=160, help="with --correlation: tokens of a history")
    parser.add_argument("--out", type=Path, default=Path("runs/raw_ablations"))
    args = parser.parse_args()
    if args.tokens < 1e5:
        raise UserError(f"--tokens {args.tokens:g} was given - nothing is learned from so few - give at least 1e5")
    for name, known in (*((a, ARMS) for a in args.arm or ()), (args.stage, STAGES)):
        if name not in known:
            raise did_you_mean("name", name, known)
    if args.correlation:
        print(args.correlation, correlations(args.correlation, stage=args.stage, length=args.length))
        return 0
    if args.speed:
        print(json.dumps(speed(args.out / "speed"), indent=1))
        return 0
    kept = args.out / "results.json"
    results = json.loads(kept.read_text()) if kept.is_file() else {}
    for arm in args.arm or ARMS:
        key = f"{arm} {args.tokens:g}"
        if key not in results:
            results[key] = run_arm(arm, args.out / arm, args.tokens)
            write_atomic(kept, json.dumps(results, indent=1) + "\n")
        print(f"{arm:12}", results[key], flush=True)
    return 0


if __name__ == "__main__":
    cli(main)
