"""The prompt formats of the nano searcher: evidence about candidates instead of raw history lines.

nano_value   per candidate one line of 25 tokens: four of context; the plain and the trust-weighted average over the
             views of
             `search.prompts.evidence` and how far they disagree; then for each view how far it can be trusted and what
             it predicts. The answer is a value token, so the model gives a distribution over values
nano         ten candidates in one prompt, each with the two averages and its code, the one with the highest average
             last;
             the answer is a code. Codes are written with one token per decision and option: 302 is <0.3><1.0><2.2>

    <n:4><d:3><o:3><s:5><avg:71><wav:73><gap:2><add~35><add:40>...=   ->   <v41>

Values are normal scores of the history (0: median entry). A value token is a bin of 0.15; above the best and below the
worst entry the scale goes on with the distance in units of (best - median). See `value_scores` for the map.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from search.errors import UserError
from search.prompts import Prompt
from search.prompts.evidence import VIEWS, Evidence, gather, normal_scores
from search.spaces import DIGITS, Seen

LENGTHS = (2.5, 4.5, 6.5, 9.5, 14.5, 21.5, 31.5, 49.5, 74.5, 109.5, 159.5)
DECISIONS = (3.5, 4.5, 5.5, 6.5, 8.5, 10.5, 14.5, 20.5, 30.5)
OPTIONS = (2.5, 3.5, 4.5, 5.5, 7.5, 10.5)
SPREADS = (0.3, 0.45, 0.55, 0.65, 0.75, 0.85)
SKILLS = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
STDS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.1)
GAPS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7)
MEAN_STEP, MEAN_BINS = 0.1, 64
AVERAGE_STEP, AVERAGE_BINS = 0.05, 128
SHIFTS = (-1 / 3, 0.0, 1 / 3)  # a line is read once with each: three roundings tell more than one
VALUE_STEP, VALUE_BINS = 0.15, 60
OVERSHOOT = 0.8  # units of (best - median) to scores: a new best lies beyond the scale by so much
MARKED = (
    48,
    10,
)  # decisions and options that have tokens of their own; what is beyond is written as the bare character
MARK = "="
TOKEN = r"<(?:[a-z]+[:~]?\d+|\d+\.\d)>|[\s\S]"


def value_scores(values: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Where new values lie relative to the history, float64 (n,), (m,) -> (m,): normal scores between the entries;
    beyond the best (worst) entry its score + 0.1 + 0.8 x the excess in units of |best (worst) - median|, at most two
    units.
    """
    values, new = np.asarray(values, dtype=np.float64), np.asarray(new, dtype=np.float64)
    known, first = np.unique(values, return_index=True)
    scores = np.interp(new, known, normal_scores(values)[first])
    middle = float(np.median(values))
    above = np.maximum(new - known[-1], 0.0) / max(known[-1] - middle, 1e-9)
    below = np.maximum(known[0] - new, 0.0) / max(middle - known[0], 1e-9)
    scores = scores + np.where(above > 0, 0.1 + OVERSHOOT * np.minimum(above, 2.0), 0.0)
    return scores - np.where(below > 0, 0.1 + OVERSHOOT * np.minimum(below, 2.0), 0.0)


def value_bins(scores: np.ndarray) -> np.ndarray:
    """Value bin of each score, int64, 0 .. 59."""
    return np.clip(np.floor(np.asarray(scores) / VALUE_STEP) + VALUE_BINS // 2, 0, VALUE_BINS - 1).astype(np.int64)


def bin_centres() -> np.ndarray:
    """The score in the middle of each value bin, float64 (60,)."""
    return (np.arange(VALUE_BINS) - VALUE_BINS // 2 + 0.5) * VALUE_STEP


def vocabulary() -> list[str]:
    """Every evidence token, in a fixed order: context, trust and prediction of each view, values."""
    context = [("n", LENGTHS), ("d", DECISIONS), ("o", OPTIONS), ("s", SPREADS)]
    tokens = [f"<{name}:{i}>" for name, edges in (*context, ("gap", GAPS)) for i in range(len(edges) + 1)]
    tokens += [f"<{name}:{i}>" for name in ("avg", "wav") for i in range(AVERAGE_BINS)]
    for view in VIEWS:
        tokens += [f"<{view}~{i}{j}>" for i in range(len(SKILLS) + 1) for j in range(len(STDS) + 1)]
        tokens += [f"<{view}:{i}>" for i in range(MEAN_BINS)]
    tokens += [f"<v{i}>" for i in range(VALUE_BINS)]
    return tokens + [f"<{j}.{o}>" for j in range(MARKED[0]) for o in range(MARKED[1])]


def code_text(code: str) -> str:
    """A code as nano answers write it: <0.3><1.0><2.2> for 302."""
    return "".join(f"<{j}.{c}>" if j < MARKED[0] and c in DIGITS[: MARKED[1]] else c for j, c in enumerate(code))


def code_of(text: str) -> str:
    """The inverse of `code_text`."""
    return re.sub(r"<\d+\.(\d)>", r"\1", text)


def context_text(evidence: Evidence) -> str:
    """The four context tokens."""
    pairs = (
        ("n", evidence.length, LENGTHS),
        ("d", evidence.decisions, DECISIONS),
        ("o", evidence.options, OPTIONS),
        ("s", evidence.spread, SPREADS),
    )
    return "".join(f"<{name}:{int(np.searchsorted(edges, value))}>" for name, value, edges in pairs)


def value_lines(evidence: Evidence, shift: float = 0.0) -> list[str]:
    """One evidence line per candidate.

    shift moves the borders of the prediction bins by that share of a bin (0 as trained).
    """
    head = context_text(evidence)
    averages = average_texts(evidence, shift)
    bins = _bins(evidence.mean, MEAN_STEP, MEAN_BINS, shift)
    skills = np.searchsorted(SKILLS, evidence.skill)
    stds = np.searchsorted(STDS, evidence.std)
    gaps = np.searchsorted(GAPS, np.round(evidence.mean.std(axis=1), 6))
    return [
        head
        + averages[c]
        + f"<gap:{gaps[c]}>"
        + "".join(f"<{view}~{skills[v]}{stds[c, v]}><{view}:{bins[c, v]}>" for v, view in enumerate(VIEWS))
        for c in range(len(bins))
    ]


def average_texts(evidence: Evidence, shift: float = 0.0) -> list[str]:
    """The two average tokens of each candidate: every view counts alike, and by the square of its skill."""
    trust = np.maximum(evidence.skill, 0.0) ** 2 + 0.05
    both = np.stack([evidence.mean.mean(axis=1), evidence.mean @ trust / trust.sum()], axis=1)
    return [f"<avg:{a}><wav:{w}>" for a, w in _bins(both, AVERAGE_STEP, AVERAGE_BINS, shift)]


def _bins(mean: np.ndarray, step: float, count: int, shift: float) -> np.ndarray:
    return np.clip(np.floor(np.round(mean / step + shift, 6)) + count // 2, 0, count - 1).astype(np.int64)


def promise(evidence: Evidence, candidates: Sequence[str]) -> list[int]:
    """Candidate indices in the order of the views' average prediction, best last; equal ones by their code."""
    average = np.round(evidence.mean.mean(axis=1), 6)
    return sorted(range(len(candidates)), key=lambda c: (average[c], candidates[c]))


def arrays(history: Sequence[Seen], candidates: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes uint8 (n, d), values (n,), candidates uint8 (m, d)) of a ranking question; UserError for codes of unequal
    length.
    """
    codes = [s.code for s in history] + list(candidates)
    if len({len(c) for c in codes}) != 1:
        raise UserError(
            f"codes of {sorted({len(c) for c in codes})} digits were given - all codes of one search have the same"
            " length - correct the history"
        )
    digits = np.array([[DIGITS.find(x) for x in c] for c in codes], dtype=np.int64)
    if (digits < 0).any():
        raise UserError(
            "a code holds a character other than 0-9 and a-z - NCode allows only those - correct the history"
        )
    values = np.array([s.value for s in history], dtype=np.float64)
    if not np.isfinite(values).all():
        raise UserError("a history value is not finite - only finished trials may be shown - drop failed trials first")
    return digits[: len(history)].astype(np.uint8), values, digits[len(history) :].astype(np.uint8)


@dataclass(frozen=True)
class NanoFormat:
    """Both nano formats (see `search.prompts.base.PromptFormat`); one model learns the two together.

    name: in FORMATS and in a model's stamp.
    names_code: the answer is the code of the best, not a value.
    """

    name: str
    names_code: bool
    family: ClassVar[tuple[str, ...]] = ("nano", "nano_value")
    sort: ClassVar[bool] = False
    read: ClassVar[None] = None

    def answer_text(self, code: str) -> str:
        """How an answer spells a code (a value stays as it is)."""
        return code_text(code) if self.names_code else code

    def render(self, history: Sequence[Seen], candidates: Sequence[str]) -> Prompt:
        """The prompt for this history (told order, higher is better) and these candidates."""
        evidence = gather(*arrays(history, candidates))
        return Prompt("", self.write(evidence, candidates))

    def write(self, evidence: Evidence, candidates: Sequence[str]) -> str:
        """The prompt text from evidence that was gathered already."""
        if not self.names_code:
            return "\n".join(value_lines(evidence))
        averages = average_texts(evidence)
        lines = [averages[c] + code_text(candidates[c]) for c in promise(evidence, candidates)]
        return context_text(evidence) + "".join("\n" + line for line in lines)

    def parse(self, answer: str, candidates: Sequence[str]) -> str | None:
        """The candidate that an answer names; None when it names none or several (value answers never name one)."""
        named = {word for word in re.findall(r"[0-9a-z]+", code_of(answer)) if word in set(candidates)}
        return named.pop() if self.names_code and len(named) == 1 else None


NANO = NanoFormat("nano", True)
NANO_VALUE = NanoFormat("nano_value", False)
