"""When a run ends: budget, exhaustion, or more failures than it may meet."""

from __future__ import annotations

from dataclasses import dataclass

HANDFUL, RATE = 5, 0.5  # failures that always may happen; beyond them, the share of evaluations that may fail


@dataclass(frozen=True)
class Ending:
    """How a run ended: 'budget', 'exhausted' (no code is left), or 'failures' (too many, the last reason is given)."""

    why: str
    failures: int = 0
    last_reason: str | None = None


@dataclass
class Tally:
    """What a run met so far. limit: see Study.run."""

    limit: int | float | None
    told: int = 0
    failures: int = 0
    last_reason: str | None = None

    def add(self, reason: str | None) -> None:
        """One more evaluation; why it failed, None if it did not."""
        self.told += 1
        if reason is not None:
            self.failures, self.last_reason = self.failures + 1, reason

    @property
    def gave_up(self) -> bool:
        """Whether more failed than may."""
        if self.limit is None or (isinstance(self.limit, float) and self.limit < 1):
            rate = RATE if self.limit is None else self.limit
            return self.failures > HANDFUL and self.failures > rate * self.told
        return self.failures > self.limit
