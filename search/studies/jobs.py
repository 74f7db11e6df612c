"""Several evaluations at a time in the threads of one process, as Optuna's `n_jobs`.

Trials are started and told by the caller's thread; only evaluations run side by side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from search.studies.ending import Tally
from search.studies.evaluate import Outcome
from search.studies.processes import Evaluator

if TYPE_CHECKING:
    from search.studies.trial import Trial


def run_jobs(
    n_jobs: int,
    tally: Tally,
    start: Callable[[], Trial | None],
    evaluator: Callable[[], Evaluator],
    finish: Callable[[Trial, Outcome], None],
    give_back: Callable[[Trial], None],
    seed: int,
) -> None:
    """Evaluate until there is no trial to start, or too many failed.

    start: the next trial. evaluator: one for each thread. finish: tells what came out. give_back: for trials that still
    run at an interrupt (^C) or when the search gives up; their threads end with their evaluations.
    """
    own = threading.local()
    evaluators: list[Evaluator] = []

    def work(trial: Trial) -> Outcome:
        if not hasattr(own, "evaluator"):
            own.evaluator = evaluator()
            evaluators.append(own.evaluator)
        return own.evaluator(trial.code, seed)

    running: dict[Future[Outcome], Trial] = {}
    pool, more = ThreadPoolExecutor(n_jobs), True
    try:
        while not tally.gave_up:
            while more and len(running) < n_jobs:
                trial = start()
                more = trial is not None
                if trial is not None:
                    running[pool.submit(work, trial)] = trial
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                outcome = future.result()
                finish(running.pop(future), outcome)
                tally.add(outcome.reason)
    finally:
        for trial in running.values():
            give_back(trial)
        pool.shutdown(wait=False, cancel_futures=True)
        for used in evaluators:
            used.close()
