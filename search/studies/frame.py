"""Trials as a pandas table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.errors import UserError

if TYPE_CHECKING:
    import pandas

    from search.studies.trial import Trial


def dataframe(trials: Sequence[Trial]) -> pandas.DataFrame:
    """One row per trial: number, value, state, origin, code, params_NAME, metrics_NAME, reason, seconds."""
    try:
        import pandas
    except ImportError:
        raise UserError("trials_dataframe needs pandas - it is not installed - run: pip install pandas") from None
    rows = [
        {"number": t.number, "value": t.value, "state": t.state, "origin": t.origin, "code": t.code}
        | {f"params_{k}": v for k, v in t.arch.items()}
        | {f"metrics_{k}": v for k, v in t.metrics.items()}
        | {"reason": t.reason, "seconds": t.seconds}
        for t in trials
    ]
    return pandas.DataFrame(rows)
