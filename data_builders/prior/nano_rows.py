"""Rows of the nano formats from the synthetic prior: evidence about one candidate and its value, or ten candidates and
the best.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from data_builders.parallel import in_order
from data_builders.prior.trajectories import Question, sample_question
from search.prompts.evidence import Evidence, gather
from search.prompts.nano import NANO, SHIFTS, TOKEN, code_text, value_bins, value_lines, value_scores
from search.spaces import DIGITS

BLOCK = 960  # rows a block; part of the data's identity, never change it for speed
ANSWER_CANDIDATES = 10  # the paper's pool of ten
EASY = (6, 0.1)  # largest number of decisions and largest noise of a curriculum's first worlds


def codes_text(codes: np.ndarray) -> list[str]:
    """uint8 (n, d) -> digit strings."""
    table = np.array(list(DIGITS))
    return ["".join(row) for row in table[codes]]


def rows(
    seed: int, block: int, format: str = "nano_value", per_history: int = 48, answers: float = 0.0, easy: float = 0.0
) -> list[dict[str, str]]:
    """The 960 rows of one block.

    answers: share of nano rows among nano_value rows.
    easy: probability that a world is drawn small and clean (curriculum).
    """
    rng = np.random.default_rng([seed, block])
    out: list[dict[str, str]] = []
    while len(out) < BLOCK:
        limits = EASY if easy and rng.random() < easy else (48, 9.0)
        question = sample_question(rng, per_history, *limits)
        evidence = gather(question.codes, question.values, question.candidates)
        if format == "nano_value":
            bins = value_bins(value_scores(question.values, question.truth))
            out += [_row(line, f"<v{b}>") for line, b in zip(value_lines(evidence, rng.choice(SHIFTS)), bins)]
        wanted = 1.0 if format == "nano" else answers * len(question.candidates)
        for _ in range(int(wanted) + (rng.random() < wanted % 1)):
            out.append(_answer_row(question, evidence, rng))
    return out[:BLOCK]


def _row(prompt: str, answer: str) -> dict[str, str]:
    return {"instruction": "", "input": prompt, "output": answer}


def _answer_row(question: Question, evidence: Evidence, rng: np.random.Generator) -> dict[str, str]:
    """Ten of the candidates in one prompt; the answer is the code of the truly best."""
    pick = rng.choice(len(question.candidates), min(ANSWER_CANDIDATES, len(question.candidates)), replace=False)
    part = Evidence(
        evidence.length,
        evidence.decisions,
        evidence.options,
        evidence.spread,
        evidence.mean[pick],
        evidence.std[pick],
        evidence.skill,
    )
    codes = codes_text(question.candidates[pick])
    return _row(NANO.write(part, codes), code_text(codes[int(np.argmax(question.truth[pick]))]))


def _block_lines(block: int, seed: int, blocks: int, curriculum: bool, options: dict) -> str:
    """The JSON lines of a block. With the curriculum the share of easy worlds falls from 1 to 0 over the first half."""
    easy = max(0.0, 1.0 - 2.0 * block / blocks) if curriculum else 0.0
    return "".join(json.dumps(row) + "\n" for row in rows(seed, block, easy=easy, **options))


def stream(
    seed: int, samples: int, workers: int, curriculum: bool, options: dict, first_block: int = 0
) -> Iterator[str]:
    """JSON lines of all rows from a block on, block by block in order."""
    blocks = -(-samples // BLOCK)
    make = partial(_block_lines, seed=seed, blocks=blocks, curriculum=curriculum, options=options)
    numbers = range(first_block, blocks)
    left = samples - first_block * BLOCK
    for text in in_order(make, numbers, min(workers, len(numbers)), method="spawn"):
        lines = text.splitlines(keepends=True)[:left]
        left -= len(lines)
        yield "".join(lines)


def recipe_hash() -> str:
    """12 hex digits that change when the rows change: the hash of a block of example rows of both formats.

    Same hash, same options: same rows. Histories of few candidates, so that many worlds take part.
    """
    examples = rows(0, 0, per_history=ANSWER_CANDIDATES + 2, answers=0.1, easy=0.3)
    return hashlib.sha256(json.dumps(examples).encode()).hexdigest()[:12]


def tokens_of(line: str) -> list[str]:
    """The tokens of a JSON row's prompt and answer, as the nano tokenizer cuts them."""
    row = json.loads(line)
    return re.findall(TOKEN, row["input"] + row["output"])
