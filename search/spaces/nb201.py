"""The space of NAS-Bench-201 (= NATS-Bench topology space): 6 edges, 5 operations each, 15,625 cells.

Digit i of a code is the operation on edge i, edges in the order 0->1, 0->2, 1->2, 0->3, 1->3, 2->3 (node 3 is the
output).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product

from search.errors import UserError
from search.spaces.space import Decision, Space

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def arch_string(code: str) -> str:
    """The benchmark's own text of a code: '|op~0|+|op~0|op~1|+|op~0|op~1|op~2|'."""
    op = dict(zip(EDGES, code, strict=True))
    return "+".join("|" + "".join(f"{OPS[int(op[i, j])]}~{i}|" for i in range(j)) for j in (1, 2, 3))


def parse_string(text: str) -> str:
    """The code of an architecture string; UserError when it is not one."""
    try:
        ops = {}
        for j, group in enumerate(text.split("+"), start=1):
            for item in group.strip("|").split("|"):
                op, source = item.split("~")
                ops[int(source), j] = str(OPS.index(op))
        code = "".join(ops[edge] for edge in EDGES)
        if arch_string(code) == text:
            return code
    except (ValueError, KeyError):
        pass
    raise UserError(
        f"'{text}' is not a NAS-Bench-201 string - the form is {arch_string('333123')} with operations {', '.join(OPS)}"
        " - correct it"
    )


def _expand(code: str, edge: Callable[[str, str], str | None]) -> str:
    op = dict(zip(EDGES, code, strict=True))
    nodes = ["0"]
    for j in (1, 2, 3):
        terms = (edge(nodes[i], op[i, j]) for i in range(j))
        nodes.append("+".join(sorted(t for t in terms if t is not None)))
    return nodes[3]


def unique_string(code: str, fold_zeroes: bool = True) -> str:
    """The benchmark's own isomorphism string: 6,466 distinct ones, 12,751 if only skips are folded.

    It folds a path to zero only where a node is fed by a single zero edge.
    """

    def edge(source: str, op: str) -> str:
        if fold_zeroes and (op == "0" or source == "#"):
            return "#"
        return source if op == "1" else f"({source})@{op}"

    return _expand(code, edge)


def reduced_string(code: str) -> str:
    """What the cell computes with every dead path removed: 5,390 distinct ones, '' for the 341 cells without a path to
    the output.
    """

    def edge(source: str, op: str) -> str | None:
        if op == "0" or source == "":
            return None
        return source if op == "1" else f"({source})@{op}"

    return _expand(code, edge)


@cache
def _representatives() -> dict[str, str]:
    first: dict[str, str] = {}
    return {code: first.setdefault(reduced_string(code), code) for code in map("".join, product("01234", repeat=6))}


def canonical(code: str) -> str:
    """The smallest code of those that compute the same cell (5,390 classes).

    Members of a class have different table entries (training noise), so a table is looked up by raw code. The best
    validation codes (333132, 333133, 322133) and the best test codes (333123, 223133) are alone in their classes:
    never evaluating two codes of one class cannot hide them.
    """
    return _representatives()[code]


def space() -> Space:
    """The search space: six decisions named after their edge, five operations each."""
    return Space([Decision(f"edge_{i}_{j}", OPS) for i, j in EDGES], "nb201", canonical)
