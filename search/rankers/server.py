"""JSON over HTTP with a chat-completions server: bounded in time and in bytes, whatever the server does.

The key comes from LMSEARCHER_API_KEY or OPENAI_API_KEY; it is never shown, logged or written anywhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from concurrent.futures import TimeoutError as LoopTimeout
from typing import Any
from urllib.parse import urlsplit

from search.errors import UserError

KEYS = ("LMSEARCHER_API_KEY", "OPENAI_API_KEY")
LONGEST_ANSWER = 1 << 20  # bytes on the wire; an answer of ours has a few hundred
PROBE_SECONDS = 10.0  # for the first question to a server, which only asks what it serves
GRACE_SECONDS = 5.0  # how long a call may outlive its deadline before the loop counts as stuck
MOST_TOKENS = 10**9  # a count above it is no count: servers may send integers of thousands of digits
PLAIN = ("", "identity")


class Refused(Exception):
    """A request that failed.

    kind: what is counted.
    wait: seconds the server asked for, if any.
    """

    def __init__(self, kind: str, wait: float | None = None):
        super().__init__(kind)
        self.kind, self.wait = kind, wait


def api_key() -> str | None:
    """The key of the environment without surrounding white space; UserError for one that no header can carry."""
    for name in KEYS:
        key = (os.environ.get(name) or "").strip()
        if not key:
            continue
        if not key.isascii() or not key.isprintable() or " " in key:
            raise UserError(
                f"{name} holds a space, a line feed or another character that no HTTP header carries - a key is one"
                " word of visible ASCII characters - copy it again"
            )
        return key
    return None


class Client:
    """JSON over HTTP with a hard limit on the time and size of one exchange. The loop runs in a thread of its own."""

    def __init__(self, url: str, timeout: float):
        try:
            import httpx
        except ImportError as error:
            raise UserError(
                f"ranker endpoint needs the package httpx ({error}) - install it with pip install -e '.[serve]'"
            ) from error
        parts = _split(url)
        self.url, self.timeout = url.rstrip("/"), timeout
        self.shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        key = api_key()
        # Compressed answers are not asked for and not unpacked: a few kilobytes could become gigabytes.
        headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {key}"} if key else {})
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        self._httpx = httpx
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=not local)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        """The decoded JSON answer; Refused for everything that is not one."""
        limit = min(self.timeout, timeout or self.timeout)
        waiting = asyncio.run_coroutine_threadsafe(
            asyncio.wait_for(self._exchange(method, path, body), limit), self._loop
        )
        try:
            status, headers, content = waiting.result(limit + GRACE_SECONDS)
        except (TimeoutError, LoopTimeout, self._httpx.TimeoutException):
            waiting.cancel()
            raise Refused("timeout") from None
        except self._httpx.ConnectError:
            raise Refused("unreachable") from None
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError):
            raise Refused("connection") from None
        if status != 200:
            raise Refused(str(status), _seconds(headers.get("retry-after")))
        if headers.get("content-encoding", "").strip().lower() not in PLAIN:
            raise Refused("compressed")
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise Refused("malformed") from None

    async def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any, bytes]:
        async with self._client.stream(method, self.url + path, json=body) as response:
            content = bytearray()
            async for block in response.aiter_raw():  # bytes as they came, nothing unpacked
                content += block
                if len(content) > LONGEST_ANSWER:
                    raise self._httpx.DecodingError("too long")
            return response.status_code, response.headers, bytes(content)

    def close(self) -> None:
        """Close connections and stop the loop."""
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


def first_model(client: Any) -> str:
    """The first model that a server lists, '' when it lists none. UserError when nobody answers there at all."""
    try:
        return str(client.call("GET", "/models", timeout=PROBE_SECONDS)["data"][0]["id"])
    except Refused as refused:
        if refused.kind == "unreachable":
            raise UserError(
                f"no server answers at {client.shown} - ranker endpoint needs one - start it, for example"
                " llamafactory-cli api FILE"
            ) from None
        raise_if_key_refused(client, refused)
        return ""
    except (KeyError, IndexError, TypeError):
        return ""


def chosen_model(client: Any, model: str) -> str:
    """The model that was named, else the first one listed; UserError when there is neither, or no server."""
    listed = first_model(client)
    if not model and not listed:
        raise UserError(
            f"{client.shown} lists no model - name the one to ask - for example endpoint:{client.shown}#MODEL"
        )
    return model or listed


def raise_if_key_refused(client: Any, refused: Refused) -> None:
    """UserError when the server said that it does not take our key: no further attempt can succeed."""
    if refused.kind in ("401", "403"):
        raise UserError(
            f"{client.shown} refused the key ({refused.kind}) - set {' or '.join(KEYS)} to one it accepts"
        ) from None


def completion_text(reply: Any) -> tuple[str, int]:
    """(the assistant's text, tokens used) of a chat-completions reply; Refused when it has another shape.

    The text is valid Unicode (a lone surrogate becomes '?'), and a token count is a number that one can add up.
    """
    try:
        content = reply["choices"][0]["message"]["content"]
        usage = reply.get("usage") or {}
        used = usage.get("total_tokens", 0)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Refused("malformed") from None
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(content, str):
        raise Refused("malformed")
    counted = isinstance(used, int) and not isinstance(used, bool) and 0 <= used <= MOST_TOKENS
    return content.encode("utf-8", "replace").decode("utf-8"), used if counted else 0


def _split(url: str) -> Any:
    """The parts of an http(s) URL; UserError for anything else, a port out of range included."""
    wrong = UserError(
        f"ranker endpoint was given '{url}' - it needs URL#MODEL - for example endpoint:http://127.0.0.1:8000/v1"
        "#lm-searcher"
    )
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises ValueError when it is no port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong
    return parts


def _seconds(text: str | None) -> float | None:
    """A Retry-After header in seconds; None for a date or anything else."""
    try:
        return float(text) if text and float(text) >= 0 else None
    except ValueError:
        return None
