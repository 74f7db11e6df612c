"""Optuna's own samplers as strategies: asked in a scratch study in memory that holds what was told.

A fresh sampler is seeded at every step, so that these too depend only on (seed, told trials) and can be resumed. Codes
that come back are asked again unless `Setup.repeats` is set (TPE repeats a quarter of its codes on NAS-Bench-201): TPE
up to 20 times, the Gaussian process up to 4 times, as each of its questions costs up to a second; then a uniform code
is taken. Where the codes that can be evaluated are a short list, the nearest new one of the list is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import numpy as np

from search.errors import UserError
from search.spaces import Seen
from search.strategies.base import Setup, Strategy, Suggestion

if TYPE_CHECKING:
    import optuna


class OptunaStrategy(Strategy):
    """Any Optuna sampler over the parameters of the space.

    asks: how often it is asked for a code that is new.
    """

    asks = 20

    def __init__(self, setup: Setup):
        from search.optuna_tools import layout

        super().__init__(setup)
        self._layout = layout(setup.space)
        self._scratch: optuna.Study | None = None
        self._told: list[Seen] = []

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """The Optuna sampler with that seed."""
        raise TypeError(f"{type(self).__name__} must define sampler(seed)")

    def suggest(self, history: Sequence[Seen], taken: AbstractSet[str], step: int) -> Suggestion | None:
        from optuna.trial import TrialState

        study = self._study(history)
        for attempt in range(self.asks):
            study.sampler = self.sampler(int(np.random.default_rng([self.setup.seed, step, attempt]).integers(2**31)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trial = study.ask(self._layout.distributions)
            study.tell(trial, state=TrialState.FAIL)
            code = self._layout.code(trial.params)
            for found in (code, *(self.setup.moves(code) if self.setup.listed is not None else ())):
                if self.setup.allowed(found, taken):
                    return Suggestion(found, self.name)
        return self.setup.fresh(np.random.default_rng([self.setup.seed, step, self.asks]), taken, "uniform")

    def _study(self, history: Sequence[Seen]) -> optuna.Study:
        import optuna

        from search.optuna_tools import quiet

        if self._scratch is None or list(history[: len(self._told)]) != self._told:
            with quiet():
                self._scratch = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
            self._told = []
        for seen in history[len(self._told) :]:
            told = optuna.trial.create_trial(
                params=self._layout.params(seen.code), distributions=self._layout.distributions, value=seen.value
            )
            self._scratch.add_trial(told)
            self._told.append(seen)
        return self._scratch


class TPE(OptunaStrategy):
    """Tree-structured Parzen estimator with Optuna's defaults."""

    name = "tpe"

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        import optuna

        return optuna.samplers.TPESampler(seed=seed)


class GP(OptunaStrategy):
    """Gaussian process with expected improvement (Optuna's GPSampler; needs torch)."""

    name = "gp"
    asks = 4

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        import optuna

        try:
            import torch  # noqa: F401
        except ImportError:
            raise UserError(
                "sampler gp was asked for but torch is not installed - install the train extra, or use tpe"
            ) from None
        return optuna.samplers.GPSampler(seed=seed)
