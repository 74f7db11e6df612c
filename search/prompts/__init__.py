"""Prompt formats by name: how a history and candidates become text, and how an answer is read."""

from __future__ import annotations

import hashlib

from search.prompts.base import Prompt, PromptFormat
from search.registry import resolve
from search.spaces import Seen

FORMATS = {
    "paper": "search.prompts.formats:PAPER",
    "append": "search.prompts.formats:APPEND",
    "direct": "search.prompts.formats:DIRECT",
    "release": "search.prompts.formats:RELEASE",
    "nano": "search.prompts.nano:NANO",
    "nano_value": "search.prompts.nano:NANO_VALUE",
    "stamped": "search.prompts.stamped:STAMPED",
}


def get_format(name: str) -> PromptFormat:
    """The format of that name; UserError (did you mean ...) if there is none."""
    return resolve("prompt format", name, FORMATS)


def format_hash(name: str) -> str:
    """12 hex digits that change when the text of a format changes: the hash of a fixed example rendered with it.

    Formats that one model learns together (`family`) share one hash.
    """
    values = {"0123": 71.25, "3210": 64.5, "2222": 70.0, "0000": 12.0, "1111": 68.125, "0101": 66.0}
    history = [Seen(code, value) for code, value in values.items()]
    losses = [Seen(s.code, -s.value / 1000) for s in history]
    family = get_format(name).family
    texts = [get_format(n).render(h, ["0120", "3333"]).text for n in family for h in (history, losses)]
    return hashlib.sha256("\x00".join(texts).encode()).hexdigest()[:12]


__all__ = ["FORMATS", "Prompt", "PromptFormat", "format_hash", "get_format"]
