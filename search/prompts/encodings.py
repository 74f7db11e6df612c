"""Architectures as operator text instead of digits (paper section 5.4, the domain-specific control).

NAS-Bench-201 gets the paper's own form '|conv3X3~0|+|conv3X3~0|+...' (operation~source node of each edge); any other
space the same form with '|option~decision|'. NAS-Bench-201's official string differs; see
`search.tables.nb201.arch_string`.
"""

from __future__ import annotations

import re

from search.errors import UserError
from search.spaces import Space

PAPER_OPS = ("zeroize", "skip_connect", "conv1X1", "conv3X3", "avg_pool3X3")
ENCODINGS = ("ncode", "domain")
_EDGE = re.compile(r"edge_(\d)_\d")


def option_words(space: Space) -> list[list[str]]:
    """The text of each option of each decision, without the bars."""
    words = []
    for decision in space.decisions:
        edge = _EDGE.fullmatch(decision.name) if space.name == "nb201" else None
        names = PAPER_OPS if edge else [re.sub(r"[|+~\s;,]", "_", str(o)) for o in decision.options]
        source = edge[1] if edge else re.sub(r"[|+~\s;,]", "_", decision.name)
        words.append([f"{name}~{source}" for name in names])
        if len(set(words[-1])) != len(words[-1]):
            raise UserError(
                f"options of '{decision.name}' read alike as text: {words[-1]} - operator text must tell them apart -"
                " use --encoding ncode"
            )
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
        return space.encode(
            {
                d.name: d.options[w.index(p.removeprefix("|").removesuffix("|"))]
                for d, w, p in zip(space.decisions, words, parts)
            }
        )
    except ValueError:
        raise UserError(
            f"'{text[:80]}' is not operator text of {space!r} - it has one |option~decision| per decision joined by + -"
            " correct it"
        ) from None
