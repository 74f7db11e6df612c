"""A language model behind LLaMA-Factory's ChatModel as a ranker: `chat:yaml/lmsearcher_8b_chat.yaml`.

The YAML is one that `llamafactory-cli chat` and `api` take. Options follow a '?', for example
`chat:yaml/lmsearcher_8b_chat.yaml?mode=generate&retries=5`:

mode      score (default): log-probability of every candidate as the whole answer, in one pass over what is new in the
          prompt;
          generate: the paper's way, the model writes and the text is read
retries   generate: further attempts after an answer that names no candidate (default 3); they sample at temperature 1
fallback  who answers when the model could not: random (default), surrogate, knn or views; counted and reported
format    prompt format, if the model's folder does not record it (see search.stamp); same as --format
encoding  ncode, or domain for a model trained on operator text, if the model's folder does not record it
role      user (default), or system: the whole prompt as a system message, as the authors' script sent it (score only)
cache     1 (default), or 0: compute every prompt from the start
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.files import find, shipped
from search.prompts import PromptFormat, get_format
from search.prompts.encodings import domain_text
from search.prompts.stamp import agreed_encoding, agreed_format
from search.rankers.base import Context, Ranker, Ranking, from_scores
from search.rankers.spec import ROLES, fall_back, fit_history, make_fallback, one_of, split_options, text_hash
from search.spaces import Seen

DEFAULTS = {
    "mode": "score",
    "retries": 3,
    "fallback": "random",
    "format": None,
    "encoding": None,
    "role": "user",
    "cache": 1,
}
MODES = ("score", "generate")
JINJA = shipped() / "yaml" / "ncode.jinja"
SPARE_TOKENS = 16  # beyond the longest code, for an end mark and the words around an answer
DECIMALS = 5  # a cached and a fresh computation differ by about 1e-6; rounding keeps a resumed search on its path


class ChatRanker(Ranker):
    """Ranks with `chat`, a llamafactory.chat.ChatModel on the huggingface engine."""

    name = "chat"
    shared = True
    local = False
    characters_a_token = 2.5  # what the llama3 tokenizer makes of digit strings
    prompt = "paper"

    def __init__(
        self,
        chat: Any,
        prompt_format: PromptFormat,
        fallback: Ranker,
        mode: str = "score",
        retries: int = 3,
        role: str = "user",
        cache: bool = True,
        write: Callable[[str], str] = str,
    ):
        """write: how a code is written in prompt and answer (as it is, or as operator text)."""
        from search.rankers.scoring import PlainScorer, make_scorer

        self.write = write
        self.chat, self.format, self.fallback, self.mode, self.retries, self.role = (
            chat,
            prompt_format,
            fallback,
            mode,
            retries,
            role,
        )
        self.engine = chat.engine
        self.model, self.tokenizer = self.engine.model, self.engine.tokenizer
        self.scorer = make_scorer(self.model) if cache else PlainScorer(self.model)
        self.context = int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 30)

    @classmethod
    def build(cls, argument: str, context: Context) -> ChatRanker:
        path, options = split_options(argument, DEFAULTS)
        mode = one_of("mode", options["mode"], MODES)
        role = one_of("role", options["role"], ROLES)
        if mode == "generate" and role == "system":
            raise UserError(
                "role=system was given with mode=generate - ChatModel needs a user turn to generate - use mode=score,"
                " or the endpoint ranker"
            )
        if context.format and options["format"] not in (None, context.format):
            raise UserError(
                f"--format {context.format} and format={options['format']} were given - they must agree - leave one out"
            )
        settings = read_chat_yaml(path)
        folders = [*adapters(settings), settings["model_name_or_path"]]
        prompt_format = get_format(agreed_format(context.format or options["format"], folders))
        if not prompt_format.names_code:
            raise UserError(
                f"format {prompt_format.name} has values for answers, not codes - the chat ranker reads codes - use"
                " --ranker nano:FOLDER"
            )
        fallback = make_fallback(options["fallback"], context)
        domain = agreed_encoding(options["encoding"], folders) == "domain"
        write = lru_cache(100_000)(partial(domain_text, context.space)) if domain else str
        return cls(
            load_chat_model(settings),
            prompt_format,
            fallback,
            mode,
            options["retries"],
            role,
            bool(options["cache"]),
            write,
        )

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        started = time.perf_counter()
        room = 4 * max(len(self.write(c)) for c in candidates) + SPARE_TOKENS
        shown, text, prompt = history, *self.question(history, candidates)
        if len(prompt) + room > self.context:
            shown = fit_history(
                history,
                lambda h: len(self.prompt_ids(h, candidates)) + room <= self.context,
                self.format.sort,
            )
            text, prompt = self.question(shown, candidates)
        info = {
            "mode": self.mode,
            "format": self.format.name,
            "prompt": text_hash(text),
            "dropped": len(history) - len(shown),
        }
        if self.mode == "score":
            return self._score(prompt, candidates, info, started)
        return self._generate(text, history, candidates, info, started)

    def question(self, history: Sequence[Seen], candidates: Sequence[str]) -> tuple[str, list[int]]:
        shown = [Seen(self.write(s.code), s.value) for s in history]
        text = self.format.render(shown, [self.write(c) for c in candidates]).text
        return text, self.encode(text)

    def prompt_ids(self, history: Sequence[Seen], candidates: Sequence[str]) -> list[int]:
        """Token ids of the whole prompt up to where the answer begins."""
        return self.question(history, candidates)[1]

    def encode(self, text: str) -> list[int]:
        """Token ids of one question, as LLaMA-Factory's template encodes it in training."""
        if self.role == "system":
            turn = [{"role": "system", "content": text}]
            written = self.tokenizer.apply_chat_template(
                turn, chat_template=JINJA.read_text(encoding="utf-8"), add_generation_prompt=True, tokenize=False
            )
            return self.tokenizer.encode(written, add_special_tokens=False)
        return self.engine.template.encode_oneturn(self.tokenizer, _turn(text, ""))[0]

    def answer_ids(self, code: str) -> list[int]:
        """Token ids of an answer with its end mark, as in training: encoded apart from the prompt, so no digits merge
        across.
        """
        ids = self.engine.template.encode_oneturn(self.tokenizer, _turn("", self.format.answer_text(self.write(code))))[
            1
        ]
        return ids + [self.tokenizer.eos_token_id] if self.engine.template.efficient_eos else ids

    def _score(self, prompt: list[int], candidates: Sequence[str], info: dict[str, Any], started: float) -> Ranking:
        found = self.scorer.score(prompt, [self.answer_ids(c) for c in candidates])
        info |= {"prompt_tokens": len(prompt), "reused": found.reused}
        scores = [round(s, DECIMALS) for s in found.scores]
        return from_scores(
            candidates, scores, self.name, tokens=found.computed, seconds=time.perf_counter() - started, info=info
        )

    def _generate(
        self, text: str, history: Sequence[Seen], candidates: Sequence[str], info: dict[str, Any], started: float
    ) -> Ranking:
        import torch

        torch.manual_seed(zlib.crc32(f"{info['prompt']}{len(history)}".encode()))
        written = [self.write(c) for c in candidates]
        tokens, answers = 0, list[str]()
        best = None
        for attempt in range(1 + max(0, self.retries)):
            sampling = {} if attempt == 0 else {"do_sample": True, "temperature": 1.0, "top_p": 1.0}
            reply = self.chat.chat(
                [{"role": "user", "content": text}], max_new_tokens=4 * len(written[0]) + SPARE_TOKENS, **sampling
            )[0]
            tokens += reply.prompt_length + reply.response_length
            answers.append(reply.response_text[:200])
            named = self.format.parse(reply.response_text, written)
            if named is not None:
                best = candidates[written.index(named)]
                break
        info |= {"answer": answers[-1], "attempts": len(answers), "invalid": len(answers) - (best is not None)}
        seconds = time.perf_counter() - started
        spent: dict[str, Any] = {"source": self.name, "tokens": tokens, "seconds": seconds, "info": info}
        if best is None:
            return fall_back(
                self.fallback, f"no candidate named in {len(answers)} answers", history, candidates, **spent
            )
        return Ranking(best=best, **spent)

    def close(self) -> None:
        """Forget the cache and stop the engine's event loop."""
        self.scorer.clear()
        self.chat._loop.call_soon_threadsafe(self.chat._loop.stop)
        self.chat._thread.join(10)


def _turn(text: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]


def adapters(settings: dict[str, Any]) -> list[str]:
    """The adapter folders that an inference YAML names."""
    found = settings.get("adapter_name_or_path") or []
    return [a.strip() for a in found.split(",")] if isinstance(found, str) else list(found)


def read_chat_yaml(path: str) -> dict[str, Any]:
    """The settings of an inference YAML as a dict; UserError if there is no such file or it names no model.

    The YAML may be one of the shipped ones, from any folder. Model folders in it are looked for in the working folder,
    then beside the YAML, then among the shipped ones.
    """
    import yaml

    file = find(path)
    if not path or not file.is_file():
        raise UserError(
            f"ranker chat was given '{path}' - it needs an inference YAML - for example"
            " chat:yaml/lmsearcher_tiny_chat.yaml"
        )
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML ({' '.join(str(error).split())}) - correct it") from error
    if not isinstance(settings, dict) or not settings.get("model_name_or_path"):
        raise UserError(f"{path} names no model - an inference YAML has a line model_name_or_path: FOLDER - add it")
    settings["model_name_or_path"] = _placed(settings["model_name_or_path"], file)
    if named := adapters(settings):
        settings["adapter_name_or_path"] = ",".join(_placed(a, file) for a in named)
    for folder in [*named, settings["model_name_or_path"]]:
        _check_folder(folder, file)
    return settings


def _placed(folder: str, file: Path) -> str:
    """A model folder that the YAML names as a path from here; a model's name on a hub stays as it is."""
    found = find(folder, file.parent)
    return str(found) if found.exists() else str(folder)


def _check_folder(folder: str, file: Path) -> None:
    """UserError that says how to make the model of an inference YAML, when its folder holds none."""
    local = folder.startswith((".", "/", "saves/", "models/", "out/", "exports/"))
    if not local or any((Path(folder) / f).is_file() for f in ("config.json", "adapter_config.json")):
        return
    training = file.name.replace("_chat", "")
    known = training != file.name and find(f"yaml/{training}").is_file()
    advice = f"llamafactory-cli train yaml/{training}" if known else "see yaml/README.md"
    raise UserError(f"model folder {folder} holds no model - {file.name} needs one - train it first: {advice}")


def load_chat_model(settings: dict[str, Any]) -> Any:
    """A ChatModel on the huggingface engine, ready to score: exact arithmetic on a CPU, an attention that takes our
    masks.
    """
    os.environ.setdefault("LLAMAFACTORY_VERBOSITY", "WARN")
    try:
        from llamafactory.chat import ChatModel
        from transformers.utils import logging
    except ImportError as error:
        raise UserError(
            f"ranker chat needs LLaMA-Factory, which cannot be imported ({error}) - install it with pip install -e"
            " '.[train]'"
        ) from error
    wanted = {"flash_attn": "sdpa", "do_sample": False, **settings}
    if wanted.get("infer_backend", "huggingface") != "huggingface":
        backend = wanted["infer_backend"]
        raise UserError(
            f"infer_backend {backend} was given - the chat ranker needs huggingface - or serve it and use"
            " endpoint:URL#MODEL"
        )
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        chat = ChatModel(wanted)
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"LLaMA-Factory cannot load {settings['model_name_or_path']}: {reason} - correct the YAML or the model"
            " folder"
        ) from error
    model = chat.engine.model
    if model.device.type == "cpu":
        model.float()  # LLaMA-Factory's infer_dtype leaves the weights as they were saved
    model.generation_config.use_cache = True  # train_from_scratch saves false, which makes generating ten times slower
    return chat
