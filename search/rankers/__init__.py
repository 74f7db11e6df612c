"""Rankers by name. A spec is NAME or NAME:ARGUMENT, e.g. surrogate, chat:yaml/lmsearcher_tiny_chat.yaml, endpoint:URL#MODEL."""

from __future__ import annotations

from importlib import import_module

from search.errors import did_you_mean
from search.rankers.base import Context, Ranker, Ranking

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


def make_ranker(spec: str, context: Context) -> Ranker:
    """Build the ranker that a spec names; UserError for an unknown name or a wrong argument."""
    name, _, argument = spec.partition(":")
    if name not in RANKERS:
        raise did_you_mean("ranker", name, RANKERS)
    module, cls = RANKERS[name].split(":")
    return getattr(import_module(module), cls).build(argument, context)


__all__ = ["Context", "RANKERS", "Ranker", "Ranking", "make_ranker"]
