"""Our samplers in ordinary Optuna studies: any storage, optimize and ask/tell, no repeats, the same suggestions after a
reload.
"""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search import (
    Decision,
    Integer,
    LMSearcherSampler,
    LocalSearchSampler,
    Real,
    RegularizedEvolutionSampler,
    Space,
    Study,
)
from search.optuna_tools import layout
from search.samplers.axes import axes_of, options_of
from search.samplers.union import joined, rules_of

REPOSITORY = Path(__file__).resolve().parent.parent
SPACE = Space.of_sizes([4] * 5)
MAKERS = {
    "lmsearcher": lambda seed=0: LMSearcherSampler(seed=seed, ranker="surrogate"),
    "evolution": lambda seed=0: RegularizedEvolutionSampler(seed=seed, population=10, tournament=3),
    "local": lambda seed=0: LocalSearchSampler(seed=seed),
}


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(trial: optuna.Trial) -> float:
    total = sum((i + 1) * trial.suggest_categorical(f"c{i}", (0, 1, 2)) for i in range(3))
    return (
        total
        + abs(trial.suggest_int("n", 2, 12, step=2) - 6)
        + (trial.suggest_float("x", 0.0, 1.0, step=0.25) - 0.5) ** 2
    )


def asked(study: optuna.Study, n: int) -> list[tuple]:
    out = []
    for _ in range(n):
        trial = study.ask()
        value = objective(trial)
        study.tell(trial, value)
        out.append(tuple(trial.params.values()))
    return out


@pytest.mark.parametrize("name", MAKERS)
def test_reloaded_studies_go_on_as_if_never_stopped(name, tmp_path):
    whole = asked(optuna.create_study(sampler=MAKERS[name]()), 25)
    path = str(tmp_path / "journal.log")
    parts = []
    for n in (7, 11, 7):
        storage = JournalStorage(JournalFileBackend(path))
        parts += asked(
            optuna.create_study(study_name="s", storage=storage, load_if_exists=True, sampler=MAKERS[name]()), n
        )
    assert parts == whole
    assert asked(optuna.create_study(sampler=MAKERS[name](1)), 25) != whole


@pytest.mark.parametrize("name", MAKERS)
def test_no_parameter_set_twice_once_the_space_is_known(name):
    study = optuna.create_study(sampler=MAKERS[name]())
    study.optimize(objective, n_trials=60)
    sets = [tuple(t.params.values()) for t in study.trials]
    assert len(set(sets)) == 60
    assert study.best_value < 2.1


@pytest.mark.parametrize("name", ("lmsearcher", "local"))
def test_the_sampler_and_our_own_loop_search_alike(name):
    def value(code: str, seed: int = 0) -> float:
        return float(sum(int(c) * (i + 1) for i, c in enumerate(code)) % 11)

    sampler = (
        LMSearcherSampler(SPACE, seed=4, ranker="surrogate")
        if name == "lmsearcher"
        else LocalSearchSampler(SPACE, seed=4)
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    codes = []
    for _ in range(30):
        trial = study.ask(layout(SPACE).distributions)
        codes.append(layout(SPACE).code(trial.params))
        study.tell(trial, value(codes[-1]))
    own = Study(SPACE, sampler=name, ranker="surrogate", seed=4)
    own.run(value, 30)
    assert codes == [t.code for t in own.trials]


def test_failed_and_pruned_trials_come_back_neither_as_suggestions_nor_as_values():
    study = optuna.create_study(sampler=MAKERS["lmsearcher"]())

    def fragile(trial: optuna.Trial) -> float:
        value = objective(trial)
        if trial.number % 4 == 1:
            raise ValueError("no memory")
        if trial.number % 4 == 2:
            raise optuna.TrialPruned()
        return value

    study.optimize(fragile, n_trials=40, catch=(ValueError,))
    assert len({tuple(t.params.values()) for t in study.trials}) == 40


def test_threads_share_a_study_without_repeats_of_finished_trials():
    study = optuna.create_study(sampler=MAKERS["lmsearcher"]())
    study.optimize(objective, n_trials=24, n_jobs=3)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 24


def test_a_space_with_options_that_optuna_can_store_and_with_others():
    space = Space([Decision("act", ("relu", "gelu")), Decision("shape", ((1, 2), (3, 4), (5, 6)))])
    study = optuna.create_study(sampler=LMSearcherSampler(space, seed=0, ranker="random"))
    trial = study.ask()
    assert trial.suggest_categorical("act", ("relu", "gelu")) in ("relu", "gelu")
    assert trial.suggest_categorical("shape", (0, 1, 2)) in (0, 1, 2)


@pytest.mark.parametrize(
    ("distribution", "options"),
    [
        (CategoricalDistribution(("a", 1, None)), ("a", 1, None)),
        (CategoricalDistribution(tuple(range(37))), None),
        (IntDistribution(2, 12, step=5), (2, 7, 12)),
        (IntDistribution(1, 100), None),
        (FloatDistribution(0.0, 0.3, step=0.1), (0.0, 0.1, 0.2, pytest.approx(0.3))),
        (FloatDistribution(0.0, 1.0), None),
        (FloatDistribution(0.5, 0.5), (0.5,)),
    ],
)
def test_which_parameters_can_be_listed(distribution, options):
    assert options_of(distribution) == options


def lora(trial: optuna.Trial) -> float:
    """Lower is better; optimum 0 at lr 3e-4, rank 32, adam."""
    loss = (math.log10(trial.suggest_float("lr", 1e-6, 1e-1, log=True)) + 3.5) ** 2
    loss += 0.1 * (math.log2(trial.suggest_int("rank", 2, 256, log=True)) - 5) ** 2
    if trial.suggest_categorical("optimizer", ("adam", "sgd")) == "sgd":
        return loss + 0.2 + (trial.suggest_float("momentum", 0.0, 0.99) - 0.9) ** 2
    return loss + (trial.suggest_float("beta", 0.5, 0.999) - 0.95) ** 2


@pytest.mark.filterwarnings("error:parameter")
def test_floats_logarithms_and_what_is_inside_an_if_are_searched_together():
    study = optuna.create_study(sampler=LMSearcherSampler(seed=0))
    study.optimize(lora, n_trials=40)
    uniform = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    uniform.optimize(lora, n_trials=40)
    assert study.best_value < 0.1 < uniform.best_value
    later = [t for t in study.trials[15:] if t.params["optimizer"] == "sgd"]
    assert all("beta" not in t.params for t in later) and len(later) < 20


def test_a_reloaded_study_of_floats_goes_on_as_if_never_stopped(tmp_path):
    whole = optuna.create_study(sampler=LMSearcherSampler(seed=2))
    whole.optimize(lora, n_trials=16)
    for n in (5, 7, 4):
        storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
        sampler = LMSearcherSampler(seed=2)
        study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True, sampler=sampler)
        study.optimize(lora, n_trials=n)
    assert [t.params for t in study.trials] == [t.params for t in whole.trials]


def told(*params: dict) -> list[optuna.trial.FrozenTrial]:
    known = {"kind": CategoricalDistribution(("a", "b")), "x": FloatDistribution(0.0, 1.0), "n": IntDistribution(1, 90)}
    known["y"] = FloatDistribution(0.0, 1.0)
    return [
        optuna.trial.create_trial(params=p, distributions={k: known[k] for k in p}, value=float(i))
        for i, p in enumerate(params)
    ]


def test_rules_say_when_a_parameter_is_asked_for_and_what_no_rule_explains_is_left_out():
    trials = told(
        {"kind": "a", "n": 5, "x": 0.1}, {"kind": "b", "n": 60}, {"kind": "a", "n": 70, "x": 0.3}, {"kind": "b", "n": 8}
    )
    known = joined(trials)
    axes = {a.name: a for a in axes_of(known)}
    rules = rules_of(axes, known, trials)
    assert rules["kind"] is None and rules["n"] is None
    assert rules["x"]({"kind": "a", "n": 1}) and not rules["x"]({"kind": "b", "n": 1})
    trials += told({"kind": "a", "n": 5})
    assert "x" not in rules_of(axes, known, trials)
    by_number = told(
        {"kind": "a", "n": 5}, {"kind": "a", "n": 60, "x": 0.5}, {"kind": "a", "n": 9}, {"kind": "a", "n": 80, "x": 1.0}
    )
    rule = rules_of(axes, joined(by_number), by_number)["x"]
    assert rule({"n": 75}) and not rule({"n": 12})


def test_a_parameter_that_cannot_be_searched_with_the_others_is_named_once():
    def objective(trial: optuna.Trial) -> float:
        total = trial.suggest_float("x", 0.0, 1.0)
        return total + trial.suggest_float("moody", 0.0, 1.0) if trial.number % 2 else total

    study = optuna.create_study(sampler=LMSearcherSampler(seed=0, independent_sampler=optuna.samplers.RandomSampler(0)))
    with pytest.warns(UserWarning, match="parameter 'moody' is drawn by RandomSampler on its own") as caught:
        study.optimize(objective, n_trials=12)
    assert sum("on its own" in str(w.message) for w in caught) == 1


def test_constraints_steer_the_search_and_are_kept_where_optuna_reads_them():
    def objective(trial: optuna.Trial) -> float:
        x, y = trial.suggest_float("x", 0.0, 1.0), trial.suggest_float("y", 0.0, 1.0)
        trial.set_user_attr("cost", x + y - 0.6)
        return x + 2 * y

    sampler = LMSearcherSampler(seed=0, constraints_func=lambda t: (t.user_attrs["cost"],))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=40)
    late = study.trials[20:]
    assert study.best_trial.user_attrs["cost"] <= 0 and study.best_value > 1.0
    assert sum(t.user_attrs["cost"] <= 0.1 for t in late) > len(late) / 2


def test_several_objectives_find_a_front_that_covers_more_than_random_search():
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x, y = trial.suggest_float("x", 0.0, 1.0), trial.suggest_float("y", 0.0, 1.0)
        z = trial.suggest_float("z", 1e-4, 1.0, log=True)
        far = 1 + 2 * y + 0.3 * (math.log10(z) + 2) ** 2
        return x, far * (1 - math.sqrt(x / far))

    def covered(sampler: optuna.samplers.BaseSampler) -> float:
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        study.optimize(objective, n_trials=40)
        front = np.array(sorted(t.values for t in study.best_trials))
        right = np.append(front[1:, 0], 2.0)
        return float(((right - front[:, 0]) * np.maximum(4.0 - front[:, 1], 0)).sum())

    assert covered(LMSearcherSampler(seed=0)) > covered(optuna.samplers.RandomSampler(seed=0)) + 0.2


def test_a_space_with_ranges_given_beforehand_is_stored_as_ranges():
    space = Space([Real("lr", 1e-5, 1e-1, log=True), Integer("width", 16, 1024), Decision("act", ("relu", "gelu"))])
    study = optuna.create_study(sampler=LMSearcherSampler(space, seed=0))
    for _ in range(8):
        trial = study.ask()
        lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        width, act = trial.suggest_int("width", 16, 1024), trial.suggest_categorical("act", ("relu", "gelu"))
        assert space.decode(space.encode({"lr": lr, "width": width, "act": act})) == {
            "lr": lr,
            "width": width,
            "act": act,
        }
        study.tell(trial, abs(math.log10(lr) + 3) + width / 1000)


def test_the_example_in_the_readme_comes_close_to_the_optimum(capsys):
    runpy.run_path(str(REPOSITORY / "example_optuna.py"), run_name="__main__")
    words = capsys.readouterr().out.split()
    assert words[:2] == ["best", "value"] and 6.0 <= float(words[2]) <= 6.11
