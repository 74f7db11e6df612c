"""Tasks by name: 'module:Class', or 'module:Class:argument' for one class that serves several tasks."""

from __future__ import annotations

from typing import Any

from search.registry import build
from search.tables import TABLES
from search.tasks.base import Result, Task
from search.tasks.tabular import TableTask

TASKS = {
    **{table: f"search.tasks.tabular:Benchmark:{table}" for table in TABLES},
    "nb301": "search.tasks.nb301:NB301",
    "darts": "search.tasks.darts:Darts:animals",
    "darts/animals": "search.tasks.darts:Darts:animals",
    "darts/photos": "search.tasks.darts:Darts:photos",
    "darts/cifar10": "search.tasks.darts:Darts:cifar10",
    "darts/imagenet": "search.tasks.darts:DartsImageNet",
    "hat": "search.tasks.hat:Hat",
    "sd": "search.tasks.sd:StableDiffusion",
    "sam": "search.tasks.sam:Sam",
}


def load_task(name: str, **options: Any) -> Task:
    """The task of that name, built with its options; UserError for an unknown name or option."""
    return build("task", name, TASKS, **options)


__all__ = ["Result", "TASKS", "TableTask", "Task", "load_task"]
