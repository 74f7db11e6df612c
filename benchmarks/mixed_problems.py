"""Twelve problems with the parameters people have: logarithms, floats, long integers, many categories, an `if`.

Each is an Optuna objective, lower is better. The four from tables hold real measurements at the points of their grid
and are multilinear between them (logarithmic where the grid is), so that a column is a continuum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
from optuna.trial import Trial

from benchmarks.cases import task_of

Objective = Callable[[Trial], float]


def lora(trial: Trial) -> float:
    """Fine-tuning: the learning rate matters most and moves with rank and batch size; the rest is shallow."""
    lr = math.log10(trial.suggest_float("lr", 1e-6, 1e-2, log=True))
    rank = math.log2(trial.suggest_int("rank", 2, 128, log=True))
    alpha = math.log2(trial.suggest_int("alpha", 2, 256, log=True))
    dropout, warmup = trial.suggest_float("dropout", 0.0, 0.4), trial.suggest_float("warmup", 0.0, 0.3)
    batch = math.log2(trial.suggest_categorical("batch", (4, 8, 16, 32, 64, 128, 256)))
    best = -3.6 - 0.1 * (rank - 4) + 0.06 * (batch - 5)
    loss = (0.9 if lr < best else 2.0) * (lr - best) ** 2 + 0.08 * abs(rank - 5) ** 1.3
    return loss + 0.12 * (alpha - rank - 1) ** 2 + 4 * (dropout - 0.06) ** 2 + 2 * (warmup - 0.05) ** 2


def optimizer_if(trial: Trial) -> float:
    """Three optimizers, each with a learning rate of its own scale and parameters of its own."""
    kind = trial.suggest_categorical("optimizer", ("adam", "sgd", "adafactor"))
    depth = trial.suggest_int("depth", 2, 16)
    loss = 0.02 * (depth - 9) ** 2 + 2 * (trial.suggest_float("dropout", 0.0, 0.6) - 0.2) ** 2
    if kind == "adam":
        lr = math.log10(trial.suggest_float("adam_lr", 1e-5, 1e-1, log=True))
        decay = math.log10(trial.suggest_float("decay", 1e-6, 1e-1, log=True))
        return loss + 0.6 * (lr + 3.2) ** 2 + 0.05 * (decay + 3) ** 2
    if kind == "sgd":
        lr = math.log10(trial.suggest_float("sgd_lr", 1e-4, 1.0, log=True))
        return loss + 0.25 + 0.8 * (lr + 1.3) ** 2 + 3 * (trial.suggest_float("momentum", 0.0, 0.99) - 0.9) ** 2
    return loss + 0.5 + 0.1 * abs(math.log10(trial.suggest_float("factor_lr", 1e-4, 1e-1, log=True)) + 2)


def kernels_if(trial: Trial) -> float:
    """A support vector machine's error: two scales on logarithms, a width and a degree where they exist."""
    kernel = trial.suggest_categorical("kernel", ("linear", "rbf", "poly", "sigmoid"))
    cost = math.log10(trial.suggest_float("C", 1e-3, 1e4, log=True))
    loss = {"linear": 0.18, "rbf": 0.05, "poly": 0.1, "sigmoid": 0.3}[kernel]
    if kernel == "linear":
        return loss + 0.02 * (cost + 0.5) ** 2
    gamma = math.log10(trial.suggest_float("gamma", 1e-5, 1e2, log=True))
    loss += 0.02 * (cost + gamma - 0.3) ** 2 + 0.03 * (gamma + 1.4) ** 2
    return loss + 0.03 * abs(trial.suggest_int("degree", 1, 8) - 3) if kernel == "poly" else loss


def ackley_mixed(trial: Trial) -> float:
    """Ackley's many small holes in four floats, with a switch that shifts the floor."""
    x = np.array([trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(4)]) - (0.3, 0.7, 0.55, 0.2)
    floor = {"a": 0.0, "b": 0.5, "c": 1.0}[trial.suggest_categorical("kind", ("a", "b", "c"))]
    holes = 0.15 * (1 - np.cos(12 * x).mean())
    return float(1 - np.exp(-3 * np.sqrt((x * x).mean())) + holes + floor * (0.2 + x[0] ** 2))


def branin(trial: Trial) -> float:
    """Branin-Hoo: three equal optima of 0.398 in a curved valley."""
    x, y = trial.suggest_float("x", -5.0, 10.0), trial.suggest_float("y", 0.0, 15.0)
    valley = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


HEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
WIDTHS = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(trial: Trial) -> float:
    """Hartmann's function of six floats, optimum -3.322."""
    x = np.array([trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(6)])
    return float(-(HEIGHTS * np.exp(-(WIDTHS * (x - CENTRES) ** 2).sum(axis=1))).sum())


def levy_mixed(trial: Trial) -> float:
    """Levy's waves in two floats and two long integers."""
    z = [trial.suggest_float(f"x{i}", -10.0, 10.0) for i in range(2)]
    z += [trial.suggest_int(f"n{i}", -50, 50) / 5 for i in range(2)]
    w = [1 + (v - 1) / 4 for v in z]
    waves = sum((a - 1) ** 2 * (1 + 10 * math.sin(math.pi * a + 1) ** 2) for a in w[:-1])
    return math.sin(math.pi * w[0]) ** 2 + waves + (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)


def many_words(trial: Trial) -> float:
    """One of 60 unordered words, a layer width of up to 4,096 on a logarithm, two floats."""
    word = trial.suggest_categorical("word", tuple(f"w{i:02d}" for i in range(60)))
    width = math.log2(trial.suggest_int("width", 8, 4096, log=True))
    x, y = trial.suggest_float("x", 0.0, 1.0), trial.suggest_float("y", 0.0, 1.0)
    worth = np.random.default_rng(7).permutation(60)[int(word[1:])] / 60
    return float(worth + 0.05 * (width - 8.5) ** 2 + 2 * (x - 0.35) ** 2 + (y - 0.8 * x) ** 2)


@cache
def grid(case: str) -> tuple[dict[str, tuple], np.ndarray]:
    """Decisions and the full array of a complete table, lower is better."""
    task = task_of(case)
    sizes = [len(d.options) for d in task.space.decisions]
    values = np.empty(sizes)
    values[tuple(task.table.codes.T)] = task.values if task.direction == "minimize" else -task.values
    return {d.name: d.options for d in task.space.decisions}, values


def table(case: str, floats: tuple[str, ...], integers: tuple[str, ...]) -> Objective:
    """A table whose numeric columns became ranges: logarithmic unless the column holds a zero."""

    def objective(trial: Trial) -> float:
        decisions, values = grid(case)
        corners = []
        for name, options in decisions.items():
            if name in floats or name in integers:
                log = min(options) > 0
                suggest = trial.suggest_int if name in integers else trial.suggest_float
                value = suggest(name, min(options), max(options), log=log)
                at = np.interp(*((math.log(value), np.log(options)) if log else (value, options)), range(len(options)))
                low = min(int(at), len(options) - 2)
                corners.append(((low, low + 1 - at), (low + 1, at - low)))
            else:
                corners.append(((options.index(trial.suggest_categorical(name, options)), 1.0),))
        return float(sum(math.prod(w for _, w in c) * values[tuple(i for i, _ in c)] for c in product(*corners)))

    return objective


BENCH = ("alpha", "learning_rate_init"), ("batch_size", "width")
LIB = ("init_lr", "dropout_1", "dropout_2"), ("batch_size", "n_units_1", "n_units_2")
PROBLEMS: dict[str, Objective] = {
    "lora": lora,
    "optimizer_if": optimizer_if,
    "kernels_if": kernels_if,
    "ackley_mixed": ackley_mixed,
    "branin": branin,
    "hartmann6": hartmann6,
    "levy_mixed": levy_mixed,
    "many_words": many_words,
    "hpobench/vehicle": table("hpobench/vehicle", *BENCH),
    "hpobench/car": table("hpobench/car", *BENCH),
    "hpolib/protein": table("hpolib/protein_structure", *LIB),
    "hpolib/naval": table("hpolib/naval_propulsion", *LIB),
}
