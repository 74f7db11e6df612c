"""Score learned concepts: each alone, all fused in one model, and their weights plainly averaged.

    python -m search.tasks.sd.score --run runs/sd-long --images 50

20 prompts that no search has seen, `images` pictures of each, per concept: CLIP-T, CLIP-I and identity, written to
RUN/scores.json, with a contact sheet RUN/sheet.png. `base` is the base model asked for the class word.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.errors import UserError, cli
from search.files import write_atomic
from search.tasks.sd import setup

COLUMNS = ("CLIP-T", "CLIP-I", "identity")


def compared(
    base: Any,
    concepts: Sequence[Any],
    learned: Sequence[Any],
    images: int,
    steps: int,
    guidance: float,
    batch: int = 32,
) -> tuple[list[tuple[str, str, float, float, float]], dict[str, Any]]:
    """(rows of model, concept and the three scores; the first pictures of each model for a sheet)."""
    from search.tasks.sd.fuse import average, fuse
    from search.tasks.sd.sample import pictures
    from search.tasks.sd.scores import scores

    parts = [(found, None, _fusion_prompts(concept)) for concept, found in zip(concepts, learned)]
    together: dict[str, Any] = {"fused": fuse(base, parts), "averaged": average(base, parts)}
    rows: list[tuple[str, str, float, float, float]] = []
    sheet: dict[str, Any] = {}
    for concept, found in zip(concepts, learned):
        alone = base.copied()
        found.put_on(alone)
        prompts = [p for p in concept.test for _ in range(images)]
        wanted = concept.with_class(prompts)
        sheet[f"{concept.name}: references"] = concept.pictures[:12]
        for name, model in {"base": base, "alone": alone, **together}.items():
            made = pictures(model, wanted if name == "base" else prompts, steps, guidance, batch=batch)
            got = scores(base, made, wanted, concept.pictures)
            rows.append((name, concept.name, got.clip_t, got.clip_i, got.identity))
            sheet[f"{concept.name}: {name}"] = made[:: max(1, len(made) // 12)][:12]
    return rows, sheet


def _fusion_prompts(concept: Any) -> list[str]:
    """What fusion listens to: "X", "photo of X" where the concept's own prompts have such words, and its captions."""
    known = [p for p in (concept.placeholder, f"a photo of {concept.placeholder}") if p in concept.valid]
    return known + list(dict.fromkeys(concept.captions))


def means(rows: Sequence[tuple[str, str, float, float, float]]) -> dict[str, dict[str, float]]:
    """The mean of each score over the concepts, by model."""
    out: dict[str, dict[str, float]] = {}
    for model in dict.fromkeys(row[0] for row in rows):
        mine = [row[2:] for row in rows if row[0] == model]
        out[model] = {name: sum(column) / len(mine) for name, column in zip(COLUMNS, zip(*mine))}
    return out


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.sd.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, required=True, help="folder that search.tasks.sd.retrain wrote")
    parser.add_argument("--images", type=int, default=50, help="pictures of each prompt (default 50)")
    parser.add_argument("--steps", type=int, help="of sampling (default 10 embedded, 50 with --sd)")
    parser.add_argument("--guidance", type=float, help="default 2 embedded, 7.5 with --sd")
    parser.add_argument("--batch", type=int, help="pictures generated at once (default 64 embedded, 8 with --sd)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    setup.add_arguments(parser)
    args = parser.parse_args(argv)
    if args.images < 1:
        raise UserError(f"--images {args.images} was given - at least 1 is needed")
    base, concepts = setup.read(args, args.precision)
    from search.tasks.sd import sheet, store

    kept = [store.load(args.run / f"{concept.name}.safetensors") for concept in concepts]
    learned = [found for found, _ in kept]
    steps, guidance, batch = (50, 7.5, 8) if args.sd else (10, 2.0, 64)
    steps, guidance, batch = args.steps or steps, args.guidance or guidance, args.batch or batch
    rows, pictures = compared(base, concepts, learned, args.images, steps, guidance, batch)
    mean = means(rows)
    print(setup.shown(rows, ("model", "concept", *COLUMNS)))
    print()
    print(setup.shown([(name, *row.values()) for name, row in mean.items()], ("mean of", *COLUMNS)))
    results: Mapping[str, Any] = {"code": kept[0][1].get("code"), "images": args.images, "rows": rows, "means": mean}
    write_atomic(args.run / "scores.json", json.dumps(results, indent=1) + "\n")
    print(f"{args.run / 'scores.json'}, {sheet.draw(pictures, args.run / 'sheet.png')}")
    return 0


if __name__ == "__main__":
    cli(main)
