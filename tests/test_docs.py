"""What the documents name exists: paths, links, commands with their options, data sets; and their Python runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = "yaml|recipes|models|search|data_builders|benchmarks|docs|tests|optunahub|compat|lmsearcher|\\.ci|\\.github"
A_PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./-]*\w")
PLACEHOLDER = re.compile(r"[A-Z]{3,}(?![a-z.])|/[A-Z]\.|\.\.\.")  # yaml/NAME.yaml, yaml/BASE_ARM.yaml
A_COMMAND = re.compile(r"python3? -m ((?:search|data_builders|benchmarks|lmsearcher)(?:\.\w+)*)((?:[^\n`|;&#(]|\\\n)*)")
MADE = re.compile(r"data_builders\.\w+ (models/[\w.-]+)")  # a folder that a command makes
PARSED = ("search.run", "search.exam", "search.report", "search.stamp", "data_builders.build", "data_builders.check")


@cache
def tracked(*patterns: str) -> tuple[str, ...]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: the tracked files are unknown")
    return tuple(name for name in listed.stdout.split("\n") if name and (REPOSITORY / name).is_file())


def documents() -> tuple[str, ...]:
    return tracked("*.md", "*.yaml", "*.yml", "Makefile")


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def test_every_path_exists():
    made = {path for name in documents() for path in MADE.findall(text(name))}
    missing = []
    for name in documents():
        for found in A_PATH.finditer(text(name)):
            path = found[0]
            after = text(name)[found.end() : found.end() + 1]
            if after in ("*", "{", "<") or PLACEHOLDER.search(path) or path in made:
                continue
            if not (REPOSITORY / path).exists() and not (REPOSITORY / f"{path}.py").exists():
                missing.append(f"{name}: {path}")
    assert not missing


def test_every_relative_link_leads_somewhere():
    broken = []
    for name in tracked("*.md"):
        for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text(name)):
            if "://" not in target and not (REPOSITORY / name).parent.joinpath(target).exists():
                broken.append(f"{name}: {target}")
    assert not broken


def commands() -> list[tuple[str, str, str]]:
    """(document, module, the rest of the line) of every `python -m ...` of ours."""
    return [(name, *found) for name in documents() for found in A_COMMAND.findall(text(name))]


def test_every_command_exists():
    modules = {module for _, module, _ in commands()}
    assert len(modules) > 10
    assert not [m for m in sorted(modules) if find_spec(m) is None]


def test_every_option_in_a_command_exists():
    wrong = []
    for name, module, rest in commands():
        if module in PARSED:
            parser = import_module("search.cli.parser" if module == "search.run" else module).parser()
            known = parser._option_string_actions
            wrong += [f"{name}: {module} {o}" for o in re.findall(r"(?<!\S)--[a-z][a-z-]+", rest) if o not in known]
    assert not wrong


def known_sets() -> set[str]:
    """Registered data sets, the sets of the data recipes, and what a documented command builds."""
    sets = set(json.loads(text("dataset_info.json")))
    for recipe in tracked("recipes/data/*.yaml"):
        names = set(yaml.safe_load(text(recipe))["sets"])
        sets |= names | {f"synthetic_for_{n}" for n in names}
    for name in documents():
        built = re.findall(r"--out data/([\w-]+)\.jsonl", text(name)) + re.findall(r"--name ([\w-]+)", text(name))
        sets |= set(built) | {f"{n}_answers" for n in built}
    return sets


def test_every_data_set_is_registered_or_built_by_a_documented_command():
    known, missing = known_sets(), []
    for name in documents():
        named = re.findall(r"(?:^|[\s\"'`(])(?:eval_)?dataset(?:: |=)([a-z][\w,]*)", text(name), re.MULTILINE)
        sets = {s for group in named for s in group.split(",") if s}
        missing += [f"{name}: {s}" for s in sorted(sets - known) if s not in ("my_rows", "my_rows_eval")]
    assert not missing


def python_documents() -> list[str]:
    return [n for n in tracked("*.md") if "```python" in text(n)]


@pytest.mark.parametrize("name", python_documents())
def test_the_python_of_a_document_runs(name, tmp_path):
    """The blocks of one document, one after the other in one program, in an empty folder."""
    blocks = re.findall(r"^```python\n(.*?)^```", text(name), re.MULTILINE | re.DOTALL)
    if name.startswith("optunahub/"):
        pytest.importorskip("optunahub.hub")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    folder = REPOSITORY if name.startswith("optunahub/") else tmp_path  # the hub's own page says where it must be run
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_pages_make_a_site_without_a_dead_link(tmp_path):
    pytest.importorskip("mkdocs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        words, cwd=REPOSITORY, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LM-Searcher" in (tmp_path / "site" / "index.html").read_text()
    assert (tmp_path / "site" / "search" / "tasks" / "hat" / "index.html").is_file()
