"""How a code is written in a row: as NCode digits, or as operator text (paper section 5.4, the domain-specific control).

NAS-Bench-201 gets the paper's own form '|conv3X3~0|+|conv3X3~0|+...' (operation~source node of each edge); any other space
the same form with '|option~decision|'. NAS-Bench-201's official string differs; see `search.tables.nb201.arch_string`.
"""

from __future__ import annotations

import re

import numpy as np

from search.errors import UserError
from search.prompt_bulk import digit_text, escaped
from search.space import Space

PAPER_OPS = ("zeroize", "skip_connect", "conv1X1", "conv3X3", "avg_pool3X3")
_EDGE = re.compile(r"edge_(\d)_\d")
ENCODINGS = ("ncode", "domain")


def option_words(space: Space) -> list[list[str]]:
    """The text of each option of each decision, without the bars."""
    words = []
    for decision in space.decisions:
        edge = _EDGE.fullmatch(decision.name) if space.name == "nb201" else None
        names = PAPER_OPS if edge else [re.sub(r"[|+~\s;,]", "_", str(o)) for o in decision.options]
        source = edge[1] if edge else re.sub(r"[|+~\s;,]", "_", decision.name)
        words.append([f"{name}~{source}" for name in names])
        if len(set(words[-1])) != len(words[-1]):
            raise UserError(f"options of '{decision.name}' read alike as text: {words[-1]} - operator text must tell them apart - use --encoding ncode")
    return words


def domain_text(space: Space, code: str) -> str:
    """The operator text of one code."""
    return "+".join(f"|{words[int(digit, 36)]}|" for words, digit in zip(option_words(space), space.check(code)))


def parse_domain(space: Space, text: str) -> str:
    """The code of an operator text; UserError when it is not one."""
    parts = text.split("+")
    words = option_words(space)
    try:
        if len(parts) != len(words):
            raise ValueError
        return space.encode({d.name: d.options[w.index(p.removeprefix("|").removesuffix("|"))] for d, w, p in zip(space.decisions, words, parts)})
    except ValueError:
        raise UserError(f"'{text[:80]}' is not operator text of {space!r} - it has one |option~decision| per decision joined by + - correct it") from None


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
