"""A study: ask for a code, evaluate it, tell its value; or let it run a function up to a budget.

    study = Study(space, direction="minimize", storage="runs/lab/journal.log")
    trial = study.ask()                     # trial.arch is what to build; it may be told days later, by another process
    study.tell(trial.number, 0.31)

The whole state is in the storage. What is asked next depends only on the seed and on what was told, in trial order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import UserError
from search.rankers import Context, default_ranker, make_ranker
from search.rankers.base import Ranker, Ranking
from search.spaces import Seen, Space
from search.strategies import make_strategy
from search.strategies.base import Setup, Strategy, Suggestion
from search.studies import STUDY
from search.studies.claims import lost_claim
from search.studies.evaluate import Evaluate, judge
from search.studies.processes import Evaluator

if TYPE_CHECKING:  # Optuna is loaded with the first study: `from search import minimize` costs a third without it
    import numpy as np
    from optuna.storages import BaseStorage

    from search.studies.trials import Trial

Transcript = Callable[[Suggestion, "list[Seen]"], None]


@dataclass(frozen=True)
class Ending:
    """How a run ended: 'budget', 'exhausted' (no code is left), or 'failures' (too many, the last reason is given)."""

    why: str
    failures: int = 0
    last_reason: str | None = None


class Study:
    """Trials of one space in one storage, and the strategy that chooses the next.

    storage: None (memory), the path of a journal file, a database URL, grpc://host:port, or an Optuna storage.
    name: the study in that storage; None is its only one.
    ranker: a spec such as 'surrogate' or a Ranker.
    feasible: filter on codes, known before evaluation.
    codes: all that can be evaluated, uint8 (n, decisions), where only some can and they can be listed.
    """

    def __init__(
        self,
        space: Space,
        *,
        direction: str = "maximize",
        storage: str | Path | BaseStorage | None = None,
        name: str | None = STUDY,
        sampler: str | Strategy = "lmsearcher",
        ranker: str | Ranker | None = None,
        seed: int = 0,
        proposal: str = "mixed",
        candidates: int = 10,
        warmup: int = 5,
        feasible: Callable[[str], bool] | None = None,
        codes: np.ndarray | None = None,
        repeats: bool = False,
        transcript: Transcript | None = None,
    ):
        from search.studies.storage import open_storage
        from search.studies.trials import Store

        if direction not in ("maximize", "minimize"):
            raise UserError(f"direction '{direction}' was given - allowed are maximize and minimize")
        self.space, self.seed, self.repeats, self.transcript = space, seed, repeats, transcript
        if sampler == "lmsearcher" and not isinstance(ranker, Ranker):
            ranker = make_ranker(ranker or default_ranker(), Context(space, seed))
        setup = Setup(
            space,
            seed,
            ranker if isinstance(ranker, Ranker) else None,
            proposal,
            candidates,
            warmup,
            feasible,
            repeats,
            codes,
        )
        self.strategy = sampler if isinstance(sampler, Strategy) else make_strategy(sampler, setup)
        opened, self.repaired = open_storage(storage)
        self.store = Store(opened, name, space, direction)

    @property
    def trials(self) -> list[Trial]:
        """Every trial that counts, in number order."""
        return self.store.trials()

    @property
    def best(self) -> Trial | None:
        """The best completed feasible trial so far."""
        return self.store.best(self.trials)

    def ask(self) -> Trial | None:
        """A trial to evaluate wherever and whenever you like; None when every code of the space was asked."""
        return self._next(None, external=True)

    def tell(self, trial: Trial | int, value: Any) -> Trial:
        """Tell what came out: a number or a Result; anything else (None, NaN) marks the trial as failed."""
        number = trial if isinstance(trial, int) else trial.number
        known = self.trials
        if not 0 <= number < len(known):
            raise UserError(f"trial {number} was told - there are {len(known)} trials, numbered from 0 - ask first")
        if known[number].state != "RUNNING":
            raise UserError(f"trial {number} was told twice - it is {known[number].state} - tell each trial once")
        outcome = judge(value)
        self.store.finish(known[number].trial_id, outcome)
        return self.trials[number]

    def run(
        self,
        evaluate: Evaluate,
        budget: int,
        *,
        timeout: float | None = None,
        max_failures: int | None = None,
        factory: Callable[[], Evaluate] | None = None,
        after: Callable[[Trial], None] | None = None,
    ) -> Ending:
        """Evaluate until `budget` trials are told in all; `evaluate(code, seed)` may fail, hang (with a timeout) or
        exit.

        max_failures: how many failures this call may meet before it gives up (default: a tenth of the budget, at least
        3). Interrupted (^C), the running trial is given back and everything told is kept.
        """
        limit = default_failures(budget) if max_failures is None else max_failures
        evaluator = Evaluator(evaluate, timeout, factory)
        failures = 0
        try:
            while True:
                trial = self._next(budget)
                if trial is None:
                    return Ending("budget" if len(self.store.trials()) >= budget else "exhausted", failures)
                try:
                    outcome = evaluator(trial.code, self.seed)
                except KeyboardInterrupt:
                    self.store.void(trial.trial_id, "interrupted")
                    raise
                self.store.finish(trial.trial_id, outcome)
                if after is not None:
                    after(self.store.trials()[trial.number])
                if outcome.reason is not None:
                    failures += 1
                    if failures > limit:
                        return Ending("failures", failures, outcome.reason)
        finally:
            evaluator.close()

    def _next(self, budget: int | None, external: bool = False) -> Trial | None:
        """Start the next trial, or None when the budget is spent or the space exhausted.

        Never a code somebody else holds.
        """
        lost: set[str] = set()
        while True:
            trials = self.store.trials()
            if budget is not None and len(trials) >= budget:
                return None
            history = self.store.history(trials)
            taken = {self.store.key(t.code) for t in trials} | lost
            suggestion = self.strategy.suggest(history, taken, len(trials))
            if suggestion is None:
                return None
            if suggestion.ranking is not None and self.transcript is not None:
                self.transcript(suggestion, history)
            trial_id = self.store.start(suggestion.code, suggestion.origin, _notes(suggestion.ranking), external)
            trials = self.store.trials()
            mine = next(t for t in reversed(trials) if t.trial_id == trial_id)
            key = self.store.key(mine.code)
            if budget is not None and mine.number >= budget:
                self.store.void(trial_id, "the budget was spent")
                return None
            if self.repeats or not lost_claim(mine.number, key, ((t.number, self.store.key(t.code)) for t in trials)):
                return mine
            self.store.void(trial_id, "another worker holds this code")
            lost.add(key)


def _notes(ranking: Ranking | None) -> Mapping[str, Any] | None:
    """What is kept with a trial about the ranking that chose it: only what a model or a mishap left."""
    if ranking is None:
        return None
    notes = {"tokens": ranking.tokens, "fallback": ranking.fallback, "invalid": ranking.info.get("invalid")}
    return {k: v for k, v in notes.items() if v} | ({"seconds": round(ranking.seconds, 6)} if ranking.tokens else {})


def default_failures(budget: int) -> int:
    """Failed evaluations that a run tolerates: a tenth of its budget, at least 3."""
    return max(3, budget // 10)


def minimize(function: Callable[[dict[str, Any]], Any], space: Space, budget: int = 100, **options: Any) -> Trial:
    """Search the space for the smallest `function(arch)`; returns the best trial (.arch, .code, .value).

    arch is {decision name: option}. options are those of Study (storage=... keeps the trials and resumes) and of
    Study.run (timeout, max_failures).
    """
    return _optimize("minimize", function, space, budget, options)


def maximize(function: Callable[[dict[str, Any]], Any], space: Space, budget: int = 100, **options: Any) -> Trial:
    """Like `minimize`, for the largest `function(arch)`."""
    return _optimize("maximize", function, space, budget, options)


@dataclass(frozen=True)
class _OfArch:
    function: Callable[[dict[str, Any]], Any]
    space: Space

    def __call__(self, code: str, seed: int) -> Any:
        return self.function(self.space.decode(code))


def _optimize(
    direction: str, function: Callable[[dict[str, Any]], Any], space: Space, budget: int, options: dict[str, Any]
) -> Trial:
    running = {k: options.pop(k) for k in ("timeout", "max_failures", "after") if k in options}
    study = Study(space, direction=direction, **options)
    study.store.reap()
    ending = study.run(_OfArch(function, space), budget, **running)
    best = study.best
    if best is None or ending.why == "failures":
        raise RuntimeError(f"{ending.failures} evaluations failed, the last one {ending.last_reason}")
    return best
