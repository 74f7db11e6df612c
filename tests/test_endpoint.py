"""The endpoint ranker against servers on the loopback interface that answer in every wrong way there is."""

from __future__ import annotations

import gzip
import json
import socket
import time

import numpy as np
import pytest
from fake_server import Server, completion
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.errors import UserError
from search.prompts.encodings import domain_text
from search.rankers import Context, make_ranker
from search.spaces import Seen, Space

SPACE = Space.of_sizes([5] * 6, "toy")
HISTORY = [Seen("012341", 71.5), Seen("333133", 73.4)]
CANDIDATES = ["000000", "111111", "222222", "333333"]


def ranker(server: Server, options: str = "backoff=0", **context):
    return make_ranker(f"endpoint:{server.url}#toy?{options}", Context(SPACE, **context))


def drop(handler, content: bytes = b""):
    """Break the connection, after `content` if there is any."""
    if content:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + content)
        handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def drip(handler):
    """Send a byte now and then, without an end."""
    handler.send_response(200)
    handler.send_header("content-length", "10000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)
    handler.close_connection = True


WRONG = {
    "empty": lambda h, r: (200, completion("")),
    "nothing": lambda h, r: (200, b""),
    "prose": lambda h, r: (200, completion("The history suggests a convolution on every edge.")),
    "two codes": lambda h, r: (200, completion("000000 or 111111")),
    "unicode": lambda h, r: (200, completion("０００００0 \u202e111\u0000 \U0001f600")),
    "off the list": lambda h, r: (200, completion("444444")),
    "cut": lambda h, r: (200, completion("00000")),
    "glued": lambda h, r: (200, completion("000000111111")),
    "not json": lambda h, r: (200, b"<html>busy</html>"),
    "not utf-8": lambda h, r: (200, b'{"choices": "\xff\xfe"}'),
    "deep": lambda h, r: (200, b"[" * 20000),
    "no choices": lambda h, r: (200, json.dumps({"choices": []}).encode()),
    "other shape": lambda h, r: (200, json.dumps([1, "000000"]).encode()),
    "null": lambda h, r: (200, completion(None)),
    "number": lambda h, r: (200, completion(0)),
    "odd usage": lambda h, r: (200, completion("what", usage={"total_tokens": "many"})),
    "huge": lambda h, r: (200, completion("9" * (2 << 20))),
    "half a character": lambda h, r: (200, rb'{"choices": [{"message": {"content": "\ud83d says nothing"}}]}'),
    "endless count": lambda h, r: (200, completion("what", usage={"total_tokens": 0})[:-3] + b"9" * 4200 + b"}}"),
    "bomb": lambda h, r: (200, gzip.compress(gzip.compress(bytes(1 << 24))), [("content-encoding", "gzip, gzip")]),
    "brotli": lambda h, r: (200, b"\x0b\x02\x80hello\x03", [("content-encoding", "br")]),
    "busy": lambda h, r: (429, b"{}", [("retry-after", "0")]),
    "error": lambda h, r: (500, b"Internal Server Error"),
    "gateway": lambda h, r: (502, b""),
    "moved": lambda h, r: (302, b"", [("location", "http://127.0.0.1:9/")]),
    "dropped": lambda h, r: drop(h),
    "cut body": lambda h, r: drop(h, completion("000000")[:20]),
    "slow": lambda h, r: drip(h),
}
RIGHT = {
    "bare": lambda h, r: (200, completion(r.choice(CANDIDATES))),
    "sentence": lambda h, r: (200, completion(f"  The best is {r.choice(CANDIDATES)}.\n")),
    "release": lambda h, r: (200, completion(f"{r.choice(CANDIDATES)};")),
    "parts": lambda h, r: (200, completion([{"type": "text", "text": "111"}, {"type": "text", "text": "111"}])),
}


def test_a_thousand_fuzzed_answers(capsys, monkeypatch):
    """Whatever comes back, the choice is a candidate, the attempts are bounded, and every mishap is counted."""
    monkeypatch.setenv("LMSEARCHER_API_KEY", "sk-secret-12345")
    rng = np.random.default_rng(0)
    kinds = {**WRONG, **RIGHT}
    names = sorted(kinds)
    share = np.array([0.2 if n == "slow" else 1.0 for n in names])
    sent = []

    def answer(body, number, handler):
        sent.append(str(rng.choice(names, p=share / share.sum())))
        return kinds[sent[-1]](handler, rng)

    with Server(answer) as server:
        asked = ranker(server, "backoff=0&timeout=0.8&retries=2")
        at = 0
        questions = 0
        while len(sent) < 1000:
            asked.unanswered = 0
            ranking = asked.rank(HISTORY, CANDIDATES)
            questions += 1
            used, at = sent[at:], len(sent)
            assert ranking.best in CANDIDATES
            assert 1 <= len(used) <= 3 and ranking.info["attempts"] == len(used)
            mishaps = ranking.info["invalid"] + sum(ranking.info["errors"].values())
            assert mishaps == len(used) - (ranking.fallback is None)
            late = ranking.info["errors"].get("timeout", 0)
            assert sum(u in RIGHT for u in used) <= (ranking.fallback is None) + late
            assert ranking.fallback is None or len(used) == 3
            assert ranking.fallback is not None or used[-1] in RIGHT
            assert "secret" not in repr(ranking)
        asked.close()
    assert set(sent) == set(names) and questions > 330
    assert all(h["authorization"] == "Bearer sk-secret-12345" for h in server.headers)
    captured = capsys.readouterr()
    assert "secret" not in captured.out + captured.err


def test_half_a_character_and_an_endless_token_count_can_be_written_down():
    """Both came through JSON unharmed and broke the transcript, which ended the run."""
    strange = completion("000000", usage={"total_tokens": 0})[:-3] + b"9" * 4300 + b"}}"
    strange = strange.replace(b'"000000"', rb'"000000 \udc80"')
    with Server(lambda *_: (200, strange)) as server:
        ranking = ranker(server).rank(HISTORY, CANDIDATES)
    assert ranking.best == "000000" and ranking.tokens == 0 and ranking.fallback is None
    assert json.dumps([ranking.info, ranking.tokens], ensure_ascii=False).encode()


def test_nothing_compressed_is_asked_for_or_unpacked():
    """4 kB of gzip in gzip are 16 MB: an answer that was not asked for is refused before it is opened."""
    bomb = gzip.compress(gzip.compress(bytes(1 << 24)))
    with Server(lambda *_: (200, bomb, [("content-encoding", "gzip, gzip")])) as server:
        ranking = ranker(server, "backoff=0&retries=1").rank(HISTORY, CANDIDATES)
        assert ranking.info["errors"] == {"compressed": 2} and ranking.fallback
        assert all(h["accept-encoding"] == "identity" for h in server.headers)


@pytest.mark.parametrize("key", ["sk-12\n", "  sk-12\t"])
def test_white_space_around_a_key_is_no_part_of_it(monkeypatch, key):
    monkeypatch.setenv("LMSEARCHER_API_KEY", key)
    with Server(lambda *_: (200, completion("000000"))) as server:
        assert ranker(server).rank(HISTORY, CANDIDATES).fallback is None
        assert server.headers[0]["authorization"] == "Bearer sk-12"


@pytest.mark.parametrize("key", ["sk\n12", "sk 12", "sk-\u00e912", "sk\x0012"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(monkeypatch, key):
    monkeypatch.setattr("search.rankers.server.os.environ", {"OPENAI_API_KEY": key})
    with Server(lambda *_: (200, completion("000000"))) as server:
        with pytest.raises(UserError, match="OPENAI_API_KEY holds a space") as refused:
            ranker(server)
        assert key not in str(refused.value) and not server.bodies


BYTES = st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
).map(lambda v: json.dumps(v).encode())
SHAPED = st.text(st.characters(), max_size=60).map(completion)


def test_no_reply_of_any_kind_ends_a_run():
    """300 replies made up by hypothesis: the ranking is a candidate, and can be written into the transcript."""
    now = {}
    with Server(lambda *_: (now["status"], now["reply"])) as server:
        asked = ranker(server, "backoff=0&retries=0&timeout=5")

        @settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(status=st.sampled_from([200] * 6 + [204, 400, 404, 429, 503]), reply=BYTES | SHAPED)
        def ask(status, reply):
            now.update(status=status, reply=reply if status != 204 else b"")
            ranking = asked.rank(HISTORY, CANDIDATES)
            assert ranking.best in CANDIDATES
            assert json.dumps(ranking.info, ensure_ascii=False).encode()

        ask()


def test_a_model_that_reads_operator_text_is_asked_in_it():
    """The searcher of the paper's section 5.4: without this it would silently be asked in digits."""
    space = Space.of_sizes([3, 3], "own")
    texts = {c: domain_text(space, c) for c in ("00", "12", "21")}
    with Server(lambda body, n, h: (200, completion(texts["21"]))) as server:
        asked = make_ranker(f"endpoint:{server.url}#toy?encoding=domain&constrain=choice", Context(space))
        assert asked.rank([Seen("00", 50.0)], ["12", "21"]).best == "21"
        body = server.bodies[0]
    assert f"NCode: {texts['00']}, accuracy: 50.00;" in body["messages"][0]["content"]
    assert body["structured_outputs"]["choice"] == [texts["12"], texts["21"]]
    assert body["max_tokens"] >= 4 * len(texts["21"])


def test_every_server_is_constrained_in_its_own_language():
    sent = {}
    for constrain, reply in [("grammar", "111111"), ("json", '{"answer": "222222"}'), ("regex", "333333")]:
        with Server(lambda *_, reply=reply: (200, completion(reply))) as server:
            best = ranker(server, f"constrain={constrain}").rank(HISTORY, CANDIDATES).best
            assert best in reply
            sent[constrain] = server.bodies[0]
    assert sent["grammar"]["grammar"] == 'root ::= "000000" | "111111" | "222222" | "333333"'
    schema = sent["json"]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == CANDIDATES and schema["required"] == ["answer"]
    assert not {"grammar", "structured_outputs", "response_format"} & set(sent["regex"])


def test_answers_may_be_long_under_either_name_and_begin_with_thinking():
    thinking = "<think>000000 looks weak, 111111 is better.</think>\n\n111111"
    for field in ("max_tokens", "max_completion_tokens"):
        with Server(lambda *_: (200, completion(thinking))) as server:
            assert ranker(server, f"{field}=4000").rank(HISTORY, CANDIDATES).best == "111111"
            named = {k: v for k, v in server.bodies[0].items() if k.startswith("max_")}
            assert named == {field: 4000}


def test_the_answer_is_constrained_and_still_verified():
    with Server(lambda body, n, h: (200, completion("444444" if n == 0 else "222222"))) as server:
        ranking = ranker(server).rank(HISTORY, CANDIDATES)
        assert ranking.best == "222222" and ranking.info["invalid"] == 1 and ranking.tokens == 100
        body = server.bodies[0]
        assert body["structured_outputs"] == {"choice": CANDIDATES} and body["regex"] == "(000000|111111|222222|333333)"
        assert (
            body["messages"][0]["role"] == "user"
            and "NCode: 333133, accuracy: 73.40;" in body["messages"][0]["content"]
        )
        assert body["temperature"] == 0.0 and server.bodies[1]["temperature"] == 1.0 and body["model"] == "toy"


def test_a_server_that_refuses_unknown_fields_is_asked_without_them():
    def strict(body, number, handler):
        return (400, b"unknown field") if "structured_outputs" in body else (200, completion("111111"))

    with Server(strict) as server:
        asked = ranker(server)
        first, second = asked.rank(HISTORY, CANDIDATES), asked.rank(HISTORY, CANDIDATES)
        assert first.best == second.best == "111111" and first.info["attempts"] == 1 and len(server.bodies) == 3


def test_the_release_prompt_can_be_sent_as_the_authors_sent_it():
    with Server(lambda body, n, h: (200, completion("000000;"))) as server:
        ranking = ranker(server, "role=system&constrain=none", format="release").rank(HISTORY, CANDIDATES)
        assert ranking.best == "000000"
        assert server.bodies[0]["messages"] == [
            {"role": "system", "content": "333133|1.0000,012341|0.0000,000000;111111;222222;333333;"}
        ]
        assert "structured_outputs" not in server.bodies[0] and "regex" not in server.bodies[0]


def test_a_server_that_went_away_costs_one_attempt_a_question_after_a_while():
    with Server(lambda body, n, h: (500, b"")) as server:
        asked = ranker(server, "backoff=0&retries=3&fallback=surrogate")
        rankings = [asked.rank(HISTORY, CANDIDATES) for _ in range(6)]
        assert [r.info["attempts"] for r in rankings] == [4, 4, 4, 1, 1, 1]
        assert (
            rankings[0].fallback == "no answer in 4 attempts: 4 x 500"
            and rankings[0].source == "endpoint toy>surrogate"
        )


def test_waits_double_and_respect_what_the_server_asks_for(monkeypatch):
    slept = []
    monkeypatch.setattr("search.rankers.endpoint.time.sleep", slept.append)
    with Server(lambda body, n, h: (429, b"", [("retry-after", "3")]) if n == 1 else (503, b"")) as server:
        ranker(server, "backoff=0.5&retries=5").rank(HISTORY, CANDIDATES)
    assert slept == [0.5, 3.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_run_with_a_sentence(status):
    with (
        Server(lambda body, n, h: (status, b"")) as server,
        pytest.raises(UserError, match="refused the key .* set LMSEARCHER_API_KEY"),
    ):
        ranker(server).rank(HISTORY, CANDIDATES)


def test_specs_are_read_and_refused_in_one_sentence():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    for argument, message in [
        ("", "needs URL#MODEL"),
        ("ftp://host/v1#m", "needs URL#MODEL"),
        (f"{nobody}#toy", "no server answers"),
        (f"{nobody}#toy?timeout=0", "out of range"),
        (f"{nobody}#toy?timeout=inf", "out of range"),
        (f"{nobody}#toy?max_tokens=-1", "out of range"),
        (f"{nobody}#toy?max_tokens=9&max_completion_tokens=9", "both given"),
        (f"{nobody}#toy?encoding=words", "unknown encoding"),
        ("http://127.0.0.1:70000/v1#m", "needs URL#MODEL"),
        (f"{nobody}#toy?tries=3", "unknown ranker option 'tries'"),
        (f"{nobody}#toy?constrain=maybe", "unknown constrain"),
        (f"{nobody}#toy?format=prose", "unknown prompt format"),
    ]:
        with pytest.raises(UserError, match=message):
            make_ranker(f"endpoint:{argument}", Context(SPACE))
    with Server(lambda *_: (200, completion("000000")), models=("served", "other")) as server:
        assert make_ranker(f"endpoint:{server.url}", Context(SPACE)).model == "served"
        assert make_ranker(f"endpoint:{server.url}?retries=1", Context(SPACE)).retries == 1
        user = server.url.replace("//", "//me:hush@") + "#toy"
        assert "hush" not in make_ranker(f"endpoint:{user}", Context(SPACE)).client.shown
    with Server(lambda *_: None, models=()) as server, pytest.raises(UserError, match="lists no model"):
        make_ranker(f"endpoint:{server.url}", Context(SPACE))
