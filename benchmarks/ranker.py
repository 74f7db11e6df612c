"""Seconds per search step of four ways to ask one language model which of ten candidates is best.

    python -m benchmarks.ranker --model models/smollm2 --model saves/lmsearcher_tiny

generate   ChatModel.chat, free text, again and again until the answer names a candidate (at most --attempts times a
           step)
plain      every candidate scored with its whole prompt, one batch, no cache
ours       the chat ranker: the cached history, the new tokens and the tree of answers in one pass
bare       the model alone on as many new tokens as `ours` computed: on the same cache, and without any cache

All in one process, on one thread, in single precision, on the prompt format `append` with a history of NAS-Bench-201
size. Each figure is the median over --steps consecutive steps of a growing history (`generate` and `plain`:
--slow-steps). Writes a table to standard output and, with --out FILE, as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import cli
from search.files import write_atomic
from search.prompts import get_format
from search.rankers.chat import ChatRanker, load_chat_model
from search.rankers.control import RandomRanker
from search.rankers.scoring import PlainScorer
from search.spaces import Seen, Space

SPACE = Space.of_sizes([5] * 6, "nb201")
HISTORIES = (50, 100, 200)


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """Time of one call on the chosen clock, and what it returned."""
    started = clock()
    result = function()
    return clock() - started, result


def told(n: int) -> list[Seen]:
    """n random cells with accuracies between 30 and 95 %."""
    rng = np.random.default_rng(0)
    return [Seen(c, round(float(v), 2)) for c, v in zip(SPACE.to_codes(SPACE.sample(rng, n)), rng.uniform(30, 95, n))]


def ten(step: int) -> list[str]:
    """Ten random candidates of a step."""
    return SPACE.to_codes(SPACE.sample(np.random.default_rng([1, step]), 10))


def generate(ranker: ChatRanker, history: list[Seen], candidates: list[str], attempts: int) -> tuple[int, bool]:
    """Free generation until a candidate is named: (attempts used, whether one was named)."""
    text = ranker.format.render(history, candidates).text
    for attempt in range(1, attempts + 1):
        reply = ranker.chat.chat(
            [{"role": "user", "content": text}], do_sample=True, temperature=1.0, top_p=1.0, max_new_tokens=64
        )[0]
        if ranker.format.parse(reply.response_text, candidates) is not None:
            return attempt, True
    return attempts, False


def bare(model: Any, tokens: int, past: int) -> float:
    """One forward pass over `tokens` tokens behind a cache of `past` tokens."""
    import torch
    from transformers import DynamicCache

    ids = torch.randint(10, 100, (1, past + tokens), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        cache = DynamicCache(config=model.config)
        if past:
            model(input_ids=ids[:, :past], past_key_values=cache, use_cache=True, logits_to_keep=1)
        times = []
        for _ in range(3):
            times.append(
                seconds(
                    lambda: model(input_ids=ids[:, past:], past_key_values=cache, use_cache=True, logits_to_keep=1)
                )[0]
            )
            cache.crop(past)
    return statistics.median(times)


def measure(folder: str, entries: int, steps: int, slow_steps: int, attempts: int) -> dict[str, Any]:
    """All ways at one history length."""
    import torch

    torch.manual_seed(0)
    chat = load_chat_model({"model_name_or_path": folder, "template": "llama3"})
    ranker = ChatRanker(chat, get_format("append"), RandomRanker(0))
    plain = PlainScorer(ranker.model)
    history = told(entries + steps)
    ranker.rank(history[: entries - 1], ten(0))
    cached, computed, reused, gap = [], [], [], 0.0
    for step in range(steps):
        took, ranking = seconds(lambda n=entries + step: ranker.rank(history[:n], ten(n)))
        cached.append(took)
        computed.append(ranking.tokens)
        reused.append(ranking.info["reused"])
    slow, free, tries, named = [], [], 0, 0
    for step in range(slow_steps):
        n = entries + step
        prompt, answers = ranker.prompt_ids(history[:n], ten(n)), [ranker.answer_ids(c) for c in ten(n)]
        took, scored = seconds(lambda p=prompt, a=answers: plain.score(p, a))
        slow.append(took)
        gap = max(gap, float(np.abs(np.array(scored.scores) - ranker.rank(history[:n], ten(n)).scores).max()))
        took, (used, success) = seconds(lambda m=n: generate(ranker, history[:m], ten(m), attempts))
        free.append(took)
        tries += used
        named += success
    tokens, past = round(statistics.median(computed)), round(statistics.median(reused))
    found = {
        "model": folder,
        "history": entries,
        "prompt_tokens": past + tokens,
        "new_tokens": tokens,
        "generate": statistics.median(free),
        "attempts": tries / slow_steps,
        "named": named / slow_steps,
        "plain": statistics.median(slow),
        "ours": statistics.median(cached),
        "bare_on_cache": bare(ranker.model, tokens, past),
        "bare_alone": bare(ranker.model, tokens, 0),
        "largest_gap": gap,
    }
    ranker.close()
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    ways = ["history", "new tokens", "generate s (attempts)", "plain s", "ours s"]
    ways += ["generate / ours", "plain / ours", "ours / bare on cache", "ours / bare alone"]
    lines = ["| model | " + " | ".join(ways) + " |", "| --- |" + " ---: |" * len(ways)]
    for r in rows:
        lines.append(
            f"| {Path(r['model']).name} | {r['history']} | {r['new_tokens']} | {r['generate']:.3f}"
            f" ({r['attempts']:.1f}) | {r['plain']:.3f} | {r['ours']:.4f} | {r['generate'] / r['ours']:.1f} |"
            f" {r['plain'] / r['ours']:.1f} | {r['ours'] / r['bare_on_cache']:.2f} |"
            f" {r['ours'] / r['bare_alone']:.2f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ranker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="FOLDER",
        help="model folder with the llama3 template's tokens; may be repeated",
    )
    parser.add_argument("--history", type=int, nargs="+", default=list(HISTORIES))
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--slow-steps", type=int, default=2)
    parser.add_argument("--attempts", type=int, default=10)
    parser.add_argument(
        "--clock",
        choices=sorted(CLOCKS),
        default="wall",
        help="cpu: time of this process alone, for a machine that others use too",
    )
    parser.add_argument("--out", metavar="FILE")
    arguments = parser.parse_args()
    import torch

    global clock
    clock = CLOCKS[arguments.clock]

    torch.set_num_threads(1)
    rows = []
    for folder in arguments.model:
        for entries in arguments.history:
            rows.append(measure(folder, entries, arguments.steps, arguments.slow_steps, arguments.attempts))
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    print(f"largest difference between cached and plain log-probabilities: {max(r['largest_gap'] for r in rows):.1e}")
    if arguments.out:
        write_atomic(arguments.out, json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    cli(main)
