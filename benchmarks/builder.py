"""How fast rows are made, beside two alternatives measured in the same run.

    python benchmarks/builder.py [--rows 4096] [--workers 2]

(a) a plain Python loop over a dict table: draw masks until one is large enough, list the subspace, shuffle, sort,
json.dumps;
    for synthetic rows the same loop with the dict filled by asking the random world for one code at a time
(b) the raw cost of serialising and writing the very same rows: json.dumps of ready dicts, one write each

Ratios are of rows per second of wall time, and of CPU seconds (which a busy machine does not disturb).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable
from itertools import product
from math import prod
from pathlib import Path

import numpy as np

from data_builders import nb201
from data_builders.prior import text_rows as prior
from data_builders.prior.worlds import sample_world
from data_builders.rows.sampling import RowShape
from data_builders.rows.writing import Job, write_rows
from search.prompts.formats import INSTRUCTION, percentages
from search.spaces import DIGITS
from search.spaces.nb201 import canonical
from search.tables import load_table

SHAPE = RowShape()


def plain_loop(out: Path, rows: int, seed: int = 0) -> None:
    """Alternative (a): NAS-Bench-201 rows as one writes them in an afternoon."""
    tables = []
    for name in nb201.DATASETS:
        table = load_table(f"nb201/{name}")
        tables.append(dict(zip(table.space.to_codes(table.codes), table.metric("val_acc").tolist())))
    rng = random.Random(seed)
    with open(out, "w") as handle:
        for _ in range(rows):
            table, history_size = rng.choice(tables), rng.randint(*SHAPE.history)
            while True:
                options = []
                for _ in range(6):
                    kept = [o for o in "01234" if rng.random() >= 0.5] or [rng.choice("01234")]
                    options.append([rng.choice(kept)] if rng.random() < 0.5 else kept)
                if prod(map(len, options)) < history_size + SHAPE.candidates:
                    continue
                codes = ["".join(c) for c in product(*options)]
                rng.shuffle(codes)
                distinct: dict[str, str] = {}
                for code in codes:
                    distinct.setdefault(canonical(code), code)
                if len(distinct) >= history_size + SHAPE.candidates:
                    break
            picked = list(distinct.values())
            history = sorted(((table[c], c) for c in picked[:history_size]), reverse=True)
            candidates = picked[history_size : history_size + SHAPE.candidates]
            text = (
                "History:\n"
                + "\n".join(f"NCode: {c}, accuracy: {v:.2f};" for v, c in history)
                + "\nCandidate:\n"
                + "\n".join(candidates)
            )
            handle.write(
                json.dumps(
                    {"instruction": INSTRUCTION, "input": text, "output": max(candidates, key=table.__getitem__)}
                )
                + "\n"
            )


def plain_worlds(out: Path, rows: int, seed: int = 0) -> None:
    """Alternative (a) for synthetic rows, a fresh world every prior.GROUP rows as ours has."""
    source, rng, random_ = prior.make_source(SHAPE), np.random.default_rng(seed), random.Random(seed)
    world, table, done = None, {}, 0
    with open(out, "w") as handle:
        while done < rows:
            if world is None or done % prior.GROUP == 0:
                world, table = sample_world(rng), {}
                if not source.large_enough(world, rng):
                    world = None
                    continue
            need = random_.randint(*SHAPE.history) + SHAPE.candidates
            while True:
                options = []
                for size in world.layout.sizes.tolist():
                    kept = [o for o in range(size) if random_.random() >= 0.5] or [random_.randrange(size)]
                    options.append([random_.choice(kept)] if random_.random() < 0.5 else kept)
                if prod(map(len, options)) >= 2 * need:
                    break
            picked: dict[str, float] = {}
            while len(picked) < need:
                digits = [random_.choice(o) for o in options]
                code = "".join(DIGITS[d] for d in digits)
                if code not in table:
                    table[code] = float(world.clean(np.array([digits]))[0])
                picked[code] = table[code]
            codes = list(picked)
            history = sorted(
                ((picked[c] + random_.gauss(0, 1) * world.noise * world.spread, c) for c in codes[: -SHAPE.candidates]),
                reverse=True,
            )
            candidates = codes[-SHAPE.candidates :]
            numbers = percentages(np.array([v for v, _ in history])).tolist()
            text = (
                "History:\n"
                + "\n".join(f"NCode: {c}, accuracy: {v:.2f};" for v, (_, c) in zip(numbers, history))
                + "\nCandidate:\n"
                + "\n".join(candidates)
            )
            handle.write(
                json.dumps(
                    {"instruction": INSTRUCTION, "input": text, "output": max(candidates, key=picked.__getitem__)}
                )
                + "\n"
            )
            done += 1


def raw_cost(rows: list[dict], out: Path) -> None:
    """Alternative (b)."""
    with open(out, "w") as handle:
        for row in rows:
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")


def cpu_seconds() -> float:
    """User and system seconds of this process and its finished children."""
    return sum(
        r.ru_utime + r.ru_stime
        for r in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def peak_mb() -> float:
    """The largest resident set so far of any one process, MB (this one or a child)."""
    return max(resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plain-rows", type=int, default=512)
    args = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before the run; {args.rows} rows,"
        f" {args.workers} workers"
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.jsonl"
        sources = {"nb201": nb201.make_source(SHAPE), "synthetic": prior.make_source(SHAPE)}
        for name, source in sources.items():
            loop, n = (plain_loop, args.plain_rows) if name == "nb201" else (plain_worlds, args.plain_rows // 8)
            plain = [t / n for t in measured(lambda loop=loop, n=n: loop(out, n))]
            print(f"{name}: (a) plain loop {1 / plain[0]:,.0f} rows/s, {plain[1] * 1e3:.2f} CPU ms a row")
            times = {}
            for workers in sorted({1, args.workers}):
                job = Job(source, 0, 0, args.rows, "paper", False, False, SHAPE.candidates, {})
                times[workers] = [
                    t / args.rows for t in measured(lambda j=job, w=workers: write_rows(j, out, w, progress=False))
                ]
            rows = [json.loads(line) for line in out.open()]
            size = out.stat().st_size
            raw = [t / args.rows for t in measured(lambda r=rows: raw_cost(r, out))]
            del rows
            print(
                f"{name}: {size / args.rows:,.0f} bytes a row; (b) raw cost {1 / raw[0]:,.0f} rows/s,"
                f" {raw[1] * 1e6:.0f} CPU us a row"
            )
            for workers, (wall, cpu) in times.items():
                print(
                    f"  {workers} workers: {1 / wall:,.0f} rows/s = {plain[0] / wall:.1f} x (a), {wall / raw[0]:.1f} x"
                    f" the time of (b); {cpu * 1e6:.0f} CPU us a row = {plain[1] / cpu:.1f} x less than (a),"
                    f" {cpu / raw[1]:.1f} x (b)"
                )
    print(f"largest process: {peak_mb():.0f} MB")


if __name__ == "__main__":
    main()
