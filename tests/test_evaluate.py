"""Evaluations that misbehave: forks, orphans, hang-ups, exceptions of every kind, results of every type."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from search import Result, Space, Study
from search.studies.evaluate import call, judge
from search.studies.folder import read_trials, write_trials
from search.studies.processes import Evaluator

REPOSITORY = Path(__file__).resolve().parent.parent
SPACE = Space.of_sizes([4] * 3)


def digits(code: str) -> float:
    return float(int(code, 4))


def gone(pid: int) -> bool:
    """Whether a process ends within five seconds (as a zombie too: its parent may not have asked yet)."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def leave_a_child(folder: Path) -> None:
    """Fork a child that sleeps for ten minutes."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    with open(folder / "children", "a") as handle:
        handle.write(f"{child}\n")


def children(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "children").read_text().split()]


# Objectives are functions of this module: once torch is loaded, evaluation processes are spawned, not forked.
def forks(code: str, seed: int) -> float:
    me = os.getpid()
    for _ in range(2):
        os.fork()
    if os.getpid() != me:
        time.sleep(0.02)
    return digits(code)


def leaves_and(folder: Path, then: str, code: str, seed: int) -> float:
    leave_a_child(folder)
    if then == "hangs":
        time.sleep(600)
    if then == "dies":
        os._exit(7)
    return digits(code)


def hangs_up(code: str, seed: int) -> float:
    os.closerange(3, 200)
    time.sleep(600)


def ends_itself(code: str, seed: int) -> float:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)


def raises(error: BaseException, code: str, seed: int) -> float:
    if code[0] == "1":
        raise error
    return digits(code)


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_fork_that_comes_back_answers_for_nobody(tmp_path, timeout):
    study = Study(SPACE, sampler="random", storage=tmp_path / "journal.log")
    study.run(forks, 20, timeout=timeout)
    assert [t.value for t in study.trials] == [digits(t.code) for t in study.trials]
    time.sleep(0.3)
    again = Study(SPACE, sampler="random", storage=tmp_path / "journal.log")
    assert len(again.trials) == 20 and again.trials == study.trials


def test_a_stopped_evaluation_leaves_no_process(tmp_path):
    study = Study(SPACE, sampler="random")
    study.run(partial(leaves_and, tmp_path, "hangs"), 2, timeout=0.5)
    assert {t.reason for t in study.trials} == {"gave no answer within 0.5 s and was stopped"}
    assert len(children(tmp_path)) == 2 and all(gone(c) for c in children(tmp_path))


def test_what_evaluations_started_ends_with_the_run(tmp_path):
    Study(SPACE, sampler="random").run(partial(leaves_and, tmp_path, "answers"), 3, timeout=60)
    assert len(children(tmp_path)) == 3 and all(gone(c) for c in children(tmp_path))


def test_a_death_is_noticed_though_a_child_holds_the_pipe(tmp_path):
    evaluator = Evaluator(partial(leaves_and, tmp_path, "dies"), timeout=300)
    begin = time.monotonic()
    assert evaluator("000", 0).reason == "its process died (exit status 7)"
    assert time.monotonic() - begin < 250, "it did not wait for the time limit"
    assert all(gone(c) for c in children(tmp_path))


def test_an_evaluation_that_closes_its_pipe_does_not_hang_the_study():
    assert Evaluator(hangs_up, timeout=300)("000", 0).reason == "its process died (SIGKILL)"


def test_a_killed_run_takes_its_evaluation_and_its_children_along(tmp_path):
    script = f"""
import os, sys, time
sys.path.insert(0, {str(REPOSITORY / "tests")!r})
from pathlib import Path
from functools import partial
from search import Space, Study
from test_evaluate import leaves_and
objective = partial(leaves_and, Path({str(tmp_path)!r}), "hangs")
Study(Space.of_sizes([4] * 3), sampler="random").run(objective, 2, timeout=600)
"""
    victim = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
    while not (tmp_path / "children").exists() or not children(tmp_path):
        time.sleep(0.05)
    victim.kill()
    victim.wait()
    assert all(gone(c) for c in children(tmp_path))


class Secretive(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Cancelled(BaseException):
    pass


class Unreadable:
    @property
    def value(self) -> float:
        raise OSError("gone")

    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Secretive(), "raised Secretive: (Secretive, whose text raises RuntimeError)"),
        (Cancelled("stop"), "raised Cancelled: stop"),
        (GeneratorExit(), "raised GeneratorExit: "),
        (SystemExit(Unreadable()), "called sys.exit((Unreadable, whose text raises RuntimeError))"),
        (ValueError("\ud800 \U0001f600"), "raised ValueError: \\ud800 \U0001f600"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_every_exception_fails_its_trial_alone(tmp_path, error, reason, timeout):
    study = Study(SPACE, sampler="random", storage=tmp_path / "journal.log")
    assert study.run(partial(raises, error), 16, timeout=timeout, max_failures=16).why == "budget"
    assert {t.reason for t in study.trials if t.state == "FAIL"} == {reason}
    assert {t.code[0] == "1" for t in study.trials if t.state == "FAIL"} == {True}
    write_trials(tmp_path, study.trials)
    assert [t["value"] for t in read_trials(tmp_path / "trials.jsonl")] == [t.value for t in study.trials]


def test_an_interrupt_that_the_objective_raises_itself_is_a_failure_of_its_own():
    study = Study(SPACE, sampler="random")
    study.run(partial(raises, KeyboardInterrupt("from inside")), 16, timeout=60, max_failures=16)
    assert {t.reason for t in study.trials if t.state == "FAIL"} == {"raised KeyboardInterrupt: from inside"}


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (3, 3.0),
        (np.float32(1.5), 1.5),
        (np.array([[2.5]]), 2.5),
        (np.int64(7), 7.0),
        (np.bool_(True), None),
        (np.array([True]), None),
        (True, None),
        (np.array([1.0, 2.0]), None),
        (Decimal("1.5"), None),
        (10**400, None),
        (1j, None),
        (Unreadable(), None),
        (Result(Unreadable()), None),
        (Result(1.0, info={"odd": Unreadable()}), None),
        (Result(1.0, constraints={"cost": float("nan")}), None),
        (Result(1.0, constraints={"cost": 1.0}, info={"a": np.float32(1.5), "b": {1: 2}}), 1.0),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_counts_as_a_number(result, value):
    outcome = judge(result)
    assert outcome.value == value and (outcome.reason is None) == (value is not None)
    assert call(lambda code, seed: result, "000", 0) == outcome


def test_a_tensor_with_one_element_is_a_number():
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    script = (
        "import torch\nfrom search.studies.evaluate import judge\n"
        "print([judge(t).value for t in (torch.tensor(1.5), torch.tensor([2]), torch.tensor(3.5, requires_grad=True),"
        " torch.tensor(True), torch.tensor([1.0, 2.0]))])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[1.5, 2.0, 3.5, None, None]\n"


def test_a_signal_to_the_process_is_a_failure():
    assert Evaluator(ends_itself, timeout=60)("000", 0).reason == "its process died (SIGTERM)"
