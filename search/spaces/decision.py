"""One digit of a code: a decision and its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from search.errors import UserError

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"  # in the order of their bytes, so that codes compare as numbers do


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

    def index(self, value: Any) -> int | None:
        """The position of an option; None if it is none. 1, 1.0 and True are three options."""
        alike = [i for i, o in enumerate(self.options) if o is value or o == value]
        return next((i for i in alike if type(self.options[i]) is type(value)), alike[0] if alike else None)

    @property
    def digits(self) -> tuple[Decision, ...]:
        """Itself: one digit is enough."""
        return (self,)

    def under(self, active: Callable[[Mapping[str, Any]], bool]) -> Decision:
        """The same decision, active where that says so."""
        return replace(self, active=active)


def option_text(option: Any) -> str:
    """The text of an option, the same in every process: the order of a set depends on its hashes."""
    return _text(option) if isinstance(option, (set, frozenset, dict, list, tuple)) else str(option)


def _text(thing: Any) -> str:
    """`repr`, with the members of sets in the order of their texts."""
    if isinstance(thing, (set, frozenset)) and thing:
        inside = "{" + ", ".join(sorted(map(_text, thing))) + "}"
        return f"frozenset({inside})" if isinstance(thing, frozenset) else inside
    if type(thing) is dict:
        return "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in thing.items()) + "}"
    if type(thing) is list:
        return "[" + ", ".join(map(_text, thing)) + "]"
    if type(thing) is tuple:
        return "(" + ", ".join(map(_text, thing)) + (",)" if len(thing) == 1 else ")")
    return repr(thing)
