"""DARTS cells (paper section 4, Tables 2 and 5): searched by really training them, on pictures.

python -m search.run --task darts --budget 60            embedded: animal silhouettes from a package, no download
python -m search.run --task darts/photos --budget 60     embedded: which photograph does a crop come from
python -m search.run --task darts/cifar10 --task-option data=cifar-10-python.tar.gz
python -m search.run --task darts/imagenet --task-option source=nb_301/      the surrogate, retrained on ImageNet
python -m search.tasks.darts.retrain --run runs/darts    the five best trained long, the winner tested once
python -m search.tasks.darts.picture --code CODE --out cells.png
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The task classes, imported on first use so that the commands beside them stay light."""
    if name in ("Darts", "DartsImageNet"):
        from search.tasks.darts import task

        return getattr(task, name)
    raise AttributeError(f"module 'search.tasks.darts' has no attribute '{name}'")
