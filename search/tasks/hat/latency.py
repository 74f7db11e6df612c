"""Latency of sub-transformers: measured on a device, or predicted from ten shape features.

    python -m search.tasks.hat.latency --csv FILE                     held-out fit on each device of HAT's tables
    python -m search.tasks.hat.latency --measure 100 --out mine.csv   measure this device, write the same columns

Measurement as in HAT: 23 source tokens, 23 decoding steps, beam 5, 20 repeats, 10 % trimmed at both ends. The regressor
is a ridge regression on the features and their products, with the depth only (20 terms) or all (65), whichever has the
smaller leave-one-out
error: on HAT's tables it is as exact as gradient boosting, and fifty measurements are enough for it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search.errors import UserError, cli
from search.files import write_atomic
from search.spaces import Space
from search.tasks.hat.space import FEATURES, LAYERS, SCALE, features, hat_space, to_arch

PENALTIES = np.logspace(-6, 2, 17)
DEPTH = FEATURES.index("decoder_layer_num")


@dataclass(frozen=True)
class Predictor:
    """Latency in ms from the ten features (full widths); fitted by `fit`.

    full: all products of features, not only those with the depth.
    least: no prediction is smaller, half of the fastest measurement (a polynomial fitted to few or noisy measurements
        reaches below zero at the edges of the space).
    """

    full: bool
    centre: np.ndarray
    weights: np.ndarray
    mean: float
    penalty: float
    least: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Predicted latency, float64 (n,), of features (n, 10)."""
        return np.maximum(
            self.mean + (_terms(np.asarray(x, dtype=np.float64), self.full) - self.centre) @ self.weights, self.least
        )


def _terms(x: np.ndarray, full: bool) -> np.ndarray:
    """(n, 20) features and their products with the decoder depth, or (n, 65) features and all their products."""
    z = x / SCALE
    if not full:
        return np.concatenate([z, z * z[:, DEPTH : DEPTH + 1]], axis=1)
    upper = np.triu_indices(z.shape[1])
    return np.concatenate([z, (z[:, :, None] * z[:, None, :])[:, upper[0], upper[1]]], axis=1)


def fit(x: np.ndarray, y: np.ndarray) -> Predictor:
    """Ridge regression whose terms and penalty have the smallest leave-one-out error; x (n, 10), y (n,) in ms."""
    if len(x) < 10 or not np.isfinite(y).all() or (y <= 0).any():
        raise UserError(
            f"{len(x)} latencies were given - at least 10 positive numbers are needed to fit a predictor - measure more"
        )
    x, mean = np.asarray(x, dtype=np.float64), float(np.mean(y))
    best: tuple[float, Predictor | None] = (np.inf, None)
    for full in (False, True):
        terms = _terms(x, full)
        centre, spread = terms.mean(axis=0), np.where(np.ptp(terms, axis=0) > 1e-9, terms.std(axis=0), np.inf)
        u, s, vt = np.linalg.svd((terms - centre) / spread, full_matrices=False)
        along = u.T @ (y - mean)
        for penalty in PENALTIES * len(x):
            shrink = s**2 / (s**2 + penalty)
            leverage = (u**2 * shrink).sum(axis=1) + 1 / len(x)
            error = float((((y - mean - u @ (shrink * along)) / np.maximum(1 - leverage, 1e-6)) ** 2).mean())
            if error < best[0]:
                weights = vt.T @ (s / (s**2 + penalty) * along) / spread
                best = (error, Predictor(full, centre, weights, mean, float(penalty), float(y.min()) / 2))
    return best[1]


@dataclass(frozen=True)
class Table:
    """One task and device of a latency table: features (n, 10) in full widths, total latency (n,) in ms, in measuring
    order.
    """

    task: str
    device: str
    x: np.ndarray
    y: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.task}/{self.device}"


def read_tables(path: Path) -> list[Table]:
    """All tables of a CSV (.gz) with HAT's columns; optional columns task and hardware separate them."""
    try:
        raw = Path(path).read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text)))
        groups: dict[tuple[str, str], list[list[float]]] = {}
        for row in rows:
            key = (row.get("task") or Path(path).name.split(".")[0], row.get("hardware") or "device")
            total = float(row["latency_mean_encoder"]) + float(row["latency_mean_decoder"])
            groups.setdefault(key, []).append([*(float(row[f]) for f in FEATURES), total])
    except (OSError, EOFError, UnicodeDecodeError, KeyError, ValueError, TypeError) as error:
        wanted = "HAT's columns (ten features, latency_mean_encoder, latency_mean_decoder)"
        raise UserError(
            f"{path} is not a readable latency table ({type(error).__name__}: {error}) - needed is a CSV with {wanted}"
        ) from error
    if not groups:
        raise UserError(f"{path} has no rows - a latency table needs at least 10 - measure one with --measure")
    return [Table(*key, np.array(v)[:, :-1], np.array(v)[:, -1]) for key, v in sorted(groups.items())]


@dataclass(frozen=True)
class Quality:
    """How well a predictor does on held-out rows; the last two after correcting each row for the device's speed at that
    moment.
    """

    r2: float
    error: float
    drift: float
    r2_steady: float
    error_steady: float


def quality(table: Table, seed: int = 0) -> Quality:
    """80/10/10 split as in HAT (the middle tenth is not needed); scores on the last tenth.

    drift: correlation of the relative residuals of rows measured one after the other. Far above 0 means that the device
    changed speed while the table was measured, which no function of the shape can know; the steady scores divide by the
    median residual of the eight training rows measured nearest in time.
    """
    order = np.random.default_rng(seed).permutation(len(table.y))
    train, held = np.sort(order[: int(0.8 * len(order))]), order[int(0.9 * len(order)) :]
    predicted = fit(table.x[train], table.y[train])(table.x)
    ratio = table.y / predicted
    nearest = [train[np.argsort(np.abs(train - i))[:8]] for i in held]
    steady = predicted[held] * np.array([np.median(ratio[rows]) for rows in nearest])

    def score(y: np.ndarray, p: np.ndarray) -> tuple[float, float]:
        return float(1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum()), float(np.mean(np.abs(p - y) / y))

    return Quality(
        *score(table.y[held], predicted[held]),
        float(np.corrcoef(ratio[1:], ratio[:-1])[0, 1]),
        *score(table.y[held], steady),
    )


def timings(
    model, repeats: int = 20, length: int = 23, beam: int = 5, device: str = "cpu", warmup: int = 2
) -> np.ndarray:
    """Milliseconds of encoder and decoder, float64 (repeats, 2), of a model that was cut out: one sentence, one beam
    search.
    """
    import torch

    from search.tasks.hat.model import EOS, State

    def clock() -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() * 1000

    model = model.to(device).eval()
    source = torch.full((1, length), 7, dtype=torch.int64, device=device)
    source[:, -1] = EOS
    tokens = torch.full((beam, 1), 7, dtype=torch.int64, device=device)
    spent: list[tuple[float, float]] = []
    with torch.inference_mode():
        for _ in range(repeats + warmup):
            start = clock()
            layers, mask = model.encode(source)
            middle = clock()
            encoded, state = ([x.expand(beam, -1, -1) for x in layers], mask.expand(beam, -1, -1, -1)), State()
            for _ in range(length):
                model.decode(tokens, encoded, state=state)
            spent.append((middle - start, clock() - middle))
    return np.array(spent[warmup:])


def trimmed(spent: np.ndarray, trim: float = 0.1) -> tuple[float, float, float, float]:
    """(encoder mean, decoder mean, encoder std, decoder std) in ms without the fastest and slowest tenth."""
    cut = int(len(spent) * trim)
    kept = np.sort(spent, axis=0)[cut : len(spent) - cut]
    return (*map(float, kept.mean(axis=0)), *map(float, kept.std(axis=0)))


def measure_many(
    space: Space,
    codes: Sequence[str],
    words: tuple[int, int] = (8000, 6600),
    device: str = "cpu",
    progress: bool = True,
    repeats: int = 20,
) -> list[list[float]]:
    """The table row (ten features, four latencies) of each code, with fresh weights: latency does not depend on their
    values.

    The repeats are spread over four rounds through all codes, so that a device that changes speed does so for all of
    them alike (HAT's own tables show what happens otherwise: see `quality`).
    """
    from tqdm import tqdm

    from search.tasks.hat.model import Transformer

    spent: dict[str, list[np.ndarray]] = {code: [] for code in codes}
    rounds = min(4, repeats)
    with tqdm(
        total=rounds * len(spent), desc="latency", disable=not progress, mininterval=1.0, dynamic_ncols=True
    ) as bar:
        for _ in range(rounds):
            for code, parts in spent.items():
                parts.append(
                    timings(Transformer(to_arch(space, code), *words), repeats // rounds, device=device, warmup=1)
                )
                bar.update(1)
    return [[*features(space, [code])[0], *trimmed(np.concatenate(parts))] for code, parts in spent.items()]


def write_table(path: Path, rows: Sequence[Sequence[float]], task: str, device: str) -> Path:
    """Write measured rows in HAT's columns."""
    header = [
        "task",
        "hardware",
        *FEATURES,
        "latency_mean_encoder",
        "latency_mean_decoder",
        "latency_std_encoder",
        "latency_std_decoder",
    ]
    lines = [",".join([task, device, *(f"{value:.6g}" for value in row)]) for row in rows]
    return write_atomic(path, "\n".join([",".join(header), *lines]) + "\n")


def spread_codes(space: Space, n: int, seed: int) -> list[str]:
    """n random codes with every decoder depth equally often, so that the fit covers shallow and deep alike."""
    array = space.sample(np.random.default_rng(seed), n)
    array[:, [d.name for d in space.decisions].index("dec_layers")] = np.arange(n) % LAYERS
    return [space.canonical(code) for code in space.to_codes(array)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.hat.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--csv", type=Path, help="a latency table (CSV or CSV.gz) to fit and judge")
    parser.add_argument("--measure", type=int, metavar="N", help="measure N random sub-transformers on this device")
    parser.add_argument("--space", default="iwslt-space1", help="iwslt-space1 or wmt-space0")
    parser.add_argument("--reduce", type=int, default=1, help="divide all widths by this")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=Path("latency.csv"), help="where --measure writes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if (args.csv is None) == (args.measure is None):
        raise UserError("neither or both of --csv and --measure were given - exactly one is needed - see --help")
    path = args.csv
    if args.measure is not None:
        space = hat_space(args.space, args.reduce)
        rows = measure_many(space, spread_codes(space, args.measure, args.seed), device=args.device)
        path = write_table(args.out, rows, space.name.replace("/", "-by-"), args.device)
    print(
        f"{'table':32} {'rows':>5} {'held-out R2':>12} {'rel. error':>11} {'drift':>6} {'R2 steady':>10}"
        f" {'rel. error':>11}"
    )
    for table in read_tables(path):
        q = quality(table, args.seed)
        print(
            f"{table.name:32} {len(table.y):5} {q.r2:12.4f} {q.error:11.2%} {q.drift:6.2f} {q.r2_steady:10.4f}"
            f" {q.error_steady:11.2%}"
        )
    return 0


if __name__ == "__main__":
    cli(main)
