"""Search a design space with a language model that ranks architectures.

from search import Space, Decision, minimize
best = minimize(my_function, Space([Decision("depth", (2, 4, 6)), Decision("width", (64, 128))]), budget=50)
"""

from importlib import import_module

_EXPORTS = {
    "Space": "search.spaces",
    "Decision": "search.spaces",
    "Seen": "search.spaces",
    "UserError": "search.errors",
    "Study": "search.studies.study",
    "minimize": "search.studies.study",
    "maximize": "search.studies.study",
    "Result": "search.tasks.base",
    "Task": "search.tasks.base",
    "TableTask": "search.tasks.tabular",
    "LMSearcherSampler": "search.samplers",
    "RegularizedEvolutionSampler": "search.samplers",
    "LocalSearchSampler": "search.samplers",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'search' has no attribute '{name}'")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
