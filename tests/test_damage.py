"""Damaged, lost, moved and mixed run folders: nothing that was told is lost, and no trial gets another code's value."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from search import Space, Study, UserError
from search.rankers.base import Ranker, Ranking
from search.run import main
from search.studies.claims import alive, identity, own
from search.studies.journal import repair

REPOSITORY = Path(__file__).resolve().parent.parent
SPACE = Space.of_sizes([4] * 5)
NB201 = ["--task", "nb201/cifar100", "--ranker", "surrogate", "--quiet"]


def objective(code: str, seed: int) -> float:
    return float(int(code, 4))


def table(study: Study) -> list[tuple]:
    return [(t.number, t.code, t.value, t.state, t.origin) for t in study.trials]


def rows(folder: Path) -> list[dict]:
    return [
        json.loads(line) | {"seconds": None, "test": None}
        for line in (folder / "seed-0" / "trials.jsonl").read_text().splitlines()
    ]


def took(folder: Path) -> list[float]:
    """Seconds of every trial: a trial that is evaluated again takes others."""
    return [json.loads(line)["seconds"] for line in (folder / "seed-0" / "trials.jsonl").read_text().splitlines()]


def unsealed(data: bytes) -> bytes:
    """A journal as Optuna, or this program before its records were sealed, writes it."""
    return re.sub(rb',"seal":"[0-9a-f]{8}"', b"", data)


@pytest.fixture(name="journal")
def _journal(tmp_path) -> Path:
    """Twelve trials of which three each were open at once, as workers leave them."""
    path = tmp_path / "journal.log"
    study = Study(SPACE, ranker="random", storage=path)
    for _ in range(4):
        open_trials = [study.ask() for _ in range(3)]
        for trial in reversed(open_trials):
            study.tell(trial, objective(trial.code, 0))
    return path


def nulls(records: list[bytes], i: int) -> list[bytes]:
    return [*records[:i], b"\0" * len(records[i]), *records[i + 1 :]]


def flipped(records: list[bytes], i: int) -> list[bytes]:
    wrong = bytearray(records[i])
    wrong[len(wrong) // 2] ^= 1
    return [*records[:i], bytes(wrong), *records[i + 1 :]]


def lost(records: list[bytes], i: int) -> list[bytes]:
    return records[:i] + records[i + 1 :]


def doubled(records: list[bytes], i: int) -> list[bytes]:
    return records[: i + 1] + records[i:]


def swapped(records: list[bytes], i: int) -> list[bytes]:
    return [*records[:i], records[i + 1], records[i], *records[i + 2 :]]


def page(records: list[bytes], i: int) -> list[bytes]:
    data, start = b"".join(records), sum(map(len, records[:i]))
    return [data[:start] + b"\0" * 700 + data[start + 700 :]]


@pytest.mark.parametrize("damage", [nulls, flipped, lost, doubled, swapped, page])
def test_damage_in_the_middle_is_refused_and_nothing_is_changed(journal, damage):
    records = journal.read_bytes().splitlines(keepends=True)
    for i in range(len(records) // 3, len(records) * 2 // 3):
        wrong = b"".join(damage(records, i))
        journal.write_bytes(wrong)
        with pytest.raises(UserError, match="is damaged at record"):
            Study(SPACE, ranker="random", storage=journal)
        assert journal.read_bytes() == wrong and list(journal.parent.glob("*.damaged*")) == []


@pytest.mark.parametrize("damage", [nulls, doubled, page])
def test_a_journal_without_seals_is_read_and_its_damage_is_refused(journal, damage):
    before = table(Study(SPACE, ranker="random", storage=journal))
    journal.write_bytes(unsealed(journal.read_bytes()))
    study = Study(SPACE, ranker="random", storage=journal)
    assert table(study) == before
    study.run(objective, 15)
    assert b"seal" in journal.read_bytes() and table(Study(SPACE, ranker="random", storage=journal))[:12] == before
    records = journal.read_bytes().splitlines(keepends=True)
    creations = [i for i, r in enumerate(records) if b'"op_code":4' in r]
    journal.write_bytes(b"".join(damage(records, creations[5])))
    with pytest.raises(UserError, match="is damaged"):
        Study(SPACE, ranker="random", storage=journal)


def test_a_journal_damaged_while_it_is_in_use_is_refused_too(journal):
    study = Study(SPACE, ranker="random", storage=journal)
    other = Study(SPACE, ranker="random", storage=journal)
    other.run(objective, 14)
    data = journal.read_bytes()
    journal.write_bytes(data[:-300] + b"#" + data[-299:])
    with pytest.raises(UserError, match="is damaged"):
        study.run(objective, 20)


def finished(out: Path) -> tuple[list[dict], Path]:
    assert main([*NB201, "--budget", "12", "--out", str(out)]) == 0
    return rows(out), out / "seed-0" / "journal.log"


def test_a_damaged_run_is_refused_and_rebuilt_from_its_trials(tmp_path, capsys):
    before, journal = finished(tmp_path / "r")
    data = journal.read_bytes()
    journal.write_bytes(data[:3000] + b"\0" * 900 + data[3900:])
    with pytest.raises(UserError, match="move it away and continue with --resume"):
        main(["--resume", "--quiet", "--out", str(tmp_path / "r")])
    assert rows(tmp_path / "r") == before
    journal.rename(journal.with_name("journal.bad"))
    assert main(["--resume", "--quiet", "--budget", "16", "--out", str(tmp_path / "r")]) == 0
    assert "lacked 12 trials" in capsys.readouterr().err
    assert main([*NB201, "--budget", "16", "--out", str(tmp_path / "alone")]) == 0
    assert rows(tmp_path / "r") == rows(tmp_path / "alone")


def headless(data: bytes) -> bytes:
    return data[data.index(b"\n") + 1 :]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (None, "lacked 12 trials"),
        (lambda data: b"", "lacked 12 trials"),
        (lambda data: b"\0" * len(data), "lacked 12 trials"),
        (lambda data: b"".join(data.splitlines(keepends=True)[:-9]), "lacked "),
        (lambda data: data[:-1], "lacked 1 trials"),
        (headless, "is damaged at record 1 "),
        (lambda data: headless(unsealed(data)), "is damaged at record 1 "),
    ],
    ids=["missing", "empty", "zeroed", "older", "torn", "headless", "headless and unsealed"],
)
def test_a_resume_without_a_whole_journal_loses_no_trial(tmp_path, capsys, damage, said):
    before, journal = finished(tmp_path / "r")
    if damage is None:
        journal.unlink()
    else:
        journal.write_bytes(damage(journal.read_bytes()))
    try:
        assert main(["--resume", "--quiet", "--budget", "14", "--out", str(tmp_path / "r")]) == 0
        answer = capsys.readouterr().err
        assert rows(tmp_path / "r")[:12] == before and len(rows(tmp_path / "r")) == 14
    except UserError as error:
        answer = str(error)
        assert rows(tmp_path / "r") == before
    assert said in answer


class Talkative(Ranker):
    """Takes the first candidate, and leaves notes as a language model does."""

    name = "talkative"

    def rank(self, history, candidates):
        return Ranking(candidates[0], tokens=7, seconds=0.5, fallback="guessed")


def test_failed_and_infeasible_trials_are_rebuilt_with_their_notes(tmp_path):
    from search import Result
    from search.studies.folder import write_trials
    from search.studies.rescue import reconcile

    def odd(code: str, seed: int) -> Result:
        if code.startswith("0"):
            raise ValueError("too small")
        return Result(objective(code, seed), constraints={"cost": int(code[1]) - 1.5}, info={"k": [1, code]})

    study = Study(SPACE, ranker=Talkative(), storage=tmp_path / "journal.log")
    study.run(odd, 30, max_failures=30)
    write_trials(tmp_path, study.trials)
    again = Study(SPACE, ranker="random", storage=tmp_path / "other.log")
    assert "lacked 30 trials" in reconcile(again.store, tmp_path, exclusive=True)
    assert [t.row() for t in again.trials] == [t.row() for t in study.trials]
    assert {t.state for t in study.trials} == {"COMPLETE", "INFEASIBLE", "FAIL"}
    assert all("ValueError: too small" in t.traceback for t in again.trials if t.state == "FAIL")
    assert again.trials[-1].ranker["tokens"] == 7 and again.trials[-1].ranker["fallback"] == "guessed"
    assert reconcile(again.store, tmp_path, exclusive=True) is None


def test_a_journal_and_trials_that_contradict_each_other_are_refused(tmp_path):
    before, _ = finished(tmp_path / "r")
    path = tmp_path / "r" / "seed-0" / "trials.jsonl"
    lines = path.read_text().splitlines()
    lines[4] = json.dumps(json.loads(lines[4]) | {"value": 1.25})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="trial 4 is code"):
        main(["--resume", "--quiet", "--out", str(tmp_path / "r")])
    assert rows(tmp_path / "r")[4]["value"] == 1.25
    path.write_text("{torn\n" * 3)
    assert main(["--resume", "--quiet", "--out", str(tmp_path / "r")]) == 0
    assert rows(tmp_path / "r") == before


def test_a_run_that_lost_both_copies_is_refused(tmp_path):
    _, journal = finished(tmp_path / "r")
    journal.unlink()
    (tmp_path / "r" / "seed-0" / "trials.jsonl").unlink()
    with pytest.raises(UserError, match="nothing is left to continue"):
        main(["--resume", "--quiet", "--out", str(tmp_path / "r")])
    assert json.loads((tmp_path / "r" / "seed-0" / "summary.json").read_text())["best"]


def test_a_database_that_was_emptied_is_refused(tmp_path):
    storage = ["--storage", f"sqlite:///{tmp_path}/study.db"]
    assert main([*NB201, *storage, "--budget", "8", "--out", str(tmp_path / "r")]) == 0
    before = rows(tmp_path / "r")
    (tmp_path / "study.db").unlink()
    with pytest.raises(UserError, match="holds 8 trials that the study in the database lacks"):
        main(["--resume", "--quiet", "--out", str(tmp_path / "r")])
    assert rows(tmp_path / "r") == before


@pytest.mark.parametrize("storage", ["journal", "database"])
def test_a_renamed_run_folder_goes_on(tmp_path, storage):
    more = [] if storage == "journal" else ["--storage", f"sqlite:///{tmp_path}/study.db"]
    assert main([*NB201, *more, "--budget", "8", "--out", str(tmp_path / "first")]) == 0
    before = took(tmp_path / "first")
    (tmp_path / "kept").mkdir()
    (tmp_path / "first").rename(tmp_path / "kept" / "second")
    assert main(["--resume", "--quiet", "--budget", "11", "--out", str(tmp_path / "kept" / "second")]) == 0
    assert took(tmp_path / "kept" / "second")[:8] == before and len(rows(tmp_path / "kept" / "second")) == 11


def test_a_run_in_the_working_folder_goes_on_elsewhere(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert main([*NB201, "--budget", "8", "--out", "."]) == 0
    before = took(here)
    monkeypatch.chdir(tmp_path)
    assert main(["--resume", "--quiet", "--budget", "10", "--out", "here"]) == 0
    assert took(here)[:8] == before and len(took(here)) == 10
    monkeypatch.chdir(here)
    assert main(["--resume", "--quiet", "--budget", "11", "--out", "."]) == 0
    assert took(here)[:8] == before and len(rows(here)) == 11


def test_a_resume_that_is_refused_leaves_the_run_as_it_was(tmp_path):
    before, _ = finished(tmp_path / "r")
    settings = (tmp_path / "r" / "run.json").read_bytes()
    with pytest.raises(UserError, match="holds 12 trials that the study in the database lacks"):
        main(["--resume", "--quiet", "--storage", f"sqlite:///{tmp_path}/new.db", "--out", str(tmp_path / "r")])
    assert (tmp_path / "r" / "run.json").read_bytes() == settings
    assert main(["--resume", "--quiet", "--budget", "14", "--out", str(tmp_path / "r")]) == 0
    assert rows(tmp_path / "r")[:12] == before and len(rows(tmp_path / "r")) == 14


def test_a_table_may_have_moved_but_not_changed(tmp_path, monkeypatch):
    text = "a,b,acc\n" + "".join(f"{i % 6},{i // 6},{i * 0.37 % 5}\n" for i in range(36))
    (tmp_path / "here").mkdir(), (tmp_path / "there").mkdir()
    (tmp_path / "here" / "t.csv").write_text(text)
    monkeypatch.chdir(tmp_path / "here")
    run = ["--table", "t.csv", "--decisions", "a,b", "--metric", "acc", "--sampler", "random", "--quiet"]
    assert main([*run, "--budget", "6", "--out", "r"]) == 0
    before = took(tmp_path / "here" / "r")
    (tmp_path / "here" / "r").rename(tmp_path / "there" / "r")
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(UserError, match="t.csv does not exist"):
        main(["--resume", "--quiet", "--budget", "9", "--out", "r"])
    assert main(["--resume", "--quiet", "--budget", "9", "--table", "../here/t.csv", "--out", "r"]) == 0
    assert took(tmp_path / "there" / "r")[:6] == before
    (tmp_path / "there" / "t.csv").write_text(text.replace("0,0,0.0", "0,0,4.9"))
    with pytest.raises(UserError, match="was started with table"):
        main(["--resume", "--quiet", "--budget", "12", "--table", "t.csv", "--out", "r"])
    assert main(["--resume", "--quiet", "--budget", "12", "--out", "r"]) == 0


def test_a_journal_whose_study_bears_the_name_of_the_folder_goes_on(tmp_path):
    before, journal = finished(tmp_path / "r")
    old = unsealed(journal.read_bytes()).replace(b'"study_name":"search"', b'"study_name":"r/seed-0"')
    journal.write_bytes(old)
    assert b"r/seed-0" in old
    assert main(["--resume", "--quiet", "--budget", "14", "--out", str(tmp_path / "r")]) == 0
    assert rows(tmp_path / "r")[:12] == before and len(rows(tmp_path / "r")) == 14
    assert repair(journal) is None and journal.read_bytes().count(b"study_name") == 1


def owning(folder: Path, where=lambda *command: list(command)) -> subprocess.Popen:
    """A process that owns the folder until it is ended."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom search.studies.claims import own\n"
        "with own(Path(sys.argv[1])):\n    print('owned', flush=True)\n    time.sleep(600)"
    )
    command = where(sys.executable, "-c", script, str(folder))
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"owned\n"
    return process


def test_a_living_run_is_not_taken_over_by_who_cannot_see_its_process(tmp_path, monkeypatch):
    process = owning(tmp_path)
    try:
        monkeypatch.setattr("search.studies.claims.alive", lambda owner: False)  # what a container sees
        for take_over in (False, True):
            with pytest.raises(UserError, match="is in use by process"), own(tmp_path, take_over):
                pass
    finally:
        process.kill()
        process.wait()
    with own(tmp_path):
        pass


def in_container(*command: str) -> list[str]:
    """The command in a container of its own: other process numbers, another host name, the same kernel and files."""
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    inside = ["unshare", *rights, "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("making a container needs unshare and the right to use it")
    return [*inside, "sh", "-c", 'hostname inside; exec "$@"', "sh", *command]


CLAIM = """
import sys
from pathlib import Path
from search.errors import UserError
from search.studies.claims import own
try:
    with own(Path(sys.argv[1]), take_over=len(sys.argv) > 2):
        print("owned")
except UserError as error:
    print(error)
"""


def claimed(folder: Path, *more: str, inside: bool) -> str:
    """What another process is told that wants to own the folder."""
    command = [sys.executable, "-c", CLAIM, str(folder), *more]
    command = in_container(*command) if inside else command
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("owner", ["outside", "inside"])
def test_a_container_and_its_host_see_whether_the_other_one_lives(tmp_path, owner):
    process = owning(tmp_path, in_container) if owner == "inside" else owning(tmp_path)
    try:
        for more in ([], ["take over"]):
            for inside in (True, False):
                assert "is in use by process" in claimed(tmp_path, *more, inside=inside)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    left = (tmp_path / "owner.json").read_text()
    for inside in (True, False):
        deadline = time.monotonic() + 60  # a killed container takes a moment to end
        while (answer := claimed(tmp_path, inside=inside)) != "owned\n" and time.monotonic() < deadline:
            assert "is in use" in answer
        assert answer == "owned\n"
        (tmp_path / "owner.json").write_text(left)


def test_another_container_or_boot_is_another_place():
    here = identity()
    assert alive(here) is True
    assert alive(here | {"namespace": "pid:[1]"}) is None
    assert alive(here | {"boot": "other", "machine": None}) is None
    assert alive({k: here[k] for k in ("host", "pid", "start")}) is True, "owners that older versions wrote"


def test_a_folder_that_filled_between_the_look_and_the_claim_is_refused(tmp_path, monkeypatch):
    from search.studies import claims

    @contextmanager
    def late(folder: Path, take_over: bool = False):
        with claims_own(folder, take_over):
            (folder / "seed-0").mkdir()  # another run was faster, and has ended
            yield

    claims_own = claims.own
    monkeypatch.setattr(claims, "own", late)
    with pytest.raises(UserError, match="is not empty"):
        main([*NB201, "--budget", "6", "--out", str(tmp_path / "r")])
    assert not (tmp_path / "r" / "run.json").exists()
