"""The prompt format `stamped`: a raw history in which every entry is asked, answered and written again with its value
on every code token.

    <s> b1:? c1:? g0:? = v15 b1:15 c1:15 g0:15 b1:? c0:? g2:? = v14 b1:14 c0:14 g2:14 ...

One token a word: a marker (which decision), an option, and `?` or the value bin. Every `=` asks for a value, so that
every entry is a lesson; the second writing shows each code token together with the value of the whole entry. 2 d + 2
tokens for d
decisions.

Values are twentieths: bin 19 holds the best twentieth. Within a history they are mid-ranks, ties shared.

A space with more than 16 decisions shows those that tell most about the values of this history; a decision with more
than 10 options in use shares its words between neighbouring ones (`Naming`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from search.prompts.base import Prompt
from search.prompts.nano import arrays
from search.spaces import DIGITS, Seen

MARKERS, OPTIONS, BINS = (
    16,
    10,
    20,
)  # decisions and options a sequence can name; more are folded, see search.rankers.raw
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", ";", "=")
BOS, ASK = SPECIAL.index("<s>"), SPECIAL.index("=")
FIRST_VALUE = len(SPECIAL)
FIRST_CODE = FIRST_VALUE + BINS
STAMPS = BINS + 1  # a code token is asked (0) or stamped with a value bin (1 + bin)
SIZE = FIRST_CODE + MARKERS * OPTIONS * STAMPS
LETTERS = "abcdefghijklmnop"
SLACK = 0.5  # bins by which a rank may leave its bin before it is written anew; see `steady_bins`


@cache
def vocabulary() -> np.ndarray:
    """Every word in the order of its token id, str (SIZE,)."""
    words = [*SPECIAL, *(f"v{k}" for k in range(BINS))]
    words += [f"{m}{o}:{'?' if s == 0 else s - 1}" for m in LETTERS for o in range(OPTIONS) for s in range(STAMPS)]
    return np.array(words, dtype=object)


def text(ids: np.ndarray) -> str:
    """The words of token ids, separated by blanks."""
    return " ".join(vocabulary()[ids])


@cache
def bin_scores() -> np.ndarray:
    """The normal score in the middle of each bin, float64 (BINS,)."""
    return np.array([NormalDist().inv_cdf((k + 0.5) / BINS) for k in range(BINS)])


def mid_ranks(values: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Share of `among` (default: the values themselves) that lies below each value, ties counted half; float64 (n,) in
    [0, 1].
    """
    known = np.sort(values if among is None else among)
    return (np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / (2 * len(known))


def bins_of(ranks: np.ndarray) -> np.ndarray:
    """The value bin of each rank in [0, 1], int64 0 .. BINS - 1."""
    return np.clip((ranks * BINS).astype(np.int64), 0, BINS - 1)


def asked(codes: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """Token ids of codes that are asked for, int64 (n, d); codes int64 (n, d) option numbers below OPTIONS, markers
    int64 (d,).
    """
    return FIRST_CODE + (markers * OPTIONS + codes) * STAMPS


def entries(codes: np.ndarray, bins: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """Token ids of told entries, a row each: asked, `=`, value, stamped; int64 (n, 2 d + 2)."""
    ask = asked(codes, markers)
    n = len(codes)
    return np.concatenate([ask, np.full((n, 1), ASK), FIRST_VALUE + bins[:, None], ask + 1 + bins[:, None]], axis=1)


def steady_bins(values: np.ndarray, slack: float = SLACK) -> np.ndarray:
    """Bins of a history's values, int64 (n,), in told order: an entry keeps its bin as the history grows until its rank
    has left it by `slack` bins.

    Each new entry moves all ranks a little. Bins that followed at once would change a few old entries at every step,
    and with them all that was computed about the entries behind them. A pure function of the told values.
    """
    values = np.asarray(values, dtype=np.float64)
    bins = np.empty(0, dtype=np.int64)
    for n in range(1, len(values) + 1):
        place = mid_ranks(values[:n]) * BINS
        bins = np.append(bins, -BINS)
        left = (place < bins - slack) | (place > bins + 1 + slack)
        bins[left] = bins_of(place[left] / BINS)
    return bins


@dataclass(frozen=True)
class Naming:
    """How the codes of one question are written.

    columns: the decisions shown, int64 (k,).
    words: the option number of each option of each shown decision, int64 (k, 36), below OPTIONS.
    markers: int64 (k,), below MARKERS.
    """

    columns: np.ndarray
    words: np.ndarray
    markers: np.ndarray

    def numbers(self, codes: np.ndarray) -> np.ndarray:
        """Option numbers of codes uint8 (n, d), int64 (n, k)."""
        return self.words[np.arange(len(self.columns)), codes[:, self.columns]]

    def entries(self, codes: np.ndarray, bins: np.ndarray) -> np.ndarray:
        """Token ids of told entries, int64 (n, 2 k + 2)."""
        return entries(self.numbers(codes), bins, self.markers)

    def questions(self, codes: np.ndarray) -> np.ndarray:
        """Token ids that ask for codes, `=` at the end, int64 (m, k + 1)."""
        ask = asked(self.numbers(codes), self.markers)
        return np.concatenate([ask, np.full((len(ask), 1), ASK)], axis=1)


def naming(codes: np.ndarray, bins: np.ndarray, candidates: np.ndarray, seed: int | None = None) -> Naming:
    """The names for a history (uint8 (n, d), int64 (n,)) and its candidates: plain ones, or with a seed random ones as
    in training.
    """
    columns = shown_decisions(codes, bins)
    words = np.zeros((len(columns), len(DIGITS)), dtype=np.int64)
    for row, column in enumerate(columns):
        words[row] = _option_numbers(np.unique(np.concatenate([codes[:, column], candidates[:, column]])))
    markers = np.arange(len(columns))
    if seed is not None:
        rng = np.random.default_rng([seed, codes.shape[1]])
        markers = rng.permutation(MARKERS)[: len(columns)]
        markers = np.sort(markers) if seed % 2 else markers
        words = words if seed % 4 < 2 else rng.permutation(OPTIONS)[words]
    return Naming(columns, words, markers)


def _option_numbers(used: np.ndarray) -> np.ndarray:
    """Option numbers of all 36 digits, int64 (36,): the digit itself where it is small enough, else its place among the
    used ones, crowded ones shared.
    """
    if not len(used) or used[-1] < OPTIONS:
        return np.minimum(np.arange(len(DIGITS)), OPTIONS - 1)
    place = np.searchsorted(used, np.arange(len(DIGITS)), "right") - 1
    return np.clip(place * min(OPTIONS, len(used)) // len(used), 0, OPTIONS - 1)


def shown_decisions(codes: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """The decisions that are written, int64 (k,), ascending: all, or the MARKERS that explain most of the values'
    spread in this history.

    Explained is the share between options less what as many random groups would explain.
    """
    d = codes.shape[1]
    if d <= MARKERS:
        return np.arange(d)
    scores = bin_scores()[bins] if len(bins) else np.zeros(0)
    told = [_explained(codes[:, j], scores) for j in range(d)]
    return np.sort(np.argsort(-np.round(told, 9), kind="stable")[:MARKERS])


def _explained(options: np.ndarray, scores: np.ndarray) -> float:
    groups, of = np.unique(options, return_inverse=True)
    n, k = len(scores), len(groups)
    if k < 2 or n <= k:
        return -1.0 if k < 2 else 0.0
    rest = scores - scores.mean()
    between = (np.bincount(of, rest, k) ** 2 / np.bincount(of, minlength=k)).sum() / max((rest**2).sum(), 1e-12)
    return 1.0 - (1.0 - between) * (n - 1) / (n - k)


@dataclass(frozen=True)
class StampedFormat:
    """The format as `search.prompts.base.PromptFormat`; answers are values, not codes."""

    name: ClassVar[str] = "stamped"
    family: ClassVar[tuple[str, ...]] = ("stamped",)
    names_code: ClassVar[bool] = False
    sort: ClassVar[bool] = False
    read: ClassVar[None] = None

    def render(self, history: Sequence[Seen], candidates: Sequence[str]) -> Prompt:
        """The prompt that asks for the value of the first candidate, plain names, without the `<s>` that the tokenizer
        adds.
        """
        codes, values, new = arrays(history, candidates)
        bins = steady_bins(values)
        names = naming(codes, bins, new)
        told = names.entries(codes, bins).reshape(-1)
        return Prompt("", text(np.concatenate([told, names.questions(new[:1]).reshape(-1)])))

    def answer_text(self, code: str) -> str:
        """Answers are values, which stay as they are."""
        return code

    def parse(self, answer: str, candidates: Sequence[str]) -> str | None:
        """None: a value names no candidate."""
        return None


STAMPED = StampedFormat()
