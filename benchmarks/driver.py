"""A search over a table without storage: the strategies of search.strategies, fed directly.

Same trials as search.run, faster.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import PEERS, make_peer
from search.rankers import Context, make_ranker
from search.spaces import Seen
from search.strategies import PROPOSALS, make_strategy
from search.strategies.base import Setup, Strategy
from search.tasks.tabular import TableTask


class Step(NamedTuple):
    """One evaluation; value in the task's own direction."""

    code: str
    value: float
    origin: str


def build(method: str, task: TableTask, seed: int) -> Strategy:
    """The strategy that a method names.

    random, evolution, local, tpe, gp        samplers
    RANKER+PROPOSAL (surrogate+mixed)        the paper's loop with that ranker and that proposal
    evolution(pop=50,sample=10)              samplers with settings
    smac, botorch, nevergrad, hebo           optimizers of benchmarks/peers.py
    """
    match = re.fullmatch(r"evolution\(pop=(\d+),sample=(\d+)\)", method)
    sign = -1.0 if task.direction == "minimize" else 1.0
    if match:
        from search.strategies.classical import RegularizedEvolution

        return RegularizedEvolution(_setup(task, seed), int(match[1]), int(match[2]))
    ranker, plus, proposal = method.rpartition("+")
    if plus and proposal in PROPOSALS:
        context = Context(task.space, seed, oracle=lambda code: sign * task.evaluate(code).value)
        return make_strategy("lmsearcher", _setup(task, seed, ranker=make_ranker(ranker, context), proposal=proposal))
    if method in PEERS:
        return make_peer(method, _setup(task, seed))
    return make_strategy(method, _setup(task, seed))


def _setup(task: TableTask, seed: int, **more: Any) -> Setup:
    return Setup(task.space, seed, feasible=task.feasible, codes=task.codes(), **more)


def drive(task: TableTask, strategy: Strategy, budget: int, to_optimum: bool = False) -> list[Step]:
    """Up to `budget` evaluations; fewer when the table is exhausted, or with to_optimum once its best row is found."""
    sign = -1.0 if task.direction == "minimize" else 1.0
    steps: list[Step] = []
    history: list[Seen] = []
    taken: set[str] = set()
    while len(steps) < budget:
        suggestion = strategy.suggest(history, taken, len(steps))
        if suggestion is None:
            break
        value = task.evaluate(suggestion.code).value
        steps.append(Step(suggestion.code, value, suggestion.origin))
        history.append(Seen(suggestion.code, sign * value))
        taken.add(task.space.canonical(suggestion.code))
        if to_optimum and value == task.optimum:
            break
    return steps


def best_so_far(steps: list[Step], direction: str, length: int) -> np.ndarray:
    """Best value after each of `length` evaluations, float64; the last one is kept when a search ended early."""
    values = np.array([s.value for s in steps])
    best = np.minimum.accumulate(values) if direction == "minimize" else np.maximum.accumulate(values)
    return np.concatenate([best, np.full(max(0, length - len(best)), best[-1])])[:length]
