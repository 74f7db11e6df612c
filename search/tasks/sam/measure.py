"""How good a model's masks are on pictures that are held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search.tasks.sam.recipe import Recipe
from search.tasks.training import Place, total_of


def measure(
    model: Any, held: Mapping[str, Any], metrics: Sequence[str], recipe: Recipe, place: Place = Place()
) -> dict[str, float]:
    """One metric a domain: {'score': their mean, 'loss': the mean loss of all pictures, 'METRIC DOMAIN': ...}."""
    found: dict[str, float] = {}
    losses = []
    for (name, pictures), metric in zip(held.items(), metrics, strict=True):
        values = table(model, pictures, (metric,), recipe, place)
        found[f"{metric} {name}"] = values[metric]
        losses.append(values["loss"])
    return {"score": float(np.mean(list(found.values()))), "loss": float(np.mean(losses)), **found}


def table(
    model: Any, pictures: Any, metrics: Sequence[str], recipe: Recipe, place: Place = Place()
) -> dict[str, float]:
    """Means over pictures of several metrics (percent) and of the loss; processes share the pictures."""
    from search.tasks.sam.metrics import per_picture
    from search.tasks.sam.train import mask_loss, predict

    sums, count = dict.fromkeys((*metrics, "loss"), 0.0), 0
    for x, y in pictures.parts(rank=place.rank, world=place.world):
        logits = predict(model, x, recipe.precision)
        share, masks = logits.sigmoid().numpy(), y.numpy()
        for name in metrics:
            sums[name] += float(per_picture(name, share, masks).sum())
        sums["loss"] += float(mask_loss(logits, y, recipe)) * len(x)
        count += len(x)
    n = total_of(count, place)
    return {name: total_of(value, place) / n for name, value in sums.items()}
