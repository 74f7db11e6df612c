"""Reports: numbers that can be checked by hand, escaped text, unfinished and damaged runs, one self-contained page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from search.errors import UserError
from search.reports.compare import compare
from search.reports.curves import band, bootstrap, pareto
from search.reports.fronts import metrics
from search.reports.reading import read_sections
from search.reports.writing import summarise, write_report

PNG = b"\x89PNG\r\n\x1a\n"


def write_run(
    path: Path,
    values: list[list[float | None]],
    direction: str = "maximize",
    task: str = "toy",
    finished: bool = True,
    **more,
) -> Path:
    """A run folder as search.run writes it; None is a failed trial."""
    for seed, row in enumerate(values):
        home = path / f"seed-{seed}"
        home.mkdir(parents=True)
        trials = []
        for i, value in enumerate(row):
            state = "FAIL" if value is None else "COMPLETE"
            trial = {
                "number": i,
                "code": f"{i:03d}",
                "arch": {"op": f"o{i}"},
                "value": value,
                "test": None,
                "state": state,
            }
            trials.append(
                trial | {"origin": "uniform", "seconds": 0.1} | {k: f(i) for k, f in more.get("extra", {}).items()}
            )
        (home / "trials.jsonl").write_text("".join(json.dumps(t) + "\n" for t in trials))
        if finished:
            sign = 1 if direction == "maximize" else -1
            best = max((t for t in trials if t["value"] is not None), key=lambda t: sign * t["value"])
            summary = {
                "task": task,
                "metric": "acc",
                "direction": direction,
                "optimum": more.get("optimum"),
                "best": best | {"test": more.get("test")},
            }
            summary |= {k: more[k] for k in ("budget",) if k in more}
            summary |= {
                "ranker": {"fallbacks": more.get("fallbacks", 0)},
                "configuration": more.get("configuration", {}),
            }
            (home / "summary.json").write_text(json.dumps(summary))
    return path


def rising(seeds: int, length: int = 30, shift: float = 0.0) -> list[list[float | None]]:
    rng = np.random.default_rng(seeds)
    return [(shift + rng.normal(size=length)).tolist() for _ in range(seeds)]


def test_anytime_curves_skip_failures_and_infeasible_trials(tmp_path):
    run = write_run(
        tmp_path / "a",
        [[None, 2.0, 9.0, 1.0, 3.0]],
        extra={"constraints": lambda i: {"latency": 1.0 if i == 2 else -1.0}},
    )
    (section,) = read_sections([run])
    curve = section.runs[0].anytime()[0]
    assert np.isnan(curve[0]) and curve[1:].tolist() == [2.0, 2.0, 2.0, 3.0]
    assert section.runs[0].best()[0]["number"] == 4


def test_minimised_metrics_go_down(tmp_path):
    (section,) = read_sections([write_run(tmp_path / "a", [[5.0, 3.0, 4.0], [6.0, 7.0, 2.0]], "minimize", optimum=1.0)])
    run = section.runs[0]
    assert run.anytime().tolist() == [[5.0, 3.0, 3.0], [6.0, 6.0, 2.0]]
    assert "| a | 2 | 2.50" in compare([tmp_path / "a"]) and section.optimum == 1.0


def test_bootstrap_interval_covers_and_shrinks():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        i = bootstrap(rng.normal(size=20), resamples=500)
        hits += i.low <= 0 <= i.high
    assert 170 <= hits <= 198
    x = rng.normal(size=400)
    assert bootstrap(x).high - bootstrap(x).low < 0.5 * (bootstrap(x[:40]).high - bootstrap(x[:40]).low)
    assert (
        bootstrap(x) == bootstrap(x)
        and bootstrap([3.0]).text(1) == "3.0"
        and bootstrap([]).text(1) == "–"
        and bootstrap([1.0, np.nan]).seeds == 1
    )


def test_the_band_is_the_bootstrap_of_every_column():
    curves = np.random.default_rng(1).normal(size=(12, 3))
    mean, low, high = band(curves, resamples=10_000)
    for j in range(3):
        one = bootstrap(curves[:, j])
        assert (
            mean[j] == pytest.approx(one.mean)
            and low[j] == pytest.approx(one.low, abs=0.03)
            and high[j] == pytest.approx(one.high, abs=0.03)
        )


def test_controls_belong_to_their_run_and_are_marked(tmp_path):
    run = write_run(tmp_path / "nano", rising(3, shift=1.0), fallbacks=2)
    write_run(run / "controls" / "random", rising(3))
    (section,) = read_sections([run, run / "controls" / "random"])
    assert [(r.label, r.control) for r in section.runs] == [("nano", False), ("random", True)]
    text = compare([run])
    assert "| nano | 3 |" in text and "| random (control) | 3 |" in text and "fallbacks" in text
    assert re.search(r"\| nano \|.*\| 6 \|", text)


def test_the_arms_of_a_recipe_stand_beside_its_controls(tmp_path):
    for name in ("nano", "tiny", "controls/local"):
        write_run(tmp_path / "recipe" / name, rising(2))
    (section,) = read_sections([tmp_path / "recipe"])
    assert [(r.label, r.control) for r in section.runs] == [("nano", False), ("tiny", False), ("local", True)]


def test_runs_of_one_name_are_told_apart(tmp_path):
    for name in ("one", "two"):
        write_run(write_run(tmp_path / name / "run", rising(2)) / "controls" / "random", rising(2))
    labels = [r.label for r in read_sections([tmp_path / "one", tmp_path / "two"])[0].runs]
    assert labels == ["one/run", "run/random", "two/run", "run/random"] or len(set(labels)) == 4


def test_different_tasks_are_different_sections(tmp_path):
    write_run(tmp_path / "a", rising(2), task="toy")
    write_run(tmp_path / "b", rising(2), "minimize", task="other")
    sections = read_sections([tmp_path / "a", tmp_path / "b"])
    assert [s.title for s in sections] == ["toy · acc (maximize)", "other · acc (minimize)"]
    assert read_sections([tmp_path])[0].task == "toy"


def test_a_running_search_can_be_reported(tmp_path):
    done = write_run(tmp_path / "done", rising(2))
    live = write_run(tmp_path / "live", [[1.0, 2.0], [3.0]], finished=False)
    (live / "run.json").write_text('{"task": "toy"}')
    with open(live / "seed-1" / "trials.jsonl", "a") as handle:
        handle.write('{"number": 1, "code": "0')
    (section,) = read_sections([done, live])
    assert section.runs[1].metric == "acc" and section.runs[1].anytime(3)[1].tolist()[0] == 3.0
    assert np.isnan(section.runs[1].anytime(3)[1][1:]).all()
    assert "| live | 2 |" in compare([done, live])


def test_damaged_and_missing_runs_are_explained(tmp_path):
    run = write_run(tmp_path / "a", [[1.0, 2.0]])
    with open(run / "seed-0" / "trials.jsonl", "a") as handle:
        handle.write("not json\n")
    with pytest.raises(UserError, match="line 3"):
        read_sections([run])
    rows = [json.dumps({"number": i, "code": str(i), "value": float(i), "state": "COMPLETE"}) for i in range(3)]
    for lines, line in (
        ([rows[0], rows[2], rows[1]], 3),
        ([rows[0], rows[1], rows[1]], 3),
        ([rows[0], '{"number": 1}'], 2),
        ([rows[0], rows[1].replace("COMPLETE", "COMPLETED")], 2),
        ([rows[0], rows[1].replace("1.0", "1e999")], 2),
        (["\udcff", rows[0]], 1),
    ):
        text = "".join(f"{one}\n" for one in lines)
        (run / "seed-0" / "trials.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(UserError, match=f"line {line} is not the next trial"):
            read_sections([run])
    with pytest.raises(UserError, match="must be the folder of a run"):
        read_sections([tmp_path / "missing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no run"):
        read_sections([tmp_path / "empty"])


def test_pareto_fronts_keep_what_nothing_beats():
    points = [(1.0, 5.0), (2.0, 4.0), (2.0, 3.0), (3.0, 1.0), (0.5, 5.0), (3.0, 1.0)]
    assert [points[i] for i in pareto(points)] == [(3.0, 1.0), (2.0, 4.0), (1.0, 5.0)]


def test_recorded_metrics_give_a_pareto_table(tmp_path):
    run = write_run(
        tmp_path / "a", [[1.0, 2.0, 3.0, 2.5]], extra={"metrics": lambda i: {"latency_ms": [1.0, 2.0, 3.0, 9.0][i]}}
    )
    text = compare([run])
    assert "latency_ms (lower is better)" in text
    front = text[text.index("Pareto") :]
    assert [code in front for code in ("002", "001", "000", "003")] == [True, True, True, False]


class Collector(HTMLParser):
    """Tags and attribute names of a page; fails on anything left open."""

    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_page_is_self_contained_and_everything_is_escaped(tmp_path):
    bad = "<script>alert(1)</script>\"'&$x_1$"
    run = write_run(tmp_path / "a&b <i>", rising(3), optimum=5.0, task=bad, configuration={"note": bad})
    written = write_report([run], tmp_path / "report", title=f"Report {bad}")
    assert [p.name for p in written] == ["report.html", "curves.png", "table.md", "summary.json"]
    page = written[0].read_text(encoding="utf-8")
    parser = Collector()
    parser.feed(page)
    scripts = [a for t, a in parser.tags if t == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}], "the page's own two and no other"
    assert "i" not in {t for t, _ in parser.tags} and not {"src", "href"} & {k for _, a in parser.tags for k in a}
    assert "http:" not in page and "https:" not in page and "default-src 'none'" in page
    code = re.search(r"<script>(.*?)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page, "the policy lets this script run and no other"
    assert len(page) < 200_000 and written[1].read_bytes().startswith(PNG)


def test_summaries_agree_with_the_runs(tmp_path):
    run = write_run(tmp_path / "a", [[1.0] * 20 + [4.0] * 10, [2.0] * 30], optimum=5.0, test=0.25)
    (section,) = summarise(read_sections([run]))
    (row,) = section["runs"]
    assert (
        row["evaluations"]["25"]["mean"] == 3.0
        and row["evaluations"]["30"]["mean"] == 3.0
        and row["test_of_best"]["mean"] == 0.25
    )
    assert (
        row["best"]["value"] == 4.0
        and row["best"]["number"] == 20
        and row["best"]["seed"] == "0"
        and section["optimum"] == 5.0
    )


def test_the_command_writes_into_the_run_s_own_folder(tmp_path):
    run = write_run(tmp_path / "a", [[float("1e-5"), 2e-5]])
    done = subprocess.run([sys.executable, "-m", "search.report", str(run)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (run / "report" / "report.html").is_file() and "0.00002" in done.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "search.report", str(tmp_path / "none")], capture_output=True, text=True
    )
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr


def test_reports_read_what_search_run_writes(tmp_path):
    command = [
        sys.executable,
        "-m",
        "search.run",
        "--task",
        "nb201/cifar100",
        "--ranker",
        "surrogate",
        "--budget",
        "30",
        "--seeds",
        "0-1",
    ]
    done = subprocess.run(
        [*command, "--controls", "random", "--out", str(tmp_path / "run"), "--quiet"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (section,) = read_sections([tmp_path / "run"])
    assert section.metric == "val_acc" and section.optimum == pytest.approx(73.493, abs=1e-2) and len(section.runs) == 2
    for run in section.runs:
        for seed, curve in zip(run.seeds, run.anytime(), strict=True):
            assert curve.tolist() == pytest.approx(seed.summary["anytime"])


def test_a_constraint_beside_its_own_measurement_is_not_a_second_metric():
    trial = {"constraints": {"latency": -3.5, "size": -1.0}, "info": {"latency_ms": 24.5, "note": "text"}}
    assert metrics(trial) == {"size": -1.0, "latency_ms": 24.5}
