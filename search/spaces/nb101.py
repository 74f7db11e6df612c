"""The space of NAS-Bench-101: cells of at most 7 vertices and 9 edges.

A code has 26 digits: 21 bits of the strict upper triangle, row by row ((0,1), (0,2) ... (0,6), (1,2) ... (5,6)), then
the operations of the vertices 1 to 5. This is the order of edge_0..edge_20, op_node_0..op_node_4 in HPOBench. (The
benchmark's own enumeration counts bits column by column.) A cell with fewer vertices leaves the others without edges,
operation 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from search.errors import UserError
from search.spaces.cell_hash import fingerprint, vertex_hashes
from search.spaces.space import Decision, Space

_ODD = [
    np.uint64(k)
    for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
]


def _mix(x: np.ndarray, k: int) -> np.ndarray:
    x = (x + _ODD[k]) * _ODD[(k + 1) % 5]
    x ^= x >> np.uint64(29)
    x *= _ODD[(k + 2) % 5]
    return x ^ (x >> np.uint64(32))


def cell_keys(codes: np.ndarray) -> np.ndarray:
    """A 63-bit number per code, equal for equal cells, -1 for codes that are no valid cell; uint8 (n, 26) -> int64
    (n,).

    The same Weisfeiler-Lehman rounds as the benchmark's md5 key, on 64-bit integers and many codes at once.
    """
    bits = codes[:, :21].astype(bool)
    n = len(codes)
    forward, backward = np.zeros((7, n), dtype=bool), np.zeros((7, n), dtype=bool)
    forward[0] = backward[6] = True
    for k, (i, j) in enumerate(EDGES):
        forward[j] |= bits[:, k] & forward[i]
    for k in range(20, -1, -1):
        i, j = EDGES[k]
        backward[i] |= bits[:, k] & backward[j]
    alive = forward & backward
    edge = {e: (bits[:, k] & alive[e[0]] & alive[e[1]]).astype(np.uint64) for k, e in enumerate(EDGES)}
    out_degree = [sum((edge[v, j] for j in range(v + 1, 7)), np.zeros(n, np.uint64)) for v in range(7)]
    in_degree = [sum((edge[i, v] for i in range(v)), np.zeros(n, np.uint64)) for v in range(7)]
    labels = [
        np.full(n, 3, np.uint64),
        *(codes[:, 20 + v].astype(np.uint64) for v in range(1, 6)),
        np.full(n, 4, np.uint64),
    ]
    color = [_mix(out_degree[v] * np.uint64(64) + in_degree[v] * np.uint64(8) + labels[v], 0) for v in range(7)]
    rounds = alive.sum(axis=0)
    for r in range(7):
        before, after = [_mix(c, 1) for c in color], [_mix(c, 2) for c in color]
        fresh = []
        for v in range(7):
            left = sum((edge[i, v] * before[i] for i in range(v)), np.zeros(n, np.uint64))
            right = sum((edge[v, j] * after[j] for j in range(v + 1, 7)), np.zeros(n, np.uint64))
            fresh.append(np.where(r < rounds, _mix(_mix(left, 3) ^ right * _ODD[4] ^ color[v] * _ODD[1], 4), color[v]))
        color = fresh
    total = sum((_mix(c, 3) * a for c, a in zip(color, alive.astype(np.uint64))), np.zeros(n, np.uint64))
    key = (_mix(total, 0) >> np.uint64(1)).astype(np.int64)
    return np.where(valid_array(codes), key, -1)


OPS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
EDGES = tuple((i, j) for i in range(7) for j in range(i + 1, 7))
MAX_EDGES = 9  # the benchmark's own limit, after pruning
_INPUT, _OUTPUT = -1, -2
Edges = tuple[tuple[int, int], ...]


def prune(edges: Sequence[tuple[int, int]], last: int = 6) -> tuple[Edges, list[int]]:
    """The edges on paths from vertex 0 to vertex `last`, renumbered, and the old numbers of the vertices kept ([] if
    there is no path).
    """
    forward, backward = {0}, {last}
    for i, j in sorted(edges):
        if i in forward:
            forward.add(j)
    for i, j in sorted(edges, key=lambda e: -e[1]):
        if j in backward:
            backward.add(i)
    kept = sorted(forward & backward)
    if last not in forward:
        return (), []
    place = {v: k for k, v in enumerate(kept)}
    return tuple((place[i], place[j]) for i, j in edges if i in place and j in place), kept


def cell(code: str) -> tuple[Edges, tuple[int, ...]]:
    """The pruned cell of a code: its edges and vertex labels (-1 input, operation numbers, -2 output); ((), ()) if
    input and output are not connected.
    """
    edges, kept = prune([e for e, bit in zip(EDGES, code[:21], strict=True) if bit == "1"])
    labels = [_INPUT, *map(int, code[21:]), _OUTPUT]
    return edges, tuple(labels[v] for v in kept)


def valid(code: str) -> bool:
    """Whether the benchmark has the cell: connected, and at most 9 edges AFTER pruning."""
    edges, labels = cell(code)
    return bool(labels) and len(edges) <= MAX_EDGES


def valid_array(codes: np.ndarray) -> np.ndarray:
    """`valid` for uint8 (n, at least 21) codes at once, bool (n,)."""
    bits = np.asarray(codes)[:, :21].astype(bool)
    forward = np.zeros((len(bits), 7), dtype=bool)
    backward = np.zeros_like(forward)
    forward[:, 0] = backward[:, 6] = True
    for k, (i, j) in enumerate(EDGES):
        forward[:, j] |= bits[:, k] & forward[:, i]
    for k in sorted(range(21), key=lambda k: -EDGES[k][1]):
        i, j = EDGES[k]
        backward[:, i] |= bits[:, k] & backward[:, j]
    alive = forward & backward
    used = sum((bits[:, k] & alive[:, i] & alive[:, j]).astype(np.int64) for k, (i, j) in enumerate(EDGES))
    return forward[:, 6] & (used <= MAX_EDGES)


def cell_key(code: str) -> str:
    """The 32-digit key of a code's cell in the benchmark; UserError for a code that is not valid."""
    edges, labels = cell(code)
    if not labels or len(edges) > MAX_EDGES:
        raise UserError(
            f"code {code} is no NAS-Bench-101 cell - input and output must be connected by at most {MAX_EDGES} edges -"
            " choose another"
        )
    return fingerprint(vertex_hashes(edges, labels))


def to_code(edges: Sequence[tuple[int, int]], operations: Sequence[int]) -> str:
    """The 26 digits of a cell with len(operations) interior vertices (0 = input, last = output); it need not be
    pruned.
    """
    last = len(operations) + 1
    if last > 6:
        raise UserError(f"a cell of {last + 1} vertices was given - NAS-Bench-101 has at most 7 - leave some out")
    present = {(i, 6 if j == last else j) for i, j in edges}
    return "".join("1" if e in present else "0" for e in EDGES) + "".join(map(str, operations)).ljust(5, "0")


def canonical_cell(edges: Sequence[tuple[int, int]], labels: Sequence[int], hashes: Sequence[str]) -> str:
    """The code of a pruned cell with its vertices in order of their hash where the edges allow it; ties give the
    smallest code.
    """
    n = len(labels)
    before = [{i for i, j in edges if j == v} for v in range(n)]
    best = ""
    orders: list[list[int]] = [[0]]
    while orders:
        order = orders.pop()
        if len(order) == n - 1:
            place = {v: k for k, v in enumerate([*order, n - 1])}
            code = to_code([(place[i], place[j]) for i, j in edges], [labels[v] for v in order[1:]])
            best = min(best, code) if best else code
            continue
        ready = [v for v in range(1, n - 1) if v not in order and before[v] <= set(order)]
        least = min(hashes[v] for v in ready)
        orders += [[*order, v] for v in ready if hashes[v] == least]
    return best


@lru_cache(maxsize=1 << 17)
def canonical(code: str) -> str:
    """One code for all that mean the same cell: pruned, isomorphic cells alike.

    A code that is not valid stays as it is.
    """
    edges, labels = cell(code)
    if not labels or len(edges) > MAX_EDGES:
        return code
    return canonical_cell(edges, labels, vertex_hashes(edges, labels))


def space() -> Space:
    """26 decisions: 21 edges (absent, present) and 5 operations."""
    return Space(
        [Decision(f"edge_{i}_{j}", (0, 1)) for i, j in EDGES] + [Decision(f"op_{v}", OPS) for v in range(1, 6)],
        "nb101",
        canonical,
    )


def parse_matrix(
    rows: Sequence[Sequence[Any]] | str, operations: Sequence[str]
) -> tuple[list[tuple[int, int]], list[int]]:
    """Edges and interior operation numbers from an adjacency matrix (rows, or a text of 0 and 1) and names ['input',
    ..., 'output'].
    """
    n = len(operations)
    flat = [int(x) for x in (rows if isinstance(rows, str) else [x for row in rows for x in row])]
    if len(flat) != n * n or operations[0] != "input" or operations[-1] != "output" or not 2 <= n <= 7:
        raise UserError(
            f"a matrix of {len(flat)} entries with operations {list(operations)} is no NAS-Bench-101 cell - V x V"
            " entries and input ... output are needed"
        )
    edges = [(i, j) for i in range(n) for j in range(n) if flat[i * n + j]]
    if any(i >= j for i, j in edges) or any(op not in OPS for op in operations[1:-1]):
        raise UserError(
            f"a cell with edges {edges} and operations {list(operations)} was given - edges go to later vertices,"
            f" operations are {', '.join(OPS)}"
        )
    return edges, [OPS.index(op) for op in operations[1:-1]]


def enumerate_valid() -> Iterator[np.ndarray]:
    """All 2**21 adjacency bit rows that are valid, in blocks of uint8 (m, 21)."""
    for start in range(0, 1 << 21, 1 << 17):
        numbers = np.arange(start, start + (1 << 17))
        bits = (numbers[:, None] >> np.arange(20, -1, -1) & 1).astype(np.uint8)
        yield bits[valid_array(bits)]
