"""SIGKILL at random instants: nothing told is lost, nothing told is evaluated again, the trial table is that of a run
left alone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search import Space, Study
from search.files import file_lock
from search.studies.journal import Journal

REPOSITORY = Path(__file__).resolve().parent.parent
SPACE = Space.of_sizes([4] * 6)
VICTIM = """
import os, sys, time
from pathlib import Path
from search import Space, Study
folder, budget = Path(sys.argv[1]), int(sys.argv[2])

def log(name, text):
    with open(folder / name, "ab", buffering=0) as handle:
        handle.write(text.encode() + b"\\n")

def objective(code, seed):
    log("evaluated", code)
    time.sleep(0.002)
    return float(sum(int(c) * (i + 1) for i, c in enumerate(code)) % 13)

study = Study(Space.of_sizes([4] * 6), ranker="surrogate", storage=folder / "journal.log")
study.store.reap(exclusive=True)
log("opened", str(len(study.trials)))
study.run(objective, budget, after=lambda t: log("told", t.code))
"""


def objective(code: str, seed: int) -> float:
    return float(sum(int(c) * (i + 1) for i, c in enumerate(code)) % 13)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def table(study: Study) -> list[tuple]:
    return [(t.number, t.code, t.value, t.state, t.origin) for t in study.trials]


def start(folder: Path, budget: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", VICTIM, str(folder), str(budget)], cwd=REPOSITORY)


def kill_until_done(folder: Path, budget: int, kills: int, rng: random.Random) -> int:
    """Run the victim, killing it `kills` times at random instants after it opened the study, then let it finish."""
    step = budget // kills
    for _ in range(kills):
        victim = start(folder, budget)
        opened, goal = len(lines(folder / "opened")), len(lines(folder / "told")) + rng.randrange(step)
        while victim.poll() is None and (len(lines(folder / "opened")) == opened or len(lines(folder / "told")) < goal):
            time.sleep(0.001)
        time.sleep(rng.random() * 0.006)
        victim.kill()
        victim.wait()
    assert start(folder, budget).wait() == 0
    return len(lines(folder / "opened"))


def check(folder: Path, budget: int) -> None:
    told, evaluated = lines(folder / "told"), lines(folder / "evaluated")
    study = Study(SPACE, ranker="surrogate", storage=folder / "journal.log")
    codes = [t.code for t in study.trials]
    zombies = [t for t in study.store.storage.get_all_trials(0) if t.state.name == "RUNNING"]
    assert zombies == []
    assert set(told) <= set(codes), "told trials were lost"
    assert len(told) == len(set(told)), "a code was told twice"
    # An evaluation that a kill cut short is repeated at once, as the next one; one that was told never is.
    uninterrupted = [code for i, code in enumerate(evaluated) if i == 0 or evaluated[i - 1] != code]
    assert uninterrupted == codes
    alone = Study(SPACE, ranker="surrogate")
    alone.run(objective, budget)
    assert len(codes) == budget and table(study) == table(alone)


def test_twenty_kills(tmp_path):
    assert kill_until_done(tmp_path, 80, 20, random.Random(1)) >= 20
    check(tmp_path, 80)


@pytest.mark.slow
def test_two_hundred_kills(tmp_path):
    assert kill_until_done(tmp_path, 400, 200, random.Random(2)) >= 200
    check(tmp_path, 400)


def test_a_lock_whose_holder_was_killed_blocks_nobody(tmp_path, monkeypatch):
    journal = tmp_path / "journal.log"
    Study(SPACE, ranker="random", storage=journal).run(objective, 3)
    child = os.fork()
    if child == 0:
        with file_lock(journal.with_name(".journal.log.guard")):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("the resume waited for a dead process"))
    study = Study(SPACE, ranker="random", storage=journal)
    study.store.reap(exclusive=True)
    assert study.run(objective, 5).why == "budget"


def test_a_process_killed_inside_a_write_leaves_a_journal_that_others_can_append_to(tmp_path):
    journal = Journal(tmp_path / "journal.log")
    journal.append_logs([{"op_code": 99, "worker_id": "a"}])
    with open(journal.path, "ab") as handle:
        handle.write(b'{"op_code":99,"wor')
    journal.append_logs([{"op_code": 99, "worker_id": "b"}])
    assert [r["worker_id"] for r in Journal(journal.path).read_logs(0)] == ["a", "b"]
    assert (tmp_path / "journal.log.damaged").read_bytes().endswith(b'"wor')


def test_the_command_line_is_killed_and_resumed(tmp_path):
    def run(folder: Path, *more: str) -> list[str]:
        task = ["--task", "nb201/cifar10", "--ranker", "surrogate", "--budget", "60"]
        return [sys.executable, "-m", "search.run", *task, "--quiet", "--out", str(folder), *more]

    subprocess.run(run(tmp_path / "alone"), cwd=REPOSITORY, check=True, capture_output=True)
    for more in ([], ["--resume"], ["--resume"]):
        victim = subprocess.Popen(run(tmp_path / "killed", *more), cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        trials = tmp_path / "killed" / "seed-0" / "trials.jsonl"
        goal = (len(trials.read_text().splitlines()) if trials.exists() else 0) + 8
        while victim.poll() is None and not (trials.exists() and len(trials.read_text().splitlines()) >= goal):
            time.sleep(0.002)
        victim.kill()
        victim.wait()
    finish = [sys.executable, "-m", "search.run", "--resume", "--out", str(tmp_path / "killed"), "--quiet"]
    done = subprocess.run(finish, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def rows(name: str) -> list[dict]:
        return [
            json.loads(row) | {"seconds": 0}
            for row in (tmp_path / name / "seed-0" / "trials.jsonl").read_text().splitlines()
        ]

    assert rows("killed") == rows("alone")
