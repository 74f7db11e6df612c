"""How far an evaluation of the Stable Diffusion task can be trusted: noise of training seeds against the spread over
codes, the two halves of the generated pictures against each other, nested ranks against a training of each code's own.

    python -m benchmarks.sd --codes 12 --seeds 2 [--out runs/sd-reliability]
    python -m benchmarks.sd --fusion            ridge solve against L-BFGS on one layer of the embedded base model

Every evaluation is kept in OUT/evaluations.json and not repeated, so that a stopped command goes on. Half of the codes
are random; the others are random around a low or a high mean rank, as a search that has learned something visits them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.darts import spearman
from search.errors import UserError, cli
from search.files import write_atomic
from search.tasks.sd.task import StableDiffusion

NAMES = ("score", "clip_t", "clip_i", "identity", "loss")


def chosen_codes(task: StableDiffusion, n: int) -> list[str]:
    """n codes, every second uniform, the others with mostly low or mostly high ranks."""
    rng = np.random.default_rng(3)
    out = []
    for i in range(n):
        shares = ((1, 1, 1), (4, 1, 1), (1, 1, 1), (1, 1, 4))[i % 4]
        digits = rng.choice(3, size=len(task.space), p=np.array(shares) / sum(shares))
        out.append("".join(map(str, digits)))
    return out


def evaluated(task: StableDiffusion, code: str, seed: int) -> dict[str, float]:
    """All scores of a code, those of each half of its pictures, and processor seconds."""
    from search.tasks.sd.learn import held_out_loss
    from search.tasks.sd.scores import each

    begin = time.process_time()
    model = task.learned(code, seed)
    trained = time.process_time() - begin
    pictures, captions = task.generated(model)
    rows = {name: values.numpy() for name, values in each(task.base, pictures, captions, task.concept.pictures).items()}
    rows["score"] = task.weights[0] * rows["clip_t"] + task.weights[1] * rows["clip_i"]
    out = {name: float(values.mean()) for name, values in rows.items()}
    for k, half in enumerate(("even", "odd")):
        out |= {f"{name} {half}": float(values[k::2].mean()) for name, values in rows.items()}
    out |= {"loss": held_out_loss(model, task.concept), "parameters": task.parameters(code)}
    spent = time.process_time() - begin
    return out | {"training seconds": round(trained, 2), "seconds": round(spent, 2)}


def figures(kept: dict[str, Any], codes: list[str], seeds: int) -> dict[str, float]:
    """The reliability figures from the evaluations that are there."""
    nested = {name: np.array([kept[f"nested {c} 0"][name] for c in codes]) for name in NAMES}
    out: dict[str, float] = {}
    for name in NAMES:
        out[f"nested, {name}: spread over codes"] = float(nested[name].std(ddof=1))
        if name != "loss":
            even, odd = (np.array([kept[f"nested {c} 0"][f"{name} {h}"] for c in codes]) for h in ("even", "odd"))
            r = float(np.corrcoef(even, odd)[0, 1])
            out[f"nested, {name}: split-half (Spearman-Brown)"] = 2 * r / (1 + r)
    sizes = np.array([kept[f"nested {c} 0"]["parameters"] for c in codes])
    out["nested, score: Spearman with LoRA weights"] = spearman(nested["score"], sizes)
    out["nested: processor seconds a code"] = float(np.mean([kept[f"nested {c} 0"]["seconds"] for c in codes]))
    mine = [c for c in codes if all(f"train {c} {s}" in kept for s in range(seeds))] if seeds else []
    if len(mine) > 2:
        for name in NAMES:
            own = np.array([[kept[f"train {c} {s}"][name] for s in range(seeds)] for c in mine])
            matched = np.array([kept[f"nested {c} 0"][name] for c in mine])
            out |= _own_figures(name, own, matched)
        out["train: processor seconds a code"] = float(np.mean([kept[f"train {c} 0"]["seconds"] for c in mine]))
    return {name: round(value, 4) for name, value in out.items()}


def _own_figures(name: str, own: np.ndarray, nested: np.ndarray) -> dict[str, float]:
    out = {f"train, {name}: Spearman with nested": spearman(own.mean(axis=1), nested)}
    if own.shape[1] > 1:
        within = float(np.sqrt(own.var(axis=1, ddof=1).mean()))
        between = float(np.sqrt(max(own.mean(axis=1).var(ddof=1) - within**2 / own.shape[1], 0.0)))
        out |= {
            f"train, {name}: spread over codes": between,
            f"train, {name}: noise of seeds": within,
            f"train, {name}: ratio": between / within,
            f"train, {name}: Spearman of two seeds": spearman(own[:, 0], own[:, 1]),
        }
    return out


def fusion(task: StableDiffusion, steps: int = 500) -> dict[str, float]:
    """Ridge solve and L-BFGS on one layer: processor seconds and what each reaches of the same sum."""
    from search.tasks.sd import fuse
    from search.tasks.sd.concepts import scene_concepts
    from search.tasks.sd.learn import learn
    from search.tasks.sd.space import ranks_of

    task.prepare(False)
    ranks = ranks_of(task.space, "0" * len(task.space), task.partition)
    name = "up_blocks.3.attentions.0.transformer_blocks.0.attn2.to_k"
    changes, grams = [], []
    for concept in scene_concepts()[:2]:
        found = learn(task.base, concept, ranks, task.recipe)
        a, b = found.unet[name]
        changes.append(b @ a)
        grams.append(fuse.watched(task.base, found, None, list(concept.captions), 5)["unet"][name])
    out: dict[str, float] = {}
    for kind, solver in (("ridge", fuse.solve), ("L-BFGS", lambda c, g: fuse.lbfgs(c, g, steps))):
        begin = time.process_time()
        change = solver(changes, grams)
        out[f"{kind}: processor seconds"] = time.process_time() - begin
        out[f"{kind}: objective"] = float(fuse.objective(change, changes, grams))
    mean = sum(changes).double() / len(changes)
    return out | {"plain average: objective": float(fuse.objective(mean, changes, grams))}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sd", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--codes", type=int, default=12)
    parser.add_argument("--own", type=int, default=6, help="of the codes, how many are also trained on their own")
    parser.add_argument("--seeds", type=int, default=2, help="of own trainings; 0 for none")
    parser.add_argument("--fusion", action="store_true", help="compare the two ways to fuse one layer instead")
    parser.add_argument("--out", type=Path, default=Path("runs/sd-reliability"))
    args = parser.parse_args()
    if args.codes < 3 or args.seeds < 0:
        raise UserError(f"--codes {args.codes} --seeds {args.seeds} were given - at least 3 and 0 are needed")
    tasks = {kind: StableDiffusion(evaluation=kind) for kind in ("nested", "train")}
    if args.fusion:
        for name, value in fusion(tasks["train"]).items():
            print(f"{name:40} {value:.6g}")
        return 0
    codes = chosen_codes(tasks["train"], args.codes)
    path = args.out / "evaluations.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    jobs = [("nested", c, 0) for c in codes] + [("train", c, s) for c in codes[: args.own] for s in range(args.seeds)]
    for number, (kind, code, seed) in enumerate(jobs, start=1):
        name = f"{kind} {code} {seed}"
        if name not in kept:
            tasks[kind].prepare(False)
            kept[name] = evaluated(tasks[kind], code, seed)
            write_atomic(path, json.dumps(kept, indent=1) + "\n")
            print(
                f"[{number}/{len(jobs)}] {name}: {kept[name]['score']:.4f}, {kept[name]['seconds']:.1f} s", flush=True
            )
    for name, value in figures(kept, codes, args.seeds).items():
        print(f"{name:52} {value:.4f}")
    return 0


if __name__ == "__main__":
    cli(main)
