"""Asking and telling from several processes on one study: a value always reaches the code it was measured for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from search import Decision, Space, Study
from search.errors import UserError

HERE = Path(__file__).resolve().parent
SPACE = Space([Decision("depth", (2, 4, 6, 8)), Decision("width", (64, 128, 256)), Decision("rank", (4, 8, 16, 32))])
WORKER = """
import sys
sys.path.insert(0, sys.argv[2])
from search import Study
from test_ask_tell import SPACE, value
study = Study(SPACE, direction="minimize", storage=sys.argv[1], sampler="random")
while len(study.trials) < 40:
    trial = study.ask()
    told = study.tell(trial.number, value(trial.code))
    assert told.code == trial.code, (told, trial)
"""


def value(code: str) -> float:
    return float(int(code, 10))


def study_on(path: Path) -> Study:
    return Study(SPACE, direction="minimize", storage=path, sampler="random")


def test_four_processes_that_ask_and_tell_by_number_mix_no_values(tmp_path):
    journal = tmp_path / "journal.log"
    study_on(journal)
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(journal), str(HERE)], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for worker in workers:
        _, said = worker.communicate(timeout=300)
        assert worker.returncode == 0, said
    trials = study_on(journal).trials
    assert len(trials) >= 40 and all(t.state == "COMPLETE" and t.value == value(t.code) for t in trials)
    assert len({t.code for t in trials}) == len(trials)


def test_a_lost_race_moves_no_number(tmp_path):
    journal = tmp_path / "journal.log"
    first, other, mine = (study_on(journal) for _ in range(3))
    held = first.ask()
    lost = other.store.start(held.code, "uniform", external=True)
    asked = mine.ask()
    assert (held.number, asked.number) == (0, 1)
    other.store.void(lost, "another worker holds this code")
    assert mine.tell(asked.number, 1.0).code == asked.code
    assert study_on(journal).tell(held.number, 2.0).code == held.code
    assert [t.code for t in mine.trials] == [held.code, asked.code]


def test_a_trial_is_told_as_itself_or_by_its_number_and_only_once(tmp_path):
    study = study_on(tmp_path / "journal.log")
    one, two = study.ask(), study.ask()
    assert study.tell(two, 2.0).code == two.code and study.tell(one.number, 1.0).code == one.code
    with pytest.raises(UserError, match="told twice"):
        study.tell(one, 3.0)
    for number in (2, -1, 99):
        with pytest.raises(UserError, match="ask first"):
            study.tell(number, 1.0)
