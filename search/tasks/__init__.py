"""Tasks by name: 'module:Class', or 'module:Class(argument)' for one class that serves several tasks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from search.errors import UserError, did_you_mean
from search.tables import TABLES
from search.tasks.base import Result, Task
from search.tasks.tabular import TableTask

TASKS = {
    **{table: f"search.tasks.tabular:Benchmark:{table}" for table in TABLES},
    "nb301": "search.tasks.nb301:NB301",
    "hat": "search.tasks.hat:Hat",
}


def load_task(name: str, **options: Any) -> Task:
    """The task of that name, built with its options; UserError for an unknown name or option."""
    if name not in TASKS:
        raise did_you_mean("task", name, TASKS)
    module, cls, *arguments = TASKS[name].split(":")
    try:
        return getattr(import_module(module), cls)(*arguments, **options)
    except TypeError as error:
        if "unexpected keyword" in str(error):
            raise UserError(f"task {name} was given options {sorted(options)} - {error} - see --help") from error
        raise


__all__ = ["Result", "TASKS", "TableTask", "Task", "load_task"]
