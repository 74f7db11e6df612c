"""What chat and endpoint share: options after '?' in a ranker spec, and a fallback for questions they cannot answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from search.errors import UserError, did_you_mean
from search.rankers.base import Context, Ranker, Ranking
from search.spaces import Seen

ROLES = ("user", "system")


def split_options(argument: str, defaults: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """'FILE?mode=generate&retries=5' -> ('FILE', options); each value takes the type of its default.

    UserError if unknown.
    """
    target, _, query = argument.partition("?")
    options = dict(defaults)
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in defaults:
            raise did_you_mean("ranker option", key, defaults)
        kind = type(defaults[key]) if defaults[key] is not None else str
        try:
            options[key] = kind(text)
        except ValueError:
            raise UserError(
                f"ranker option {key} was given '{text}' - it takes {_kind(kind)} - write for example"
                f" {key}={defaults[key]}"
            ) from None
    return target, options


def _kind(kind: type) -> str:
    return {int: "a whole number", float: "a number"}.get(kind, "text")


def one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    """The value itself if it is allowed, else UserError."""
    if value not in allowed:
        raise did_you_mean(name, value, allowed)
    return value


def make_fallback(name: str, context: Context) -> Ranker:
    """The ranker that answers when the model could not; UserError for one that would need a model itself."""
    from search.rankers import make_ranker, usable

    return make_ranker(one_of("fallback", name, usable("stands_in")), context)


def fall_back(
    fallback: Ranker, reason: str, history: Sequence[Seen], candidates: Sequence[str], **more: Any
) -> Ranking:
    """The fallback's answer, marked with the reason why it was asked, so that it is counted and reported."""
    ranking = fallback.rank(history, candidates)
    return replace(ranking, source=f"{more.pop('source')}>{ranking.source}", fallback=reason, **more)


def text_hash(text: str) -> str:
    """16 hex digits of a prompt's SHA-256, for the transcript."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fit_history(history: Sequence[Seen], fits: Callable[[Sequence[Seen]], bool], best: bool) -> list[Seen]:
    """The part of the history that fits the model's context, in told order.

    best: keep the best entries (formats that sort), else the latest. The number dropped grows in steps of a quarter of
    what fits, so that an append-only prompt keeps its beginning for many steps. UserError if not even one entry fits.
    """
    history = list(history)
    if not history or fits(history):
        return history
    order = sorted(range(len(history)), key=lambda i: (history[i].value, i)) if best else list(range(len(history)))

    def without(n: int) -> list[Seen]:
        dropped = set(order[:n])
        return [s for i, s in enumerate(history) if i not in dropped]

    low, high = 1, len(history)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(without(middle)) else (middle + 1, high)
    if low == len(history) and not fits([]):
        raise UserError(
            "the candidates alone do not fit the model's context - use a model with a longer one, or fewer candidates"
        )
    block = max(1, (len(history) - low) // 4)
    return without(min(len(history), -(-low // block) * block))
