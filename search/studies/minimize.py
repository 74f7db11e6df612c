"""minimize and maximize: a function, a space and a budget in, the best trial out.

    best = minimize(train_and_validate, space, budget=50, storage="runs/mine/journal.log")

What somebody may get wrong is said at once, in one sentence; what an evaluation does wrong costs that evaluation.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.errors import UserError, did_you_mean
from search.spaces import Decision, Ladder, Space
from search.studies.progress import Bar
from search.studies.study import Study

if TYPE_CHECKING:
    from search.studies.trial import Trial

RUNNING = ("timeout", "max_failures", "after", "callbacks", "n_jobs")
NOT_HERE = ("self", "direction")


class SearchStopped(RuntimeError):
    """A search that gave up because too many evaluations failed.

    best: the best trial until then, None if there was none. study: everything that was told; `study.run` goes on.
    """

    def __init__(self, message: str, best: Trial | None, study: Study):
        super().__init__(message)
        self.best, self.study = best, study


def minimize(function: Callable[[dict[str, Any]], Any], space: Space, budget: int = 100, **options: Any) -> Trial:
    """Search the space for the smallest `function(arch)`; returns the best trial (.arch, .code, .value).

    arch is {parameter name: option}. The function may raise or return nothing now and then: such a trial fails with
    its reason and traceback. options are those of Study (storage=... keeps the trials and resumes) and of Study.run
    (timeout, max_failures, callbacks, n_jobs); enqueue: architectures to evaluate first; progress: whether to show a
    line of progress (default: on a terminal). ^C ends the search and returns the best trial so far.

    SearchStopped when more evaluations fail than max_failures allows, with the best trial attached.
    """
    return _optimize("minimize", function, space, budget, options)


def maximize(function: Callable[[dict[str, Any]], Any], space: Space, budget: int = 100, **options: Any) -> Trial:
    """Like `minimize`, for the largest `function(arch)`."""
    return _optimize("maximize", function, space, budget, options)


@dataclass(frozen=True)
class _OfArch:
    function: Callable[[dict[str, Any]], Any]
    space: Space

    def __call__(self, code: str, seed: int) -> Any:
        return self.function(self.space.decode(code))


def _optimize(
    goal: str, function: Callable[[dict[str, Any]], Any], space: Space, budget: int, options: dict[str, Any]
) -> Trial:
    _check(goal, function, space, budget, options)
    running = {k: options.pop(k) for k in RUNNING if k in options}
    first, shown = options.pop("enqueue", ()), options.pop("progress", None)
    study = Study(space, direction=goal, **options)
    study.store.reap()
    for arch in [first] if isinstance(first, Mapping) else first:
        study.enqueue(arch)
    with Bar(study, budget, goal, quiet=shown is False) as bar:
        callbacks = (*running.pop("callbacks", ()), lambda _, trial: bar.add(trial))
        try:
            ending = study.run(_OfArch(function, space), budget, callbacks=callbacks, **running)
        except KeyboardInterrupt:
            return _interrupted(study, bool(options.get("storage")))
    best = study.best
    if best is None or ending.why == "failures":
        raise SearchStopped(_stopped(best, study, bool(options.get("storage"))), best, study)
    return best


def _interrupted(study: Study, kept: bool) -> Trial:
    """The best trial so far; the interrupt itself where there is none."""
    best = study.best
    if best is None:
        raise KeyboardInterrupt
    how = "the same call goes on" if kept else "give storage=... to be able to go on next time"
    print(f"\nstopped after {len(study.trials)} evaluations, the best is returned - {how}", file=sys.stderr)
    return best


def _stopped(best: Trial | None, study: Study, kept: bool) -> str:
    found = "none succeeded" if best is None else f"best so far {best.value:.6g} with {best.arch} (in .best)"
    on = "the same call goes on" if kept else "error.study.run(...) goes on"
    trials = study.trials
    reasons = [t.reason for t in trials if t.reason]
    if not reasons:
        return f"no evaluation kept its constraints in {len(trials)} - nothing can be returned - relax them, or {on}"
    return (
        f"{len(reasons)} of {len(trials)} evaluations failed, the last one {reasons[-1]} - {found} -"
        f" the traceback is in error.study.trials[-1].traceback; once that is mended {on}, max_failures=... allows more"
    )


def _check(goal: str, function: Any, space: Any, budget: Any, options: Mapping[str, Any]) -> None:
    """UserError for what cannot be meant."""
    if isinstance(function, Space) and callable(space):
        raise UserError(f"{goal} was given the space first - the order is {goal}(function, space, budget) - swap them")
    if not callable(function):
        raise UserError(
            f"{goal} was given {type(function).__name__} {function!r} - a function of an architecture is needed"
        )
    if not isinstance(space, Space):
        listed = isinstance(space, Sequence) and space and all(isinstance(a, (Decision, Ladder)) for a in space)
        how = "put them into Space([...])" if listed else "write Space([Decision('depth', (2, 4, 6)), ...])"
        raise UserError(f"{goal} was given {type(space).__name__} as its space - a search.Space is needed - {how}")
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise UserError(f"budget {budget!r} was given - a whole number of evaluations is needed, at least 1")
    known = [k for k in inspect.signature(Study.__init__).parameters if k not in (*NOT_HERE, "space")]
    allowed = [*known, *RUNNING, "enqueue", "progress"]
    for name in options:
        if name == "direction":
            raise UserError(f"direction was given to {goal} - its name says it already - leave it out")
        if name not in allowed:
            raise did_you_mean(f"argument of {goal}", name, allowed)
