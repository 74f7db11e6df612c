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
    from search.spaces import Choice as Choice
    from search.spaces import Decision as Decision
    from search.spaces import Integer as Integer
    from search.spaces import Real as Real
    from search.spaces import Seen as Seen
    from search.spaces import Space as Space
    from search.spaces.configspace import from_configspace as from_configspace
    from search.studies.minimize import SearchStopped as SearchStopped
    from search.studies.minimize import maximize as maximize
    from search.studies.minimize import minimize as minimize
    from search.studies.study import Study as Study
    from search.tasks.base import Result as Result
    from search.tasks.base import Task as Task
    from search.tasks.tabular import TableTask as TableTask

_EXPORTS = {
    "Space": "search.spaces",
    "Decision": "search.spaces",
    "Real": "search.spaces",
    "Integer": "search.spaces",
    "Choice": "search.spaces",
    "from_configspace": "search.spaces.configspace",
    "Seen": "search.spaces",
    "UserError": "search.errors",
    "Study": "search.studies.study",
    "minimize": "search.studies.minimize",
    "maximize": "search.studies.minimize",
    "SearchStopped": "search.studies.minimize",
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
