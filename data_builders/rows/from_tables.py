"""From tables to a source of rows: what the table builders share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_builders.rows.pools import TablePool
from data_builders.rows.sampling import PoolSource, RowShape
from search.errors import UserError
from search.prompts.bulk import code_texts
from search.tables import Table


def higher_is_better(table: Table, metric: str, direction: str | None = None) -> np.ndarray:
    """The metric with its sign turned where it is minimised; float64 (n,), NaN where absent or infinite."""
    values = table.metric(metric)
    values = np.where(np.isfinite(values), values, np.nan)
    direction = direction or table.directions.get(metric)
    if direction not in ("maximize", "minimize"):
        raise UserError(
            f"metric '{metric}' of {table.name} has no known direction - maximize or minimize - give --direction"
        )
    return values if direction == "maximize" else -values


def code_classes(table: Table) -> np.ndarray:
    """The class of each code by canonical code, numbered from 0; int64 (n,)."""
    return np.unique([table.space.canonical(c) for c in table.space.to_codes(table.codes)], return_inverse=True)[1]


def origin(table: Table, metric: str, direction: str | None = None, **more: str) -> dict:
    """What the datasheet and the check need to know of a table's metric."""
    facts = {"table": table.name, "metric": metric, "direction": direction or table.directions[metric]}
    return {**facts, "source": table.source, "licence": table.licence, "sha256": table.sha256, **more}


def table_source(
    name: str,
    tables: Sequence[Table],
    metric: str | Sequence[str],
    shape: RowShape,
    direction: str | None = None,
    encoding: str = "ncode",
    **more: str,
) -> PoolSource:
    """One source over tables that share their codes (one benchmark, several data sets); each row uses one of them."""
    first = tables[0]
    metrics = [metric] * len(tables) if isinstance(metric, str) else list(metric)
    if any(not np.array_equal(t.codes, first.codes) for t in tables):
        raise UserError(
            f"the tables of {name} list different codes - one source needs the same - build them one by one"
        )
    columns = np.stack([higher_is_better(t, m, direction) for t, m in zip(tables, metrics)])
    texts = code_texts(first.space, first.codes, encoding)
    pool = TablePool(first.space.cardinalities, first.codes, code_classes(first), texts, columns)
    return PoolSource(name, pool, [origin(t, m, direction, **more) for t, m in zip(tables, metrics)], shape)


def path_fact(source: str | None) -> dict[str, str]:
    """What an origin records of the user's own file, so that the check can read the table again."""
    return {"path": str(source)} if source is not None else {}
