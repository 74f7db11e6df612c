"""Work in several processes with its results in order. A process that dies ends the work with a sentence, not a hang.

`multiprocessing.Pool` replaces a killed process and forgets what it was doing; `concurrent.futures` notices.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from search.errors import WorkLost

T = TypeVar("T")
R = TypeVar("R")
MOST = max(8, 4 * (os.cpu_count() or 1))  # processes; more than a few a core gain nothing
AHEAD = 2  # unfinished items a worker, so that memory stays flat
FORK = "fork" if sys.platform.startswith("linux") else "spawn"


def in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    start: Callable[..., None] | None = None,
    given: Sequence[Any] = (),
    method: str = FORK,
) -> Iterator[R]:
    """`function(item)` of every item, in order, computed by up to `workers` processes (1: by this one).

    start: called once in each process with `given`.
    method: how processes are started. WorkLost when a process died or ran out of memory; an error of `function` passes
        through, and no process is left behind.
    """
    workers = min(workers, MOST)
    if workers <= 1:
        if start:
            start(*given)
        yield from map(function, items)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context(method), _begin, (start, tuple(given)))
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        pool.shutdown()  # so that their times count as ours
    except (BrokenProcessPool, MemoryError) as error:
        raise WorkLost(
            "a worker process was killed or ran out of memory before its work was done - nothing half-written was left"
            " behind - run the same command again, with fewer --workers if memory is short"
        ) from error
    finally:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()  # not terminate(): a copy that was only just made still has its parent's stack and handlers
        pool.shutdown(cancel_futures=True)


def _begin(start: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # and so is what the parent does when it is told to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if start:
        start(*given)


def _end_with_parent() -> None:
    """A killed parent cannot end its workers; they would hold its locks and memory for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
