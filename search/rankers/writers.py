"""A language model that writes the next code itself: `write:endpoint:URL#MODEL` or `write:chat:FILE`.

No candidates are shown; the answer is read for codes of the space, and the first that is valid and new is evaluated.
Attempts are bounded; when none succeeds a uniform code is taken, counted with the reason. Options follow a '?':

style     genius (default): the space in words and the results so far, for any chat model; llambo: examples and a target
          value; direct: for a model trained on --direct rows (the default for a chat model whose folder says so)
retries   further attempts after an answer without a new valid code or a failed request (default 5); they sample
encoding  ncode, or domain for a `direct` model trained on operator text
role      user (default), or system
endpoint  timeout, backoff, constrain, max_tokens, max_completion_tokens as for the ranker endpoint; constrain is none
          by default; with regex, grammar or json the server can write nothing but codes of the space
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

from search.errors import UserError
from search.prompts.answers import read_codes
from search.prompts.encodings import ENCODINGS, domain_text
from search.prompts.stamp import agreed_encoding, read_stamp
from search.prompts.writing import WRITINGS, Writing
from search.rankers.base import Context, Ranker, Ranking
from search.rankers.endpoint import CONSTRAINTS, GIVE_UP_AFTER, LONGEST_NOTE, LONGEST_WAIT, token_limit
from search.rankers.server import Client, Refused, chosen_model, completion_text, raise_if_key_refused
from search.rankers.spec import ROLES, fit_history, one_of, split_options, text_hash
from search.spaces import DIGITS, Seen, Space

SHARED = {"style": None, "retries": 5, "encoding": None, "role": "user"}
REMOTE = {"timeout": 60.0, "backoff": 0.5, "constrain": "none", "max_tokens": 0, "max_completion_tokens": 0}
MODELS = ("endpoint", "chat")
SPARE_TOKENS = 64  # room for 'Architecture: ' and a sentence around the code


class Asker(Protocol):
    """A model that is asked in free text."""

    name: str

    def ask(self, text: str, temperature: float, seed: int) -> tuple[str, int]:
        """(answer, tokens used); Refused when there is none."""
        ...

    def fits(self, text: str) -> bool:
        """Whether the text and an answer fit the model's context."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class WritingRanker(Ranker):
    """Writes codes instead of ranking candidates: `compose` is what a search calls, `rank` refuses."""

    name = "write"
    shared = True
    local = False
    characters_a_token = 2.5  # what the llama3 tokenizer makes of digit strings; words take fewer tokens
    prompt = "direct"
    writes = True

    def __init__(
        self,
        model: Asker,
        space: Space,
        style: Writing,
        retries: int = 5,
        backoff: float = 0.5,
        domain: bool = False,
    ):
        self.model, self.space, self.style, self.domain = model, space, style, domain
        self.retries, self.backoff, self.unanswered = retries, backoff, 0
        self.spell: Callable[[str], str] = lru_cache(100_000)(partial(domain_text, space)) if domain else str

    @classmethod
    def build(cls, argument: str, context: Context) -> WritingRanker:
        kind, _, rest = argument.partition(":")
        if kind not in MODELS:
            raise UserError(
                f"ranker write was given '{argument}' - it needs a model: endpoint:URL#MODEL or chat:FILE - for example"
                " write:endpoint:http://127.0.0.1:8000/v1"
            )
        if context.format not in (None, "direct", "paper"):
            raise UserError(
                f"format {context.format} was given with ranker write - it shows no candidates - leave it out, and"
                " choose a style (genius, llambo, direct)"
            )
        return _from_server(rest, context) if kind == "endpoint" else _from_chat(rest, context)

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        """Refused: this model is not shown candidates."""
        raise UserError(
            "ranker write proposes codes of its own - it cannot choose among candidates - use it with search.run, or"
            " ask the same model as a ranker"
        )

    def compose(self, history: Sequence[Seen], allowed: Callable[[str], bool]) -> Ranking:
        """The next code (best is '' and fallback says why when no attempt gave one).

        history: told order, higher is better. allowed: whether a code of the space may be evaluated now.
        """
        started, errors = time.perf_counter(), Counter[str]()
        shown = fit_history(history, lambda h: self.model.fits(self._text(h, ())), self.style.sort)
        refused: list[str] = []
        best, answer, tokens, attempt = "", "", 0, 0
        attempts = 1 if self.unanswered >= GIVE_UP_AFTER else 1 + self.retries
        first = text_hash(self._text(shown, ()))
        while not best and attempt < attempts:
            seed = zlib.crc32(f"{first}{attempt}".encode())
            try:
                temperature = self.style.temperature if attempt == 0 else 1.0
                answer, used = self.model.ask(self._text(shown, refused), temperature, seed)
                tokens += used
                named = read_codes(answer, self.space, self.domain)
                best = next((c for c in named if allowed(c)), "")
                if not best:
                    errors["taken" if named else "invalid"] += 1
                    refused += [c for c in named if c not in refused]
            except Refused as mishap:
                errors[mishap.kind] += 1
                if attempt + 1 < attempts:
                    time.sleep(min(LONGEST_WAIT, max(self.backoff * 2**attempt, mishap.wait or 0.0)))
            attempt += 1
        why = ", ".join(f"{n} x {kind}" for kind, n in errors.items())
        info = {"style": self.style.name, "prompt": first, "answer": answer[:LONGEST_NOTE], "attempts": attempt}
        info |= {"invalid": errors["invalid"] + errors["taken"], "taken": errors["taken"], "errors": dict(errors)}
        self.unanswered = 0 if best else self.unanswered + 1
        return Ranking(
            best,
            source=f"{self.name} {self.model.name}",
            tokens=tokens,
            seconds=time.perf_counter() - started,
            fallback=None if best else f"no new code in {attempt} attempts: {why}",
            info=info | {"dropped": len(history) - len(shown)},
        )

    def _text(self, history: Sequence[Seen], refused: Sequence[str]) -> str:
        spelled = [Seen(self.spell(s.code), s.value) for s in history] if self.domain else history
        return self.style.render(self.space, spelled, refused)

    def close(self) -> None:
        """Free the model."""
        self.model.close()


class ServerAsker:
    """A chat-completions server. `client` is anything with Client's `call`, `shown` and `close`."""

    def __init__(self, client: Any, model: str, role: str, fields: dict[str, Any]):
        """fields: what each request carries beside the prompt (token limit, constraint)."""
        self.client, self.name, self.role, self.fields = client, model, role, fields

    def ask(self, text: str, temperature: float, seed: int) -> tuple[str, int]:
        body = {"model": self.name, "messages": [{"role": self.role, "content": text}], "stream": False}
        body |= {"temperature": temperature, "seed": seed, **self.fields}
        try:
            return completion_text(self.client.call("POST", "/chat/completions", body))
        except Refused as refused:
            raise_if_key_refused(self.client, refused)
            raise

    def fits(self, text: str) -> bool:
        return True  # a server does not say how long its context is; one that is too short refuses, which is counted

    def close(self) -> None:
        self.client.close()


class ChatAsker:
    """LLaMA-Factory's ChatModel on the huggingface engine."""

    name = "chat"

    def __init__(self, chat: Any, room: int):
        """room: tokens an answer may have."""
        self.chat, self.room = chat, room
        self.context = int(getattr(chat.engine.model.config, "max_position_embeddings", 0) or 1 << 30)

    def ask(self, text: str, temperature: float, seed: int) -> tuple[str, int]:
        import torch

        torch.manual_seed(seed)
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 1.0} if temperature else {}
        reply = self.chat.chat([{"role": "user", "content": text}], max_new_tokens=self.room, **sampling)[0]
        return reply.response_text, reply.prompt_length + reply.response_length

    def fits(self, text: str) -> bool:
        turn = [{"role": "user", "content": text}, {"role": "assistant", "content": ""}]
        engine = self.chat.engine
        return len(engine.template.encode_oneturn(engine.tokenizer, turn)[0]) + self.room <= self.context

    def close(self) -> None:
        self.chat._loop.call_soon_threadsafe(self.chat._loop.stop)
        self.chat._thread.join(10)


def space_fields(constrain: str, space: Space) -> dict[str, Any]:
    """The fields of a request that allow nothing but a code of the space, in each server's own language."""
    classes = [f"[{DIGITS[: len(d.options)]}]" for d in space.decisions]
    if constrain == "json":
        answer = {"type": "string", "pattern": f"^{''.join(classes)}$"}
        schema = {"type": "object", "properties": {"answer": answer}, "required": ["answer"]}
        named = {"name": "code", "strict": True, "schema": schema | {"additionalProperties": False}}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    fields: dict[str, Any] = {}
    if constrain in ("auto", "choice", "regex"):
        fields |= {"structured_outputs": {"regex": "".join(classes)}, "regex": "".join(classes)}
    if constrain in ("auto", "grammar"):
        fields["grammar"] = f"root ::= {' '.join(classes)}"
    return fields


def _from_server(argument: str, context: Context) -> WritingRanker:
    url, hash_mark, rest = argument.partition("#")
    rest, options = split_options(rest if hash_mark else url, SHARED | REMOTE)
    url, model = (url, rest) if hash_mark else (rest, "")
    style, domain = _style(options["style"]), one_of("encoding", options["encoding"] or "ncode", ENCODINGS) == "domain"
    constrain = one_of("constrain", options["constrain"], CONSTRAINTS)
    fields = token_limit(options) or {"max_tokens": _room(context.space, domain)}
    fields |= space_fields(constrain, context.space) if constrain != "none" else {}
    role = one_of("role", options["role"], ROLES)
    client = Client(url, options["timeout"])
    asker = ServerAsker(client, chosen_model(client, model), role, fields)
    return WritingRanker(asker, context.space, style, options["retries"], options["backoff"], domain)


def _from_chat(argument: str, context: Context) -> WritingRanker:
    from search.rankers.chat import adapters, load_chat_model, read_chat_yaml

    path, options = split_options(argument, SHARED)
    settings = read_chat_yaml(path)
    folders = [*adapters(settings), settings["model_name_or_path"]]
    learned = next((stamp["format"] for f in folders if (stamp := read_stamp(f))), None)
    style = _style(options["style"] or ("direct" if learned == "direct" else None))
    if style.name == "direct" and learned not in (None, "direct"):
        raise UserError(
            f"style direct was asked of {folders[0]} - it was trained with '{learned}' and answers with one of the"
            " candidates it is shown - use --ranker chat:FILE, or another style"
        )
    if options["retries"] < 0 or options["role"] != "user":
        raise UserError(
            "ranker write:chat was given retries or a role out of range - retries >= 0, role=user - correct it"
        )
    domain = agreed_encoding(options["encoding"], folders) == "domain"
    asker = ChatAsker(load_chat_model(settings), _room(context.space, domain))
    return WritingRanker(asker, context.space, style, options["retries"], 0.0, domain)


def _style(name: str | None) -> Writing:
    return WRITINGS[one_of("style", name or "genius", list(WRITINGS))]


def _room(space: Space, domain: bool) -> int:
    """Tokens that an answer may need: at worst one a character of the code, and a few words around it."""
    longest = len(domain_text(space, "0" * len(space))) + 8 * len(space) if domain else len(space)
    return 2 * longest + SPARE_TOKENS
