"""The real search problems that rankers and samplers are judged on: tables, metrics and directions in one place.

Pip tables are always there. Files are looked for in the folder LMSEARCHER_SHARED, else in ../shared/data beside the
repository; cases whose file is absent are left out and named.

Left out for good: hat_latency (layer averages, not decisions: up to 53 values each), and from the exam tables below 500
rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from search.errors import UserError, did_you_mean
from search.spaces import Decision, Space
from search.tables import GRAPH, HPOBENCH, HPOLIB, load_table
from search.tables.base import Table
from search.tables.columns import read_columns, read_table
from search.tasks.tabular import TableTask

FOLDER = Path(os.environ.get("LMSEARCHER_SHARED") or Path(__file__).resolve().parents[2] / "shared" / "data")


@dataclass(frozen=True)
class Case:
    """A search problem. file: needed from FOLDER (None: a pip table).

    small: too few rows for the exam, enough for a search.
    """

    name: str
    metric: str
    direction: str
    read: Callable[[], Table]
    file: str | None = None
    small: bool = False

    @property
    def present(self) -> bool:
        return self.file is None or (FOLDER / self.file).is_file()


def from_options(
    name: str,
    columns: list[tuple[str, list[str]]],
    metrics: dict[str, np.ndarray],
    canonical: Callable[[str], str] | None = None,
) -> Table:
    """A table from one text column per decision; options in the order of their text, rows of equal codes averaged."""
    decisions, digits = [], []
    for label, cells in columns:
        options = sorted(set(cells))
        decisions.append(Decision(label, tuple(options)))
        digits.append(np.array([options.index(c) for c in cells], dtype=np.uint8))
    codes, where = np.unique(np.stack(digits, axis=1), axis=0, return_inverse=True)
    where = where.ravel()
    counts = np.bincount(where)
    merged = {m: np.bincount(where, weights=v) / counts for m, v in metrics.items()}
    return Table(name, Space(decisions, name, canonical), codes, merged)


def nb201_like(file: str, metric: str) -> Table:
    """Tables with NAS-Bench-201's own architecture strings."""
    from search.spaces import nb201

    text, numbers = read_columns(FOLDER / file)
    values: dict[str, list[float]] = {}
    for arch, value in zip(text["arch_str"], numbers[metric], strict=True):
        values.setdefault(nb201.parse_string(arch), []).append(float(value))
    codes = sorted(values)
    return Table(
        file.split(".")[0],
        nb201.space(),
        nb201.space().to_array(codes),
        {metric: np.array([np.nanmean(values[c]) for c in codes])},
    )


def transnas(metric: str) -> Table:
    """64-41414-1_23_012: six operations."""
    text, numbers = read_columns(FOLDER / "transnas101_micro_classscene.csv.gz")
    cells = [a.split("-")[2].replace("_", "") for a in text["arch"]]
    return from_options(
        "transnas101_micro", [(f"edge{i}", [c[i] for c in cells]) for i in range(6)], {metric: numbers[metric]}
    )


def five_vertices(metric: str) -> Table:
    """NAS-Bench-101 cells with five vertices: ten edges and three operations."""
    text, numbers = read_columns(FOLDER / "ecnas_nb101_5v_4epoch.csv.gz")
    rows = [i for i, v in enumerate(text["num_vertices"]) if v == "5"]
    cells = [text["adj_upper"][i] + text["ops"][i] for i in rows]
    return from_options(
        "ecnas_nb101_5v", [(f"d{j}", [c[j] for c in cells]) for j in range(13)], {metric: numbers[metric][rows]}
    )


def darts545(metric: str) -> Table:
    """Two cells of eight (operation, input) pairs: 32 decisions."""
    text, numbers = read_columns(FOLDER / "darts_cifar10_oncenas545.csv.gz")
    found = [re.findall(r"\('(\w+)', (\d)\)", g) for g in text["genotype"]]
    columns = [
        (f"{kind}{i}", [pairs[i][k] for pairs in found]) for i in range(16) for k, kind in enumerate(("op", "input"))
    ]
    return from_options("darts_oncenas545", columns, {metric: numbers[metric]})


def darts214(metric: str) -> Table:
    """The same cells, written as pairs of a node."""
    text, numbers = read_columns(FOLDER / "darts_cifar10_random214.csv.gz")
    found = [re.findall(r"\('(\w+)', (\d)\)", g) for g in text["genotype"]]
    columns = [
        (f"{kind}{i}", [pairs[i][k] for pairs in found]) for i in range(16) for k, kind in enumerate(("op", "input"))
    ]
    return from_options("darts_random214", columns, {metric: numbers[metric]})


def autoformer(metric: str) -> Table:
    """Width, depth, and expansion and heads of up to 14 layers ('-' for a layer that is not there)."""
    text, numbers = read_columns(FOLDER / "autoformer_vit_small_data.csv.gz")
    cells = {k: [row.split() + ["-"] * 14 for row in text[k]] for k in ("mlp_ratio", "num_heads")}
    columns = [(k, [f"{v:g}" for v in numbers[k]]) for k in ("hidden_dim", "depth")]
    columns += [(f"{k}{i}", [row[i] for row in rows]) for k, rows in cells.items() for i in range(14)]
    return from_options("autoformer", columns, {metric: numbers[metric]})


def pit(metric: str) -> Table:
    """Base width, expansion, and depth and heads of three stages."""
    text, numbers = read_columns(FOLDER / "pit_vit_small_data.csv.gz")
    stages = [(f"{k}{i}", [row.split()[i] for row in text[k]]) for k in ("depth", "num_heads") for i in range(3)]
    columns = [(k, [f"{v:g}" for v in numbers[k]]) for k in ("base_dim", "mlp_ratio")]
    return from_options("pit", [*columns, *stages], {metric: numbers[metric]})


def once_for_all(metric: str) -> Table:
    """20 kernel sizes, 20 expansions, 5 depths, resolution."""
    text, numbers = read_columns(FOLDER / "ofa_mbv3_latency.csv.gz")
    columns = [
        (f"{k}{i}", [row.split()[i] for row in text[k]]) for k, n in (("ks", 20), ("e", 20), ("d", 5)) for i in range(n)
    ]
    return from_options("ofa_mbv3_latency", [*columns, ("r", text["r"])], {metric: numbers[metric]})


def _pip(name: str, metric: str, direction: str) -> Case:
    return Case(name, metric, direction, lambda: load_table(name))


def _file(name: str, file: str, metric: str, direction: str, read: Callable[[], Table], small: bool = False) -> Case:
    return Case(name, metric, direction, read, file, small)


def _digits(name: str, file: str, column: str, metric: str, direction: str) -> Case:
    return _file(name, file, metric, direction, lambda: read_table(FOLDER / file, code_column=column))


def _nb201(name: str, file: str, metric: str, direction: str) -> Case:
    return _file(name, file, metric, direction, lambda: nb201_like(file, metric))


CASES: dict[str, Case] = {
    case.name: case
    for case in [
        *(_pip(f"nb201/{d}", "val_acc", "maximize") for d in ("cifar10", "cifar100", "imagenet16")),
        _nb201("nb201_12ep/cifar100", "nasbench201_12ep.csv.gz", "cifar100_valid", "maximize"),
        _nb201("nb201_latency/1080ti", "nasbench201_latency.csv.gz", "1080ti_256_ms", "minimize"),
        _nb201("hwnasbench/edgegpu_energy", "hwnasbench_nb201.csv.gz", "c100_edgegpu_energy_mj", "minimize"),
        _nb201("nb201_flops", "nb201_flops_params_9445.csv.gz", "flops_m", "minimize"),
        _nb201("analog/finetuned", "analog_nasbench_nb201_cifar10.csv.gz", "finetuned_accuracy", "maximize"),
        _digits("macro", "nasbench_macro_cifar10.csv.gz", "arch", "test_acc_mean", "maximize"),
        _digits("channelbench", "channelbench_resnet_cifar10.csv.gz", "arch", "test_acc_mean", "maximize"),
        _file(
            "transnas/scene",
            "transnas101_micro_classscene.csv.gz",
            "class_scene_valid_top1",
            "maximize",
            lambda: transnas("class_scene_valid_top1"),
        ),
        _file(
            "transnas/jigsaw_ms",
            "transnas101_micro_classscene.csv.gz",
            "jigsaw_inference_ms",
            "minimize",
            lambda: transnas("jigsaw_inference_ms"),
        ),
        _file(
            "ecnas_5v",
            "ecnas_nb101_5v_4epoch.csv.gz",
            "valid_acc_ep4",
            "maximize",
            lambda: five_vertices("valid_acc_ep4"),
        ),
        _file(
            "darts545",
            "darts_cifar10_oncenas545.csv.gz",
            "valid_acc_ep50",
            "maximize",
            lambda: darts545("valid_acc_ep50"),
        ),
        _digits("fbnet/pixel3", "fbnet_latency.csv.gz", "op_idx", "pixel3_ms", "minimize"),
        _file(
            "ofa/v100",
            "ofa_mbv3_latency.csv.gz",
            "v100_64_ms",
            "minimize",
            lambda: once_for_all("v100_64_ms"),
        ),
        _file(
            "darts214",
            "darts_cifar10_random214.csv.gz",
            "test_acc_best",
            "maximize",
            lambda: darts214("test_acc_best"),
            small=True,
        ),
        _file(
            "autoformer",
            "autoformer_vit_small_data.csv.gz",
            "cifar100_kd_acc",
            "maximize",
            lambda: autoformer("cifar100_kd_acc"),
            small=True,
        ),
        _file(
            "pit",
            "pit_vit_small_data.csv.gz",
            "cifar100_kd_acc",
            "maximize",
            lambda: pit("cifar100_kd_acc"),
            small=True,
        ),
        *(_pip(f"graph/{d}", "val_acc", "maximize") for d in GRAPH),
        *(_pip(f"hpobench/{d}", "val_acc", "maximize") for d in HPOBENCH),
        *(_pip(f"hpolib/{d}", "val_loss", "minimize") for d in HPOLIB),
    ]
}
LOOP = (
    "macro",
    "channelbench",
    "transnas/scene",
    "transnas/jigsaw_ms",
    "nb201_12ep/cifar100",
    "graph/cora",
    "graph/photo",
    "graph/arxiv",
)
LOOP += (
    "graph/proteins",
    "hpobench/car",
    "hpobench/kc1",
    "hpobench/vehicle",
    "hpolib/naval_propulsion",
    "hpolib/protein_structure",
)
SPARSE = ("darts214", "darts545", "autoformer", "pit")  # few measured rows of a large space


@cache
def task_of(name: str) -> TableTask:
    """The case as a task, read once a process."""
    if name not in CASES:
        raise did_you_mean("case", name, CASES)
    case = CASES[name]
    if not case.present:
        raise UserError(
            f"case {name} needs {case.file} - it is not in {FOLDER} - set LMSEARCHER_SHARED to the folder of real"
            " tables"
        )
    return TableTask(case.read(), case.metric, case.direction, name=name)


def left_out(names: list[str] | None = None) -> str:
    """A sentence that names the wanted cases whose files are not here; '' when all are. names: as in `present`."""
    absent = [n for n in names or CASES if not CASES[n].present and (names or not CASES[n].small)]
    told = ", ".join(f"{n} ({CASES[n].file})" for n in absent)
    return f" Left out, as their files are not in {FOLDER.name}: {told}; see benchmarks/README.md." if absent else ""


def present(names: list[str] | None = None) -> list[str]:
    """The cases that can be run here, in order; names: None for all that are large enough for the exam."""
    for name in names or ():
        if name not in CASES:
            raise did_you_mean("case", name, CASES)
    return [n for n in names or CASES if CASES[n].present and (names or not CASES[n].small)]
