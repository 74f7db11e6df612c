"""How far an evaluation of the DARTS task can be trusted: noise of training seeds against the spread over codes, the
two halves of the validation pictures against each other, the short training against one ten times longer.

    python -m benchmarks.darts --codes 16 --seeds 2 [--long] [--pictures animals] [--out runs/darts-reliability]

Every training is kept in OUT/trainings.json and not repeated, so that a stopped command goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError, cli
from search.files import write_atomic
from search.tasks.darts.recipe import get_recipe
from search.tasks.darts.task import LONG, Darts


def trained(task: Darts, code: str, recipe: str, seed: int) -> dict[str, float]:
    """Accuracy (percent) on all validation pictures and on each half of them, loss, and processor seconds."""
    from search.tasks.darts.train import score, train

    begin = time.process_time()
    network = train(code, get_recipe(recipe), task.batches, task.shape, seed, place=task.place)
    x, y = task.valid
    accuracy, loss = score(network, x, y)
    halves = [score(network, x[k::2], y[k::2])[0] for k in (0, 1)]
    spent = time.process_time() - begin
    return {"accuracy": accuracy, "loss": loss, "even": halves[0], "odd": halves[1], "seconds": round(spent, 2)}


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks with ties at their mean, float64 (n,)."""
    order = np.unique(values, return_inverse=True)[1]
    counts = np.bincount(order)
    return (np.cumsum(counts) - (counts + 1) / 2)[order]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def figures(kept: dict[str, Any], short: str, long: str, codes: list[str], seeds: int) -> dict[str, float]:
    """The reliability figures from the trainings that are there."""
    table = {
        k: np.array([[kept[f"{short} {c} {s}"][k] for s in range(seeds)] for c in codes]) for k in ("accuracy", "loss")
    }
    out = {}
    for name, values in table.items():
        within = float(np.sqrt(values.var(axis=1, ddof=1).mean())) if seeds > 1 else float("nan")
        total = values.mean(axis=1).var(ddof=1)
        between = float(np.sqrt(max(total - within**2 / seeds, 0.0))) if seeds > 1 else float(np.sqrt(total))
        out |= {
            f"{name}: spread over codes": between,
            f"{name}: noise of seeds": within,
            f"{name}: ratio": between / within,
        }
        if seeds > 1:
            out[f"{name}: Spearman of two seeds"] = spearman(values[:, 0], values[:, 1])
    halves = {
        k: np.array([np.mean([kept[f"{short} {c} {s}"][k] for s in range(seeds)]) for c in codes])
        for k in ("even", "odd")
    }
    r = float(np.corrcoef(halves["even"], halves["odd"])[0, 1])
    out["split-half reliability (Spearman-Brown)"] = 2 * r / (1 + r)
    if all(f"{long} {c} 0" in kept for c in codes):
        late = np.array([kept[f"{long} {c} 0"]["accuracy"] for c in codes])
        out["Spearman of one short training with the long one"] = spearman(table["accuracy"][:, 0], late)
        out["the same, by loss"] = spearman(-table["loss"][:, 0], late)
        out["mean accuracy, long"] = float(late.mean())
    out["mean accuracy, short"] = float(table["accuracy"].mean())
    out["processor seconds a short training"] = float(np.mean([kept[f"{short} {c} 0"]["seconds"] for c in codes]))
    return {k: round(v, 4) for k, v in out.items()}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.darts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--codes", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--long", action="store_true", help="also train every code ten times longer, once")
    parser.add_argument("--pictures", choices=("animals", "photos"), default="animals")
    parser.add_argument("--out", type=Path, default=Path("runs/darts-reliability"))
    args = parser.parse_args()
    if args.codes < 3 or args.seeds < 1:
        raise UserError(f"--codes {args.codes} --seeds {args.seeds} were given - at least 3 and 1 are needed")
    task = Darts(args.pictures)
    task.prepare(False)
    codes = task.space.to_codes(task.space.sample(np.random.default_rng(3), args.codes))
    path = args.out / f"trainings_{args.pictures}.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    long = LONG[args.pictures]
    jobs = [(c, "embedded", s) for s in range(args.seeds) for c in codes] + [(c, long, 0) for c in codes] * args.long
    for number, (code, recipe, seed) in enumerate(jobs, start=1):
        name = f"{recipe} {code} {seed}"
        if name not in kept:
            kept[name] = trained(task, code, recipe, seed)
            write_atomic(path, json.dumps(kept, indent=1) + "\n")
            print(
                f"[{number}/{len(jobs)}] {name}: {kept[name]['accuracy']:.1f} %, {kept[name]['seconds']:.1f} s",
                flush=True,
            )
    for name, value in figures(kept, "embedded", long, codes, args.seeds).items():
        print(f"{name:52} {value:.4f}")
    return 0


if __name__ == "__main__":
    cli(main)
