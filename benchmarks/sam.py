"""How far an evaluation of the SAM task can be trusted: spread over codes against the noise of training seeds, the two
halves of the validation pictures against each other, nested adapters against adapters of a code's own.

    python -m benchmarks.sam reliability --codes 16 --seeds 2 --steps 24 [--option lr=0.003] [--out DIR]
    python -m benchmarks.sam speed --model base [--precision bf16] [--checkpointing]

Every measurement is kept in OUT/measured.json and not repeated, so that a stopped command goes on. `speed` trains a few
steps of a published shape with random weights: pictures a second and memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.darts import spearman
from search.errors import UserError, cli
from search.files import write_atomic
from search.tasks.sam.recipe import RECIPES
from search.tasks.sam.task import OBJECTIVE, Sam

ANEW = 1  # the seed that draws adapters anew; 0 is the search's own


def halves(model: Any, task: Sam) -> dict[str, float]:
    """Score (percent) and loss on all validation pictures and on each half of them."""
    from search.tasks.sam.measure import measure
    from search.tasks.sam.pictures import Pictures

    found: dict[str, float] = {}
    for name, step in (("even", 0), ("odd", 1)):
        part = {k: Pictures(p.x[step::2], p.y[step::2]) for k, p in task.held["valid"].items()}
        values = measure(model, part, OBJECTIVE, task.recipe)
        found |= {f"score {name}": values["score"], f"loss {name}": values["loss"]}
    return found | {k: (found[f"{k} even"] + found[f"{k} odd"]) / 2 for k in ("score", "loss")}


def nested(task: Sam, code: str) -> dict[str, float]:
    """The code cut from the nested adapters."""
    begin = time.process_time()
    return halves(task._model(code, 0), task) | {"seconds": round(time.process_time() - begin, 2)}


def own(task: Sam, code: str, seed: int, steps: int, adapters: int = 0) -> dict[str, float]:
    """The code's own short training; `adapters` draws what it starts from, 0 as the search does."""
    import copy

    from search.tasks.sam.model import add_adapters
    from search.tasks.sam.space import ranks
    from search.tasks.sam.train import train

    begin = time.process_time()
    recipe = replace(task.recipe, steps=steps)
    model = add_adapters(copy.deepcopy(task.base), ranks(code), recipe.experts, adapters)
    train(model, task.source, recipe, seed)
    return halves(model, task) | {"seconds": round(time.process_time() - begin, 2)}


def split_half(values: list[dict[str, float]], name: str) -> float:
    """Reliability of the whole from the correlation of its halves (Spearman-Brown)."""
    even, odd = (np.array([v[f"{name} {half}"] for v in values]) for half in ("even", "odd"))
    r = float(np.corrcoef(even, odd)[0, 1])
    return 2 * r / (1 + r)


def figures(kept: dict[str, dict[str, float]], codes: Sequence[str], seeds: int) -> dict[str, float]:
    """The reliability figures, from the measurements that are there."""
    out: dict[str, float] = {}
    for name in ("score", "loss"):
        cut = [kept[f"nested {c}"] for c in codes if f"nested {c}" in kept]
        if len(cut) > 2:
            out[f"{name}: nested, deviation over codes"] = float(np.std([v[name] for v in cut], ddof=1))
            out[f"{name}: nested, split-half reliability"] = split_half(cut, name)
        done = [c for c in codes if all(f"own {c} {s}" in kept for s in range(seeds))]
        if len(done) > 2:
            table = np.array([[kept[f"own {c} {s}"][name] for s in range(seeds)] for c in done])
            out[f"{name}: own, deviation over codes"] = float(table[:, 0].std(ddof=1))
            out[f"{name}: own, split-half reliability"] = split_half([kept[f"own {c} 0"] for c in done], name)
            if seeds > 1:
                out[f"{name}: own, noise of seeds"] = float(np.sqrt(table.var(axis=1, ddof=1).mean()))
                out[f"{name}: own, Spearman of two seeds"] = spearman(table[:, 0], table[:, 1])
            if all(f"nested {c}" in kept for c in done):
                both = np.array([kept[f"nested {c}"][name] for c in done])
                out[f"{name}: Spearman of nested and own"] = spearman(both, table.mean(axis=1))
        anew = [(kept[f"own {c} 0"][name], kept[k][name]) for c in codes if (k := f"anew {c}") in kept]
        if len(anew) > 1:
            a, b = np.array(anew).T
            out[f"{name}: own, noise of adapters drawn anew"] = float(np.sqrt(((a - b) ** 2).mean() / 2))
        for digit, rank in (("0", 3), ("3", 24)):
            if (key := f"own {digit * len(codes[0])} 0") in kept:
                out[f"{name}: own, uniform rank {rank}"] = kept[key][name]
    for kind in ("nested", "own"):
        spent = [v["seconds"] for k, v in kept.items() if k.startswith(kind)]
        if spent:
            out[f"processor seconds, {kind}"] = float(np.mean(spent))
    return {k: round(v, 4) for k, v in out.items()}


def reliability(args: argparse.Namespace) -> None:
    """Measure what is missing, the most informative first, and print the figures."""
    options = dict(text.partition("=")[::2] for text in args.option)
    task = Sam(**options)
    task.prepare(True)
    space = task.space
    codes = space.to_codes(space.sample(np.random.default_rng(3), args.codes))
    path = args.out / "measured.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    uniform = [digit * len(space) for digit in "03"]
    jobs: list[tuple[str, Any]] = [(f"nested {c}", lambda c=c: nested(task, c)) for c in codes]
    for seed in range(args.seeds):
        jobs += [(f"own {c} {seed}", lambda c=c, s=seed: own(task, c, s, args.steps)) for c in codes]
        jobs += [(f"own {c} 0", lambda c=c: own(task, c, 0, args.steps)) for c in uniform] if seed == 0 else []
    jobs += [(f"anew {c}", lambda c=c: own(task, c, 0, args.steps, ANEW)) for c in codes[: args.anew]]
    jobs = jobs[: args.jobs or None]
    for number, (name, measured) in enumerate(jobs, start=1):
        if name not in kept:
            kept[name] = measured()
            write_atomic(path, json.dumps(kept, indent=1) + "\n")
            found = kept[name]
            print(
                f"[{number}/{len(jobs)}] {name}: {found['score']:.2f} %, loss {found['loss']:.4f},"
                f" {found['seconds']:.1f} s",
                flush=True,
            )
    for name, value in figures(kept, codes, args.seeds).items():
        print(f"{name:52} {value:.4f}")


def speed(args: argparse.Namespace) -> None:
    """Pictures a second and memory of a training with random weights."""
    import torch
    from transformers import SamConfig, SamModel

    from search.tasks.recipes import named
    from search.tasks.sam.model import add_adapters
    from search.tasks.sam.picture import global_blocks
    from search.tasks.sam.pictures import generate
    from search.tasks.sam.space import PUBLISHED
    from search.tasks.sam.train import train
    from search.tasks.training import device_name, open_place

    place, shape = open_place(args.device), PUBLISHED[f"facebook/sam-vit-{args.model}"]
    heads = 12 if args.model == "base" else 16
    vision = {"hidden_size": shape.width, "num_hidden_layers": shape.blocks, "num_attention_heads": heads}
    vision |= {"mlp_dim": 4 * shape.width, "global_attn_indexes": global_blocks(shape.blocks)}
    model = add_adapters(SamModel(SamConfig(vision_config=vision)), [12] * shape.blocks, shape.experts)
    changes = {"batch": args.batch, "micro": 0, "precision": args.precision, "checkpointing": args.checkpointing}

    class Repeated:
        pictures = generate("polyps", args.batch, 1, 1024)

        def __len__(self) -> int:
            return len(self.pictures)

        def batch(self, step: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
            return self.pictures.x, self.pictures.y

    train(model, Repeated(), named("polyp", RECIPES, {**changes, "steps": 1}), place=place)  # the first is slower
    begin = time.perf_counter()
    train(model, Repeated(), named("polyp", RECIPES, {**changes, "steps": args.steps}), place=place)
    if place.device.startswith("cuda"):
        torch.cuda.synchronize()
        memory = torch.cuda.max_memory_allocated() / 2**30
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rate = args.batch * args.steps / (time.perf_counter() - begin)
    print(f"{args.model} {args.precision} on {device_name(place.device)}: {rate:.3f} pictures/s, {memory:.1f} GiB")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sam", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("reliability")
    one.add_argument("--codes", type=int, default=16)
    one.add_argument("--seeds", type=int, default=2)
    one.add_argument("--anew", type=int, default=4, help="codes that are trained from adapters drawn anew as well")
    one.add_argument("--steps", type=int, default=RECIPES["train"].steps, help="of a code's own training")
    one.add_argument("--jobs", type=int, default=0, help="only the first so many measurements")
    one.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the task; may be repeated")
    one.add_argument("--out", type=Path, default=Path("runs/sam-reliability"))
    two = commands.add_parser("speed")
    two.add_argument("--model", choices=("base", "large", "huge"), default="base")
    two.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    two.add_argument("--checkpointing", action="store_true")
    two.add_argument("--batch", type=int, default=1)
    two.add_argument("--steps", type=int, default=3)
    two.add_argument("--device", default="auto")
    args = parser.parse_args()
    if args.command == "speed":
        speed(args)
        return 0
    if args.codes < 3 or args.seeds < 1:
        raise UserError(f"--codes {args.codes} --seeds {args.seeds} were given - at least 3 and 1 are needed")
    reliability(args)
    return 0


if __name__ == "__main__":
    cli(main)
