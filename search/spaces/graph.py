"""The space of NAS-Bench-Graph: graph neural networks of four layers.

A code has five digits: which of nine link patterns, then the operation of each of the four nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import permutations, product
from typing import Any

from search.spaces.space import Decision, Space

LINKS = ("0000", "0001", "0011", "0012", "0013", "0111", "0112", "0122", "0123")
OPS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
OPS_PROTEINS = ("gcn", "sage", "arma", "fc", "skip")
Forest = tuple[tuple[str, "Forest"], ...]


@lru_cache(maxsize=1 << 17)
def network(code: str, ops: tuple[str, ...] = OPS) -> Forest:
    """What a code builds: the nodes on the input, each (operation, nodes on it), sorted, with skips that change nothing
    removed.

    A skip with followers is the identity; a last skip matters only beside another follower of the same node (its input
    is then an output too), and not on the input itself.
    """
    link = LINKS[int(code[0])]
    chosen = [ops[int(c)] for c in code[1:]]

    def follow(node: int) -> list[Any]:
        out: list[Any] = []
        for child in (i for i in range(1, 5) if int(link[i - 1]) == node):
            below = follow(child)
            if chosen[child - 1] == "skip" and below:
                out += below
            else:
                out.append((chosen[child - 1], below))
        return out

    def tidy(forest: list[Any], on_input: bool) -> Forest:
        nodes = sorted((op, tidy(below, False)) for op, below in forest)
        if on_input or nodes == [("skip", ())]:
            nodes = [n for n in nodes if n != ("skip", ())]
        return tuple(nodes)

    return tidy(follow(0), True)


def benchmark_key(code: str, ops: tuple[str, ...] = OPS) -> int:
    """The benchmark's own key: the digits read in base ten, operations numbered as in its full list."""
    return int(code[0] + "".join(str(OPS.index(ops[int(c)])) for c in code[1:]))


@lru_cache(maxsize=1 << 17)
def canonical(code: str, ops: tuple[str, ...] = OPS) -> str:
    """One code for all that build the same network: unneeded skips first, then the smallest order of the nodes."""
    nodes: list[tuple[str, int]] = []

    def number(forest: Forest, above: int) -> None:
        for op, below in forest:
            nodes.append((str(ops.index(op)), above))
            number(below, len(nodes) - 1)

    number(network(code, ops), -1)
    skips = 4 - len(nodes)
    lead, first = "".join(map(str, range(skips))), str(ops.index("skip")) * skips
    found = []
    for order in permutations(range(len(nodes))):
        place = {node: i + skips + 1 for i, node in enumerate(order)} | {-1: skips}
        link = lead + "".join(str(place[nodes[node][1]]) for node in order)
        if link in LINKS:
            found.append(str(LINKS.index(link)) + first + "".join(nodes[node][0] for node in order))
    return min(found)


def all_codes(ops: tuple[str, ...] = OPS) -> Iterator[str]:
    """Every code, in order."""
    return (
        str(link) + "".join(map(str, rest)) for link in range(len(LINKS)) for rest in product(range(len(ops)), repeat=4)
    )


def space(ops: tuple[str, ...]) -> Space:
    return Space(
        [Decision("link", LINKS)] + [Decision(f"op_{i}", ops) for i in range(1, 5)],
        "graph",
        partial(canonical, ops=ops),
    )
