"""Train the best cells of a search long; the winner is chosen by validation, and only the winner is tested.

    python -m search.tasks.darts.retrain --run runs/darts --pictures animals --recipe embedded-long
    python -m search.tasks.darts.retrain --run runs/cifar --pictures cifar10 --data cifar-10-python.tar.gz --recipe
    cifar10-long torchrun --nproc-per-node 8 -m search.tasks.darts.retrain --code CODE --folder /data/imagenet --recipe
    imagenet

A killed command goes on at the last whole epoch. --recipe names the settings, each of which can be changed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.errors import UserError, cli
from search.files import write_atomic
from search.spaces.nb301 import OPS, canonical, genotype, parse_genotype, space
from search.tasks.darts.recipe import RECIPES, Recipe
from search.tasks.darts.task import LONG, Darts
from search.tasks.recipes import add_arguments, from_arguments
from search.tasks.runs import best_codes


def retrain(
    codes: Sequence[str], task: Darts, recipe: Recipe, out: Path, seed: int = 0, progress: bool = True
) -> dict[str, Any]:
    """Each code's validation accuracy, and the test accuracy of the winner; written to out/results.json as it goes.

    {'codes': {code: {'accuracy', 'loss', 'parameters'}}, 'winner', 'test': {'accuracy', 'loss'}}; accuracies in
    percent.
    """
    import torch

    from search.tasks.darts.network import parameters
    from search.tasks.darts.train import score, train

    task.prepare(progress)
    results: dict[str, Any] = {"recipe": recipe.identity(), "seed": seed, "codes": {}}
    networks = {}
    for number, code in enumerate(codes, start=1):
        if progress and task.place.rank == 0:
            print(f"[{number}/{len(codes)}] {code}", flush=True)
        network = train(code, recipe, task.batches, task.shape, seed, out / code, task.place, progress)
        accuracy, loss = score(network, *task.valid, task.place.device)
        results["codes"][code] = {"accuracy": accuracy, "loss": loss, "parameters": parameters(network)}
        networks[code] = network
        _keep(out, results, task.place)
    winner = max(
        results["codes"], key=lambda code: (results["codes"][code]["accuracy"], -results["codes"][code]["loss"])
    )
    test_x, test_y = task._read(task.pictures.test_x), torch.from_numpy(task.pictures.test_y)
    accuracy, loss = score(networks[winner], test_x, test_y, task.place.device)
    results |= {"winner": winner, "genotype": genotype(winner), "test": {"accuracy": accuracy, "loss": loss}}
    _keep(out, results, task.place)
    return results


def retrain_on_folder(
    code: str, folder: Path, recipe: Recipe, out: Path, seed: int, size: int, device: str
) -> dict[str, Any]:
    """One code on ImageNet's folders: accuracy on val/, which is ImageNet's usual test, of the last epoch."""
    import torch

    from search.tasks.darts.folders import Folder
    from search.tasks.darts.train import train
    from search.tasks.training import close_place, open_place

    place = open_place(device)
    training, valid = Folder(folder / "train", size), Folder(folder / "val", size)
    if training.classes != valid.classes:
        raise UserError(
            f"{folder} has {len(training.classes)} classes in train/ and {len(valid.classes)} in val/ - the same are"
            " needed"
        )
    shape = {"size": size, "classes": len(training.classes), "stem": "imagenet"}
    network = train(code, recipe, training, shape, seed, out / code, place, True)
    right = total = 0
    with torch.no_grad():
        for x, y in valid.all():
            right += int((network(x.to(place.device))[0].argmax(1).cpu() == y).sum())
            total += len(y)
    results = {"recipe": recipe.identity(), "seed": seed, "winner": code, "test": {"accuracy": 100 * right / total}}
    _keep(out, results, place)
    close_place(place)
    return results


def _keep(out: Path, results: dict[str, Any], place: Any) -> None:
    if place.rank == 0:
        write_atomic(out / "results.json", json.dumps(results, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.darts.retrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", type=Path, help="folder of a finished search, for example runs/darts")
    which.add_argument("--code", help="22 digits")
    which.add_argument("--genotype", help="DARTS' text of the two cells")
    parser.add_argument(
        "--top", type=int, default=5, help="of a run: how many of its best cells (default 5, as in the paper)"
    )
    parser.add_argument("--pictures", default="animals", help="animals, photos or cifar10 (default animals)")
    parser.add_argument("--data", help="CIFAR-10's archive, Parquet files or folders")
    parser.add_argument("--held-out", type=int, help="pictures to choose the winner by (default: as in the search)")
    parser.add_argument("--folder", type=Path, help="ImageNet: the folder of train/ and val/")
    parser.add_argument("--size", type=int, default=224, help="ImageNet: pixels of a side (default 224)")
    parser.add_argument("--out", type=Path, default=Path("runs/darts-long"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU (default 1)")
    add_arguments(parser, RECIPES, "embedded-long")
    args = parser.parse_args(argv)
    recipe = from_arguments(args, RECIPES)
    if args.top < 1:
        raise UserError(f"--top {args.top} was given - at least 1 is needed")
    given = args.code or (parse_genotype(args.genotype) if args.genotype else None)
    codes = best_codes(args.run, args.top, canonical) if args.run else [space(OPS).check(str(given))]
    if args.folder is not None:
        results = retrain_on_folder(codes[0], args.folder, recipe, args.out, args.seed, args.size, args.device)
    else:
        if args.pictures not in LONG:
            raise UserError(f"--pictures {args.pictures} was given - allowed are {', '.join(LONG)} - choose one")
        task = Darts(args.pictures, args.data, args.held_out, threads=args.threads, device=args.device)
        results = retrain(codes, task, recipe, args.out, args.seed)
        for code, row in results["codes"].items():
            mark = "  <- chosen by validation" if code == results["winner"] else ""
            print(
                f"{code}  validation {row['accuracy']:.2f} %  loss {row['loss']:.4f}  {row['parameters']:,}"
                f" weights{mark}"
            )
    print(f"test of {results['winner']}: {results['test']['accuracy']:.2f} % ({args.out / 'results.json'})")
    return 0


if __name__ == "__main__":
    cli(main)
