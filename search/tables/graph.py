"""NAS-Bench-Graph: nine data sets, from the pip package nas-bench-graph (the space: `search.spaces.graph`).

The benchmark trained one network per architecture (26,206; 2,021 for proteins); here every code that builds the same
network shares its figures, so that all 59,049 (5,625) codes but 'skip everywhere' are in the table.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from search.errors import UserError, did_you_mean
from search.spaces.graph import OPS, OPS_PROTEINS, all_codes, benchmark_key, canonical, network, space
from search.tables import GRAPH
from search.tables.base import Table
from search.tables.cache import cached, file_sum
from search.tables.pip_tables import package_file, package_version
from search.tables.safe_pickle import load_file


def load(dataset: str = "cora", source: str | Path | None = None) -> Table:
    """Metrics: val_acc, test_acc (0..1; ROC-AUC for proteins), latency (s), params (millions).

    source: another copy of the .bench file.
    """
    if dataset not in GRAPH:
        raise did_you_mean("NAS-Bench-Graph data set", dataset, GRAPH)
    path = (
        package_file("nas-bench-graph", "nas_bench_graph", f"light/{dataset}.bench") if source is None else Path(source)
    )
    digest = file_sum(path) if path.is_file() else ""
    ops = OPS_PROTEINS if dataset == "proteins" else OPS
    names = {"val_acc": "valid_perf", "test_acc": "perf", "latency": "latency", "params": "para"}
    directions = {"val_acc": "maximize", "test_acc": "maximize", "latency": "minimize", "params": "minimize"}
    origin = package_version("nas-bench-graph") if source is None else path.name

    def build() -> Table:
        data = load_file(path)
        try:
            if not isinstance(data, dict):
                raise TypeError
            nets = {code: network(code, ops) for code in all_codes(ops)}
            trained = {net: data[key] for code, net in nets.items() if (key := benchmark_key(code, ops)) in data}
            codes = [code for code, net in nets.items() if net in trained]
            metrics = {
                ours: np.array([trained[nets[c]][theirs] for c in codes], dtype=np.float64)
                for ours, theirs in names.items()
            }
        except (TypeError, KeyError, ValueError, IndexError, OverflowError) as error:
            raise UserError(
                f"{path.name} is not as NAS-Bench-Graph has it ({type(error).__name__}) - a light/*.bench file is"
                " needed - give its path"
            ) from error
        if not codes:
            raise UserError(
                f"{path.name} has no architecture of NAS-Bench-Graph - a light/*.bench file is needed - give its path"
            )
        own = space(ops)
        return Table(f"graph/{dataset}", own, own.to_array(codes), metrics, directions, origin, "Apache-2.0", digest)

    return cached(f"graph/{dataset}", digest, build, partial(canonical, ops=ops))
