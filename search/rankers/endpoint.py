"""Any OpenAI-compatible server as a ranker: `endpoint:http://127.0.0.1:8000/v1#MODEL` (llamafactory-cli api, vLLM,
SGLang, llama.cpp, a provider's API).

The answer is constrained to the candidates where the server can do that and verified in any case: servers that do not
know such a field ignore it without a word. A key is taken from LMSEARCHER_API_KEY or OPENAI_API_KEY. Options follow a
'?', for example `endpoint:http://host:8000/v1#MODEL?timeout=20&fallback=surrogate`:

retries   further attempts after a failed request or an answer that names no candidate (default 3)
timeout   seconds for one whole request, however slowly the server sends (default 60)
backoff   seconds before the first retry, doubled each time, 8 at most (default 0.5)
fallback  who answers when the server did not: random (default), surrogate, knn or views; counted and reported
format    prompt format the served model was trained with (default paper); same as --format
encoding  ncode (default), or domain for a model trained on operator text
role      user (default), or system: the whole prompt as a system message, as the authors' script sent it
constrain auto (default: the fields choice, regex and grammar, dropped if the server refuses them), choice (vLLM), regex
          (SGLang), grammar (llama.cpp), json (response_format with a schema: OpenAI, vLLM, SGLang, llama.cpp) or none
max_tokens             tokens an answer may have (default 0: what a code needs; a model that thinks first needs more)
max_completion_tokens  the same under the name that newer OpenAI models want; then max_tokens is not sent
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from search.errors import UserError
from search.prompts import PromptFormat, get_format
from search.prompts.answers import answer_of
from search.prompts.encodings import ENCODINGS, domain_text
from search.rankers.base import Context, Ranker, Ranking
from search.rankers.server import Client, Refused, chosen_model, completion_text, raise_if_key_refused
from search.rankers.spec import ROLES, fall_back, make_fallback, one_of, split_options, text_hash
from search.spaces import Seen

DEFAULTS = {
    "retries": 3,
    "timeout": 60.0,
    "backoff": 0.5,
    "fallback": "random",
    "format": None,
    "encoding": "ncode",
    "role": "user",
    "constrain": "auto",
    "max_tokens": 0,
    "max_completion_tokens": 0,
}
CONSTRAINTS = ("auto", "choice", "regex", "grammar", "json", "none")
LONGEST_WAIT = 8.0  # seconds; a server that asks for more is not worth a search's time
LONGEST_NOTE = 200  # characters of an answer that the transcript keeps
SPARE_TOKENS = 16  # beyond the longest code, for an end mark and the words around an answer
GIVE_UP_AFTER = 3  # questions without an answer in a row; from then on one attempt each


class EndpointRanker(Ranker):
    """Asks a chat-completions server which candidate is best; `client` is anything with Client's `call`, `shown` and
    `close`.
    """

    name = "endpoint"
    shared = True
    local = False
    characters_a_token = 2.5  # what the llama3 tokenizer makes of digit strings
    prompt = "paper"

    def __init__(
        self,
        client: Any,
        model: str,
        prompt_format: PromptFormat,
        fallback: Ranker,
        retries: int = 3,
        backoff: float = 0.5,
        role: str = "user",
        constrain: str = "auto",
        write: Callable[[str], str] = str,
        limit: dict[str, int] | None = None,
    ):
        """write: how a code is written in prompt and answer. limit: {field: tokens}, empty for what a code needs."""
        self.client, self.model, self.format, self.fallback = client, model, prompt_format, fallback
        self.retries, self.backoff, self.role, self.constrain = retries, backoff, role, constrain
        self.write, self.limit = write, limit or {}
        self.unanswered = 0

    @classmethod
    def build(cls, argument: str, context: Context) -> EndpointRanker:
        url, hash_mark, rest = argument.partition("#")
        rest, options = split_options(rest if hash_mark else url, DEFAULTS)
        url, model = (url, rest) if hash_mark else (rest, "")
        constrain = one_of("constrain", options["constrain"], CONSTRAINTS)
        role = one_of("role", options["role"], ROLES)
        domain = one_of("encoding", options["encoding"], ENCODINGS) == "domain"
        limit = {k: options[k] for k in ("max_tokens", "max_completion_tokens") if options[k]}
        if len(limit) > 1:
            raise UserError(
                "max_tokens and max_completion_tokens were both given - one of them is sent - leave one out"
            )
        numbers = (options["retries"], options["backoff"], *limit.values())
        if not options["timeout"] > 0 or min(numbers) < 0 or options["timeout"] == float("inf"):
            raise UserError(
                "ranker endpoint was given a timeout, retries, backoff or token limit out of range - allowed are a"
                " finite timeout > 0, retries >= 0, backoff >= 0, max_tokens >= 0"
            )
        if context.format and options["format"] not in (None, context.format):
            raise UserError(
                f"--format {context.format} and format={options['format']} were given - they must agree - leave one out"
            )
        prompt_format = get_format(context.format or options["format"] or "paper")
        fallback = make_fallback(options["fallback"], context)
        client = Client(url, options["timeout"])
        return cls(
            client,
            chosen_model(client, model),
            prompt_format,
            fallback,
            options["retries"],
            options["backoff"],
            role,
            constrain,
            lru_cache(100_000)(partial(domain_text, context.space)) if domain else str,
            limit,
        )

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        started = time.perf_counter()
        written = [self.write(c) for c in candidates]
        text = self.format.render([Seen(self.write(s.code), s.value) for s in history], written).text
        errors: Counter[str] = Counter()
        best, answer, tokens, attempt = None, "", 0, 0
        attempts = 1 if self.unanswered >= GIVE_UP_AFTER else 1 + self.retries
        while best is None and attempt < attempts:
            try:
                answer, used = self._ask(text, written, attempt)
                tokens += used
                named = self.format.parse(answer_of(answer), written)
                best = candidates[written.index(named)] if named is not None else None
                errors["invalid"] += best is None
            except Refused as refused:
                if refused.kind in ("400", "422") and self.constrain == "auto":
                    self.constrain = "none"  # this server refuses fields that it does not know
                    continue
                raise_if_key_refused(self.client, refused)
                errors[refused.kind] += 1
                if attempt + 1 < attempts:
                    time.sleep(min(LONGEST_WAIT, max(self.backoff * 2**attempt, refused.wait or 0.0)))
            attempt += 1
        info: dict[str, Any] = {"format": self.format.name, "prompt": text_hash(text), "answer": answer[:LONGEST_NOTE]}
        info |= {"attempts": attempt, "invalid": errors.pop("invalid", 0), "errors": dict(errors)}
        spent: dict[str, Any] = {
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

    def _ask(self, text: str, written: Sequence[str], attempt: int) -> tuple[str, int]:
        """One request; (the text that came back, tokens used)."""
        needed = {"max_tokens": 4 * max(map(len, written)) + SPARE_TOKENS}
        body = {
            "model": self.model,
            "messages": [{"role": self.role, "content": text}],
            "temperature": 0.0 if attempt == 0 else 1.0,
            "stream": False,
        }
        body |= self.limit or needed
        body |= constraint_fields(self.constrain, written)
        return completion_text(self.client.call("POST", "/chat/completions", body))

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def token_limit(options: Mapping[str, Any]) -> dict[str, int]:
    """{field: tokens} of a spec's options, {} when none was given; UserError for numbers that are out of range."""
    limit = {k: options[k] for k in ("max_tokens", "max_completion_tokens") if options[k]}
    if len(limit) > 1:
        raise UserError("max_tokens and max_completion_tokens were both given - one of them is sent - leave one out")
    numbers = (options["retries"], options["backoff"], *limit.values())
    if not 0 < options["timeout"] < float("inf") or not all(0 <= n < float("inf") for n in numbers):
        raise UserError(
            "ranker endpoint was given a timeout, retries, backoff or token limit out of range - allowed are a finite"
            " timeout > 0, retries >= 0, backoff >= 0, max_tokens >= 0"
        )
    return limit


def constraint_fields(constrain: str, written: Sequence[str]) -> dict[str, Any]:
    """The fields of a request that allow nothing but one of the written candidates, in each server's own language."""
    if constrain == "json":
        answers = {"type": "string", "enum": list(written)}
        schema: dict[str, Any] = {"type": "object", "properties": {"answer": answers}, "required": ["answer"]}
        schema["additionalProperties"] = False
        named = {"name": "choice", "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    fields: dict[str, Any] = {}
    if constrain in ("auto", "choice"):
        fields["structured_outputs"] = {"choice": list(written)}
    if constrain in ("auto", "regex"):
        fields["regex"] = "(" + "|".join(map(_escaped, written)) + ")"
    if constrain in ("auto", "grammar"):
        fields["grammar"] = "root ::= " + " | ".join(json.dumps(w, ensure_ascii=False) for w in written)
    return fields


def _escaped(text: str) -> str:
    """A text as a regular expression that matches it: Python's escapes of '-', '#' or '~' are unknown elsewhere."""
    return "".join(f"\\{c}" if c in r"\.^$*+?{}[]|()" else c for c in text)
