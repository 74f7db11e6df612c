"""The examples of distributed use run as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search import Study

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def run(*words: str, **more: str) -> str:
    path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"PYTHONPATH": path} | more, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def trials(journal: Path) -> list:
    sys.path.insert(0, str(EXAMPLES))
    from worker import SPACE, evaluate

    found = Study(SPACE, direction="minimize", storage=journal, sampler="random").trials
    assert all(t.state == "COMPLETE" and t.value == pytest.approx(evaluate(t.arch)) for t in found)
    return found


def test_the_slurm_script_starts_workers_that_share_a_study(tmp_path):
    srun = tmp_path / "srun"  # stands where Slurm would start the command on a node
    srun.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} "$@"\n')
    srun.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    more = {"STORAGE": str(tmp_path / "journal.log"), "PATH": path}
    for budget in ("6", "10"):
        run("bash", str(EXAMPLES / "slurm.sh"), BUDGET=budget, **more)
    assert len(trials(tmp_path / "journal.log")) == 10


def test_ray_evaluates_what_is_asked(tmp_path):
    pytest.importorskip("ray")
    journal = tmp_path / "journal.log"
    said = run(sys.executable, str(EXAMPLES / "ray_search.py"), "--budget", "8", "--storage", str(journal))
    assert "8 trials" in said and len(trials(journal)) == 8


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path):
    notebook = json.loads((EXAMPLES / "tutorial.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join(cells))
    said = run(sys.executable, str(script), MPLBACKEND="agg")
    assert "'optimizer': 'adam'" in said and "views + wide" in said and "1 trial, COMPLETE" in said
    outputs = json.dumps([c.get("outputs") for c in notebook["cells"]])
    assert "error" not in outputs and "/home" not in outputs, "stored outputs are those of a clean run"
