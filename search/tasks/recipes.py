"""Recipes by name: frozen dataclasses of training settings, each of which can be changed on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from search.errors import UserError, did_you_mean

R = TypeVar("R")


def named(name: str, recipes: Mapping[str, R], changes: Mapping[str, Any] | None = None) -> R:
    """The recipe of that name with some settings replaced; None values are ignored, values may come as text."""
    if name not in recipes:
        raise did_you_mean("recipe", name, recipes)
    kinds = kinds_of(recipes)
    given = {}
    for key, value in (changes or {}).items():
        if key not in kinds:
            raise did_you_mean("recipe setting", key, kinds)
        if value is not None:
            given[key] = _as(key, value, kinds[key])
    return replace(recipes[name], **given)  # type: ignore[type-var]


def kinds_of(recipes: Mapping[str, Any]) -> dict[str, type]:
    """{setting: its type} of a table of recipes; every setting has a default."""
    return {f.name: type(f.default) for f in fields(next(iter(recipes.values())))}


def add_arguments(parser: Any, recipes: Mapping[str, Any], default: str) -> None:
    """Options of a training command: the recipe's name and each of its settings."""
    parser.add_argument("--recipe", default=default, help=f"one of {', '.join(recipes)} (default {default})")
    for f in fields(recipes[default]):
        shown = f"default: the recipe's ({getattr(recipes[default], f.name)} in {default})"
        parser.add_argument(f"--{f.name.replace('_', '-')}", metavar="X", help=shown)


def from_arguments(args: Any, recipes: Mapping[str, R]) -> R:
    """The recipe that the options of `add_arguments` ask for."""
    return named(args.recipe, recipes, {name: getattr(args, name) for name in kinds_of(recipes)})


def _as(key: str, value: Any, kind: type) -> Any:
    if kind is bool and isinstance(value, str):
        if value.lower() not in ("true", "false", "1", "0"):
            raise UserError(f"{key}={value} was given - true or false is needed")
        return value.lower() in ("true", "1")
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise UserError(f"{key}={value} was given - a {kind.__name__} is needed") from None
