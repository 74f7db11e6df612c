"""The progress line of a study, on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.studies.study import Study
    from search.studies.trial import Trial


class Bar:
    """Trials told, best value so far and the time that is left. A context manager; silent when `quiet`."""

    def __init__(self, study: Study, budget: int, label: str, quiet: bool):
        from tqdm import tqdm

        tqdm.monitor_interval = 0
        self.study = study
        self.maximize = study.store.direction == "maximize"
        self.best = study.best.value if study.best else None
        told = sum(t.state != "RUNNING" for t in study.trials)
        self.bar = tqdm(
            total=budget,
            initial=told,
            desc=label,
            unit="trial",
            file=sys.stderr,
            disable=quiet or None,  # None: no bar where standard error is not a terminal
            mininterval=0.5,
            dynamic_ncols=True,
        )
        self._show()

    def add(self, trial: Trial) -> None:
        """One more trial was told."""
        if (
            trial.value is not None
            and trial.state == "COMPLETE"
            and (self.best is None or (trial.value > self.best) == self.maximize and trial.value != self.best)
        ):
            self.best = trial.value
            self._show()
        self.bar.update(1)

    def refresh(self, trials: list[Trial]) -> None:
        """Show what whoever works on the study has told by now."""
        told = sum(t.state != "RUNNING" for t in trials)
        best = self.study.store.best(trials)
        if best is not None and best.value != self.best:
            self.best = best.value
            self._show()
        self.bar.update(told - self.bar.n)

    def _show(self) -> None:
        if self.best is not None:
            self.bar.set_postfix_str(f"best {self.best:.6g}", refresh=False)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
