"""Search a design space with a language model that ranks architectures.

from search import Space, Decision, minimize
best = minimize(my_function, Space([Decision("depth", (2, 4, 6)), Decision("width", (64, 128))]), budget=50)
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from search.errors import UserError as UserError
    from search.samplers import LMSearcherSampler as LMSearcherSampler
    from search.samplers import LocalSearchSampler as LocalSearchSampler
    from search.samplers import RegularizedEvolutionSampler as RegularizedEvolutionSampler
    from search.spaces import Decision as Decision
    from search.spaces import Seen as Seen
    from search.spaces import Space as Space
    from search.studies.study import Study as Study
    from search.studies.study import maximize as maximize
    from search.studies.study import minimize as minimize
    from search.tasks.base import Result as Result
    from search.tasks.base import Task as Task
    from search.tasks.tabular import TableTask as TableTask

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
    return sorted([*__all__, "__version__"])
