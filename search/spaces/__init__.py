"""Search spaces and NCode: decisions, options and the digit strings that name an architecture."""

from search.spaces.decision import DIGITS, Decision
from search.spaces.ranges import Choice, Integer, Ladder, Real
from search.spaces.space import Seen, Space

__all__ = ["DIGITS", "Choice", "Decision", "Integer", "Ladder", "Real", "Seen", "Space"]
