"""Several processes on one study: exactly the budget, unique numbers, never two codes that mean the same."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import free_port, mysql, postgresql

from search import Decision, Result, Space, Study, UserError

REPOSITORY = Path(__file__).resolve().parent.parent
WORKER = """
import sys, time
from search import Space, Study, Decision
space = Space([Decision(f"d{i}", range(8)) for i in range(4)], canonical=lambda code: "".join(sorted(code)))
study = Study(space, ranker="random", proposal="evolution", warmup=0, storage=sys.argv[1], seed=0)
evaluated = 0
def objective(code, seed):
    global evaluated
    evaluated += 1
    return float(sum(map(int, code)))
study.run(objective, int(sys.argv[2]))
print(evaluated)
"""
SPACE = Space([Decision(f"d{i}", range(8)) for i in range(4)], canonical=lambda code: "".join(sorted(code)))


def run_workers(storage: str, budget: int, workers: int) -> list[int]:
    """Start workers on one storage; returns how many evaluations each made."""
    command = [sys.executable, "-c", WORKER, storage, str(budget)]
    processes = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    out = [p.communicate()[0] for p in processes]
    assert [p.returncode for p in processes] == [0] * workers
    return [int(text) for text in out]


def check_exact(storage: str, budget: int, evaluated: list[int]) -> None:
    study = Study(SPACE, ranker="random", storage=storage)
    trials = study.trials
    assert [t.number for t in trials] == list(range(budget))
    assert {t.state for t in trials} == {"COMPLETE"}
    assert len({SPACE.canonical(t.code) for t in trials}) == budget
    assert sum(evaluated) == budget, "nothing was evaluated twice or for nothing"
    assert sum(e > 0 for e in evaluated) > 1, "more than one worker took part"


def test_eight_processes_share_two_hundred_trials(tmp_path):
    journal = str(tmp_path / "journal.log")
    check_exact(journal, 200, run_workers(journal, 200, 8))


def test_workers_end_together_when_the_space_is_exhausted(tmp_path):
    journal = str(tmp_path / "journal.log")
    assert sum(run_workers(journal, 5000, 2)) == 330
    assert len(Study(SPACE, ranker="random", storage=journal).trials) == 330, (
        "as many as there are multisets of 4 of 8 options"
    )


def test_a_worker_that_dies_gives_its_trial_back(tmp_path):
    journal = str(tmp_path / "journal.log")
    script = WORKER.replace("    return float(sum(map(int, code)))", "    time.sleep(60)")
    victim = subprocess.Popen([sys.executable, "-c", script, journal, "5"], cwd=REPOSITORY)
    while not (os.path.exists(journal) and b'"op_code":4' in Path(journal).read_bytes()):
        time.sleep(0.01)
    victim.kill()
    victim.wait()
    study = Study(SPACE, ranker="random", storage=journal)
    taken = [t.code for t in study.trials]
    assert len(taken) == 1 and study.trials[0].state == "RUNNING"
    assert study.store.reap() == 1
    study.run(lambda code, seed: 1.0, 5)
    assert [t.state for t in study.trials] == ["COMPLETE"] * 5


@pytest.fixture(name="postgresql")
def _postgresql():
    with postgresql() as url:
        yield url


INTERRUPTED = """
import os, signal, sys, time, weakref
from search.cli.workers import Interrupt

def end(*_):
    os.kill(os.getpid(), signal.SIGTERM)

class Thing:
    pass

interrupt = Interrupt()
for how in ("plainly", "in a finalizer"):
    interrupt.armed = True
    try:
        if how == "plainly":
            end()
        else:
            thing = Thing()
            watcher = weakref.ref(thing, end)
            del thing
        time.sleep(60)
        print("went on")
    except KeyboardInterrupt:
        end()  # the parent asks twice
        print("interrupted", how)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_a_worker_that_is_told_to_stop_stops_once_and_without_a_traceback():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("interrupted plainly\ninterrupted in a finalizer\n", "")


def test_two_workers_that_drew_the_same_code_once_do_not_go_on_so(tmp_path):
    one, other = (Study(SPACE, sampler="random", storage=tmp_path / "journal.log") for _ in range(2))
    start = other.store.start
    rounds = 20

    def start_just_after_the_other(*given):
        other.store.start = start
        one.next_trial(None)
        return start(*given)

    for _ in range(rounds):
        other.store.start = start_just_after_the_other
        other.next_trial(None)
    voids = len(one.store.storage.get_all_trials(0)) - len(one.trials)
    assert len(one.trials) == len({t.code for t in one.trials}) == 2 * rounds
    assert 1 <= voids <= 3, "with one seed each round would lose a draw"


@pytest.mark.slow
def test_eight_processes_share_a_mysql_database():
    with mysql() as url:
        Study(SPACE, ranker="random", storage=url)
        check_exact(url, 200, run_workers(url, 200, 8))


@pytest.mark.slow
def test_metrics_that_mysql_cannot_hold_cost_themselves_and_not_the_run():
    with mysql() as url:
        study = Study(SPACE, sampler="random", storage=url)
        study.run(lambda code, seed: Result(1.0, info={"curve": [0.123456789] * 10_000}), 3)
        assert [t.value for t in study.trials] == [1.0] * 3
        assert all("bytes of metrics are more" in t.metrics["left_out"] for t in study.trials)


@pytest.mark.slow
def test_eight_processes_share_a_postgresql_database(postgresql):
    Study(SPACE, ranker="random", storage=postgresql)
    check_exact(postgresql, 200, run_workers(postgresql, 200, 8))


@pytest.mark.slow
def test_the_command_line_on_postgresql_with_workers_and_a_second_machine(postgresql, tmp_path):
    def run(out: Path, budget: int) -> subprocess.CompletedProcess:
        command = [
            sys.executable,
            "-m",
            "search.run",
            "--task",
            "nb201/cifar10",
            "--ranker",
            "random",
            "--budget",
            str(budget),
            "--storage",
            postgresql,
        ]
        return subprocess.run(
            [*command, "--workers", "3", "--quiet", "--out", str(out)], cwd=REPOSITORY, capture_output=True, text=True
        )

    first = run(tmp_path / "here" / "shared", 30)
    assert first.returncode == 0, first.stderr
    second = run(tmp_path / "there" / "shared", 45)
    assert second.returncode == 0, second.stderr
    rows = (tmp_path / "there" / "shared" / "seed-0" / "trials.jsonl").read_text().splitlines()
    assert len(rows) == 45
    assert (
        rows[:30]
        == [r for r in (tmp_path / "here" / "shared" / "seed-0" / "trials.jsonl").read_text().splitlines()][:30]
    )


def test_a_database_that_is_not_there_is_a_sentence_without_the_password():
    pytest.importorskip("psycopg2", reason="psycopg2-binary is not installed")
    with pytest.raises(UserError, match="cannot be opened") as error:
        Study(SPACE, ranker="random", storage=f"postgresql://me:secret@127.0.0.1:{free_port()}/none")
    assert "secret" not in str(error.value)


def test_sqlite_keeps_a_study_too(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    Study(SPACE, ranker="surrogate", storage=url).run(lambda code, seed: float(int(code, 8)), 6)
    again = Study(SPACE, ranker="surrogate", storage=url)
    again.run(lambda code, seed: float(int(code, 8)), 9)
    alone = Study(SPACE, ranker="surrogate")
    alone.run(lambda code, seed: float(int(code, 8)), 9)
    assert [(t.code, t.value) for t in again.trials] == [(t.code, t.value) for t in alone.trials]
