"""Prompt formats that show the nano searcher the raw history instead of evidence: what its model card's ablation
compares with.

raw_marks    each code with one token per decision and option     raw_digits   each code as bare digits, one token each

    <0.3><1.0><2.2>=<v38>\\n<0.1><1.0><2.0>=<v22>\\n<0.3><1.1><2.2>=   ->   <v40>

One line per told entry, oldest first, its value as a token of `search.prompts.nano` (normal score within the shown
history); then one candidate, whose value is the answer. Trained with loss on the whole text, every line is a lesson.

    python -m benchmarks.raw_history --samples 12800 --format raw_marks --longest 64 --out runs/raw/rows.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_builders.prior.nano_rows import ANSWER_CANDIDATES, BLOCK, EASY, _row, codes_text
from data_builders.prior.trajectories import Question, sample_question
from data_builders.registry import register
from search.errors import UserError, cli
from search.files import open_atomic
from search.prompts import FORMATS, Prompt, get_format
from search.prompts.evidence import normal_scores
from search.prompts.nano import MARK, arrays, bin_centres, code_text, value_bins, value_scores
from search.rankers.base import Ranking, from_scores
from search.rankers.nano import NanoRanker, chat_prompt
from search.spaces import Seen


@dataclass(frozen=True)
class RawFormat:
    """Raw histories behind the interface of a prompt format; the answers are values, not codes.

    marked: which way codes are written.
    """

    name: str
    marked: bool
    names_code: ClassVar[bool] = False
    sort: ClassVar[bool] = False
    read: ClassVar[None] = None

    @property
    def family(self) -> tuple[str, ...]:
        return (self.name,)

    def write(self, code: str) -> str:
        """How this format spells a code."""
        return code_text(code) if self.marked else code

    def history_text(self, history: Sequence[Seen]) -> str:
        """The told entries, a line each."""
        if not history:
            return ""
        bins = value_bins(normal_scores(np.array([s.value for s in history], dtype=np.float64)))
        return "".join(f"{self.write(s.code)}{MARK}<v{b}>\n" for s, b in zip(history, bins, strict=True))

    def render(self, history: Sequence[Seen], candidates: Sequence[str]) -> Prompt:
        """The prompt for this history (told order, higher is better) and the first candidate."""
        arrays(history, candidates)
        return Prompt("", self.history_text(history) + self.write(candidates[0]))

    def answer_text(self, code: str) -> str:
        """Answers are values, which stay as they are."""
        return code

    def parse(self, answer: str, candidates: Sequence[str]) -> str | None:
        """None: a value names no candidate."""
        return None

    def tokens(self, decisions: int) -> int:
        """Tokens of one history line."""
        return decisions + 3


RAW_MARKS = RawFormat("raw_marks", True)
RAW_DIGITS = RawFormat("raw_digits", False)
RAW = {"raw_marks": RAW_MARKS, "raw_digits": RAW_DIGITS}
FORMATS.update(
    {f.name: f"benchmarks.raw_history:{f.name.upper()}" for f in RAW.values()}
)  # known to stamps and to the model's tokenizer tests wherever this module was imported


class RawRanker(NanoRanker):
    """Reads expected values from a model trained on raw histories, as many of the latest entries as its rows had room
    for.
    """

    name = "raw"
    formats = ("raw_marks", "raw_digits")

    def __init__(self, folder: Path, prompt_format: str, longest: int):
        super().__init__(folder, "mean")
        self.format, self.longest = get_format(prompt_format), longest

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        import torch

        model, tokenizer = self._loaded(self.folder)
        room = max(1, self.longest // self.format.tokens(len(candidates[0])) - 1)
        texts = [chat_prompt(tokenizer, self.format.render(history[-room:], [c]).input) for c in candidates]
        values = torch.tensor(tokenizer.convert_tokens_to_ids([f"<v{i}>" for i in range(len(bin_centres()))]))
        with torch.inference_mode():
            logits = model(
                input_ids=torch.tensor(tokenizer(texts, add_special_tokens=False)["input_ids"]),
                use_cache=False,
                logits_to_keep=1,
            ).logits
        odds = logits[:, -1, values].double().softmax(-1).numpy()
        return from_scores(candidates, odds @ bin_centres(), self.name)


def _raw_rows(question: Question, format: RawFormat, longest: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """One row if at least three entries of the history fit: a random part of it, and the value of one candidate."""
    n = min(len(question.codes), longest // format.tokens(question.codes.shape[1]) - 1)
    kept = rng.permutation(len(question.codes))[: max(n, 0)]
    if n < 3 or not np.ptp(question.values[kept]) > 1e-9:
        return []
    history = [Seen(c, float(v)) for c, v in zip(codes_text(question.codes[kept]), question.values[kept])]
    asked = int(rng.integers(len(question.candidates)))
    prompt = format.render(history, codes_text(question.candidates[asked : asked + 1]))
    return [
        _row(
            prompt.input, f"<v{value_bins(value_scores(question.values[kept], question.truth[asked : asked + 1]))[0]}>"
        )
    ]


def _block(number: int, seed: int, format: str, longest: int, curriculum: bool, blocks: int) -> list[str]:
    """The JSON lines of a block, a function of its number and the options; with the curriculum easy worlds come
    first.
    """
    rng = np.random.default_rng([seed, number])
    easy = max(0.0, 1.0 - 2.0 * number / blocks) if curriculum else 0.0
    rows: list[dict[str, str]] = []
    while len(rows) < BLOCK:
        limits = EASY if easy and rng.random() < easy else (48, 9.0)
        rows += _raw_rows(sample_question(rng, ANSWER_CANDIDATES, *limits), RAW[format], longest, rng)
    return [json.dumps(row) + "\n" for row in rows[:BLOCK]]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.raw_history",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=RAW, default="raw_marks")
    parser.add_argument("--longest", type=int, default=400, help="tokens of a row; its history is cut to it")
    parser.add_argument(
        "--curriculum", action="store_true", help="small clean worlds first; train with disable_shuffling: true"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--registry", type=Path, required=True, help="LLaMA-Factory's list of data sets")
    args = parser.parse_args()
    if args.samples < 1 or args.seed < 0 or args.longest < 20:
        raise UserError(
            f"--samples {args.samples} --seed {args.seed} --longest {args.longest} were given - at least 1, 0 and 20"
            " are needed"
        )
    blocks = -(-args.samples // BLOCK)
    lines = (
        line for n in range(blocks) for line in _block(n, args.seed, args.format, args.longest, args.curriculum, blocks)
    )
    with open_atomic(args.out) as file:
        for line in islice(lines, args.samples):
            file.write(line)
    register(args.out.stem, args.out, args.registry)
    return 0


if __name__ == "__main__":
    cli(main)
