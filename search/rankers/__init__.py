"""Rankers by name. A spec is NAME or NAME:ARGUMENT, e.g.

surrogate, chat:yaml/lmsearcher_tiny_chat.yaml, endpoint:URL#MODEL.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from search.errors import did_you_mean
from search.rankers.base import Context, Ranker, Ranking

SHIPPED = Path(__file__).resolve().parents[2] / "models"  # where the models lie that come with the project

RANKERS = {
    "random": "search.rankers.control:RandomRanker",
    "oracle": "search.rankers.control:OracleRanker",
    "surrogate": "search.rankers.surrogate:RidgeRanker",
    "knn": "search.rankers.surrogate:NeighbourRanker",
    "gp": "search.rankers.surrogate:GPRanker",
    "nano": "search.rankers.nano:NanoRanker",
    "chat": "search.rankers.chat:ChatRanker",
    "endpoint": "search.rankers.endpoint:EndpointRanker",
    "replay": "search.rankers.replay:ReplayRanker",
}
HISTORY_CONTROLS = ("shuffled", "negated")  # see search.rankers.control


def make_ranker(spec: str, context: Context) -> Ranker:
    """Build the ranker that a spec names; UserError for an unknown name or a wrong argument."""
    name, _, argument = spec.partition(":")
    if name not in RANKERS:
        raise did_you_mean("ranker", name, RANKERS)
    module, cls = RANKERS[name].split(":")
    return getattr(import_module(module), cls).build(argument, context)


def default_ranker() -> str:
    """The shipped nano model where it is present and torch is installed, else the ridge surrogate."""
    return (
        "nano"
        if (SHIPPED / "nano" / "config.json").exists() and find_spec("torch") and find_spec("transformers")
        else "surrogate"
    )


__all__ = ["Context", "HISTORY_CONTROLS", "RANKERS", "Ranker", "Ranking", "SHIPPED", "default_ranker", "make_ranker"]
