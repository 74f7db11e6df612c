"""A benchmark table: every architecture of a search space (or many of them) with its measured metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from search.errors import UserError, did_you_mean
from search.spaces import Space


@dataclass(frozen=True)
class Table:
    """Codes and their metrics.

    codes: uint8 (n, decisions), distinct rows.
    metrics: name -> float64 (n,) or (n, repeats), NaN where not measured.
    directions: metric name -> 'maximize' or 'minimize' (those with a natural one).
    source, licence: where it came from; sha256: of the file it was read from.
    by_canonical: the table holds one code per architecture, and any other code of it is found through
        `space.canonical`.
    """

    name: str
    space: Space
    codes: np.ndarray
    metrics: Mapping[str, np.ndarray]
    directions: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    sha256: str = ""
    by_canonical: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def _index(self) -> dict[bytes, int]:
        return {row.tobytes(): i for i, row in enumerate(self.codes)}

    def rows(self, codes: Sequence[str]) -> np.ndarray:
        """Row number of each code, -1 where the table does not have it; int64 (n,)."""
        found = np.array([self._index.get(row.tobytes(), -1) for row in self.space.to_array(codes)], dtype=np.int64)
        if self.by_canonical:
            for i in np.flatnonzero(found < 0).tolist():
                same = self.space.to_array([self.space.canonical(codes[i])])
                found[i] = self._index.get(same[0].tobytes(), -1)
        return found

    def metric(self, name: str) -> np.ndarray:
        """One value per row: the mean over the repeats that were measured; float64 (n,)."""
        if name not in self.metrics:
            raise did_you_mean(f"metric of table {self.name}", name, self.metrics)
        values = np.asarray(self.metrics[name], dtype=np.float64)
        if values.ndim == 1:
            return values
        measured = ~np.isnan(values)
        count = measured.sum(axis=1)
        shown = np.where(measured, values, 0.0)
        with np.errstate(over="ignore"):
            mean = shown.sum(axis=1) / np.maximum(count, 1)
        if not np.isfinite(mean).all():  # the sum of values near 1e308
            mean = (shown / np.maximum(count, 1)[:, None]).sum(axis=1)
        return np.where(count > 0, mean, np.nan)

    def lookup(self, code: str, metric: str) -> float:
        """The mean value of one code; UserError when the table does not have it."""
        row = int(self.rows([code])[0])
        if row < 0:
            raise UserError(f"code {code} is not in table {self.name} ({len(self)} rows) - ask for a code it has")
        return float(self.metric(metric)[row])


_MINIMISED = set(
    "loss error err latency time seconds flops mflops params mparams mse rmse wer ber perplexity ppl energy ms mj kwh"
    " cost".split()
)
_MAXIMISED = set("acc accuracy valid val test top bleu f1 auc precision recall score reward iou map r2".split())


def natural_direction(metric: str) -> str | None:
    """'minimize' or 'maximize' where the name of a metric says so (val_loss, latency_ms, test_acc), else None."""
    words = metric.lower().replace("-", "_").split("_")
    if any(w in _MINIMISED for w in words):
        return "minimize"
    return "maximize" if any(w.rstrip("0123456789") in _MAXIMISED or w in _MAXIMISED for w in words) else None
