"""Our samplers in ordinary Optuna studies: any storage, optimize and ask/tell, no repeats, the same suggestions after a
reload.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search import Decision, LMSearcherSampler, LocalSearchSampler, RegularizedEvolutionSampler, Space, Study
from search.optuna_tools import code_of, distributions
from search.samplers import options_of

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
        trial = study.ask(distributions(SPACE))
        codes.append(code_of(SPACE, trial.params))
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


def test_the_example_in_the_readme_comes_close_to_the_optimum(capsys):
    runpy.run_path(str(REPOSITORY / "example_optuna.py"), run_name="__main__")
    words = capsys.readouterr().out.split()
    assert words[:2] == ["best", "value"] and 6.0 <= float(words[2]) <= 6.11
