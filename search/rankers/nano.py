"""The shipped small model as a ranker: evidence about every candidate goes in, a distribution over its value comes out.

    nano                      the model in models/nano; a search reads `blend`, an exam (one pick, nothing after it)
                              `mean`
    nano:ei                   another reading: mean, ei, blend or answer
    nano:saves/mine           another model folder; nano:saves/mine#mean  both
    nano:?shown=100           of a longer history, read the 50 best and the 50 latest of the rest (default 200 in all)

mean     expected value of the candidate
ei       expected improvement over the best entry of the history (its logarithm)
blend    expected improvement where there is any, the mean where there is none: log(ei + 0.003) + 0.3 mean
answer   log-likelihood of the candidate's code as the answer, ten candidates a prompt (the paper's way); read from the
         sister
         model in models/nano_answer, or from FOLDER itself if one was named

All candidates are read in one batched pass, in single precision: same history and candidates, same scores.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError, did_you_mean
from search.files import find
from search.prompts.evidence import FEW, MOST, Evidence, normal_scores, shown
from search.prompts.mixture import acquire
from search.prompts.nano import NANO, SHIFTS, VALUE_BINS, bin_centres, code_text, promise, value_lines
from search.prompts.places import evidence_of
from search.prompts.stamp import require_format
from search.rankers import SHIPPED
from search.rankers.base import Context, Ranker, Ranking, from_scores
from search.rankers.spec import split_options
from search.rankers.weights import load_model
from search.spaces import Seen, Space
from search.threads import wait_asleep

FOLDER = SHIPPED / "nano"
ANSWERS = FOLDER.with_name("nano_answer")
MODES = ("mean", "ei", "blend", "answer")
DEFAULTS = {"search": "blend", "pick": "mean"}
GROUP = 10  # candidates a prompt, as in training


class NanoRanker(Ranker):
    """Scores candidates with a model trained on the nano formats. The model is loaded at the first question."""

    name = "nano"
    shared = True
    characters_a_token = 2.4  # measured: eight characters a token, and every line is read three times
    prompt = "nano_value"
    formats = ("nano", "nano_value")

    def __init__(
        self,
        folder: str | Path = FOLDER,
        mode: str = DEFAULTS["search"],
        most: int = MOST,
        space: Space | None = None,
    ):
        if mode not in MODES:
            raise did_you_mean("reading of ranker nano", mode, MODES)
        if most < FEW:
            raise UserError(
                f"shown={most} was given - at least {FEW} entries of the history must be read - {MOST} is the default"
            )
        self.folder, self.mode, self.most, self.space = Path(folder), mode, most, space
        self.answer_folder = ANSWERS if self.folder == FOLDER else self.folder
        self._models: dict[Path, tuple[Any, Any]] = {}
        require_format(
            self.answer_folder if mode == "answer" else self.folder,
            self.formats,
            "train yaml/lmsearcher_nano.yaml, or leave the folder out for models/nano",
        )
        wait_asleep()

    @classmethod
    def build(cls, argument: str, context: Context) -> NanoRanker:
        target, options = split_options(argument, {"shown": MOST})
        head, _, mode = target.partition("#")
        if head in MODES:
            return cls(FOLDER, head, options["shown"], context.space)
        if head and not (Path(head).is_dir() or "/" in head):
            raise did_you_mean("reading of ranker nano", head, MODES)
        return cls(find(head) if head else FOLDER, mode or DEFAULTS[context.goal], options["shown"], context.space)

    def at(self, space: Space) -> NanoRanker:
        other = copy(self)
        other.space = space
        return other

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        start = time.perf_counter()
        evidence = evidence_of(history, candidates, self.most, self.space)
        if self.mode == "answer":
            scores, tokens = self.answers(evidence, candidates)
        else:
            odds, tokens = self.distributions(evidence)
            scores = reading(odds, history, self.mode, self.most)
        source = self.name if self.mode == DEFAULTS["search"] else f"{self.name}:{self.mode}"
        return from_scores(candidates, np.round(scores, 5), source, tokens=tokens, seconds=time.perf_counter() - start)

    def distributions(self, evidence: Evidence) -> tuple[np.ndarray, int]:
        """Probability of each value bin for each candidate, float64 (m, 60), and the tokens read."""
        import torch

        model, tokenizer = self._loaded(self.folder)
        values = torch.tensor(tokenizer.convert_tokens_to_ids([f"<v{i}>" for i in range(VALUE_BINS)]))
        odds, tokens = 0.0, 0
        for shift in SHIFTS:
            prompts = [chat_prompt(tokenizer, line) for line in value_lines(evidence, shift)]
            ids = torch.tensor(tokenizer(prompts, add_special_tokens=False)["input_ids"])
            tokens += ids.numel()
            with torch.inference_mode():
                logits = torch.cat(
                    [model(input_ids=part, use_cache=False, logits_to_keep=1).logits[:, -1] for part in ids.split(256)]
                )
            odds = odds + logits[:, values].double().softmax(-1).numpy() / len(SHIFTS)
        return np.asarray(odds), tokens

    def answers(self, evidence: Evidence, candidates: Sequence[str]) -> tuple[np.ndarray, int]:
        """Log-likelihood of every code as the answer to its prompt of ten, float64 (m,), and the tokens read.

        Of more than ten candidates the ten with the best average over the views meet in the first prompt, the next ten
        in the second, and so on; each prompt's candidates rank behind those of the prompts before it.
        """
        import torch

        model, tokenizer = self._loaded(self.answer_folder)
        scores, tokens, least = np.zeros(len(candidates)), 0, 0.0
        best_first = np.array(promise(evidence, candidates)[::-1])
        for first in range(0, len(candidates), GROUP):
            group = best_first[first : first + GROUP]
            part = replace(evidence, mean=evidence.mean[group], std=evidence.std[group])
            codes = [candidates[i] for i in group]
            prompt = tokenizer(chat_prompt(tokenizer, NANO.write(part, codes)), add_special_tokens=False)["input_ids"]
            replies = torch.tensor(
                tokenizer([code_text(c) + tokenizer.eos_token for c in codes], add_special_tokens=False)["input_ids"]
            )
            ids = torch.cat([torch.tensor(prompt).expand(len(codes), -1), replies], dim=1)
            with torch.inference_mode():
                logits = model(input_ids=ids, use_cache=False, logits_to_keep=replies.shape[1] + 1).logits[:, :-1]
            found = logits.double().log_softmax(-1).gather(-1, replies[..., None]).squeeze(-1).sum(-1).numpy()
            scores[group], tokens = found - (found.max() - least if first else 0.0), tokens + ids.numel()
            least = float(scores[group].min())
        return scores, tokens

    def close(self) -> None:
        self._models.clear()

    def _loaded(self, folder: Path) -> tuple[Any, Any]:
        """(model, tokenizer) of a folder, loaded once."""
        if folder not in self._models:
            from transformers import AutoTokenizer

            self._models[folder] = (load_model(folder), AutoTokenizer.from_pretrained(folder))
        return self._models[folder]


def chat_prompt(tokenizer: Any, text: str) -> str:
    """The text as the model saw it in training, up to where its answer begins."""
    return tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False)


def reading(odds: np.ndarray, history: Sequence[Seen], mode: str, most: int = MOST) -> np.ndarray:
    """One number per candidate from its value distribution (m, 60): mean, ei or blend; float64 (m,)."""
    centres = bin_centres()
    mean = odds @ centres
    if mode in ("ei", "blend"):
        values = np.array([s.value for s in history], dtype=np.float64)
        best = float(normal_scores(values[shown(values, most)]).max()) if len(values) else 0.0
        return acquire(odds @ np.maximum(centres - best, 0.0), mean, mode)
    return mean
