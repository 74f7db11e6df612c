"""Our strategies as Optuna samplers: `optuna.create_study(sampler=LMSearcherSampler(seed=0))`.

They work on every study, whatever its storage, in `optimize` and in ask/tell: all parameters are searched together,
also continuous, logarithmic and conditional ones; constraints and several objectives count.
"""

from search.samplers.axes import options_of
from search.samplers.base import StrategySampler
from search.samplers.strategies import LMSearcherSampler, LocalSearchSampler, RegularizedEvolutionSampler

__all__ = [
    "LMSearcherSampler",
    "LocalSearchSampler",
    "RegularizedEvolutionSampler",
    "StrategySampler",
    "options_of",
]
