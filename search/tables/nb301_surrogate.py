"""A surrogate of DARTS accuracies: gradient boosting fitted to measured architectures, its quality measured on held-out
ones.

Each member is trained without one fold of the architectures; what the members say about the folds they have not seen is
the held-out score. A prediction is the mean of the members. Models are kept in xgboost's own UBJ form beside the cached
tables.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError, did_you_mean
from search.files import cache_folder, read_own, write_atomic
from search.spaces import nb301
from search.tables.base import Table

FORMAT = 1  # raise when features or settings change: older fits are then made again
_SETTINGS = {
    "max_depth": 6,
    "eta": 0.05,
    "subsample": 0.8,
    "colsample_bytree": 0.4,
    "min_child_weight": 3,
    "tree_method": "hist",
    "nthread": 1,
}
_ROUNDS = 800  # boosting rounds at a rate of 0.05


@dataclass(frozen=True)
class Surrogate:
    """members: fitted boosters.

    held_out: {'r2', 'kendall', 'rows', 'members'} on architectures the members had not seen.
    """

    members: tuple[Any, ...]
    held_out: dict[str, float]
    operations: int

    def predict(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the members, float64 (n,) each, of uint8 (n, 22) codes."""
        features = nb301.edge_features(codes, self.operations)
        each = np.array([m.inplace_predict(features) for m in self.members], dtype=np.float64)
        return each.mean(axis=0), each.std(axis=0)


def fit(table: Table, metric: str = "val_acc", members: int = 10, seed: int = 0, rounds: int = _ROUNDS) -> Surrogate:
    """The surrogate of one metric of a NAS-Bench-301 table, fitted once and kept; prints the held-out score when it
    fits.
    """
    if metric not in table.metrics:
        raise did_you_mean("metric of the runs", metric, table.metrics)
    try:
        import xgboost
    except ImportError as error:
        raise UserError(
            "the NAS-Bench-301 surrogate needs xgboost - it is not installed - run: pip install xgboost-cpu (or pip"
            " install xgboost)"
        ) from error
    values = table.metric(metric)
    rows = np.flatnonzero(np.isfinite(values))
    if len(rows) < 10 * members:
        raise UserError(
            f"{len(rows)} architectures with '{metric}' were given - {members} members need at least {10 * members} -"
            " give more runs or ask for fewer members"
        )
    operations = int(table.space.cardinalities[0])
    key = f"{FORMAT}|{table.sha256}|{metric}|{members}|{seed}|{rounds}|{operations}|{len(rows)}"
    folder = cache_folder() / f"nb301-surrogate-{hashlib.sha256(key.encode()).hexdigest()[:20]}"
    known = _stored(folder, members, operations, xgboost)
    if known is not None:
        return known
    codes = table.space.to_codes(table.codes[rows])
    features, target = nb301.edge_matrix(codes, operations), values[rows]
    fold = np.random.default_rng(seed).permutation(np.arange(len(rows)) % members)
    boosters, unseen = [], np.empty(len(rows))
    for k in range(members):
        train = fold != k
        data = xgboost.DMatrix(features[train], target[train])
        booster = xgboost.train({**_SETTINGS, "seed": seed + k}, data, num_boost_round=rounds)
        unseen[~train] = booster.inplace_predict(features[~train])
        boosters.append(booster)
    score = {"r2": _r2(target, unseen), "kendall": kendall(target, unseen), "rows": len(rows), "members": members}
    for k, booster in enumerate(boosters):
        write_atomic(folder / f"member_{k}.ubj", bytes(booster.save_raw("ubj")))
    write_atomic(folder / "held_out.json", json.dumps(score) + "\n")
    line = (
        f"nb301 surrogate of {metric}: held-out R2 {score['r2']:.3f}, Kendall tau {score['kendall']:.3f} ({len(rows)}"
        f" architectures, {members} members)"
    )
    print(line, file=sys.stderr)
    return Surrogate(tuple(boosters), score, operations)


def _stored(folder: Path, members: int, operations: int, xgboost: Any) -> Surrogate | None:
    try:
        score = json.loads(read_own(folder / "held_out.json"))
        boosters = []
        for k in range(members):
            booster = xgboost.Booster({"nthread": 1})
            booster.load_model(bytearray(read_own(folder / f"member_{k}.ubj")))
            boosters.append(booster)
        return Surrogate(tuple(boosters), score, operations)
    except (OSError, ValueError, xgboost.core.XGBoostError):
        return None


def _r2(true: np.ndarray, said: np.ndarray) -> float:
    return float(1 - ((true - said) ** 2).sum() / ((true - true.mean()) ** 2).sum())


def kendall(a: np.ndarray, b: np.ndarray, most: int = 4000) -> float:
    """Kendall's tau-a over all pairs (of the first `most` entries): agreeing minus disagreeing pairs, ties count as
    neither.
    """
    a, b = a[:most], b[:most]
    total = sum(float((np.sign(a[i] - a[i + 1 :]) * np.sign(b[i] - b[i + 1 :])).sum()) for i in range(len(a) - 1))
    return total / (len(a) * (len(a) - 1) / 2)
