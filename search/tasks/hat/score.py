"""BLEU and SacreBLEU of a retrained model on the test split: averaged checkpoints, beam search.

    python -m search.tasks.hat.score --run runs/hat/final --data data/iwslt14

BLEU is HAT's and fairseq's: on the tokenised text with hyphens split off (##AT##-##AT##). SacreBLEU is computed after
detokenising with sacremoses, with sacrebleu's own tokeniser. The paper does not say which of the two its 34.02 is.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path

from search.errors import UserError, cli
from search.files import write_atomic
from search.tasks.hat.bpe import join
from search.tasks.hat.recipe import get_recipe
from search.tasks.hat.retrain import build, read_about

_HYPHEN = re.compile(r"(\S)-(?=\S)")


@dataclass(frozen=True)
class Score:
    """Percentages on one split, the versions line of sacrebleu, and the first few translations (source, output,
    reference).
    """

    bleu: float
    sacrebleu: float
    signature: str
    sentences: int
    examples: tuple[tuple[str, str, str], ...]


def average(out: Path, n: int) -> dict:
    """The mean of the newest n saved weights (fewer if there are fewer)."""
    from search.tasks.training import checkpoints, read_checkpoint

    paths = [path for _, path in checkpoints(out)[-n:]]
    if n < 1 or not paths:
        raise UserError(
            f"the last {n} checkpoints of {out} were asked for and {len(paths)} are there - at least one is needed -"
            " run search.tasks.hat.retrain first"
        )
    total = read_checkpoint(paths[0])["model"]
    for path in paths[1:]:
        for name, value in read_checkpoint(path)["model"].items():
            total[name] = total[name] + value
    return {name: value / len(paths) for name, value in total.items()}


def split_hyphens(line: str) -> str:
    """Compound splitting of the original scoring script: 'twenty-two' becomes 'twenty ##AT##-##AT## two'."""
    return _HYPHEN.sub(r"\1 ##AT##-##AT## ", line)


def bleus(outputs: list[str], references: list[str], moses: bool) -> tuple[float, float, str]:
    """(tokenised BLEU with hyphens split, SacreBLEU of the detokenised text, its signature); lines are words, BPE
    removed.
    """
    from sacrebleu.metrics import BLEU

    tokenised = BLEU(tokenize="none", force=True).corpus_score(
        [split_hyphens(o) for o in outputs], [[split_hyphens(r) for r in references]]
    )
    metric, plain = BLEU(), detokeniser(moses)
    detokenised = metric.corpus_score([plain(o) for o in outputs], [[plain(r) for r in references]])
    return float(tokenised.score), float(detokenised.score), str(metric.get_signature())


def detokeniser(moses: bool):
    """Plain English from tokenised lines: sacremoses, or only the punctuation of the embedded corpus."""
    if not moses:
        return lambda line: re.sub(r" ([.,?])", r"\1", line)
    from sacremoses import MosesDetokenizer

    detokenise = MosesDetokenizer("en").detokenize
    return lambda line: detokenise(line.split())


def score(
    corpus,
    out: Path,
    split: str = "test",
    checkpoints: int = 10,
    beam: int = 5,
    length_penalty: float = 1.0,
    sentences: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Score:
    """Translate a split with the averaged model of `out` and compare."""
    from tqdm import tqdm

    from search.tasks.hat.beam import translate
    from search.tasks.training import open_place

    about = read_about(out)
    if about["corpus_sha256"] != corpus.about["sha256"]:
        raise UserError(
            f"{out} was trained on another corpus than {corpus.folder} - give the corpus folder it was trained on"
        )
    device = open_place(device).device
    model = build(get_recipe("embedded", about["recipe"]), about["code"], len(corpus.source), len(corpus.target))
    model.load_state_dict(average(out, checkpoints))
    model.to(device).eval()
    part = corpus.subset(split, sentences)
    outputs: dict[int, str] = {}
    with tqdm(total=len(part), desc="translating", unit="sentence", disable=not progress, dynamic_ncols=True) as bar:
        for rows in part.groups(2048):
            for i, tokens in zip(rows, translate(model, part.batch(rows).source.to(device), beam, length_penalty)):
                outputs[int(i)] = join(corpus.target.decode(tokens))
            bar.update(len(rows))
    ordered = [outputs[i] for i in range(len(part))]
    references = (corpus.folder / f"{split}.en").read_text(encoding="utf-8").splitlines()
    sources = (corpus.folder / f"{split}.de").read_text(encoding="utf-8").splitlines()
    references, sources = ([join(line) for line in lines[: len(part)]] for lines in (references, sources))
    tokenised, detokenised, signature = bleus(ordered, references, bool(corpus.about.get("moses")))
    return Score(tokenised, detokenised, signature, len(part), tuple(zip(sources, ordered, references))[:5])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.hat.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of search.tasks.hat.retrain")
    parser.add_argument("--data", type=Path, required=True, help="the corpus folder it was trained on")
    parser.add_argument("--split", default="test", choices=("valid", "test"))
    parser.add_argument("--average", type=int, default=10, help="how many of the last checkpoints to average")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--length-penalty", type=float, default=1.0)
    parser.add_argument("--sentences", type=int, help="only the first so many")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    args = parser.parse_args(argv)
    if args.beam < 1 or (args.sentences is not None and args.sentences < 1):
        raise UserError(f"--beam {args.beam} --sentences {args.sentences} were given - both must be at least 1")

    from search.tasks.hat.data import load

    result = score(
        load(args.data), args.run, args.split, args.average, args.beam, args.length_penalty, args.sentences, args.device
    )
    for source, output, reference in result.examples:
        print(f"  de  {source}\n  out {output}\n  ref {reference}")
    print(
        f"{args.split}, {result.sentences} sentences: BLEU {result.bleu:.2f} (tokenised, hyphens split), SacreBLEU"
        f" {result.sacrebleu:.2f} ({result.signature})"
    )
    facts = {
        "split": args.split,
        "bleu": result.bleu,
        "sacrebleu": result.sacrebleu,
        "signature": result.signature,
        "sentences": result.sentences,
    }
    write_atomic(args.run / f"score-{args.split}.json", json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    cli(main)
