"""Two looks into a ranker, after the paper's appendix C.

    python -m search.analyse picks runs/A --out runs/A/picks            uniform or evolutionary candidates (Figure 3)
    python -m search.analyse attention --ranker chat:yaml/lmsearcher_8b_chat.yaml --task nb201/cifar100 (Table 10)

picks reads finished runs (proposal mixed) with their controls, and writes picks.png and picks.md.
attention asks a model on LLaMA-Factory's huggingface engine and correlates the attention of candidate tokens to the
tokens of history codes with their similarity to the candidate and with their performance. Histories come in random
order, in which position and performance are independent, and sorted as in the paper, in which they are one variable.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.errors import UserError, cli
from search.files import write_atomic
from search.rankers.attention import LAYERS, attended

ORDERS = {"random": "append", "sorted": "paper"}  # the format that shows a shuffled history as it is, or best first


def picks(args: argparse.Namespace) -> int:
    """The picks of runs: table and picture."""
    from search.reports.picks import draw, markdown, share
    from search.reports.reading import read_sections

    sections = read_sections(args.runs)
    shares = [s for section in sections for run in section.runs if (s := share(run, args.window)) is not None]
    if not shares:
        raise UserError(
            f"{', '.join(map(str, args.runs))} hold no choice between uniform candidates and mutants - the proposal"
            " must be mixed - run with --proposal mixed"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    text = markdown(shares, args.window)
    write_atomic(args.out / "picks.md", text)
    draw(shares, args.out / "picks.png", sections[0].title)
    print(text)
    print(args.out / "picks.png")
    return 0


def attention(args: argparse.Namespace) -> int:
    """Attention of one model on questions of one task."""
    from search.exam import questions
    from search.reports.correlation import correlations, markdown
    from search.tasks import load_task

    task = load_task(args.task)
    asked = questions(task, args.history, args.questions, args.candidates)
    rows = []
    with_format = _reader(args.ranker, task)
    for order, name in ORDERS.items():
        ranker = with_format(name)
        read = [attended(ranker, q.history, q.candidates, args.layers) for q in asked]
        rows += [(order, c) for c in correlations(read, args.permutations)]
    text = markdown(rows)
    print(text)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        facts = {"ranker": args.ranker, "task": args.task, "layers": args.layers, "history": args.history}
        lines = [{"history": order, **asdict(c)} for order, c in rows]
        write_atomic(args.out / "attention.json", json.dumps({**facts, "rows": lines}, indent=1) + "\n")
        write_atomic(args.out / "attention.md", text)
    return 0


def _reader(spec: str, task: Any) -> Callable[[str], Any]:
    """A function from a format's name to a chat ranker that shows it; the model is loaded once, with its attention."""
    from search.prompts import get_format
    from search.rankers.chat import ChatRanker, load_chat_model, read_chat_yaml
    from search.rankers.control import RandomRanker

    kind, _, path = spec.partition(":")
    if kind != "chat" or "?" in path:
        raise UserError(f"--ranker {spec} was given - attention is read from a model in this process - give chat:FILE")
    chat = load_chat_model({**read_chat_yaml(path), "flash_attn": "disabled"})  # eager attention keeps its weights
    return lambda name: ChatRanker(chat, get_format(name), RandomRanker(0), cache=False)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m search.analyse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    p = kinds.add_parser("picks", help="share of picks from uniform and from evolutionary candidates")
    p.add_argument("runs", nargs="+", type=Path, help="run folders; controls inside are included")
    p.add_argument("--out", type=Path, default=Path("runs/picks"))
    p.add_argument("--window", type=int, default=15, help="trials on either side of a point (default 15)")
    a = kinds.add_parser("attention", help="attention against similarity and performance")
    a.add_argument("--ranker", required=True, metavar="chat:FILE")
    a.add_argument("--task", default="nb201/cifar100")
    a.add_argument("--history", type=int, default=50, help="entries a question (default 50)")
    a.add_argument("--questions", type=int, default=20)
    a.add_argument("--candidates", type=int, default=10)
    a.add_argument("--layers", choices=LAYERS, default="all", help="whose heads are averaged (default all)")
    a.add_argument("--permutations", type=int, default=2000, help="of the test (default 2000)")
    a.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    for name in ("window", "history", "questions", "candidates", "permutations"):
        if getattr(args, name, 1) < 1:
            raise UserError(f"--{name} {getattr(args, name)} was given - it must be at least 1")
    return picks(args) if args.kind == "picks" else attention(args)


if __name__ == "__main__":
    cli(main)
