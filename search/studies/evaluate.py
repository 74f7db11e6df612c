"""One evaluation that cannot hurt the study: whatever the objective does, the answer is a value or a reason.

With a time limit the objective runs in a process of its own, see processes.py.
"""

from __future__ import annotations

import json
import numbers
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Any

Evaluate = Callable[[str, int], Any]
LONGEST_TRACE = 6000  # characters of a traceback that are kept with a failed trial


@dataclass(frozen=True)
class Outcome:
    """A finite value, or the reason why there is none (traceback: of what was raised)."""

    value: float | None
    reason: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)
    traceback: str | None = None


def judge(result: Any) -> Outcome:
    """The outcome that a returned object means: a number, or a task's Result; anything else is a failure with its
    reason.
    """
    try:
        given = getattr(result, "value", result)
        value = _number(given)
        if value is None:
            return Outcome(None, f"returned {type(given).__name__} {said(given, repr)}, not a number")
        if not isfinite(value):
            return Outcome(None, f"returned {float(value)}, not a finite number")
    except Exception as error:
        return Outcome(None, f"returned a {type(result).__name__} that cannot be read: {said(error)}")
    try:
        constraints = {str(k): float(v) for k, v in dict(getattr(result, "constraints", None) or {}).items()}
        metrics = json.loads(json.dumps(dict(getattr(result, "info", None) or {}), default=_plain))
    except Exception as error:
        return Outcome(None, f"returned constraints or info that cannot be kept: {said(error)}")
    if unknown := [name for name, cost in constraints.items() if isnan(cost)]:
        return Outcome(None, f"returned nan for the constraint {unknown[0]}: whether it is kept is not known")
    return Outcome(float(value), None, metrics, constraints)


def _number(value: Any) -> Any:
    """The real number that an object is or holds alone (an array or a tensor with one element); None if it is none."""
    if not isinstance(value, numbers.Real) and hasattr(value, "item") and _size(value) == 1:
        value = value.item()
    return value if isinstance(value, numbers.Real) and not isinstance(value, bool) else None


def _size(value: Any) -> int:
    size = getattr(value, "numel", getattr(value, "size", 0))
    return size() if callable(size) else size


def _plain(thing: Any) -> Any:
    return thing.item() if hasattr(thing, "item") and _size(thing) == 1 else str(thing)


def said(thing: Any, how: Callable[[Any], str] = str, limit: int = 300) -> str:
    """The text of any object, shortened, as UTF-8 can hold it; objects whose text raises have one too."""
    try:
        text = str(how(thing))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        text = f"({type(thing).__name__}, whose text raises {type(error).__name__})"
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return text.encode("utf-8", "backslashreplace").decode()


def call(evaluate: Evaluate, code: str, seed: int) -> Outcome:
    """Evaluate here. Only KeyboardInterrupt gets out.

    A process that the evaluation forked and that comes back through here ends: it must neither answer nor search.
    """
    me = os.getpid()
    try:
        return judge(evaluate(code, seed))
    except KeyboardInterrupt:
        raise
    except SystemExit as error:
        return Outcome(None, f"called sys.exit({said(error.code, repr)})")
    except BaseException as error:
        return Outcome(None, f"raised {type(error).__name__}: {said(error)}", traceback=_trace(error))
    finally:
        if os.getpid() != me:
            os._exit(0)


def _trace(error: BaseException) -> str:
    """The traceback below our own call, its end if it is long."""
    inner = error.__traceback__.tb_next if error.__traceback__ else None
    return said("".join(traceback.format_exception(type(error), error, inner))[-LONGEST_TRACE:], limit=LONGEST_TRACE)
