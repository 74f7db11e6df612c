"""Train codes long, with several seeds each: the best of a search beside uniform rank 3 and uniform rank 24.

    python -m search.tasks.sam.retrain --run runs/sam --out runs/sam-long
    python -m search.tasks.sam.retrain --code CODE --model facebook/sam-vit-huge --data datasets \\
        --settings kvasir,isic2017 --seeds 0-4 --out runs/sam-vit-h
    torchrun --nproc-per-node 4 -m search.tasks.sam.retrain ...

Every epoch is validated and the best one kept; training ends when `patience` epochs brought nothing better. A killed
command goes on at the last whole epoch. A setting brings its published recipe; each of its settings can be changed.
Afterwards: python -m search.tasks.sam.score --run OUT.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.errors import UserError, cli
from search.files import write_atomic
from search.tasks.recipes import kinds_of, named
from search.tasks.runs import best_codes
from search.tasks.sam.recipe import RECIPES, Recipe
from search.tasks.sam.space import EMBEDDED, PUBLISHED, ranks, sam_space
from search.tasks.training import Place, close_place, open_place, read_checkpoint, write_checkpoint

CHECKS = 10  # validations of a training that counts in steps
KEPT = ("model", "blocks", "pictures", "pretrain_steps", "codes", "seeds", "settings")  # of about.json


def opened(name: str, data: Path | None, pictures: int) -> Any:
    """A setting with its pictures: the generated one, `pictures` a domain, or one of Table 3 below `data`."""
    from search.tasks.sam.datasets import generated, open_setting

    return generated(pictures) if data is None else open_setting(name, data)


def base_of(about: dict[str, Any], place: Place, progress: bool) -> Any:
    """The frozen model: a published checkpoint, or the embedded one from the cache."""
    from search.tasks.sam import cache, model

    if about["model"]:
        return model.published(about["model"])
    recipe = named("pretrain", RECIPES, {"steps": about["pretrain_steps"]})
    return cache.embedded(recipe, about["blocks"], EMBEDDED.width, place, progress)


def fresh(base: Any, code: str, recipe: Recipe, seed: int) -> Any:
    """The model with fresh adapters of a code. The seed draws them anew, unlike in a search."""
    from search.tasks.sam.model import add_adapters

    return add_adapters(copy.deepcopy(base), ranks(code), recipe.experts, seed)


def folder_of(out: Path, setting: str, code: str, seed: int) -> Path:
    """Where one training lies: last.pt, best.pt, history.json."""
    return out / setting / code / f"seed-{seed}"


def fit(
    base: Any, code: str, setting: Any, recipe: Recipe, seed: int, folder: Path, place: Place, progress: bool = True
) -> list[float]:
    """Train one code with one seed and keep its best epoch; the validated metric of each epoch."""
    from search.tasks.sam.metrics import METRICS
    from search.tasks.sam.train import total_steps, train, weights

    model = fresh(base, code, recipe, seed)
    steps = total_steps(recipe, len(setting.train))
    each = -(-steps // (CHECKS if recipe.steps else recipe.epochs))
    sign = 1 if METRICS[setting.metrics[0]].better == "maximize" else -1
    history = _history(folder)
    about = {"code": code, "setting": setting.name}
    for epoch in range(len(history), -(-steps // each)):
        if recipe.patience and history and len(history) - 1 - _best(history, sign) >= recipe.patience:
            break
        train(model, setting.train, recipe, seed, folder, about, None, place, progress, each, (epoch + 1) * each)
        history.append(_validated(model, setting, recipe, place))
        if place.rank == 0:
            if _best(history, sign) == epoch:
                write_checkpoint(folder / "best.pt", {"model": weights(model), "epoch": epoch + 1})
            write_atomic(folder / "history.json", json.dumps(history) + "\n")
    return history


def _validated(model: Any, setting: Any, recipe: Recipe, place: Place) -> float:
    from search.tasks.sam.measure import measure

    return measure(model, setting.valid, setting.metrics[:1] * len(setting.valid), recipe, place)["score"]


def _best(history: Sequence[float], sign: int) -> int:
    return max(range(len(history)), key=lambda i: (sign * history[i], -i))


def _history(folder: Path) -> list[float]:
    try:
        return json.loads((folder / "history.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}/history.json cannot be read ({type(error).__name__}) - delete {folder}") from error


def retrain(
    codes: Sequence[str],
    seeds: Sequence[int],
    settings: dict[str, Recipe],
    out: Path,
    model: str | None = None,
    data: Path | None = None,
    pictures: int = 256,
    pretrain_steps: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> None:
    """Train every code with every seed on every setting; what is there already is not trained again."""
    place = open_place(device)
    about = {
        "model": model,
        "blocks": len(codes[0]),
        "pictures": pictures,
        "pretrain_steps": pretrain_steps,
        "codes": list(codes),
        "seeds": list(seeds),
        "settings": {name: asdict(recipe) for name, recipe in settings.items()},
    }
    base = base_of(about, place, progress)
    for name, recipe in settings.items():
        setting = opened(name, data, pictures)
        for code in codes:
            for seed in seeds:
                history = fit(base, code, setting, recipe, seed, folder_of(out, name, code, seed), place, progress)
                if progress and place.rank == 0:
                    shown = max(history) if setting.metrics[0] != "BER" else min(history)
                    print(f"{name} {code} seed {seed}: {setting.metrics[0]} {shown:.2f} on validation", flush=True)
    if place.rank == 0:
        write_atomic(out / "about.json", json.dumps(about, indent=1) + "\n")
    close_place(place)


def read_about(run: Path) -> dict[str, Any]:
    """about.json of a folder of `retrain`."""
    try:
        about = json.loads((run / "about.json").read_text(encoding="utf-8"))
        return {key: about[key] for key in KEPT}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{run} holds nothing that was retrained (about.json: {type(error).__name__}) - it is made by python -m"
            f" search.tasks.sam.retrain --out {run}"
        ) from error


def restored(base: Any, folder: Path, code: str, recipe: Recipe) -> Any:
    """The model with the best epoch's weights of one training."""
    from search.tasks.sam.train import load_weights

    path = folder / "best.pt"
    if not path.is_file():
        raise UserError(f"{path} is missing - the training of {code} is not finished - run retrain again")
    return load_weights(fresh(base, code, recipe, 0), read_checkpoint(path)["model"], str(path))


def seeds_of(text: str) -> list[int]:
    """'0-4' or '0,3' as numbers."""
    try:
        first, dash, last = text.partition("-")
        found = list(range(int(first), int(last) + 1)) if dash else [int(s) for s in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 0:
        raise UserError(f"--seeds {text} was given - 0-4 or 0,1,2 is needed")
    return found


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.sam.retrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", type=Path, help="folder of a finished search, for example runs/sam")
    which.add_argument("--code", help="one digit a block; several with commas")
    parser.add_argument("--alone", action="store_true", help="without the two uniform codes")
    parser.add_argument("--seeds", default="0-4", help="default 0-4")
    parser.add_argument(
        "--model", help="facebook/sam-vit-huge, -large, -base or a folder (default: the embedded model)"
    )
    parser.add_argument("--data", type=Path, help="folder of the published data sets")
    parser.add_argument(
        "--settings", help="of Table 3, with commas (default: all seven; the embedded model has its own)"
    )
    parser.add_argument("--pictures", type=int, default=256, help="generated ones a domain, to validate and to test on")
    parser.add_argument("--pretrain-steps", type=int, help="of the embedded model (default: its recipe's)")
    parser.add_argument("--out", type=Path, default=Path("runs/sam-long"))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU (default 1)")
    for name in kinds_of(RECIPES):
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="X", help="default: the setting's recipe")
    args = parser.parse_args(argv)
    if (args.model is None) != (args.data is None):
        raise UserError(f"--model {args.model} --data {args.data} were given - give both or neither")
    import torch

    from search.tasks.sam.datasets import SETTINGS

    torch.set_num_threads(args.threads)
    found = best_codes(args.run, 1) if args.run else args.code.split(",")
    codes = [sam_space(_blocks(args.model, found[0])).check(code) for code in found]
    plain = [] if args.alone else [digit * len(codes[0]) for digit in "03"]
    names = ["generated"] if args.data is None else (args.settings or ",".join(SETTINGS)).split(",")
    changes = {name: getattr(args, name) for name in kinds_of(RECIPES)}
    settings = {n: named("embedded-long" if n == "generated" else _recipe(n), RECIPES, changes) for n in names}
    codes = list(dict.fromkeys([*codes, *plain]))
    seeds = seeds_of(args.seeds)
    retrain(codes, seeds, settings, args.out, args.model, args.data, args.pictures, args.pretrain_steps, args.device)
    print(f"next: python -m search.tasks.sam.score --run {args.out}{f' --data {args.data}' if args.data else ''}")
    return 0


def _blocks(model: str | None, code: str) -> int:
    """How many digits a code needs: as many as the model has blocks; the embedded one may have any multiple of four."""
    from search.tasks.sam.model import shape_of

    if model:
        return PUBLISHED[model].blocks if model in PUBLISHED else shape_of(model)[0]
    return len(code) if code and len(code) % 4 == 0 else EMBEDDED.blocks


def _recipe(setting: str) -> str:
    from search.errors import did_you_mean
    from search.tasks.sam.datasets import SETTINGS

    if setting not in SETTINGS:
        raise did_you_mean("setting", setting, SETTINGS)
    return SETTINGS[setting].recipe


if __name__ == "__main__":
    cli(main)
