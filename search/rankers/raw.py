"""The raw searcher as a ranker: a small LLaMA reads the history itself, code by code, and says what each candidate's
value will be.

    raw                    the model in models/raw; a search reads `blend`, an exam (one pick, nothing after it) `mean`
    raw:saves/mine         another model folder; raw:saves/mine#mean  with another reading
    raw:?names=4           averaged over so many namings of decisions and options (default 1)

mean     expected value of the candidate, in normal scores of the history
blend    log of the chance to reach the bin of the best entry, plus 0.3 of the mean

The history's keys and values are kept from step to step; only entries behind the first changed one are computed again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError, did_you_mean
from search.prompts.nano import arrays
from search.prompts.stamp import agreed_format
from search.prompts.stamped import BINS, BOS, FIRST_CODE, FIRST_VALUE, bin_scores, naming, steady_bins
from search.rankers import SHIPPED
from search.rankers.base import Context, Ranker, Ranking, from_scores
from search.rankers.scoring import common_prefix
from search.rankers.spec import split_options
from search.rankers.weights import load_model
from search.spaces import Seen
from search.threads import wait_asleep

FOLDER = SHIPPED / "raw"
MODES = ("mean", "blend")
DEFAULTS = {"search": "blend", "pick": "mean"}
NAMES = 1
PARTS = 4  # readings that a long history is dealt out to
CONTEXT = 768  # tokens: the longest rows in training; the model does not read on beyond them
LEAST_CHANCE, MEAN_SHARE = 0.01, 0.3
TOGETHER = 64  # questions in one pass: their attention mask grows with the square


class RawRanker(Ranker):
    """Scores candidates with a model trained on the format `stamped`. The model is loaded at the first question."""

    name = "raw"
    shared = True
    characters_a_token = 4.9  # measured: words of three or four characters and a blank
    prompt = "stamped"
    formats = ("stamped",)

    def __init__(
        self, folder: str | Path = FOLDER, mode: str = DEFAULTS["search"], names: int = NAMES, context: int = CONTEXT
    ):
        if mode not in MODES:
            raise did_you_mean("reading of ranker raw", mode, MODES)
        if names < 1 or context < 256:
            raise UserError(
                f"names={names}, tokens={context} were given - allowed are at least 1 and 256 - correct them"
            )
        self.folder, self.mode, self.names, self.context = Path(folder), mode, names, context
        if not (self.folder / "config.json").is_file():
            raise UserError(
                f"{folder} holds no model - the raw ranker needs a trained folder - train yaml/lmsearcher_raw.yaml"
            )
        agreed_format("stamped", [self.folder])
        self._model: Any = None
        self._readers: dict[tuple[int, int], Reader] = {}
        wait_asleep()

    @classmethod
    def build(cls, argument: str, context: Context) -> RawRanker:
        target, options = split_options(argument, {"names": NAMES, "tokens": CONTEXT})
        head, _, mode = target.partition("#")
        if head in MODES:
            head, mode = "", head
        return cls(head or FOLDER, mode or DEFAULTS[context.goal], options["names"], options["tokens"])

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        start = time.perf_counter()
        codes, values, new = arrays(history, candidates)
        bins = steady_bins(values)
        odds, tokens = self.distributions(codes, bins, new)
        scores = reading(odds, bins, self.mode)
        source = self.name if self.mode == DEFAULTS["search"] else f"{self.name}:{self.mode}"
        return from_scores(candidates, np.round(scores, 5), source, tokens=tokens, seconds=time.perf_counter() - start)

    def distributions(self, codes: np.ndarray, bins: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, int]:
        """Probability of each value bin for each candidate, float64 (m, BINS), and the tokens computed.

        codes: uint8 (n, d) with value bins int64 (n,).
        new: uint8 (m, d).
        """
        if self._model is None:
            self._model = load_model(self.folder)
        odds, tokens, asked = np.zeros((len(new), BINS)), 0, 0
        for seed in range(self.names):
            names = naming(codes, bins, new, seed)
            questions = names.questions(new)
            for part, kept in enumerate(
                dealt(len(codes), 2 * questions.shape[1], self.context - questions.shape[1] - 1)
            ):
                reader = self._readers.setdefault((seed, part), Reader(self._model))
                told = names.entries(codes[kept], bins[kept]).reshape(-1)
                found, computed = reader.read([BOS, *told.tolist()], questions)
                odds, tokens, asked = odds + found, tokens + computed, asked + 1
        return odds / asked, tokens

    def close(self) -> None:
        self._model, self._readers = None, {}


def dealt(entries: int, width: int, room: int) -> list[np.ndarray]:
    """Which entries are read together when `room` tokens are left, `width` each: int64 indices in told order, a list a
    reading.

    A history that is too long is dealt out like cards, so that each reading sees the whole search thinned out, and
    only appends from step to step; beyond PARTS readings the oldest entries are dropped, many at once.
    """
    most = max(1, room // width)
    parts = min(max(1, -(-entries // most)), PARTS)
    out = [np.arange(part, entries, parts) for part in range(parts)]
    step = max(1, most // 4)
    return [kept[max(0, -(-(len(kept) - most) // step) * step) :] for kept in out]


def reading(odds: np.ndarray, bins: np.ndarray, mode: str) -> np.ndarray:
    """One number per candidate from its value distribution (m, BINS) and the history's bins; float64 (m,)."""
    mean = odds @ bin_scores()
    if mode == "mean" or not len(bins):
        return mean
    return np.log(odds[:, bins.max() :].sum(axis=1) + LEAST_CHANCE) + MEAN_SHARE * mean


class Reader:
    """Reads one growing history: keys and values of its unchanged beginning are kept."""

    def __init__(self, model: Any):
        self.model = model
        self.known: list[int] = []
        self.cache: Any = None

    def read(self, history: list[int], questions: np.ndarray) -> tuple[np.ndarray, int]:
        """Probabilities of the value bins behind each question, float64 (m, BINS), and the tokens computed.

        history: token ids, at least one.
        questions: int64 (m, q). All questions stand directly behind the history and do not see each other.
        """
        import torch
        from transformers import DynamicCache

        if self.cache is None:
            self.cache = DynamicCache(config=self.model.config)
        keep = min(common_prefix(self.known, history), len(history) - 1)
        try:
            with torch.inference_mode():
                self.cache.crop(keep)
                self._forward(torch.tensor([history[keep:]]), logits_to_keep=1)
                parts = np.array_split(questions, -(-len(questions) // TOGETHER))
                logits = torch.cat([self._ask(part, len(history)) for part in parts])
        except BaseException:
            self.cache, self.known = None, []
            raise
        self.known = history
        odds = logits[:, FIRST_VALUE:FIRST_CODE].double().softmax(-1).numpy()
        return odds, len(history) - keep + questions.size

    def _ask(self, questions: np.ndarray, past: int) -> Any:
        """Logits behind each question, float32 (m, words); the cache is left as it was."""
        import torch

        m, q = questions.shape
        own = torch.arange(m * q) // q
        seen = (own[:, None] == own) & torch.ones(m * q, m * q, dtype=torch.bool).tril()
        seen = torch.cat([torch.ones(m * q, past, dtype=torch.bool), seen], 1)
        mask = torch.zeros(seen.shape).masked_fill_(~seen, torch.finfo(torch.float32).min)
        places = (past + torch.arange(m * q) % q)[None]
        ends = torch.arange(1, m + 1) * q - 1
        ids = torch.from_numpy(questions.reshape(1, -1))
        logits = self._forward(ids, attention_mask=mask[None, None], position_ids=places, logits_to_keep=ends)
        self.cache.crop(past)
        return logits[0]

    def _forward(self, ids: Any, **more: Any) -> Any:
        """Logits of a pass that goes on from the cache, float32 (1, kept, words)."""
        return self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, **more).logits
