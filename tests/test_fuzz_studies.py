"""A bounded fuzzer of what a study meets: damaged journals, command lines, recipes.

After any damage either a sentence, or trials whose value is their code's and a study that goes on. After any command
line or recipe either settings of the right kinds or a sentence: no traceback, no hang. 60 inputs of each kind in the
fast tests, always the same ones; 3,000 others of each with `make test-slow`.
"""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from search import Space, Study, UserError
from search.cli.checks import FLAGS, NAMES, WHOLE
from search.cli.options import DEFAULTS, settings
from search.studies.journal import SEALED

AMOUNTS = [pytest.param(60, id="60 inputs"), pytest.param(3000, id="3000 inputs", marks=pytest.mark.slow)]
SPACE = Space.of_sizes([4] * 6)
KINDS = ("truncate", "flip", "double", "lose", "swap", "zero a page", "zero a record", "garbage", "move")


def value_of(code: str) -> float:
    return float(int(code, 4)) + 0.25


@cache
def whole_journal() -> bytes:
    """A journal of 40 told and 2 open trials; four each were open at once and told in another order."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study(SPACE, sampler="random", storage=Path(folder) / "journal.log")
        for i in range(10):
            for trial in sorted((study.ask() for _ in range(4)), key=lambda t: t.code):
                study.tell(trial, value_of(trial.code) if i % 4 else None)
        study.ask(), study.ask()
        return (Path(folder) / "journal.log").read_bytes()


def damaged(data: bytes, kind: str, where: float, length: int) -> bytes:
    """The journal with one damage: at a record, or at any byte."""
    records = data.splitlines(keepends=True)
    i, at = int(where * (len(records) - 1)), int(where * (len(data) - 1))
    start = sum(map(len, records[:i]))
    if kind == "truncate":
        return data[:at]
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ (1 << length % 8)]) + data[at + 1 :]
    if kind == "zero a page":
        return data[:start] + b"\0" * len(data[start : start + 4096]) + data[start + 4096 :]
    if kind == "zero a record":
        return data[:start] + b"\0" * len(records[i]) + data[start + len(records[i]) :]
    if kind == "garbage":
        return data[:at] + b"\xff#{" * (1 + length % 9) + data[at:]
    j = min(len(records) - 1, i + 1 + length % 5)
    if kind == "double":
        records.insert(j, records[i])
    elif kind == "lose":
        del records[i:j]
    elif kind == "swap":
        records[i], records[j] = records[j], records[i]
    else:
        records.insert(j, records.pop(i))
    return b"".join(records)


DAMAGE = st.tuples(st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 63))


@pytest.mark.parametrize("amount", AMOUNTS)
def test_damaged_journals(amount):
    refused: list[bool] = []

    def no_wrong_value(damages: list[tuple[str, float, int]]) -> None:
        data = whole_journal()
        for damage in damages:
            data = damaged(data, *damage) if data else data
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "journal.log"
            path.write_bytes(data)
            try:
                study = Study(SPACE, sampler="random", storage=path)
                study.store.reap(exclusive=True)
                study.run(lambda code, seed: value_of(code), len(study.trials) + 2)
            except UserError as error:
                assert "is damaged at record" in str(error) and path.read_bytes() == data
                refused.append(True)
                return
            refused.append(False)
            again = Study(SPACE, sampler="random", storage=path)
            told = [t for t in again.trials if t.state == "COMPLETE"]
            assert [t.value for t in told] == [value_of(t.code) for t in told]
            assert len({t.code for t in again.trials}) == len(again.trials)
            assert all(SEALED.search(line) for line in path.read_bytes().splitlines(keepends=True))

    try_many(amount, st.lists(DAMAGE, min_size=1, max_size=2), no_wrong_value)
    assert len(refused) >= amount and True in refused and False in refused


ODD = ["", " ", "0", "1", "-1", "5", "1e9", "inf", "nan", "1_0", "true", "null", "[]", "[1]", "{a: 1}", "a,b", "0-3"]
ODD += [
    "9" * 30,
    "0-99999999999",
    "\x1b[31m",
    "\u202e",
    "\0",
    "é",
    "../x",
    "/",
    "x" * 300,
    "2001-99-99",
    "!!python/x",
    "'",
]
VALUE = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from(["nb201/cifar10", "random", "surrogate", "tpe", "mixed", "maximize", "paper", "best", "0,2", "12"]),
    st.text(max_size=8),
)
KEY = st.sampled_from([*DEFAULTS, "preset", "name", "budgit", ""])
LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), VALUE, st.lists(st.integers(), max_size=2), st.dates()
)
NEST = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(VALUE, inner, max_size=3))


def right_or_refused(argv: list[str]) -> bool:
    """Whether the settings were taken; they must be of their kinds then. Anything else must be a sentence."""
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            merged, _ = settings(argv)
    except UserError as error:
        assert str(error) and str(error).isprintable() and len(str(error)) < 2000
        return False
    except SystemExit as ended:  # argparse: a usage line and exit code 2, or 0 for --help
        assert ended.code in (0, 2)
        return False
    for key, (least, most) in WHOLE.items():
        assert merged[key] is None or (type(merged[key]) is int and least <= merged[key] <= most)
    assert merged["timeout"] is None or 0 < merged["timeout"] < math.inf
    assert all(type(s) is int and 0 <= s < 2**32 for s in merged["seeds"]) and 0 < len(merged["seeds"]) <= 10_000
    assert all(type(merged[key]) is bool for key in FLAGS)
    assert all(merged[key] is None or type(merged[key]) is str for key in NAMES)
    assert Path(merged["out"]).name == merged["study"] or merged["study"]
    return True


FLAG = st.sampled_from([f"--{k.replace('_', '-')}" for k in DEFAULTS if k not in ("arms", "resume")] + ["--preset"])
ARGUMENT = st.one_of(
    st.tuples(KEY, VALUE).map(lambda pair: ["=".join(pair)]),
    st.tuples(FLAG, VALUE).map(list),
    VALUE.map(lambda v: [v]),
)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_command_lines(amount):
    taken: list[bool] = []

    def one(arguments: list[list[str]]) -> None:
        taken.append(right_or_refused(["--task", "nb201/cifar10", *(a for part in arguments for a in part)]))

    try_many(amount, st.lists(ARGUMENT, max_size=3), one)
    assert len(taken) >= amount and True in taken and False in taken


ARMS = st.dictionaries(
    st.sampled_from(["a", "b", "../x", ""]), st.dictionaries(KEY, LEAF, max_size=2) | LEAF, max_size=2
)
RECIPE = st.dictionaries(KEY, NEST, max_size=4) | NEST | st.fixed_dictionaries({"arms": ARMS, "budget": LEAF})


@pytest.mark.parametrize("amount", AMOUNTS)
def test_recipes(amount, tmp_path):
    taken: list[bool] = []

    def one(recipe: object) -> None:
        if isinstance(recipe, dict) and len(taken) % 3:
            recipe = {"task": "nb201/cifar10"} | recipe
        path = tmp_path / "r.yaml"
        path.write_text(yaml.safe_dump(recipe, allow_unicode=True), "utf-8", "surrogatepass")
        taken.append(right_or_refused(["--recipe", str(path)]))

    try_many(amount, RECIPE, one)
    assert len(taken) >= amount and True in taken and False in taken


def try_many(amount: int, strategy: st.SearchStrategy, property_) -> None:
    """Run the property on `amount` inputs: the same ones for the fast tests, fresh ones for the long run."""
    options = hypothesis_settings(
        max_examples=amount,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=amount < 1000,
    )
    options(given(strategy)(property_))()
