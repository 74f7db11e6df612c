"""Joint byte-pair encoding (subword-nmt, as the original preprocessing) and the corpus folder it is written to.

A corpus folder holds train/valid/test.{de,en} (tokens separated by spaces, '@@ ' where a word goes on), the merge
operations codes.bpe, one vocabulary per language dict.{de,en} (one token a line, most frequent first) and corpus.json
(how it was made).
"""

from __future__ import annotations

import io
import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stderr
from hashlib import sha256
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.files import open_atomic, write_atomic

LANGUAGES = ("de", "en")
Splits = Mapping[str, Sequence[tuple[str, str]]]


def learn(lines: Sequence[str], merges: int) -> str:
    """The merge operations learnt from tokenised lines, in subword-nmt's text format."""
    from subword_nmt.learn_bpe import learn_bpe

    counts = Counter(word for line in lines for word in line.split())
    listed = io.StringIO("".join(f"{word} {n}\n" for word, n in sorted(counts.items())))
    codes = io.StringIO()
    quiet = redirect_stderr(io.StringIO()) if merges <= 2000 else nullcontext()
    with warnings.catch_warnings(), quiet:
        warnings.simplefilter("ignore")
        learn_bpe(listed, codes, merges, min_frequency=2, is_dict=True)
    return codes.getvalue()


def encoder(codes: str):
    """A function from a tokenised line to its subword line."""
    from subword_nmt.apply_bpe import BPE

    return BPE(io.StringIO(codes)).process_line


def join(line: str) -> str:
    """Words from subwords."""
    return f"{line} ".replace("@@ ", "").strip()


def write_corpus(folder: Path, splits: Splits, merges: int, about: Mapping[str, Any]) -> Path:
    """Learn the joint merges on the training split, encode all splits and write the folder; corpus.json comes last."""
    if any(not splits.get(name) for name in ("train", "valid", "test")):
        sizes = {name: len(pairs) for name, pairs in splits.items()}
        raise UserError(
            f"the corpus has an empty split: {sizes} - train, valid and test each need sentences - give a larger corpus"
        )
    codes = learn([line for pair in splits["train"] for line in pair], merges)
    encode, digest = encoder(codes), sha256()
    write_atomic(folder / "codes.bpe", codes)
    for side, language in enumerate(LANGUAGES):
        counts: Counter[str] = Counter()
        for name, pairs in splits.items():
            with open_atomic(folder / f"{name}.{language}") as handle:
                for pair in pairs:
                    line = encode(pair[side])
                    digest.update(line.encode())
                    handle.write(line + "\n")
                    if name == "train":
                        counts.update(line.split())
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        write_atomic(folder / f"dict.{language}", "".join(f"{word}\n" for word in ordered))
    facts = {
        **about,
        "merges": merges,
        "sentences": {name: len(pairs) for name, pairs in splits.items()},
        "sha256": digest.hexdigest(),
    }
    write_atomic(folder / "corpus.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    return folder
