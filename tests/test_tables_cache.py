"""The cache of converted tables: safe, keyed by the source, rebuilt when damaged; and the Table itself."""

from __future__ import annotations

import numpy as np
import pytest

from search.errors import UserError
from search.files import cache_folder
from search.spaces import Decision, Space
from search.tables.base import Table
from search.tables.cache import cached, file_sum


def mirror(code):
    return min(code, code[::-1])


def make(**changes):
    space = Space([Decision("a", (1, 2.5, "x")), Decision("b", (True, None, "y"))], "toy", mirror)
    metrics = {"acc": np.array([[1.0, np.nan], [2.0, 3.0]]), "lat": np.array([5.0, np.nan])}
    codes = np.array([[0, 1], [2, 2]], dtype=np.uint8)
    return Table("toy", space, codes, metrics, {"lat": "minimize"}, source="s", licence="l", sha256="0", **changes)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LMSEARCHER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(a, b):
    fields = ("name", "directions", "source", "licence", "sha256", "by_canonical")
    assert all(getattr(a, f) == getattr(b, f) for f in fields)
    assert a.space.to_dict() == b.space.to_dict() and [d.options for d in a.space.decisions] == [
        d.options for d in b.space.decisions
    ]
    assert (a.codes == b.codes).all() and list(a.metrics) == list(b.metrics)
    assert all(np.array_equal(a.metrics[m], b.metrics[m], equal_nan=True) for m in a.metrics)


def test_second_load_does_not_build():
    built = []

    def build():
        built.append(1)
        return make()

    first, second = (cached("toy", "k", build, mirror) for _ in range(2))
    same(first, second)
    assert built == [1] and second.space.canonical("21") == "12"
    cached("toy", "another key", build)
    assert built == [1, 1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b[:400] + bytes([b[400] ^ 255]) + b[401:],
        lambda b: b"not a zip",
    ],
)
def test_a_damaged_copy_is_rebuilt(folder, damage):
    cached("toy", "k", make)
    (path,) = folder.glob("*.npz")
    path.write_bytes(damage(path.read_bytes()))
    same(cached("toy", "k", make), make())
    same(cached("toy", "k", lambda: pytest.fail("was not kept")), make())


def test_a_pickle_in_the_cache_is_never_loaded(folder):
    cached("toy", "k", make)
    (path,) = folder.glob("*.npz")
    np.savez(path, meta=np.array([{"a": object}], dtype=object), codes=np.zeros((1, 2)), allow_pickle=True)
    same(cached("toy", "k", make), make())


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LMSEARCHER_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="is not kept"):
        same(cached("toy", "k", make), make())


def test_home_is_the_default(monkeypatch):
    monkeypatch.delenv("LMSEARCHER_CACHE")
    assert cache_folder().parts[-2:] == (".cache", "lmsearcher")


def test_sums_follow_the_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = file_sum(path)
    path.write_bytes(b"two")
    assert file_sum(path) != first and len(first) == 64


def test_sums_of_large_files_are_remembered_until_they_change(tmp_path, monkeypatch, folder):
    import search.tables.cache as module

    monkeypatch.setattr(module, "_ALWAYS_HASH", 2)
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = file_sum(path)
    monkeypatch.setattr(module, "sha256", lambda p: pytest.fail("hashed again"))
    assert file_sum(path) == first
    monkeypatch.undo()
    monkeypatch.setenv("LMSEARCHER_CACHE", str(folder))
    path.write_bytes(b"three")
    assert file_sum(path) != first


def test_mean_over_measured_repeats():
    table = make()
    assert table.metric("acc").tolist() == [1.0, 2.5] and np.isnan(table.metric("lat")[1])
    assert table.lookup("22", "acc") == 2.5 and table.rows(["01", "10", "22"]).tolist() == [0, -1, 1]


def test_by_canonical_finds_equivalent_codes():
    assert make(by_canonical=True).rows(["01", "10", "22", "21"]).tolist() == [0, 0, 1, -1]


def test_questions_a_table_cannot_answer():
    with pytest.raises(UserError, match="unknown metric of table toy 'ac' - did you mean acc"):
        make().metric("ac")
    with pytest.raises(UserError, match="code 11 is not in table toy"):
        make().lookup("11", "acc")
