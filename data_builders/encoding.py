"""How a code is written in a row: as NCode digits, or as operator text (see `search.operator_text`)."""

from __future__ import annotations

import numpy as np

from search.operator_text import ENCODINGS, domain_text, option_words, parse_domain
from search.prompt_bulk import digit_text, escaped
from search.space import Space

__all__ = ["ENCODINGS", "SpaceText", "code_texts", "domain_text", "option_words", "parse_domain"]


class SpaceText:
    """`code_texts` of one space, for pools that write codes as they come."""

    def __init__(self, space: Space, encoding: str):
        self.space, self.encoding = space, encoding

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        return code_texts(self.space, codes, self.encoding)


def code_texts(space: Space, codes: np.ndarray, encoding: str = "ncode") -> np.ndarray:
    """The JSON-escaped text of each code, NUL-padded; uint8 (n, d) -> uint8 (n, width)."""
    if encoding == "ncode":
        return digit_text(codes)
    words = [[escaped(f"|{w}|") for w in options] for options in option_words(space)]
    texts = [b"+".join(w[digit] for w, digit in zip(words, row)) for row in codes.tolist()]
    width = max(map(len, texts))
    return np.array(texts, dtype=f"S{width}").view(np.uint8).reshape(len(texts), width)
