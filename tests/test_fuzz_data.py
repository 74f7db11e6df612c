"""A bounded fuzzer of what users hand to the data side: tables, command lines of builders, data recipes.

After any input either a sentence (UserError, or argparse's exit 2) or a right result: no traceback, no hang, no wrong
value. 60 inputs of each kind in the fast tests, always the same ones; 3,000 others of each with `make test-slow`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import signal
import sys
import warnings
from argparse import Namespace
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_builders import build, check, synthetic, table
from data_builders.registry import read_registry
from search.errors import UserError
from search.prompts import FORMATS
from search.tables.columns import read_table

AMOUNTS = [pytest.param(60, id="60 inputs"), pytest.param(3000, id="3000 inputs", marks=pytest.mark.slow)]
LONGEST = 300  # seconds for one input: none needs more than one, on any machine
NUMBERS = ["0", "1", "2", "10", "-3", "0.5", "1.0", "1e3", "7e-5", "1e308", "-1.79e308", "5e-324"]
ODD = ["", " ", "inf", "-inf", "nan", "1e309", "1_0", "007", "x", "a b", "é", "٧", "0x10", "True", "a,b", 'q"q', "00"]
ODD += ["\u202e", "\x1b[31m", "|", "-", "9" * 400, "{", "[1]", "null", "\ufeff", "none", "../x", "a\tb"]


def try_many(amount, strategy, property_):
    """Run the property on `amount` inputs: the same ones for the fast tests, fresh ones for the long run."""
    health = list(HealthCheck)
    options = settings(
        max_examples=amount, deadline=None, suppress_health_check=health, database=None, derandomize=amount < 1000
    )
    options(given(strategy)(property_))()


@contextmanager
def in_time():
    """No input may hang."""

    def stop(*_):
        raise TimeoutError("this input hangs")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(main, *words):
    """'sentence', or what the command returned; anything else that is raised is a finding."""
    patch = pytest.MonkeyPatch()
    patch.setattr(sys, "argv", ["program", *map(str, words)])
    patch.setattr(sys, "stderr", io.StringIO())
    patch.setattr(sys, "stdout", io.StringIO())
    try:
        with in_time():
            return main()
    except UserError as error:
        assert str(error).strip()
        return "sentence"
    except SystemExit as stop:
        assert stop.code in (0, 2), stop.code
        return "sentence"
    finally:
        patch.undo()


# Tables: what is read is what stands in the file.

cells = st.one_of(
    st.sampled_from(NUMBERS), st.sampled_from(NUMBERS), st.sampled_from(ODD), st.integers(-9, 99).map(str)
)
names = st.one_of(
    st.sampled_from(["a", "b", "code", "arch", "acc", "loss", " acc", "acc ", "1", ""]), st.sampled_from(ODD)
)
damages = st.one_of(
    st.none(), st.none(), st.tuples(st.sampled_from(["cut", "flip", "zero", "twice", "page"]), st.floats(0, 1))
)


@st.composite
def csv_files(draw):
    """(header, rows, damage): a small table, now and then with two rows of a code."""
    width = draw(st.integers(1, 5))
    header = draw(st.lists(names, min_size=width, max_size=width))
    few = st.lists(cells, min_size=width, max_size=width)
    rows = draw(st.lists(few, max_size=9))
    if rows and draw(st.booleans()):
        rows.append(list(rows[0]))
    return header, rows, draw(damages)


def written(path, header, rows, damage):
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    data = text.getvalue().encode("utf-8")
    if damage and data:
        kind, place = damage
        at = min(int(place * len(data)), len(data) - 1)
        changes = {
            "cut": data[:at],
            "flip": data[:at] + bytes([data[at] ^ 0x44]) + data[at + 1 :],
            "zero": data[:at] + b"\0" + data[at + 1 :],
            "twice": data[:at] + data[at:] * 2,
            "page": data[:at] + bytes(64) + data[at + 64 :],
        }
        data = changes[kind]
    path.write_bytes(data)


def number(text):
    """What a cell of a metric is worth: None for 'not measured'."""
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def finite_number(text):
    """Whether a cell is plainly written as a number that is not too large."""
    try:
        return set(text) <= set("0123456789+-.eE") and math.isfinite(float(text))
    except ValueError:
        return False


def same_option(one, other):
    """Whether two cells are one option: equal texts, or plainly written numbers of one value."""
    if one == other:
        return True
    try:
        return all(set(t) <= set("0123456789+-.eE") for t in (one, other)) and Decimal(one) == Decimal(other)
    except InvalidOperation:
        return False


@pytest.mark.parametrize("amount", AMOUNTS)
def test_tables(amount, tmp_path):
    path, read = tmp_path / "t.csv", []

    def one(made):
        header, rows, damage = made
        written(path, header, rows, damage)
        if path.read_bytes().startswith(b"\xef\xbb\xbf"):  # the file's own mark, which is no part of the first name
            header = [header[0].removeprefix("\ufeff"), *header[1:]]
        decisions = [h.strip() for h in header[: max(1, len(header) // 2)]]
        for options in ({"decisions": decisions}, {}, {"code_column": decisions[0]}):
            try:
                with in_time():
                    found = read_table(path, **options)
            except UserError as error:
                assert str(error).strip()
                continue
            read.append(1)
            if damage is None:
                compare(found, [h.strip() for h in header], [[c.strip() for c in r] for r in rows], options)

    try_many(amount, csv_files(), one)
    assert len(read) > amount // 20  # the fuzzer must reach sound tables, too


def compare(found, header, rows, options):
    chosen = options.get("decisions") or [options.get("code_column")]
    if chosen == [None]:
        chosen = [next(c for c in ("code", "ncode", "arch") if c in header)]
    at = [header.index(c) for c in chosen]
    kept = [r for r in rows if r]
    keys = [[r[i] for i in at] for r in kept]
    groups: list[list[int]] = []
    alike = [
        same_option if all(map(finite_number, column)) else str.__eq__ for column in zip(*keys)
    ]  # one text: all are
    for i, key in enumerate(keys):
        same = (g for g in groups if all(same(a, b) for same, a, b in zip(alike, keys[g[0]], key)))
        group = next(same, None)
        groups.append([i]) if group is None else group.append(i)
    assert len(found) == len(groups)
    for row, group in enumerate(groups):
        code = found.space.to_codes(found.codes[row : row + 1])[0]
        options_of = list(found.space.decode(code).values())
        if "decisions" in options:
            assert all(str(o) == c or float(o) == float(c) for o, c in zip(options_of, keys[group[0]]))
        else:
            assert "".join(map(str, options_of)) == keys[group[0]][0]
        for metric in found.metrics:
            values = [v for i in group if (v := number(kept[i][header.index(metric)])) is not None]
            mean = sum(v / len(values) for v in values) if values else math.nan
            assert np.isclose(found.metric(metric)[row], mean, rtol=1e-9, atol=5e-324, equal_nan=True), metric


# Command lines: every row that comes out keeps the rules.


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A CSV of 720 codes with two metrics and an infinity."""
    path = tmp_path_factory.mktemp("fuzz") / "runs.csv"
    rng = np.random.default_rng(0)
    lines = ["arch,acc,loss"]
    for code in np.ndindex(4, 3, 5, 2, 6):
        lines.append("".join(map(str, code)) + f",{rng.integers(0, 900) / 10},{rng.normal() * 1e300}")
    lines[7] = lines[7].rsplit(",", 1)[0] + ",inf"
    path.write_text("\n".join(lines) + "\n")
    return path


def option(flag, *values):
    """The option with one of the values, now and then with something odd."""
    return st.one_of(*[st.sampled_from([str(v) for v in values])] * 3, st.sampled_from(ODD)).map(lambda v: (flag, v))


def switch(flag):
    return st.just((flag,))


shared = [
    option("--seed", 0, 3, -1, 10**40),
    option("--candidates", 2, 4, 10, 1, 101),
    option("--candidate-kind", "uniform", "mixed"),
    option("--order", "format", "random", "ascending", "descending"),
    option("--p-decision", 0, 0.3, 1, -0.1),
    option("--p-option", 0, 0.3, 1, 1e-300),
    option("--small", "redraw", "shrink"),
    option("--encoding", "ncode", "domain"),
    option("--shard", "0/1", "1/2", "2/2", "0/9999999999"),
    option("--format", *FORMATS),
    option("--name", "rows", "a b"),
    switch("--no-pruning"),
    switch("--direct"),
    switch("--shuffle-scores"),
]
ROWS = st.sampled_from(["1", "2", "5", "5", "5", "5", "5", "0", "-3", "1e3", str(10**15)])
HISTORY = st.sampled_from(["5", "5-9", "5-9", "5-9", "5-9", "5-9", "9-5", "0", "5-", "-5", "1000", "5_0"])


@pytest.mark.parametrize("amount", AMOUNTS)
def test_command_lines_of_the_table_builder(amount, runs, tmp_path):
    out, built = tmp_path / "rows.jsonl", []
    extra = [
        option("--metric", "loss", "acc"),
        option("--direction", "maximize", "minimize"),
        option("--workers", 1, 0),
    ]
    lines = st.tuples(ROWS, HISTORY, st.lists(st.one_of(*shared, *extra), max_size=4))

    def one(drawn):
        samples, history, parts = drawn
        words = [w for part in parts for w in part]
        out.unlink(missing_ok=True)
        always = ["--source", runs, "--metric", "acc", "--samples", samples, "--history", history, "--workers", 1]
        if outcome(table.main, *always, "--out", out, "--registry", "none", "--quiet", *words) == 0:
            keeps_the_rules(out)
            built.append(1)

    try_many(amount, lines, one)
    assert len(built) > amount // 20


def keeps_the_rules(path):
    found = check.check_file(
        path, Namespace(format=None, tokenizer=None, cutoff_len=0, held_out=[], workers=1, quiet=True)
    )
    assert found["counts"]["rows"] and not found["broken"], found


@pytest.mark.parametrize("amount", [pytest.param(30, id="30 inputs"), AMOUNTS[1]])
def test_command_lines_of_the_synthetic_builder(amount, tmp_path):
    out, built = tmp_path / "rows.jsonl", []
    extra = [
        option("--group", 1, 8, 0),
        option("--per-history", 10, 12, 9),
        option("--answers", 0, 0.5, 1.5),
        switch("--curriculum"),
    ]
    lines = st.tuples(ROWS, HISTORY, st.lists(st.one_of(*shared, *extra), max_size=4))

    def one(drawn):
        samples, history, parts = drawn
        words = ["--format", "append", "--history", history, *(w for part in parts for w in part)]
        out.unlink(missing_ok=True)
        always = ["--samples", samples, "--workers", 1, "--out", out, "--registry", "none", "--quiet"]
        if outcome(synthetic.main, *always, *words) == 0:
            assert all(list(json.loads(t)) == ["instruction", "input", "output"] for t in out.read_text().splitlines())
            built.append(1)

    try_many(amount, lines, one)
    assert len(built) > amount // 20


# Recipes.

value = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from([None, True, 0, 1, -1, 2.5, math.inf, math.nan, 10**30, [], [1], {}, {"a": 1}]),
)
setting = st.dictionaries(
    st.sampled_from(
        "samples seed format history candidates direct order small metric direction of builder xyz".split()
    ),
    value,
    max_size=3,
)


SOUND = (
    {"builder": "table", "metric": "acc", "history": "5-9"},
    {"builder": "synthetic", "history": "5-9"},
    {"builder": "mixed", "of": {"synthetic": 2, "nb101": 1.5}, "history": "5-9"},
    {"builder": "nb101", "history": "5-9"},
)


@st.composite
def recipes(draw):
    """(text, damage) of a sound recipe with something odd in it, or two."""
    recipe = {"common": {}, "sets": {"a": {**draw(st.sampled_from(SOUND))}}}
    for _ in range(draw(st.integers(0, 2))):
        where = draw(st.sampled_from(["setting", "setting", "common", "name", "weight", "builder", "sets", "of all"]))
        sets = recipe["sets"]
        if where == "of all":
            recipe["common"] = draw(value)
        elif where == "common" and isinstance(recipe["common"], dict):
            recipe["common"].update(draw(setting))
        elif where == "sets":
            recipe["sets"] = draw(value)
        elif isinstance(sets, dict) and isinstance(sets.get("a"), dict):
            if where == "setting":
                sets["a"].update(draw(setting))
            elif where == "name":
                sets[draw(st.sampled_from(["", "../a", "a b", "b", 3, None]))] = draw(st.sampled_from(SOUND))
            elif where == "builder":
                sets["a"]["builder"] = draw(value)
            elif isinstance(sets["a"].get("of"), dict):
                sets["a"]["of"]["synthetic"] = draw(value)
    return yaml.safe_dump(recipe, allow_unicode=True), draw(damages)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_recipes(amount, runs, tmp_path):
    path, done = tmp_path / "recipe.yaml", []
    registry = tmp_path / "info.json"

    def one(drawn):
        text, damage = drawn
        data = text.encode("utf-8", "surrogatepass")
        if damage and data:
            at = min(int(damage[1] * len(data)), len(data) - 1)
            data = data[:at] if damage[0] == "cut" else data[:at] + b"\x5b" + data[at + 1 :]
        path.write_bytes(data)
        for old in Path(tmp_path).glob("*.jsonl"):
            old.unlink()
        words = ["--folder", tmp_path, "--registry", registry, "--workers", 1, "--quiet", "--source", f"table={runs}"]
        if outcome(build.main, path, *words, "--samples", 2, "--substitute", "synthetic") == 0:
            done.append(1)
            made = list(Path(tmp_path).glob("*.jsonl"))
            assert made and all(m.stem in read_registry(registry) for m in made)
            for file in made:
                assert len(file.read_text().splitlines()) == 2

    try_many(amount, recipes(), one)
    assert len(done) > amount // 20
