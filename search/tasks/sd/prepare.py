"""What the task makes once and keeps in $LMSEARCHER_CACHE/sd: the embedded base model, and nested ranks of a concept.

    python -m search.tasks.sd.prepare      train the embedded base model now; a killed command goes on

Folders are named by a hash of what they were made from: recipe and source of the modules that make them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from search.errors import UserError, cli
from search.files import cache_folder
from search.tasks.sd import concepts, models, pretrain, scenes
from search.tasks.sd.base import Base, embedded
from search.tasks.training import key, locked, read_checkpoint, write_checkpoint

PACKAGES = {"diffusers": "diffusers", "peft": "peft", "transformers": "transformers", "safetensors": "safetensors"}


def check_packages() -> None:
    """UserError in one sentence if a library that the task needs is not installed."""
    missing = [name for name, module in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise UserError(
            f"the task sd needs {', '.join(missing)} - {'it is' if len(missing) == 1 else 'they are'} not installed -"
            f" pip install {' '.join(missing)}, or the extra: pip install 'lm-searcher[tasks,train]'"
        )


def root() -> Path:
    """The cache folder of this task."""
    return cache_folder() / "sd"


def _sources() -> list[str]:
    return [sha256(Path(str(m.__file__)).read_bytes()).hexdigest() for m in (scenes, models, pretrain)]


def default_recipe() -> pretrain.BaseRecipe:
    """The recipe of the embedded base model: it never sees the concepts' pairs of parts."""
    return pretrain.BaseRecipe(without=concepts.HIDDEN_PAIRS)


def shortened(recipe: pretrain.BaseRecipe, steps: int) -> pretrain.BaseRecipe:
    """The recipe with at most so many steps of each training; 0 changes nothing."""
    if not steps:
        return recipe
    stages = {name: getattr(recipe, name) for name in ("clip", "identity", "unet")}
    return replace(recipe, **{name: replace(s, steps=min(steps, s.steps)) for name, s in stages.items()})


def base_folder(recipe: pretrain.BaseRecipe) -> Path:
    """Where the embedded base model of a recipe lies or will lie."""
    return root() / f"base-{key(recipe.identity_of(), _sources())}"


def embedded_base(recipe: pretrain.BaseRecipe | None = None, layers: int = 1, progress: bool = True) -> Base:
    """The embedded base model, trained now if the cache lacks it."""
    recipe = recipe or default_recipe()
    folder = base_folder(recipe)
    with locked(root()):
        made = {name: _part(name, recipe, folder, progress) for name in ("clip",)}
        made["unet"] = _part("unet", recipe, folder, progress, made["clip"])
        made["identity"] = _part("identity", recipe, folder, progress)
    return embedded(made["clip"], made["unet"], made["identity"], layers, {"base": folder.name} | recipe.identity_of())


def _part(name: str, recipe: pretrain.BaseRecipe, folder: Path, progress: bool, clip: Any = None) -> Any:
    import torch

    torch.manual_seed(recipe.seed)
    model: Any = {"clip": models.small_clip, "unet": models.small_unet, "identity": models.IdentityEncoder}[name]()
    path = folder / f"{name}.pt"
    if path.exists():
        model.load_state_dict(read_checkpoint(path)["model"])
        return model.eval().requires_grad_(False)
    if progress:
        print(f"sd: training the embedded {name}, kept in {folder}", file=sys.stderr, flush=True)
    model = pretrain.train_part(name, model, recipe, folder / f"{name}-last.pt", clip, progress)
    write_checkpoint(path, {"model": model.state_dict()})
    return model


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    lines, name = argparse.RawDescriptionHelpFormatter, "python -m search.tasks.sd.prepare"
    argparse.ArgumentParser(prog=name, description=__doc__, formatter_class=lines).parse_args(argv)
    check_packages()
    embedded_base()
    print(base_folder(default_recipe()))
    return 0


if __name__ == "__main__":
    cli(main)
