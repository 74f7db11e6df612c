"""The nano formats, the shipped model and its ranker.

The model is a real one: it must pick clearly better than chance.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_builders.nano_model import build_tokenizer, smooth_embeddings
from data_builders.prior.nano_rows import codes_text
from data_builders.prior.trajectories import sample_question
from search.errors import UserError
from search.prompts import format_hash, get_format
from search.prompts.nano import NANO, code_of, code_text, vocabulary
from search.rankers import Context, make_ranker
from search.rankers.nano import ANSWERS, FOLDER, MODES, NanoRanker
from search.spaces import Seen, Space

SPACE = Space.of_sizes([4, 4, 4, 3, 3])


def asked(seed: int = 0, n: int = 25, m: int = 10) -> tuple[list[Seen], list[str], np.ndarray]:
    """A history and candidates of an additive world, and the candidates' true values."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.unique(SPACE.sample(rng, 4 * (n + m)), axis=0))[: n + m]
    values = rng.normal(size=(5, 4))[np.arange(5), codes].sum(1)
    texts = SPACE.to_codes(codes)
    return [Seen(c, float(v)) for c, v in zip(texts[:n], values[:n], strict=True)], texts[n:], values[n:]


@pytest.fixture(scope="module")
def ranker() -> NanoRanker:
    return NanoRanker()


def test_formats_are_registered_and_render_one_line_a_candidate():
    history, candidates, _ = asked()
    value, answer = (get_format(name).render(history, candidates) for name in ("nano_value", "nano"))
    assert len(value.input.split("\n")) == len(candidates) == len(answer.input.split("\n")) - 1
    assert all(code_text(code) in answer.input for code in candidates)
    assert len(format_hash("nano")) == 12 and format_hash("nano") == format_hash("nano_value") != format_hash("paper")


def test_answers_are_parsed_or_refused():
    assert NANO.parse(" 0123\n", ["0123", "3210"]) == "0123" == NANO.parse(code_text("0123"), ["0123", "3210"])
    assert NANO.parse("9999", ["0123"]) is None and NANO.parse("0123 3210", ["0123", "3210"]) is None


@pytest.mark.parametrize("code", ["302", "0" * 48 + "a9", "9a" * 30])
def test_marked_codes_come_back(code: str):
    assert code_of(code_text(code)) == code and "<0." in code_text("0" + code)


def test_the_most_promising_candidate_stands_last_whatever_the_order():
    history, candidates, _ = asked()
    text, turned = NANO.render(history, candidates).input, NANO.render(history, candidates[::-1]).input
    averages = [int(x) for x in re.findall(r"<avg:(\d+)>", text)]
    assert text == turned and averages == sorted(averages)


@pytest.mark.parametrize("code", ["01", "0A"])
def test_wrong_codes_are_refused(code: str):
    with pytest.raises(UserError):
        NANO.render([Seen("012", 1.0)], [code])


def test_every_token_is_one_token():
    tokenizer = build_tokenizer()
    history, candidates, _ = asked()
    line = get_format("nano_value").render(history, candidates[:1]).input
    assert len(tokenizer(line, add_special_tokens=False)["input_ids"]) == 25
    assert (
        len(tokenizer("0a3z", add_special_tokens=False)["input_ids"])
        == len(tokenizer(code_text("0a3z"), add_special_tokens=False)["input_ids"])
        == 4
    )
    assert (
        tokenizer.unk_token_id
        not in tokenizer(line + get_format("paper").render(history, candidates).text)["input_ids"]
    )
    assert set(vocabulary()) <= set(tokenizer.get_vocab())


def test_near_levels_start_alike():
    tokens = [f"<add:{i}>" for i in range(64)]
    table = smooth_embeddings(tokens, 64, 0)
    near, far = np.linalg.norm(table[30] - table[31]), np.linalg.norm(table[5] - table[60])
    assert near < far and np.array_equal(table, smooth_embeddings(tokens, 64, 0))


@pytest.mark.parametrize("folder", [FOLDER, ANSWERS])
def test_shipped_folders_are_light_and_stamped(folder: Path):
    assert sum(f.stat().st_size for f in folder.iterdir()) < 5e6
    stamp = json.loads((folder / "prompt_format.json").read_text())
    assert stamp["hash"] == format_hash(stamp["format"])


def test_it_ranks_additive_worlds_far_better_than_chance(ranker: NanoRanker):
    marks = []
    for seed in range(12):
        history, candidates, values = asked(seed)
        marks.append((values < values[candidates.index(ranker.rank(history, candidates).best)]).mean() * 10 / 9)
    assert np.mean(marks) > 0.75


def test_it_ranks_fresh_worlds_of_the_prior(ranker: NanoRanker):
    marks = []
    for seed in range(40):
        q = sample_question(np.random.default_rng([77, seed]), 10)
        codes, history = (
            codes_text(q.candidates),
            [Seen(c, float(v)) for c, v in zip(codes_text(q.codes), q.values, strict=True)],
        )
        marks.append((q.truth < q.truth[codes.index(ranker.rank(history, codes).best)]).mean())
    assert np.mean(marks) > 0.55


def test_order_of_candidates_and_history_does_not_matter(ranker: NanoRanker):
    history, candidates, _ = asked()
    one = dict(zip(candidates, ranker.rank(history, candidates).scores, strict=True))
    other = dict(zip(candidates[::-1], ranker.rank(history[::-1], candidates[::-1]).scores, strict=True))
    assert one.keys() == other.keys() and np.allclose(
        [one[c] for c in candidates], [other[c] for c in candidates], atol=2e-5
    )


def test_the_answer_reading_ranks_too(ranker: NanoRanker):
    """The likelihood of a code as the answer picks far better than chance, with more candidates than fit one prompt as
    well.
    """
    answer = NanoRanker(mode="answer")
    for count in (10, 23):
        marks = []
        for seed in range(12):
            history, candidates, values = asked(seed, m=count)
            ranking = answer.rank(history, candidates)
            marks.append((values < values[candidates.index(ranking.best)]).mean() * count / (count - 1))
        assert np.mean(marks) > 0.7


@pytest.mark.parametrize("mode", MODES)
def test_every_reading_answers_with_a_candidate(mode: str):
    history, candidates, values = asked(3, n=40)
    ranking = make_ranker(f"nano:{mode}", Context(SPACE)).rank(history, candidates)
    assert ranking.best in candidates and len(ranking.scores) == len(candidates) and np.isfinite(ranking.scores).all()
    assert ranking.tokens > 0 and ranking.seconds > 0


def test_an_exam_reads_the_expected_value_and_a_search_expected_improvement():
    history, candidates, _ = asked(3, n=40)
    scores = lambda spec, goal: make_ranker(spec, Context(SPACE, goal=goal)).rank(history, candidates)  # noqa: E731
    assert scores("nano", "search").scores == scores("nano:blend", "search").scores
    for spec in ("nano", "nano:?shown=150", f"nano:{FOLDER}"):
        assert scores(spec, "pick").scores == scores("nano:mean", "pick").scores
    assert scores("nano:blend", "pick").source == "nano" and scores("nano", "pick").source == "nano:mean"
    assert scores("nano", "pick").scores != scores("nano", "search").scores


@pytest.mark.parametrize("sizes", [[2] * 48, [30] * 6, [2, 2]])
@pytest.mark.parametrize("n", [0, 1, 2, 8])
def test_unusual_spaces_and_short_histories_are_answered(ranker: NanoRanker, sizes: list[int], n: int):
    space, rng = Space.of_sizes(sizes), np.random.default_rng(0)
    history = [Seen(c, float(i)) for i, c in enumerate(space.to_codes(space.sample(rng, n)))] if n else []
    candidates = space.to_codes(space.sample(rng, 3))
    assert ranker.rank(history, candidates).best in candidates


def test_constant_histories_are_answered(ranker: NanoRanker):
    history, candidates, _ = asked()
    assert ranker.rank([Seen(s.code, 1.0) for s in history], candidates).best in candidates


@pytest.mark.parametrize(
    "spec", ["nano:meen", "nano:no/such/folder", "nano:#sideways", "nano:?shown=2", "nano:?show=50"]
)
def test_wrong_specs_say_what_is_allowed(spec: str):
    with pytest.raises(UserError):
        make_ranker(spec, Context(SPACE))


def test_another_prompt_format_is_refused(tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.png"))
    (folder / "prompt_format.json").write_text('{"format": "nano", "hash": "000000000000"}')
    with pytest.raises(UserError, match="as this version writes them"):
        NanoRanker(folder)
    (folder / "prompt_format.json").write_text('{"format": "na')
    with pytest.raises(UserError, match="cannot be read"):
        NanoRanker(folder)
    (folder / "prompt_format.json").unlink()
    with pytest.raises(UserError, match="which prompt format"):
        NanoRanker(folder)


@pytest.mark.slow
def test_another_process_gives_the_same_scores(ranker: NanoRanker):
    history, candidates, _ = asked()
    script = (
        "import json, sys; from search.rankers.nano import NanoRanker; from search.spaces import Seen;"
        "h, c = json.load(sys.stdin); print(json.dumps(NanoRanker().rank([Seen(*s) for s in h], c).scores))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([history, candidates]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == list(ranker.rank(history, candidates).scores)


@pytest.mark.slow
def test_it_works_through_chatmodel():
    history, candidates, _ = asked()
    chat = make_ranker("chat:yaml/lmsearcher_nano_chat.yaml", Context(SPACE))
    ranking = chat.rank(history, candidates)
    chat.close()
    assert ranking.best in candidates and ranking.fallback is None
    direct = NanoRanker(mode="answer").rank(history, candidates)
    assert np.allclose(ranking.scores, direct.scores, atol=1e-3)


def test_a_model_loads_without_a_bar_of_its_own(capfd):
    from transformers.utils import logging

    from search.rankers import SHIPPED
    from search.rankers.weights import load_model

    logging.enable_progress_bar()
    load_model(SHIPPED / "raw")
    assert "Loading" not in capfd.readouterr().err and logging.is_progress_bar_enabled()
