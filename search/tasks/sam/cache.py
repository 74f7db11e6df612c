"""What every evaluation starts from, made once and kept: the embedded model, and one set of nested adapters.

Nested adapters are one set of rank 24, trained with a random code each step as HAT's supernet is: a code is then only
validated, with the first ranks of each module. Everything lies in $LMSEARCHER_CACHE (default ~/.cache/lmsearcher)
under sam/, in folders named by a hash of what they were made from.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from search.files import cache_folder, check_own
from search.tasks.sam.recipe import Recipe
from search.tasks.sam.space import LARGEST, RANKS
from search.tasks.training import Place, key, read_checkpoint

ADAPTERS_SEED = 0  # of what all adapters start from: codes then differ by their ranks and not by their luck


def root() -> Path:
    """The cache folder of this task."""
    return cache_folder() / "sam"


def folder_of(name: str, *made_from: Any) -> Path:
    """Where something lies or will lie, made from these things and by these modules."""
    from search.tasks.sam import conv_lora, losses, model, pictures, train

    by = [sha256(Path(str(m.__file__)).read_bytes()).hexdigest() for m in (conv_lora, losses, model, pictures, train)]
    folder = root() / f"{name}-{key(by, *made_from)}"
    return check_own(folder) if os.path.lexists(folder) else folder


def embedded(recipe: Recipe, blocks: int, width: int, place: Place = Place(), progress: bool = True) -> Any:
    """The small model, pre-trained on generated salient objects; from the cache where it is whole."""
    import torch

    from search.tasks.sam.model import small
    from search.tasks.sam.pictures import Endless

    torch.manual_seed(0)
    model = small(blocks, width)
    model.set_attn_implementation("eager")  # a tenth faster than sdpa on 16 tokens
    say = f"pre-training the embedded model, {recipe.steps} steps"
    return _whole(
        model, Endless(("salient",)), recipe, folder_of("base", recipe.identity(), blocks, width), say, place, progress
    )


def nested(
    base: Any, source: Any, recipe: Recipe, made_from: Any, place: Place = Place(), progress: bool = True
) -> Any:
    """The base with adapters of the largest rank, trained with a random code each step; from the cache where whole.

    made_from: what the base and the pictures are, for the cache.
    """
    from search.tasks.sam.model import add_adapters

    blocks = len(base.vision_encoder.layers)
    model = add_adapters(base, [LARGEST] * blocks, recipe.experts, ADAPTERS_SEED)
    say = f"training nested adapters, {recipe.steps or recipe.epochs} {'steps' if recipe.steps else 'epochs'}"
    folder = folder_of("nested", recipe.identity(), blocks, made_from)
    return _whole(model, source, recipe, folder, say, place, progress, random_ranks)


def random_ranks(model: Any, step: int) -> None:
    """Cut every module to a rank drawn for this step."""
    from search.tasks.sam.model import adapters, cut

    cut(model, np.random.default_rng([7, step]).choice(RANKS, len(adapters(model))).tolist())


def _whole(
    model: Any, source: Any, recipe: Recipe, folder: Path, say: str, place: Place, progress: bool,
    pick: Callable[[Any, int], None] | None = None,
) -> Any:  # fmt: skip
    """The model with the weights of a finished training; what is missing of it is trained now."""
    from search.tasks.sam.train import load_weights, total_steps, train

    last = folder / "last.pt"
    saved: dict[str, Any] = read_checkpoint(last) if last.exists() else {"step": 0}
    if saved["step"] < total_steps(recipe, len(source)):
        if progress and place.rank == 0:
            print(f"sam: {say}, kept in {folder}", file=sys.stderr, flush=True)
        train(model, source, recipe, 0, folder, pick=pick, place=place, progress=progress)
    else:
        load_weights(model, saved["model"], str(last))
    return model.to(place.device).eval()
