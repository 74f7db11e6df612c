"""The journal file: torn records, full disks, read-only folders, two owners, and Optuna's own reader."""

from __future__ import annotations

import json
import os
import resource
import socket
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search import Space, Study, UserError
from search.studies.claims import OWNER_FILE, alive, identity, own
from search.studies.folder import append
from search.studies.journal import Journal, repair

SPACE = Space.of_sizes([4] * 5)


def objective(code: str, seed: int) -> float:
    return float(sum(map(int, code)))


def table(study: Study) -> list[tuple]:
    return [(t.number, t.code, t.value, t.state, t.origin) for t in study.trials]


def open_study(path: Path) -> Study:
    study = Study(SPACE, ranker="surrogate", storage=path)
    study.store.reap(exclusive=True)
    return study


@pytest.fixture(name="journal")
def _journal(tmp_path) -> Path:
    path = tmp_path / "made" / "journal.log"
    open_study(path).run(objective, 12)
    return path


def test_truncated_at_every_byte_of_its_last_three_records(journal, tmp_path):
    data = journal.read_bytes()
    whole = table(open_study(journal))
    records = data.splitlines(keepends=True)
    start = len(data) - sum(map(len, records[-3:]))
    alone = Study(SPACE, ranker="surrogate")
    alone.run(objective, 13)
    for cut in range(start, len(data) + 1):
        path = tmp_path / "cut" / str(cut) / "journal.log"
        path.parent.mkdir(parents=True)
        path.write_bytes(data[:cut])
        torn = data[:cut].rpartition(b"\n")[2]
        said = repair(path)
        damaged = path.with_name("journal.log.damaged")
        if torn:
            assert f"{len(torn)} bytes" in said and damaged.read_bytes() == data[:cut]
        else:
            assert said is None and not damaged.exists()
        assert path.read_bytes() == data[: cut - len(torn)]
        if cut % 40 == 0 or cut in (start, len(data) - 1, len(data)):
            study = open_study(path)
            assert table(study) == whole[: len(study.trials)] and len(study.trials) >= 10
            study.run(objective, 13)
            assert table(study) == table(alone)
            assert repair(path) is None


def test_every_repair_keeps_its_own_copy_and_the_user_is_told(journal):
    for copy in ("journal.log.damaged", "journal.log.damaged.1"):
        with open(journal, "ab") as handle:
            handle.write(b'{"op_code":5')
        study = Study(SPACE, ranker="surrogate", storage=journal)
        assert copy in study.repaired and (journal.parent / copy).exists()


def test_a_record_appended_behind_a_torn_one_by_another_program_is_refused(journal):
    data = journal.read_bytes()
    last = data.splitlines(keepends=True)[-1]
    glued = data[: -len(last)] + b'{"op_code":8,"worker_id":"dead","tri' + last
    journal.write_bytes(glued)
    with pytest.raises(UserError, match="is damaged at record"):
        repair(journal)
    assert journal.read_bytes() == glued, "whether a record was lost there cannot be known"


def test_optuna_reads_our_journal(journal):
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name="search", storage=storage)
    assert [t.value for t in study.trials] == [t.value for t in open_study(journal).trials]
    assert study.best_value == open_study(journal).best.value


def in_child(work) -> str:
    """Run `work` in a forked child; returns what it answers (so that limits and identities of the child stay its
    own).
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except UserError as error:
            answer = f"UserError: {error}"
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(write, answer.encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def test_full_disk_is_a_sentence_and_nothing_is_lost(journal):
    before, size = table(open_study(journal)), journal.stat().st_size

    def until_full() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 700, size + 700))
        study = open_study(journal)
        return study.run(objective, 60).why

    answer = in_child(until_full)
    assert answer.startswith("UserError: cannot write") and "--resume" in answer and "Traceback" not in answer
    assert repair(journal) is None, "the write that failed was undone"
    resumed = open_study(journal)
    assert table(resumed)[: len(before)] == before
    resumed.run(objective, 60)
    alone = Study(SPACE, ranker="surrogate")
    alone.run(objective, 60)
    assert table(resumed) == table(alone)


def test_a_line_that_does_not_fit_on_the_disk_is_not_begun(tmp_path):
    path = tmp_path / "trials.jsonl"

    def until_full() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        for number in range(100):
            append(path, {"number": number, "text": "x" * 60})
        return "fits"

    assert in_child(until_full).startswith("UserError: cannot write")
    assert path.read_bytes().endswith(b"}\n")
    append(path, {"number": 99})
    numbers = [json.loads(text)["number"] for text in path.read_text().splitlines()]
    assert numbers == [*range(len(numbers) - 1), 99] and len(numbers) > 5


def test_read_only_folder_is_a_sentence_and_nothing_is_lost(journal):
    before = journal.read_bytes()
    os.chmod(journal, 0o444)
    os.chmod(journal.parent, 0o555)

    def as_nobody() -> str:
        if os.geteuid() == 0:
            for folder in journal.parents:
                if folder.owner() == "root" and folder.stat().st_mode & 0o005 != 0o005:
                    os.chmod(folder, folder.stat().st_mode | 0o005)
                if folder.name.startswith("pytest-of"):
                    break
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        study = Study(SPACE, ranker="surrogate", storage=journal)
        return study.run(objective, 60).why

    answer = in_child(as_nobody)
    os.chmod(journal.parent, 0o755)
    assert answer.startswith("UserError: cannot write") and "Permission denied" in answer
    assert journal.read_bytes() == before


def test_one_owner_a_folder(tmp_path):
    with own(tmp_path):
        assert json.loads((tmp_path / OWNER_FILE).read_text()) == identity()

        def second() -> str:
            with own(tmp_path):
                return "owned twice"

        assert "is in use by process" in in_child(second)
    assert not (tmp_path / OWNER_FILE).exists()


def test_a_dead_owner_is_replaced_and_a_foreign_one_only_on_demand(tmp_path):
    dead = json.loads(in_child(lambda: json.dumps(identity())))
    assert alive(dead) is False
    recycled = identity() | {"start": "1"}
    assert alive(recycled) is False, "same process number, another start time"
    for owner in (dead, recycled):
        (tmp_path / OWNER_FILE).write_text(json.dumps(owner))
        with own(tmp_path):
            pass
    foreign = {"host": f"not-{socket.gethostname()}", "pid": 1, "start": "1"}
    assert alive(foreign) is None
    (tmp_path / OWNER_FILE).write_text(json.dumps(foreign))
    with pytest.raises(UserError, match="--take-over"), own(tmp_path):
        pass
    with own(tmp_path, take_over=True):
        pass


def test_reaping_spares_the_living_and_the_foreign(tmp_path):
    study = Study(SPACE, ranker="random", storage=tmp_path / "journal.log")
    dead = json.loads(in_child(lambda: json.dumps(identity())))
    foreign = {"host": "elsewhere", "pid": 1, "start": "1"}
    for code, owner in (("00000", dead), ("11111", identity()), ("22222", foreign), ("33333", "external")):
        trial_id = study.store.start(code, "test")
        study.store.storage.set_trial_user_attr(trial_id, "owner", owner)
    assert study.store.reap() == 1
    assert [t.code for t in study.trials] == ["11111", "22222", "33333"]
    assert study.store.reap(take_over=True) == 1
    assert study.store.reap(exclusive=True) == 1
    assert [t.code for t in study.trials] == ["33333"]
    assert study.store.reap(exclusive=True) == 0


def test_a_process_number_of_elsewhere_is_nobody_here(tmp_path):
    study = Study(SPACE, ranker="random", storage=tmp_path / "journal.log")
    here = identity()
    others = ({"host": "elsewhere"}, {"namespace": "pid:[1]"}, {"boot": "another"})
    codes = ("00000", "11111", "22222", "33333", "01230")
    for code, owner in zip(codes, (here, *(here | other for other in others), "external")):
        study.store.storage.set_trial_user_attr(study.store.start(code, "test"), "owner", owner)
    assert [pid for _, pid in study.store.running()] == [here["pid"], None, None, None, None]


def test_syncing_is_bounded_in_time_not_in_records(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal = Journal(tmp_path / "journal.log", sync_seconds=3600)
    for i in range(50):
        journal.append_logs([{"op_code": 99, "worker_id": str(i)}])
    assert len(synced) == 1
    assert len(list(journal.read_logs(0))) == 50 and len(list(journal.read_logs(48))) == 2
