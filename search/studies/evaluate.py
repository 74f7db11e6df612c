"""One evaluation that cannot hurt the study: whatever the objective does, the answer is a value or a reason.

With a time limit the objective runs in a process of its own that is killed when it hangs, crashes or exits; without
one it runs here. Nothing but JSON comes back from that process.
"""

from __future__ import annotations

import json
import multiprocessing
import numbers
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from search.errors import UserError

Evaluate = Callable[[str, int], Any]


@dataclass(frozen=True)
class Outcome:
    """A finite value, or the reason why there is none."""

    value: float | None
    reason: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)


def judge(result: Any) -> Outcome:
    """The outcome that a returned object means: a number, or a task's Result; anything else is a failure with its
    reason.
    """
    value = getattr(result, "value", result)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        if not (hasattr(value, "item") and getattr(value, "size", 0) == 1 and isinstance(value.item(), numbers.Real)):
            return Outcome(None, f"returned {type(value).__name__} {_short(repr(value))}, not a number")
        value = value.item()
    if not isfinite(value):
        return Outcome(None, f"returned {float(value)}, not a finite number")
    try:
        constraints = {str(k): float(v) for k, v in dict(getattr(result, "constraints", None) or {}).items()}
        metrics = json.loads(json.dumps(dict(getattr(result, "info", None) or {}), default=_plain))
    except (TypeError, ValueError) as error:
        return Outcome(None, f"returned constraints or info that cannot be kept: {_short(str(error))}")
    return Outcome(float(value), None, metrics, constraints)


def _plain(thing: Any) -> Any:
    return thing.item() if hasattr(thing, "item") and getattr(thing, "size", 0) == 1 else str(thing)


def _short(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def call(evaluate: Evaluate, code: str, seed: int) -> Outcome:
    """Evaluate here. Only KeyboardInterrupt gets out."""
    try:
        return judge(evaluate(code, seed))
    except SystemExit as error:
        return Outcome(None, f"called sys.exit({error.code!r})")
    except Exception as error:
        return Outcome(None, _short(f"raised {type(error).__name__}: {error}"))


class Evaluator:
    """`call`, with a time limit in seconds when one is given.

    `factory` builds `evaluate` anew where it cannot be inherited.
    """

    def __init__(self, evaluate: Evaluate, timeout: float | None = None, factory: Callable[[], Evaluate] | None = None):
        self.evaluate, self.timeout, self.factory = evaluate, timeout, factory
        self._process: Any = None
        self._pipe: Any = None

    def __call__(self, code: str, seed: int) -> Outcome:
        if self.timeout is None:
            return call(self.evaluate, code, seed)
        if self._process is None or not self._process.is_alive():
            self._start()
        try:
            self._pipe.send_bytes(json.dumps([code, seed]).encode())
            if not self._pipe.poll(self.timeout):
                self.close()
                return Outcome(None, f"gave no answer within {self.timeout:g} s and was stopped")
            return Outcome(**json.loads(self._pipe.recv_bytes()))
        except (EOFError, ConnectionError):
            self._process.join()
            status = self._process.exitcode
            self.close()
            return Outcome(None, f"its process died ({exit_text(status)})")

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
            if "pickle" not in f"{type(error).__name__} {error}".lower():
                raise
            remedy = "define it at the top level of a module, or run without a time limit"
            raise UserError(f"the objective cannot be sent to another process ({error}) - {remedy}") from error
        theirs.close()
        try:
            self._pipe.recv_bytes()
        except EOFError:
            self.close()
            raise UserError(
                "the evaluation process could not build the objective - its message is above - correct that, or run"
                " without --timeout"
            ) from None

    def close(self) -> None:
        """Stop the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = self._pipe = None


def process_context() -> Any:
    """Fork where that is safe (POSIX, no torch and no other threads yet), else spawn."""
    safe = sys.platform.startswith("linux") and "torch" not in sys.modules and threading.active_count() == 1
    return multiprocessing.get_context("fork" if safe else "spawn")


def _serve(pipe: Any, evaluate: Evaluate | None, factory: Callable[[], Evaluate] | None, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=die_with, args=(parent,), daemon=True).start()
    if factory is not None:
        evaluate = factory()
    pipe.send_bytes(b"ready")
    while True:
        try:
            code, seed = json.loads(pipe.recv_bytes())
            pipe.send_bytes(json.dumps(asdict(call(evaluate, code, seed))).encode())
        except (EOFError, ConnectionError):
            return


def exit_text(status: int) -> str:
    """How a process ended: the name of the signal, or its exit status."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def die_with(parent: int) -> None:
    """For a thread of a child: end this process when its parent is gone, even if that was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
