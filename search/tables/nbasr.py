"""NAS-Bench-ASR: phoneme error rate on TIMIT (lower is better; the space: `search.spaces.nbasr`).

load("nb-asr/")     a folder with nb-asr-e40-1234.pickle and its sisters (release v1.1.0 of SamsungLabs/nb-asr)
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError
from search.spaces.nbasr import all_codes, canonical, model_key, space
from search.tables.base import Table
from search.tables.cache import cached, file_sum
from search.tables.safe_pickle import load as load_pickle

_HELP = (
    "download nb-asr-e40-*.pickle from the releases of github.com/SamsungLabs/nb-asr and give their folder as the"
    " source"
)


def load(source: str | Path | None = None, epochs: int = 40) -> Table:
    """The table from a folder of release files, or from one of them.

    Metrics: val_per (percent, minimum over the epochs) and test_per (percent, at that epoch), one column per seed;
    latency_<device>, params and flops where their files lie beside. All are minimised.

    epochs: 40 is the full training, 5 and 10 are cheaper ones.
    """
    if source is None:
        raise UserError(f"no source was given for nbasr - no package has this table - {_HELP}")
    path = Path(source)
    files = sorted(path.glob("nb-asr-*.pickle")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise UserError(f"{path} has no nb-asr-*.pickle - {_HELP}")
    sums = "".join(f"{file_sum(f)}  {f.name}\n" for f in files)
    digest = sha256(sums.encode()).hexdigest()
    return cached("nbasr", f"{digest}|{epochs}", lambda: _build(files, path, digest, epochs), canonical)


def read_file(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """Header and rows of one file: two pickles back to back, read without running anything."""
    with open(path, "rb") as handle:
        header, rows = load_pickle(handle, path.name), load_pickle(handle, path.name)
    if not isinstance(header, dict) or not isinstance(rows, list) or "dataset_type" not in header:
        raise UserError(f"{path.name} is not a NAS-Bench-ASR file - it must hold a header and a list of rows - {_HELP}")
    return header, rows


def _columns(header: dict[str, Any], rows: list[Any]) -> dict[str, dict[str, float]]:
    """{metric: {model key: value}} of one file, by its kind: training, benchmarking (latency) or static
    (parameters).
    """
    if header["dataset_type"] == "training":
        return {"val_per": {r[0]: 100 * min(r[1]) for r in rows}, "test_per": {r[0]: 100 * r[2] for r in rows}}
    if header["dataset_type"] == "benchmarking":
        return {f"latency_{header['device']}".replace("-", "_"): {r[0]: r[1] for r in rows}}
    names = ["params", "flops"][: len(rows[0]) - 1]
    return {name: {r[0]: r[at] for r in rows} for at, name in enumerate(names, start=1)}


def _build(files: list[Path], path: Path, digest: str, epochs: int) -> Table:
    columns: dict[str, list[dict[str, float]]] = {}
    seeds, seen = [], set()
    for file in files:
        header, rows = read_file(file)
        if header["dataset_type"] == "training":
            seen.add(header.get("epochs"))
            if header.get("epochs") != epochs:
                continue
            seeds.append(str(header.get("seed")))
        try:
            for name, values in _columns(header, rows).items():
                columns.setdefault(name, []).append(values)
        except (TypeError, IndexError, ValueError, KeyError, AttributeError) as error:
            raise UserError(
                f"{file.name} has a row of another form ({error}) - rows start with the model's key - download it again"
            ) from error
    if "val_per" not in columns:
        raise UserError(
            f"{path} has no training runs of {epochs} epochs - it has those of {sorted(map(str, seen)) or 'none'} -"
            f" {_HELP}"
        )
    own = space()
    trained = set().union(*columns["val_per"])
    codes = [code for code in all_codes() if model_key(code) in trained]
    if not codes:
        raise UserError(
            f"no key in {path} is one of the 8,242 NAS-Bench-ASR models - the files are of another kind - {_HELP}"
        )
    keys = [model_key(code) for code in codes]
    try:
        metrics = {
            name: np.array([[c.get(key, np.nan) for c in many] for key in keys], dtype=np.float64)
            for name, many in columns.items()
        }
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path} has a value that is no number ({error}) - download it again") from error
    metrics = {name: values[:, 0].copy() if values.shape[1] == 1 else values for name, values in metrics.items()}
    source = f"nb-asr, {epochs} epochs, seeds {', '.join(seeds)}"
    return Table(
        "nbasr",
        own,
        own.to_array(codes),
        metrics,
        dict.fromkeys(metrics, "minimize"),
        source,
        "Apache-2.0 (SamsungLabs/nb-asr)",
        digest,
    )
