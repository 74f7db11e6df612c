"""NAS-Bench-201 from its original forms, written here as the benchmark writes them, and compared with its own
interfaces.
"""

from __future__ import annotations

import bz2
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from search.errors import UserError
from search.spaces.nb201 import arch_string
from search.tables import nb201
from search.tasks import load_task

CELLS = ("333132", "000000", "412303")
SEEDS = {"cifar10-valid": (777, 888), "cifar10": (777, 888, 999), "cifar100": (777,), "ImageNet16-120": (777, 888)}
SETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}


def accuracy(code, epochs, dataset, seed, name, epoch):
    """A figure that depends on everything it should depend on, so that a mix-up cannot go unnoticed."""
    return (
        10
        + int(code, 5) / 1000
        + epochs / 10
        + list(SEEDS).index(dataset)
        + seed / 1e4
        + len(name) / 7
        + epoch / 1e3
        + (name == "x-test") / 3
    )


def results(code, epochs):
    """One cell after one schedule, as the benchmark's state dictionaries have it."""
    found = OrderedDict()
    for dataset, seeds in SEEDS.items():
        for seed in seeds:
            at = range(epochs)
            found[dataset, seed] = {
                "name": "infer.tiny",
                "net_state_dict": None,
                "train_acc1es": {e: 50.0 + e for e in at},
                "train_acc5es": None,
                "train_losses": {e: 1.0 for e in at},
                "train_times": OrderedDict((e, np.float64(2.0 + seed / 1000)) for e in at),
                "arch_config": {"channel": 16, "num_cells": 5, "arch_str": arch_string(code), "class_num": 10},
                "params": 1.25,
                "flop": 153.5,
                "seed": seed,
                "epochs": epochs,
                "latency": [0.01, 0.03],
                "eval_names": list(SETS[dataset]),
                "eval_acc1es": {
                    f"{n}@{e}": accuracy(code, epochs, dataset, seed, n, e) for n in SETS[dataset] for e in at
                },
                "eval_times": {f"{n}@{e}": 0.5 for n in SETS[dataset] for e in at},
                "eval_losses": {f"{n}@{e}": 0.7 for n in SETS[dataset] for e in at},
            }
    return {
        "arch_index": 0,
        "arch_str": arch_string(code),
        "all_results": found,
        "dataset_seed": {d: list(s) for d, s in SEEDS.items()},
        "clear_net_done": False,
    }


def whole(names=("12", "200")):
    return {
        "meta_archs": [arch_string(c) for c in CELLS],
        "total_archs": len(CELLS),
        "arch2infos": {
            i: {n: results(c, 200 if n in ("200", "full") else 12) for n in names} for i, c in enumerate(CELLS)
        },
        "evaluated_indexes": set(range(len(CELLS))),
    }


def write_pbz2(path, value):
    with bz2.open(path, "wb") as handle:
        pickle.dump(value, handle, protocol=4)


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """The same data in every original form."""
    root = tmp_path_factory.mktemp("nb201")
    folder = root / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    data = whole()
    write_pbz2(
        folder / "meta.pickle.pbz2", {"meta_archs": data["meta_archs"], "evaluated_indexes": data["evaluated_indexes"]}
    )
    for index, cell in data["arch2infos"].items():
        write_pbz2(folder / f"{index:06d}.pickle.pbz2", cell)
    write_pbz2(root / "NATS-tss-v1_0-3ffb9.pickle.pbz2", data)
    return {"folder": folder, "pbz2": root / "NATS-tss-v1_0-3ffb9.pickle.pbz2"}


def check(table, dataset):
    """Every figure is the one that the name promises."""
    valid, test = {
        "cifar10": (("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),
        "cifar100": (("cifar100", "x-valid"), ("cifar100", "x-test")),
        "imagenet16": (("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
    }[dataset]
    for code in CELLS:
        for ending, epochs in (("", 200), ("_12ep", 12)):
            for metric, (key, name) in (("val_acc", valid), ("test_acc", test)):
                mean = np.mean([accuracy(code, epochs, key, seed, name, epochs - 1) for seed in SEEDS[key]])
                assert table.lookup(code, metric + ending) == pytest.approx(mean, abs=1e-9), (code, metric, ending)
            seconds = np.mean([epochs * (2 + seed / 1000) for seed in SEEDS[valid[0]]])
            assert table.lookup(code, f"train_time{ending}") == pytest.approx(seconds)
        assert table.lookup(code, "params") == 1.25 and table.lookup(code, "flops") == 153.5
        assert table.lookup(code, "latency") == pytest.approx(0.02)


@pytest.mark.parametrize("form", ["folder", "pbz2"])
@pytest.mark.parametrize("dataset", nb201.DATASETS)
def test_nats_bench_files(forms, form, dataset):
    check(nb201.load(dataset, forms[form]), dataset)
    check(nb201.load(dataset, forms[form]), dataset)


def test_seeds_are_kept(forms):
    assert nb201.load("cifar10", forms["folder"]).metrics["test_acc"].shape == (3, 3)
    assert nb201.load("cifar100", forms["folder"]).metrics["test_acc"].shape == (3,)


@pytest.mark.parametrize("zipped", [True, False])
def test_the_old_torch_file(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    path = tmp_path / "NAS-Bench-201-v1_1-096897.pth"
    torch.save(whole(("less", "full")), path, _use_new_zipfile_serialization=zipped)
    check(nb201.load("cifar10", path), "cifar10")


def test_a_loaded_nats_bench_object(forms):
    api_topology = pytest.importorskip("nats_bench.api_topology")
    for api in (
        api_topology.NATStopology(whole(), verbose=False),
        api_topology.NATStopology(str(forms["folder"]), fast_mode=True, verbose=False),
    ):
        table = nb201.load("imagenet16", api)
        check(table, "imagenet16")
        for code in CELLS:
            index = api.query_index_by_arch(arch_string(code))
            info = api.get_more_info(index, "ImageNet16-120", hp="200", is_random=False)
            assert table.lookup(code, "val_acc") == pytest.approx(info["valid-accuracy"])
            assert table.lookup(code, "test_acc") == pytest.approx(info["test-accuracy"])
            assert table.lookup(code, "train_time") == pytest.approx(info["train-all-time"])
            info = api.get_more_info(index, "ImageNet16-120", hp="12", is_random=False)
            assert table.lookup(code, "val_acc_12ep") == pytest.approx(info["valid-accuracy"])


def test_a_loaded_nas_bench_201_object():
    pytest.importorskip("torch")
    nas_201_api = pytest.importorskip("nas_201_api")
    api = nas_201_api.NASBench201API(whole(("less", "full")), verbose=False)
    table = nb201.load("cifar10", api)
    check(table, "cifar10")
    valid = api.get_more_info(0, "cifar10-valid", hp="200", is_random=False)["valid-accuracy"]
    test = api.get_more_info(0, "cifar10", hp="200", is_random=False)["test-accuracy"]
    assert table.lookup(CELLS[0], "val_acc") == pytest.approx(valid) and table.lookup(
        CELLS[0], "test_acc"
    ) == pytest.approx(test)


def test_the_task_reports_test_for_the_best_validation_cell(forms):
    task = load_task("nb201/cifar100", source=forms["folder"])
    best = max(CELLS, key=lambda c: task.evaluate(c, 0).value)
    assert task.test(best) == pytest.approx(accuracy(best, 200, "cifar100", 777, "x-test", 199))
    assert not task.feasible("111111")
    cheap = load_task("nb201/cifar100", source=forms["folder"], metric="val_acc_12ep")
    assert cheap.evaluate(best, 0).value == pytest.approx(accuracy(best, 12, "cifar100", 777, "x-valid", 11))


class Malicious:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_a_cell_file_that_runs_code_is_refused(forms, tmp_path):
    folder, target = tmp_path / "NATS-tss-v1_0-3ffb9-simple", tmp_path / "made"
    folder.mkdir()
    (folder / "meta.pickle.pbz2").write_bytes((forms["folder"] / "meta.pickle.pbz2").read_bytes())
    write_pbz2(folder / "000000.pickle.pbz2", {"200": Malicious(target)})
    with pytest.raises(UserError, match=r"000000\.pickle\.pbz2 asks to run"):
        nb201.load("cifar10", folder)
    assert not target.exists()


def test_wrong_sources_are_a_sentence(tmp_path):
    for source, said in (
        (tmp_path / "nothing", "does not exist"),
        (tmp_path, "has no meta.pickle.pbz2"),
        (3, "an object of type int"),
    ):
        with pytest.raises(UserError, match=said):
            nb201.load("cifar10", source)
    write_pbz2(tmp_path / "a.pickle.pbz2", {"other": 1})
    with pytest.raises(UserError, match="is not a NAS-Bench-201 file"):
        nb201.load("cifar10", tmp_path / "a.pickle.pbz2")
    (tmp_path / "b.pickle.pbz2").write_bytes((tmp_path / "a.pickle.pbz2").read_bytes()[:-10])
    with pytest.raises(UserError, match="incomplete|damaged"):
        nb201.load("cifar10", tmp_path / "b.pickle.pbz2")
    broken = whole()
    del broken["arch2infos"][1]["200"]["dataset_seed"]
    write_pbz2(tmp_path / "c.pickle.pbz2", broken)
    with pytest.raises(UserError, match=r"cell 2 of c\.pickle\.pbz2 is not as NAS-Bench-201 has it"):
        nb201.load("cifar10", tmp_path / "c.pickle.pbz2")


def test_csv_columns(tmp_path):
    (tmp_path / "a.csv").write_text("code,cifar100_valid,cifar100_test\n333132,70,71\n000000,1,2\n")
    table = nb201.load("cifar100", tmp_path / "a.csv")
    assert table.lookup("333132", "test_acc") == 71
    with pytest.raises(UserError, match="unknown column"):
        nb201.load("cifar10", tmp_path / "a.csv")
