"""Prompt formats: the only place where prompt text lives. Builders, training and inference all render through here.

paper    the text of the paper's Table 1: instruction, 'NCode: .., accuracy: ..;' lines from best to worst, bare
         candidates
append   the same text with the history in told order, so that a growing history only appends (its cache can be kept)
direct   the text of `paper` without candidates, for a model that writes a better code itself (section 5.1)
release  what the authors' script sends: 'code|score,' from best to worst, then 'code;', scores min-max scaled, top 200

Values are 'higher is better' here. `paper` and `append` print percentages with two decimals; values that are no
percentages are put on 0-100 by a monotone map that changes only when the history reaches 5, 10, 20, 40, ... entries.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from search.errors import UserError
from search.prompts import FORMATS, get_format
from search.prompts.base import Prompt
from search.spaces import Seen

INSTRUCTION = "Please analyze the history, rank the candidate and output the highest-performing candidate."
DIRECT_INSTRUCTION = "Please analyze the history and output an architecture that performs better."
FIRST_MILESTONE = 5
_NEAR_OVERFLOW = 1e307  # a double reaches 1.8e308
_FARTHEST = 1e300  # as far as x can be with 50 x still finite; prints as 100.00 long before


def percentages(values: np.ndarray) -> np.ndarray:
    """Values in told order on a 0-100 scale; float64 (n,) -> float64 (n,).

    Percentages (all of 0..100, median above 1.5) stay as they are. Others become 50 + 50 x / (1 + |x|) with x the
    distance from the median in interquartile ranges, both taken from the first 5 * 2^k entries, so that the map rarely
    changes.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return values
    milestone = FIRST_MILESTONE
    while milestone * 2 <= len(values):
        milestone *= 2
    known = values[:milestone]
    if known.min() >= 0 and known.max() <= 100 and np.median(known) > 1.5:
        return np.clip(values, 0.0, 100.0) + 0.0  # no -0.00
    values, known = values * (scale := without_overflow(values)), known * scale
    low, middle, high = np.percentile(known, [25, 50, 75])
    width = (high - low) or (known.max() - known.min()) or 1.0
    return bent(values - middle, width)


def without_overflow(values: np.ndarray) -> np.ndarray:
    """A factor for each history (last axis kept): 1, or 1/16 where differences of its values could overflow.

    A power of two, so that no digit of any other value changes.
    """
    return np.where(np.abs(values).max(axis=-1, keepdims=True, initial=0.0) > _NEAR_OVERFLOW, 0.0625, 1.0)


def bent(distance: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """50 + 50 x / (1 + |x|) with x = distance / width > 0, however large: -inf..inf onto 0..100, monotone."""
    with np.errstate(over="ignore"):
        x = np.clip(distance / width, -_FARTHEST, _FARTHEST)
    return 50.0 + 50.0 * x / (1.0 + np.abs(x))


def min_max(values: np.ndarray) -> np.ndarray:
    """Values scaled to [0, 1] over themselves; all equal gives 0.5. float64 (n,) -> float64 (n,)."""
    values = np.asarray(values, dtype=np.float64)
    values = values * without_overflow(values)
    span = np.ptp(values) if len(values) else 0.0
    return (values - values.min()) / span + 0.0 if span > 0 else np.full(len(values), 0.5)


@dataclass(frozen=True)
class TextFormat:
    """A prompt format in plain text, by templates. Its answers are codes.

    name: in FORMATS and in a model's stamp.
    instruction: the instruction field of a row.
    head: text before the history.
    line: template of a history entry, with {code} and {value}.
    between: what joins the entries.
    middle: text before the candidates.
    candidate: template of a candidate, with {code}.
    candidate_between: what joins the candidates.
    sort: best first instead of told order.
    unit: scale of the printed value, 'percent' or 'unit' (0 to 1).
    limit: at most so many entries, the best ones; None for all.
    """

    names_code: ClassVar[bool] = True

    name: str
    instruction: str
    head: str
    line: str
    between: str
    middle: str
    candidate: str
    candidate_between: str
    sort: bool
    unit: str
    limit: int | None = None

    @property
    def family(self) -> tuple[str, ...]:
        """A model of this format learned no other."""
        return (self.name,)

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """The printed number of each value, before rounding; float64 (n,)."""
        return percentages(values) if self.unit == "percent" else min_max(values)

    def number_text(self, number: float) -> str:
        """A printed number: two decimals for percentages, four for unit scores."""
        return f"{number:.2f}" if self.unit == "percent" else f"{number:.4f}"

    def shown(self, values: np.ndarray) -> np.ndarray:
        """Which entries are shown, in which order; int64 indices into the told order."""
        values = np.asarray(values, dtype=np.float64)
        best_first = np.argsort(-values, kind="stable")
        kept = best_first[: self.limit]
        return kept if self.sort else np.sort(kept)

    def history_text(self, codes: Sequence[str], texts: Sequence[str]) -> str:
        """The history part from codes and printed numbers that are already in shown order."""
        return self.head + self.between.join(self.line.format(code=c, value=t) for c, t in zip(codes, texts))

    def candidates_text(self, candidates: Sequence[str]) -> str:
        """The candidate part of the prompt."""
        return self.middle + self.candidate_between.join(self.candidate.format(code=c) for c in candidates)

    def render(self, history: Sequence[Seen], candidates: Sequence[str]) -> Prompt:
        """The prompt for this history (told order, higher is better) and these candidates."""
        values = np.array([s.value for s in history], dtype=np.float64)
        if len(values) and not np.isfinite(values).all():
            raise UserError(
                "a history value is not finite - only finished trials may be shown - drop failed trials first"
            )
        shown = self.shown(values)
        numbers = self.numbers(values[np.sort(shown)]) if self.limit else self.numbers(values)
        place = np.searchsorted(np.sort(shown), shown) if self.limit else shown
        texts = [self.number_text(numbers[i]) for i in place]
        return Prompt(
            self.instruction,
            self.history_text([history[i].code for i in shown], texts) + self.candidates_text(candidates),
        )

    def answer_text(self, code: str) -> str:
        """How an answer spells a code."""
        return code

    def parse(self, answer: str, candidates: Sequence[str]) -> str | None:
        """The candidate that a free-text answer names; None when it names none or several."""
        text = answer.strip().strip(";").strip()
        if text in candidates:
            return text
        named = {word for word in re.findall(r"[0-9a-z]+", answer) if word in set(candidates)}
        return named.pop() if len(named) == 1 else None

    def read(self, prompt: Prompt, code: str = "[0-9a-z]+") -> tuple[list[tuple[str, float]], list[str]]:
        """The (code, printed number) pairs and candidates of a rendered prompt: the inverse of render.

        code: pattern of a code's text.
        """
        history, candidates = prompt.input, ""
        if self.middle:
            history, _, candidates = prompt.input.partition(self.middle)
        elif self.candidate:
            history, candidates = _split_release(prompt.input)
        pattern = re.escape(self.line).replace(r"\{code\}", f"({code})").replace(r"\{value\}", r"(-?[0-9.]+)")
        pairs = [(found, float(value)) for found, value in re.findall(pattern, history)]
        return pairs, re.findall(code, candidates)


def _split_release(text: str) -> tuple[str, str]:
    cut = text.rfind(",") + 1
    return text[:cut], text[cut:]


def _lines(name: str, sort: bool) -> TextFormat:
    entry = "NCode: {code}, accuracy: {value};"
    return TextFormat(name, INSTRUCTION, "History:\n", entry, "\n", "\nCandidate:\n", "{code}", "\n", sort, "percent")


PAPER = _lines("paper", sort=True)
APPEND = _lines("append", sort=False)
DIRECT = replace(PAPER, name="direct", instruction=DIRECT_INSTRUCTION, middle="", candidate="", candidate_between="")
RELEASE = TextFormat("release", "", "", "{code}|{value},", "", "", "{code};", "", True, "unit", 200)


def text_format(name: str) -> TextFormat:
    """The format of that name; UserError for one that is no plain text, so that rows of it cannot be read back."""
    found = get_format(name)
    if not isinstance(found, TextFormat):
        known = [n for n in FORMATS if isinstance(get_format(n), TextFormat)]
        raise UserError(
            f"format '{name}' was given - its prompts do not show the history as text - choose {', '.join(known)}"
        )
    return found
