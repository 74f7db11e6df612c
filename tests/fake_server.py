"""A chat-completions server on the loopback interface whose answers a test decides, one by one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def completion(content: Any, **more: Any) -> bytes:
    """A reply that says `content`."""
    return json.dumps(
        {"choices": [{"message": {"role": "assistant", "content": content}}], "usage": {"total_tokens": 50}, **more}
    ).encode()


class Server:
    """A chat-completions server; `answer(body, call number, handler)` returns (status, bytes[, headers]) or acts on the
    handler itself. bodies, headers: what was asked, in order.
    """

    def __init__(self, answer: Callable[..., Any], models: Sequence[str] = ("toy",)):
        outer = self
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []

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

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
