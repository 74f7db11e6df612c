"""Our way through Optuna's tables: what Optuna's own storage wrote is read alike, and the other way round."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState, create_trial
from sqlalchemy import event

from search import Decision, Space, Study
from search.spaces import Real
from search.studies.database import Database

REPOSITORY = Path(__file__).resolve().parent.parent
SPACE = Space([Decision("depth", (2, 4, "six", None)), Decision("wide", (True, False)), Real("rate", 1e-4, 1.0)])


def objective(code: str, seed: int) -> float:
    return float(sum(map(ord, code)) % 97)


def plain(storage) -> list[optuna.trial.FrozenTrial]:
    study = storage.get_study_id_from_name("search")
    return storage.get_all_trials(study)


def test_optuna_reads_what_we_wrote(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    study = Study(SPACE, sampler="random", storage=url)
    study.run(lambda code, seed: objective(code, seed) if code[0] != "1" else None, 12)
    open_trial = study.ask()
    assert isinstance(study.store.storage, Database)
    ours, theirs = plain(study.store.storage), plain(RDBStorage(url))
    assert ours == theirs and len(ours) == 13 and [t.number for t in ours] == list(range(13))
    assert {t.state for t in ours} == {TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING}
    assert ours[open_trial.number].params == {"depth": open_trial.arch["depth"]} | {
        k: open_trial.arch[k] for k in ("wide", "rate")
    }
    assert plain(Database(url)) == theirs


def test_whatever_optuna_writes_is_read_alike(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    theirs = RDBStorage(url)
    study = optuna.create_study(storage=theirs, study_name="search")
    ours = Database(url)
    study_id = theirs.get_study_id_from_name("search")
    assert ours.get_all_trials(study_id) == []
    study.enqueue_trial({"x": 0.5})
    asked = study.ask()
    asked.suggest_float("x", 0, 1), asked.suggest_categorical("c", (1, "two", None))
    asked.report(math.inf, 1), asked.report(math.nan, 2), asked.report(-3.5, 7)
    theirs.set_trial_system_attr(asked._trial_id, "s", [1, {"a": None}])
    assert str(ours.get_all_trials(study_id)) == str(theirs.get_all_trials(study_id))  # as text: NaN equals no NaN
    study.tell(asked, math.inf)
    study.add_trial(create_trial(params={"x": 0.25}, distributions={"x": FloatDistribution(0, 1)}, value=-math.inf))
    many = {f"p{i}": CategoricalDistribution((0, 1)) for i in range(30)}
    for _ in range(3):
        study.add_trial(create_trial(params=dict.fromkeys(many, 1), distributions=many, state=TrialState.WAITING))
    for _ in range(2):
        assert str(ours.get_all_trials(study_id)) == str(theirs.get_all_trials(study_id))
        study.ask()
    waiting = ours.get_all_trials(study_id, states=(TrialState.WAITING,))
    assert [t.number for t in waiting] == [4]


def test_a_trial_that_is_told_cannot_be_told_again(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    study = Study(SPACE, sampler="random", storage=url)
    trial = study.ask()
    study.tell(trial, 1.0)
    for storage in (study.store.storage, Database(url)):
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            storage.set_trial_state_values(trial.trial_id, TrialState.COMPLETE, [2.0])
    assert Study(SPACE, sampler="random", storage=url).best_value == 1.0


def test_a_trial_costs_few_statements_and_what_is_settled_is_not_read_again(tmp_path):
    study = Study(Space.of_sizes([6] * 8), sampler="random", storage=f"sqlite:///{tmp_path}/study.db")
    study.run(objective, 5)
    statements = []
    event.listen(study.store.storage.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    study.run(objective, 25)
    assert len(statements) / 20 < 16, "56 through Optuna's storage"
    del statements[:]
    assert len(study.trials) == 25
    assert len(statements) == 1


WORKER = """
import sys
from search import Space, Study
study = Study(Space.of_sizes([6] * 6), sampler="random", seed=int(sys.argv[2]), storage=sys.argv[1])
study.run(lambda code, seed: float(sum(map(ord, code)) % 97), 60)
"""


def test_tables_that_another_process_makes_at_the_same_moment_are_taken(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/study.db"
    make = models.BaseModel.metadata.create_all
    made = []

    def slower(engine, **more):
        if not made:
            made.append(make(engine))
            make(engine, checkfirst=False)
        make(engine, **more)

    monkeypatch.setattr(models.BaseModel.metadata, "create_all", slower)
    study = Study(SPACE, sampler="random", storage=url)
    assert study.run(objective, 3).why == "budget" and made


def test_processes_on_one_sqlite_file_never_share_a_number(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    Study(Space.of_sizes([6] * 6), sampler="random", storage=url)
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, url, str(i)], cwd=REPOSITORY) for i in range(3)]
    assert [w.wait() for w in workers] == [0, 0, 0]
    trials = plain(RDBStorage(url))
    assert [t.number for t in trials] == list(range(len(trials)))
    told = Study(Space.of_sizes([6] * 6), sampler="random", storage=url).trials
    assert len(told) == len({t.code for t in told}) == 60
    assert all(t.value == objective(t.code, 0) for t in told)
