"""CPU time of loading tables: the first load (conversion) and every later one, which must stay below a second.

python -m benchmarks.tables     pip tables, and a table and a TFRecord file of NAS-Bench-101's size and form
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

NB101_CELLS = 423_624


def timed(action: Callable[[], object]) -> tuple[float, object]:
    """(CPU seconds, result) of one call; CPU time, so that other work on the machine does not count."""
    start = time.process_time()
    result = action()
    return time.process_time() - start, result


def report(name: str, rows: int, first: float, later: float) -> None:
    print(
        f"{name:32s} {rows:9,d} rows   first {first:7.2f} s   later {later:6.3f} s   {first / later:6.0f} x", flush=True
    )


def pip_tables() -> None:
    from search.tables import load_table

    for name in ("nb201/cifar100", "graph/cora", "hpobench/car", "hpolib/protein_structure"):
        first, table = timed(lambda name=name: load_table(name))
        report(name, len(table), first, min(timed(lambda name=name: load_table(name))[0] for _ in range(3)))


def full_size_cache(seed: int = 0) -> None:
    """A table with as many rows and columns as NAS-Bench-101 (random codes): the later load alone."""
    from search.spaces import nb101
    from search.tables.base import Table
    from search.tables.cache import cached

    rng, own = np.random.default_rng(seed), nb101.space()
    metrics = {name: rng.random((NB101_CELLS, 3)) for name in ("val_acc", "test_acc", "train_time")} | {
        "params": rng.random(NB101_CELLS)
    }

    def build() -> Table:
        return Table("size-of-nb101", own, own.sample(rng, NB101_CELLS), metrics, by_canonical=True)

    first, _ = timed(lambda: cached("size-of-nb101", "k", build, nb101.canonical))
    report(
        "cache of NAS-Bench-101's size",
        NB101_CELLS,
        first,
        min(timed(lambda: cached("size-of-nb101", "k", build, nb101.canonical))[0] for _ in range(3)),
    )


def tfrecord(folder: Path, cells: int, seed: int = 0) -> None:
    """A file of the different cells among random valid codes, three runs each, in the original format: records a
    second.
    """
    from search.spaces import nb101
    from search.tables import load_table
    from search.tables.tfrecord import masked_crc32c

    rng, own = np.random.default_rng(seed), nb101.space()
    codes = own.sample(rng, 2 * cells)
    codes = own.to_codes(codes[nb101.valid_array(codes)][:cells])
    payloads = []
    for code in dict.fromkeys(map(nb101.canonical, codes)):
        matrix = np.zeros((7, 7), dtype=int)
        for bit, (i, j) in zip(code[:21], nb101.EDGES, strict=True):
            matrix[i, j] = int(bit)
        inner = b"".join(bytes([8 * n + 1]) + struct.pack("<d", 0.1 * n) for n in range(1, 6)) + b"\x32\x28" + b"c" * 40
        message = base64.b64encode((b"\x0a" + bytes([len(inner)]) + inner) * 3 + b"\x10\x90\x4e").decode()
        ops = ["input", *(nb101.OPS[int(c)] for c in code[21:]), "output"]
        payload = json.dumps(
            [nb101.cell_key(code), 108, "".join(map(str, matrix.ravel())), ",".join(ops), message]
        ).encode()
        payloads += [payload] * 3
    heads = [struct.pack("<Q", len(p)) for p in payloads]
    path = folder / "cells.tfrecord"
    with open(path, "wb") as handle:
        for head, body, a, b in zip(heads, payloads, masked_crc32c(heads), masked_crc32c(payloads), strict=True):
            handle.write(head + struct.pack("<I", a) + body + struct.pack("<I", b))
    first, table = timed(lambda: load_table("nb101", path))
    report(
        "TFRecord of NAS-Bench-101's form",
        len(table),
        first,
        min(timed(lambda: load_table("nb101", path))[0] for _ in range(3)),
    )
    rate = len(payloads) / first
    print(
        f"    {rate:,.0f} records/s; at this rate the 1,270,872 records of nasbench_only108 take"
        f" {1_270_872 / rate / 60:.1f} min"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=5000, help="random codes behind the TFRecord file (default 5000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LMSEARCHER_CACHE"] = str(Path(folder) / "cache")
        pip_tables()
        full_size_cache()
        tfrecord(Path(folder), options.cells)


if __name__ == "__main__":
    main()
