"""The package passes Optuna's conformance suite from where OptunaHub would load it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase, RelativeSamplerTestCase

PACKAGE = Path(__file__).resolve().parent.parent


def load():
    """The package under a name of its own, as a hub would load it."""
    spec = importlib.util.spec_from_file_location("hub_lmsearcher", PACKAGE / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestHubSampler(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: load().LMSearcherSampler(seed=0, ranker="surrogate")


def test_never_the_same_parameters_twice() -> None:
    study = optuna.create_study(sampler=load().LocalSearchSampler(seed=0))
    study.optimize(lambda trial: sum(trial.suggest_categorical(f"x{i}", (0, 1, 2)) for i in range(4)), n_trials=60)
    assert len({tuple(t.params.values()) for t in study.trials}) >= 59
