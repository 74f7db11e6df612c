"""From what a row's origin says back to the space and table it came from, for the check and the datasheet."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from search.errors import UserError
from search.spaces import Space
from search.tables import TABLES, Table, load_table
from search.tables.columns import read_table


class Truth:
    """The space of an origin and, where its table can be read, the true value of every code (higher is better)."""

    def __init__(self, space: Space | None, table: Table | None = None, metric: str = "", direction: str = "maximize"):
        self.space, self.table = space, table
        self.values = None if table is None else table.metric(metric) * (1.0 if direction == "maximize" else -1.0)
        self._canonical: dict[str, str] = {}
        self._value: dict[str, float] = {}

    def canonical(self, code: str) -> str:
        """The code's representative; the code itself where the space is unknown."""
        if self.space is None:
            return code
        found = self._canonical.get(code)
        if found is None:
            found = self._canonical[code] = self.space.canonical(code)
        return found

    def valid(self, code: str) -> bool:
        """Whether the code belongs to the space."""
        if self.space is None:
            return True
        try:
            return bool(self.space.check(code))
        except UserError:
            return False

    def value(self, code: str) -> float:
        """The true value, NaN where it cannot be known."""
        if self.values is None:
            return float("nan")
        found = self._value.get(code)
        if found is None:
            row = int(self.table.rows([code])[0])
            found = self._value[code] = float(self.values[row]) if row >= 0 else float("nan")
        return found


def truth_of(origin: Mapping[str, Any]) -> Truth:
    """The truth of one origin as builders record it in NAME.meta.json."""
    name, metric, direction = origin["table"], origin["metric"], origin.get("direction", "maximize")
    if name == "synthetic":
        return Truth(None)
    if name == "nb301":
        from search.spaces import nb301

        return Truth(nb301.space())
    return Truth(
        *_space_and_table(name, origin.get("path"), origin.get("code_column"), origin.get("decisions")),
        metric,
        direction,
    )


@lru_cache(maxsize=64)
def _space_and_table(
    name: str, path: str | None, code_column: str | None, decisions: str | None
) -> tuple[Space, Table]:
    if name in TABLES:
        table = load_table(name, path)
    elif path:
        table = read_table(path, code_column=code_column or None, decisions=decisions.split(",") if decisions else None)
    else:
        raise UserError(
            f"table '{name}' is not known and no file is recorded for it - its rows cannot be checked - keep"
            " NAME.meta.json beside the rows"
        )
    return table.space, table


def held_out_tables(names: list[str]) -> list[Table]:
    """The tables that must not be in the training data; 'nb201' means all of its data sets, 'NAME=PATH' reads a
    file.
    """
    tables = []
    for text in names:
        name, _, path = text.partition("=")
        members = [n for n in TABLES if n == name or n.startswith(name + "/")]
        if members:
            tables += [load_table(n, path or None) for n in members]
        else:
            tables.append(load_table(name))
    return tables


def percent_texts(table: Table) -> list[tuple[str, np.ndarray]]:
    """(metric, values as a prompt of percentages would print them times 100) of a table's metrics that are
    percentages.
    """
    out = []
    for metric in table.metrics:
        values = table.metric(metric)
        known = values[np.isfinite(values)]
        if len(known) and known.min() >= 0 and known.max() <= 100 and np.median(known) > 1.5:
            out.append((metric, np.rint(values * 100)))
    return out
