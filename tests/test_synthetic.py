"""The synthetic prior and its rows: deterministic, well formed, answerable, and free of real data."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from data_builders.prior.nano_rows import BLOCK, recipe_hash, rows, stream
from data_builders.prior.terms import TERMS
from data_builders.prior.trajectories import sample_question
from data_builders.prior.worlds import sample_layout, sample_world
from data_builders.synthetic import parse
from search.errors import UserError
from search.prompts.nano import VALUE_BINS, bin_centres, value_bins, value_scores, vocabulary


def test_worlds_are_finite_deterministic_and_use_every_term():
    seen: set[str] = set()
    for seed in range(150):
        rng = np.random.default_rng(seed)
        world = sample_world(rng)
        codes = world.sample(rng, 50)
        assert (codes < world.layout.sizes).all()
        clean = world.clean(codes.astype(np.int64))
        assert clean.shape == (50,) and np.isfinite(clean).all()
        assert np.array_equal(clean, sample_world(np.random.default_rng(seed)).clean(codes.astype(np.int64)))
        seen |= set(world.terms)
    assert seen == set(TERMS)


def test_layouts_cover_small_and_large_spaces():
    layouts = [sample_layout(np.random.default_rng(s)) for s in range(300)]
    decisions = [len(x.sizes) for x in layouts]
    assert min(decisions) <= 3 and max(decisions) > 30 and max(x.sizes.max() for x in layouts) > 15


def test_closed_decisions_do_not_count():
    world = next(w for s in range(500) if (w := sample_world(np.random.default_rng(s))).gate is not None)
    lever, block = world.gate
    codes = np.zeros((2, len(world.layout.sizes)), dtype=np.int64)
    codes[1, block] = world.layout.sizes[block] - 1
    assert world.clean(codes)[0] == world.clean(codes)[1]


def test_questions_hold_distinct_codes_and_no_candidate_was_told():
    for seed in range(30):
        question = sample_question(np.random.default_rng(seed), 24)
        every = {r.tobytes() for r in np.concatenate([question.codes, question.candidates])}
        assert len(every) == len(question.codes) + len(question.candidates)
        assert 3 <= len(question.codes) <= 200 and len(question.values) == len(question.codes)


def test_value_scores_keep_order_and_mark_improvement():
    values = np.array([1.0, 5.0, 2.0, 4.0, 3.0])
    new = np.array([0.0, 1.0, 2.5, 3.0, 5.0, 5.1, 9.0])
    scores = value_scores(values, new)
    assert (np.diff(scores) > 0).all()
    assert value_bins(scores)[5] > value_bins(scores)[4]
    assert value_bins(np.array([-99.0, 99.0])).tolist() == [0, VALUE_BINS - 1]
    assert np.array_equal(value_bins(bin_centres()), np.arange(VALUE_BINS))


def test_value_rows_use_the_vocabulary_only():
    known = set(vocabulary())
    made = rows(5, 0)
    assert len(made) == BLOCK and made == rows(5, 0) != rows(6, 0)
    for row in made[:200]:
        tokens = row["input"].replace("><", ">|<").split("|")
        assert len(tokens) == 25 and set(tokens) <= known and row["output"] in known


def test_answer_rows_name_one_of_their_candidates():
    made = [r for r in rows(1, 0, answers=0.1) if not r["output"].startswith("<v")]
    assert len(made) > 20
    for row in made:
        candidates = [re.sub(r"<[a-z]+:\d+>", "", line) for line in row["input"].split("\n")[1:]]
        assert row["output"] in candidates and len(set(candidates)) == len(candidates)


def test_the_bytes_do_not_depend_on_the_number_of_workers():
    options = {"format": "nano_value", "per_history": 48, "answers": 0.05}
    one, two = ("".join(stream(3, 2100, n, False, options)) for n in (1, 2))
    assert one == two and one.count("\n") == 2100


def test_evidence_of_the_prior_is_informative():
    """The mean of the views picks far better than chance on fresh worlds: the rows have something to teach."""
    from search.prompts.evidence import gather

    marks = []
    for seed in range(60):
        q = sample_question(np.random.default_rng([9, seed]), 24)
        guess = gather(q.codes, q.values, q.candidates).mean.mean(axis=1)
        marks.append((q.truth < q.truth[guess.argmax()]).mean())
    assert np.mean(marks) > 0.6


def test_command_line_writes_rows_answers_and_facts(tmp_path):
    out = tmp_path / "rows.jsonl"
    command = [
        sys.executable,
        "-m",
        "data_builders.synthetic",
        "--samples",
        "300",
        "--answers",
        "0.1",
        "--workers",
        "1",
    ]
    done = subprocess.run(
        [*command, "--out", str(out), "--registry", str(tmp_path / "info.json")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in out.read_text().splitlines()]
    answers = (tmp_path / "rows_answers.jsonl").read_text().splitlines()
    assert len(made) + len(answers) == 300 and answers
    assert json.loads((tmp_path / "rows.meta.json").read_text())["recipe"]
    assert set(json.loads((tmp_path / "info.json").read_text())) == {"rows", "rows_answers"}
    wrong = subprocess.run([*command[:3], "--samples", "0"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr


def test_the_recipe_is_known_by_its_rows_not_by_its_source_text(monkeypatch):
    first = recipe_hash()
    assert re.fullmatch("[0-9a-f]{12}", first) and recipe_hash() == first
    real = TERMS["main"]

    def same_numbers_other_text(*args, **options):
        return real(*args, **options)

    monkeypatch.setitem(TERMS, "main", same_numbers_other_text)
    assert recipe_hash() == first
    monkeypatch.undo()
    monkeypatch.setattr("data_builders.prior.nano_rows.EASY", (7, 0.1))
    assert recipe_hash() != first


def test_one_help_text_shows_every_option(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = capsys.readouterr().out
    wanted = (
        "samples seed out name registry workers format quiet per-history answers curriculum group history candidates"
    )
    assert all(f"--{option}" in shown for option in wanted.split())


@pytest.mark.parametrize(
    "words",
    [
        ["--history", "5-20"],
        ["--group", "8"],
        ["--format", "paper", "--answers", "0.5"],
        ["--format", "paper", "--curriculum"],
        ["--format", "papre"],
        ["--group", "0", "--format", "paper"],
    ],
)
def test_options_of_the_other_kind_of_rows_are_refused(words):
    with pytest.raises(UserError):
        parse(words)


def test_text_rows_come_from_the_same_command(tmp_path, monkeypatch, capsys):
    from data_builders import synthetic

    words = ["--format", "append", "--samples", "8", "--history", "5-8", "--workers", "1", "--registry", "none"]
    monkeypatch.setattr("sys.argv", ["synthetic", *words, "--quiet", "--out", str(tmp_path / "rows.jsonl")])
    assert synthetic.main() == 0
    made = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(made) == 8 and all("Candidate:" in row["input"] for row in made)
