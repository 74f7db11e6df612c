"""NAS-Bench-101: keys, validity, canonical codes, and the TFRecord reader on files written here in the original
format.
"""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest
from test_tables_files import write_records

from search.errors import UserError
from search.spaces import nb101
from search.tables import load_table
from search.tables.nb101 import from_api, load
from search.tasks import load_task

FIRST = "10011010000100101010102001"
FIRST_KEY = "00005c142e6f48ac74fdcf73e3439874"
INCEPTION = "11101000001000110001110002"
INCEPTION_KEY = "28cfc7874f6d200472e1a9dcd8650aa0"


@pytest.mark.parametrize(("code", "key"), [(FIRST, FIRST_KEY), (INCEPTION, INCEPTION_KEY)])
def test_published_keys(code, key):
    assert nb101.cell_key(code) == key
    assert nb101.cell_key(nb101.canonical(code)) == key


def test_matrix_and_operations_of_the_first_row_of_the_public_file():
    rows = ["0100110", "0010000", "0001001", "0000010", "0000010", "0000001", "0000000"]
    edges, ops = nb101.parse_matrix("".join(rows), ["input", *(nb101.OPS[i] for i in (0, 2, 0, 0, 1)), "output"])
    assert nb101.to_code(edges, ops) == FIRST


def test_every_key_of_a_public_table(shared_table):
    """2,805 rows with up to five vertices whose keys were computed by others; equal keys if and only if equal canonical
    codes.
    """
    import csv
    import gzip

    keys: dict[str, str] = {}
    with gzip.open(shared_table("ecnas_nb101_5v_4epoch.csv.gz"), "rt") as handle:
        for row in csv.DictReader(handle):
            n, bits = int(row["num_vertices"]), iter(row["adj_upper"])
            edges = [(i, j) for i in range(n) for j in range(i + 1, n) if next(bits) == "1"]
            code = nb101.to_code(edges, [int(c) for c in row["ops"]])
            assert nb101.cell_key(code) == row["model_hash"]
            keys[nb101.canonical(code)] = row["model_hash"]
    assert len(keys) == len(set(keys.values())) == 2532


def test_validity_of_all_matrices():
    """The exact counts over all 2**21 matrices: connected 92.9 %, valid after pruning 73.3 %, at most 9 raw edges 27.3
    %.
    """
    valid = connected = raw = 0
    for start in range(0, 1 << 21, 1 << 18):
        bits = (np.arange(start, start + (1 << 18))[:, None] >> np.arange(20, -1, -1) & 1).astype(np.uint8)
        good = nb101.valid_array(bits)
        valid += int(good.sum())
        few = bits.sum(axis=1) <= 9
        raw += int((good & few).sum())
        forward = np.zeros((len(bits), 7), dtype=bool)
        forward[:, 0] = True
        for k, (i, j) in enumerate(nb101.EDGES):
            forward[:, j] |= bits[:, k].astype(bool) & forward[:, i]
        connected += int(forward[:, 6].sum())
    assert valid == 1_538_083
    assert round(100 * valid / (1 << 21), 1) == 73.3
    assert round(100 * connected / (1 << 21), 1) == 92.9
    assert round(100 * raw / (1 << 21), 1) == 27.3


@pytest.mark.slow
def test_all_valid_matrices_can_be_listed():
    blocks = list(nb101.enumerate_valid())
    assert sum(map(len, blocks)) == 1_538_083 and all(nb101.valid_array(b).all() for b in blocks)


def test_bulk_validity_agrees_with_one_code_at_a_time():
    space = nb101.space()
    codes = space.sample(np.random.default_rng(0), 500)
    assert nb101.valid_array(codes).tolist() == [nb101.valid(c) for c in space.to_codes(codes)]


def test_twelve_raw_edges_can_be_valid():
    code = nb101.to_code([(0, 6), *((i, j) for i in range(1, 6) for j in range(i + 1, 6))], [0] * 5)
    assert code.count("1") == 11 and nb101.valid(code)
    assert nb101.cell(code) == (((0, 1),), (-1, -2))


def test_canonical_ignores_order_of_vertices_and_dead_ones():
    rng = np.random.default_rng(1)
    space = nb101.space()
    seen = 0
    for code in space.to_codes(space.sample(rng, 300)):
        edges, labels = nb101.cell(code)
        if not nb101.valid(code):
            assert nb101.canonical(code) == code
            continue
        n = len(labels)
        order = [0, *rng.permutation(np.arange(1, n - 1)).tolist(), n - 1]
        if all(order[i] < order[j] for i, j in edges):
            place = {old: order[old] for old in range(n)}
            ops = [0] * (n - 2)
            for old in range(1, n - 1):
                ops[place[old] - 1] = labels[old]
            moved = nb101.to_code([(place[i], place[j]) for i, j in edges], ops)
            assert nb101.canonical(moved) == nb101.canonical(code)
            assert nb101.cell_key(moved) == nb101.cell_key(code)
            seen += moved != code
        assert nb101.canonical(nb101.canonical(code)) == nb101.canonical(code)
    assert seen > 10


def message(val, test, seconds, params):
    """A ModelMetrics message: three evaluations (start, half, end), then parameters and total time."""
    out = b""
    for epoch, share in ((0.0, 0.1), (54.0, 0.8), (108.0, 1.0)):
        inner = b"".join(
            bytes([8 * n + 1]) + struct.pack("<d", v)
            for n, v in enumerate((epoch, seconds * share, 1.0, val * share, test * share), start=1)
        )
        inner += b"\x32\x03abc"
        out += b"\x0a" + bytes([len(inner)]) + inner
    number = b""
    while params >= 128:
        number, params = number + bytes([params & 127 | 128]), params >> 7
    return out + b"\x10" + number + bytes([params]) + b"\x19" + struct.pack("<d", seconds * 1.1)


def record(code, val, test, seconds=1000.0, params=8_555_530, epochs=108, key=None):
    """One payload of the original file for a code with seven used vertices."""
    matrix = np.zeros((7, 7), dtype=int)
    for bit, (i, j) in zip(code[:21], nb101.EDGES, strict=True):
        matrix[i, j] = int(bit)
    ops = ",".join(["input", *(nb101.OPS[int(c)] for c in code[21:]), "output"])
    text = "".join(map(str, matrix.ravel()))
    encoded = base64.b64encode(message(val, test, seconds, params)).decode()
    return json.dumps([key or nb101.cell_key(code), epochs, text, ops, encoded]).encode()


@pytest.fixture
def tfrecord(tmp_path):
    path = tmp_path / "nasbench_only108.tfrecord"
    runs = [
        record(FIRST, 0.92642, 0.92061, 1768.8),
        record(INCEPTION, 0.94, 0.935),
        record(FIRST, 0.92418, 0.92117),
        record(FIRST, 0.93, 0.925),
    ]
    write_records(path, [*runs, record(INCEPTION, 0.9, 0.9, epochs=4)])
    return path


def test_tfrecord_table(tfrecord):
    for _ in range(2):  # converted, then from the cache
        table = load_table("nb101", tfrecord)
        assert len(table) == 2 and table.metrics["val_acc"].shape == (2, 3)
        assert table.lookup(FIRST, "val_acc") == pytest.approx(100 * (0.92642 + 0.92418 + 0.93) / 3)
        assert table.lookup(FIRST, "test_acc") == pytest.approx(100 * (0.92061 + 0.92117 + 0.925) / 3)
        assert table.lookup(INCEPTION, "val_acc") == pytest.approx(94.0)
        assert table.lookup(FIRST, "params") == 8_555_530
        assert table.metrics["train_time"][table.rows([FIRST])[0], 0] == pytest.approx(1768.8)


def test_other_codes_of_a_cell_find_it(tfrecord):
    table = load_table("nb101", tfrecord)
    assert nb101.canonical(INCEPTION) != INCEPTION
    assert table.rows([INCEPTION, nb101.canonical(INCEPTION), "0" * 26]).tolist() == [1, 1, -1]


def test_cells_with_fewer_vertices(tmp_path):
    small = nb101.to_code([(0, 1), (1, 2)], [2])
    encoded = base64.b64encode(message(0.8, 0.7, 10.0, 300)).decode()
    payload = json.dumps([nb101.cell_key(small), 108, "010001000", "input,maxpool3x3,output", encoded]).encode()
    write_records(tmp_path / "a.tfrecord", [payload])
    table = load_table("nb101", tmp_path / "a.tfrecord")
    assert table.lookup(small, "test_acc") == pytest.approx(70.0)
    assert small == "1" + "0" * 9 + "1" + "0" * 10 + "20000"


def test_epochs_are_kept_apart(tfrecord):
    table = load_table("nb101", tfrecord)
    assert np.isnan(table.metrics["val_acc"][1, 1:]).all()
    assert load(tfrecord, epochs=4).lookup(INCEPTION, "val_acc") == pytest.approx(90.0)
    with pytest.raises(UserError, match="has no runs of 36 epochs - it has 4, 108"):
        load(tfrecord, epochs=36)


def test_as_a_task(tfrecord):
    task = load_task("nb101", source=tfrecord)
    assert task.optimum == pytest.approx(94.0)
    assert task.feasible(INCEPTION) and not task.feasible("0" * 26)
    assert task.test(INCEPTION) == pytest.approx(93.5)
    assert load_task("nb101", source=tfrecord, epochs=4).optimum == pytest.approx(90.0)


def test_damaged_files_are_a_sentence(tfrecord, tmp_path):
    whole = tfrecord.read_bytes()
    cut = tmp_path / "cut.tfrecord"
    cut.write_bytes(whole[:-7])
    with pytest.raises(UserError, match="ends in the middle of record 5"):
        load_table("nb101", cut)
    cut.write_bytes(whole[:100] + b"?" + whole[101:])
    with pytest.raises(UserError, match="record 1 of cut.tfrecord has a wrong checksum"):
        load_table("nb101", cut)


@pytest.mark.parametrize(
    "payload",
    [b"not json", b"[1, 2, 3]", json.dumps(["k", 108, "01", "input,output", "AAAA"]).encode(), b'["k", 108, 5, 6, 7]'],
)
def test_records_of_another_kind_are_a_sentence(tmp_path, payload):
    write_records(tmp_path / "a.tfrecord", [payload])
    with pytest.raises(
        UserError, match=r"record 1 of a\.tfrecord is not a NAS-Bench-101 record|is no NAS-Bench-101 cell"
    ):
        load_table("nb101", tmp_path / "a.tfrecord")


def test_a_key_that_does_not_belong_to_its_cell_is_found(tmp_path):
    write_records(tmp_path / "a.tfrecord", [record(FIRST, 0.9, 0.9, key=INCEPTION_KEY)])
    with pytest.raises(UserError, match="of another cell"):
        load_table("nb101", tmp_path / "a.tfrecord")


def test_a_loaded_interface_object_is_accepted():
    class Api:
        """The two dictionaries that the benchmark's own interface keeps."""

        fixed_statistics = {
            FIRST_KEY: {
                "module_adjacency": np.array(
                    [[int(FIRST[nb101.EDGES.index((i, j))]) if i < j else 0 for j in range(7)] for i in range(7)]
                ),
                "module_operations": ["input", *(nb101.OPS[int(c)] for c in FIRST[21:]), "output"],
                "trainable_parameters": 8_555_530,
            }
        }
        computed_statistics = {
            FIRST_KEY: {
                108: [{"final_validation_accuracy": 0.9, "final_test_accuracy": 0.8, "final_training_time": 1.0}]
            },
        }

    table = from_api(Api(), 108)
    assert table.lookup(FIRST, "val_acc") == pytest.approx(90.0)
    with pytest.raises(UserError, match="an object of type int"):
        load(5)


def test_cells_in_a_csv(tmp_path, shared_table):
    table = load_table("nb101", shared_table("nasbench101_subset143.csv.gz"))
    assert len(table) == 97 and table.metric("cifar_acc_108").max() < 1
    (tmp_path / "a.csv").write_text("adj_upper,ops,acc\n111,3,0.5\n")
    with pytest.raises(UserError, match="operations '3'"):
        load_table("nb101", tmp_path / "a.csv")


def test_no_source_says_where_to_get_it():
    with pytest.raises(UserError, match=r"download nasbench_only108\.tfrecord"):
        load_table("nb101")
