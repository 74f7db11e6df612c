"""The chat ranker: exact scores with a cache that grows with the history, bounded generation, refusals in one
sentence.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_models import TOKENIZERS, random_history, write_chat_yaml, write_model

from search.errors import UserError
from search.prompts import get_format
from search.prompts.stamp import STAMP, agreed_format, write_stamp
from search.rankers import Context, make_ranker
from search.rankers.chat import ChatRanker, load_chat_model, read_chat_yaml
from search.rankers.control import RandomRanker
from search.rankers.scoring import CachedScorer, PlainScorer, answer_tree, common_prefix
from search.rankers.spec import fit_history, split_options
from search.spaces import Decision, Seen, Space
from search.studies.study import Study

SPACE = Space.of_sizes([5] * 6, "toy")
LETTERS = Space.of_sizes([12, 4, 12, 3, 12, 7], "letters")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: write_model(tmp_path_factory.mktemp(name), name) for name in TOKENIZERS}


@pytest.fixture(scope="module")
def models(folders):
    return {
        name: load_chat_model({"model_name_or_path": str(folder), "template": "llama3"})
        for name, folder in folders.items()
    }


def ranker(models, tokenizer: str, prompt_format: str = "append", **more) -> ChatRanker:
    return ChatRanker(models[tokenizer], get_format(prompt_format), RandomRanker(0), **more)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("prompt_format", ["paper", "append", "release"])
@pytest.mark.parametrize("space", [SPACE, LETTERS], ids=["digits", "letters"])
def test_cached_scores_equal_a_plain_forward_pass_at_every_step(models, tokenizer, prompt_format, space):
    ours = ranker(models, tokenizer, prompt_format)
    plain = PlainScorer(ours.model)
    history = random_history(space, 30)
    for step in (0, 1, 2, 3, 9, 10, 11, 12, 19, 20, 21):
        candidates = [s.code for s in random_history(space, 10, seed=step + 1)]
        got = ours.rank(history[:step], candidates)
        expected = plain.score(
            ours.prompt_ids(history[:step], candidates), [ours.answer_ids(c) for c in candidates]
        ).scores
        np.testing.assert_allclose(got.scores, expected, atol=1e-4)
        assert got.best == candidates[int(np.argmax(expected))]


def test_a_score_is_the_log_probability_of_the_whole_answer_and_its_end(models):
    """Token by token with the bare model, no batch and no cache: another way to the same number."""
    import torch

    ours = ranker(models, "merged")
    codes = ["ab1234", "0ab000", "a1a1a1", "123456", "bbbb11"]
    got = ours.rank(random_history(SPACE, 7), codes)
    prompt = ours.prompt_ids(random_history(SPACE, 7), codes)
    lengths = set()
    for code, score in zip(codes, got.scores):
        answer = ours.answer_ids(code)
        lengths.add(len(answer))
        assert answer[-1] == ours.tokenizer.eos_token_id
        assert ours.tokenizer.decode(answer[:-1]) == code
        total = 0.0
        for i, token in enumerate(answer):
            with torch.inference_mode():
                logits = ours.model(torch.tensor([prompt + answer[:i]])).logits[0, -1]
            total += logits.log_softmax(-1)[token].item()
        assert score == pytest.approx(total, abs=1e-4)
    assert len(lengths) > 1, "the codes should differ in their number of tokens"


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_an_appended_history_costs_only_the_new_lines(models, tokenizer):
    ours = ranker(models, tokenizer)
    history = random_history(SPACE, 60)
    candidates = [s.code for s in random_history(SPACE, 10, seed=99)]
    ours.rank(history[:50], candidates)
    for n in range(51, 60):
        ranking = ours.rank(history[:n], candidates)
        line = len(ours.prompt_ids(history[: n + 1], candidates)) - len(ours.prompt_ids(history[:n], candidates))
        tail = len(ours.prompt_ids([], candidates))
        answers = sum(len(ours.answer_ids(c)) for c in candidates)
        assert ranking.info["reused"] > 0.6 * ranking.info["prompt_tokens"]
        assert ranking.tokens <= line + tail + answers


def test_the_cache_survives_any_order_of_questions(models):
    ours = ranker(models, "characters")
    plain = PlainScorer(ours.model)
    rng = np.random.default_rng(0)
    history = random_history(SPACE, 40)
    for _ in range(12):
        first, last = sorted(rng.integers(0, 40, size=2))
        part = history[first:last]
        candidates = [s.code for s in random_history(SPACE, int(rng.integers(1, 12)), seed=int(rng.integers(1000)))]
        expected = plain.score(ours.prompt_ids(part, candidates), [ours.answer_ids(c) for c in candidates]).scores
        for _ in range(2):
            np.testing.assert_allclose(ours.rank(part, candidates).scores, expected, atol=1e-4)


def test_long_prompts_are_read_in_pieces(models):
    scorer, plain = (
        CachedScorer(models["characters"].engine.model, prefill=32),
        PlainScorer(models["characters"].engine.model, batch=2),
    )
    prompt = list(np.random.default_rng(1).integers(7, 100, size=301))
    answers = [[9, 10, 11, 2], [9, 10, 2], [12, 2], [2], [9, 10, 11, 2]]
    got, expected = scorer.score(prompt, answers), plain.score(prompt, answers)
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-4)
    assert got.computed == 301 + 4 and got.reused == 0
    assert scorer.score(prompt, answers).reused == 300


def test_an_error_inside_the_model_does_not_leave_a_broken_cache(models):
    ours = ranker(models, "characters")
    history, candidates = random_history(SPACE, 12), ["000000", "111111"]
    before = ours.rank(history[:10], candidates).scores
    forward = ours.model.forward
    ours.model.forward = lambda *a, **k: (_ for _ in ()).throw(MemoryError("out of memory"))
    with pytest.raises(MemoryError):
        ours.rank(history, candidates)
    ours.model.forward = forward
    assert ours.rank(history[:10], candidates).scores == pytest.approx(before, abs=1e-4)


def test_answer_trees_share_beginnings():
    tree = answer_tree([[1, 2, 3, 9], [1, 2, 4, 9], [5, 9]])
    assert tree.tokens == (1, 2, 3, 4, 5)
    assert tree.parent == (-1, 0, 1, 1, -1)
    assert tree.depth == (0, 1, 2, 2, 0)
    assert tree.paths[1] == ((-1, 1), (0, 2), (1, 4), (3, 9))
    assert common_prefix([1, 2, 3], [1, 2, 4, 5]) == 2 and common_prefix([], [1]) == 0 and common_prefix([1], [1]) == 1


def test_a_model_that_only_babbles_is_survived_and_counted(models):
    ours = ranker(models, "characters", mode="generate", retries=2)
    candidates = [s.code for s in random_history(SPACE, 10, seed=5)]
    for n in (0, 3, 8):
        ranking = ours.rank(random_history(SPACE, n), candidates)
        assert ranking.best in candidates
        assert ranking.info["attempts"] == ranking.info["invalid"] == 3
        assert ranking.fallback == "no candidate named in 3 answers" and ranking.tokens > 0


def test_generation_takes_the_first_answer_that_names_one_candidate(models, monkeypatch):
    from types import SimpleNamespace

    ours = ranker(models, "characters", mode="generate")
    said = iter(["I think 000000 or 111111", "00000", "The best is 111111."])

    def say(messages, **options):
        return [SimpleNamespace(response_text=next(said), prompt_length=10, response_length=5)]

    monkeypatch.setattr(models["characters"], "chat", say)
    ranking = ours.rank([], ["000000", "111111"])
    assert (ranking.best, ranking.fallback, ranking.info["invalid"], ranking.tokens) == ("111111", None, 2, 45)


@pytest.mark.parametrize("mode", ["score", "generate"])
def test_every_chosen_code_is_a_candidate_over_three_seeds(models, mode):
    chosen = ranker(models, "merged", "paper", mode=mode, retries=0)
    for seed in range(3):
        asked = []
        study = Study(SPACE, seed=seed, ranker=chosen, warmup=3, transcript=lambda s, h, kept=asked: kept.append(s))
        study.run(lambda code, _: float(sum(map(int, code))), 9)
        assert len({t.code for t in study.trials}) == 9
        assert asked and all(s.ranking.best in s.candidates for s in asked)


def test_a_history_beyond_the_context_loses_its_least_useful_part(tmp_path):
    folder = write_model(tmp_path / "short", "characters", context=512)
    chat = load_chat_model({"model_name_or_path": str(folder), "template": "llama3"})
    history, candidates = random_history(SPACE, 120), ["000000", "111111"]
    latest, best = (ChatRanker(chat, get_format(f), RandomRanker(0)) for f in ("append", "paper"))
    for n in range(20, 120, 9):
        for kind in (latest, best):
            ranking = kind.rank(history[:n], candidates)
            assert ranking.info["prompt_tokens"] <= 512
    assert ranking.info["dropped"] > 60
    kept = fit_history(history, lambda h: len(h) <= 30, best=True)
    assert 20 <= len(kept) <= 30 and min(s.value for s in kept) >= max(s.value for s in history if s not in kept)
    assert fit_history(history, lambda h: len(h) <= 30, best=False) == history[-len(kept) :]
    assert [
        len(history[:n]) - len(fit_history(history[:n], lambda h: len(h) <= 30, best=False)) for n in range(29, 46)
    ] == [0] * 2 + [7] * 7 + [14] * 7 + [21]
    with pytest.raises(UserError, match="do not fit"):
        latest.rank(history, [s.code for s in random_history(SPACE, 90, seed=3)])


@pytest.mark.parametrize("prompt_format", ["paper", "append"])
def test_a_resumed_search_with_a_cold_cache_is_the_same_search(models, tmp_path, prompt_format):
    def trials(name: str, *budgets: int) -> list[tuple[str, float]]:
        for budget in budgets:
            chosen = ranker(models, "merged", prompt_format, mode="score")
            study = Study(SPACE, seed=4, ranker=chosen, warmup=3, storage=str(tmp_path / name / "journal.log"))
            study.run(lambda code, _: float(sum(map(int, code))), budget)
        return [(t.code, t.value) for t in study.trials]

    whole = trials("whole", 18)
    assert len(whole) == 18
    assert trials("stopped", 5, 11, 18) == whole


def test_specs_are_read_and_refused_in_one_sentence(tmp_path, folders):
    good = write_chat_yaml(tmp_path / "good.yaml", folders["characters"])
    for argument, message in [
        ("nowhere.yaml", "needs an inference YAML"),
        (f"{good}?mode=guess", "unknown mode 'guess'"),
        (f"{good}?retries=many", "takes a whole number"),
        (f"{good}?mod=score", "did you mean mode"),
        (f"{good}?fallback=chat", "unknown fallback"),
        (f"{good}?mode=generate&role=system", "use mode=score"),
        (f"{good}?format=prose", "unknown prompt format"),
        (str(write_chat_yaml(tmp_path / "gone.yaml", tmp_path / "gone")), "holds no model"),
        (str(write_chat_yaml(tmp_path / "typo.yaml", folders["characters"], "modle: 1")), "cannot load"),
        (
            str(write_chat_yaml(tmp_path / "vllm.yaml", folders["characters"], "infer_backend: vllm")),
            "needs huggingface",
        ),
    ]:
        with pytest.raises(UserError, match=message):
            make_ranker(f"chat:{argument}", Context(SPACE))
    empty = tmp_path / "empty.yaml"
    empty.write_text("template: llama3\n")
    with pytest.raises(UserError, match="names no model"):
        read_chat_yaml(str(empty))
    assert split_options("f?retries=5", {"retries": 3, "mode": "score"}) == ("f", {"retries": 5, "mode": "score"})


def test_a_model_is_only_served_with_the_format_it_was_trained_with(tmp_path, capsys):
    folder = write_model(tmp_path / "model", "characters")
    assert agreed_format("append", [folder]) == "append"
    assert "does not say" in capsys.readouterr().err
    write_stamp(folder, "append")
    assert agreed_format(None, [folder]) == "append"
    path = write_chat_yaml(tmp_path / "m.yaml", folder)
    with pytest.raises(UserError, match="trained with 'append'"):
        make_ranker(f"chat:{path}", Context(SPACE, format="paper"))
    found = make_ranker(f"chat:{path}", Context(SPACE))
    assert found.format.name == "append" and found.rank([], ["000000", "111111"]).best in ("000000", "111111")
    found.close()
    (folder / STAMP).write_text(json.dumps({"format": "append", "hash": "0" * 12}))
    with pytest.raises(UserError, match="another text of format 'append'"):
        agreed_format(None, [folder])
    with pytest.raises(UserError, match="no config.json"):
        write_stamp(tmp_path, "paper")


def test_a_model_trained_on_operator_text_is_asked_in_operator_text(tmp_path, folders):
    space = Space([Decision(f"edge_0_{i}", ("a", "b", "c", "d", "e")) for i in range(3)], "nb201")
    folder = write_model(tmp_path / "model", "characters")
    write_stamp(folder, "paper", "domain")
    path = write_chat_yaml(tmp_path / "m.yaml", folder)
    with pytest.raises(UserError, match="trained with 'domain'"):
        make_ranker(f"chat:{path}?encoding=ncode", Context(space))
    found = make_ranker(f"chat:{path}", Context(space))
    asked = found.tokenizer.decode(found.prompt_ids([Seen("013", 50.0)], ["333", "100"]), skip_special_tokens=True)
    assert (
        "NCode: |zeroize~0|+|skip_connect~0|+|conv3X3~0|, accuracy:"
        " 50.00;\nCandidate:\n|conv3X3~0|+|conv3X3~0|+|conv3X3~0|\n" in asked
    )
    assert found.tokenizer.decode(found.answer_ids("100")[:-1]) == "|skip_connect~0|+|zeroize~0|+|zeroize~0|"
    ranking = found.rank([Seen("013", 50.0)], ["333", "100"])
    assert ranking.best in ("333", "100") and len(ranking.scores) == 2
    found.close()


def test_the_system_role_is_the_serving_template_with_one_system_turn(models):
    ours = ranker(models, "characters", "release", role="system")
    text = ours.format.render(random_history(SPACE, 3), ["000000"]).text
    written = ours.tokenizer.decode(ours.encode(text))
    head, answer = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("system", "assistant"))
    assert written == f"<|begin_of_text|>{head}{text}<|eot_id|>{answer}"
