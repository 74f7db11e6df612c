"""The original files of NAS-Bench-201, and tables made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.errors import UserError, did_you_mean
from search.tables import nb201
from search.tables.base import Table
from search.tables.csv import read_columns

_CSV_NAMES = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "imagenet16_120"}


def load_original(dataset: str, source: str | Path | Any) -> Table:
    """The table of `dataset` from `source`: a CSV or Parquet file with a column of codes or strings."""
    return from_columns(dataset, Path(source))


def from_columns(dataset: str, path: Path) -> Table:
    """A CSV or Parquet file with `code` or `arch_str` and `<dataset>_valid`, `<dataset>_test` columns (or val_acc, test_acc), in percent."""
    from search.tables.cache import file_sum

    columns, numbers = read_columns(path)
    key = next((c for c in ("code", "arch_str", "arch") if c in columns), None)
    if key is None:
        raise UserError(f"{path.name} has columns {', '.join(columns)} - a column 'code' of six digits or 'arch_str' is needed - rename one")
    codes = [nb201.parse_string(c) if c.startswith("|") else c for c in columns[key]]
    name = _CSV_NAMES[dataset]
    wanted = (("val_acc", f"{name}_valid"), ("test_acc", f"{name}_test"), ("val_acc", "val_acc"), ("test_acc", "test_acc"))
    metrics = {ours: numbers[theirs] for ours, theirs in wanted if theirs in numbers}
    if "val_acc" not in metrics:
        raise did_you_mean(f"column of {path.name}", f"{name}_valid", columns)
    own = nb201.space()
    if len(set(codes)) != len(codes):
        raise UserError(f"{path.name} lists {len(codes) - len(set(codes))} cells twice - each cell has one row - remove the repeats")
    directions = {m: nb201.DIRECTIONS[m] for m in metrics}
    return Table(f"nb201/{dataset}", own, own.to_array(codes), metrics, directions, path.name, "", file_sum(path))
