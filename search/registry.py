"""From a name to the thing it names.

    resolve("ranker", "knn", RANKERS)                        the class
    build("task", "graph/cora", TASKS, metric="latency")     an object of it, with options from a command line

Registries are plain dicts {name: 'module:attribute'}, or 'module:attribute:argument' for one attribute that serves
several names. A module is imported when something of it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from search.errors import did_you_mean


def resolve(kind: str, name: str, registry: Mapping[str, str]) -> Any:
    """What `name` stands for, its arguments bound; UserError (did you mean ...) for a name that the registry lacks.

    kind: what the names are called in the error, e.g. 'ranker'.
    """
    if name not in registry:
        raise did_you_mean(kind, name, registry)
    module, attribute, *arguments = registry[name].split(":")
    found = getattr(import_module(module), attribute)
    return partial(found, *arguments) if arguments else found


def options_of(maker: Callable[..., Any]) -> list[str]:
    """The names of the options that a class or function takes by keyword."""
    import inspect

    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in inspect.signature(maker).parameters.items() if p.kind in kinds]


def build(kind: str, name: str, registry: Mapping[str, str], **options: Any) -> Any:
    """Call what `name` stands for; UserError for an unknown name, or an option that it does not take."""
    maker = resolve(kind, name, registry)
    known = options_of(maker)
    for key in options:
        if key not in known:
            raise did_you_mean(f"option of {kind} {name}", key, known)
    return maker(**options)
