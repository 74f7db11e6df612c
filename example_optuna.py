"""LMSearcherSampler is just another Optuna sampler: `python example_optuna.py`

Any study can use it, with any storage, in `optimize` or ask/tell; floats, logarithms and parameters inside an `if` too.
"""

import optuna

from search import LMSearcherSampler


def objective(trial: optuna.Trial) -> float:
    """A LoRA rank for each of four blocks: quality saturates, cost grows with the rank."""
    ranks = [trial.suggest_categorical(f"rank_{i}", (0, 4, 8, 16, 32)) for i in range(4)]
    layers = trial.suggest_int("layers", 2, 12, step=2)
    scale = trial.suggest_float("scale", 0.25, 2.0, step=0.25)
    quality = (
        sum((1 + i) * rank / (rank + 8) for i, rank in enumerate(ranks)) + layers / (layers + 4) - (scale - 1) ** 2
    )
    return quality - 0.02 * sum(ranks) - 0.03 * layers


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=LMSearcherSampler(seed=0, ranker="surrogate"))
    study.optimize(objective, n_trials=60)
    print(f"best value {study.best_value:.4f} with {study.best_params}")
