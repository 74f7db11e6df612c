"""The space of NAS-Bench-ASR: 13,824 codes, 8,242 different speech models.

A code has nine digits: [op1, skip] [op2, skip, skip] [op3, skip, skip, skip]. Vertex 0 is the cell's input, 1 to 3 the
main operations in a chain, 4 the output; the i-th skip of operation k adds an edge from vertex i to vertex k + 1.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

from search.spaces.cell_hash import fingerprint, vertex_hashes
from search.spaces.space import Decision, Space

OPS = ("linear", "conv5", "conv5d2", "conv7", "conv7d2", "zero")
SIZES = (6, 2, 6, 2, 2, 6, 2, 2, 2)
UNCONNECTED = "d751713988987e9331980363e24189ce"
_OP_AT, _SKIPS_AT = (0, 2, 5), ((1,), (3, 4), (6, 7, 8))
_ZERO = OPS.index("zero")


@lru_cache(maxsize=1 << 14)
def model_key(code: str) -> str:
    """The benchmark's key of a code, 32 hex digits; all 812 codes without a path to the output share one."""
    edges = [(k, k + 1) for k in range(4)] + [
        (i, k + 1) for k, at in enumerate(_SKIPS_AT, start=1) for i, a in enumerate(at) if code[a] == "1"
    ]
    labels = {0: -1, 4: -2, **{k: int(code[a]) for k, a in enumerate(_OP_AT, start=1)}}
    zero = {v for v in (1, 2, 3) if labels[v] == _ZERO}
    edges = [(i, j) for i, j in edges if i not in zero and j not in zero]
    forward, backward = {0}, {4}
    for i, j in sorted(edges):
        if i in forward:
            forward.add(j)
    for i, j in sorted(edges, reverse=True):
        if j in backward:
            backward.add(i)
    kept = sorted(forward & backward)
    place = {v: n for n, v in enumerate(kept)}
    inner = [(place[i], place[j]) for i, j in edges if i in place and j in place]
    return fingerprint(vertex_hashes(inner, [labels[v] for v in kept], float_degrees=True))


@lru_cache(maxsize=1)
def _first_codes() -> dict[str, str]:
    first: dict[str, str] = {}
    for code in all_codes():
        first.setdefault(model_key(code), code)
    return first


def all_codes() -> list[str]:
    """All 13,824 codes in order."""
    return ["".join(map(str, digits)) for digits in product(*map(range, SIZES))]


def canonical(code: str) -> str:
    """The smallest code of the same model."""
    return _first_codes()[model_key(code)]


def space() -> Space:
    """Nine decisions: three operations, one to three skips after each."""
    decisions = []
    for k, skips in enumerate(_SKIPS_AT, start=1):
        decisions.append(Decision(f"op_{k}", OPS))
        decisions += [Decision(f"skip_{k}_{i}", (0, 1)) for i in range(len(skips))]
    return Space(decisions, "nbasr", canonical)


def from_nested(arch: list[list[int]]) -> str:
    """The code of the benchmark's own form, [[op, skip], [op, skip, skip], [op, skip, skip, skip]]."""
    return "".join(str(digit) for node in arch for digit in node)
