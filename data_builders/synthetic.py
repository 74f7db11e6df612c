"""Training rows of the nano searcher from the synthetic prior: random spaces, random responses, nothing real.

    python -m data_builders.synthetic --samples 300000 --seed 1 --out data/synthetic_1.jsonl
    python -m data_builders.synthetic --samples 2000 --format paper --out data/synthetic_paper.jsonl

Formats nano_value (evidence about one candidate -> its value token) and nano (ten candidates -> the code of the best) can be
built together by --answers; raw_marks and raw_digits (raw history and one candidate -> its value token, at most --longest tokens) are for
the ablation in models/nano; any other prompt format gives history and candidates as text -> the code of the best. Rows of one history
stand together; LLaMA-Factory shuffles. Row blocks depend on (seed, block) alone: any number of workers writes the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from data_builders.registry import register
from data_builders.trajectories import Question, sample_question
from search.errors import UserError, cli
from search.evidence import Evidence, gather
from search.files import open_atomic, sha256, write_atomic
from search.prompt import FORMATS, format_hash, get_format
from search.prompt_nano import NANO, SHIFTS, TOKEN, code_text, value_bins, value_lines, value_scores
from search.prompt_raw import RawFormat
from search.space import DIGITS, Seen

BLOCK = 960
LONGEST_ANSWER_ROW = 240
ANSWER_CANDIDATES = 10
RAW = ("raw_marks", "raw_digits")
EASY = (6, 0.1)
VALUE_ANSWER = re.compile(r'"output": "<v\d+>"')
CODE_FILES = ("terms.py", "responses.py", "trajectories.py", "synthetic.py")


def codes_text(codes: np.ndarray) -> list[str]:
    """uint8 (n, d) -> digit strings."""
    table = np.array(list(DIGITS))
    return ["".join(row) for row in table[codes]]


def rows(
    seed: int, block: int, format: str = "nano_value", per_history: int = 48, answers: float = 0.0, longest: int = 400, easy: float = 0.0
) -> list[dict[str, str]]:
    """The rows of one block: 960 rows, fewer when histories ran short of fresh candidates at its end.

    answers: share of nano rows among nano_value rows. longest: tokens of a raw row. easy: probability that a world is drawn
    small and clean (curriculum).
    """
    rng = np.random.default_rng([seed, block])
    out: list[dict[str, str]] = []
    while len(out) < BLOCK:
        limits = EASY if easy and rng.random() < easy else (48, 9.0)
        nano = format in ("nano", "nano_value")
        question = sample_question(rng, per_history if nano else ANSWER_CANDIDATES, *limits)
        if format in RAW:
            out += _raw_rows(question, get_format(format), longest, rng)
            continue
        if not nano:
            out.append(_text_row(question, format))
            continue
        evidence = gather(question.codes, question.values, question.candidates)
        if format == "nano_value":
            bins = value_bins(value_scores(question.values, question.truth))
            out += [_row(line, f"<v{b}>") for line, b in zip(value_lines(evidence, rng.choice(SHIFTS)), bins)]
        wanted = 1.0 if format == "nano" else answers * len(question.candidates)
        for _ in range(int(wanted) + (rng.random() < wanted % 1)):
            out.append(_answer_row(question, evidence, rng))
    return out[:BLOCK]


def _row(prompt: str, answer: str) -> dict[str, str]:
    return {"instruction": "", "input": prompt, "output": answer}


def _answer_row(question: Question, evidence: Evidence, rng: np.random.Generator) -> dict[str, str]:
    """Ten of the candidates in one prompt; the answer is the code of the truly best."""
    pick = rng.choice(len(question.candidates), min(ANSWER_CANDIDATES, len(question.candidates)), replace=False)
    part = Evidence(evidence.length, evidence.decisions, evidence.options, evidence.spread, evidence.mean[pick], evidence.std[pick], evidence.skill)
    codes = codes_text(question.candidates[pick])
    return _row(NANO.write(part, codes), code_text(codes[int(np.argmax(question.truth[pick]))]))


def _raw_rows(question: Question, format: RawFormat, longest: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """One row if at least three entries of the history fit: a random part of it, and the value of one candidate."""
    n = min(len(question.codes), longest // format.tokens(question.codes.shape[1]) - 1)
    kept = rng.permutation(len(question.codes))[: max(n, 0)]
    if n < 3 or not np.ptp(question.values[kept]) > 1e-9:
        return []
    history = [Seen(c, float(v)) for c, v in zip(codes_text(question.codes[kept]), question.values[kept])]
    asked = int(rng.integers(len(question.candidates)))
    prompt = format.render(history, codes_text(question.candidates[asked : asked + 1]))
    return [_row(prompt.input, f"<v{value_bins(value_scores(question.values[kept], question.truth[asked : asked + 1]))[0]}>")]


def _text_row(question: Question, format: str) -> dict[str, str]:
    history = [Seen(c, float(v)) for c, v in zip(codes_text(question.codes), question.values)]
    candidates = codes_text(question.candidates)
    prompt = get_format(format).render(history, candidates)
    return {"instruction": prompt.instruction, "input": prompt.input, "output": candidates[int(np.argmax(question.truth))]}


def _block_lines(block: int, seed: int, blocks: int, curriculum: bool, options: dict) -> str:
    """The JSON lines of a block. With the curriculum the share of easy worlds falls from 1 to 0 over the first half."""
    easy = max(0.0, 1.0 - 2.0 * block / blocks) if curriculum else 0.0
    return "".join(json.dumps(row) + "\n" for row in rows(seed, block, easy=easy, **options))


def stream(seed: int, samples: int, workers: int, curriculum: bool, options: dict) -> Iterator[str]:
    """JSON lines of all rows, block by block in order."""
    blocks = -(-samples // BLOCK)
    make = partial(_block_lines, seed=seed, blocks=blocks, curriculum=curriculum, options=options)
    if workers <= 1 or blocks == 1:
        texts: Iterator[str] = map(make, range(blocks))
        yield from _cut(texts, samples)
        return
    with multiprocessing.get_context("spawn").Pool(min(workers, blocks)) as pool:
        yield from _cut(pool.imap(make, range(blocks)), samples)


def _cut(texts: Iterator[str], samples: int) -> Iterator[str]:
    left = samples
    for text in texts:
        lines = text.splitlines(keepends=True)[:left]
        left -= len(lines)
        yield "".join(lines)


def tokens_of(line: str) -> list[str]:
    """The tokens of a JSON row's prompt and answer, as the nano tokenizer cuts them."""
    row = json.loads(line)
    return re.findall(TOKEN, row["input"] + row["output"])


def recipe_hash() -> str:
    """12 hex digits over the code of the prior, the histories, the builder and the evidence: same hash and options, same rows."""
    here = Path(__file__).parent
    files = [here / name for name in CODE_FILES] + [here.parent / "search" / name for name in ("evidence.py", "prompt_nano.py")]
    return hashlib.sha256("".join(sha256(f) for f in files).encode()).hexdigest()[:12]


def _text_format() -> bool:
    """Whether the command line asks for a format of words (paper, append, release) rather than one of the nano searcher's."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--format", default="nano_value")
    return known.parse_known_args()[0].format not in ("nano", "nano_value", *RAW)


def main() -> int:
    if _text_format():
        from data_builders.prior import main as text_rows

        return text_rows()
    parser = argparse.ArgumentParser(prog="python -m data_builders.synthetic", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--samples", type=int, default=10000)
    add("--seed", type=int, default=0)
    add("--out", default="data/synthetic.jsonl")
    add("--format", default="nano_value", help=", ".join(FORMATS))
    add("--workers", type=int, default=os.cpu_count() or 1)
    add("--per-history", type=int, default=48, help="candidates drawn for each history (nano formats)")
    add("--answers", type=float, default=0.0, help="rows of format nano per row of nano_value, 0 to 1, in NAME_answers.jsonl (none above 240 tokens)")
    add("--longest", type=int, default=400, help="tokens of a row of the raw formats; their histories are cut to it (default %(default)s)")
    add("--curriculum", action="store_true", help="small clean worlds first; train with disable_shuffling: true")
    add("--name", default=None, help="name in dataset_info.json (default: the file's name)")
    add("--registry", default="dataset_info.json", help="LLaMA-Factory's list of data sets; 'none' to leave it alone")
    args = parser.parse_args()
    if args.samples < 1 or args.workers < 1 or args.seed < 0 or args.per_history < ANSWER_CANDIDATES or args.longest < 20:
        given = f"--samples {args.samples}, --workers {args.workers}, --seed {args.seed}, --per-history {args.per_history}, --longest {args.longest}"
        raise UserError(f"{given} were given - allowed are at least 1, 1, 0, 10 and 20 - correct them")
    if not 0 <= args.answers <= 1:
        raise UserError(f"--answers was given {args.answers} - allowed are 0 to 1 - 0.05 is one answer row for twenty value rows")
    get_format(args.format)
    options = {"format": args.format, "per_history": args.per_history, "answers": args.answers, "longest": args.longest}
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
    facts = {"builder": "synthetic", "samples": args.samples, "seed": args.seed, "curriculum": args.curriculum, **options}
    facts |= {"format_hash": format_hash(args.format), "recipe": recipe_hash(), "sha256": sha256(out), "source": "synthetic prior, no real table"}
    write_atomic(out.with_suffix(".meta.json"), json.dumps(facts, indent=1) + "\n")
    if args.registry != "none":
        register(args.name or out.stem, out, args.registry)
        if args.answers:
            register(f"{args.name or out.stem}_answers", answers, args.registry)
    print(f"{out}: {args.samples} rows, {out.stat().st_size / 1e6:.1f} MB, recipe {facts['recipe']}")
    return 0


if __name__ == "__main__":
    cli(main)
