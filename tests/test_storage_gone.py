"""A storage that goes away in the middle of a run: one sentence with the line that goes on, nothing told is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import grpc_proxy, postgresql_server

REPOSITORY = Path(__file__).resolve().parent.parent
# The command line with a task of its own, which runs a shell command in its fifth evaluation.
PROGRAM = """
import os, subprocess, sys
from search import Space
from search.errors import cli
from search.run import main
from search.tasks import TASKS, Task

class Struck(Task):
    name, space, asked = "struck", Space.of_sizes([4] * 4), 0

    def evaluate(self, code, seed):
        Struck.asked += 1
        if Struck.asked == 5 and os.environ.get("STRIKE"):
            subprocess.run(os.environ["STRIKE"], shell=True)
        return float(int(code, 4))

TASKS["struck"] = "__main__:Struck"
if __name__ == "__main__":
    cli(main)
"""
BUDGET = 12


@pytest.fixture(name="program")
def _program(tmp_path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def search(program: Path, *argv: str, strike: str = "") -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(program), "--quiet", *argv]
    environment = os.environ | {"STRIKE": strike, "PYTHONPATH": paths}
    return subprocess.run(command, env=environment, cwd=program.parent, capture_output=True, text=True, timeout=600)


def rows(out: Path) -> list[tuple]:
    lines = (out / "seed-0" / "trials.jsonl").read_text().splitlines()
    return [(t["number"], t["code"], t["value"], t["state"]) for t in map(json.loads, lines)]


def check_goes_on(program: Path, out: Path, more: list[str], strike: str, mend, said: str) -> None:
    """Run, strike, look at what is said; mend, go on, and compare with a run that was left alone."""
    task = ["--task", "struck", "--sampler", "random", "--budget", str(BUDGET)]
    alone = program.parent / "alone"
    assert search(program, *task, "--out", str(alone)).returncode == 0
    stopped = search(program, *task, *more, "--out", str(out), strike=strike)
    assert stopped.returncode in (1, 2), stopped.stderr
    assert stopped.stderr.startswith("error: ") and stopped.stderr.count("\n") == 1, stopped.stderr
    assert "--resume" in stopped.stderr and "Traceback" not in stopped.stderr
    assert re.search(said, stopped.stderr), stopped.stderr
    told = rows(out)
    assert len(told) < BUDGET
    assert told or "--workers" in more, "workers tell the database, who watches them writes the rows a moment later"
    mend()
    resumed = search(program, "--resume", "--out", str(out))
    assert resumed.returncode == 0, resumed.stderr
    after = rows(out)
    assert after[: len(told)] == told, "told trials were lost or changed"
    assert len(after) == len({code for _, code, _, _ in after}) == BUDGET
    assert all(value == int(code, 4) and state == "COMPLETE" for _, code, value, state in after)
    if "--workers" not in more:
        assert after == rows(alone)


@contextmanager
def small_disk(place: Path):
    """A file system of one megabyte."""
    place.mkdir()
    mount = shutil.which("mount")
    made = (
        mount
        and os.geteuid() == 0
        and not subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", place]).returncode
    )
    if not made:
        pytest.skip("making a small disk needs root and mount")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_a_disk_that_is_full(program, tmp_path, storage):
    disk = tmp_path / "disk"
    with small_disk(disk):
        more = [] if storage == "journal" else ["--storage", f"sqlite:///{disk}/study.db"]
        check_goes_on(
            program, disk / "r", more, f"cat /dev/zero > {disk}/filler 2>&1", (disk / "filler").unlink, "full|No space"
        )


def test_a_sqlite_file_that_may_not_grow(program, tmp_path):
    database = tmp_path / "study.db"
    limit = f"prlimit --pid $PPID --fsize=$(stat -c %s {database})"
    if shutil.which("prlimit") is None:
        pytest.skip("no prlimit here")
    check_goes_on(program, tmp_path / "r", ["--storage", f"sqlite:///{database}"], limit, lambda: None, "disk|full")


def test_a_grpc_server_that_is_killed(program, tmp_path):
    with grpc_proxy(f"sqlite:///{tmp_path}/study.db", tmp_path) as (url, server):
        check_goes_on(
            program, tmp_path / "r", ["--storage", url], f"kill -9 {server.process.pid}", server.start, "[Cc]onnect"
        )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", ["INT", "QUIT"])
def test_a_postgresql_server_that_is_stopped(program, tmp_path, workers, how):
    with postgresql_server() as (url, server):
        more = ["--storage", url, *(["--workers", "2"] if workers == 2 else [])]
        strike = f"kill -{how} {server.process.pid}; sleep 1"
        check_goes_on(
            program, tmp_path / "r", more, strike, lambda: (server.stop(), server.start()), "server|connection"
        )
