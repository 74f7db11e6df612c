"""NAS-Bench-201 as a search task: maximise the mean validation accuracy after 200 epochs.

    NB201("cifar100")                                       pip table, no test accuracy
    NB201("cifar100", "NATS-tss-v1_0-3ffb9-simple/")        original files, test accuracy reported for the winner
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.tables import nb201
from search.tasks.base import TableTask
from search.tasks.benchmarks import refuse_test_metric


class NB201(TableTask):
    """dataset: cifar10, cifar100 or imagenet16. source: an original file or folder (None: the pip table).

    metric: another column to search on, e.g. val_acc_12ep (never the test column).
    """

    def __init__(self, dataset: str = "cifar10", source: str | Path | Any | None = None, metric: str = "val_acc"):
        refuse_test_metric(f"nb201/{dataset}", metric, "val_acc")
        table = nb201.load(dataset, source)
        super().__init__(table, metric, test_metric="test_acc" if "test_acc" in table.metrics else None, name=f"nb201/{dataset}")
