"""The format `stamped`: how histories are written, how rows are built, and that LLaMA-Factory reads exactly those
tokens.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from data_builders.prior.easy import Easy, sample_easy
from data_builders.prior.stamped_rows import BLOCK, STAGES, block_rows, plan_of, stream, tokens_of
from search.errors import UserError
from search.prompts import format_hash, get_format
from search.prompts.stamped import (
    BINS,
    MARKERS,
    OPTIONS,
    SIZE,
    bins_of,
    entries,
    mid_ranks,
    naming,
    shown_decisions,
    steady_bins,
    text,
    vocabulary,
)
from search.spaces import Seen


def test_an_entry_is_asked_answered_and_written_again():
    ids = entries(np.array([[1, 1, 0]]), np.array([15]), np.array([1, 2, 6]))
    assert text(ids[0]) == "b1:? c1:? g0:? = v15 b1:15 c1:15 g0:15"


def test_every_word_has_one_id():
    words = vocabulary()
    assert len(words) == len(set(words)) == SIZE and words[-1] == "p9:19"


def test_the_format_is_registered_and_asks_for_the_first_candidate():
    history = [Seen("110", 3.0), Seen("001", 1.0)]
    prompt = get_format("stamped").render(history, ["101", "111"])
    first = "a1:? b1:? c0:? = v15 a1:15 b1:15 c0:15 a0:? b0:? c1:? = v5 a0:5 b0:5 c1:5 "
    assert prompt.text == first + "a1:? b0:? c1:? =" and len(format_hash("stamped")) == 12


@pytest.mark.parametrize("bad", [[Seen("01", 1.0), Seen("011", 2.0)], [Seen("01", float("nan"))], [Seen("0A", 1.0)]])
def test_wrong_histories_are_refused(bad: list[Seen]):
    with pytest.raises(UserError):
        get_format("stamped").render(bad, ["00"])


def test_ties_share_their_rank():
    assert mid_ranks(np.array([1.0, 2.0, 2.0, 3.0])).tolist() == [0.125, 0.5, 0.5, 0.875]
    assert bins_of(np.array([0.0, 0.5, 1.0])).tolist() == [0, 10, BINS - 1]


def test_steady_bins_stay_near_the_ranks_and_depend_on_the_order_of_values_alone():
    values = np.random.default_rng(0).normal(size=80)
    bins = steady_bins(values)
    assert np.array_equal(bins, steady_bins(np.exp(values))) and len(steady_bins(values[:0])) == 0
    assert np.all(np.abs(bins + 0.5 - mid_ranks(values) * BINS) <= 1.0 + 1e-9)


def test_most_bins_stay_when_a_history_grows():
    values = np.random.default_rng(1).normal(size=60)
    kept = [np.array_equal(steady_bins(values[: n + 1])[:n], steady_bins(values[:n])) for n in range(30, 59)]
    plain = [
        np.array_equal(bins_of(mid_ranks(values[: n + 1]))[:n], bins_of(mid_ranks(values[:n]))) for n in range(30, 59)
    ]
    assert np.mean(kept) > np.mean(plain) + 0.2


def test_names_tell_decisions_and_options_apart():
    rng = np.random.default_rng(2)
    codes, new = rng.integers(0, 5, (20, 6)).astype(np.uint8), rng.integers(0, 5, (4, 6)).astype(np.uint8)
    for seed in (None, 0, 1, 2, 3):
        names = naming(codes, np.arange(20), new, seed)
        told = names.entries(codes, np.arange(20))
        assert len(np.unique(names.markers)) == 6 and names.markers.max() < MARKERS and names.words.max() < OPTIONS
        assert len(np.unique(told[:, :6], axis=0)) == len(np.unique(codes, axis=0))
        assert np.array_equal(names.questions(codes)[:, :6], told[:, :6])


def test_a_large_space_shows_the_decisions_that_matter():
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 3, (60, 48)).astype(np.uint8)
    bins = bins_of(mid_ranks(codes[:, 41] * 3.0 + codes[:, 7] + 0.01 * rng.normal(size=60)))
    shown = shown_decisions(codes, bins)
    assert len(shown) == MARKERS and {7, 41} <= set(shown.tolist()) and np.all(np.diff(shown) > 0)


def test_more_options_than_words_share_them_in_order():
    codes = np.arange(30, dtype=np.uint8)[:, None]
    numbers = naming(codes, np.arange(30) % BINS, codes[:1]).numbers(codes)[:, 0]
    assert np.all(np.diff(numbers) >= 0) and set(numbers.tolist()) == set(range(OPTIONS))
    few = np.array([[3], [17], [29]], dtype=np.uint8)
    assert len(set(naming(few, np.arange(3), few).numbers(few)[:, 0].tolist())) == 3


@pytest.mark.parametrize("level", [0, 1, 2])
def test_easy_worlds_are_answered_by_their_codes(level: int):
    batch = sample_easy(np.random.default_rng(level), 12, 300, Easy((2, 4), (2, 3), level))
    spread = []
    for codes, values, d in zip(batch.codes, batch.values, batch.decisions, strict=True):
        _, of = np.unique(codes[:, :d], axis=0, return_inverse=True)
        means = np.bincount(of, values) / np.bincount(of)
        spread.append(np.var(values - means[of]) / np.var(values))
    assert np.mean(spread) < (1e-9 if level == 0 else 0.25)


@pytest.mark.parametrize("name", STAGES)
def test_rows_fit_their_length_and_ask_for_entries_of_one_world(name: str):
    rows = block_rows(5, name, 3)
    assert len(rows) == BLOCK and rows == block_rows(5, name, 3) != block_rows(6, name, 3)
    for row in rows:
        assert tokens_of([row]) <= max(STAGES[name].lengths)
        markers = {word[0] for word in row["input"].split() if word.endswith(":?")}
        questions = [u for u, _ in row["history"]] + [row["input"]]
        assert all({w[0] for w in u.split() if ":" in w} == markers for u in questions)
        assert all(a in vocabulary()[6 : 6 + BINS] for _, a in row["history"]) and row["output"].startswith("v")


def test_any_number_of_workers_writes_the_same_rows():
    plan = plan_of(["easy=2e4", "small=3e4"])
    one, two = (list(stream(3, plan, workers)) for workers in (1, 2))
    assert one == two and ["easy" in counts for _, counts in one] == sorted(("easy" in c for _, c in one), reverse=True)


def test_a_stream_goes_on_where_it_stopped():
    plan = plan_of(["easy=2e4", "small=6e4"])
    whole = list(stream(3, plan, 1))
    made = sum((counts for _, counts in whole[:3]), Counter())
    assert list(stream(3, plan, 1, made)) == whole[3:]


@pytest.mark.parametrize("text", ["easy", "esy=1e6", "easy=many", "easy=0"])
def test_wrong_stages_are_refused(text: str):
    with pytest.raises(UserError):
        plan_of([text])


def test_the_command_writes_and_registers_rows(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{}")
    out, registry = tmp_path / "raw.jsonl", tmp_path / "dataset_info.json"
    command = [sys.executable, "-m", "data_builders.synthetic", "--format", "stamped", "--stage", "easy=15000"]
    subprocess.run([*command, "--workers", "1", "--out", out, "--registry", registry], check=True)
    facts = json.loads(out.with_suffix(".meta.json").read_text())
    assert json.loads(registry.read_text())["raw"]["columns"]["history"] == "history"
    assert facts["tokens"]["easy"] >= 15000 and facts["recipe"] and len(facts["sha256"]) == 64
    assert all(set(json.loads(line)) == {"instruction", "input", "output", "history"} for line in out.open())


def test_llama_factory_reads_exactly_the_words_and_learns_every_answer():
    pytest.importorskip("llamafactory")
    from llamafactory.data.template import parse_template

    from data_builders.raw_model import build_tokenizer

    tokenizer = build_tokenizer()
    template = parse_template(tokenizer)
    row = block_rows(1, "small", 0)[0]
    turns = [*row["history"], [row["input"], row["output"]]]
    messages = [{"role": r, "content": c} for turn in turns for r, c in zip(("user", "assistant"), turn, strict=True)]
    pairs = template.encode_multiturn(tokenizer, messages)
    ids = [i for pair in pairs for part in pair for i in part]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>"] + " ".join(w for turn in turns for w in turn).split()
    assert [tokenizer.convert_ids_to_tokens(answer) for _, answer in pairs] == [[a] for _, a in turns]
    assert len(ids) == tokens_of([row])
