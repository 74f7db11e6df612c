"""Measured DARTS architectures: the published runs of NAS-Bench-301, or a list of your own (the space:
`search.spaces.nb301`).

load("nb_301/")              the published runs: a folder of results_*.json
load("genotypes.csv")        a column 'genotype' (or 'code') and numbers
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError
from search.spaces import nb301
from search.spaces.nb301 import OPS, OPS_WITH_NONE
from search.tables.base import Table, natural_direction
from search.tables.cache import cached, file_sum, folder_sum
from search.tables.columns import finite, read_columns


def load(source: str | Path | None = None, with_none: bool = False) -> Table:
    """The measured architectures. From runs: val_acc, test_acc (percent), train_time (s), one column per repeat; from a
    CSV: its numbers.

    with_none: keep architectures that use 'none' (an eighth operation); else they are left out and counted in the
    table's source.
    """
    return load_source(source, OPS_WITH_NONE if with_none else OPS)


_HELP = "download the runs (figshare 13246952) or make a CSV with a column 'genotype', and give its path as the source"
_LEAD = "NetworkSelectorDatasetInfo:darts:"


def load_source(source: str | Path | None, ops: tuple[str, ...]) -> Table:
    """See `nb301.load`."""
    if source is None:
        raise UserError(f"no source was given for nb301 - no package has these runs - {_HELP}")
    path = Path(source)
    canonical = partial(nb301.canonical, ops=ops)
    if path.is_dir():
        files = sorted(path.rglob("*.json"))
        if not files:
            raise UserError(f"folder {path} has no .json runs of NAS-Bench-301 - {_HELP}")
        digest = folder_sum(files)
        note = f"reading {len(files)} runs of {path.name} once; later loads take a moment"
        return cached("nb301", digest, lambda: _from_runs(files, path, digest), canonical, note)
    if not path.is_file():
        raise UserError(f"{path} does not exist - {_HELP}")
    digest = file_sum(path)
    return cached("nb301", f"{digest}|{len(ops)}", lambda: _from_list(path, digest, ops), canonical)


def _from_runs(files: list[Path], path: Path, digest: str) -> Table:
    """Runs with the most common training set-up (layers, channels, epochs); files that are no runs are counted."""
    runs: list[tuple[Any, str, tuple[float, ...]]] = []
    other = 0
    for file in files:
        try:
            data = json.loads(file.read_bytes())
            config, info = data["optimized_hyperparamater_config"], data["info"][0]
            setup = (config.get(f"{_LEAD}layers"), config.get(f"{_LEAD}init_channels"), data.get("budget"))
            figures = (info["val_accuracy"], data.get("test_accuracy", np.nan), data.get("runtime", np.nan))
            runs.append((setup, nb301.from_config(config), tuple(float(x) for x in figures)))
        except (KeyError, IndexError, TypeError, ValueError, UserError):
            other += 1
    if not runs:
        raise UserError(f"none of the {len(files)} .json files in {path} is a NAS-Bench-301 run - {_HELP}")
    common, _ = Counter(setup for setup, _, _ in runs).most_common(1)[0]
    kept = [(code, figures) for setup, code, figures in runs if setup == common]
    layers, channels, epochs = common
    left_out = len(runs) - len(kept) + other
    source = (
        f"{path.name}: {len(kept)} runs ({layers} layers, {channels} channels, {epochs} epochs), {left_out} files of"
        " other kinds left out"
    )
    return _table(kept, ("val_acc", "test_acc", "train_time"), source, digest, nb301.OPS)


def _from_list(path: Path, digest: str, ops: tuple[str, ...]) -> Table:
    columns, numbers = read_columns(path)
    own = nb301.space(ops)
    if "genotype" in columns:
        used_none = [ops is nb301.OPS and "'none'" in text for text in columns["genotype"]]
        codes = [
            "" if none else nb301.parse_genotype(text, ops)
            for text, none in zip(columns["genotype"], used_none, strict=True)
        ]
    elif "code" in columns:
        codes = [own.check(code) for code in columns["code"]]
    else:
        raise UserError(
            f"{path.name} has columns {', '.join(columns)} - a column 'genotype' or 'code' is needed - rename one"
        )
    numbers = finite(path, {n: v for n, v in numbers.items() if n != "code"})
    names = tuple(numbers)
    kept = [(code, tuple(numbers[n][row] for n in names)) for row, code in enumerate(codes) if code]
    if not kept or not names:
        raise UserError(f"{path.name} has no architecture of the DARTS space with a number beside it - {_HELP}")
    left = len(codes) - len(kept)
    return _table(
        kept, names, path.name + (f" ({left} architectures with 'none' left out)" if left else ""), digest, ops
    )


def _table(
    rows: list[tuple[str, tuple[float, ...]]], names: tuple[str, ...], source: str, digest: str, ops: tuple[str, ...]
) -> Table:
    groups: dict[str, list[tuple[float, ...]]] = {}
    for code, figures in rows:
        groups.setdefault(code, []).append(figures)
    width = max(map(len, groups.values()))
    block = np.full((len(groups), width, len(names)), np.nan)
    for row, repeats in enumerate(groups.values()):
        block[row, : len(repeats)] = repeats
    metrics = {
        name: np.ascontiguousarray(block[:, :, k] if width > 1 else block[:, 0, k]) for k, name in enumerate(names)
    }
    own = nb301.space(ops)
    directions = {name: d for name in names if (d := natural_direction(name))}
    return Table("nb301", own, own.to_array(list(groups)), metrics, directions, source, "", digest)
