"""Between a space and Optuna: parameters and codes turned into each other, and Optuna kept quiet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search.spaces import DIGITS, Space


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """One categorical parameter per decision whose choices are option numbers, so that options may be any objects."""
    return {d.name: CategoricalDistribution(tuple(range(len(d.options)))) for d in space.decisions}


def params_of(space: Space, code: str) -> dict[str, int]:
    """{decision name: option number} of a code."""
    return {d.name: DIGITS.index(c) for d, c in zip(space.decisions, code)}


def code_of(space: Space, params: Mapping[str, int]) -> str:
    """The code of {decision name: option number}."""
    return "".join(DIGITS[params[d.name]] for d in space.decisions)


@contextmanager
def quiet() -> Iterator[None]:
    """No information lines from Optuna inside the block; the user's own verbosity comes back after it."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
