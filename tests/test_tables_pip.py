"""Tables of pip packages: NAS-Bench-Graph, HPOBench, HPOlib, and their tasks."""

from __future__ import annotations

import numpy as np
import pytest

from search.errors import UserError
from search.spaces import graph
from search.tables import TABLES, load_table
from search.tables.graph import load
from search.tables.pip_tables import package_file
from search.tables.safe_pickle import load_file
from search.tasks import TASKS, load_task

BEST_TEST = {"cora": 0.8313, "citeseer": 0.7157, "pubmed": 0.7860, "proteins": 0.7926}


@pytest.mark.parametrize(
    "dataset",
    [
        "cora",
        "proteins",
        pytest.param("citeseer", marks=pytest.mark.slow),
        pytest.param("pubmed", marks=pytest.mark.slow),
    ],
)
def test_graph_tables(dataset):
    table = load_table(f"graph/{dataset}")
    assert table.metric("test_acc").max() == pytest.approx(BEST_TEST[dataset], abs=5e-5)
    assert len(table) == table.space.size - 9  # 'skip everywhere' has nine link patterns
    assert table.space.size == (5_625 if dataset == "proteins" else 59_049)


@pytest.mark.parametrize(
    ("dataset", "ops", "count"), [("cora", graph.OPS, 26_206), ("proteins", graph.OPS_PROTEINS, 2_021)]
)
def test_networks_are_exactly_those_the_benchmark_trained(dataset, ops, count):
    """One trained key per distinct network, and every network but the empty one has one."""
    keys = load_file(package_file("nas-bench-graph", "nas_bench_graph", f"light/{dataset}.bench"))
    nets = {code: graph.network(code, ops) for code in graph.all_codes(ops)}
    trained = [nets[code] for code in nets if graph.benchmark_key(code, ops) in keys]
    assert len(trained) == len(set(trained)) == len(keys) == count
    assert set(nets.values()) - set(trained) == {()}


def test_graph_canonical_is_the_trained_code():
    keys = load_file(package_file("nas-bench-graph", "nas_bench_graph", "light/proteins.bench"))
    found = {graph.canonical(c, graph.OPS_PROTEINS) for c in graph.all_codes(graph.OPS_PROTEINS)}
    assert sum(graph.benchmark_key(c, graph.OPS_PROTEINS) in keys for c in found) == 2_021 and len(found) == 2_022
    for code in ("01234", "83841", "48880", "27733"):
        first = graph.canonical(code)
        assert graph.network(first) == graph.network(code) and graph.canonical(first) == first


def test_codes_of_one_network_share_their_figures():
    table = load_table("graph/cora")
    assert graph.canonical("01230") == graph.canonical("00123")
    assert table.lookup("01230", "val_acc") == table.lookup("00123", "val_acc")


@pytest.mark.slow
def test_graph_numbers_agree_with_the_csv_copy(shared_table):
    import csv
    import gzip

    table = load_table("graph/citeseer")
    with gzip.open(shared_table("nasbench_graph_8datasets.csv.gz"), "rt") as handle:
        rows = [row for i, row in enumerate(csv.DictReader(handle)) if i % 97 == 0]
    codes = [
        str(graph.LINKS.index(r["link"])) + "".join(str(graph.OPS.index(op)) for op in r["ops"].split(","))
        for r in rows
    ]
    places = table.rows(codes)
    assert (places >= 0).all() and len(rows) > 200
    for ours, theirs in (("val_acc", "citeseer_valid"), ("test_acc", "citeseer_test")):
        assert np.allclose(table.metrics[ours][places], [float(r[theirs]) for r in rows], atol=1e-6)


def test_hpobench():
    table = load_table("hpobench/car")
    assert len(table) == table.space.size == 30_000 and table.metrics["val_acc"].shape == (30_000, 5)
    assert table.space.decode("01239")["width"] == 1024 and table.directions["train_time"] == "minimize"
    seeds = [0.4440058479532164, 0.4479166666666667, 0.44652777777777775, 0.4550438596491228, 0.45807748538011694]
    assert table.lookup("00000", "val_acc") == pytest.approx(np.mean(seeds))


def test_hpolib():
    table = load_table("hpolib/protein_structure")
    assert len(table) == table.space.size == 62_208
    assert table.directions == {"val_loss": "minimize", "train_time": "minimize", "params": "minimize"}
    task = load_task("hpolib/protein_structure")
    assert task.direction == "minimize" and task.optimum == pytest.approx(np.nanmin(task.values))


def test_every_table_has_a_task():
    assert set(TABLES) <= set(TASKS)
    task = load_task("graph/cora")
    assert task.metric == "val_acc" and task.test(task.space.to_codes(task.table.codes[:1])[0]) is not None
    assert load_task("graph/cora", metric="latency").direction == "minimize"


def test_a_search_never_sees_test_figures():
    for name in ("graph/cora", "nb201/cifar10", "nbasr"):
        with pytest.raises(UserError, match="is held back for the winner of a search - search on val_"):
            load_task(name, metric="test_acc")


def test_options_of_a_reader_that_it_does_not_have():
    with pytest.raises(UserError, match="unknown option of table hpobench/car .epochs. - known: source"):
        load_task("hpobench/car", epochs=3)


def test_a_missing_package_says_how_to_install_it():
    with pytest.raises(UserError, match="pip install no-such-package"):
        package_file("no-such-package", "no_such_module_here", "x")


def test_unknown_names_get_a_hint():
    for call in (lambda: load_table("graph/coro"), lambda: load_task("hpobench/care"), lambda: load("coro")):
        with pytest.raises(UserError, match="did you mean"):
            call()
