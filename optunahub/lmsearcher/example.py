"""Search a small network's shape with the LM-Searcher sampler, as loaded from OptunaHub."""

from __future__ import annotations

import optuna

import optunahub


def objective(trial: optuna.Trial) -> float:
    """A made-up loss over width, depth and activation."""
    width = trial.suggest_int("width", 16, 128, step=16)
    depth = trial.suggest_int("depth", 1, 8)
    activation = trial.suggest_categorical("activation", ("relu", "gelu", "tanh"))
    return abs(width - 96) / 16 + (depth - 5) ** 2 + {"relu": 1.0, "gelu": 0.0, "tanh": 2.0}[activation]


if __name__ == "__main__":
    module = optunahub.load_module("samplers/lmsearcher")
    study = optuna.create_study(sampler=module.LMSearcherSampler(seed=0))
    study.optimize(objective, n_trials=50)
    print(study.best_trial.params)
