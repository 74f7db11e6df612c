"""The rules a training row must keep. Rows are read back through `search.prompts` only; nothing here builds rows.

form       an object with the texts instruction, input, output; the instruction is the format's
text       history and candidates, rendered again, give the very same input
code       every code belongs to the space
answer     the answer is one of the candidates (direct rows: a code that the history does not show)
argmax     no candidate is better than the answer (direct rows: nor any history entry)
overlap    no architecture appears twice in a row, by canonical code
order      the history is in the format's order
values     the history's numbers rank its codes as the table does
tokens     the row fits cutoff_len
duplicate  no two rows are alike
held_out   the row is not from a table that is kept for evaluation
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_builders.checks.origins import Truth, percent_texts
from data_builders.rows.batch import direct_format, told_format
from search.errors import UserError
from search.prompts import Prompt
from search.prompts.encodings import parse_domain
from search.prompts.formats import TextFormat, text_format
from search.tables import Table

RULES = ("form", "text", "code", "answer", "argmax", "overlap", "order", "values", "tokens", "duplicate", "held_out")
DOMAIN_CODE = r"\|[^\s;,]+\|"
# Share of a history that a table must explain before a row is called its leak; noise and rounding take the rest.
MATCHING = 0.9


@dataclass
class Expectation:
    """What the rows of one file should be.

    truths: one per origin.
    origin, value: each row's origin and candidates' values (or None).
    """

    format: str
    direct: bool = False
    told: bool = False
    domain: bool = False
    shuffled: bool = False
    truths: Sequence[Truth] = ()
    origin: np.ndarray | None = None
    value: np.ndarray | None = None
    held_out: Sequence[Table] = ()
    held_out_origins: frozenset[int] = frozenset()
    index: dict[str, list[tuple[dict[str, int], np.ndarray]]] = field(default_factory=dict)

    def formats(self) -> tuple[TextFormat, TextFormat]:
        """(the format that reads a row, the format that wrote it)."""
        fmt = text_format(self.format)
        fmt = told_format(fmt) if self.told else fmt
        return fmt, direct_format(fmt) if self.direct else fmt


@dataclass
class Finding:
    """Broken rules of one row and what was counted on the way."""

    broken: list[str]
    tied: bool = False
    verified: str = "no"
    history: int = 0
    key: int = 0


def check_row(line: str | bytes, number: int, expected: Expectation) -> Finding:
    """All rules but tokens and duplicate, which need more than one row.

    number: the row's place in the file, from 0.
    """
    try:
        row = json.loads(line)
        if list(row) != ["instruction", "input", "output"] or not all(isinstance(v, str) for v in row.values()):
            return Finding(["form"])
    except (ValueError, TypeError, RecursionError):
        return Finding(["form"])
    reader, writer = expected.formats()
    found = Finding([], key=hash((row["instruction"], row["input"])))
    if row["instruction"] != writer.instruction:
        found.broken.append("form")
    prompt = Prompt(row["instruction"], row["input"] + reader.middle if expected.direct else row["input"])
    try:
        pairs, candidates = reader.read(prompt, DOMAIN_CODE) if expected.domain else reader.read(prompt)
    except ValueError:  # a number such as 1.2.3
        return Finding([*found.broken, "text"], key=found.key)
    rendered = writer.history_text([c for c, _ in pairs], [writer.number_text(v) for _, v in pairs])
    if rendered + ("" if expected.direct else writer.candidates_text(candidates)) != row["input"] or not pairs:
        found.broken.append("text")
    found.history = len(pairs)
    origin = int(expected.origin[number]) if expected.origin is not None else 0
    truth = expected.truths[origin] if expected.truths else Truth(None)
    _check_codes(found, truth, pairs, candidates, row["output"], expected, number)
    printed = [v for _, v in pairs]
    if writer.sort and any(a < b for a, b in zip(printed, printed[1:])):
        found.broken.append("order")
    if origin in expected.held_out_origins or (expected.held_out and _same_content(pairs, expected)):
        found.broken.append("held_out")
    return found


def _check_codes(
    found: Finding, truth: Truth, pairs: list, candidates: list[str], answer: str, expected: Expectation, number: int
) -> None:
    texts = [c for c, _ in pairs] + candidates
    if expected.direct or answer not in candidates:
        texts = [*texts, answer]
    codes = _codes(texts, truth, expected.domain)
    if codes is None or len({len(c) for c in codes}) > 1:
        found.broken.append("code")
        return
    shown, offered = codes[: len(pairs)], codes[len(pairs) : len(pairs) + len(candidates)]
    classes = [truth.canonical(c) for c in shown + offered]
    if len(set(classes)) < len(classes):
        found.broken.append("overlap")
    if expected.direct:
        if truth.canonical(codes[-1]) in classes:
            found.broken.append("answer")
            return
        rivals, mine = [truth.value(c) for c in shown], truth.value(codes[-1])
    else:
        if answer not in candidates:
            found.broken.append("answer")
            return
        place = candidates.index(answer)
        rivals = [truth.value(c) for c in offered]
        if any(math.isnan(v) for v in rivals) and expected.value is not None:
            rivals = expected.value[number][: len(offered)].tolist()
            found.verified = "truth file"
        mine = rivals[place] if place < len(rivals) else float("nan")
    if not math.isnan(mine) and not any(math.isnan(v) for v in rivals):
        found.verified = "table" if found.verified == "no" else found.verified
        best = max(rivals, default=mine)
        wins = mine > best if expected.direct else mine >= best and rivals.index(mine) == place
        if not wins:
            found.broken.append("argmax")
        found.tied = not expected.direct and rivals.count(best) > 1
    else:
        found.verified = "no"
    true = [truth.value(c) for c in shown]
    if not expected.shuffled and not any(map(math.isnan, true)) and not _same_ranking(true, [v for _, v in pairs]):
        found.broken.append("values")


def _codes(texts: list[str], truth: Truth, domain: bool) -> list[str] | None:
    """The NCodes of the texts; None when one is not of the space."""
    if domain:
        try:
            return [parse_domain(truth.space, t) for t in texts]
        except UserError:
            return None
    return texts if all(truth.valid(t) for t in texts) else None


def _same_ranking(true: list[float], printed: list[float]) -> bool:
    """Whether printed numbers never contradict the order of the true values (rounding may tie them)."""
    order = np.argsort(true, kind="stable")
    return bool((np.diff(np.asarray(printed)[order])[np.diff(np.asarray(true)[order]) > 0] >= 0).all())


def content_index(tables: Iterable[Table]) -> list[tuple[dict[str, int], np.ndarray]]:
    """For each held-out table: row of every code, and its percentages in hundredths, float64 (metrics, rows)."""
    found = []
    for table in tables:
        values = [v for _, v in percent_texts(table)]
        if values:
            found.append(({c: i for i, c in enumerate(table.space.to_codes(table.codes))}, np.stack(values)))
    return found


def _same_content(pairs: list[tuple[str, float]], expected: Expectation) -> bool:
    """Whether nearly all pairs stand in a held-out table, code and number: a leak whatever the file says of its
    origin.
    """
    if "tables" not in expected.index:
        expected.index["tables"] = content_index(expected.held_out)
    printed = np.rint(np.array([v for _, v in pairs]) * 100)
    for rows, values in expected.index["tables"]:
        at = np.array([rows.get(c, -1) for c, _ in pairs])
        if (
            len(at) >= 3
            and (at >= 0).mean() >= MATCHING
            and ((np.abs(values[:, at] - printed) <= 1) & (at >= 0)).mean(axis=1).max() >= MATCHING
        ):
            return True
    return False


def leaking_origins(
    origins: Sequence[dict[str, Any]], truths: Sequence[Truth], held_out: Sequence[Table]
) -> frozenset[int]:
    """Origins that are held-out tables by name, or whose space and architectures (canonical codes) are a held-out
    table's.
    """
    leaks = set()
    for i, (origin, truth) in enumerate(zip(origins, truths)):
        for table in held_out:
            same_space = truth.space is not None and bool(truth.space.name) and truth.space.name == table.space.name
            if origin["table"] == table.name or (same_space and _share_architectures(truth, table)):
                leaks.add(i)
    return frozenset(leaks)


def _share_architectures(truth: Truth, table: Table) -> bool:
    if truth.table is None:
        return True
    ours = {truth.canonical(c) for c in truth.space.to_codes(truth.table.codes)}
    return any(table.space.canonical(c) in ours for c in table.space.to_codes(table.codes))
