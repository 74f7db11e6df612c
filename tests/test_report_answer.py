"""What a report says: the answer first, no mean over evaluations nobody made, storages of every kind, 80 columns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from test_report import write_run

from search.errors import UserError
from search.reports.charts import regret_axis
from search.reports.commands import continue_command, repeat_command, seeds_text
from search.reports.compare import compare, comparison_rows, failure_rows
from search.reports.fronts import fronts
from search.reports.headline import headline
from search.reports.reading import read_sections
from search.reports.terminal import terminal_report
from search.reports.tried import tried
from search.reports.writing import default_folder, summarise
from search.spaces import Decision, Space
from search.studies.study import Study

REPOSITORY = Path(__file__).resolve().parent.parent
SPACE = Space([Decision("rank", (0, 4, 8, 16)), Decision("layers", (2, 4, 6))])


@pytest.fixture(name="pair")
def _pair(tmp_path) -> Path:
    """A run whose three seeds find 9 (the optimum) after 4, 6 and 8 evaluations; random search never does in 20."""
    rows = [[1.0] * (n - 1) + [9.0] + [2.0] * (20 - n) for n in (4, 6, 8)]
    run = write_run(tmp_path / "ours", rows, optimum=9.0)
    write_run(run / "controls" / "random", [[3.0] * 20, [5.0] * 20, [1.0] * 19 + [9.0]], optimum=9.0)
    return run


def first(*paths: Path | str):
    return read_sections(paths)[0]


def test_the_answer_says_what_when_and_what_it_saved(pair):
    head = headline(first(pair))
    assert head.answer() == "best 9.00, the optimum, after 6 evaluations (median of 3 seeds, the last after 8)"
    assert head.against() == "random search had 3.00 by then; evaluations saved: at least 14"
    assert (head.rival, head.saved, head.at_least) == (3.0, 14, True)
    said = summarise([first(pair)])[0]["headline"]
    assert said["answer"] == head.answer() and said["saved"] == 14 and said["optimal"] is True
    assert compare([pair]).split("\n\n")[1].startswith("Best 9.00, the optimum, after 6 evaluations")


def test_a_search_that_random_beats_says_so(tmp_path):
    run = write_run(tmp_path / "ours", [[1.0] * 9 + [4.0]])
    write_run(run / "controls" / "random", [[1.0, 2.0, 7.0] + [0.0] * 7])
    assert headline(first(run)).against() == "random search had 7.00 by then, and the same value 7 evaluations earlier"


def test_the_best_control_is_named_beside_the_answer(tmp_path):
    run = write_run(tmp_path / "ours", [[1.0, 5.0, 2.0], [1.0, 2.0, 5.0]])
    write_run(run / "controls" / "random-ranker", [[5.0, 1.0, 2.0], [1.0, 5.0, 2.0]])
    write_run(run / "controls" / "local", [[5.0, 1.0, 2.0], [1.0, 1.0, 2.0]])
    head = headline(first(run))
    assert head.answer() == "best 5.00 after 2 evaluations (median of 2 seeds, the last after 3)"
    assert head.beside() == "best control: random-ranker, after 1 evaluation"
    assert head.beside() in summarise([first(run)])[0]["headline"]["beside"]


def test_the_answer_counts_the_seeds_that_found_it(tmp_path):
    run = write_run(tmp_path / "ours", [[1.0, 5.0, 2.0], [1.0, 2.0, 4.0]])
    head = headline(first(run))
    assert head.answer() == "best 5.00 after 2 evaluations (in 1 of 2 seeds)" and head.against() == ""


def test_without_a_usable_trial_the_report_still_stands(tmp_path):
    run = write_run(tmp_path / "ours", [[None, None]], finished=False)
    assert headline(first(run)).answer() == "no evaluation succeeded yet"
    assert "no usable trial" in compare([run]) and "no evaluation succeeded" in terminal_report(read_sections([run]))


def test_a_short_run_is_never_shown_at_evaluations_it_did_not_make(tmp_path):
    write_run(tmp_path / "long", [[float(i) for i in range(80)]] * 2)
    write_run(tmp_path / "short", [[float(i) for i in range(60)]] * 2)
    section = first(tmp_path)
    assert section.checkpoints() == [25, 50, 60, 80]
    header, *rows = comparison_rows(section)
    short = dict(zip(header, next(r for r in rows if r[0] == "short")))
    assert (short["@60"], short["@80"], short["evaluations"]) == ("59.00 [59.00, 59.00]", "–", "60")
    assert (
        section.runs[1].anytime(80)[0][59:61].tolist()[0] == 59.0
        and np.isnan(section.runs[1].anytime(80)[:, 60:]).all()
    )


def test_an_exhausted_space_keeps_its_last_value(tmp_path):
    run = write_run(tmp_path / "a", [[1.0, 2.0]])
    path = run / "seed-0" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ending": "exhausted"}))
    assert first(run).runs[0].anytime(5)[0].tolist() == [1.0, 2.0, 2.0, 2.0, 2.0]


def test_a_mean_over_fewer_seeds_says_so(tmp_path):
    run = write_run(tmp_path / "a", [[1.0] * 30, [3.0] * 10, [2.0] * 30], budget=30)
    header, row = comparison_rows(first(run))
    cells = dict(zip(header, row))
    assert cells["@25"] == "1.50 [1.00, 2.00] (2 of 3 seeds)" and cells["seeds"] == "3*"
    assert cells["evaluations"] == "10–30"
    shown = terminal_report(read_sections([run]))
    assert "1.50 (2)" in shown and "* a: seed 1 stopped at 10 of 30 evaluations" in shown


def test_a_regret_of_zero_has_a_row_of_its_own():
    axis = regret_axis([5.0, 0.5, 0.02, 0.0], "")
    labels = [label for _, label in axis.ticks]
    assert (
        labels == ["0", "0.01", "0.1", "1"] and axis.place(0) < axis.place(0.01) < axis.place(0.02) < axis.place(5) <= 1
    )
    assert regret_axis([5.0, 0.5], "").ticks[0][1] != "0", "no such row where nobody reached the optimum"
    assert regret_axis([0.0, 0.0], "").ticks[0][1] == "0"


def test_the_decision_that_matters_is_found_and_the_surrogate_is_named(tmp_path):
    rng = np.random.default_rng(0)
    home = tmp_path / "a" / "seed-0"
    home.mkdir(parents=True)
    with open(home / "trials.jsonl", "w") as handle:
        for i in range(80):
            arch = {"kind": "abc"[rng.integers(3)], "rate": float(rng.uniform()), "idle": int(rng.integers(2))}
            value = 5.0 * (arch["kind"] == "b") + 2.0 * arch["rate"]
            trial = {"number": i, "code": str(i), "arch": arch, "value": value, "state": "COMPLETE"}
            handle.write(json.dumps(trial) + "\n")
    section = first(tmp_path / "a")
    what = tried(section, headline(section).winner)
    shares = {d.name: d.share for d in what.decisions}
    assert (
        shares["kind"] > 0.5 > shares["rate"] > shares["idle"]
        and what.skill > 0.9
        and sum(shares.values()) == pytest.approx(1)
    )
    kind = next(d for d in what.decisions if d.name == "kind")
    assert [(o.label, o.chosen) for o in kind.options] == [("a", False), ("b", True), ("c", False)]
    assert sum(o.tried for o in kind.options) == 80 and max(kind.options, key=lambda o: o.effect).label == "b"
    assert len(next(d for d in what.decisions if d.name == "rate").options) == 6


def test_few_or_equal_values_claim_no_importance(tmp_path):
    for name, values in (("few", [1.0, 2.0, 3.0]), ("equal", [1.0] * 40)):
        section = first(write_run(tmp_path / name, [values]))
        assert not tried(section, headline(section).winner).explained


def test_failures_are_counted_by_reason(tmp_path):
    run = write_run(tmp_path / "a", [[1.0, None, 3.0, None]], extra={"constraints": lambda i: {"size": i - 1.5}})
    rows = failure_rows(first(run))
    assert [r[:1] + r[3:] for r in rows[1:]] == [["a", "1", "4"]] * len(rows[1:]) and len(rows) == 4


@pytest.fixture(name="journal")
def _journal(tmp_path) -> Path:
    """A journal of search.Study: 12 codes of 12, those of rank 16 fail."""
    path = tmp_path / "lab" / "journal.log"
    study = Study(SPACE, direction="minimize", storage=path, sampler="random")

    def evaluate(code, seed):
        arch = SPACE.decode(code)
        if arch["rank"] == 16:
            raise RuntimeError("out of memory")
        return abs(arch["rank"] - 8) + arch["layers"] / 10

    study.run(evaluate, 12, max_failures=12)
    return path


def test_journals_are_read_with_option_values_and_left_as_they_are(journal):
    before = journal.read_bytes()
    for given in (journal, journal.parent):
        section = first(given)
        (run,) = section.runs
        best = headline(section).winner
        assert best["arch"] == {"rank": 8, "layers": 2} and best["value"] == pytest.approx(0.2) and run.length == 12
        assert (section.task, section.direction, run.origin) == ("lab", "minimize", "journal")
        assert sum(t["state"] == "FAIL" and "out of memory" in t["reason"] for t in run.seeds[0].trials) == 3
        assert "Study(space, direction='minimize'" in continue_command(run) and repeat_command(run) == ""
    assert journal.read_bytes() == before and sorted(p.name for p in journal.parent.iterdir() if p.name[0] != ".") == [
        "journal.log"
    ]


def test_a_torn_last_record_is_left_to_its_writer(journal):
    with open(journal, "ab") as handle:
        handle.write(b'{"op_code": 4, "tri')
    before = journal.read_bytes()
    assert first(journal).runs[0].length == 12 and journal.read_bytes() == before


def test_optuna_storages_with_several_objectives_are_read(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(study_name="both", directions=["minimize", "maximize"], storage=url, sampler=sampler)

    def both(trial):
        rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
        if trial.suggest_categorical("kind", ["adam", "sgd"]) == "sgd":
            return rate + trial.suggest_float("momentum", 0, 1), rate
        return rate, rate / 2

    study.optimize(both, 30)
    before = (tmp_path / "study.db").read_bytes()
    for given in (url, tmp_path / "study.db"):
        section = first(given)
        assert section.direction == "minimize" and section.runs[0].length == 30 and section.runs[0].origin == "optuna"
        (front,) = fronts(section)
        assert not front.lower and {p.value for p in front.best} == {t.values[0] for t in study.best_trials}
        assert "momentum" in {d.name for d in tried(section, None).decisions}
    assert (tmp_path / "study.db").read_bytes() == before


def test_seeds_in_one_database_are_one_run_and_its_controls_are_controls(tmp_path):
    url = f"sqlite:///{tmp_path}/all.db"
    for name in ("r/seed-0", "r/seed-1", "r/controls/random/seed-0"):
        Study(SPACE, storage=url, name=name, sampler="random").run(lambda code, seed: float(code[0]), 6)
    section = first(url)
    assert [(r.label, len(r.seeds), r.control) for r in section.runs] == [("r", 2, False), ("random", 1, True)]
    assert headline(section).rival is not None


def test_a_plot_of_many_points_keeps_the_whole_front(tmp_path):
    rng = np.random.default_rng(0)
    speed = rng.uniform(size=6000)
    run = write_run(tmp_path / "a", [rng.normal(size=6000).tolist()], extra={"metrics": lambda i: {"ms": speed[i]}})
    (front,) = fronts(first(run))
    drawn = front.drawn()
    assert len(front.points) == 6000 and len(drawn) <= 2000 + len(front.best) and set(front.best) <= set(drawn)


def test_what_is_no_storage_is_explained(tmp_path):
    (tmp_path / "x.txt").write_text("no journal\n")
    for given, said in (
        (tmp_path / "x.txt", "damaged at record 1"),
        (f"sqlite:///{tmp_path}/none.db", "no such file"),
    ):
        with pytest.raises(UserError, match=said):
            read_sections([given])
    assert not (tmp_path / "none.db").exists(), "nothing is created"


def test_the_report_goes_into_the_run_s_own_folder(tmp_path, monkeypatch, journal):
    monkeypatch.chdir(tmp_path)
    assert default_folder(["runs/a"]) == tmp_path / "runs" / "a" / "report"
    assert default_folder(["runs"]) == tmp_path / "runs" / "report"
    assert default_folder(["runs/a", "runs/b"]) == tmp_path / "runs" / "report"
    assert default_folder(["a", "b"]) == tmp_path / "a" / "report", "never litter in the current folder"
    assert default_folder([journal]) == journal.parent / "report"
    assert default_folder([f"sqlite:///{tmp_path}/db/s.db"]) == tmp_path / "db" / "report"


def test_the_commands_repeat_and_continue_a_run(tmp_path):
    known = {"task": "toy", "task_option": {"a": 1}, "seeds": [0, 1, 2, 5], "budget": 30, "sampler": "random"}
    known |= {
        "allow_repeats": True,
        "timeout": None,
        "controls": "local",
        "storage": None,
        "latency_limit": 3,
        "study": "my run",
    }
    run = write_run(tmp_path / "my run", [[1.0, 2.0]], configuration=known)
    (run / "run.json").write_text("{}")
    (read,) = first(run).runs
    assert repeat_command(read) == (
        "python -m search.run --task toy --task-option a=1 --seeds 0-2,5 --budget 30 --sampler random --allow-repeats "
        f"--controls local --out '{run}-again'"
    )
    assert continue_command(read).startswith(f"python -m search.run --resume --out '{run}' --budget ")
    assert seeds_text([3]) == "3"


def test_the_repeated_command_gives_the_same_trials(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)

    def run(words: list[str]) -> subprocess.CompletedProcess:
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    done = run("-m search.run --task nb201/cifar100 --sampler evolution --budget 12 --out run".split())
    words = repeat_command(first("run").runs[0]).split()
    assert words[:3] == ["python", "-m", "search.run"]
    run(words[1:])
    codes = [[t["code"] for t in first(name).runs[0].seeds[0].trials] for name in ("run", "run-again")]
    assert codes[0] == codes[1] and len(codes[0]) == 12
    assert done.stderr == "", "nothing of a progress bar in a pipe"
    assert "best" in done.stdout and "\x1b" not in done.stdout and "|" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_terminal_has_80_columns_and_colours_only_when_it_is_one(tmp_path, pair):
    write_run(tmp_path / "other", [[0.1 * i for i in range(250)]] * 3, task="a_task_with_a_long_name")
    write_run(tmp_path / "other_run_with_a_name_that_is_far_too_long_for_a_line", [[0.1] * 7])
    sections = read_sections([tmp_path])
    text = terminal_report(sections)
    assert max(map(len, text.splitlines())) <= 80 and "\x1b" not in text and "**" not in text and "| ---" not in text
    assert "\x1b[1mbest 9.00" in terminal_report(read_sections([pair]), colours=True)
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-m", "search.report", str(pair)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0 and "\x1b" not in done.stdout and "best 9.00, the optimum" in done.stdout
    assert str(pair / "report" / "report.html") in done.stdout
