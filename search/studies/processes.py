"""Evaluations in a process of their own: stopped when they hang, crash or exit, with everything that they started.

The process leads a session: whatever it forks belongs to its process group, which is ended as a whole. Nothing but JSON
comes back from it, and each answer bears the number of its question.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from search.errors import UserError
from search.studies.evaluate import Evaluate, Outcome, call, said

LOOK_SECONDS = 0.1  # how often a process that does not answer is looked at
EXIT_SECONDS = 1.0  # how long a process that hung up has to end by itself, so that its exit status can be told


class Evaluator:
    """`call`, with a time limit in seconds when one is given.

    `factory` builds `evaluate` anew where it cannot be inherited.
    """

    def __init__(self, evaluate: Evaluate, timeout: float | None = None, factory: Callable[[], Evaluate] | None = None):
        self.evaluate, self.timeout, self.factory = evaluate, timeout, factory
        self._process: Any = None
        self._pipe: Any = None
        self._question = 0

    def __call__(self, code: str, seed: int) -> Outcome:
        if self.timeout is None:
            return call(self.evaluate, code, seed)
        if self._process is None or not self._process.is_alive():
            self.close()
            self._start()
        self._question += 1
        try:
            self._pipe.send_bytes(json.dumps([self._question, code, seed]).encode())
            answer = self._wait(time.monotonic() + self.timeout)
        except (EOFError, OSError, ValueError):
            end = time.monotonic() + EXIT_SECONDS
            while self._process.is_alive() and time.monotonic() < end:  # join() trusts a pipe that may be closed
                time.sleep(0.01)
            return Outcome(None, f"its process died ({self.close()})")
        if answer is None:
            self.close()
            return Outcome(None, f"gave no answer within {self.timeout:g} s and was stopped")
        return answer

    def _wait(self, end: float) -> Outcome | None:
        """The answer to the last question, None when there is none in time; EOFError when the process is gone.

        What the process left running may hold its pipe open, so that its end is not seen there.
        """
        while (left := end - time.monotonic()) > 0:
            running = self._process.is_alive()
            if self._pipe.poll(min(left, LOOK_SECONDS)):
                number, answer = json.loads(self._pipe.recv_bytes())
                if number == self._question:
                    return Outcome(**answer)
            elif not running:
                raise EOFError
        return None

    def _start(self) -> None:
        """Start the process; building the objective there is not charged to the first evaluation."""
        context = process_context()
        inherit = context.get_start_method() == "fork"
        self._pipe, theirs = context.Pipe()
        work = self.evaluate if inherit or self.factory is None else None
        self._process = context.Process(
            target=_serve, args=(theirs, work, None if inherit else self.factory, os.getpid()), daemon=True
        )
        try:
            self._process.start()
        except (AttributeError, TypeError, ImportError, ValueError) as error:
            self._process = None
            if "pickle" not in f"{type(error).__name__} {error}".lower():
                raise
            remedy = "define it at the top level of a module, or run without a time limit"
            raise UserError(f"the objective cannot be sent to another process ({error}) - {remedy}") from error
        theirs.close()
        try:
            self._pipe.recv_bytes()
        except (EOFError, OSError):
            self.close()
            raise UserError(
                "the evaluation process could not build the objective - its message is above - correct that, or run"
                " without --timeout"
            ) from None

    def close(self) -> str:
        """End the process and all that it started, if there is one; returns how it ended."""
        if self._process is None:
            return ""
        end_group(self._process.pid)
        self._process.kill()
        self._process.join()
        self._pipe.close()
        status = self._process.exitcode
        self._process = self._pipe = None
        return exit_text(status)


def end_group(leader: int) -> None:
    """Kill every process of the group that a process leads; nothing happens if there is none."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def process_context() -> Any:
    """Fork where that is safe (POSIX, no torch and no other threads yet), else spawn."""
    safe = sys.platform.startswith("linux") and "torch" not in sys.modules and threading.active_count() == 1
    return multiprocessing.get_context("fork" if safe else "spawn")


def _serve(pipe: Any, evaluate: Evaluate, factory: Callable[[], Evaluate] | None, parent: int) -> None:
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=die_with, args=(parent, os.getpid()), daemon=True).start()
    if factory is not None:
        evaluate = factory()
    pipe.send_bytes(b"ready")
    while True:
        try:
            number, code, seed = json.loads(pipe.recv_bytes())
            outcome = _call(evaluate, code, seed)
            pipe.send_bytes(json.dumps([number, asdict(outcome)]).encode())
        except (EOFError, OSError):
            return


def _call(evaluate: Evaluate, code: str, seed: int) -> Outcome:
    """`call` where no ^C arrives: the objective raised it itself."""
    try:
        return call(evaluate, code, seed)
    except KeyboardInterrupt as error:
        return Outcome(None, f"raised KeyboardInterrupt: {said(error)}")


def exit_text(status: int) -> str:
    """How a process ended: the name of the signal, or its exit status."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def die_with(parent: int, leader: int | None = None) -> None:
    """For a thread of a child: end this process when its parent is gone, even if that was killed.

    leader: end the group that this process leads as well.
    """
    while os.getppid() == parent:
        time.sleep(0.5)
    if leader is not None:
        end_group(leader)
    os._exit(1)
