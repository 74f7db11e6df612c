"""What a causal language model looks at when it reads a ranking question: attention of candidates to history codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.errors import UserError
from search.spaces import Seen

MOST_TOKENS = 3000  # attention of all layers is a square of this side each; longer prompts take gigabytes
LAYERS = ("all", "first", "last")


@dataclass(frozen=True)
class Attended:
    """The pairs of one question: every candidate with every history entry, in prompt order.

    attention: share of the candidate's attention to history codes that goes to this entry; float64 (candidates,
        entries), rows add up to 1.
    similarity: share of equal digits; float64 (candidates, entries).
    performance: value of the entry; float64 (entries,).
    position: place of the entry in the prompt, 0 first; float64 (entries,).
    """

    attention: np.ndarray
    similarity: np.ndarray
    performance: np.ndarray
    position: np.ndarray


def attended(ranker: Any, history: Sequence[Seen], candidates: Sequence[str], layers: str = "all") -> Attended:
    """Ask a chat ranker (model loaded with eager attention) one question and read its attention.

    Attention is the mean over the heads of the chosen layers and over a candidate's tokens, summed over the tokens of a
    history code. UserError when the prompt is too long or does not show its codes.
    """
    import torch

    text, ids = ranker.question(history, candidates)
    if len(ids) > MOST_TOKENS:
        raise UserError(
            f"the prompt has {len(ids)} tokens - at most {MOST_TOKENS} are analysed - give a shorter history"
        )
    codes, shown = _places(ranker, text, ids, history, candidates)
    with torch.inference_mode():
        found = ranker.model(torch.tensor([ids], device=ranker.model.device), output_attentions=True, use_cache=False)
    if not found.attentions or found.attentions[0] is None:
        raise UserError("the model returned no attention - it must be loaded with flash_attn: disabled - set that")
    chosen = {"all": found.attentions, "first": found.attentions[:1], "last": found.attentions[-1:]}[layers]
    mean = torch.stack([layer[0].float().mean(0) for layer in chosen]).mean(0).cpu().numpy().astype(np.float64)
    entries, order = codes
    rows = np.array([[mean[c][:, e].sum(axis=1).mean() for e in entries] for c in shown])
    values = np.array([history[i].value for i in order], dtype=np.float64)
    names = [history[i].code for i in order]
    similarity = np.array([[np.mean([a == b for a, b in zip(c, n)]) for n in names] for c in candidates])
    return Attended(rows / rows.sum(axis=1, keepdims=True), similarity, values, np.arange(len(order), dtype=np.float64))


def _places(
    ranker: Any, text: str, ids: Sequence[int], history: Sequence[Seen], candidates: Sequence[str]
) -> tuple[tuple[list[list[int]], list[int]], list[list[int]]]:
    """Token positions of each history code (in prompt order, with its index in the history) and of each candidate."""
    pieces = [ranker.tokenizer.decode([i]) for i in ids]
    ends = np.cumsum([len(p) for p in pieces])
    whole = "".join(pieces)
    start = whole.find(text)
    middle = text.rfind("Candidate:")
    if start < 0 or middle < 0:
        raise UserError(
            "the prompt does not show its codes as text - the analysis reads paper and append - use --format"
        )

    def tokens(word: str, low: int, high: int) -> list[int]:
        at = text.find(word, low, high)
        if at < 0:
            raise UserError(f"code {word} is not in the prompt - the history was cut - give a shorter one")
        first, last = start + at, start + at + len(word)
        return [i for i, end in enumerate(ends) if end > first and end - len(pieces[i]) < last]

    entries = [(text.find(ranker.write(s.code), 0, middle), i) for i, s in enumerate(history)]
    order = [i for _, i in sorted(entries)]
    places = [tokens(ranker.write(history[i].code), 0, middle) for i in order]
    return (places, order), [tokens(ranker.write(c), middle, len(text)) for c in candidates]
