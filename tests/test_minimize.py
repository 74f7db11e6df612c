"""minimize keeps its promise: failures cost an evaluation, ^C returns the best, a mistake is one sentence at once."""

from __future__ import annotations

import threading
import time

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search import (
    Decision,
    Integer,
    LMSearcherSampler,
    Real,
    Result,
    SearchStopped,
    Space,
    Study,
    UserError,
    maximize,
    minimize,
)
from search.optuna_tools import numbered

SPACE = Space([Decision("depth", (2, 4, 6)), Decision("act", ("relu", "gelu")), Decision("shape", ((1, 2), (3, 4)))])
CHEAP = {"ranker": "surrogate", "progress": False}


def loss(arch: dict) -> float:
    return (arch["depth"] - 4) ** 2 + (arch["act"] == "relu") + arch["shape"][0] / 10


def test_a_function_that_fails_half_of_the_time_is_searched_to_the_end():
    calls = []

    def fragile(arch: dict) -> float:
        calls.append(arch)
        if len(calls) % 2 == 0:
            raise MemoryError("out of memory")
        return loss(arch)

    best = minimize(fragile, SPACE, budget=12, **CHEAP)
    assert len(calls) == 12 and best.value == min(loss(a) for a in calls[::2])


def test_a_search_that_gives_up_hands_over_its_best_and_says_how_to_go_on():
    calls = []

    def dies(arch: dict) -> float:
        calls.append(arch)
        if len(calls) > 2:
            raise ValueError("disk full")
        return loss(arch)

    with pytest.raises(
        SearchStopped, match=r"6 of 8 evaluations failed, .*disk full.* best so far .*goes on"
    ) as caught:
        minimize(dies, SPACE, budget=12, **CHEAP)
    assert caught.value.best.value == min(map(loss, calls[:2]))
    assert 'raise ValueError("disk full")' in caught.value.study.trials[-1].traceback
    assert caught.value.study.run(lambda code, seed: loss(SPACE.decode(code)), 12).why == "budget"


def test_failures_may_be_limited_by_number_and_by_rate():
    def run(limit: int | float | None) -> int:
        return Study(SPACE, ranker="random").run(lambda code, seed: None, 12, max_failures=limit).failures

    assert (run(2), run(None), run(0.9), run(1)) == (3, 6, 6, 2)


def test_an_interrupt_returns_the_best_and_the_same_call_goes_on(tmp_path, capsys):
    calls = []

    def interrupted(arch: dict) -> float:
        calls.append(arch)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return loss(arch)

    journal = tmp_path / "journal.log"
    best = minimize(interrupted, SPACE, budget=12, storage=journal, **CHEAP)
    assert best.value == min(map(loss, calls[:5])) and "the same call goes on" in capsys.readouterr().err
    assert minimize(loss, SPACE, budget=12, storage=journal, **CHEAP).value == pytest.approx(0.1)
    assert len(Study(SPACE, direction="minimize", storage=journal, ranker="random").trials) == 12
    with pytest.raises(KeyboardInterrupt):
        minimize(lambda arch: (_ for _ in ()).throw(KeyboardInterrupt), SPACE, **CHEAP)


def test_enqueued_architectures_come_first_and_callbacks_hear_of_every_trial():
    heard = []
    wanted = {"depth": 6, "act": "gelu", "shape": (3, 4)}
    options = {"enqueue": wanted, "callbacks": [lambda study, trial: heard.append((study.best_value, trial.arch))]}
    best = minimize(loss, SPACE, budget=5, **options, **CHEAP)
    assert heard[0] == (loss(wanted), wanted) and len(heard) == 5 and heard[-1][0] == best.value
    with pytest.raises(UserError, match="options are"):
        minimize(loss, SPACE, enqueue={**wanted, "depth": 5}, **CHEAP)


def test_jobs_run_side_by_side_and_keep_to_the_budget():
    together, most = [], []
    lock = threading.Lock()

    def slow(arch: dict) -> float:
        with lock:
            together.append(1)
            most.append(len(together))
        time.sleep(0.05)
        with lock:
            together.pop()
        return loss(arch)

    study = Study(SPACE, direction="minimize", ranker="random")
    ending = study.run(lambda code, seed: slow(SPACE.decode(code)), 9, n_jobs=3)
    assert ending.why == "budget" and len(study.trials) == 9 and max(most) > 1
    assert len({t.code for t in study.trials}) == 9 and {t.state for t in study.trials} == {"COMPLETE"}
    with pytest.raises(SearchStopped, match="of 8 evaluations failed|of 6 evaluations failed|of 7 evaluations failed"):
        minimize(lambda arch: None, SPACE, budget=12, n_jobs=2, **CHEAP)


def test_trials_as_a_table():
    pytest.importorskip("pandas")
    study = Study(SPACE, direction="minimize", ranker="random")
    assert study.best_value is None
    study.run(lambda code, seed: loss(SPACE.decode(code)), 4)
    table = study.trials_dataframe()
    assert list(table["params_depth"]) == [t.arch["depth"] for t in study.trials]
    assert table["value"].min() == study.best_value


def test_a_search_without_any_result_says_so():
    with pytest.raises(SearchStopped, match="3 of 3 evaluations failed, the last one returned NoneType None"):
        minimize(lambda arch: None, SPACE, budget=3, **CHEAP)
    with pytest.raises(SearchStopped, match="no evaluation kept its constraints in 3"):
        minimize(lambda arch: Result(1.0, {"cost": 1.0}), SPACE, budget=3, **CHEAP)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: minimize(SPACE, loss), "the space first"),
        (lambda: minimize(loss, {"depth": (2, 4)}), "a search.Space is needed"),
        (lambda: minimize(loss, list(SPACE.decisions)), r"put them into Space"),
        (lambda: Space({"depth": (2, 4)}), "given a dict"),
        (lambda: Space(["depth"]), "'depth'"),
        (lambda: minimize(loss, SPACE, proposal="evolutoin"), "did you mean evolution"),
        (lambda: LMSearcherSampler(proposal="evolutoin"), "did you mean evolution"),
        (lambda: minimize(loss, SPACE, bugdet=3), "unknown argument of minimize 'bugdet'"),
        (lambda: minimize(loss, SPACE, 0), "at least 1"),
        (lambda: minimize(3.5, SPACE), "a function of an architecture"),
        (lambda: maximize(loss, SPACE, direction="minimize"), "its name says it already"),
    ],
)
def test_what_cannot_be_meant_is_said_at_once(call, says):
    with pytest.raises(UserError, match=says):
        call()


def test_journals_hold_the_values_themselves(tmp_path):
    space = Space([*SPACE.decisions, Real("lr", 1e-5, 1e-1, log=True), Integer("width", 16, 2048)])
    journal = tmp_path / "journal.log"
    study = Study(space, direction="minimize", storage=journal, ranker="random")
    study.run(lambda code, seed: loss(space.decode(code)), 3)
    seen = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(journal))))
    for trial, ours in zip(seen.trials, study.trials, strict=True):
        assert trial.params == ours.arch | {"shape": str(ours.arch["shape"])}


def test_studies_that_were_started_by_option_numbers_go_on(tmp_path):
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    study = Study(SPACE, storage=storage, ranker="random")
    study.store._layout = numbered(SPACE)
    study.run(lambda code, seed: loss(SPACE.decode(code)), 3)
    later = Study(SPACE, storage=storage, ranker="random")
    later.run(lambda code, seed: loss(SPACE.decode(code)), 6)
    params = [t.params for t in optuna.load_study(study_name=None, storage=storage).trials]
    assert [p["depth"] for p in params] == [SPACE.levels(t.code)[0] for t in later.trials] and len(params) == 6
