"""Training rows of the raw searcher: whole histories of random worlds as conversations of many turns, a lesson an
entry.

A row is one history in the format `stamped`: each turn asks for an entry, the answer is its value. Values are ranked
among PROBE more codes of the same world, because ranks within the sequence alone would give the last ones away; in some
rows they are
ranked among the first entries only, which then are told, not asked: this is how a history is read in a search.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from data_builders.parallel import in_order
from data_builders.prior.easy import Easy, sample_easy
from data_builders.prior.terms import Layout
from data_builders.prior.worlds import sample_layout, sample_world
from search.errors import UserError, did_you_mean
from search.prompts.stamped import MARKERS, OPTIONS, bins_of, entries, mid_ranks, vocabulary

BLOCK = 64  # rows a block; part of the data's identity, never change it for speed
PROBE = 128
SMALLEST_SPACE = 30  # codes; a smaller world would repeat itself within a row
CROWD = 0.6  # a world where more than this share of the values is one and the same is kept once in ten


@dataclass(frozen=True)
class Stage:
    """One part of the curriculum.

    lengths: tokens of a row, one of them per block.
    easy: kind of the easy worlds.
    share: how many worlds are easy.
    decisions, options: largest numbers in the project's own worlds.
    told: share of rows whose values are ranked among their first, told entries.
    """

    lengths: tuple[int, ...]
    easy: Easy
    share: float
    decisions: int = 9
    options: int = 8
    told: float = 0.0


STAGES = {
    "easy": Stage((160,), Easy((2, 5), (2, 4), 1), 1.0),
    "small": Stage((160, 320, 512), Easy((3, 9), (2, 8), 2), 0.3),
    "middle": Stage((512, 768), Easy((3, 10), (2, 10), 2), 0.25, 12, 10, 0.25),
    "long": Stage((768, 1280, 2048), Easy((3, 10), (2, 10), 2), 0.2, 16, 10, 0.4),
}


@dataclass(frozen=True)
class Told:
    """A world's history: codes int64 (n, d), value ranks float64 (n,) in [0, 1], and how many entries are told before
    the first question.
    """

    codes: np.ndarray
    ranks: np.ndarray
    told: int = 0


def entries_in(length: int, decisions: int) -> int:
    """How many entries of that many decisions fit a row of `length` tokens (the last one need not be written again)."""
    return (length - 1 + decisions) // (2 * decisions + 2)


def histories(rng: np.random.Generator, length: int, stage: Stage) -> list[Told]:
    """One block of histories, easy and own worlds in a random order."""
    easy = int(rng.binomial(BLOCK, stage.share))
    out = _easy(rng, easy, length, stage) + [_own(rng, length, stage) for _ in range(BLOCK - easy)]
    return [out[i] for i in rng.permutation(len(out))]


def _ranked(rng: np.random.Generator, codes: np.ndarray, values: np.ndarray, n: int, stage: Stage) -> Told:
    """The first n codes with their ranks: among all values, or among the first few, which are told."""
    values = np.round(values, 9)
    if rng.random() < stage.told and n >= 8:
        told = int(np.exp(rng.uniform(np.log(4), np.log(0.7 * n))))
        return Told(codes[:n], mid_ranks(values[:n], values[:told]), told)
    return Told(codes[:n], mid_ranks(values[:n], values))


def _easy(rng: np.random.Generator, worlds: int, length: int, stage: Stage) -> list[Told]:
    batch = sample_easy(rng, worlds, entries_in(length, stage.easy.decisions[0]) + PROBE, stage.easy)
    out = []
    for codes, values, d in zip(batch.codes, batch.values, batch.decisions, strict=True):
        n = entries_in(length, int(d))
        out.append(_ranked(rng, codes[: n + PROBE, :d], values[: n + PROBE], n, stage))
    return out


def _layout(rng: np.random.Generator, stage: Stage) -> Layout:
    """A layout of the project's prior that the stage allows and the format can write."""
    while True:
        layout = sample_layout(rng)
        small = len(layout.sizes) <= stage.decisions and layout.sizes.max() <= stage.options
        if small and np.prod(layout.sizes.astype(float)) >= SMALLEST_SPACE:
            return layout


def _own(rng: np.random.Generator, length: int, stage: Stage) -> Told:
    while True:
        world = sample_world(rng, _layout(rng, stage))
        n = entries_in(length, len(world.layout.sizes))
        codes = world.sample(rng, n + PROBE).astype(np.int64)
        values = np.round(world.observe(codes, rng), 9)
        crowd = np.unique(values, return_counts=True)[1].max() / len(values)
        if crowd < 1 and (crowd <= CROWD or rng.random() < 0.1):
            return _ranked(rng, codes, values, n, stage)


def written(rng: np.random.Generator, told: Told) -> np.ndarray:
    """Token ids of a history, an entry a row, int64 (n, 2 d + 2): markers at random, options renamed (alike everywhere)
    in half of them.
    """
    d = told.codes.shape[1]
    markers = rng.permutation(MARKERS)[:d]
    if rng.random() < 0.5:
        markers = np.sort(markers)
    names = rng.permutation(OPTIONS) if rng.random() < 0.5 else np.arange(OPTIONS)
    return entries(names[told.codes], bins_of(told.ranks), markers)


def row(ids: np.ndarray, told: int) -> dict:
    """An Alpaca row with history: the last turn in input and output, the turns before it in history."""
    width = ids.shape[1] // 2
    words = vocabulary()[ids]
    asks = [" ".join(line[:width]) for line in words]
    stamps = [" ".join(line[width + 1 :]) for line in words]
    turns, before = [], ""
    for i, line in enumerate(words):
        question = before + asks[i]
        if i < told:
            before = f"{question} {line[width]} {stamps[i]} "
        else:
            turns.append([question, line[width]])
            before = stamps[i] + " "
    return {"instruction": "", "input": turns[-1][0], "output": turns[-1][1], "history": turns[:-1]}


def block_rows(seed: int, name: str, block: int, stage: Stage | None = None) -> list[dict]:
    """The rows of one block of a stage."""
    stage = stage or STAGES[name]
    rng = np.random.default_rng([seed, sum(name.encode()), block])
    length = int(stage.lengths[int(rng.integers(len(stage.lengths)))])
    return [row(written(rng, h), h.told) for h in histories(rng, length, stage)]


def tokens_of(rows: list[dict]) -> int:
    """Tokens of rows as the model reads them, `<s>` included."""
    return sum(1 + sum(len(u.split()) + 1 for u, _ in r["history"]) + len(r["input"].split()) + 1 for r in rows)


def _block_text(block: int, seed: int, name: str, stage: Stage) -> tuple[str, int]:
    rows = block_rows(seed, name, block, stage)
    return "".join(json.dumps(r) + "\n" for r in rows), tokens_of(rows)


Plan = list[tuple[str, float, Stage]]


def stream(seed: int, plan: Plan, workers: int, made: Counter | None = None) -> Iterator[tuple[str, Counter]]:
    """(JSON lines, what they count) block by block until each stage has its tokens; any number of workers alike.

    made: what was counted before, to go on from. A block counts its rows, the stage's tokens (under the stage's name)
    and itself (NAME.blocks).
    """
    made = Counter(made)
    for name, tokens, stage in plan:
        if made[name] >= tokens:
            continue
        make = partial(_block_text, seed=seed, name=name, stage=stage)
        stream: Any = in_order(make, count(made[f"{name}.blocks"]), workers)
        with closing(stream) as texts:
            for text, more in texts:
                counts = Counter({"rows": BLOCK, name: more, f"{name}.blocks": 1})
                yield text, counts
                made += counts
                if made[name] >= tokens:
                    break


def plan_of(texts: list[str], lengths: str | None = None) -> Plan:
    """[(stage, tokens, definition)] of 'name=tokens' texts; UserError for an unknown stage or a wrong number.

    lengths: tokens of a row instead of the stages' own, '512,768'.
    """
    plan: Plan = []
    for text in texts:
        name, _, number = text.partition("=")
        if name not in STAGES:
            raise did_you_mean("stage", name, STAGES)
        try:
            tokens, own = float(number), tuple(int(x) for x in (lengths or "").split(",") if x)
        except ValueError:
            tokens, own = 0.0, ()
        if tokens < 1 or min(own, default=64) < 64:
            given = f"stage '{text}' and lengths '{lengths}' were given"
            raise UserError(
                f"{given} - tokens of the stage and of its rows (64 or more) are numbers - write {name}=2e6"
            )
        plan.append((name, tokens, replace(STAGES[name], lengths=own) if own else STAGES[name]))
    return plan


def recipe_hash() -> str:
    """12 hex digits that change when the rows change: the hash of a block of each stage. Same hash, same options: same
    rows.
    """
    examples = [block_rows(0, name, 0) for name in STAGES]
    return hashlib.sha256(json.dumps(examples).encode()).hexdigest()[:12]
