"""Train the weight-shared transformer: one sub-transformer, drawn with the update's number, each update.

    python -m search.tasks.hat.supernet --data data/iwslt14 --out runs/hat/supernet --precision bf16
    torchrun --nproc-per-node 4 -m search.tasks.hat.supernet --data data/iwslt14 --out runs/hat/supernet
    python -m search.tasks.hat.supernet --data data/hat-embedded --recipe embedded --out runs/hat/embedded

A killed run goes on where it was saved. HAT's own 1-GPU run of this recipe is 50,000 updates of 4,096 tokens.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from search.errors import UserError, cli
from search.spaces import Space
from search.tasks.hat.recipe import RECIPES, Recipe
from search.tasks.hat.space import Arch, hat_space, largest, to_arch
from search.tasks.recipes import add_arguments, from_arguments
from search.tasks.training import first_process


def drawn(space: Space, seed: int, update: int) -> Arch:
    """The uniformly drawn sub-transformer of an update."""
    return to_arch(space, space.to_codes(space.sample(np.random.default_rng([seed, update]), 1))[0])


def build(recipe: Recipe, source_words: int, target_words: int):
    """(space, freshly initialised super-transformer) of a recipe."""
    import torch

    from search.tasks.hat.model import Transformer

    space = hat_space(recipe.space, recipe.reduce)
    torch.manual_seed(recipe.seed)
    return space, Transformer(largest(space), source_words, target_words, recipe.dropout, init_gain=recipe.init_gain)


def train_supernet(corpus, recipe: Recipe, out: Path, device: str = "auto", progress: bool = True) -> list[float]:
    """Train (or finish) the supernet of a corpus in folder `out`; returns the training losses of this call."""
    from search.tasks.hat.train import train
    from search.tasks.training import close_place, open_place

    place = open_place(device)
    space, model = build(recipe, len(corpus.source), len(corpus.target))
    losses = train(
        model, corpus.splits["train"], recipe, out, lambda update: drawn(space, recipe.seed, update), place, progress
    )
    close_place(place)
    return losses


def load_supernet(corpus, out: Path, recipe: Recipe):
    """(space, trained super-transformer) from the newest weights in `out`."""
    from search.tasks.training import checkpoints, read_checkpoint

    saved = checkpoints(out)
    if not saved:
        raise UserError(f"{out} holds no supernet - it is trained by python -m search.tasks.hat.supernet --out {out}")
    space, model = build(recipe, len(corpus.source), len(corpus.target))
    weights = read_checkpoint(saved[-1][1])["model"]
    shapes = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    if shapes != {name: tuple(p.shape) for name, p in weights.items()}:
        raise UserError(
            f"the supernet in {out} has other shapes than corpus and recipe ask for - give the corpus, space and reduce"
            " it was trained with"
        )
    model.load_state_dict(weights)
    return space, model.eval()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.hat.supernet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="corpus folder (search.tasks.hat.prepare)")
    parser.add_argument("--out", type=Path, default=Path("runs/hat/supernet"))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_arguments(parser, RECIPES, "iwslt14")
    args = parser.parse_args(argv)
    recipe = from_arguments(args, RECIPES)

    from search.tasks.hat.data import load

    corpus = load(args.data)
    losses = train_supernet(corpus, recipe, args.out, args.device)
    if first_process():
        report(corpus, recipe, args.out, args.device, len(losses))
    return 0


def report(corpus, recipe: Recipe, out: Path, device: str, updates: int) -> None:
    """Say where the supernet lies and how good its largest sub-transformer is."""
    import torch

    from search.tasks.hat.train import validation_loss

    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    space, model = load_supernet(corpus, out, recipe)
    model.to(device)
    valid = corpus.subset("valid", 500)
    batches = [valid.batch(rows).to(device) for rows in valid.groups(recipe.max_tokens)]
    loss = validation_loss(model, batches, largest(space))
    print(
        f"supernet in {out}: {updates} updates in this call, validation loss of the largest sub-transformer {loss:.4f}"
        " nats/token"
    )


if __name__ == "__main__":
    cli(main)
