"""The options all builders share, and the one way from a source to registered rows."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_builders.registry import DEFAULT, check_registry, enter
from data_builders.rows.batch import Source
from data_builders.rows.sampling import RowShape
from data_builders.rows.writing import Job, meta_path, write_rows
from search.errors import UserError, program
from search.prompts import FORMATS
from search.prompts.formats import text_format

REGISTRY_HELP = (
    f"LLaMA-Factory's list of data sets, 'none' to leave it alone (default {DEFAULT}, for rows below data/ only)"
)
MOST_ROWS = 10**12  # a thousand times what a disk holds
ORDERS = ("format", "random", "ascending", "descending")


def span(text: str) -> tuple[int, int]:
    """'90-190' -> (90, 190); '100' -> (100, 100)."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text.strip())
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= low <= high <= 1000:
        raise UserError(
            f"--history was given '{text}' - allowed are a number or LOW-HIGH within 1 to 1000 - write for example"
            " 90-190"
        )
    return low, high


def add_arguments(parser: argparse.ArgumentParser, name: str, encodings: Sequence[str] = ("ncode", "domain")) -> None:
    """All shared options; `name` gives the default output data/NAME.jsonl."""
    add_output_arguments(parser, name)
    add_sampling_arguments(parser, encodings)


def add_output_arguments(
    parser: argparse.ArgumentParser, name: str, samples: int = 1000, prompt_format: str = "paper"
) -> None:
    """How many rows, of which format, and where they go.

    samples, prompt_format: the defaults.
    """
    add = parser.add_argument
    add("--samples", type=int, default=samples, help=f"rows to build (default {samples})")
    add("--seed", type=int, default=0, help="same seed, same bytes (default 0)")
    add("--out", default=None, help=f"JSONL file (default data/{name}.jsonl)")
    add("--name", default=None, help="name in dataset_info.json (default: the file's name)")
    add("--registry", default=None, help=REGISTRY_HELP)
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes; the bytes do not depend on it")
    add("--format", default=prompt_format, help=f"prompt format: {', '.join(FORMATS)} (default {prompt_format})")
    add("--quiet", action="store_true", help="no progress bar")


def add_sampling_arguments(parser: argparse._ActionsContainer, encodings: Sequence[str]) -> None:
    """How a row with a history and candidates as text is sampled, see `RowShape`, and which part is built."""
    add = parser.add_argument
    add("--history", default="90-190", help="history entries a row, N or LOW-HIGH, uniform (default 90-190)")
    add("--candidates", type=int, default=10, help="candidates a row (default 10, as at inference)")
    add(
        "--candidate-kind",
        choices=("uniform", "mixed"),
        default="uniform",
        help="uniform in the subspace, or half mutants of the best history entries",
    )
    add(
        "--order",
        choices=ORDERS,
        default="format",
        help="history order: what the format does (default), or told order random, ascending, descending",
    )
    add("--no-pruning", action="store_true", help="sample the whole space instead of a pruned subspace (ablation)")
    add("--p-decision", type=float, default=0.5, help="probability that a decision is frozen (paper: 0.5)")
    add("--p-option", type=float, default=0.5, help="probability that an option is dropped (paper: 0.5)")
    add(
        "--small",
        choices=("redraw", "shrink"),
        default="redraw",
        help="subspace too small: redraw the mask (default) or shorten the history",
    )
    add(
        "--direct",
        action="store_true",
        help="no candidates; the answer is a code better than all of the history (ablation)",
    )
    add(
        "--shuffle-scores",
        action="store_true",
        help="permute the history's values within each row (control: nothing can be learned)",
    )
    add(
        "--encoding",
        choices=tuple(encodings),
        default="ncode",
        help="digits (default), or operator text as in the paper's section 5.4",
    )
    add(
        "--shard",
        default="0/1",
        help="i/n: only the i-th of n equal parts; the parts joined are the whole (default 0/1)",
    )


def row_shape(args: argparse.Namespace) -> RowShape:
    """The sampling options, checked."""
    if not 2 <= args.candidates <= 100:
        raise UserError(f"--candidates was given {args.candidates} - allowed are 2 to 100 - the paper uses 10")
    if args.format == "direct" and not args.direct:
        raise UserError(
            "--format direct was given without --direct - it shows no candidates, so an answer is a code of its own -"
            " add --direct"
        )
    for name in ("p_decision", "p_option"):
        if not 0 <= getattr(args, name) < 1:
            raise UserError(
                f"--{name.replace('_', '-')} was given {getattr(args, name)} - allowed are 0 up to, not including, 1 -"
                " the paper uses 0.5"
            )
    return RowShape(
        span(args.history),
        args.candidates,
        not args.no_pruning,
        args.p_decision,
        args.p_option,
        args.small,
        args.candidate_kind == "mixed",
        args.order,
        args.direct,
        args.shuffle_scores,
    )


def shard_rows(samples: int, shard: str) -> tuple[int, int]:
    """The rows [first, last) of shard 'i/n', i from 0."""
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not found or not int(found[1]) < int(found[2]) <= samples:
        raise UserError(
            f"--shard was given '{shard}' - allowed is i/n with 0 <= i < n <= samples - write for example 0/4"
        )
    i, n = int(found[1]), int(found[2])
    return samples * i // n, samples * (i + 1) // n


def run_builder(
    args: argparse.Namespace,
    name: str,
    make_source: Callable[[RowShape], Source],
    plan: dict[str, Any] | None = None,
    next_step: bool = True,
) -> int:
    """Build, register, say what comes next. `plan`: what else distinguishes this build (source options)."""
    check_amounts(args)
    text_format(args.format)
    first, last = shard_rows(args.samples, args.shard)
    shape = row_shape(args)
    out = rows_path(args.out, name)
    check_registry(args.registry)
    source = make_source(shape)
    shape_facts = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(shape).items()}
    full = {
        "builder": name,
        "samples": args.samples,
        "shard": args.shard,
        "encoding": args.encoding,
        "shape": shape_facts,
        **(plan or {}),
    }
    job = Job(source, args.seed, first, last, args.format, args.direct, args.order != "format", shape.candidates, full)
    try:
        meta = write_rows(job, out, args.workers, progress=not args.quiet)
    except KeyboardInterrupt:
        return stopped(out)
    report(meta, out)
    said = enter(args.name or out.stem, out, args.registry)
    if said:
        print(said)
    if next_step:
        train = (
            f", then llamafactory-cli train yaml/lmsearcher_tiny.yaml dataset={args.name or out.stem}" if said else ""
        )
        print(f"next: {program('data_builders.check')} {out}{train}")
    return 0


def check_amounts(args: argparse.Namespace) -> None:
    """UserError for amounts of rows and workers, or a seed, that cannot be."""
    if not 1 <= args.samples <= MOST_ROWS or args.workers < 1 or args.seed < 0:
        raise UserError(
            f"--samples {args.samples}, --workers {args.workers}, --seed {args.seed} were given - at least 1, 1 and 0,"
            f" at most {MOST_ROWS:.0e} rows - correct them"
        )


def rows_path(out: str | None, name: str) -> Path:
    """Where rows go: `out`, or data/NAME.jsonl."""
    path = Path(out or f"data/{name}.jsonl")
    if path.suffix != ".jsonl":
        raise UserError(f"--out was given '{path}' - rows are JSON lines - give a name that ends in .jsonl")
    return path


def stopped(out: Path) -> int:
    """Say after ^C how to go on; the exit code."""
    print(f"\nstopped: {out} was not written - run the same command again to continue where it stopped", flush=True)
    return 130


def report(meta: dict[str, Any], out: Path) -> None:
    """One line on what was built."""
    counts = meta["counts"]
    redraws = f", {counts['mask_draws'] / counts['rows_sampled']:.1f} masks a row" if counts.get("mask_draws") else ""
    length = counts["history_entries"] / counts["rows"]
    print(
        f"{out}: {counts['rows']} rows, {meta['bytes'] / 1e6:.1f} MB, {length:.1f} history entries a row{redraws},"
        f" {counts['tied_answers']} tied answers"
    )
    print(f"how it was made: {meta_path(out)}")
