"""200 SIGKILLs over every way to search on every storage: lost 0, repeated 0, wrong 0, zombies 0."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from servers import mysql, postgresql

from search import Space, Study
from search.rankers import default_ranker

REPOSITORY = Path(__file__).resolve().parent.parent
BUDGET, KILLS = 60, 10
METHODS = {
    "nano": {"ranker": "nano"},
    "evolution": {"sampler": "evolution"},
    "tpe": {"sampler": "tpe"},
    "workers": {"sampler": "random"},
}
VICTIM = """
import json, sys, time
from pathlib import Path
from search import Space, Study

def objective(code, seed):
    time.sleep(0.005)
    return float(sum(int(c) * (i + 1) for i, c in enumerate(code)) % 13)

def main(folder, storage, timeout, options):
    def log(name, text):
        with open(Path(folder) / name, "ab", buffering=0) as handle:
            handle.write(text.encode() + b"\\n")

    study = Study(Space.of_sizes([4] * 6), storage=storage, **json.loads(options))
    study.store.reap()
    log("opened", "x")
    study.run(objective, BUDGET, timeout=float(timeout) or None, after=lambda t: log("told", t.code))

if __name__ == "__main__":  # with torch, evaluations are in processes that read this file again
    main(*sys.argv[1:])
"""


def value_of(code: str) -> float:
    return float(sum(int(c) * (i + 1) for i, c in enumerate(code)) % 13)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def kill_until_done(folder: Path, storage: str, timeout: float, options: dict, workers: int, kills: int) -> None:
    """Start victims and kill one or all of them at a random instant, `kills` times; then let them finish."""
    rng = random.Random(7)
    program = folder / "victim.py"
    program.write_text(VICTIM.replace("BUDGET", str(BUDGET)))
    command = [sys.executable, str(program), str(folder), storage, str(timeout), json.dumps(options)]
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])

    def start() -> subprocess.Popen:
        with open(folder / "errors", "ab") as errors:
            return subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, stderr=errors)

    victims = [start() for _ in range(workers)]
    for kill in range(kills):
        opened, goal = len(lines(folder / "opened")), len(lines(folder / "told")) + rng.randrange(BUDGET // kills)
        while any(v.poll() is None for v in victims) and (
            not lines(folder / "opened") or len(lines(folder / "told")) < goal
        ):
            time.sleep(0.002)
        time.sleep(rng.random() * 0.01)
        for victim in victims if kill % 2 else victims[:1]:
            victim.send_signal(signal.SIGKILL)
            victim.wait()
        victims = [v if v.poll() is None else start() for v in victims]
        while len(lines(folder / "opened")) == opened and any(v.poll() is None for v in victims):
            time.sleep(0.002)
    for victim in victims:
        assert victim.wait() == 0, (folder / "errors").read_text()[-2000:]


def check(folder: Path, storage: str, options: dict) -> None:
    study = Study(Space.of_sizes([4] * 6), storage=storage, **options)
    study.store.reap()
    study.run(lambda code, seed: value_of(code), BUDGET)
    trials, told = study.trials, lines(folder / "told")
    assert set(told) <= {t.code for t in trials if t.state == "COMPLETE"}, "told trials were lost"
    assert len(told) == len(set(told)) and len({t.code for t in trials}) == len(trials) == BUDGET, "repeated"
    assert all(t.value == value_of(t.code) for t in trials), "wrong values"
    assert study.store.running() == [], "zombies"


def storage_of(kind: str, folder: Path):
    if kind == "postgresql":
        return postgresql()
    if kind == "mysql":
        return mysql()
    return nullcontext(f"sqlite:///{folder}/study.db" if kind == "sqlite" else str(folder / "journal.log"))


def matrix(method: str, kind: str, folder: Path, kills: int) -> None:
    if method == "nano" and default_ranker() != "nano":
        pytest.skip("the nano searcher is not shipped here, or torch is not installed")
    with storage_of(kind, folder) as storage:
        Study(Space.of_sizes([4] * 6), storage=storage, **METHODS[method])
        timeout, workers = (60 if kind == "timeout" else 0), (4 if method == "workers" else 1)
        kill_until_done(folder, storage, timeout, METHODS[method], workers, kills)
        check(folder, storage, METHODS[method])


@pytest.mark.skipif(os.name == "nt", reason="kills are POSIX signals")
@pytest.mark.parametrize(("method", "kind"), [("evolution", "sqlite"), ("workers", "journal")])
def test_three_kills(method, kind, tmp_path):
    matrix(method, kind, tmp_path, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "sqlite", "postgresql", "mysql", "timeout"])
@pytest.mark.parametrize("method", list(METHODS))
def test_ten_kills_of_two_hundred(method, kind, tmp_path):
    matrix(method, kind, tmp_path, KILLS)
