"""NAS-Bench-ASR: keys, counts, and the two-pickles-in-one reader on files written here as the release has them."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from search.errors import UserError
from search.spaces import nbasr
from search.spaces.cell_hash import fingerprint, vertex_hashes
from search.tables import load_table
from search.tables.nbasr import load
from search.tasks import load_task

EXAMPLE, EXAMPLE_KEY = "101001000", "36855332a5778e0df5114305bc3ce238"


def test_published_key():
    assert nbasr.from_nested([[1, 0], [1, 0, 0], [1, 0, 0, 0]]) == EXAMPLE
    assert nbasr.model_key(EXAMPLE) == EXAMPLE_KEY
    chain = [(k, k + 1) for k in range(4)]
    assert fingerprint(vertex_hashes(chain, [-1, 1, 1, 1, -2])).startswith(
        "f38b7aac"
    )  # what integer degrees would give


def test_counts():
    keys = [nbasr.model_key(c) for c in nbasr.all_codes()]
    assert len(keys) == 13_824 and len(set(keys)) == 8_242
    assert keys.count(nbasr.UNCONNECTED) == 812
    no_zero = [c for c in nbasr.all_codes() if "5" not in (c[0], c[2], c[5])]
    assert len({nbasr.model_key(c) for c in no_zero}) == len(no_zero) == 8_000
    assert nbasr.space().size == 13_824 and tuple(nbasr.space().cardinalities) == nbasr.SIZES


def test_canonical_is_the_smallest_code_of_the_model():
    for code in nbasr.all_codes()[::331]:
        first = nbasr.canonical(code)
        assert first <= code and nbasr.model_key(first) == nbasr.model_key(code) and nbasr.canonical(first) == first


def test_decode():
    names = ("op_1", "skip_1_0", "op_2", "skip_2_0", "skip_2_1", "op_3", "skip_3_0", "skip_3_1", "skip_3_2")
    assert nbasr.space().decode("504013110") == dict(
        zip(names, ("zero", 0, "conv7d2", 0, 1, "conv7", 1, 1, 0), strict=True)
    )


def per(code, seed):
    return 0.2 + int(code, 6) % 997 / 10_000 + seed % 10 / 1000


def write(path, header, rows):
    """Two pickles back to back, as the release files are."""
    with open(path, "wb") as handle:
        pickle.dump({"version": 1, "search_space": {"shape": [], "ops": list(nbasr.OPS), "nodes": 3}, **header}, handle)
        pickle.dump(rows, handle)


@pytest.fixture
def folder(tmp_path):
    codes = [nbasr.canonical(c) for c in nbasr.all_codes()[::97]]
    models = dict.fromkeys(codes)
    for seed in (1234, 1235, 1236):
        rows = [[nbasr.model_key(c), [0.9, per(c, seed), 0.8], per(c, seed) + 0.02, [[0, 0]]] for c in models]
        header = {
            "dataset_type": "training",
            "columns": ["model_hash", "val_per", "test_per", "arch_vec"],
            "epochs": 40,
            "seed": seed,
        }
        write(tmp_path / f"nb-asr-e40-{seed}.pickle", header, rows)
    short = [[nbasr.model_key(c), [0.5], 0.6, [[0, 0]]] for c in models]
    write(
        tmp_path / "nb-asr-e5-1234.pickle",
        {"dataset_type": "training", "columns": [], "epochs": 5, "seed": 1234},
        short,
    )
    latency = {"dataset_type": "benchmarking", "columns": ["model_hash", "latency"], "device": "gtx-1080ti-fp32"}
    write(tmp_path / "nb-asr-bench-gtx-1080ti-fp32.pickle", latency, [[nbasr.model_key(c), 0.04] for c in models])
    static = {"dataset_type": "static", "columns": ["model_hash", "params"]}
    write(tmp_path / "nb-asr-info.pickle", static, [[nbasr.model_key(c), 1000] for c in models])
    return tmp_path


def test_the_folder_becomes_a_table(folder):
    for _ in range(2):
        table = load_table("nbasr", folder)
        code = table.space.to_codes(table.codes[:1])[0]
        first = nbasr.canonical(code)
        mean = 100 * np.mean([per(first, s) for s in (1234, 1235, 1236)])
        assert table.metrics["val_per"].shape[1] == 3
        assert table.lookup(code, "val_per") == pytest.approx(mean) and table.lookup(code, "test_per") == pytest.approx(
            mean + 2
        )
        assert table.lookup(code, "latency_gtx_1080ti_fp32") == 0.04 and table.lookup(code, "params") == 1000
        assert set(table.directions.values()) == {"minimize"}


def test_every_code_of_a_known_model_is_in_the_table(folder):
    table = load_table("nbasr", folder)
    known = {nbasr.model_key(c) for c in table.space.to_codes(table.codes)}
    assert sum(nbasr.model_key(c) in known for c in nbasr.all_codes()) == len(table)


def test_fewer_epochs_are_another_table(folder):
    assert load(folder, epochs=5).metric("val_per").tolist()[0] == 50
    with pytest.raises(UserError, match="no training runs of 10 epochs - it has those of .*40.*5"):
        load(folder, epochs=10)


def test_the_task_minimises(folder):
    task = load_task("nbasr", source=folder)
    assert task.direction == "minimize" and task.optimum == pytest.approx(task.values.min())
    code = task.space.to_codes(task.table.codes[:1])[0]
    assert task.test(code) == pytest.approx(task.evaluate(code, 0).value + 2)


class Malicious:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_a_second_pickle_that_runs_code_is_refused(folder):
    target = folder / "made"
    header = {"dataset_type": "training", "columns": [], "epochs": 40, "seed": 1}
    write(folder / "nb-asr-e40-1.pickle", header, [Malicious(target)])
    with pytest.raises(UserError, match=r"nb-asr-e40-1\.pickle asks to run"):
        load_table("nbasr", folder)
    assert not target.exists()


def test_wrong_files_are_a_sentence(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    for source, said in ((None, "no source was given"), (empty, "has no nb-asr-"), (empty / "x", "has no nb-asr-")):
        with pytest.raises(UserError, match=said):
            load_table("nbasr", source)
    cut = empty / "nb-asr-e40-1234.pickle"
    cut.write_bytes((folder / "nb-asr-e40-1234.pickle").read_bytes()[:-50])
    with pytest.raises(UserError, match="ends too early|not a readable"):
        load_table("nbasr", empty)
    cut.write_bytes(pickle.dumps([1]) + pickle.dumps([2]))
    with pytest.raises(UserError, match="is not a NAS-Bench-ASR file"):
        load_table("nbasr", empty)
    write(cut, {"dataset_type": "training", "epochs": 40, "seed": 1}, [["key"]])
    with pytest.raises(UserError, match="has a row of another form"):
        load_table("nbasr", empty)
