"""Strategies and proposals by name; their modules are loaded when one is made, so that a command line can list them for
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.registry import resolve

if TYPE_CHECKING:
    from search.strategies.base import Setup, Strategy

STRATEGIES = {
    "lmsearcher": "search.strategies.lmsearch:LMSearch",
    "random": "search.strategies.classical:RandomSearch",
    "evolution": "search.strategies.classical:RegularizedEvolution",
    "local": "search.strategies.classical:LocalSearch",
    "tpe": "search.strategies.from_optuna:TPE",
    "gp": "search.strategies.from_optuna:GP",
}
PROPOSALS = {
    "uniform": "search.strategies.proposals:uniform",
    "evolution": "search.strategies.proposals:evolution",
    "mixed": "search.strategies.proposals:mixed",
    "wide": "search.strategies.wide:wide",
}
DEFAULT_PROPOSAL = "wide"


def make_strategy(name: str, setup: Setup) -> Strategy:
    """The strategy of that name; UserError for an unknown one."""
    return resolve("sampler", name, STRATEGIES)(setup)
