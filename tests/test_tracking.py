"""--log: every finished trial is told once, by the library itself, also after a resume."""

from __future__ import annotations

import pytest

from search.cli import TRACKERS
from search.cli.tracking import Tracker, make_tracker
from search.errors import UserError
from search.run import main
from search.studies.trial import Trial


def trial(number: int, value: float | None, state: str = "COMPLETE") -> Trial:
    return Trial(number, "00", {}, "uniform", state, value)


class Told(Tracker):
    """A tracker that keeps what it was told."""

    def __init__(self, trials, direction="maximize"):
        self.lines = []
        super().__init__(trials, direction)

    def write(self, step, values):
        self.lines.append((step, dict(values)))


def test_every_finished_trial_is_told_once_and_in_order():
    tracker = Told([])
    trials = [trial(0, 1.0), trial(1, None, "RUNNING"), trial(2, 3.0)]
    tracker.catch_up(trials)
    assert [step for step, _ in tracker.lines] == [0], "trial 2 waits for trial 1"
    trials[1] = trial(1, None, "FAIL")
    tracker.catch_up(trials)
    tracker.catch_up(trials)
    assert tracker.lines == [
        (0, {"value": 1.0, "best": 1.0, "failed": 0.0}),
        (1, {"failed": 1.0}),
        (2, {"value": 3.0, "best": 3.0, "failed": 1.0}),
    ]


def test_what_was_told_before_a_resume_is_not_told_again_but_counts():
    tracker = Told([trial(0, 1.0), trial(1, 5.0)], "minimize")
    tracker.catch_up([trial(0, 1.0), trial(1, 5.0), trial(2, 3.0)])
    assert tracker.lines == [(2, {"value": 3.0, "best": 1.0, "failed": 0.0})]


def test_an_unknown_or_missing_library_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="did you mean mlflow"):
        make_tracker("mlfow", tmp_path, "x", {}, [], "maximize")
    missing = [kind for kind in TRACKERS if not installed(kind)]
    for kind in missing:
        with pytest.raises(UserError, match=f"pip install {kind}"):
            make_tracker(kind, tmp_path, "x", {}, [], "maximize")


def installed(kind: str) -> bool:
    from importlib.util import find_spec

    return find_spec(kind) is not None


def search(tmp_path, kind: str, *more: str) -> None:
    words = ["--task", "nb201/cifar100", "--sampler", "random", "--out", str(tmp_path / "r"), "--log", kind, "--quiet"]
    assert main([*words, *more]) == 0


def test_tensorboard_reads_the_curves(tmp_path):
    pytest.importorskip("tensorboard")
    pytest.importorskip("torch")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    search(tmp_path, "tensorboard", "--budget", "6")
    search(tmp_path, "tensorboard", "--budget", "9", "--resume")
    events = EventAccumulator(str(tmp_path / "r" / "seed-0" / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("value")] == list(range(9))
    best = [e.value for e in events.Scalars("best")]
    assert best == sorted(best) and best[-1] == pytest.approx(max(e.value for e in events.Scalars("value")))


def test_mlflow_reads_the_curves(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db" if _sql() else str(tmp_path / "mlruns"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    search(tmp_path, "mlflow", "--budget", "6")
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("lm-searcher")
    (run,) = client.search_runs([experiment.experiment_id])
    assert [m.step for m in client.get_metric_history(run.info.run_id, "value")] == list(range(6))
    assert run.data.params["task"] == "nb201/cifar100"


def _sql() -> bool:
    from importlib.util import find_spec

    return find_spec("sqlalchemy") is not None and find_spec("alembic") is not None


def test_wandb_writes_an_offline_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    search(tmp_path, "wandb", "--budget", "6")
    assert list((tmp_path / "r" / "seed-0" / "wandb").glob("offline-run-*/*.wandb"))
