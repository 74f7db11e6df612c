"""Prompts whose answer is a new architecture instead of a choice among candidates.

direct   the text that rows built with --direct have: for a model trained on them (the paper's Table 7, "without task
         reformulation")
genius   the space in words and the results so far, for any chat model, temperature 0; after GENIUS (Zheng et al. 2023,
         arXiv 2304.10970), whose own prompt is written for one benchmark
llambo   examples 'performance -> architecture' in random order, then a performance a little above the best to reach;
         after the candidate sampler of LLAMBO (Liu et al. 2024, arXiv 2402.03921). Its model-based ranking of the
         samples is left out: the first sample that is valid and new is evaluated
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from search.prompts import get_format
from search.spaces import Seen, Space

DESCRIBED = 40  # options of a decision that are listed one by one
BEYOND_BEST = 0.1  # LLAMBO asks for the best value plus this share of the range seen
SHOWN_REFUSALS = 20


@dataclass(frozen=True)
class Writing:
    """One way to ask for an architecture.

    render: (space, history in told order, refused codes) -> prompt text. temperature: of the first attempt; later ones
    sample at 1. sort: the text keeps the best entries when not all fit the model's context, else the latest.
    """

    name: str
    render: Callable[[Space, Sequence[Seen], Sequence[str]], str]
    temperature: float = 0.0
    sort: bool = False


def describe(space: Space) -> str:
    """A space in words: its decisions, their options, and how an architecture is written."""
    lines = [f"The search space has {len(space)} decisions, each with numbered options:"]
    for number, decision in enumerate(space.decisions, start=1):
        options = [f"{i} = {o}" for i, o in enumerate(decision.options[:DESCRIBED])]
        lines.append(f"{number}. {decision.name}: {', '.join(options)}")
    letters = max(len(d.options) for d in space.decisions) > 10
    digits = "digits (10 is written a, 11 b, and so on)" if letters else "digits"
    lines.append(
        f"An architecture is a string of {len(space)} {digits}: one option number per decision, in this order."
    )
    return "\n".join(lines)


def genius_text(space: Space, history: Sequence[Seen], refused: Sequence[str]) -> str:
    """The task, the space, every result in told order, what may not come back, and the form of the answer."""
    told = "\n".join(f"{s.code}: {s.value:.6g}" for s in history) or "nothing yet"
    parts = [
        "You choose which architecture is trained next in an architecture search. Find one with the highest score.",
        describe(space),
        f"Evaluated so far, with scores (higher is better):\n{told}",
        "Propose one architecture that you expect to score higher than all of them. It must be a new one."
        + (f" Not allowed: {', '.join(refused[-SHOWN_REFUSALS:])}." if refused else ""),
        f"Answer with one line of this form, and nothing else:\nArchitecture: <{len(space)} digits>",
    ]
    return "\n\n".join(parts)


def llambo_text(space: Space, history: Sequence[Seen], refused: Sequence[str]) -> str:
    """Examples in random order (drawn from the history itself), then the performance to be reached."""
    order = np.random.default_rng(zlib.crc32("|".join(s.code for s in history).encode())).permutation(len(history))
    examples = [f"Performance: {history[i].value:.6g} -> Architecture: {history[i].code}" for i in order]
    values = [s.value for s in history]
    target = f"{max(values) + BEYOND_BEST * (max(values) - min(values)):.6g}" if values else "as high as possible"
    head = "These are examples of architectures and their performance; a higher performance is better."
    return "\n".join(
        [head, describe(space), *examples, "Recommend one new architecture that reaches the last performance. Answer"]
        + ["with the architecture alone.", f"Performance: {target} -> Architecture:"]
    )


def direct_text(space: Space, history: Sequence[Seen], refused: Sequence[str]) -> str:
    """The text of format `direct`; what was refused is not said, because training rows have no place for it."""
    return get_format("direct").render(history, []).text


WRITINGS = {
    "direct": Writing("direct", direct_text, sort=True),
    "genius": Writing("genius", genius_text),
    "llambo": Writing("llambo", llambo_text, temperature=0.7),
}
