"""Search spaces and NCode: one character per decision, the index of the chosen option (paper section 3.2).

    space = Space([Decision("depth", (2, 4, 6)), Decision("width", (64, 128))])
    space.decode("21") == {"depth": 6, "width": 128}

In bulk, codes are uint8 arrays of shape (n, decisions); strings live at the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from search.errors import UserError
from search.spaces.decision import DIGITS as DIGITS
from search.spaces.decision import Decision as Decision
from search.spaces.decision import option_text
from search.spaces.geometry import Geometry
from search.spaces.ranges import Ladder

_DIGIT_BYTES = np.frombuffer(DIGITS.encode(), dtype=np.uint8)
_INDEX = np.full(256, 255, dtype=np.uint8)
_INDEX[_DIGIT_BYTES] = np.arange(len(DIGITS), dtype=np.uint8)


class Seen(NamedTuple):
    """An evaluated code. `value` is always 'higher is better'; a minimised metric arrives negated."""

    code: str
    value: float


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
    """An ordered list of decisions, and of ladders (search.spaces.ranges) where one digit is too little. Immutable.

    decisions: one per digit. axes: one per parameter, as given. geometry: near and far, None for plain decisions.
    `canonical` maps a code to the representative of all codes that mean the same architecture; without it,
    digits of inactive decisions become 0. Used to avoid repeats and leaks, never to look up a table.
    """

    def __init__(
        self, decisions: Iterable[Decision | Ladder], name: str = "", canonical: Callable[[str], str] | None = None
    ):
        self.axes = _checked(decisions)
        self.decisions: tuple[Decision, ...] = tuple(d for a in self.axes for d in a.digits)
        self.geometry = None if self.axes == self.decisions else Geometry(self.axes)
        self.name = name
        self._canonical = canonical
        if not self.decisions:
            raise UserError("a search space without decisions was given - at least one is needed")
        names = [a.name for a in self.axes]
        if len(set(names)) != len(names):
            raise UserError(f"two decisions share a name in {names} - names must differ")
        self._conditional = any(a.active for a in self.axes)

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
        return {a.name: a.options[level] for a, level in zip(self.axes, self.levels(code))}

    def encode(self, arch: Mapping[str, Any]) -> str:
        """The code of {decision name: option}."""
        levels = []
        for a in self.axes:
            if a.name not in arch:
                raise UserError(f"the architecture lacks decision '{a.name}' - it needs {[x.name for x in self.axes]}")
            value = arch[a.name]
            level = a.level(value) if isinstance(a, Ladder) else a.index(value)
            if level is None:
                raise UserError(f"decision '{a.name}' was given {value!r} - options are {list(a.options)}")
            levels.append(level)
        return self.spell(levels)

    def spell(self, levels: Sequence[int]) -> str:
        """The code of one level (the index of the option) per parameter."""
        if self.geometry is None:
            return "".join(DIGITS[level] for level in levels)
        return self.to_codes(self.geometry.codes(np.array([levels], dtype=np.int64)))[0]

    def levels(self, code: str) -> list[int]:
        """The level of each parameter of a code: the inverse of spell."""
        if self.geometry is None:
            return [DIGITS.index(c) for c in self.check(code)]
        return [int(level) for level in self.geometry.levels(self.to_array([code]))[0]]

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
        if self.geometry is None and not self._conditional:
            return code
        arch = self.decode(code) if self._conditional else {}
        if self.geometry is None:
            return "".join(c if d.active is None or d.active(arch) else "0" for c, d in zip(code, self.decisions))
        return self.geometry.fold(code, [a.active is None or bool(a.active(arch)) for a in self.axes])

    def places(self, codes: Sequence[str]) -> np.ndarray:
        """Where each parameter of each code lies (see Geometry.places), NaN where it has no effect.

        float64 (n, parameters).
        """
        places = (self.geometry or Geometry(self.axes)).places(self.to_array(codes))
        if self._conditional:
            for row, code in zip(places, codes):
                arch = self.decode(code)
                row[[i for i, a in enumerate(self.axes) if a.active is not None and not a.active(arch)]] = np.nan
        return places

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n uniform codes, with repeats; uint8 (n, decisions)."""
        if self.geometry is not None:
            return self.geometry.sample(rng, n)
        return (rng.random((n, len(self))) * self.cardinalities).astype(np.uint8)

    def mutate(self, array: np.ndarray, rng: np.random.Generator, told: int = 0) -> np.ndarray:
        """Each row with exactly one digit changed (unchanged if no decision has two options); uint8 (n, decisions).

        In a space with ladders, see Geometry.mutate. told: how many trials were told; it says how fine steps may be.
        """
        if self.geometry is not None:
            return self.geometry.mutate(array, rng, told)
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
        options = [[o if isinstance(o, plain) else option_text(o) for o in d.options] for d in self.decisions]
        return {
            "name": self.name,
            "decisions": [{"name": d.name, "options": o} for d, o in zip(self.decisions, options)],
        }


def _checked(decisions: Any) -> tuple[Decision | Ladder, ...]:
    """The parameters as a tuple; UserError for anything else than decisions and ladders."""
    example = "Space([Decision('depth', (2, 4, 6)), Real('lr', 1e-5, 1e-1, log=True)])"
    if isinstance(decisions, Mapping):
        raise UserError(f"a space was given a dict - a list of decisions is needed - write {example}")
    axes = tuple(decisions)
    for a in axes:
        if not isinstance(a, (Decision, Ladder)):
            raise UserError(f"a space was given {a!r} - decisions and ranges are allowed - write {example}")
    return axes
