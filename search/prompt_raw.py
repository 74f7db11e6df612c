"""Prompt formats that show the nano searcher the raw history instead of evidence: what its model card's ablation compares with.

raw_marks    each code with one token per decision and option     raw_digits   each code as bare digits, one token each

    <0.3><1.0><2.2>=<v38>\\n<0.1><1.0><2.0>=<v22>\\n<0.3><1.1><2.2>=   ->   <v40>

One line per told entry, oldest first, its value as a token of `search.prompt_nano` (normal score within the shown history); then
one candidate, whose value is the answer. Trained with loss on the whole text, every line is a lesson.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.evidence import normal_scores
from search.prompt import Prompt
from search.prompt_nano import MARK, arrays, code_text, value_bins
from search.space import Seen


@dataclass(frozen=True)
class RawFormat:
    """Raw histories behind the interface of `search.prompt.Format`; the answers are values, not codes. marked: which way codes are written."""

    name: str
    marked: bool
    answer: bool = False

    def write(self, code: str) -> str:
        """How this format spells a code."""
        return code_text(code) if self.marked else code

    def history_text(self, history: Sequence[Seen]) -> str:
        """The told entries, a line each."""
        if not history:
            return ""
        bins = value_bins(normal_scores(np.array([s.value for s in history], dtype=np.float64)))
        return "".join(f"{self.write(s.code)}{MARK}<v{b}>\n" for s, b in zip(history, bins, strict=True))

    def render(self, history: Sequence[Seen], candidates: Sequence[str]) -> Prompt:
        """The prompt for this history (told order, higher is better) and the first candidate."""
        arrays(history, candidates)
        return Prompt("", self.history_text(history) + self.write(candidates[0]))

    def answer_text(self, code: str) -> str:
        """Answers are values, which stay as they are."""
        return code

    def parse(self, answer: str, candidates: Sequence[str]) -> str | None:
        """None: a value names no candidate."""
        return None

    def tokens(self, decisions: int) -> int:
        """Tokens of one history line."""
        return decisions + 3


RAW_MARKS = RawFormat("raw_marks", True)
RAW_DIGITS = RawFormat("raw_digits", False)
