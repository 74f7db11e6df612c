"""HAT: the embedded corpus, the IWSLT'14 archive, corpus folders and batches."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from search.errors import UserError
from search.tasks.hat import corpus, phrases, prepare
from search.tasks.hat.bpe import join

pytest.importorskip("subword_nmt")


def test_the_embedded_corpus_is_the_same_every_time_and_its_splits_share_no_content():
    splits = {name: list(corpus.generate(name, n)) for name, n in (("train", 800), ("valid", 100), ("test", 100))}
    assert splits["valid"] == list(corpus.generate("valid", 100))
    german = {name: {a for a, _ in pairs} for name, pairs in splits.items()}
    assert (
        not german["train"] & german["valid"]
        and not german["train"] & german["test"]
        and not german["valid"] & german["test"]
    )
    content = {}
    for name in splits:
        rng = np.random.default_rng(4)
        drawn = [corpus.sentence(rng, name) for _ in range(100)]
        content[name] = {phrase for _, _, used in drawn for phrase in used}
        assert all(used for _, _, used in drawn)
        assert all(phrases.owner(phrase) == name for phrase in content[name])
    assert all(pair[0] and pair[1] for pairs in splits.values() for pair in pairs)


def test_sentences_are_german_with_german_word_order():
    pairs = list(corpus.generate("train", 800))
    said = dict(pairs)
    assert any(" , dass " in a and a.endswith((" hat .", " ist .")) and " that " in b for a, b in pairs), (
        "the verb comes last"
    )
    assert any("zu" in a.split()[-2] and "in order to" in b for a, b in pairs)
    assert any(a.startswith("am ") and b.startswith("on ") for a, b in said.items())
    assert phrases.words(53) == ("dreiundfünfzig", "fifty-three")
    assert all(a == a.lower() and "  " not in a and "  " not in b for a, b in pairs)


ARTICLE = """<url>http://www.ted.com/talks/x</url>
<keywords>talks, life</keywords>
<speaker>Someone</speaker>
<talkid>1</talkid>
<title>{title}</title>
<description>TED Talk: {title}.</description>
"""


def make_archive(path, sentences=60, **changes):
    """A small archive in WIT3's format; changes: file name -> text (None: left out)."""
    files = {}
    for language, thing, words in (
        ("de", "Häuser", "Das sind {n} „schöne“ {thing}, oder?"),
        ("en", "houses", 'These are {n} "nice" {thing}, aren\'t they?'),
    ):
        body = "".join(words.format(n=n, thing=thing) + "\n" for n in range(sentences))
        body += "Sehr sehr sehr sehr sehr lang.\n" if language == "de" else "Long.\n"
        files[f"train.tags.de-en.{language}"] = ARTICLE.format(title=f"Von {thing}") + body
        for name in prepare.TESTS:
            segments = "".join(f'<seg id="{i}"> {words.format(n=i + 1000, thing=thing)} </seg>\n' for i in range(1, 4))
            files[f"{name}.de-en.{language}.xml"] = (
                f'<?xml version="1.0"?>\n<refset><doc docid="1">\n<title>x</title>\n{segments}</doc></refset>\n'
            )
    files = {k: v for k, v in (files | changes).items() if v is not None}
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"de-en/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_an_archive_without_end_is_refused():
    with pytest.raises(UserError, match="/dev/zero is no file"):
        prepare.read_archive(Path("/dev/zero"))


def test_an_iwslt_archive_becomes_a_corpus_folder(tmp_path):
    pytest.importorskip("sacremoses")
    from search.tasks.hat.data import load

    out = prepare.iwslt14(make_archive(tmp_path / "de-en.tgz"), tmp_path / "corpus", merges=60, progress=False)
    read = load(out)
    # 60 sentences, title and description; the pair of 6 and 2 tokens is too uneven; every 23rd goes to validation
    assert {name: len(split) for name, split in read.splits.items()} == {"train": 60, "valid": 2, "test": 15}
    lines = [join(line) for line in (out / "train.de").read_text().splitlines()]
    assert lines[0] == "von häuser" and lines[1] == "ted talk : von häuser ."
    assert lines[2] == "das sind 0 „ schöne “ häuser , oder ?"
    english = [join(line) for line in (out / "train.en").read_text().splitlines()]
    assert english[2] == "these are 0 &quot; nice &quot; houses , aren &apos;t they ?"
    assert not any("url" in line or "<" in line or "sehr sehr" in line for line in lines)
    assert (out / "train.de").read_text() != "\n".join(lines), "subwords are marked"
    valid = [join(line) for line in (out / "valid.de").read_text().splitlines()]
    assert valid == ["das sind 20 „ schöne “ häuser , oder ?", "das sind 43 „ schöne “ häuser , oder ?"]
    assert (
        prepare.main(["--iwslt14", str(tmp_path / "de-en.tgz"), "--out", str(tmp_path / "again"), "--merges", "60"])
        == 0
    )
    assert (tmp_path / "again" / "train.de").read_bytes() == (out / "train.de").read_bytes()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: p.unlink(), "does not exist"),
        (lambda p: p.write_bytes(b"no archive at all"), "no tar archive"),
        (lambda p: p.write_bytes(p.read_bytes()[: len(p.read_bytes()) // 2]), "damaged"),
        (
            lambda p: make_archive(p, **{"IWSLT14.TED.tst2011.de-en.en.xml": None}),
            "lacks IWSLT14.TED.tst2011.de-en.en.xml",
        ),
        (lambda p: make_archive(p, **{"train.tags.de-en.en": "Only one.\n"}), "train.tags.de-en has"),
        (
            lambda p: make_archive(p, **{"IWSLT14.TED.tst2010.de-en.en.xml": "nothing"}),
            "tst2010 has 3 German and 0 English",
        ),
        (lambda p: make_archive(p, sentences=5), "empty split"),
    ],
)
def test_a_damaged_archive_gets_one_sentence(tmp_path, damage, said):
    path = make_archive(tmp_path / "de-en.tgz")
    damage(path)
    with pytest.raises(UserError, match=said) as error:
        prepare.iwslt14(path, tmp_path / "out", progress=False)
    assert "\n" not in str(error.value) and not (tmp_path / "out" / "corpus.json").exists()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return prepare.embedded_corpus(
        tmp_path_factory.mktemp("corpus") / "c", {"train": 300, "valid": 40, "test": 40}, merges=200
    )


def test_a_corpus_folder_reads_back(small):
    from search.tasks.hat.data import load

    read = load(small)
    raw = list(corpus.generate("train", 300))
    for i in (0, 17, 299):
        assert join(read.source.decode(read.splits["train"].source[i])) == raw[i][0]
        assert join(read.target.decode(read.splits["train"].target[i])) == raw[i][1]
    assert read.about["sentences"]["valid"] == 40


def test_batches_cover_every_sentence_once_an_epoch_within_the_limit(small):
    from search.tasks.hat.data import load
    from search.tasks.hat.model import BOS, EOS

    split = load(small).splits["train"]
    groups = split.groups(256)
    assert sorted(int(i) for g in groups for i in g) == list(range(len(split)))
    batches = [split.training_batch(i, 256, seed=3) for i in range(2 * len(groups))]
    assert all(b.source.numel() <= 256 and b.given.numel() <= 256 for b in batches)
    for epoch in (batches[: len(groups)], batches[len(groups) :]):
        assert sum(b.tokens for b in epoch) == sum(map(len, split.target))
    b = batches[0]
    assert (b.given[:, 0] == BOS).all() and ((b.expected == EOS).sum(1) == 1).all()
    assert (b.given[:, 1:] == b.expected[:, :-1])[b.expected[:, 1:] != 0].all()
    again = load(small).splits["train"].training_batch(len(groups) + 1, 256, seed=3)
    assert (again.source == batches[len(groups) + 1].source).all()


@pytest.mark.parametrize("damage", ["corpus.json", "valid.en", "dict.de", "uneven"])
def test_a_damaged_corpus_folder_gets_one_sentence(small, tmp_path, damage):
    import shutil

    from search.tasks.hat.data import load

    folder = tmp_path / "c"
    shutil.copytree(small, folder)
    if damage == "uneven":
        (folder / "test.en").write_text("one line\n")
    elif damage == "corpus.json":
        (folder / damage).write_text("{")
    else:
        (folder / damage).unlink()
    with pytest.raises(UserError, match="again"):
        load(folder)
    assert json.loads((small / "corpus.json").read_text())["name"] == "embedded"
