"""Search spaces and NCode: decisions, options and the digit strings that name an architecture."""

from search.spaces.space import DIGITS, Decision, Seen, Space

__all__ = ["DIGITS", "Decision", "Seen", "Space"]
