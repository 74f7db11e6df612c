"""Processes that work in order: the same results, no hang when one dies, none left behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY

from data_builders.parallel import in_order
from search.errors import WorkLost

_offset = 0


def _add_from_now_on(n):
    global _offset
    _offset = n


def square(x):
    return x * x + _offset


def die_at_three(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def starve_at_three(x):
    if x == 3:
        raise MemoryError
    return x


def wrong_at_three(x):
    return 1 / (x - 3)


@pytest.fixture(autouse=True)
def _nobody_is_left_behind():
    yield
    _add_from_now_on(0)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_each_process_is_started(workers):
    items = iter(range(40))
    assert list(in_order(square, items, workers, _add_from_now_on, (5,))) == [x * x + 5 for x in range(40)]


@pytest.mark.parametrize("function", [die_at_three, starve_at_three])
def test_a_process_that_dies_is_a_sentence(function):
    found = []
    with pytest.raises(WorkLost, match="run the same command again, with fewer --workers"):
        for result in in_order(function, range(40), 2):
            found.append(result)
    assert found == list(range(len(found))) and len(found) <= 3


def test_an_error_of_the_work_itself_passes_through():
    with pytest.raises(ZeroDivisionError):
        list(in_order(wrong_at_three, range(40), 2))


def test_whoever_stops_asking_leaves_nobody_behind():
    results = in_order(square, range(10_000), 2)
    assert next(results) == 0
    results.close()


def test_nothing_is_read_far_ahead():
    asked = []

    def items():
        for i in range(1000):
            asked.append(i)
            yield i

    results = in_order(square, items(), 2)
    next(results)
    assert len(asked) <= 6
    results.close()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists children as Linux does")
def test_workers_end_with_a_killed_parent():
    code = "import time; from data_builders.parallel import in_order; print(*in_order(time.sleep, [600] * 3, 3))"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 120
    while len(children := listed.read_text().split()) < 3:
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)  # until they have begun
    parent.kill()
    parent.wait()
    while any(_runs(pid) for pid in children):
        assert time.monotonic() < deadline, "an orphan works on"
        time.sleep(0.05)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nobody_uses_a_pool_that_forgets_the_work_of_the_dead():
    sources = [p for wing in ("search", "data_builders", "benchmarks") for p in (REPOSITORY / wing).rglob("*.py")]
    pools = [p for p in sources if re.search(r"multiprocessing.*\bPool\(|context\.Pool\(", p.read_text())]
    assert pools == []
