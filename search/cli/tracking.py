"""`--log tensorboard|wandb|mlflow`: a seed's values as they come, told by the tracking library itself.

    tensorboard   event files in the seed's folder: tensorboard --logdir runs    (needs torch, tensorboard)
    wandb         project lm-searcher; WANDB_PROJECT, WANDB_MODE=offline and the like count    (needs wandb)
    mlflow        experiment lm-searcher; MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME count    (needs mlflow)

Three curves over the number of the trial: value, best, failed (how many failed so far). Keys and addresses are the
libraries' own variables; nothing of them is written to the run folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.cli import TRACKERS
from search.errors import UserError
from search.registry import resolve
from search.studies.trial import Trial

PROJECT = "lm-searcher"


class Tracker:
    """Tells what is new among a study's finished trials; base of the libraries' own."""

    def __init__(self, trials: Sequence[Trial], direction: str):
        """trials: what was told before, which is not told again."""
        self.better = max if direction == "maximize" else min
        self.best: float | None = None
        self.failed = self.told = 0
        self._new(trials)

    def catch_up(self, trials: Sequence[Trial]) -> None:
        """Tell the trials that have finished since the last call, in number order."""
        for step, values in self._new(trials):
            self.write(step, values)

    def _new(self, trials: Sequence[Trial]) -> list[tuple[int, dict[str, float]]]:
        out = []
        for trial in trials[self.told :]:
            if trial.state == "RUNNING":
                break  # a later one waits for it, so that steps go up
            self.told += 1
            values: dict[str, float] = {}
            if trial.state == "COMPLETE" and trial.value is not None:
                self.best = trial.value if self.best is None else self.better(self.best, trial.value)
                values = {"value": trial.value, "best": self.best}
            self.failed += trial.state == "FAIL"
            out.append((trial.number, values | {"failed": float(self.failed)}))
        return out

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Tell the values of one trial."""

    def close(self) -> None:
        """Flush and end."""


class TensorBoard(Tracker):
    """Event files in the seed's folder."""

    def __init__(self, home: Path, name: str, settings: Mapping[str, Any], trials: Sequence[Trial], direction: str):
        from torch.utils.tensorboard import SummaryWriter

        super().__init__(trials, direction)
        self.writer = SummaryWriter(str(home / "tensorboard"))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def close(self) -> None:
        self.writer.close()


class WandB(Tracker):
    """A run of Weights & Biases."""

    def __init__(self, home: Path, name: str, settings: Mapping[str, Any], trials: Sequence[Trial], direction: str):
        import wandb

        super().__init__(trials, direction)
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self.run = wandb.init(project=project, name=name, config=dict(settings), dir=str(home))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow(Tracker):
    """A run of MLflow."""

    def __init__(self, home: Path, name: str, settings: Mapping[str, Any], trials: Sequence[Trial], direction: str):
        from mlflow import MlflowClient

        super().__init__(trials, direction)
        self.client = MlflowClient()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self.client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self.client.create_experiment(experiment)
        self.run = self.client.create_run(number, run_name=name).info.run_id
        for key, value in settings.items():
            if value is not None:
                self.client.log_param(self.run, key, str(value)[:500])

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.client.log_metric(self.run, key, value, step=step)

    def close(self) -> None:
        self.client.set_terminated(self.run)


def make_tracker(
    kind: str | None, home: Path, name: str, settings: Mapping[str, Any], trials: Sequence[Trial], direction: str
) -> Tracker:
    """The tracker of that name; None is one that tells nobody. UserError for an unknown or missing library."""
    if kind is None:
        return Tracker(trials, direction)
    try:
        return resolve("tracking library", kind, TRACKERS)(home, name, settings, trials, direction)
    except ImportError as error:
        raise UserError(f"--log {kind} was given - it cannot be imported ({error}) - pip install {kind}") from error
