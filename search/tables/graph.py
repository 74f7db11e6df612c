"""NAS-Bench-Graph: graph neural networks of four layers on nine data sets, from the pip package nas-bench-graph.

A code has five digits: which of nine link patterns, then the operation of each of the four nodes. The benchmark trained one
network per architecture (26,206; 2,021 for proteins); here every code that builds the same network shares its figures, so that
all 59,049 (5,625) codes but 'skip everywhere' are in the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import permutations, product
from pathlib import Path

import numpy as np

from search.errors import UserError, did_you_mean
from search.space import Decision, Space
from search.tables import GRAPH
from search.tables.base import Table
from search.tables.cache import cached, file_sum
from search.tables.pip_tables import package_file, package_version
from search.tables.safe_pickle import load_file

LINKS = ("0000", "0001", "0011", "0012", "0013", "0111", "0112", "0122", "0123")
OPS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
OPS_PROTEINS = ("gcn", "sage", "arma", "fc", "skip")

Forest = tuple[tuple[str, "Forest"], ...]


@lru_cache(maxsize=1 << 17)
def network(code: str, ops: tuple[str, ...] = OPS) -> Forest:
    """What a code builds: the nodes on the input, each (operation, nodes on it), sorted, with skips that change nothing removed.

    A skip with followers is the identity; a last skip matters only beside another follower of the same node (its input is
    then an output too), and not on the input itself.
    """
    link = LINKS[int(code[0])]
    chosen = [ops[int(c)] for c in code[1:]]

    def follow(node: int) -> list:
        out = []
        for child in (i for i in range(1, 5) if int(link[i - 1]) == node):
            below = follow(child)
            if chosen[child - 1] == "skip" and below:
                out += below
            else:
                out.append((chosen[child - 1], below))
        return out

    def tidy(forest: list, on_input: bool) -> Forest:
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
    return (str(link) + "".join(map(str, rest)) for link in range(len(LINKS)) for rest in product(range(len(ops)), repeat=4))


def load(dataset: str = "cora", source: str | Path | None = None) -> Table:
    """Metrics: val_acc, test_acc (0..1; ROC-AUC for proteins), latency (s), params (millions). source: another copy of the .bench file."""
    if dataset not in GRAPH:
        raise did_you_mean("NAS-Bench-Graph data set", dataset, GRAPH)
    path = package_file("nas-bench-graph", "nas_bench_graph", f"light/{dataset}.bench") if source is None else Path(source)
    digest = file_sum(path) if path.is_file() else ""
    ops = OPS_PROTEINS if dataset == "proteins" else OPS
    names = {"val_acc": "valid_perf", "test_acc": "perf", "latency": "latency", "params": "para"}
    directions = {"val_acc": "maximize", "test_acc": "maximize", "latency": "minimize", "params": "minimize"}
    origin = package_version("nas-bench-graph") if source is None else path.name

    def build() -> Table:
        data = load_file(path)
        nets = {code: network(code, ops) for code in all_codes(ops)}
        trained = {net: data[key] for code, net in nets.items() if (key := benchmark_key(code, ops)) in data}
        codes = [code for code, net in nets.items() if net in trained]
        if not codes:
            raise UserError(f"{path.name} has no architecture of NAS-Bench-Graph - a light/*.bench file is needed - give its path")
        metrics = {ours: np.array([trained[nets[c]][theirs] for c in codes], dtype=np.float64) for ours, theirs in names.items()}
        own = _space(ops)
        return Table(f"graph/{dataset}", own, own.to_array(codes), metrics, directions, origin, "Apache-2.0", digest)

    return cached(f"graph/{dataset}", digest, build, partial(canonical, ops=ops))


def _space(ops: tuple[str, ...]) -> Space:
    return Space([Decision("link", LINKS)] + [Decision(f"op_{i}", ops) for i in range(1, 5)], "graph", partial(canonical, ops=ops))
