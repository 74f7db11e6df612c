"""Where a benchmark writes: beside its cache under runs/, and over the committed results only when asked."""

from __future__ import annotations

import argparse
from pathlib import Path

COMMITTED = Path(__file__).resolve().parent / "results"
OWN = Path("runs/benchmarks")


def add_output(parser: argparse.ArgumentParser) -> None:
    """The options --out and --write-results; see `folder`."""
    parser.add_argument("--out", type=Path, help=f"folder of the result files (default {OWN})")
    parser.add_argument("--write-results", action="store_true", help="write over the committed benchmarks/results")


def folder(args: argparse.Namespace) -> Path:
    """The folder that the options name."""
    return args.out or (COMMITTED if args.write_results else OWN)
