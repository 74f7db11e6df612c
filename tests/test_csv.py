"""Any CSV or Parquet table: codes, decisions, options, metrics, and what is said when something is wrong."""

from __future__ import annotations

import gzip
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from search import Study
from search.errors import UserError
from search.spaces import Decision, Space
from search.tables import Table, load_table
from search.tables.base import natural_direction
from search.tables.cache import _from_bytes, _to_bytes
from search.tables.columns import raw_code, read_table
from search.tasks.tabular import TableTask


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def codes(table):
    return table.space.to_codes(table.codes)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_digit_strings_keep_leading_zeros(tmp_path, name):
    table = read_table(write(tmp_path, "code,acc,note\n012,1.5,x\n000,2,y\n111,,z\n", name), code_column="code")
    assert codes(table) == ["012", "000", "111"]
    assert raw_code(table.space, codes(table)[0]) == "012"
    assert table.lookup(codes(table)[1], "acc") == 2 and np.isnan(table.metrics["acc"][2])
    assert list(table.metrics) == ["acc"] and table.name == "t" and len(table.sha256) == 64


def test_options_of_a_position_are_those_that_occur_in_order(tmp_path):
    """Digits 1 to 4, as in Channel-Bench, become 0 to 3; decode gives the original digit back."""
    table = read_table(write(tmp_path, "arch,acc\n14,1\n42,2\n31,3\n"))
    assert codes(table) == ["02", "21", "10"]
    assert [raw_code(table.space, c) for c in codes(table)] == ["14", "42", "31"]
    assert table.space.cardinalities.tolist() == [3, 3]
    assert table.space.decode("02") == {"d0": "1", "d1": "4"}


def test_a_column_without_a_name_can_hold_the_codes(tmp_path):
    """As the index that pandas writes."""
    (tmp_path / "t.csv").write_text(",code,acc\n01,10,5\n10,11,6\n")
    for column, codes in (("", ["01", "10"]), (None, ["10", "11"])):
        table = read_table(tmp_path / "t.csv", code_column=column)
        told = [raw_code(table.space, c) for c in table.space.to_codes(table.codes)]
        assert told == codes and list(table.metric("acc")) == [5, 6]


def test_letters_go_after_digits(tmp_path):
    table = read_table(write(tmp_path, "code,acc\na9,1\n09,2\nzz,3\n"))
    assert [d.options for d in table.space.decisions] == [("0", "a", "z"), ("9", "z")]


def test_one_column_per_decision(tmp_path):
    text = "depth,act,lr,val_loss\n10,relu,0.1,3\n9,tanh,1e-3,2\n10,tanh,0.10,1\n"
    table = read_table(write(tmp_path, text), decisions=["depth", "act", "lr"])
    assert [d.options for d in table.space.decisions] == [(9, 10), ("relu", "tanh"), (0.001, 0.1)]
    assert codes(table) == ["101", "010", "111"]
    assert table.space.decode("101") == {"depth": 10, "act": "relu", "lr": 0.1}
    assert table.directions == {"val_loss": "minimize"}


def test_a_column_with_some_text_is_text(tmp_path):
    table = read_table(write(tmp_path, "k,acc\n10,1\n9,2\nauto,3\n"), decisions=["k"])
    assert table.space.decisions[0].options == ("10", "9", "auto")


def test_rows_of_one_code_are_averaged_and_counted(tmp_path):
    path = write(tmp_path, "code,acc,loss\n00,1,5\n01,2,\n00,3,\n00,8,1\n")
    with pytest.warns(UserWarning, match="2 of 4 rows repeat a code"):
        table = read_table(path)
    assert codes(table) == ["00", "01"]
    assert (
        table.metrics["acc"].tolist() == [4, 2] and table.metrics["loss"][0] == 3 and np.isnan(table.metrics["loss"][1])
    )
    assert "2 of 4 rows repeat a code" in table.source


def test_parquet_is_the_same_table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = {"code": ["012", "000"], "width": [16, 32], "acc": [0.5, None]}
    parquet.write_table(pyarrow.table(rows), tmp_path / "t.parquet")
    by_code = read_table(tmp_path / "t.parquet", code_column="code")
    assert raw_code(by_code.space, codes(by_code)[0]) == "012" and np.isnan(by_code.metrics["acc"][1])
    assert read_table(tmp_path / "t.parquet", decisions=["width"]).space.decisions[0].options == (16, 32)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "bad.parquet")


def test_parquet_without_pyarrow_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="needs pyarrow"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("code,acc\n01,1\n012,2\n", {}, "row 3 of t.csv has code '012' of 3 digits|no column of digit strings"),
        (
            "arch,acc\n01,1\n012,2\n",
            {"code_column": "arch"},
            "row 3 of t.csv has code '012' of 3 digits in column 'arch' - the first has 2",
        ),
        ("arch,acc\n0-1,1\n", {"code_column": "arch"}, "a code is made of 0-9 and a-z"),
        ("arch,acc\n01,1\n", {"code_column": "arhc"}, "unknown column of t.csv 'arhc' - did you mean arch"),
        ("depth,acc\n1,1\n", {"decisions": ["dept"]}, "did you mean depth"),
        ("depth,acc\n1,1\n,2\n", {"decisions": ["depth"]}, "row 3 of t.csv has no value in decision column 'depth'"),
        (
            "x,acc\n" + "".join(f"w{i},1\n" for i in range(37)),
            {"decisions": ["x"]},
            "'x' of t.csv has 37 different values - a decision has at most 36",
        ),
        ("a,b\n1,2\n", {"code_column": "a", "decisions": ["b"]}, "both a code column and decision columns"),
        ("code,note\n01,x\n", {}, "has no numeric column beside the codes"),
        ("code,acc\n", {}, "has no rows"),
        ("", {}, "has no rows"),
        ("code,acc\n01,1,2\n", {}, "line 2 of .* has 3 cells - the header has 2"),
        ("code,acc,acc\n01,1,2\n", {}, "two columns of one name: acc"),
        ("code,acc, acc\n01,1,2\n", {}, "two columns of one name: acc - names must differ by more than spaces"),
        ("code,acc\n01,1_0\n", {}, "has no numeric column"),
        ("code,acc\n01,inf\n", {}, "has no numeric column"),
        ("code,acc\n01," + "1" * (1 << 20) + "\n", {}, "longer than|larger than"),
        ("x,acc\n1,1\n", {}, "has no column of digit strings called code, ncode, arch - its columns are x, acc"),
    ],
)
def test_mistakes_are_a_sentence(tmp_path, text, options, said):
    with pytest.raises(UserError, match=said):
        read_table(write(tmp_path, text), **options)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"ends in '\.xlsx' - \.csv, \.csv\.gz and \.parquet are read"):
        read_table(write(tmp_path, "x", "t.xlsx"))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"code,acc\n01,1\n" * 99)[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "t.csv.gz")


def test_options_are_numbers_only_where_they_are_written_as_such(tmp_path):
    """Python reads '1_0', '007' and '٧' as numbers, and '1e999' and 'inf' as one and the same."""
    for one, other in (("1_0", "10"), ("007", "7"), ("٧", "7"), ("1e999", "inf"), ("1e999", "2e999")):
        table = read_table(write(tmp_path, f"k,acc\n{one},1\n{other},2\n"), decisions=["k"])
        assert sorted(table.space.decisions[0].options) == sorted((one, other)), (one, other)
        assert table.metric("acc").tolist() == [1, 2]
    table = read_table(write(tmp_path, "k,acc\n-2,1\n.5,2\n1e3,3\n"), decisions=["k"])
    assert table.space.decisions[0].options == (-2, 0.5, 1000.0)


def test_infinite_values_are_not_measured_and_it_is_said(tmp_path):
    path = write(tmp_path, "code,loss\n00,1\n01,inf\n10,-inf\n11,2\n")
    with pytest.warns(UserWarning, match="2 infinite values of 'loss' count as not measured"):
        table = read_table(path)
    assert np.isnan(table.metric("loss")).tolist() == [False, True, True, False]


def test_the_mean_of_values_near_the_end_of_the_scale(tmp_path):
    path = write(tmp_path, "code,loss\n00,1.7e308\n00,1.5e308\n01,-1.7e308\n01,-1.7e308\n")
    with pytest.warns(UserWarning, match="repeat a code"):
        assert read_table(path).metric("loss").tolist() == [1.6e308, -1.7e308]
    repeats = Table("t", Space([Decision("a", (0, 1))]), np.array([[0], [1]], np.uint8), {})
    repeats = replace(repeats, metrics={"m": np.array([[1.7e308, 1.5e308], [3.0, np.nan]])})
    assert repeats.metric("m").tolist() == [1.6e308, 3.0]


def test_a_bomb_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("search.tables.columns._UNPACKED_AT_LEAST", 1 << 16)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"code,acc\n" + b"01,1\n" * (1 << 19), 9))
    with pytest.raises(UserError, match="unpack to more than"):
        read_table(tmp_path / "t.csv.gz")
    (tmp_path / "u.csv.gz").write_bytes(gzip.compress(b"code,acc\n" + bytes(4 << 20), 9))
    with pytest.raises(UserError, match="a line is longer than"):
        read_table(tmp_path / "u.csv.gz")


@pytest.mark.parametrize("value", ["inf", "-inf", "1e308", "-1.79e308", "5e-324"])
def test_odd_numbers_do_not_stop_the_table_builder(tmp_path, value, monkeypatch):
    from data_builders import table as builder

    lines = [f"{i:03d}," + (value if i % 7 == 0 else str(i % 50)) for i in range(777) if set(str(i)) <= set("01234567")]
    path = write(tmp_path, "code,loss\n" + "\n".join(lines) + "\n")
    words = ["--source", path, "--metric", "loss", "--samples", 20, "--history", "5-9", "--candidates", 4]
    words += ["--out", tmp_path / "rows.jsonl", "--quiet", "--workers", 1, "--no-pruning"]
    monkeypatch.setattr("sys.argv", ["table", *map(str, words)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "table t.csv")
        assert builder.main() == 0
        table = read_table(path)
    losses = {c: v for c, v in zip(codes(table), table.metric("loss"))}
    for line in (tmp_path / "rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        offered = row["input"].partition("Candidate:\n")[2].split("\n")
        assert losses[row["output"]] == min(losses[c] for c in offered)


def test_directions_by_name():
    names = {
        "val_loss": "minimize",
        "latency_ms": "minimize",
        "test_acc_mean": "maximize",
        "valid_acc_ep50": "maximize",
        "class_scene_valid_top1": "maximize",
    }
    assert {n: natural_direction(n) for n in names} == names
    assert natural_direction("gamma") is None and natural_direction("val_time") == "minimize"


def test_real_tables(shared_table):
    table = load_table(str(shared_table("channelbench_resnet_cifar10.csv.gz")))
    assert len(table) == 16384 == table.space.size
    assert table.metric("test_acc_mean").max() == pytest.approx(93.893, abs=1e-3)
    best = codes(table)[int(table.metric("test_acc_mean").argmax())]
    assert set(raw_code(table.space, best)) <= set("1234")
    macro = read_table(shared_table("nasbench_macro_cifar10.csv.gz"))
    assert len(macro) == 6561 == macro.space.size and macro.metric("test_acc_mean").max() == pytest.approx(
        93.127, abs=1e-3
    )
    fcnet = read_table(shared_table("hpolib_fcnet.csv.gz"))
    assert fcnet.space.cardinalities.tolist() == [2, 2, 4, 3, 3, 6, 2, 6, 6] and len(fcnet) == fcnet.space.size


def test_large_tables_come_back_from_the_cache_alike(shared_table):
    path = shared_table("hpobench_mlp.csv.gz")
    first, again = read_table(path), read_table(path)
    assert (first.codes == again.codes).all() and first.space.to_dict() == again.space.to_dict()
    assert all(np.array_equal(first.metrics[m], again.metrics[m], equal_nan=True) for m in first.metrics)


def test_a_long_column_of_numbers_is_a_ladder_and_the_search_uses_its_order(tmp_path):
    path = tmp_path / "t.csv"
    rows = [(lr, depth) for lr in np.geomspace(1e-5, 1e-1, 50) for depth in (1, 2, 3)]
    lines = [f"{lr:.6g},{depth},{(np.log10(lr) + 3) ** 2 + (depth - 2) ** 2}" for lr, depth in rows]
    path.write_text("lr,depth,loss\n" + "\n".join(lines) + "\n")
    table = read_table(path, decisions=["lr", "depth"])
    assert [len(d.options) for d in table.space.decisions] == [2, 36, 3] and len(table) == 150
    assert table.space.decode(table.space.to_codes(table.codes)[7]) == {"lr": float(f"{rows[7][0]:.6g}"), "depth": 2}
    task = TableTask(table, "loss", "minimize")
    study = Study(table.space, direction="minimize", feasible=task.feasible)
    study.run(task.evaluate, 25)
    assert study.best.value < 0.02
    copy = _from_bytes(_to_bytes(table), None)
    assert copy.space.to_dict() == table.space.to_dict() and (copy.codes == table.codes).all()
