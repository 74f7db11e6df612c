"""The paper's rows: each is read, says what it needs, and its command is one that search.run takes."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from search import reproduce
from search.cli.options import settings
from search.errors import UserError, cli
from search.reports.reproduction import BEGIN, END, Row, filled, found, page, read_rows, status

ROOT = Path(__file__).resolve().parent.parent
ROWS = read_rows(ROOT / "recipes" / "paper")
FILL = {
    "reader": "nano",
    "server": "http://127.0.0.1:9/v1#m",
    "nb101": "F",
    "sd15": "F",
    "clip": "F",
    "dino": "F",
    "concept": "F",
    "class_word": "dog",
    "nb201": "F",
    "nb301": "F",
    "nbasr": "F",
    "cifar10": "F",
    "segmentation": "F",
}


def run(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["program", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli(reproduce.main)
    return stop.value.code


def test_every_table_and_figure_has_its_rows():
    tables = {row.table.partition(":")[0] for row in ROWS}
    assert tables == {*(f"Table {n}" for n in range(2, 11)), "Figure 3"}
    table5 = [r.name for r in ROWS if r.table.startswith("Table 5")]
    assert all(
        any(f"{size}: {column}" in name for name in table5)
        for size in ("1B", "3B", "8B")
        for column in ("NAS-", "CIFAR", "ImageNet")
    )
    assert any("PER" in r.name for r in ROWS if r.table.startswith("Table 2"))


@pytest.mark.parametrize("row", [r for r in ROWS if r.commands], ids=lambda r: f"{r.table[:9]} {r.name}")
@pytest.mark.parametrize("size", ["small", "full"])
def test_every_command_is_one_that_its_program_takes(row, size, monkeypatch):
    monkeypatch.chdir(ROOT)
    outs = set()
    for command in row.command_lines(size, {**FILL, "chat": "yaml/lmsearcher_tiny_chat.yaml"}):
        assert not re.search(r"[{}]", command), "no placeholder is left"
        python, dash, module, *words = shlex.split(command)
        assert (python, dash) == ("python", "-m")
        if module == "search.run":
            given, _ = settings(words)
            outs.add(given["out"])
            assert given["budget"] <= 3000 and given["out"].startswith("runs/paper/")
    read = [str(Path(p)) for p in row.reads.values()]
    assert all(any(p == o or p.startswith((f"{o}/", "runs/paper/nb201-")) for o in outs) for p in read)


def test_trained_arms_are_named_by_the_folder_their_yaml_writes():
    for row in ROWS:
        for need in (n for n in row.needs if n.startswith("path saves/")):
            for file in re.findall(r"yaml/\S+?\.yaml", need):
                folder = need.split()[1].removesuffix("/config.json")
                assert f"output_dir: {folder}\n" in re.sub(r" +#.*", "", (ROOT / file).read_text())


def test_a_row_says_what_it_lacks(tmp_path):
    row = Row("Table 1: x", "y", needs=(f"path {tmp_path / 'weights'}", "source nb101 (a file)", "package json"))
    assert status(row, {}) == f"needs path {tmp_path / 'weights'}; source nb101 (a file)"
    (tmp_path / "weights").touch()
    assert status(row, {"nb101": str(tmp_path / "weights")}) == "runs here"
    assert status(Row("t", "n", needs=("missing a trainer",)), {}) == "missing: a trainer"


def write_seed(folder: Path, seed: int, value: float, test: float | None) -> None:
    home = folder / f"seed-{seed}"
    home.mkdir(parents=True)
    best = {"value": value, "test": test}
    content = {"best": best, "trials": {"COMPLETE": 40}, "configuration": {"ranker": "surrogate"}}
    (home / "summary.json").write_text(json.dumps(content))


def test_the_page_holds_what_was_found_beside_what_is_printed(tmp_path):
    for seed, value in enumerate((72.0, 74.0)):
        write_seed(tmp_path / "runs" / "a", seed, value, None)
    assert found(tmp_path / "runs" / "a", "value").startswith("73.00 [") and "(2 x 40)" in found(
        tmp_path / "runs" / "a", "value"
    )
    assert found(tmp_path / "runs" / "a", "test") == found(tmp_path / "runs" / "none", "value") == ""
    (tmp_path / "runs" / "bad" / "seed-0").mkdir(parents=True)
    (tmp_path / "runs" / "bad" / "seed-0" / "summary.json").write_bytes(b"\xff{")
    with pytest.raises(UserError, match="is not a JSON object"):
        found(tmp_path / "runs" / "bad", "value")
    row = Row("Table 9: x", "y", reads={"reader": "runs/a"}, paper="72.82", note="Differs.")
    text = page([row], tmp_path, {})
    assert "## Table 9: x" in text and "| y | 72.82 | surrogate 73.00 [" in text and "Runs here. Differs. |" in text
    old = f"# Mine\n{BEGIN}\nold\n{END}\nbelow\n"
    assert filled(old, text).count("old") == 0 and filled(old, text).endswith("below\n")
    with pytest.raises(UserError, match="has no lines"):
        filled("no marks", text)


def test_the_page_in_docs_lists_every_row():
    kept = (ROOT / "docs" / "paper.md").read_text()
    assert BEGIN in kept and END in kept
    assert all(f"| {row.name} |" in kept for row in ROWS)


def test_the_list_and_its_refusals(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert run(monkeypatch, "--only", "figure 3") == 0
    said = capsys.readouterr().out
    assert "search.analyse picks" in said and "--proposal mixed" in said
    assert run(monkeypatch, "--only", "table 99") == 2
    assert run(monkeypatch, "--source", "nb101") == 2
    assert run(monkeypatch, "--page", "none.md") == 2


def test_what_lacks_something_is_not_run_and_nothing_runs_twice(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    ran = []
    monkeypatch.setattr(
        reproduce.subprocess, "run", lambda words: ran.append(words) or type("Done", (), {"returncode": 0})
    )
    assert run(monkeypatch, "--run", "--only", "cifar", "--reader", "surrogate") == 0
    commands = [" ".join(w) for w in ran]
    assert len(set(commands)) == len(commands) > 2 and not any("8b_ft" in c for c in commands)


@pytest.mark.slow
def test_every_row_that_can_run_here_runs_small(tmp_path, monkeypatch):
    for name in ("recipes", "yaml", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert run(monkeypatch, "--run", "--reader", "surrogate") == 0
    (tmp_path / "page.md").write_text(f"{BEGIN}\n{END}\n")
    assert run(monkeypatch, "--page", "page.md") == 0
    assert "x 40)" in (tmp_path / "page.md").read_text()


def test_table_six_corrupts_what_is_shown_while_searching_not_what_is_trained_on(monkeypatch):
    monkeypatch.chdir(ROOT)
    given, _ = settings(["--recipe", "recipes/search/table6.yaml", "--ranker", "surrogate", "--controls", "none"])
    shown = {name: {**given, **arm}["history_control"] for name, arm in given["arms"].items()}
    assert shown == {"true_history": None, "shuffled": "shuffled", "negated": "negated", "random_ranker": None}
    for row in (r for r in ROWS if r.table.startswith("Table 6")):
        assert "--history-control shuffled" in row.commands[0] and "ablation" not in " ".join(row.commands)
    assert "table6.yaml" in (ROOT / "recipes" / "data" / "ablation_shuffled_training.yaml").read_text()
