"""Several processes on one study. Each opens the storage for itself; claims keep them from evaluating the same code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search.cli.assemble import Rankers, build_study, build_task, running
from search.errors import UserError, WorkLost, program
from search.studies.ending import Ending
from search.studies.evaluate import Outcome
from search.studies.processes import die_with, exit_text, process_context
from search.studies.storage import first_line
from search.studies.study import Study

POLL_SECONDS = 0.1  # between two looks at the workers; the progress bar moves no faster
AGAIN_SECONDS = 0.05  # from an interrupt that a finalizer swallowed to the next
GRACE_SECONDS = 10.0  # how long a worker that was told to stop may take


class Interrupt:
    """^C and SIGTERM in a worker: one KeyboardInterrupt while it works; a later one would only end in a traceback."""

    def __init__(self) -> None:
        self.armed = True
        signal.signal(signal.SIGINT, self._take)
        signal.signal(signal.SIGTERM, self._take)
        sys.unraisablehook = self._again

    def _take(self, number: int, frame: Any) -> None:
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt

    def _again(self, dropped: Any) -> None:
        """Python drops what is raised in a finalizer: the work behind it is interrupted instead."""
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            self.armed = True  # a moment later, as what is raised in here is dropped as well
            signal.signal(signal.SIGALRM, self._take)
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            sys.__unraisablehook__(dropped)


def work(settings: Mapping[str, Any], seed: int, folder: Path, storage: str, parent: int, answers: Any) -> None:
    """One worker: evaluates until the budget is told, then puts how it ended into `answers`."""
    interrupt = Interrupt()
    threading.Thread(target=die_with, args=(parent,), daemon=True).start()
    try:
        task = build_task(settings)
        task.prepare(progress=False)
        study = build_study(settings, task, Rankers(task), seed, storage, folder)
        ending = study.run(task.evaluate, **running(settings))
        interrupt.armed = False
        answers.put(("done", ending.why, ending.failures, ending.last_reason))
    except UserError as error:
        interrupt.armed = False
        answers.put(("wrong", str(error), 0, None))
    except KeyboardInterrupt:
        answers.put(("interrupted", "", 0, None))
    except BaseException as error:
        interrupt.armed = False
        answers.put(("crashed", f"{type(error).__name__}: {first_line(error, storage)}", 0, None))


def run_workers(
    settings: Mapping[str, Any], seed: int, folder: Path, storage: str, study: Study, watch: Callable[[], None]
) -> Ending:
    """Run settings['workers'] processes to the end; `watch` is called now and then.

    An evaluation that kills its worker (a crash, no memory) becomes a failed trial; the other workers go on.
    """
    context = process_context()
    answers = context.SimpleQueue()
    processes = [
        context.Process(
            target=work, args=(dict(settings), seed, folder, storage, os.getpid(), answers), name=f"worker-{i}"
        )
        for i in range(settings["workers"])
    ]
    for p in processes:
        p.start()
    try:
        while any(p.is_alive() for p in processes):
            time.sleep(POLL_SECONDS)
            watch()
    except BaseException:
        for p in processes:
            p.terminate()
        end = time.monotonic() + GRACE_SECONDS
        while any(p.is_alive() for p in processes) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        for p in processes:
            p.kill()
        raise
    finally:
        for p in processes:
            p.join()
    watch()
    results = []
    while not answers.empty():
        results.append(answers.get())
    died = {p.pid: p.exitcode for p in processes if p.exitcode}
    for trial_id, pid in study.store.running():
        if pid in died:
            study.store.finish(trial_id, Outcome(None, f"its worker died ({exit_text(died[pid])})"))
    watch()
    return _ending(results, len(died), study, settings["budget"], settings["out"])


def _ending(results: list[tuple], died: int, study: Study, budget: int, out: str) -> Ending:
    kinds = {r[0]: r for r in results}
    if "wrong" in kinds:
        raise UserError(kinds["wrong"][1])
    if "interrupted" in kinds:
        raise KeyboardInterrupt
    if "crashed" in kinds:
        raise WorkLost(
            f"a worker stopped ({kinds['crashed'][1]}) - every told trial is kept - correct the cause, then continue"
            f" with: {program('search.run')} --resume --out {out}"
        )
    if died and len(study.trials) < budget:
        raise WorkLost(
            f"{died} workers died - every told trial is kept - lower --workers if memory ran out, then continue with:"
            f" {program('search.run')} --resume --out {out}"
        )
    failed = [r for r in results if r[1] == "failures"]
    if failed:
        return Ending("failures", sum(r[2] for r in results), failed[0][3])
    return Ending("exhausted" if len(study.trials) < budget else "budget", sum(r[2] for r in results))
