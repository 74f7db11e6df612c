"""Files whole or not at all, locks that die with their holder, and a cache that trusts only its owner."""

from __future__ import annotations

import multiprocessing
import os
import re
import stat

import numpy as np
import pytest
from conftest import REPOSITORY

from search.errors import UserError, WorkLost, cli
from search.files import check_own, file_lock, open_atomic, read_own, write_atomic
from search.spaces import Decision, Space
from search.tables.base import Table
from search.tables.cache import cached

pytestmark = pytest.mark.skipif(os.name == "nt", reason="owners and links as Unix has them")
OTHER = 54321


@pytest.fixture
def foreign(monkeypatch):
    """Makes a path another user's: by chown where we may, else by being somebody else from here on."""

    def give_away(path):
        if os.geteuid() == 0:
            os.chown(path, OTHER, OTHER, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: OTHER)
        return path

    return give_away


def table(value=1.0):
    return Table(
        "toy", Space([Decision("a", (0, 1))]), np.array([[0], [1]], dtype=np.uint8), {"acc": np.full(2, value)}
    )


def test_a_link_under_a_guessed_temporary_name_is_not_followed(tmp_path):
    target = tmp_path / "precious"
    target.write_text("mine")
    for name in (f".out.txt.{os.getpid()}.tmp", ".out.txt.tmp"):
        (tmp_path / name).symlink_to(target)
    write_atomic(tmp_path / "out.txt", "new")
    assert target.read_text() == "mine" and (tmp_path / "out.txt").read_text() == "new"


def test_a_taken_temporary_name_is_refused_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda n: "0" * n)
    taken = tmp_path / ".out.txt.00000000.tmp"
    taken.symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="cannot write"):
        write_atomic(tmp_path / "out.txt", "new")
    assert not (tmp_path / "precious").exists() and not (tmp_path / "out.txt").exists()


def test_the_mode_of_a_new_file_follows_the_umask_and_long_names_are_fine(tmp_path):
    old = os.umask(0o027)
    try:
        path = write_atomic(tmp_path / ("n" * 250), b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and [p.name for p in tmp_path.iterdir()] == ["n" * 250]


def test_nothing_is_left_when_the_block_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), open_atomic(tmp_path / "out.txt") as handle:
        handle.write("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_only_files_that_nobody_else_could_write_are_read(tmp_path, foreign):
    mine = write_atomic(tmp_path / "mine", b"content")
    assert read_own(mine) == b"content"
    (tmp_path / "link").symlink_to(mine)
    os.mkfifo(tmp_path / "pipe")
    open_to_all = write_atomic(tmp_path / "open", b"content")
    open_to_all.chmod(0o666)
    for path in ("link", "pipe", "open", "none"):
        with pytest.raises(OSError):
            read_own(tmp_path / path)
    with pytest.raises(PermissionError):
        read_own(foreign(mine))


def test_a_cached_table_of_another_user_is_built_again(tmp_path, monkeypatch, foreign):
    monkeypatch.setenv("LMSEARCHER_CACHE", str(tmp_path))
    cached("toy", "k", lambda: table(666.0))
    (path,) = tmp_path.glob("*.npz")
    assert cached("toy", "k", table).metric("acc").tolist() == [666.0, 666.0]
    foreign(path)
    assert cached("toy", "k", table).metric("acc").tolist() == [1.0, 1.0]


def test_a_remembered_checksum_of_another_user_is_computed_again(tmp_path, monkeypatch, foreign):
    from search.tables import cache

    monkeypatch.setenv("LMSEARCHER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_ALWAYS_HASH", 0)
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    true = cache.file_sum(source)
    (note,) = (tmp_path / "cache" / "sums").iterdir()
    note.write_text("0" * 64)
    assert cache.file_sum(source) == "0" * 64
    foreign(note)
    assert cache.file_sum(source) == true


def test_a_task_folder_of_another_user_or_behind_a_link_is_refused(tmp_path, monkeypatch, foreign):
    from search.tasks.hat import cache
    from search.tasks.training import locked

    monkeypatch.setenv("LMSEARCHER_CACHE", str(tmp_path))
    with locked(cache.root()):
        pass
    assert check_own(cache.root()) == cache.root()
    (tmp_path / "else").symlink_to(cache.root())
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    for folder in ("else", "open"):
        with pytest.raises(UserError, match="set LMSEARCHER_CACHE to a folder of your own"):
            check_own(tmp_path / folder)
    foreign(cache.root())
    with pytest.raises(UserError, match="set LMSEARCHER_CACHE to a folder of your own"), locked(cache.root()):
        pass


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_one_lock_for_files_and_folders_that_need_not_wait(tmp_path, kind):
    path = tmp_path / "lock" if kind == "file" else tmp_path
    with file_lock(path):
        with pytest.raises(BlockingIOError), file_lock(path, wait=False):
            pass
    with file_lock(path, wait=False):
        pass
    assert [p.name for p in tmp_path.iterdir()] == (["lock"] if kind == "file" else [])


def _hold(path, told):
    with file_lock(path):
        told.set()
        multiprocessing.Event().wait()


def test_a_lock_dies_with_its_holder(tmp_path):
    told = multiprocessing.Event()
    holder = multiprocessing.Process(target=_hold, args=(tmp_path, told))
    holder.start()
    assert told.wait(60)
    with pytest.raises(BlockingIOError), file_lock(tmp_path, wait=False):
        pass
    holder.kill()
    holder.join()
    with file_lock(tmp_path, wait=False):
        pass


def test_all_locks_are_the_one_of_search_files():
    """But for the owner of a run folder, whose lock its forked children must not hold on to (a record lock)."""
    sources = [p for wing in ("search", "data_builders", "benchmarks") for p in (REPOSITORY / wing).rglob("*.py")]
    found = [p.relative_to(REPOSITORY).as_posix() for p in sources if re.search(r"\bfcntl\b|\bmsvcrt\b", p.read_text())]
    assert sorted(found) == ["search/files.py", "search/studies/claims.py"]


def test_lost_work_is_one_sentence_and_exit_1(capsys):
    def main():
        raise WorkLost("a worker died - run the same command again")

    with pytest.raises(SystemExit) as stop:
        cli(main)
    assert stop.value.code == 1 and capsys.readouterr().err == "error: a worker died - run the same command again\n"
