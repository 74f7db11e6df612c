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

    @property
    def digits(self) -> tuple[Decision, ...]:
        """Itself: one digit is enough."""
        return (self,)

    def under(self, active: Callable[[Mapping[str, Any]], bool]) -> Decision:
        """The same decision, active where that says so."""
        return replace(self, active=active)
