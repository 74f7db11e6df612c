"""The isomorphism key shared by NAS-Bench-101 and NAS-Bench-ASR (Weisfeiler-Lehman with md5)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import md5


def vertex_hashes(edges: Sequence[tuple[int, int]], labels: Sequence[int], float_degrees: bool = False) -> list[str]:
    """The final hash of each vertex, 32 hex digits.

    edges: (from, to).
    labels: -1 input, -2 output, else operation.

    The degrees enter the md5 as text: '1' in NAS-Bench-101, '1.0' in NAS-Bench-ASR.
    """
    n = len(labels)
    before: list[list[int]] = [[] for _ in range(n)]
    after: list[list[int]] = [[] for _ in range(n)]
    for source, target in edges:
        after[source].append(target)
        before[target].append(source)
    kind = float if float_degrees else int
    hashes = [_md5(str((kind(len(after[v])), kind(len(before[v])), labels[v]))) for v in range(n)]
    for _ in range(n):
        hashes = [
            _md5(
                "".join(sorted([hashes[w] for w in before[v]]))
                + "|"
                + "".join(sorted([hashes[w] for w in after[v]]))
                + "|"
                + hashes[v]
            )
            for v in range(n)
        ]
    return hashes


def fingerprint(hashes: Sequence[str]) -> str:
    """The key of a graph from its vertex hashes."""
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
