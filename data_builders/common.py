"""From tables to a source of rows: what the table builders share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_builders.sampling import Pool, RowShape, TableSource
from search.errors import UserError
from search.prompt_bulk import digit_text
from search.tables import Table


def higher_is_better(table: Table, metric: str, direction: str | None = None) -> np.ndarray:
    """The metric with its sign turned where it is minimised; float64 (n,), NaN where absent."""
    values = table.metric(metric)
    direction = direction or table.directions.get(metric)
    if direction not in ("maximize", "minimize"):
        raise UserError(f"metric '{metric}' of {table.name} has no known direction - maximize or minimize - give --direction")
    return values if direction == "maximize" else -values


def code_classes(table: Table) -> np.ndarray:
    """The class of each code by canonical code, numbered from 0; int64 (n,)."""
    return np.unique([table.space.canonical(c) for c in table.space.to_codes(table.codes)], return_inverse=True)[1]


def origin(table: Table, metric: str, direction: str | None = None, **more: str) -> dict:
    """What the datasheet and the check need to know of a table's metric."""
    facts = {"table": table.name, "metric": metric, "direction": direction or table.directions[metric], "source": table.source, "licence": table.licence, "sha256": table.sha256}
    return {**facts, **more}


def table_source(name: str, tables: Sequence[Table], metric: str | Sequence[str], shape: RowShape, direction: str | None = None, texts: np.ndarray | None = None, **more: str) -> TableSource:
    """One source over tables that share their codes (one benchmark, several data sets); each row uses one of them."""
    first = tables[0]
    metrics = [metric] * len(tables) if isinstance(metric, str) else list(metric)
    if any(not np.array_equal(t.codes, first.codes) for t in tables):
        raise UserError(f"the tables of {name} list different codes - one source needs the same - build them one by one")
    columns = np.stack([higher_is_better(t, m, direction) for t, m in zip(tables, metrics)])
    pool = Pool(first.space.cardinalities, first.codes, code_classes(first))
    origins = [origin(t, m, direction, **more) for t, m in zip(tables, metrics)]
    return TableSource(name, pool, digit_text(first.codes) if texts is None else texts, columns, origins, shape)
