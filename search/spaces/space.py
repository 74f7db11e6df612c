"""Search spaces and NCode: one character per decision, the index of the chosen option (paper section 3.2).

    space = Space([Decision("depth", (2, 4, 6)), Decision("width", (64, 128))])
    space.decode("21") == {"depth": 6, "width": 128}

In bulk, codes are uint8 arrays of shape (n, decisions); strings live at the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from search.errors import UserError

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_DIGIT_BYTES = np.frombuffer(DIGITS.encode(), dtype=np.uint8)
_INDEX = np.full(256, 255, dtype=np.uint8)
_INDEX[_DIGIT_BYTES] = np.arange(len(DIGITS), dtype=np.uint8)


class Seen(NamedTuple):
    """An evaluated code. `value` is always 'higher is better'; a minimised metric arrives negated."""

    code: str
    value: float


@dataclass(frozen=True)
class Decision:
    """One choice of an architecture: a name and its options (1 to 36).

    `active` says, from the decoded architecture, whether the choice has any effect (None: always).
    """

    name: str
    options: tuple[Any, ...]
    active: Callable[[Mapping[str, Any]], bool] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not 1 <= len(self.options) <= len(DIGITS):
            raise UserError(
                f"decision '{self.name}' has {len(self.options)} options - NCode allows 1 to {len(DIGITS)} - split it"
                " into two decisions"
            )
        if len(set(map(repr, self.options))) != len(self.options):
            raise UserError(f"decision '{self.name}' lists an option twice: {self.options} - options must differ")


@dataclass(frozen=True)
class Mask:
    """A pruned subspace: `allowed[i, o]` says whether option o of decision i survived.

    Shape (decisions, max options).
    """

    allowed: np.ndarray

    @property
    def size(self) -> int:
        """Number of codes in the subspace."""
        return prod(int(n) for n in self.allowed.sum(axis=1))

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n uniform codes of the subspace, with repeats; uint8 (n, decisions)."""
        counts = self.allowed.sum(axis=1)
        order = np.argsort(~self.allowed, axis=1, kind="stable").astype(np.uint8)
        picks = (rng.random((n, len(counts))) * counts).astype(np.int64)
        return order[np.arange(len(counts)), picks]

    def contains(self, codes: np.ndarray) -> np.ndarray:
        """Which rows of uint8 (n, decisions) lie in the subspace; bool (n,)."""
        return self.allowed[np.arange(self.allowed.shape[0]), codes].all(axis=1)


class Space:
    """An ordered list of decisions. Immutable.

    `canonical` maps a code to the representative of all codes that mean the same architecture; without it,
    digits of inactive decisions become 0. Used to avoid repeats and leaks, never to look up a table.
    """

    def __init__(self, decisions: Iterable[Decision], name: str = "", canonical: Callable[[str], str] | None = None):
        self.decisions = tuple(decisions)
        self.name = name
        self._canonical = canonical
        if not self.decisions:
            raise UserError("a search space without decisions was given - at least one is needed")
        names = [d.name for d in self.decisions]
        if len(set(names)) != len(names):
            raise UserError(f"two decisions share a name in {names} - names must differ")
        self._conditional = any(d.active for d in self.decisions)

    @classmethod
    def of_sizes(cls, sizes: Sequence[int], name: str = "") -> Space:
        """A space known only by its numbers of options: decisions d0, d1, ... with options 0, 1, ..."""
        return cls([Decision(f"d{i}", tuple(range(int(n)))) for i, n in enumerate(sizes)], name)

    def __len__(self) -> int:
        return len(self.decisions)

    def __repr__(self) -> str:
        return f"Space({self.name or 'unnamed'}: {len(self)} decisions, {self.size:.4g} codes)"

    @cached_property
    def cardinalities(self) -> np.ndarray:
        """Number of options of each decision, int64 (decisions,)."""
        return np.array([len(d.options) for d in self.decisions], dtype=np.int64)

    @cached_property
    def size(self) -> int:
        """Number of codes (exact, may exceed 64 bits)."""
        return prod(len(d.options) for d in self.decisions)

    def check(self, code: str) -> str:
        """The code itself if it is one of this space, else UserError."""
        if len(code) != len(self):
            raise UserError(
                f"code '{code}' has {len(code)} digits - this space has {len(self)} decisions - give one digit each"
            )
        for digit, decision in zip(code, self.decisions):
            index = DIGITS.find(digit)
            if not 0 <= index < len(decision.options):
                top = DIGITS[len(decision.options) - 1]
                raise UserError(
                    f"code '{code}' has digit '{digit}' for decision '{decision.name}' - allowed are 0 to {top} -"
                    " correct that digit"
                )
        return code

    def decode(self, code: str) -> dict[str, Any]:
        """{decision name: option} of a code."""
        return {d.name: d.options[DIGITS.index(c)] for c, d in zip(self.check(code), self.decisions)}

    def encode(self, arch: Mapping[str, Any]) -> str:
        """The code of {decision name: option}."""
        digits = []
        for d in self.decisions:
            if d.name not in arch:
                raise UserError(
                    f"the architecture lacks decision '{d.name}' - it needs {[x.name for x in self.decisions]}"
                )
            if arch[d.name] not in d.options:
                raise UserError(f"decision '{d.name}' was given {arch[d.name]!r} - options are {list(d.options)}")
            digits.append(DIGITS[d.options.index(arch[d.name])])
        return "".join(digits)

    def to_array(self, codes: Sequence[str]) -> np.ndarray:
        """uint8 (n, decisions) of digit strings, checked."""
        if len(codes) == 0:
            return np.empty((0, len(self)), dtype=np.uint8)
        joined = "".join(codes).encode("ascii", "replace")
        if len(joined) != len(codes) * len(self) or any(len(c) != len(self) for c in codes):
            self.check(next(c for c in codes if len(c) != len(self)))
        array = _INDEX[np.frombuffer(joined, dtype=np.uint8)].reshape(len(codes), len(self))
        wrong = np.flatnonzero((array >= self.cardinalities).any(axis=1))
        if len(wrong):
            self.check(codes[wrong[0]])
        return array

    def to_codes(self, array: np.ndarray) -> list[str]:
        """Digit strings of a uint8 array (n, decisions)."""
        array = np.ascontiguousarray(array, dtype=np.uint8)
        text = _DIGIT_BYTES[array].tobytes().decode("ascii")
        d = array.shape[1]
        return [text[i : i + d] for i in range(0, len(text), d)]

    def canonical(self, code: str) -> str:
        """The representative of all codes that mean the same architecture as `code`."""
        if self._canonical is not None:
            return self._canonical(code)
        if not self._conditional:
            return code
        arch = self.decode(code)
        return "".join(c if d.active is None or d.active(arch) else "0" for c, d in zip(code, self.decisions))

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n uniform codes, with repeats; uint8 (n, decisions)."""
        return (rng.random((n, len(self))) * self.cardinalities).astype(np.uint8)

    def mutate(self, array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each row with exactly one digit changed (unchanged if no decision has two options); uint8 (n, decisions)."""
        free = np.flatnonzero(self.cardinalities > 1)
        out = np.array(array, dtype=np.uint8)
        if len(free) and len(out):
            where = free[rng.integers(len(free), size=len(out))]
            rows = np.arange(len(out))
            shift = 1 + (rng.random(len(out)) * (self.cardinalities[where] - 1)).astype(np.int64)
            out[rows, where] = (out[rows, where] + shift) % self.cardinalities[where]
        return out

    def neighbours(self, code: str) -> list[str]:
        """All codes that differ from `code` in exactly one digit, in digit order."""
        self.check(code)
        return [
            code[:i] + DIGITS[o] + code[i + 1 :]
            for i, d in enumerate(self.decisions)
            for o in range(len(d.options))
            if DIGITS[o] != code[i]
        ]

    def prune(self, rng: np.random.Generator, p_decision: float = 0.5, p_option: float = 0.5) -> Mask:
        """The paper's pruning (section 3.2): drop each option with p_option, freeze each decision with p_decision.

        At least one option always stays; a frozen decision keeps one of the surviving options.
        """
        exists = np.arange(self.cardinalities.max()) < self.cardinalities[:, None]
        allowed = exists & (rng.random(exists.shape) >= p_option)
        keep = np.where(exists, rng.random(exists.shape), -1).argmax(axis=1)
        rows = np.arange(len(self))
        empty = ~allowed.any(axis=1)
        allowed[rows[empty], keep[empty]] = True
        frozen = rng.random(len(self)) < p_decision
        score = np.where(allowed, rng.random(exists.shape), -1)
        only = np.zeros_like(allowed)
        only[rows, score.argmax(axis=1)] = True
        return Mask(np.where(frozen[:, None], only, allowed))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-friendly description: name and decisions."""
        plain = (int, float, bool, type(None))
        options = [[o if isinstance(o, plain) else str(o) for o in d.options] for d in self.decisions]
        return {
            "name": self.name,
            "decisions": [{"name": d.name, "options": o} for d, o in zip(self.decisions, options)],
        }
