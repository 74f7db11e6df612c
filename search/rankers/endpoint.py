"""Any OpenAI-compatible server as a ranker: `endpoint:http://127.0.0.1:8000/v1#MODEL` (llamafactory-cli api, vLLM,
SGLang, ...).

The answer is constrained to the candidates where the server can do that (vLLM's structured_outputs, SGLang's regex) and
verified in any case: servers that do not know such a field ignore it without a word. A key is taken from
LMSEARCHER_API_KEY or OPENAI_API_KEY. Options follow a '?', for example
`endpoint:http://host:8000/v1#MODEL?timeout=20&fallback=surrogate`:

retries   further attempts after a failed request or an answer that names no candidate (default 3)
timeout   seconds for one whole request, however slowly the server sends (default 60)
backoff   seconds before the first retry, doubled each time, 8 at most (default 0.5)
fallback  who answers when the server did not: random (default), surrogate or knn; counted and reported
format    prompt format the served model was trained with (default paper); same as --format
role      user (default), or system: the whole prompt as a system message, as the authors' script sent it
constrain auto (default: both fields, dropped if the server refuses them), choice, regex or none
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from search.errors import UserError
from search.prompts.formats import Format, get_format
from search.rankers.base import Context, Ranker, Ranking
from search.rankers.spec import ROLES, fall_back, make_fallback, one_of, split_options, text_hash
from search.spaces import Seen

DEFAULTS = {
    "retries": 3,
    "timeout": 60.0,
    "backoff": 0.5,
    "fallback": "random",
    "format": None,
    "role": "user",
    "constrain": "auto",
}
CONSTRAINTS = ("auto", "choice", "regex", "none")
KEYS = ("LMSEARCHER_API_KEY", "OPENAI_API_KEY")
LONGEST_ANSWER = 1 << 20
LONGEST_WAIT = 8.0
PROBE_SECONDS = 10.0
GIVE_UP_AFTER = 3  # questions without an answer in a row; from then on one attempt each


class Refused(Exception):
    """A request that failed. kind: what is counted; wait: seconds the server asked for, if any."""

    def __init__(self, kind: str, wait: float | None = None):
        super().__init__(kind)
        self.kind, self.wait = kind, wait


class Client:
    """JSON over HTTP with a hard limit on the time and size of one exchange. The loop runs in a thread of its own."""

    def __init__(self, url: str, timeout: float):
        try:
            import httpx
        except ImportError as error:
            raise UserError(
                f"ranker endpoint needs the package httpx ({error}) - install it with pip install -e '.[serve]'"
            ) from error
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(
                f"ranker endpoint was given '{url}' - it needs URL#MODEL - for example"
                " endpoint:http://127.0.0.1:8000/v1#lm-searcher"
            )
        self.url, self.timeout = url.rstrip("/"), timeout
        self.shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        key = next((os.environ[k] for k in KEYS if os.environ.get(k)), None)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        self._httpx = httpx
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=not local)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        """The decoded JSON answer; Refused for everything that is not one."""
        waiting = asyncio.wait_for(self._exchange(method, path, body), min(self.timeout, timeout or self.timeout))
        try:
            status, headers, content = asyncio.run_coroutine_threadsafe(waiting, self._loop).result()
        except (TimeoutError, self._httpx.TimeoutException):
            raise Refused("timeout") from None
        except self._httpx.ConnectError:
            raise Refused("unreachable") from None
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError):
            raise Refused("connection") from None
        if status != 200:
            raise Refused(str(status), _seconds(headers.get("retry-after")))
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise Refused("malformed") from None

    async def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any, bytes]:
        async with self._client.stream(method, self.url + path, json=body) as response:
            content = bytearray()
            async for block in response.aiter_bytes():
                content += block
                if len(content) > LONGEST_ANSWER:
                    raise self._httpx.DecodingError("too long")
            return response.status_code, response.headers, bytes(content)

    def close(self) -> None:
        """Close connections and stop the loop."""
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


class EndpointRanker(Ranker):
    """Asks a chat-completions server which candidate is best; `client` is anything with Client's `call`, `shown` and
    `close`.
    """

    name = "endpoint"

    def __init__(
        self,
        client: Any,
        model: str,
        prompt_format: Format,
        fallback: Ranker,
        retries: int = 3,
        backoff: float = 0.5,
        role: str = "user",
        constrain: str = "auto",
    ):
        self.client, self.model, self.format, self.fallback = client, model, prompt_format, fallback
        self.retries, self.backoff, self.role, self.constrain = retries, backoff, role, constrain
        self.unanswered = 0

    @classmethod
    def build(cls, argument: str, context: Context) -> EndpointRanker:
        url, hash_mark, rest = argument.partition("#")
        rest, options = split_options(rest if hash_mark else url, DEFAULTS)
        url, model = (url, rest) if hash_mark else (rest, "")
        constrain = one_of("constrain", options["constrain"], CONSTRAINTS)
        role = one_of("role", options["role"], ROLES)
        if options["timeout"] <= 0 or options["retries"] < 0 or options["backoff"] < 0:
            raise UserError(
                "ranker endpoint was given a timeout, retries or backoff out of range - allowed are timeout > 0,"
                " retries >= 0, backoff >= 0"
            )
        if context.format and options["format"] not in (None, context.format):
            raise UserError(
                f"--format {context.format} and format={options['format']} were given - they must agree - leave one out"
            )
        prompt_format = get_format(context.format or options["format"] or "paper")
        fallback = make_fallback(options["fallback"], context)
        client = Client(url, options["timeout"])
        listed = first_model(client)
        if not model and not listed:
            raise UserError(
                f"{client.shown} lists no model - name the one to ask - for example endpoint:{client.shown}#MODEL"
            )
        model = model or listed
        return cls(client, model, prompt_format, fallback, options["retries"], options["backoff"], role, constrain)

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        started = time.perf_counter()
        text = self.format.render(history, candidates).text
        errors: Counter[str] = Counter()
        best, answer, tokens, attempt = None, "", 0, 0
        attempts = 1 if self.unanswered >= GIVE_UP_AFTER else 1 + self.retries
        while best is None and attempt < attempts:
            try:
                answer, used = self._ask(text, candidates, attempt)
                tokens += used
                best = self.format.parse(answer, candidates)
                errors["invalid"] += best is None
            except Refused as refused:
                if refused.kind in ("400", "422") and self.constrain == "auto":
                    self.constrain = "none"  # this server refuses fields that it does not know
                    continue
                if refused.kind in ("401", "403"):
                    raise UserError(
                        f"{self.client.shown} refused the key ({refused.kind}) - set {' or '.join(KEYS)} to one it"
                        " accepts"
                    ) from None
                errors[refused.kind] += 1
                if attempt + 1 < attempts:
                    time.sleep(min(LONGEST_WAIT, max(self.backoff * 2**attempt, refused.wait or 0.0)))
            attempt += 1
        info = {"format": self.format.name, "prompt": text_hash(text), "answer": answer[:200], "attempts": attempt}
        info |= {"invalid": errors.pop("invalid", 0), "errors": dict(errors)}
        spent = {
            "source": f"{self.name} {self.model}",
            "tokens": tokens,
            "seconds": time.perf_counter() - started,
            "info": info,
        }
        self.unanswered = 0 if best is not None else self.unanswered + 1
        if best is None:
            why = ", ".join(
                [f"{n} x {kind}" for kind, n in errors.items()]
                + ([f"{info['invalid']} x no candidate named"] if info["invalid"] else [])
            )
            return fall_back(self.fallback, f"no answer in {attempt} attempts: {why}", history, candidates, **spent)
        return Ranking(best=best, **spent)

    def _ask(self, text: str, candidates: Sequence[str], attempt: int) -> tuple[str, int]:
        """One request; (the text that came back, tokens used)."""
        body = {
            "model": self.model,
            "messages": [{"role": self.role, "content": text}],
            "temperature": 0.0 if attempt == 0 else 1.0,
            "max_tokens": 4 * max(map(len, candidates)) + 16,
            "stream": False,
        }
        if self.constrain in ("auto", "choice"):
            body["structured_outputs"] = {"choice": list(candidates)}
        if self.constrain in ("auto", "regex"):
            body["regex"] = "(" + "|".join(candidates) + ")"
        reply = self.client.call("POST", "/chat/completions", body)
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
        return content, used if isinstance(used, int) and not isinstance(used, bool) and used >= 0 else 0

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


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
        if refused.kind in ("401", "403"):
            raise UserError(
                f"{client.shown} refused the key ({refused.kind}) - set {' or '.join(KEYS)} to one it accepts"
            ) from None
        return ""
    except (KeyError, IndexError, TypeError):
        return ""


def _seconds(text: str | None) -> float | None:
    """A Retry-After header in seconds; None for a date or anything else."""
    try:
        return float(text) if text and float(text) >= 0 else None
    except ValueError:
        return None
