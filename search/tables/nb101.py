"""NAS-Bench-101: 423,624 cells, trained three times on CIFAR-10 (the space: `search.spaces.nb101`).

load("nasbench_only108.tfrecord")     the original file; converted once (minutes), then loaded in a moment
load("cells.csv")                     a CSV or Parquet file of cells
load(api)                             a loaded `nasbench` object
"""

from __future__ import annotations

import base64
import binascii
import json
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from search.errors import UserError
from search.spaces import nb101
from search.spaces.cell_hash import fingerprint, vertex_hashes
from search.tables.base import Table
from search.tables.cache import cached, file_sum
from search.tables.columns import finite, read_columns
from search.tables.tfrecord import fields, records


def load(source: Any = None, epochs: int = 108) -> Table:
    """The table of `nasbench_only108.tfrecord` or `nasbench_full.tfrecord` (epochs 4, 12, 36, 108), or of a loaded API
    object.

    One row per cell, found from any of its codes. Metrics: val_acc, test_acc (percent, three repeats), train_time (s,
    three repeats), params.
    """
    return load_source(source, epochs)


KNOWN_SUMS = {
    "nasbench_only108.tfrecord": "4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1",
    "nasbench_full.tfrecord": "3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c",
}
DIRECTIONS = {"val_acc": "maximize", "test_acc": "maximize", "train_time": "minimize", "params": "minimize"}
LICENCE = "Apache-2.0"
_HELP = (
    "download nasbench_only108.tfrecord (499 MB) from storage.googleapis.com/nasbench and give its path as the source"
)


class Run(NamedTuple):
    """One training run: key of the cell, its edges and operations, validation and test accuracy (0..1), seconds,
    parameters.
    """

    key: str
    edges: list[tuple[int, int]]
    operations: list[int]
    val_acc: float
    test_acc: float
    train_time: float
    params: float


def load_source(source: Any, epochs: int) -> Table:
    """See `nb101.load`."""
    if source is None:
        raise UserError(f"no source was given for nb101 - no package has this table - {_HELP}")
    if not isinstance(source, (str, Path)):
        return from_api(source, epochs)
    path = Path(source)
    if not path.is_file():
        raise UserError(f"file {path} does not exist - nb101 is read from a .tfrecord or .csv file - {_HELP}")
    if path.suffix != ".tfrecord":
        return from_cells(path)
    digest = file_sum(path)

    def build() -> Table:
        note = " (the published file)" if digest == KNOWN_SUMS.get(path.name) else ""
        return _table(tfrecord_runs(path, epochs), path.name + note, digest, epochs)

    note = f"converting {path.name} ({path.stat().st_size >> 20} MB) once: some minutes; later loads take a moment"
    return cached("nb101", f"{digest}|{epochs}", build, nb101.canonical, note)


def tfrecord_runs(path: Path, epochs: int) -> Iterator[Run]:
    """The runs of a TFRecord file that trained for `epochs`."""
    seen = set()
    for number, payload in enumerate(records(path), start=1):
        try:
            key, trained, matrix, operations, encoded = json.loads(payload)
            seen.add(trained)
            if trained != epochs:
                continue
            params, last = _metrics(base64.b64decode(encoded, validate=True))
            edges, ops = nb101.parse_matrix(matrix, operations.split(","))
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, binascii.Error) as error:
            reason = f"record {number} of {path.name} is not a NAS-Bench-101 record ({type(error).__name__})"
            raise UserError(f"{reason} - the files are {', '.join(KNOWN_SUMS)} - {_HELP}") from error
        yield Run(key, edges, ops, last[4], last[5], last[2], params)
    if epochs not in seen:
        raise UserError(
            f"{path.name} has no runs of {epochs} epochs - it has {', '.join(map(str, sorted(seen))) or 'none'} -"
            " choose one of these"
        )


def _metrics(message: bytes) -> tuple[int, dict[int, Any]]:
    """(parameters, fields of the last evaluation) of a ModelMetrics message: 2 seconds, 3 training, 4 validation, 5
    test accuracy.
    """
    evaluations, params = [], 0
    for number, value in fields(message):
        if number == 1:
            evaluations.append(value)
        elif number == 2:
            params = value
    return params, dict(fields(evaluations[-1]))


def _table(runs: Iterable[Run], source: str, digest: str, epochs: int) -> Table:
    rows: dict[str, int] = {}
    codes: list[str] = []
    params, figures, places = array("d"), array("d"), array("q")  # flat: the small file has 1.27 million runs
    for run in runs:
        row = rows.setdefault(run.key, len(codes))
        if row == len(codes):
            codes.append(_checked_code(run))
            params.append(run.params)
        places.append(row)
        figures.extend((100 * run.val_acc, 100 * run.test_acc, run.train_time))
    if not codes:
        raise UserError(f"{source} holds no runs - {_HELP}")
    place = np.array(places)
    order = np.argsort(place, kind="stable")
    counts = np.bincount(place)
    repeat = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    block = np.full((len(codes), counts.max(), 3), np.nan)
    block[place[order], repeat] = np.array(figures).reshape(-1, 3)[order]
    own = nb101.space()
    metrics = {
        name: np.ascontiguousarray(block[:, :, k]) for k, name in enumerate(("val_acc", "test_acc", "train_time"))
    }
    metrics["params"] = np.array(params)
    name = "nb101" if epochs == 108 else f"nb101/{epochs}"
    return Table(name, own, own.to_array(codes), metrics, DIRECTIONS, source, LICENCE, digest, by_canonical=True)


def _checked_code(run: Run) -> str:
    """The canonical code of a run's cell, after making sure that the file's key belongs to it."""
    edges, kept = nb101.prune(run.edges, len(run.operations) + 1)
    labels = [-1, *run.operations, -2]
    labels = [labels[v] for v in kept]
    hashes = vertex_hashes(edges, labels)
    if not kept or fingerprint(hashes) != run.key:
        raise UserError(
            f"cell {run.key} has a matrix and operations of another cell - the file was changed or is of another kind -"
            " download it again"
        )
    return nb101.canonical_cell(edges, labels, hashes)


def from_api(api: Any, epochs: int) -> Table:
    """The table of a loaded `nasbench.api.NASBench` object."""
    fixed, computed = getattr(api, "fixed_statistics", None), getattr(api, "computed_statistics", None)
    if not isinstance(fixed, dict) or not isinstance(computed, dict):
        raise UserError(
            f"an object of type {type(api).__name__} was given as nb101 source - a path or a loaded nasbench API object"
            f" is needed - {_HELP}"
        )

    def runs() -> Iterator[Run]:
        for key, cell in fixed.items():
            edges, ops = nb101.parse_matrix(np.asarray(cell["module_adjacency"]).tolist(), cell["module_operations"])
            for run in computed[key].get(epochs, []):
                final = (run["final_validation_accuracy"], run["final_test_accuracy"], run["final_training_time"])
                yield Run(key, edges, ops, *final, cell["trainable_parameters"])

    return _table(runs(), "nasbench API object", "", epochs)


def from_cells(path: Path) -> Table:
    """A CSV or Parquet file with columns adj_upper (upper triangle, row by row) and ops (digits or names), or a column
    code.

    Numbers are metrics as they stand; several rows of a cell become repeats.
    """
    columns, numbers = read_columns(path)
    if "code" in columns:
        codes = columns["code"]
    elif {"adj_upper", "ops"} <= set(columns):
        codes = [_upper(path, upper, ops) for upper, ops in zip(columns["adj_upper"], columns["ops"], strict=True)]
    else:
        raise UserError(
            f"{path.name} has columns {', '.join(columns)} - 'code', or 'adj_upper' and 'ops', are needed - rename them"
        )
    metrics = finite(path, {n: v for n, v in numbers.items() if n not in ("code", "adj_upper", "ops")})
    own = nb101.space()
    same: dict[str, list[int]] = {}
    for row, code in enumerate(codes):
        if not nb101.valid(own.check(code)):
            raise UserError(
                f"row {row + 2} of {path.name} is no NAS-Bench-101 cell - input and output must be connected by at most"
                " 9 edges - remove it"
            )
        same.setdefault(nb101.canonical(code), []).append(row)
    width = max(map(len, same.values()))
    pick = np.array([rows + [-1] * (width - len(rows)) for rows in same.values()])
    merged = {n: np.where(pick >= 0, v[pick], np.nan) for n, v in metrics.items()}
    merged = {n: v[:, 0] if width == 1 else v for n, v in merged.items()}
    directions = {m: DIRECTIONS[m] for m in merged if m in DIRECTIONS}
    return Table(
        path.name.split(".")[0],
        own,
        own.to_array(list(same)),
        merged,
        directions,
        path.name,
        "",
        file_sum(path),
        by_canonical=True,
    )


def _upper(path: Path, upper: str, ops: str) -> str:
    names = [op for op in ops.split(",") if op] if "," in ops or ops in nb101.OPS else list(ops)
    numbers = [nb101.OPS.index(op) if op in nb101.OPS else "012".find(op) for op in names]
    n = len(numbers) + 2
    if len(upper) != n * (n - 1) // 2 or not set(upper) <= set("01") or -1 in numbers or n > 7:
        raise UserError(
            f"{path.name} has a cell '{upper}' with operations '{ops}' - V(V-1)/2 bits and V-2 operations are needed"
            " for V <= 7 - correct it"
        )
    bits = iter(upper)
    return nb101.to_code([(i, j) for i in range(n) for j in range(i + 1, n) if next(bits) == "1"], numbers)
