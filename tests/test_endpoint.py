"""The endpoint ranker against servers on the loopback interface that answer in every wrong way there is."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from search.errors import UserError
from search.rankers import Context, make_ranker
from search.spaces import Seen, Space

SPACE = Space.of_sizes([5] * 6, "toy")
HISTORY = [Seen("012341", 71.5), Seen("333133", 73.4)]
CANDIDATES = ["000000", "111111", "222222", "333333"]


def completion(content, **more) -> bytes:
    return json.dumps(
        {"choices": [{"message": {"role": "assistant", "content": content}}], "usage": {"total_tokens": 50}, **more}
    ).encode()


class Server:
    """A chat-completions server; `answer(body, call number)` returns (status, bytes[, headers]) or acts on the handler
    itself.
    """

    def __init__(self, answer, models=("toy",)):
        outer = self
        self.bodies, self.headers = [], []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def reply(self, status, content, headers=()):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self):
                self.reply(200, json.dumps({"data": [{"id": m} for m in models]}).encode())

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.bodies.append(body)
                outer.headers.append(dict(self.headers))
                try:
                    done = answer(body, len(outer.bodies) - 1, self)
                    if done is not None:
                        self.reply(*done)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


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
