"""The DARTS space of NAS-Bench-301: two cells of four nodes, 1.08e18 codes of 22 digits.

Digits of a cell: the operations of its 8 edges, node by node, lower source first; then for the nodes 3, 4 and 5 which
two of the earlier states feed them (3, 6 and 10 pairs in lexicographic order; node 2 has only (0, 1)). The normal cell
comes first, then the reduction cell in the same way. States 0 and 1 are the outputs of the two previous cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from itertools import combinations, permutations
from typing import Any

import numpy as np

from search.errors import UserError
from search.spaces.space import Decision, Space

_ODD = [np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)]


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(31))) * _ODD[1]
    x = (x ^ (x >> np.uint64(29))) * _ODD[2]
    return x ^ (x >> np.uint64(32))


def _sources(digits: np.ndarray, node: int) -> np.ndarray:
    """The two source states of a node of each cell; int64 (n, 2).

    digits: uint8 (n, 11).
    """
    pairs = np.array(PAIRS[node])
    return pairs[digits[:, 5 + node] if node > 2 else np.zeros(len(digits), dtype=np.int64)]


def cell_keys(digits: np.ndarray) -> np.ndarray:
    """A number per cell that does not change with the order of its nodes; uint8 (n, 11) -> uint64 (n,)."""
    n = len(digits)
    state = np.empty((n, 6), dtype=np.uint64)
    state[:, 0], state[:, 1] = _ODD[0], _ODD[1]
    rows = np.arange(n)
    for node in (2, 3, 4, 5):
        total = np.zeros(n, dtype=np.uint64)
        for k, source in enumerate(_sources(digits, node).T):
            operation = digits[:, 2 * (node - 2) + k].astype(np.uint64)
            total += _mix(state[rows, source] * np.uint64(31) + operation + np.uint64(1))
        state[:, node] = _mix(total)
    return sum((_mix(state[:, node] + np.uint64(7)) for node in (2, 3, 4, 5)), np.zeros(n, dtype=np.uint64))


def architecture_keys(codes: np.ndarray) -> np.ndarray:
    """A 63-bit number per architecture; uint8 (n, 22) -> int64 (n,)."""
    both = cell_keys(codes[:, :11]) * np.uint64(3) + _mix(cell_keys(codes[:, 11:]))
    return (_mix(both) >> np.uint64(1)).astype(np.int64)


OPS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
OPS_WITH_NONE = (*OPS, "none")
PAIRS = {node: tuple(combinations(range(node), 2)) for node in (2, 3, 4, 5)}
EDGE_OFFSET = {2: 0, 3: 2, 4: 5, 5: 9}
_ITEM = re.compile(r"\(\s*['\"]?(\w+)['\"]?\s*,\s*(\d+)\s*\)")
_FULL = re.compile(
    r"normal\s*=\s*(.*?)normal_concat\s*=\s*(.*?),\s*reduce\s*=\s*(.*?)reduce_concat\s*=\s*(.*?)\)?\s*$", re.S
)
Cell = Sequence[tuple[str, int]]


def encode_cell(cell: Cell, ops: tuple[str, ...] = OPS) -> str:
    """The 11 digits of 8 pairs (operation, source state), two per node; UserError when it is no DARTS cell."""
    if len(cell) != 8:
        raise UserError(
            f"a cell of {len(cell)} edges was given - a DARTS cell has 8, two for each of 4 nodes - correct the"
            " genotype"
        )
    digits, pairs = "", ""
    for node in (2, 3, 4, 5):
        first, second = sorted(cell[2 * (node - 2) : 2 * (node - 2) + 2], key=lambda item: item[1])
        sources = (first[1], second[1])
        if sources not in PAIRS[node]:
            raise UserError(
                f"node {node} of a cell is fed by states {sources} - two different states below {node} are needed -"
                " correct the genotype"
            )
        for op, _ in (first, second):
            if op not in ops:
                raise UserError(
                    f"operation '{op}' was given - the DARTS space here has {', '.join(ops)} - leave the"
                    " architecture out"
                )
            digits += str(ops.index(op))
        if node > 2:
            pairs += str(PAIRS[node].index(sources))
    return digits + pairs


def decode_cell(digits: str, ops: tuple[str, ...] = OPS) -> list[tuple[str, int]]:
    """The 8 pairs (operation, source state) of 11 digits, the lower source first."""
    chosen = [PAIRS[2][0]] + [PAIRS[node][int(d)] for node, d in zip((3, 4, 5), digits[8:], strict=True)]
    sources = [s for pair in chosen for s in pair]
    return [(ops[int(d)], s) for d, s in zip(digits[:8], sources, strict=True)]


def parse_genotype(text: str, ops: tuple[str, ...] = OPS) -> str:
    """The code of 'Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=[...],
    reduce_concat=...)'.
    """
    match = _FULL.search(text)
    if match is None:
        raise UserError(
            f"'{text[:60]}...' is not a DARTS genotype - the form is Genotype(normal=[...], normal_concat=...,"
            " reduce=[...], reduce_concat=...)"
        )
    for concat in (match[2], match[4]):
        if re.findall(r"\d+", concat) not in (["2", "6"], ["2", "3", "4", "5"]):
            raise UserError(
                f"a genotype with concat {concat} was given - this space concatenates the states 2 to 5 - leave the"
                " architecture out"
            )
    cells = ([(op, int(source)) for op, source in _ITEM.findall(part)] for part in (match[1], match[3]))
    return "".join(encode_cell(cell, ops) for cell in cells)


def genotype(code: str, ops: tuple[str, ...] = OPS) -> str:
    """The DARTS text of a code."""
    normal, reduce = decode_cell(code[:11], ops), decode_cell(code[11:], ops)
    return f"Genotype(normal={normal}, normal_concat=range(2, 6), reduce={reduce}, reduce_concat=range(2, 6))"


def from_config(config: dict[str, Any]) -> str:
    """The code of a NAS-Bench-301 configuration (keys 'NetworkSelectorDatasetInfo:darts:edge_normal_0' and so on)."""
    lead = "NetworkSelectorDatasetInfo:darts:"
    digits = ""
    for kind in ("normal", "reduce"):
        cell = []
        for node in (2, 3, 4, 5):
            sources = (
                (0, 1)
                if node == 2
                else tuple(int(s) for s in str(config[f"{lead}inputs_node_{kind}_{node}"]).split("_"))
            )
            cell += [(config[f"{lead}edge_{kind}_{EDGE_OFFSET[node] + s}"], s) for s in sources]
        digits += encode_cell(cell)
    return digits


@lru_cache(maxsize=1 << 18)
def canonical_cell(digits: str, ops: tuple[str, ...] = OPS) -> str:
    """The smallest digits of the cells that differ only in the order of their nodes (the output concatenates all
    four).
    """
    cell = decode_cell(digits, ops)
    nodes = [cell[2 * k : 2 * k + 2] for k in range(4)]
    best = digits
    for order in permutations(range(4)):
        place = {0: 0, 1: 1, **{old + 2: new + 2 for new, old in enumerate(order)}}
        moved = [[(op, place[s]) for op, s in nodes[old]] for old in order]
        if all(s < new + 2 for new, node in enumerate(moved) for _, s in node):
            best = min(best, encode_cell([item for node in moved for item in node], ops))
    return best


def canonical(code: str, ops: tuple[str, ...] = OPS) -> str:
    """One code for all that differ only in the order of nodes."""
    return canonical_cell(code[:11], ops) + canonical_cell(code[11:], ops)


def space(ops: tuple[str, ...] = OPS) -> Space:
    """22 decisions; with OPS its size is (7**8 * 180)**2 = 1.0767e18."""
    decisions = []
    for kind in ("normal", "reduce"):
        decisions += [Decision(f"{kind}_op_{node}_{k}", ops) for node in (2, 3, 4, 5) for k in (0, 1)]
        decisions += [
            Decision(f"{kind}_inputs_{node}", tuple(f"{a}_{b}" for a, b in PAIRS[node])) for node in (3, 4, 5)
        ]
    return Space(decisions, "nb301", partial(canonical, ops=ops))


def edge_matrix(codes: Iterable[str], ops: int = len(OPS)) -> np.ndarray:
    """One-hot of the 28 possible edges (14 per cell), all zero where an edge is absent; float32 (n, 28 * ops)."""
    return edge_features(np.array([[int(d) for d in code] for code in codes], dtype=np.uint8).reshape(-1, 22), ops)


def edge_features(codes: np.ndarray, ops: int = len(OPS)) -> np.ndarray:
    """`edge_matrix` of uint8 (n, 22) codes."""
    out = np.zeros((len(codes), 28, ops), dtype=np.float32)
    rows = np.arange(len(codes))
    for cell in (0, 1):
        digits = codes[:, 11 * cell : 11 * cell + 11]
        for node in (2, 3, 4, 5):
            pairs = np.array(PAIRS[node])[digits[:, 5 + node] if node > 2 else np.zeros(len(codes), dtype=np.int64)]
            for k in (0, 1):
                out[rows, 14 * cell + EDGE_OFFSET[node] + pairs[:, k], digits[:, 2 * (node - 2) + k]] = 1
    return out.reshape(len(codes), -1)
