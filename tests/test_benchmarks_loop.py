"""The direct driver of the benchmarks makes the trials that search.run makes; ranks and regrets are what they say."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY))

from benchmarks.cases import CASES, task_of
from benchmarks.closed_loop import rank_methods, regrets
from benchmarks.driver import best_so_far, build, drive
from benchmarks.exam_all import stamp, summarise
from benchmarks.output import COMMITTED, OWN, add_output, folder
from benchmarks.peers import PEERS
from search.errors import UserError
from search.rankers.base import from_scores
from search.studies.folder import read_trials

SAME = {
    "surrogate+mixed": ["--ranker", "surrogate", "--proposal", "mixed"],
    "views+wide": ["--ranker", "views"],
    "random+uniform": ["--ranker", "random", "--proposal", "uniform"],
    "local": ["--sampler", "local"],
    "evolution": ["--sampler", "evolution"],
    "tpe": ["--sampler", "tpe"],
}


@pytest.mark.parametrize("method", SAME)
def test_driver_and_command_line_make_the_same_trials(method, tmp_path):
    command = [
        sys.executable,
        "-m",
        "search.run",
        "--task",
        "nb201/cifar100",
        *SAME[method],
        "--budget",
        "40",
        "--seeds",
        "3",
        "--quiet",
        "--controls",
        "none",
    ]
    done = subprocess.run([*command, "--out", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    trials = read_trials(tmp_path / "run" / "seed-3" / "trials.jsonl")
    task = task_of("nb201/cifar100")
    steps = drive(task, build(method, task, 3), 40)
    assert [(s.code, s.value, s.origin) for s in steps] == [(t["code"], t["value"], t["origin"]) for t in trials]


def test_a_search_that_exhausts_its_table_keeps_its_last_value():
    task = task_of("nb201/cifar100")
    steps = drive(task, build("random", task, 0), 5)
    best = best_so_far(steps, "maximize", 8)
    assert best[-1] == best[4] == max(s.value for s in steps) and (np.diff(best) >= 0).all()


def test_regret_is_nought_at_the_optimum_and_one_at_the_median():
    task = task_of("hpolib/protein_structure")
    assert regrets("hpolib/protein_structure", np.array([[np.median(task.values), task.optimum]])).tolist() == [
        [1.0, 0.0]
    ]


def test_a_changed_method_is_searched_again_and_a_moved_one_is_not(monkeypatch):
    import benchmarks.probe as probe
    from search.strategies import wide

    before = {m: probe.fingerprint.__wrapped__(m) for m in ("views+wide", "surrogate+mixed", "evolution")}
    assert len(set(before.values())) == 3 and before["evolution"] == probe.fingerprint.__wrapped__("evolution")
    monkeypatch.setattr(wide, "UNIFORM", 20)
    after = {m: probe.fingerprint.__wrapped__(m) for m in before}
    assert [m for m in before if before[m] != after[m]] == ["views+wide"]


def test_a_missing_table_is_named_and_committed_results_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LMSEARCHER_SHARED", str(tmp_path / "nowhere"))
    where = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"), "--seeds", "1", "--budget", "25"]
    done = bench("closed_loop", *where, "--case", "macro", "--case", "graph/cora", "--method", "random")
    assert done.returncode == 0, done.stderr
    assert "macro (nasbench_macro_cifar10.csv.gz)" in done.stdout
    assert "1 tables" in (tmp_path / "out" / "closed_loop.md").read_text()
    parser = argparse.ArgumentParser()
    add_output(parser)
    assert folder(parser.parse_args([])) == OWN != COMMITTED == folder(parser.parse_args(["--write-results"]))


def test_a_search_at_its_optimum_is_ended_and_its_curve_is_the_same():
    task = task_of("hpobench/car")
    whole, ended = (drive(task, build("surrogate+mixed", task, 0), 60, to_optimum=e) for e in (False, True))
    assert ended == whole[: len(ended)]
    assert (best_so_far(ended, "maximize", 60) == best_so_far(whole, "maximize", 60)).all()


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_finds_new_codes_and_is_the_same_again(name):
    if name != "tpe-multivariate":
        pytest.importorskip(name)
    task = task_of("nb201/cifar100")
    one, again = (drive(task, build(name, task, 1), 14) for _ in range(2))
    assert len({task.space.canonical(s.code) for s in one}) == 14 and one == again


def test_ranks_share_ties():
    assert rank_methods({"a": 0.2, "b": 0.1, "c": 0.2, "d": 0.5}) == {"a": 2.5, "b": 1.0, "c": 2.5, "d": 4.0}


def test_every_case_is_named_once_and_pip_cases_are_always_there():
    assert len(CASES) >= 35 and sum(c.file is None for c in CASES.values()) >= 20


def test_wins_and_differences_are_counted_over_tables():
    rows = {"surrogate": (0.6, 0.8), "new": (0.7, 0.75)}
    marks = {
        s: {f"t{i}": {"5": {"percentile": [v, v], "seconds": [0.1], "fallbacks": [0]}} for i, v in enumerate(vs)}
        for s, vs in rows.items()
    }
    found = summarise(marks)["new"]["5"]
    assert (
        found["wins"] == 0.5 and found["ahead"][0] == pytest.approx(0.025) and found["mean"][0] == pytest.approx(0.725)
    )


def bench(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--processes", "1"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )


def test_searches_are_kept_and_serve_shorter_budgets(tmp_path):
    where = [
        "--cache",
        str(tmp_path / "cache"),
        "--out",
        str(tmp_path / "out"),
        "--case",
        "nb201/cifar100",
        "--seeds",
        "2",
    ]
    first = bench("closed_loop", *where, "--method", "evolution", "--method", "random+mixed", "--budget", "60")
    assert first.returncode == 0, first.stderr
    assert json.loads((tmp_path / "out" / "closed_loop.json").read_text())["seconds"]["evolution"] > 0
    files = sorted((tmp_path / "cache").rglob("*.json"))
    assert len(files) == 4
    times = [f.stat().st_mtime_ns for f in files]
    longer = json.loads((tmp_path / "out" / "closed_loop.json").read_text())
    second = bench(
        "closed_loop",
        *where,
        "--method",
        "evolution",
        "--method",
        "random+mixed",
        "--budget",
        "50",
        "--name",
        "short",
        "--values",
    )
    assert second.returncode == 0 and [f.stat().st_mtime_ns for f in files] == times
    shorter = json.loads((tmp_path / "out" / "closed_loop_short.json").read_text())
    assert shorter["regret"]["50"] == longer["regret"]["50"] and list(shorter["rank"]) == ["25", "50"]
    assert "best value" in (tmp_path / "out" / "closed_loop_short.md").read_text()
    merge = [
        "--method",
        "random",
        "--budget",
        "60",
        "--budget-of",
        "random=30",
        "--earlier",
        str(tmp_path / "out" / "closed_loop.json"),
        "--name",
        "merged",
    ]
    third = bench("closed_loop", *where, *merge)
    assert third.returncode == 0, third.stderr
    merged = json.loads((tmp_path / "out" / "closed_loop_merged.json").read_text())
    assert set(merged["rank"]["25"]) == {"random", "evolution", "random+mixed"} and set(merged["rank"]["50"]) == {
        "evolution",
        "random+mixed",
    }
    assert merged["regret"]["50"] == longer["regret"]["50"] and "| random |" in third.stdout
    other = bench("closed_loop", *where[:4], "--case", "nb201/cifar10", *merge)
    assert other.returncode == 2 and "other tables" in other.stderr


def test_the_exam_on_all_tables_writes_and_reuses_its_answers(tmp_path):
    where = [
        "--cache",
        str(tmp_path / "cache"),
        "--out",
        str(tmp_path),
        "--case",
        "nb201/cifar100",
        "--case",
        "graph/cora",
    ]
    first, second = (bench("exam_all", *where, "--repeats", "4", "--history", "5,30") for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout and "| surrogate |" in first.stdout
    found = json.loads((tmp_path / "exam_uniform.json").read_text())
    assert found["cases"] == ["nb201/cifar100", "graph/cora"] and found["percentile"]["knn"]["30"]["tables"] == 2


def test_a_cached_answer_belongs_to_a_ranker_that_still_answers_so(tmp_path, monkeypatch):
    assert stamp("evolution") == stamp("endpoint:http://127.0.0.1:1#m") == ""
    first = stamp("surrogate")
    assert first != stamp("knn") and len(first) == 10
    stamp.cache_clear()
    assert stamp("surrogate") == first
    monkeypatch.setattr(
        "search.rankers.surrogate.from_scores", lambda c, s, *a, **k: from_scores(c, -np.asarray(s), *a, **k)
    )
    stamp.cache_clear()
    assert stamp("surrogate") != first
    stamp.cache_clear()


def test_a_model_without_its_weights_has_no_stamp(tmp_path):
    pytest.importorskip("torch")
    for path in (REPOSITORY / "models" / "nano").iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError):
        stamp(f"nano:{tmp_path}")
    assert stamp("nano") != stamp("nano:answer")


@pytest.mark.slow
def test_the_known_ceilings_of_nasbench201_come_out(tmp_path):
    """20 seeds, 192 evaluations, CIFAR-100: every bound of benchmarks/ceilings.py holds."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ceilings", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0 and "MISSED" not in done.stdout, done.stdout + done.stderr
    assert done.stdout.count(" ok |") == 7
