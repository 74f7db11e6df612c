"""Learn every concept at the best ranks of a search, fuse them, and draw a contact sheet.

    python -m search.tasks.sd.retrain --run runs/sd --out runs/sd-long
    python -m search.tasks.sd.retrain --code 000...0 --out runs/uniform-4
    python -m search.tasks.sd.retrain --run runs/sd15 --sd SD15 --clip CLIP --dino DINO --concept my_dog=dog \\
        --concept my_mug=mug --recipe sd15 --precision fp16 --out runs/sd15-long

OUT/<concept>.safetensors has the LoRA factors and token vectors of a concept. A killed command goes on at its last
checkpoint.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from search.errors import cli
from search.tasks.recipes import add_arguments, from_arguments
from search.tasks.runs import best_codes
from search.tasks.sd import setup
from search.tasks.sd.learn import RECIPES
from search.tasks.sd.space import rank_space, ranks_of


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.sd.retrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", type=Path, help="folder of a finished search, for example runs/sd")
    which.add_argument("--code", help="48 digits, 0 to 2")
    parser.add_argument("--out", type=Path, default=Path("runs/sd-long"))
    parser.add_argument("--seed", type=int, default=0)
    add_arguments(parser, RECIPES, "embedded-long")
    setup.add_arguments(parser)
    args = parser.parse_args(argv)
    space = rank_space(args.partition)
    code = space.check(args.code or best_codes(args.run, 1)[0])
    recipe = from_arguments(args, RECIPES)
    base, concepts = setup.read(args, recipe.precision)
    from search.tasks.sd import store
    from search.tasks.sd.learn import learn

    for number, concept in enumerate(concepts, start=1):
        print(f"[{number}/{len(concepts)}] {concept.name}, a {concept.class_word}", flush=True)
        ranks = ranks_of(space, code, args.partition)
        learned = learn(base, concept, ranks, recipe, args.seed, out=args.out / concept.name, progress=True)
        about = {"code": code, "partition": args.partition, "recipe": asdict(recipe), "base": base.about}
        path = store.save(args.out / f"{concept.name}.safetensors", learned, about)
        print(f"  loss {sum(learned.losses[-20:]) / len(learned.losses[-20:]):.4f}, {path}")
    print(f"next: python -m search.tasks.sd.score --run {args.out}")
    return 0


if __name__ == "__main__":
    cli(main)
