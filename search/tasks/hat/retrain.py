"""Train one sub-transformer from scratch: the winner of a search.

    python -m search.tasks.hat.retrain --run runs/hat/seed-0 --data data/iwslt14 --recipe iwslt14-sub --out runs/final
    python -m search.tasks.hat.retrain --code CODE --data data/hat-embedded --recipe embedded-sub --out runs/final

Under torchrun it is data parallel; a killed run goes on. The recipe is the supernet's with a shorter warm-up.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from search.errors import UserError, cli
from search.files import write_atomic
from search.tasks.hat.recipe import RECIPES, Recipe
from search.tasks.hat.space import hat_space, largest, parameters, to_arch
from search.tasks.recipes import add_arguments, from_arguments
from search.tasks.training import first_process


def build(recipe: Recipe, code: str, source_words: int, target_words: int):
    """A freshly initialised model of the sub-transformer `code`; positions and dropout scale as in its
    super-transformer.
    """
    import torch

    from search.tasks.hat.model import Transformer

    space = hat_space(recipe.space, recipe.reduce)
    torch.manual_seed(recipe.seed)
    return Transformer(
        to_arch(space, code), source_words, target_words, recipe.dropout, largest(space).enc_embed, recipe.init_gain
    )


def retrain(corpus, recipe: Recipe, code: str, out: Path, device: str = "auto", progress: bool = True):
    """Train the sub-transformer from scratch in folder `out`; returns the model."""
    from search.tasks.hat.train import train
    from search.tasks.training import close_place, open_place

    space = hat_space(recipe.space, recipe.reduce)
    code = space.canonical(space.check(code))
    about = out / "model.json"
    if about.exists() and read_about(out)["code"] != code:
        raise UserError(
            f"{out} holds the training of {read_about(out)['code']}, not of {code} - one folder keeps one model -"
            " choose another --out"
        )
    place = open_place(device)
    if place.rank == 0:
        write_atomic(
            about,
            json.dumps({"code": code, "recipe": asdict(recipe), "corpus_sha256": corpus.about["sha256"]}, indent=1)
            + "\n",
        )
    model = build(recipe, code, len(corpus.source), len(corpus.target))
    train(model, corpus.splits["train"], recipe, out, lambda update: None, place, progress)
    close_place(place)
    return model


def read_about(out: Path) -> dict:
    """model.json of a retrained model: code, recipe, corpus_sha256."""
    try:
        about = json.loads((out / "model.json").read_text(encoding="utf-8"))
        return {key: about[key] for key in ("code", "recipe", "corpus_sha256")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{out} holds no retrained model (model.json: {type(error).__name__}) - it is made by python -m"
            f" search.tasks.hat.retrain --out {out}"
        ) from error


def best_code(run: Path) -> str:
    """The best code of a finished search, from summary.json of its seed folder."""
    try:
        return json.loads((run / "summary.json").read_text(encoding="utf-8"))["best"]["code"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{run} holds no finished search (summary.json: {type(error).__name__}) - give a folder like"
            " runs/hat/seed-0 - or use --code"
        ) from error


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.hat.retrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--code", help="the sub-transformer, 39 digits")
    which.add_argument("--run", type=Path, help="folder of a finished search, for example runs/hat/seed-0")
    parser.add_argument("--data", type=Path, required=True, help="corpus folder")
    parser.add_argument("--out", type=Path, default=Path("runs/hat/final"))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_arguments(parser, RECIPES, "iwslt14")
    args = parser.parse_args(argv)
    recipe, code = from_arguments(args, RECIPES), args.code or best_code(args.run)

    from search.tasks.hat.data import load
    from search.tasks.hat.train import validation_loss

    corpus = load(args.data)
    model = retrain(corpus, recipe, code, args.out, args.device)
    if not first_process():
        return 0
    valid = corpus.subset("valid", 500)
    device = model.output.device
    loss = validation_loss(model, [valid.batch(rows).to(device) for rows in valid.groups(recipe.max_tokens)])
    weights = parameters(model.arch, len(corpus.source), len(corpus.target))
    print(
        f"{args.out}: {code}, {weights:,} weights, {recipe.updates} updates, validation loss {loss:.4f} nats/token; "
        f"next: python -m search.tasks.hat.score --run {args.out} --data {args.data}"
    )
    return 0


if __name__ == "__main__":
    cli(main)
