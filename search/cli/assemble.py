"""From settings (see options.py) to a task, a ranker and a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from search.cli.checks import hide_secrets
from search.errors import UserError
from search.rankers import Context, Ranker, default_ranker, make_ranker, ranker_class
from search.rankers.control import controlled
from search.rankers.replay import TRANSCRIPT, transcript_line
from search.spaces import Seen
from search.strategies.base import Suggestion
from search.studies.folder import append
from search.studies.study import Study
from search.tasks import Task, load_task


def build_task(settings: Mapping[str, Any]) -> Task:
    """The task that the settings name: a registered one, or a table file."""
    if settings["task"]:
        options = dict(settings["task_option"])
        if settings["metric"]:
            options["metric"] = settings["metric"]
        task = load_task(settings["task"], **options)
        if settings["direction"] and settings["direction"] != task.direction:
            raise UserError(
                f"--direction {settings['direction']} was given - task {task.name} is to {task.direction} {task.metric}"
                " - leave it out"
            )
        return task
    from search.tables.columns import read_table
    from search.tasks.tabular import TableTask

    decisions = settings["decisions"]
    if isinstance(decisions, str):
        decisions = [d.strip() for d in decisions.split(",") if d.strip()]
    if settings["code_column"] and decisions:
        raise UserError(
            "both --code-column and --decisions were given - exactly one says where the architecture is - leave one out"
        )
    table = read_table(settings["table"], code_column=settings["code_column"], decisions=decisions or None)
    return TableTask(table, settings["metric"], settings["direction"], settings["test_metric"])


def signed(task: Task, code: str) -> float:
    """The true value of a code, higher is better (for the oracle ranker)."""
    value = task.evaluate(code, 0).value
    return value if task.direction == "maximize" else -value


class Rankers:
    """Rankers by spec. Models are loaded once and kept from seed to seed; the others are made anew for each seed."""

    def __init__(self, task: Task):
        self.task = task
        self._kept: dict[tuple[str, str | None], Ranker] = {}

    def get(self, spec: str, seed: int, prompt_format: str | None) -> Ranker:
        oracle = (lambda code: signed(self.task, code)) if self.task.table is not None else None
        context = Context(self.task.space, seed, prompt_format, oracle)
        if not ranker_class(spec).shared:
            return make_ranker(spec, context)
        key = (spec, prompt_format)
        if key not in self._kept:
            self._kept[key] = make_ranker(spec, context)
        return self._kept[key]

    def close(self) -> None:
        for ranker in self._kept.values():
            ranker.close()
        self._kept = {}


def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the default ranker named, so that a later resume does not depend on what is installed then."""
    ranker = settings["ranker"] or (default_ranker() if settings["sampler"] == "lmsearcher" else None)
    return {**settings, "ranker": ranker}


def transcript_of(settings: Mapping[str, Any], folder: Path) -> Callable[[Suggestion, list[Seen]], None] | None:
    """Writes what the ranker was asked and answered into the folder; None for rankers whose answers are no news."""
    if settings["ranker"] is None or not ranker_class(settings["ranker"]).transcript:
        return None
    return lambda suggestion, history: append(
        folder / TRANSCRIPT, transcript_line(history, suggestion.candidates, suggestion.ranking)
    )


def build_study(
    settings: Mapping[str, Any], task: Task, rankers: Rankers, seed: int, storage: str | Path, folder: Path
) -> Study:
    """The study of one seed, on its storage; the ranker's transcript goes to the folder."""
    ranker = None
    if settings["sampler"] == "lmsearcher":
        ranker = rankers.get(settings["ranker"], seed, settings["format"])
        ranker = controlled(ranker, settings["history_control"], seed)
    return Study(
        task.space,
        direction=task.direction,
        storage=storage,
        name=None if settings["storage"] is None else f"{settings['study']}/seed-{seed}",
        sampler=settings["sampler"],
        ranker=ranker,
        seed=seed,
        proposal=settings["proposal"],
        candidates=settings["candidates"],
        warmup=settings["warmup"],
        feasible=task.feasible,
        codes=task.codes(),
        repeats=settings["allow_repeats"],
        transcript=transcript_of(settings, folder),
        settings=binding(settings, task, seed),
    )


BOUND = ("sampler", "ranker", "proposal", "format", "candidates", "warmup", "allow_repeats", "task_option")


def binding(settings: Mapping[str, Any], task: Task, seed: int) -> dict[str, Any]:
    """What a study keeps of its settings, so that no run with others goes on with it: all that its trials depend on."""
    about = {"task": task.name, "metric": task.metric, "seed": seed, "table": task.table and task.table.sha256}
    return hide_secrets({k: settings[k] for k in BOUND} | about)


def running(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of Study.run that the settings hold."""
    return {k: settings[k] for k in ("budget", "timeout", "max_failures")} | {"factory": TaskEvaluate(settings)}


class TaskEvaluate:
    """Builds `evaluate` in another process from settings alone."""

    def __init__(self, settings: Mapping[str, Any]):
        self.settings = dict(settings)

    def __call__(self) -> Callable[[str, int], Any]:
        task = build_task(self.settings)
        task.prepare(progress=False)
        return task.evaluate


def reachable(task: Task) -> int:
    """How many codes can be evaluated at all: those of the space, or those that the table has a value for."""
    values = getattr(task, "values", None)
    return (
        task.space.size
        if task.table is None or values is None
        else min(task.space.size, int(np.isfinite(values).sum()))
    )
