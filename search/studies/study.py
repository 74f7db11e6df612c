"""A study: ask for a code, evaluate it, tell its value; or let it run a function up to a budget.

    study = Study(space, direction="minimize", storage="runs/lab/journal.log")
    trial = study.ask()                     # trial.arch is what to build; it may be told days later, by another process
    study.tell(trial.number, 0.31)

The whole state is in the storage. What is asked next depends only on the seed and on what was told, in trial order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import UserError
from search.rankers import Context, default_ranker, make_ranker
from search.rankers.base import Ranker, Ranking
from search.spaces import Seen, Space
from search.strategies import DEFAULT_PROPOSAL, make_strategy
from search.strategies.base import Setup, Strategy, Suggestion
from search.studies import STUDY
from search.studies.ending import Ending, Tally
from search.studies.evaluate import Evaluate, Outcome, judge
from search.studies.jobs import run_jobs
from search.studies.processes import Evaluator

if TYPE_CHECKING:  # Optuna is loaded with the first study: `from search import minimize` costs a third without it
    import numpy as np
    import pandas
    from optuna.storages import BaseStorage

    from search.studies.trial import Trial

Transcript = Callable[[Suggestion, "list[Seen]"], None]


class Study:
    """Trials of one space in one storage, and the strategy that chooses the next.

    storage: None (memory), the path of a journal file, a database URL, grpc://host:port, or an Optuna storage.
    name: the study in that storage; None is its only one.
    ranker: a spec such as 'surrogate' or a Ranker.
    feasible: filter on codes, known before evaluation.
    codes: all that can be evaluated, uint8 (n, decisions), where only some can and they can be listed.
    settings: kept with the study, which refuses others.
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
        proposal: str = DEFAULT_PROPOSAL,
        candidates: int = 10,
        warmup: int = 5,
        feasible: Callable[[str], bool] | None = None,
        codes: np.ndarray | None = None,
        repeats: bool = False,
        transcript: Transcript | None = None,
        settings: Mapping[str, Any] | None = None,
    ):
        from search.studies.storage import open_storage
        from search.studies.trials import Store

        if direction not in ("maximize", "minimize"):
            raise UserError(f"direction '{direction}' was given - allowed are maximize and minimize")
        self.space, self.seed, self.repeats, self.transcript = space, seed, repeats, transcript
        if sampler == "lmsearcher" and not isinstance(ranker, Ranker):
            ranker = make_ranker(ranker or default_ranker(space), Context(space, seed))
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
        self._setup, self._sampler = setup, sampler
        self._together = False
        self.strategy = sampler if isinstance(sampler, Strategy) else make_strategy(sampler, setup)
        opened, self.repaired = open_storage(storage)
        self.store = Store(opened, name, space, direction)
        self.store.unique = not repeats
        self._asked: dict[int, int] = {}
        if settings is not None:
            self.store.bind(settings)

    @property
    def trials(self) -> list[Trial]:
        """Every trial that counts, in number order."""
        return self.store.trials()

    @property
    def best(self) -> Trial | None:
        """The best completed feasible trial so far."""
        return self.store.best(self.trials)

    @property
    def best_value(self) -> float | None:
        """The value of the best trial so far."""
        best = self.best
        return None if best is None else best.value

    def trials_dataframe(self) -> pandas.DataFrame:
        """Every trial that counts as a row: number, value, state, one column per parameter, metrics, reason, seconds.

        UserError when pandas is not installed.
        """
        from search.studies.frame import dataframe

        return dataframe(self.trials)

    def enqueue(self, arch: Mapping[str, Any]) -> None:
        """Have this architecture evaluated before anything that the strategy suggests; UserError if it is none of the
        space. What was told already is not evaluated again.
        """
        self.store.set_attribute("enqueued", [*self.store.enqueued(), self.space.encode(arch)])

    def ask(self) -> Trial | None:
        """A trial to evaluate wherever and whenever you like; None when every code of the space was asked."""
        trial = self.next_trial(None, external=True)
        if trial is not None:
            self._asked[trial.number] = trial.trial_id
        return trial

    def tell(self, trial: Trial | int, value: Any) -> Trial:
        """Tell what came out: a number or a Result; anything else (None, NaN) marks the trial as failed.

        trial: what `ask` gave, or its number, then from any process.
        """
        known = self.trials
        number, id_ = (trial, -1) if isinstance(trial, int) else (trial.number, trial.trial_id)
        if id_ < 0:
            id_ = self._asked.get(number, known[number].trial_id if 0 <= number < len(known) else -1)
        found = next((t for t in known if t.trial_id == id_), None)
        if found is None:
            raise UserError(f"trial {number} was told - there are {len(known)} trials, numbered from 0 - ask first")
        if found.state != "RUNNING":
            raise UserError(f"trial {number} was told twice - it is {found.state} - tell each trial once")
        self.store.finish(id_, judge(value))
        return next(t for t in self.trials if t.trial_id == id_)

    def run(
        self,
        evaluate: Evaluate,
        budget: int,
        *,
        timeout: float | None = None,
        max_failures: int | float | None = None,
        factory: Callable[[], Evaluate] | None = None,
        after: Callable[[Trial], None] | None = None,
        callbacks: Sequence[Callable[[Study, Trial], None]] = (),
        n_jobs: int = 1,
    ) -> Ending:
        """Evaluate until `budget` trials are told in all; `evaluate(code, seed)` may fail, hang (with a timeout) or
        exit.

        max_failures: how many failures this call may meet before it gives up, or (below 1) which share of its trials,
            five being allowed in any case (default: half). Interrupted (^C), the running trial is given back and
            everything told is kept.
        n_jobs: evaluations at a time, in threads (-1: one a processor); with more than one, the order of trials depends
            on their speed.
        callbacks: called with (study, trial) after each trial, as Optuna's are.
        """
        callbacks = callbacks if after is None else (_of_trial(after), *callbacks)
        tally = Tally(max_failures)

        def finish(trial: Trial, outcome: Outcome) -> None:
            self.finish_trial(trial, outcome, callbacks)

        def give_back(trial: Trial) -> None:
            self.store.void(trial.trial_id, "interrupted")

        def evaluator() -> Evaluator:
            return Evaluator(evaluate, timeout, factory)

        n_jobs = n_jobs if n_jobs > 0 else os.cpu_count() or 1
        if n_jobs > 1:
            run_jobs(n_jobs, tally, lambda: self.next_trial(budget), evaluator, finish, give_back, self.seed)
        else:
            self._run(tally, budget, evaluator(), finish, give_back)
        if tally.gave_up:
            return Ending("failures", tally.failures, tally.last_reason)
        return Ending("budget" if len(self.store.trials()) >= budget else "exhausted", tally.failures)

    def _run(
        self,
        tally: Tally,
        budget: int,
        evaluator: Evaluator,
        finish: Callable[[Trial, Outcome], None],
        give_back: Callable[[Trial], None],
    ) -> None:
        """One evaluation after the other, until there is no trial to start or too many failed."""
        try:
            while not tally.gave_up and (trial := self.next_trial(budget)) is not None:
                try:
                    outcome = evaluator(trial.code, self.seed)
                except KeyboardInterrupt:
                    give_back(trial)
                    raise
                finish(trial, outcome)
                tally.add(outcome.reason)
        finally:
            evaluator.close()

    def finish_trial(
        self, trial: Trial, outcome: Outcome, callbacks: Sequence[Callable[[Study, Trial], None]] = ()
    ) -> None:
        """Tell a running trial what came out, then everybody who wants to know."""
        self.store.finish(trial.trial_id, outcome)
        if callbacks:
            done = next(t for t in self.store.trials() if t.trial_id == trial.trial_id)
            for callback in callbacks:
                callback(self, done)

    def _enqueued(self, taken: set[str]) -> Suggestion | None:
        """The first code that somebody wants evaluated and nobody has."""
        codes = self.store.enqueued()
        return next((Suggestion(c, "enqueued") for c in codes if self.store.key(c) not in taken), None)

    def next_trial(self, budget: int | None, external: bool = False) -> Trial | None:
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
            suggestion = self._enqueued(taken) or self.strategy.suggest(history, taken, len(trials))
            if suggestion is None:
                return None
            if suggestion.ranking is not None and self.transcript is not None:
                self.transcript(suggestion, history)
            trial_id = self.store.start(suggestion.code, suggestion.origin, _notes(suggestion.ranking), external)
            mine = next((t for t in reversed(self.store.trials()) if t.trial_id == trial_id), None)
            if mine is None:
                self.store.void(trial_id, "another worker holds this code")
                lost.add(self.store.key(suggestion.code))
                self._spread()
            elif budget is not None and mine.number >= budget:
                self.store.void(trial_id, "the budget was spent")
                return None
            else:
                return mine

    def _spread(self) -> None:
        """Draw with a seed of this process's own once another one turned out to draw from the same trials.

        With one seed they would draw the same codes in lock-step. One process alone keeps the study's seed.
        """
        if not self._together and isinstance(self._sampler, str):
            own_seed = int.from_bytes(os.urandom(4), "little")
            self.strategy = make_strategy(self._sampler, replace(self._setup, seed=own_seed))
        self._together = True


def _notes(ranking: Ranking | None) -> Mapping[str, Any] | None:
    """What is kept with a trial about the ranking that chose it: only what a model or a mishap left."""
    if ranking is None:
        return None
    notes = {"tokens": ranking.tokens, "fallback": ranking.fallback, "invalid": ranking.info.get("invalid")}
    return {k: v for k, v in notes.items() if v} | ({"seconds": round(ranking.seconds, 6)} if ranking.tokens else {})


def _of_trial(after: Callable[[Trial], None]) -> Callable[[Study, Trial], None]:
    return lambda study, trial: after(trial)
