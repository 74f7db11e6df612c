"""What a model answered, out of free text: thinking passed over, JSON opened, codes found in every usual spelling."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from search.errors import UserError
from search.prompts.encodings import parse_domain
from search.spaces import DIGITS, Space

THOUGHT_ENDS = "</think>"  # what a model that thinks first writes before its answer
LABEL = "architecture"  # what our prompts ask an answer to begin with; see search.prompts.writing
LONGEST_ANSWER = 20_000  # characters that are read; what follows cannot be the one line that was asked for
DIGIT_OPTIONS = 10  # up to so many options a code holds digits only, and no word can be mistaken for one


def answer_of(content: str) -> str:
    """What a model answered: without the thinking before it, and out of its JSON object if it wrote one."""
    text = content.rpartition(THOUGHT_ENDS)[2]
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(found, dict) and isinstance(found.get("answer"), str):
            return found["answer"]
    return text


def read_codes(content: str, space: Space, domain: bool = False) -> list[str]:
    """The codes of a space that an answer names, without repeats: those on a line 'Architecture: ...' first.

    Read are 333123, [3, 3, 3, 1, 2, 3], 3-3-3-1-2-3 and, with domain, operator text. Where options have letters too
    (more than ten), a code counts only on such a line or alone, because any word could be one.
    """
    text = answer_of(content)[:LONGEST_ANSWER]
    labelled = [m[1] for m in re.finditer(rf"{LABEL}\W*?[:=]\s*(.*)", text, re.IGNORECASE)]
    wordy = not domain and any(len(d.options) > DIGIT_OPTIONS for d in space.decisions)
    places = [*labelled, text.strip()] if not wordy else [t.strip(" *`'\".;") for t in (*labelled, text.strip())]
    find = _operator_texts if domain else (_whole if wordy else _codes)
    return list(dict.fromkeys(code for place in places for code in find(place, space)))


def _codes(text: str, space: Space) -> list[str]:
    """Codes written without or with separators, in the order of the text."""
    found = []
    for match in _pattern(len(space)).finditer(text):
        digits = list(match[0]) if match[0].isalnum() else re.findall(r"\d+", match[0])
        code = "".join(DIGITS[int(d)] if int(d) < len(DIGITS) else "?" for d in digits)
        if _valid(code, space):
            found.append(code)
    return found


def _whole(text: str, space: Space) -> list[str]:
    return [text] if _valid(text, space) else []


def _operator_texts(text: str, space: Space) -> list[str]:
    found = []
    for word in text.split():
        try:
            found.append(parse_domain(space, word.strip(".,;`'\"")))
        except UserError:
            continue
    return found


def _valid(code: str, space: Space) -> bool:
    try:
        return bool(space.check(code))
    except UserError:
        return False


@lru_cache(64)
def _pattern(length: int) -> re.Pattern[str]:
    """`length` digits as one word, or as numbers of at most two digits between separators."""
    joined = rf"(?<![0-9A-Za-z.])[0-9]{{{length}}}(?![0-9A-Za-z])(?!\.[0-9])"
    between = r"(?:\s?[,;|-]\s?|\s)"
    apart = rf"(?<![0-9A-Za-z.])[0-9]{{1,2}}(?:{between}[0-9]{{1,2}}){{{length - 1}}}(?![0-9A-Za-z])(?!\.[0-9])"
    return re.compile(joined if length == 1 else f"{joined}|{apart}")
