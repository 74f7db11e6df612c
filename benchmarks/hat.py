"""HAT: how fast the supernet trains, and whether inherited weights rank sub-transformers as training from scratch does.

    python -m benchmarks.hat speed                                          fp32 against bf16, the reduced supernet
    python -m benchmarks.hat speed --device cuda --reduce 1 --words 8848 6632   the full supernet of IWSLT'14 on a GPU
    python -m benchmarks.hat speed --device cuda --reduce 1 --processes 2       (prints the torchrun line that it runs)
    python -m benchmarks.hat ranking --codes 12 --updates 800 --out runs/hat-ranking

`ranking` keeps every finished sub-transformer in OUT/ranking.json and goes on where it was stopped; it needs the
trained supernet of `python -m search.run --task hat`, and trains it if it is not in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from search.errors import UserError, cli
from search.files import write_atomic
from search.tasks.hat.recipe import get_recipe


def synthetic(words: tuple[int, int], sentences: int, length: int):
    """A training split of random words, so that speed can be measured without a corpus."""
    from search.tasks.hat.data import Split
    from search.tasks.hat.model import EOS

    rng = np.random.default_rng(0)
    sides = [
        [np.append(rng.integers(4, n, size=int(k)), EOS) for k in rng.integers(length // 2, 2 * length, size=sentences)]
        for n in words
    ]
    return Split(*sides)


def speed(args: argparse.Namespace) -> int:
    """Updates per second of every precision: median over blocks of ten updates, after a warm-up."""
    import torch

    from search.tasks.hat.supernet import build, drawn
    from search.tasks.hat.train import update_once
    from search.tasks.training import close_place, open_place

    if args.processes > 1 and "RANK" not in os.environ:
        options = [a for a in sys.argv[1:] if a]
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(args.processes),
            "-m",
            "benchmarks.hat",
            *options,
        ]
        print(" ".join(command), flush=True)
        return subprocess.call(command)
    place = open_place(args.device)
    split = synthetic(tuple(args.words), 4000, 24)
    results = {}
    for precision in args.precisions.split(","):
        recipe = get_recipe(
            "iwslt14",
            {"space": args.space, "reduce": args.reduce, "max_tokens": args.max_tokens, "precision": precision},
        )
        space, model = build(recipe, *args.words)
        model.to(place.device).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), fused=True)
        scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16" and place.device.startswith("cuda"))
        blocks, update = [], 0
        for block in range(1 + args.blocks):
            started, cpu = time.perf_counter(), time.process_time()
            for _ in range(10):
                update += 1
                update_once(model, optimizer, scaler, split, recipe, update, drawn(space, recipe.seed, update), place)
            if place.device.startswith("cuda"):
                torch.cuda.synchronize()
            if block:
                blocks.append((10 / (time.perf_counter() - started), (time.process_time() - cpu) / 10))
        rates = np.array(blocks)
        results[precision] = float(np.median(rates[:, 0]))
        if place.rank == 0:
            memory = (
                f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
                if place.device.startswith("cuda")
                else f", {np.median(rates[:, 1]):.3f} CPU seconds an update"
            )
            print(
                f"{args.space}/{args.reduce} on {place.device} x {place.world}, {args.max_tokens} tokens a batch,"
                f" {precision}: {results[precision]:.2f} updates/s{memory}",
                flush=True,
            )
    if place.rank == 0 and "fp32" in results:
        print("ratio to fp32: " + ", ".join(f"{name} {rate / results['fp32']:.2f}" for name, rate in results.items()))
    close_place(place)
    return 0


def ranking(args: argparse.Namespace) -> int:
    """Spearman correlation of inherited and from-scratch validation loss over random sub-transformers."""
    from search.tasks.hat import cache
    from search.tasks.hat.corpus import SIZES
    from search.tasks.hat.data import load
    from search.tasks.hat.retrain import retrain
    from search.tasks.hat.space import to_arch
    from search.tasks.hat.supernet import load_supernet, train_supernet
    from search.tasks.hat.train import validation_loss

    full, recipe = (
        get_recipe(name, {"updates": updates})
        for name, updates in (("embedded", args.supernet_updates), ("embedded-sub", args.updates))
    )
    recipe = replace(recipe, save_every=args.updates, keep=1)
    corpus = load(cache.corpus_folder(SIZES, 1000))
    supernet = cache.supernet_folder(corpus, full)
    if not cache.trained(supernet, full):
        train_supernet(corpus, full, supernet, "cpu")
    space, shared = load_supernet(corpus, supernet, full)
    valid = corpus.splits["valid"]
    batches = [valid.batch(rows) for rows in valid.groups(2 * full.max_tokens)]
    codes = space.to_codes(space.sample(np.random.default_rng(args.seed), args.codes))
    path = args.out / "ranking.json"
    done = json.loads(path.read_text()) if path.exists() else {}
    for i, code in enumerate(codes):
        if code not in done:
            started = time.perf_counter()
            model = retrain(corpus, recipe, code, args.out / f"{i:02}", "cpu", progress=False)
            inherited = validation_loss(shared, batches, to_arch(space, code))
            done[code] = {"scratch": validation_loss(model, batches), "inherited": inherited}
            write_atomic(path, json.dumps(done, indent=1) + "\n")
            print(f"{i + 1}/{len(codes)} {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        arch = to_arch(space, code)
        print(
            f"{code}  {arch.dec_layers} layers, {arch.enc_embed}/{arch.dec_embed} wide  "
            f"inherited {done[code]['inherited']:.4f}  from scratch {done[code]['scratch']:.4f}",
            flush=True,
        )
    pairs = np.array([[done[c]["inherited"], done[c]["scratch"]] for c in codes])
    ranks = pairs.argsort(axis=0).argsort(axis=0)
    rho = float(np.corrcoef(ranks[:, 0], ranks[:, 1])[0, 1])
    print(f"Spearman correlation over {len(codes)} sub-transformers, {args.updates} updates from scratch: {rho:.3f}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hat", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    fast = kinds.add_parser("speed")
    fast.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    fast.add_argument("--space", default="iwslt-space1")
    fast.add_argument("--reduce", type=int, default=8, help="divide all widths by this (1: the full supernet)")
    fast.add_argument("--words", type=int, nargs=2, default=(392, 358), metavar=("DE", "EN"), help="vocabulary sizes")
    fast.add_argument("--max-tokens", type=int, default=1024)
    fast.add_argument("--precisions", default="fp32,bf16", help="of fp32, bf16, fp16")
    fast.add_argument("--blocks", type=int, default=5, help="blocks of ten updates that are timed")
    fast.add_argument("--processes", type=int, default=1)
    fast.set_defaults(run=speed)
    rank = kinds.add_parser("ranking")
    rank.add_argument("--codes", type=int, default=12)
    rank.add_argument("--updates", type=int, default=800)
    rank.add_argument("--supernet-updates", type=int)
    rank.add_argument("--seed", type=int, default=11)
    rank.add_argument("--out", type=Path, default=Path("runs/hat-ranking"))
    rank.set_defaults(run=ranking)
    args = parser.parse_args()
    if min(getattr(args, name, 1) for name in ("codes", "updates", "blocks", "processes", "max_tokens")) < 1:
        raise UserError("a count below 1 was given - all counts must be at least 1")
    return args.run(args)


if __name__ == "__main__":
    cli(main)
