"""A model that writes codes: whatever it answers, every evaluated code is valid and new, every attempt is counted."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from fake_server import Server, completion

from data_builders.rows.batch import direct_format
from search.errors import UserError
from search.prompts import get_format
from search.prompts.answers import read_codes
from search.prompts.encodings import domain_text
from search.prompts.stamp import write_stamp
from search.prompts.writing import WRITINGS
from search.rankers import Context, make_ranker
from search.rankers.control import controlled
from search.rankers.replay import ReplayRanker, transcript_line
from search.run import main
from search.spaces import Decision, Seen, Space
from search.studies.study import Study

SPACE = Space.of_sizes([5] * 6, "toy")
WIDE = Space.of_sizes([30] * 5, "wide")
HISTORY = [Seen("012341", 71.5), Seen("333133", 73.4), Seen("000000", 10.0)]


def score(code: str, seed: int = 0) -> float:
    return float(sum(int(c, 36) for c in code))


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        ("333123", ["333123"]),
        ("Architecture: 333123", ["333123"]),
        ("**Architecture:** `333123`.", ["333123"]),
        ("I would avoid 000000.\nArchitecture: 333123", ["333123", "000000"]),
        ("[3, 3, 3, 1, 2, 3]", ["333123"]),
        ("3-3-3-1-2-3 or 4 4 4 4 4 4", ["333123", "444444"]),
        ("<think>000000? no.</think>\n333123", ["333123"]),
        ('{"answer": "333123"}', ["333123"]),
        ("3331234", []),
        ("333125", []),
        ("accuracy 93.331230", []),
        ("333123.5", []),
        ("３３３１２３", []),
        ("", []),
        ("{" * 5000, []),
        ("9" * 100_000, []),
        ("1 " * 50_000, ["111111"]),
    ],
)
def test_codes_are_read_in_every_spelling_and_nothing_else_is(answer, codes):
    assert read_codes(answer, SPACE) == codes


def test_words_are_no_codes_where_codes_have_letters():
    assert read_codes("a great model has depth", WIDE) == [] and read_codes("no fight", WIDE) == []
    assert read_codes("Architecture: 0a1b2", WIDE) == read_codes("`0a1b2`", WIDE) == ["0a1b2"]


def test_operator_text_is_read_back():
    space = Space([Decision("op", ("conv", "pool")), Decision("width", (8, 16, 32))], "own")
    assert read_codes(f"Use {domain_text(space, '12')}.", space, domain=True) == ["12"]


def test_prompts_say_what_a_model_must_know():
    space = Space([Decision("op", ("conv", "pool")), Decision("width", (8, 16, 32))], "own")
    history = [Seen("00", 1.5), Seen("12", 2.5)]
    genius = WRITINGS["genius"].render(space, history, ["00"])
    assert "1. op: 0 = conv, 1 = pool" in genius and "2. width: 0 = 8, 1 = 16, 2 = 32" in genius
    assert genius.index("00: 1.5") < genius.index("12: 2.5") < genius.index("Not allowed: 00.")
    assert "nothing yet" in WRITINGS["genius"].render(space, [], [])
    llambo = WRITINGS["llambo"].render(space, history, [])
    assert llambo.endswith("Performance: 2.6 -> Architecture:") and "Performance: 1.5 -> Architecture: 00" in llambo
    assert "(10 is written a" in WRITINGS["genius"].render(WIDE, [], [])


def test_the_direct_prompt_is_what_direct_rows_are_built_with():
    built = direct_format(get_format("paper")).render(HISTORY, []).text
    assert (
        WRITINGS["direct"].render(SPACE, HISTORY, ["000000"]) == built == get_format("direct").render(HISTORY, []).text
    )
    assert "Candidate" not in built and "NCode: 333133, accuracy: 73.40;" in built


HOSTILE = {
    "empty": lambda r, told: completion(""),
    "prose": lambda r, told: completion("More skip connections would help."),
    "repeat": lambda r, told: completion(str(r.choice(told))),
    "too long": lambda r, told: completion("0123412"),
    "too short": lambda r, told: completion("01234"),
    "digit that is no option": lambda r, told: completion("012349"),
    "words": lambda r, told: completion("zeroes"),
    "unicode": lambda r, told: completion("０１２３４１ \u202e333\u0000"),
    "half a character": lambda r, told: rb'{"choices": [{"message": {"content": "\ud83d 9"}}]}',
    "endless count": lambda r, told: completion("no", usage={"total_tokens": 0})[:-3] + b"9" * 4300 + b"}}",
    "all told": lambda r, told: completion(" ".join(told)),
    "html": lambda r, told: b"<html>busy</html>",
    "null": lambda r, told: completion(None),
    "huge": lambda r, told: completion("1" * (2 << 20)),
    "deep": lambda r, told: b"[" * 20_000,
}


def test_a_thousand_hostile_answers():
    """Every evaluated code is valid and new, no attempt is unbounded, and each is counted once."""
    rng = np.random.default_rng(0)
    sent: list[str] = []
    told: list[str] = ["000000"]

    def answer(body, number, handler):
        kind = str(rng.choice([*HOSTILE, "good"]))
        sent.append(kind)
        if kind == "good":
            return 200, completion("Architecture: " + "".join(str(d) for d in rng.integers(0, 5, 6)))
        return (503, b"busy") if rng.random() < 0.05 else (200, HOSTILE[kind](rng, told))

    lines = []
    with Server(answer) as server:
        ranker = make_ranker(f"write:endpoint:{server.url}#toy?retries=3&backoff=0", Context(SPACE))
        at = {"sent": 0}

        def note(suggestion, history):
            ranking = suggestion.ranking
            used, at["sent"] = sent[at["sent"] :], len(sent)
            mishaps = Counter(ranking.info["errors"])
            assert 1 <= len(used) == ranking.info["attempts"] <= 4
            assert sum(mishaps.values()) == len(used) - (ranking.fallback is None)
            assert (suggestion.origin == "fallback") == (ranking.fallback is not None) == (not ranking.best)
            lines.append(transcript_line(history, suggestion.candidates, ranking))
            json.dumps(lines[-1], ensure_ascii=False).encode()
            ranker.unanswered = 0

        study = Study(SPACE, ranker=ranker, warmup=2, seed=0, transcript=note)
        while len(sent) < 1000:
            trial = study.ask()
            told.append(trial.code)
            study.tell(trial, score(trial.code))
    codes = [t.code for t in study.trials]
    assert len(set(codes)) == len(codes) > 250
    assert all(len(c) == 6 and set(c) <= set("01234") for c in codes)
    assert {t.origin for t in study.trials} == {"warmup", "written", "fallback"}
    assert {"good", *HOSTILE} == set(sent) and len(lines) == len(codes) - 2


def test_what_was_refused_is_told_and_the_next_attempt_samples():
    answers = ["333133", "nothing", "444444"]
    with Server(lambda body, n, h: (200, completion(answers[n]))) as server:
        ranker = make_ranker(f"write:endpoint:{server.url}#toy?backoff=0", Context(SPACE))
        ranking = ranker.compose(HISTORY, lambda c: c != "333133")
        assert ranking.best == "444444" and ranking.tokens == 150 and ranking.source == "write toy"
        assert ranking.info["errors"] == {"taken": 1, "invalid": 1} and ranking.info["invalid"] == 2
        assert [b["temperature"] for b in server.bodies] == [0.0, 1.0, 1.0]
        assert "Not allowed: 333133." in server.bodies[1]["messages"][0]["content"]
        assert len({b["seed"] for b in server.bodies}) == 3


def test_a_server_can_be_held_to_the_space():
    for constrain, key in [("regex", "regex"), ("grammar", "grammar"), ("json", "response_format")]:
        reply = '{"answer": "444444"}' if constrain == "json" else "444444"
        with Server(lambda *_, reply=reply: (200, completion(reply))) as server:
            spec = f"write:endpoint:{server.url}#toy?constrain={constrain}&style=llambo"
            assert make_ranker(spec, Context(SPACE)).compose(HISTORY, lambda c: True).best == "444444"
            body = server.bodies[0]
            assert "[01234][01234]" in json.dumps(body[key]).replace("] [", "][") and body["temperature"] == 0.7


def test_a_run_survives_being_stopped_and_can_be_replayed(tmp_path, monkeypatch):
    """The same codes whether a run is made in one go, in two, or from its transcript without any server."""

    def answer(body, number, handler):  # a model that depends on nothing but the prompt
        rng = np.random.default_rng(len(body["messages"][0]["content"]))
        return 200, completion("".join(str(d) for d in rng.integers(0, 5, 6)))

    table = tmp_path / "toy.csv"
    rng = np.random.default_rng(0)
    table.write_text("code,score\n" + "".join(f"{i:06d},{rng.random()}\n" for i in _codes(400)))
    common = ["--table", str(table), "--code-column", "code", "--metric", "score", "--controls", "none", "--quiet"]
    with Server(answer) as server:
        spec = ["--ranker", f"write:endpoint:{server.url}#toy?backoff=0&retries=1", "--warmup", "2"]
        assert main([*common, *spec, "--budget", "12", "--out", str(tmp_path / "one")]) == 0
        assert main([*common, *spec, "--budget", "6", "--out", str(tmp_path / "two")]) == 0
        assert main(["--resume", "--budget", "12", "--quiet", "--out", str(tmp_path / "two")]) == 0
    replay = ["--ranker", f"replay:{tmp_path / 'one'}", "--warmup", "2"]
    assert main([*common, *replay, "--budget", "12", "--out", str(tmp_path / "three")]) == 0
    codes = [_told(tmp_path / name) for name in ("one", "two", "three")]
    assert codes[0] == codes[1] == codes[2] and len(set(codes[0])) == 12
    summary = json.loads((tmp_path / "one" / "seed-0" / "summary.json").read_text())
    assert summary["ranker"]["calls"] == 10 and summary["ranker"]["tokens"] > 0
    assert summary["origins"]["fallback"] == summary["ranker"]["fallbacks"]
    transcript = [json.loads(x) for x in (tmp_path / "one" / "seed-0" / "ranker.jsonl").read_text().splitlines()]
    assert len(transcript) == 10 and all(t["candidates"] == [] for t in transcript)


def _codes(count: int) -> list[int]:
    rng = np.random.default_rng(1)
    return sorted({int("".join(str(d) for d in rng.integers(0, 5, 6))) for _ in range(count)})


def _told(run) -> list[str]:
    return [json.loads(x)["code"] for x in (run / "seed-0" / "trials.jsonl").read_text().splitlines()]


def test_an_empty_history_is_a_question_too():
    """GENIUS begins with the problem alone: no random warm-up."""
    with Server(lambda *_: (200, completion("444444"))) as server:
        ranker = make_ranker(f"write:endpoint:{server.url}#toy?backoff=0&retries=0", Context(SPACE))
        study = Study(SPACE, ranker=ranker, warmup=0)
        assert study.ask().code == "444444"


def test_a_history_control_reaches_a_model_that_writes():
    seen = []
    with Server(
        lambda body, *_: (seen.append(body["messages"][0]["content"]), (200, completion("444444")))[1]
    ) as server:
        ranker = make_ranker(f"write:endpoint:{server.url}#toy", Context(SPACE))
        negated = controlled(ranker, "negated", 0)
        assert negated.writes and negated.compose(HISTORY, lambda c: True).best == "444444"
    assert "333133: -73.4" in seen[0]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "needs a model"),
        ("nano", "needs a model"),
        ("endpoint:http://127.0.0.1:9/v1#m?style=prose", "unknown style"),
        ("endpoint:http://127.0.0.1:9/v1#m?retries=-1", "out of range"),
        ("endpoint:http://127.0.0.1:9/v1#m", "no server answers"),
        ("chat:none.yaml", "needs an inference YAML"),
    ],
)
def test_wrong_specs_are_refused_in_one_sentence(argument, message):
    with pytest.raises(UserError, match=message):
        make_ranker(f"write:{argument}", Context(SPACE))


def test_a_writer_does_not_choose_and_a_ranker_model_is_not_asked_to_write(tmp_path):
    with Server(lambda *_: (200, completion("444444"))) as server:
        ranker = make_ranker(f"write:endpoint:{server.url}#toy", Context(SPACE))
        with pytest.raises(UserError, match="cannot choose among candidates"):
            ranker.rank(HISTORY, ["000000"])
        with pytest.raises(UserError, match="shows no candidates"):
            make_ranker(f"write:endpoint:{server.url}#toy", Context(SPACE, format="append"))
    (tmp_path / "config.json").write_text("{}")
    write_stamp(tmp_path, "paper")
    chat = tmp_path / "chat.yaml"
    chat.write_text(f"model_name_or_path: {tmp_path}\ntemplate: llama3\n")
    with pytest.raises(UserError, match="trained with 'paper'"):
        make_ranker(f"write:chat:{chat}?style=direct", Context(SPACE))


def test_a_model_behind_llamafactory_writes(tmp_path):
    """An untrained model writes nonsense: attempts end, the fallback is counted, and its stamp chooses the style."""
    pytest.importorskip("llamafactory")
    from tiny_models import write_chat_yaml, write_model

    folder = write_model(tmp_path / "model", "characters")
    write_stamp(folder, "direct")
    ranker = make_ranker(f"write:chat:{write_chat_yaml(tmp_path / 'chat.yaml', folder)}?retries=1", Context(SPACE))
    assert ranker.style.name == "direct"
    first, again = ranker.compose(HISTORY, lambda c: False), ranker.compose(HISTORY, lambda c: False)
    assert first.fallback and first.info["attempts"] == 2 and first.tokens > 0
    assert first.info["answer"] == again.info["answer"], "the same question samples the same answer"
    ranker.close()


def test_an_interrupted_transcript_knows_that_it_was_written(tmp_path):
    line = {
        "key": "k",
        "best": "",
        "scores": None,
        "source": "write toy",
        "tokens": 1,
        "seconds": 0.1,
        "fallback": "none",
    }
    (tmp_path / "ranker.jsonl").write_text(json.dumps(line) + "\n{")
    assert ReplayRanker.build(str(tmp_path), Context(SPACE)).writes
