"""Rankers by name. A spec is NAME or NAME:ARGUMENT, such as surrogate, chat:FILE.yaml or endpoint:URL#MODEL."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from search.errors import UserError
from search.files import shipped
from search.rankers.base import Context, Ranker, Ranking
from search.registry import resolve

if TYPE_CHECKING:
    from search.spaces import Space

SHIPPED = shipped() / "models"  # where the models lie that come with the project

RANKERS = {
    "random": "search.rankers.control:RandomRanker",
    "oracle": "search.rankers.control:OracleRanker",
    "surrogate": "search.rankers.surrogate:RidgeRanker",
    "knn": "search.rankers.surrogate:NeighbourRanker",
    "gp": "search.rankers.surrogate:GPRanker",
    "views": "search.rankers.views:ViewsRanker",
    "smooth": "search.rankers.smooth:SmoothRanker",
    "nano": "search.rankers.nano:NanoRanker",
    "raw": "search.rankers.raw:RawRanker",
    "chat": "search.rankers.chat:ChatRanker",
    "endpoint": "search.rankers.endpoint:EndpointRanker",
    "write": "search.rankers.writers:WritingRanker",
    "replay": "search.rankers.replay:ReplayRanker",
}
HISTORY_CONTROLS = ("shuffled", "negated")  # see search.rankers.control


def ranker_class(spec: str) -> type[Ranker]:
    """The class behind a spec, whose attributes say what kind of ranker it is; UserError for an unknown name."""
    name = spec.partition(":")[0]
    try:
        return resolve("ranker", name, RANKERS)
    except UserError as error:
        advice = f"a model behind a server is endpoint:URL#{name}, a model of yours chat:FILE.yaml"
        advice = "ridge regression is the ranker surrogate" if name == "ridge" else advice
        raise UserError(f"{error} - {advice}") from None


def make_ranker(spec: str, context: Context) -> Ranker:
    """Build the ranker that a spec names; UserError for an unknown name or a wrong argument."""
    return ranker_class(spec).build(spec.partition(":")[2], context)


def usable(role: str) -> list[str]:
    """The names of the rankers whose class attribute `role` is true: 'control' or 'stands_in'."""
    return [name for name in RANKERS if getattr(ranker_class(name), role)]


def default_ranker(space: Space | None = None) -> str:
    """The shipped nano model where it is present and torch is installed, else its evidence (`views`).

    In a space with ladders (continuous, logarithmic, long ranges): the evidence by itself, which is better there.
    """
    if space is not None and space.geometry is not None:
        return "smooth"
    there = (SHIPPED / "nano" / "config.json").exists() and find_spec("torch") and find_spec("transformers")
    return "nano" if there else "views"


__all__ = [
    "Context",
    "HISTORY_CONTROLS",
    "RANKERS",
    "Ranker",
    "Ranking",
    "SHIPPED",
    "default_ranker",
    "make_ranker",
    "ranker_class",
    "usable",
]
