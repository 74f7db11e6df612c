"""Library use: minimize and maximize, ask and tell, failures, odd spaces, the same trials from the same seed."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search import Decision, Result, Space, Study, UserError, maximize, minimize
from search.rankers import default_ranker
from search.rankers.base import Ranker, from_scores

REPOSITORY = Path(__file__).resolve().parent.parent
SPACE = Space([Decision("depth", (2, 4, 6)), Decision("width", (64, 128, 256)), Decision("rate", (0.1, 0.2, 0.3, 0.4))])
SAMPLERS = ("lmsearcher", "random", "evolution", "local")


def loss(arch: dict) -> float:
    return (arch["depth"] - 4) ** 2 + abs(arch["width"] - 128) / 64 + abs(arch["rate"] - 0.3)


def digits(code: str, seed: int = 0) -> float:
    return float(sum(int(c, 36) * (i + 1) for i, c in enumerate(code)))


def table(study: Study) -> list[tuple]:
    return [(t.number, t.code, t.value, t.state, t.origin, t.reason) for t in study.trials]


def test_minimize_in_three_lines():
    best = minimize(loss, SPACE, budget=30, ranker="surrogate")
    assert best.arch == {"depth": 4, "width": 128, "rate": 0.3}
    assert best.value == pytest.approx(0.0)
    worst = maximize(loss, SPACE, budget=30, ranker="surrogate")
    assert worst.value > 4


def test_ask_and_tell_survive_the_process(tmp_path):
    journal = tmp_path / "lab" / "journal.log"
    first = Study(SPACE, direction="minimize", storage=journal, ranker="surrogate")
    asked = [first.ask() for _ in range(3)]
    assert len({t.code for t in asked}) == 3
    later = Study(SPACE, direction="minimize", storage=journal, ranker="surrogate")
    later.store.reap()
    told = later.tell(asked[1].number, 0.25)
    assert (told.code, told.value, told.state) == (asked[1].code, 0.25, "COMPLETE")
    assert [t.state for t in later.trials] == ["RUNNING", "COMPLETE", "RUNNING"]
    assert later.ask().code not in {t.code for t in asked}
    with pytest.raises(UserError, match="told twice"):
        later.tell(1, 0.3)
    with pytest.raises(UserError, match="numbered from 0"):
        later.tell(17, 0.3)
    assert later.tell(0, float("nan")).state == "FAIL"
    assert later.best.number == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (float("nan"), "returned nan, not a finite number"),
        (float("inf"), "returned inf, not a finite number"),
        (float("-inf"), "returned -inf, not a finite number"),
        ("0.9", "returned str '0.9', not a number"),
        (None, "returned NoneType None, not a number"),
        (True, "returned bool True, not a number"),
        (ValueError("out of memory"), "raised ValueError: out of memory"),
        (SystemExit(3), "called sys.exit(3)"),
        (Result(1.0, constraints={"ms": object()}), "returned constraints or info that cannot be kept"),
    ],
)
def test_failures_have_a_reason_and_are_never_shown(answer, reason):
    shown: list[str] = []

    class Watcher(Ranker):
        name = "watcher"

        def rank(self, history, candidates):
            shown.extend(s.code for s in history)
            assert all(math.isfinite(s.value) for s in history)
            return from_scores(candidates, [digits(c) for c in candidates], "watcher")

    bad: list[str] = []

    def objective(code: str, seed: int):
        if len(bad) < 3 and int(code[2]) % 2:
            bad.append(code)
            if isinstance(answer, BaseException):
                raise answer
            return answer
        return digits(code)

    study = Study(SPACE, ranker=Watcher())
    ending = study.run(objective, 25)
    failed = [t for t in study.trials if t.state == "FAIL"]
    assert ending.why == "budget" and len(study.trials) == 25
    assert [t.code for t in failed] == bad and len(bad) == 3
    assert all(t.reason.startswith(reason) and t.value is None for t in failed)
    assert not set(bad) & set(shown)
    assert len({t.code for t in study.trials}) == 25


def test_too_many_failures_end_the_run_and_it_can_go_on():
    study = Study(SPACE, ranker="random")
    ending = study.run(lambda code, seed: None, 30, max_failures=4)
    assert (ending.why, ending.failures) == ("failures", 5)
    assert ending.last_reason == "returned NoneType None, not a number"
    assert study.run(digits, 30).why == "budget"
    assert [t.state for t in study.trials] == ["FAIL"] * 5 + ["COMPLETE"] * 25
    with pytest.raises(RuntimeError, match="not a number"):
        minimize(lambda arch: None, SPACE, budget=10, ranker="random")


def hangs_or_dies(code: str, seed: int) -> float:
    if code[0] == "0":
        time.sleep(600)
    if code[0] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    if code[1] == "0":
        os._exit(7)
    return digits(code)


def test_hanging_and_crashing_objectives_are_stopped():
    study = Study(SPACE, ranker="random", seed=1)
    study.run(hangs_or_dies, 12, timeout=0.5, max_failures=12)
    by_code = {t.code: t for t in study.trials}
    for code, trial in by_code.items():
        if code[0] == "0":
            assert trial.reason == "gave no answer within 0.5 s and was stopped"
        elif code[0] == "1":
            assert trial.reason == "its process died (SIGKILL)"
        elif code[1] == "0":
            assert trial.reason == "its process died (exit status 7)"
        else:
            assert trial.value == digits(code)
    assert {t.state for t in study.trials} == {"FAIL", "COMPLETE"}


def test_constraints_and_metrics_are_kept_and_infeasible_trials_never_win():
    def objective(code: str, seed: int) -> Result:
        return Result(digits(code), constraints={"cost": digits(code) - 12}, info={"params": len(code)})

    study = Study(SPACE, ranker="surrogate")
    study.run(objective, 36)
    assert study.best.value == 12
    assert {t.state for t in study.trials} == {"COMPLETE", "INFEASIBLE"}
    assert study.trials[0].metrics == {"params": 3}
    assert all(t.value > 12 for t in study.trials if t.state == "INFEASIBLE")
    known = Study(SPACE, ranker="surrogate", feasible=lambda code: digits(code) <= 12)
    assert known.run(objective, 36).why == "exhausted"
    assert {t.state for t in known.trials} == {"COMPLETE"}


ODD = {
    "one decision": [5],
    "one option": [1],
    "one option among others": [1, 3, 1, 2],
    "two codes": [2],
    "48 x 3": [3] * 48,
    "39 mixed": [(i % 7) + 1 for i in range(39)],
    "10 to the 18": [10] * 18,
    "36 options": [36, 36],
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("sizes", ODD.values(), ids=ODD.keys())
def test_odd_spaces(sizes, sampler):
    space = Space.of_sizes(sizes)
    study = Study(space, sampler=sampler, ranker="surrogate")
    ending = study.run(digits, 25)
    expected = min(25, space.size)
    assert len(study.trials) == expected == len({t.code for t in study.trials})
    assert ending.why == ("budget" if space.size >= 25 else "exhausted")
    assert study.best.value == max(t.value for t in study.trials)


@pytest.mark.parametrize("sampler", (*SAMPLERS, "tpe"))
def test_never_two_codes_that_mean_the_same(sampler):
    space = Space([Decision(f"d{i}", range(4)) for i in range(3)], canonical=lambda code: "".join(sorted(code)))
    study = Study(space, sampler=sampler, ranker="random")
    assert study.run(digits, 64).why == "exhausted"
    assert len(study.trials) == 20 == len({space.canonical(t.code) for t in study.trials})


def test_repeats_are_allowed_only_when_asked_for():
    study = Study(Space.of_sizes([2, 2]), sampler="random", repeats=True)
    study.run(digits, 20)
    assert len(study.trials) == 20 and len({t.code for t in study.trials}) <= 4


@pytest.mark.parametrize("sampler", (*SAMPLERS, "tpe"))
def test_a_study_resumed_at_any_point_is_the_same_study(sampler, tmp_path):
    whole = Study(SPACE, sampler=sampler, ranker="surrogate", seed=3)
    whole.run(digits, 20)
    for stop in (7, 15) if sampler == "tpe" else (1, 4, 7, 13, 19):
        journal = tmp_path / f"{stop}.log"
        Study(SPACE, sampler=sampler, ranker="surrogate", seed=3, storage=journal).run(digits, stop)
        resumed = Study(SPACE, sampler=sampler, ranker="surrogate", seed=3, storage=journal)
        resumed.run(digits, 20)
        assert table(resumed) == table(whole)


@pytest.mark.parametrize("ranker", ["random", "surrogate", "knn", "gp", pytest.param("nano", marks=pytest.mark.slow)])
def test_same_seed_same_trials_in_another_process_with_another_hash_seed(ranker):
    if ranker == "nano" and default_ranker() != "nano":
        pytest.skip("the nano searcher is not shipped here, or torch is not installed")
    script = (
        "from search import Space, Study\n"
        f"s = Study(Space.of_sizes([4] * 5), ranker='{ranker}', seed=5)\n"
        "s.run(lambda code, seed: float(sum(map(int, code))) % 7, 25)\n"
        "print([(t.code, t.origin) for t in s.trials])"
    )

    def trials(hash_seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        return subprocess.run(
            [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
        ).stdout

    runs = {trials("0"), trials("1"), trials("4242")}
    assert len(runs) == 1 and runs != {""}


def test_seeds_differ_and_directions_mirror():
    def codes(seed: int, direction: str, sign: float) -> list[str]:
        study = Study(SPACE, direction=direction, ranker="surrogate", seed=seed)
        study.run(lambda code, _: sign * digits(code), 15)
        return [t.code for t in study.trials]

    assert codes(0, "maximize", 1.0) == codes(0, "minimize", -1.0)
    assert codes(0, "maximize", 1.0) != codes(1, "maximize", 1.0)


def test_a_changed_space_or_direction_is_refused(tmp_path):
    journal = tmp_path / "journal.log"
    Study(SPACE, storage=journal, ranker="random").run(digits, 3)
    with pytest.raises(UserError, match="another search space"):
        Study(Space.of_sizes([3, 3, 4]), storage=journal, ranker="random")
    with pytest.raises(UserError, match="other direction"):
        Study(SPACE, direction="minimize", storage=journal, ranker="random")
    with pytest.raises(UserError, match="did you mean evolution"):
        Study(SPACE, sampler="evolutoin")
    with pytest.raises(UserError, match="maximize and minimize"):
        Study(SPACE, direction="up")
