"""Optimizers that users would otherwise pick, each as its own documentation recommends for categorical spaces.

Extra `peers`; nothing of the product needs them.

tpe-multivariate   Optuna's TPE with multivariate=True
smac               SMAC3's HyperparameterOptimizationFacade: random forest, expected improvement, Sobol start
botorch            MixedSingleTaskGP (Hamming kernel, a length scale per decision), LogEI (which is qLogEI for one
                   point) over the whole of a space of up to 20,000 codes, else its own local search; 10 random first
nevergrad          NGOpt, Nevergrad's portfolio, over unordered choices
hebo               HEBO over categorical parameters (where the package can be installed)

A peer that asks for a code once more is told its value again, up to `asks` times; then a uniform code is taken. Where
the codes that can be evaluated are a short list, the nearest new one is taken.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from search.errors import UserError
from search.spaces import DIGITS, Seen
from search.strategies.base import Setup, Strategy, Suggestion
from search.strategies.from_optuna import OptunaStrategy

if TYPE_CHECKING:
    import optuna

PEERS = {"smac": "SMAC", "botorch": "BoTorch", "nevergrad": "Nevergrad", "hebo": "HEBO", "tpe-multivariate": "TPEJoint"}
BUDGET = 100  # what SMAC and Nevergrad are told that they may spend
ENUMERABLE = 20_000


def make_peer(name: str, setup: Setup) -> Strategy:
    """The peer of that name; UserError when its package is not installed."""
    try:
        return globals()[PEERS[name]](setup)
    except ImportError as error:
        raise UserError(f"method {name} was given - {error} - pip install -e '.[peers]' has it") from None


class TPEJoint(OptunaStrategy):
    """Optuna's TPE that models decisions together."""

    name = "tpe-multivariate"

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        import optuna

        return optuna.samplers.TPESampler(seed=seed, multivariate=True)


class Peer(Strategy):
    """An optimizer that asks and is told, fed in trial order. Subclasses: `start`, `ask` and `hear`."""

    asks = 20

    def __init__(self, setup: Setup):
        super().__init__(setup)
        self.known: dict[str, float] = {}
        self.asked: dict[str, Any] = {}
        self.heard = 0
        self.start()

    def start(self) -> None:
        """Make the optimizer."""

    def ask(self) -> tuple[str, Any]:
        """A code, and what `hear` needs to know it again."""
        raise TypeError(f"{type(self).__name__} must define ask()")

    def hear(self, code: str, ticket: Any, value: float) -> None:
        """Take note of a value, higher is better. ticket: None for a code that was not asked for."""
        raise TypeError(f"{type(self).__name__} must define hear(code, ticket, value)")

    def suggest(self, history: Sequence[Seen], taken: AbstractSet[str], step: int) -> Suggestion | None:
        for seen in history[self.heard :]:
            self.known[self.setup.space.canonical(seen.code)] = seen.value
            self.hear(seen.code, self.asked.pop(seen.code, None), seen.value)
        self.heard = len(history)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(self.asks):
                code, ticket = self.ask()
                for found in (code, *(self.setup.moves(code) if self.setup.listed is not None else ())):
                    if self.setup.allowed(found, taken):
                        self.asked = {found: ticket if found == code else None}
                        return Suggestion(found, self.name)
                value = self.known.get(self.setup.space.canonical(code))
                if value is not None:
                    self.hear(code, ticket, value)
        return self.setup.fresh(np.random.default_rng([self.setup.seed, step]), taken, "uniform")


class SMAC(Peer):
    """SMAC3 over one categorical hyperparameter a decision."""

    name = "smac"

    def start(self) -> None:
        import logging

        from ConfigSpace import Categorical, ConfigurationSpace
        from smac import HyperparameterOptimizationFacade, Scenario

        logging.getLogger("smac").setLevel(logging.ERROR)
        self.space = ConfigurationSpace(seed=self.setup.seed)
        sizes = self.setup.space.cardinalities
        self.names = [f"d{i:02d}" for i in range(len(sizes))]
        self.space.add([Categorical(n, [int(o) for o in range(k)]) for n, k in zip(self.names, sizes, strict=True)])
        self.folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            self.space,
            n_trials=BUDGET,
            seed=self.setup.seed,
            deterministic=True,
            output_directory=self.folder.name,
        )
        self.smac = HyperparameterOptimizationFacade(scenario, lambda c, seed=0: 0.0, logging_level=40, overwrite=True)

    def ask(self) -> tuple[str, Any]:
        info = self.smac.ask()
        return "".join(DIGITS[int(info.config[n])] for n in self.names), info

    def hear(self, code: str, ticket: Any, value: float) -> None:
        from ConfigSpace import Configuration
        from smac.runhistory.dataclasses import TrialInfo, TrialValue

        if ticket is None:
            values = {n: DIGITS.index(c) for n, c in zip(self.names, code, strict=True)}
            ticket = TrialInfo(Configuration(self.space, values=values), seed=None)
        self.smac.tell(ticket, TrialValue(cost=-value))


class BoTorch(Peer):
    """A Gaussian process with a Hamming kernel, fitted anew at each step."""

    name = "botorch"
    asks = 1
    first = 10

    def start(self) -> None:
        import botorch
        import torch

        self.torch, self.botorch = torch, botorch
        self.codes, self.values = [], []
        sizes = [int(k) for k in self.setup.space.cardinalities]
        self.every = None
        if self.setup.listed is not None:
            self.every = self.setup.listed.codes
        elif self.setup.space.size <= ENUMERABLE:
            self.every = np.array(list(product(*map(range, sizes))), dtype=np.uint8)

    def hear(self, code: str, ticket: Any, value: float) -> None:
        self.codes.append(code)
        self.values.append(value)

    def ask(self) -> tuple[str, Any]:
        from botorch.acquisition import LogExpectedImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import MixedSingleTaskGP
        from botorch.models.transforms import Standardize
        from botorch.optim import optimize_acqf_discrete_local_search
        from gpytorch.mlls import ExactMarginalLogLikelihood

        torch, space = self.torch, self.setup.space
        if len(self.codes) < self.first or np.ptp(self.values) <= 0:
            rng = np.random.default_rng([self.setup.seed, len(self.codes), 1])
            return space.to_codes(space.sample(rng, 1))[0], None
        torch.manual_seed(self.setup.seed * 100_003 + len(self.codes))
        x = torch.tensor(space.to_array(self.codes).astype(np.float64))
        y = torch.tensor(self.values, dtype=torch.float64)[:, None]
        model = MixedSingleTaskGP(x, y, cat_dims=list(range(len(space))), outcome_transform=Standardize(1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        gain = LogExpectedImprovement(model, best_f=y.max())
        if self.every is None:
            choices = [torch.arange(int(k), dtype=torch.float64) for k in space.cardinalities]
            found, _ = optimize_acqf_discrete_local_search(
                gain, discrete_choices=choices, q=1, num_restarts=10, raw_samples=512, X_avoid=x
            )
            return space.to_codes(found.numpy().astype(np.uint8))[0], None
        with torch.no_grad():
            points = torch.tensor(self.every.astype(np.float64))
            score = torch.cat([gain(part[:, None, :]) for part in points.split(2048)]).numpy()
        for i in np.argsort(-score, kind="stable"):
            code = space.to_codes(self.every[i : i + 1])[0]
            if self.setup.allowed(code, self.known.keys()):
                break
        return code, None


class Nevergrad(Peer):
    """Nevergrad's NGOpt over unordered choices."""

    name = "nevergrad"

    def start(self) -> None:
        import nevergrad

        choices = [nevergrad.p.Choice(list(range(int(k)))) for k in self.setup.space.cardinalities]
        parameters = nevergrad.p.Tuple(*choices)
        parameters.random_state.seed(self.setup.seed)
        self.optimizer = nevergrad.optimizers.NGOpt(parametrization=parameters, budget=BUDGET)

    def ask(self) -> tuple[str, Any]:
        ticket = self.optimizer.ask()
        return "".join(DIGITS[o] for o in ticket.value), ticket

    def hear(self, code: str, ticket: Any, value: float) -> None:
        if ticket is None:
            ticket = self.optimizer.parametrization.spawn_child(tuple(DIGITS.index(c) for c in code))
        self.optimizer.tell(ticket, -value)


class HEBO(Peer):
    """HEBO over categorical parameters."""

    name = "hebo"

    def start(self) -> None:
        import pandas
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO as Optimizer

        sizes = self.setup.space.cardinalities
        self.names = [f"d{i:02d}" for i in range(len(sizes))]
        design = [
            {"name": n, "type": "cat", "categories": [str(o) for o in range(k)]}
            for n, k in zip(self.names, sizes, strict=True)
        ]
        np.random.seed(self.setup.seed)
        self.optimizer, self.frame = Optimizer(DesignSpace().parse(design)), pandas.DataFrame

    def ask(self) -> tuple[str, Any]:
        row = self.optimizer.suggest(n_suggestions=1)
        return "".join(DIGITS[int(row[n].iloc[0])] for n in self.names), None

    def hear(self, code: str, ticket: Any, value: float) -> None:
        row = self.frame([{n: str(DIGITS.index(c)) for n, c in zip(self.names, code, strict=True)}])
        self.optimizer.observe(row, np.array([[-value]]))
