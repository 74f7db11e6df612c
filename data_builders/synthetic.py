"""Training rows from the synthetic prior: random spaces, random responses, nothing real.

    python -m data_builders.synthetic --samples 300000 --seed 1 --out data/synthetic_1.jsonl
    python -m data_builders.synthetic --samples 2000 --format paper --out data/synthetic_paper.jsonl
    python -m data_builders.synthetic --format stamped --stage easy=2e6 --stage small=8e6 --seed 1 --out data/raw.jsonl

Formats nano_value (evidence about one candidate -> its value token) and nano (ten candidates -> the code of the best)
can be built together by --answers; any other prompt format gives history and candidates as text -> the code of the
best; format stamped gives whole histories, an answer for every entry, the stages in the order given (train with
disable_shuffling: true). Rows of one history stand together; LLaMA-Factory shuffles. Row blocks depend on (seed, block)
alone: any number of workers writes the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import Counter
from contextlib import ExitStack

from tqdm import tqdm

from data_builders.options import (
    add_output_arguments,
    add_sampling_arguments,
    check_amounts,
    rows_path,
    run_builder,
    stopped,
)
from data_builders.prior import stamped_rows
from data_builders.prior.nano_rows import ANSWER_CANDIDATES, BLOCK, recipe_hash, stream, tokens_of
from data_builders.prior.stamped_rows import STAGES, plan_of
from data_builders.prior.text_rows import GROUP, make_source
from data_builders.registry import check_registry, enter
from data_builders.rows.work import open_work
from search.errors import UserError, cli
from search.files import write_atomic
from search.prompts import FORMATS, format_hash, get_format

BLOCK_FORMATS = (
    "nano_value",
    "nano",
)  # written in blocks of questions; all others row by row, as the other builders do
WHOLE = "stamped"
LONGEST_ANSWER_ROW = 240  # tokens; the few longer rows would pad whole batches
VALUE_ANSWER = re.compile(r'"output": "<v\d+>"')


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The options, checked: those of the other kind of format may not be given."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.synthetic",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_output_arguments(parser, "synthetic", 10000, BLOCK_FORMATS[0])
    text = parser.add_argument_group(
        "rows of text", f"formats {', '.join(f for f in FORMATS if f not in (*BLOCK_FORMATS, WHOLE))}"
    )
    add_sampling_arguments(text, ("ncode",))
    text.add_argument("--group", type=int, default=GROUP, help=f"rows that share a random world (default {GROUP})")
    block = parser.add_argument_group("rows of evidence", f"formats {', '.join(BLOCK_FORMATS)}")
    block.add_argument("--per-history", type=int, default=48, help="candidates drawn for each history (default 48)")
    block.add_argument(
        "--answers",
        type=float,
        default=0.0,
        help="rows of format nano per row of nano_value, 0 to 1, in NAME_answers.jsonl (none above 240 tokens)",
    )
    block.add_argument(
        "--curriculum", action="store_true", help="small clean worlds first; train with disable_shuffling: true"
    )
    whole = parser.add_argument_group("whole histories", f"format {WHOLE}, as many rows as the stages' tokens need")
    whole.add_argument("--stage", action="append", metavar="NAME=TOKENS", help=f"repeatable: {', '.join(STAGES)}")
    whole.add_argument("--lengths", help="tokens of a row instead of the stages' own, e.g. 512,768")
    args = parser.parse_args(words)
    get_format(args.format)
    own = block if args.format in BLOCK_FORMATS else whole if args.format == WHOLE else text
    for other in [group for group in (text, block, whole) if group is not own]:
        for action in other._group_actions:
            if getattr(args, action.dest) != action.default:
                raise UserError(
                    f"{action.option_strings[0]} was given with --format {args.format} - it belongs to {other.title},"
                    f" {other.description} - leave it out or choose another format"
                )
    _check(args)
    return args


def _check(args: argparse.Namespace) -> None:
    check_amounts(args)
    if args.per_history < ANSWER_CANDIDATES or args.group < 1:
        raise UserError(
            f"--per-history {args.per_history}, --group {args.group} were given - allowed are at least"
            f" {ANSWER_CANDIDATES} and 1 - correct them"
        )
    if not 0 <= args.answers <= 1:
        raise UserError(
            f"--answers was given {args.answers} - allowed are 0 to 1 - 0.05 is one answer row for twenty value rows"
        )


def write_blocks(args: argparse.Namespace) -> int:
    """Rows of the nano formats: write, register, say what they are."""
    options = {"format": args.format, "per_history": args.per_history, "answers": args.answers}
    plan = {
        "builder": "synthetic",
        "samples": args.samples,
        "seed": args.seed,
        "curriculum": args.curriculum,
        **options,
        "format_hash": format_hash(args.format),
        "recipe": recipe_hash(),
    }
    out = rows_path(args.out, "synthetic")
    check_registry(args.registry)
    answers, meta = out.with_name(f"{out.stem}_answers.jsonl"), out.with_suffix(".meta.json")
    targets = [out, meta, answers] if args.answers else [out, meta]
    with open_work(out, targets, ("rows", "answers"), plan) as work:
        with ExitStack() as files, tqdm(total=args.samples, unit="row", desc=out.name, disable=args.quiet) as bar:
            first = block = work.resume(0, files)
            bar.update(work.counts["rows"])
            for text in stream(args.seed, args.samples, args.workers, args.curriculum, options, first):
                parts = _parted(text, args.answers > 0)
                if block == first:
                    work.check_space(args.samples / BLOCK - block, parts, out)
                work.add(block, parts, Counter(rows=text.count("\n")))
                block += 1
                bar.update(text.count("\n"))
        facts = {**plan, "sha256": work.digest.hexdigest(), "source": "synthetic prior, no real table"}
        out.unlink(missing_ok=True)
        if args.answers:
            os.replace(work.parts[1], answers)
        write_atomic(meta, json.dumps(facts, indent=1) + "\n")
        os.replace(work.parts[0], out)
    print(f"{out}: {args.samples} rows, {out.stat().st_size / 1e6:.1f} MB, recipe {facts['recipe']}")
    name = args.name or out.stem
    for entry, path in ((name, out), (f"{name}_answers", answers))[: 2 if args.answers else 1]:
        if said := enter(entry, path, args.registry):
            print(said)
    return 0


def _parted(text: str, answers: bool) -> tuple[bytes, bytes]:
    """(rows, answer rows that are short enough) of a block's lines; without answers all are rows."""
    if not answers:
        return text.encode(), b""
    lines = text.splitlines(keepends=True)
    short = (x for x in lines if not VALUE_ANSWER.search(x) and len(tokens_of(x)) <= LONGEST_ANSWER_ROW)
    return "".join(x for x in lines if VALUE_ANSWER.search(x)).encode(), "".join(short).encode()


def write_histories(args: argparse.Namespace) -> int:
    """Rows of whole histories, stage by stage: write, register, say what they are."""
    stages = args.stage or ["easy=1.6e6", "small=3e6"]
    todo = plan_of(stages, args.lengths)
    plan = {"builder": "synthetic", "format": WHOLE, "seed": args.seed, "stages": stages, "lengths": args.lengths}
    plan |= {"format_hash": format_hash(WHOLE), "recipe": stamped_rows.recipe_hash()}
    out = rows_path(args.out, "synthetic")
    check_registry(args.registry)
    meta = out.with_suffix(".meta.json")
    with open_work(out, [out, meta], ("rows",), plan) as work:
        with ExitStack() as files, tqdm(unit="row", desc=out.name, disable=args.quiet) as bar:
            first = work.resume(0, files)
            made = Counter(work.counts)
            bar.update(made["rows"])
            for task, (text, counts) in enumerate(stamped_rows.stream(args.seed, todo, args.workers, made), first):
                work.add(task, (text.encode(),), counts)
                bar.update(counts["rows"])
        tokens = {name: work.counts[name] for name, _, _ in todo}
        facts = {**plan, "rows": work.counts["rows"], "tokens": tokens, "sha256": work.digest.hexdigest()}
        out.unlink(missing_ok=True)
        write_atomic(meta, json.dumps(facts | {"source": "synthetic prior, no real table"}, indent=1) + "\n")
        os.replace(work.parts[0], out)
    size = out.stat().st_size / 1e6
    print(f"{out}: {facts['rows']} rows, {sum(tokens.values()):,} tokens, {size:.1f} MB, recipe {facts['recipe']}")
    if said := enter(args.name or out.stem, out, args.registry, history=True):
        print(said)
    return 0


def main() -> int:
    """The command line."""
    args = parse()
    if args.format in (*BLOCK_FORMATS, WHOLE):
        try:
            return write_histories(args) if args.format == WHOLE else write_blocks(args)
        except KeyboardInterrupt:
            return stopped(rows_path(args.out, "synthetic"))
    return run_builder(
        args,
        "synthetic",
        lambda shape: make_source(shape, None, args.encoding, args.group),
        {"options": {"group": args.group}},
    )


if __name__ == "__main__":
    cli(main)
