"""Training rows of the nano searcher from the synthetic prior: random spaces, random responses, nothing real.

    python -m data_builders.synthetic --samples 300000 --seed 1 --out data/synthetic_1.jsonl
    python -m data_builders.synthetic --samples 2000 --format paper --out data/synthetic_paper.jsonl

Formats nano_value (evidence about one candidate -> its value token) and nano (ten candidates -> the code of the best)
can be built together by --answers; any other prompt format gives history and candidates as text -> the code of the
best. Rows of one history stand together; LLaMA-Factory shuffles. Row blocks depend on (seed, block) alone: any number
of workers writes the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from contextlib import ExitStack
from pathlib import Path

from data_builders.prior.nano_rows import ANSWER_CANDIDATES, stream, tokens_of
from data_builders.registry import register
from search.errors import UserError, cli
from search.files import open_atomic, sha256, write_atomic
from search.prompts import FORMATS, format_hash, get_format

LONGEST_ANSWER_ROW = 240
VALUE_ANSWER = re.compile(r'"output": "<v\d+>"')
CODE_FILES = ("terms.py", "worlds.py", "trajectories.py", "nano_rows.py")


def recipe_hash() -> str:
    """12 hex digits over the code of the prior, the histories, the builder and the evidence: same hash and options,
    same rows.
    """
    here = Path(__file__).parent
    files = [here / "prior" / name for name in CODE_FILES] + [
        here.parent / "search" / "prompts" / name for name in ("evidence.py", "nano.py")
    ]
    return hashlib.sha256("".join(sha256(f) for f in files).encode()).hexdigest()[:12]


def _text_format() -> bool:
    """Whether the command line asks for a format of words (paper, append, release) rather than one of the nano
    searcher's.
    """
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--format", default="nano_value")
    return known.parse_known_args()[0].format not in ("nano", "nano_value")


def main() -> int:
    if _text_format():
        from data_builders.prior.text_rows import main as text_rows

        return text_rows()
    parser = argparse.ArgumentParser(prog="python -m data_builders.synthetic", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--samples", type=int, default=10000)
    add("--seed", type=int, default=0)
    add("--out", default="data/synthetic.jsonl")
    add("--format", default="nano_value", help=", ".join(FORMATS))
    add("--workers", type=int, default=os.cpu_count() or 1)
    add("--per-history", type=int, default=48, help="candidates drawn for each history (nano formats)")
    add(
        "--answers",
        type=float,
        default=0.0,
        help="rows of format nano per row of nano_value, 0 to 1, in NAME_answers.jsonl (none above 240 tokens)",
    )
    add("--curriculum", action="store_true", help="small clean worlds first; train with disable_shuffling: true")
    add("--name", default=None, help="name in dataset_info.json (default: the file's name)")
    add("--registry", default="dataset_info.json", help="LLaMA-Factory's list of data sets; 'none' to leave it alone")
    args = parser.parse_args()
    if args.samples < 1 or args.workers < 1 or args.seed < 0 or args.per_history < ANSWER_CANDIDATES:
        given = (
            f"--samples {args.samples}, --workers {args.workers}, --seed {args.seed}, --per-history {args.per_history}"
        )
        raise UserError(f"{given} were given - allowed are at least 1, 1, 0 and 10 - correct them")
    if not 0 <= args.answers <= 1:
        raise UserError(
            f"--answers was given {args.answers} - allowed are 0 to 1 - 0.05 is one answer row for twenty value rows"
        )
    get_format(args.format)
    options = {"format": args.format, "per_history": args.per_history, "answers": args.answers}
    out = Path(args.out)
    answers = out.with_name(f"{out.stem}_answers.jsonl")
    with ExitStack() as files:
        main_file = files.enter_context(open_atomic(out))
        answer_file = files.enter_context(open_atomic(answers)) if args.answers else main_file
        for text in stream(args.seed, args.samples, args.workers, args.curriculum, options):
            for line in text.splitlines(keepends=True):
                if not args.answers or VALUE_ANSWER.search(line):
                    main_file.write(line)
                elif len(tokens_of(line)) <= LONGEST_ANSWER_ROW:
                    answer_file.write(line)
    facts = {
        "builder": "synthetic",
        "samples": args.samples,
        "seed": args.seed,
        "curriculum": args.curriculum,
        **options,
    }
    facts |= {
        "format_hash": format_hash(args.format),
        "recipe": recipe_hash(),
        "sha256": sha256(out),
        "source": "synthetic prior, no real table",
    }
    write_atomic(out.with_suffix(".meta.json"), json.dumps(facts, indent=1) + "\n")
    if args.registry != "none":
        register(args.name or out.stem, out, args.registry)
        if args.answers:
            register(f"{args.name or out.stem}_answers", answers, args.registry)
    print(f"{out}: {args.samples} rows, {out.stat().st_size / 1e6:.1f} MB, recipe {facts['recipe']}")
    return 0


if __name__ == "__main__":
    cli(main)
