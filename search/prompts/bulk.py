"""Many prompts at once, for building data sets: the same bytes as `Format.render`, some fifty times faster.

    texts = digit_text(codes)                                     # uint8 (m, decisions) digits -> ASCII
    inputs = render_inputs(get_format("paper"), texts, values, history, candidates)

The entries of all rows lie one after another: the history of row 0 in told order, its candidates, the history of row 1,
... The templates are read from the format; no prompt text lives here.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np

from search.prompts.encodings import option_words
from search.prompts.formats import FIRST_MILESTONE, TextFormat, bent, percentages, without_overflow
from search.spaces import DIGITS, Seen, Space

_ASCII = np.zeros(256, dtype=np.uint8)
_ASCII[: len(DIGITS)] = np.frombuffer(DIGITS.encode(), dtype=np.uint8)
_SPLIT = 134217729.0  # 2**27 + 1: Dekker's constant, cuts a double into two halves whose products are exact


def digit_text(codes: np.ndarray) -> np.ndarray:
    """ASCII of digits; uint8 (m, d) -> uint8 (m, d). 255 marks 'no digit' and becomes NUL, which is never printed."""
    return _ASCII[codes]


def escaped(text: str) -> bytes:
    """The UTF-8 bytes of a text inside a JSON string, without the quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def fixed_point(numbers: np.ndarray, scale: int) -> np.ndarray:
    """round(number * scale), decided on the exact binary value as Python's formatting does; float64 (n,) -> int64
    (n,).
    """
    product = numbers * scale
    whole = np.rint(product)
    floor = np.floor(product)
    tie = np.flatnonzero(product - floor == 0.5)
    if len(tie):
        x = numbers[tie]
        high = x * _SPLIT
        high = high - (high - x)
        error = (high * scale - product[tie]) + (x - high) * scale
        whole[tie] = np.where(error > 0, floor[tie] + 1, np.where(error < 0, floor[tie], whole[tie]))
    return whole.astype(np.int64)


def printed_numbers(fmt: TextFormat, matrix: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`Format.numbers` of many histories; matrix float64 (rows, longest) padded with anything, counts int64 (rows,)."""
    scale = without_overflow(matrix)
    if fmt.unit != "percent":
        matrix = matrix * scale
        inside = np.arange(matrix.shape[1]) < counts[:, None]
        low = np.where(inside, matrix, np.inf).min(axis=1, initial=np.inf)[:, None]
        span = np.where(inside, matrix, -np.inf).max(axis=1, initial=-np.inf)[:, None] - low
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(span > 0, (matrix - low) / span, 0.5)
    out = np.empty_like(matrix)
    milestones = np.full(len(counts), FIRST_MILESTONE)
    while (again := milestones * 2 <= counts).any():
        milestones[again] *= 2
    for milestone in np.unique(milestones[counts >= FIRST_MILESTONE]):
        rows = np.flatnonzero((milestones == milestone) & (counts >= FIRST_MILESTONE))
        known = matrix[rows, :milestone]
        low, high = known.min(axis=1), known.max(axis=1)
        plain = low > 1.5  # then the median is, too
        unsure = np.flatnonzero(~plain & (low >= 0))
        plain[unsure] = np.median(known[unsure], axis=1) > 1.5
        plain &= high <= 100
        out[rows[plain]] = np.clip(matrix[rows[plain]], 0.0, 100.0) + 0.0
        rows, known = rows[~plain], known[~plain]
        if len(rows):
            known = known * scale[rows]
            low, middle, high = np.percentile(known, [25, 50, 75], axis=1)
            spread = known.max(axis=1) - known.min(axis=1)
            width = np.where(high != low, high - low, np.where(spread != 0, spread, 1.0))
            out[rows] = bent(matrix[rows] * scale[rows] - middle[:, None], width[:, None])
    for row in np.flatnonzero(counts < FIRST_MILESTONE):
        out[row, : counts[row]] = percentages(matrix[row, : counts[row]])
    return out


def best_first(matrix: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Stable order from best to worst of each row's first `counts` entries; int64 (rows, longest), the rest at the
    end.
    """
    rows, longest = matrix.shape
    places = np.arange(longest, dtype=np.uint64)
    inside = np.arange(longest) < counts[:, None]
    bits = (np.where(inside, -matrix, np.inf) + 0.0).view(np.int64)  # + 0.0: one zero only
    ordered = np.where(bits < 0, ~bits, bits | np.int64(-(2**63))).view(np.uint64)
    low = np.uint64((1 << max(1, int(longest - 1).bit_length())) - 1)
    order = (np.sort((ordered & ~low) | places, axis=1) & low).astype(np.int64)
    values = np.take_along_axis(np.where(inside, matrix, -np.inf), order, axis=1)
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(
            (np.diff(values, axis=1) > 0).any(axis=1)
        )  # values that differ only in the bits the place took
    for row in wrong:
        order[row] = np.argsort(np.where(inside[row], -matrix[row], np.inf), kind="stable")
    return order


@lru_cache(maxsize=8)
def _number_texts(fmt: TextFormat) -> tuple[int, np.ndarray, np.ndarray]:
    """(scale, ASCII of 0, 1, ..., 10000 in units of the last decimal padded with NUL, their lengths)."""
    scale = 100 if fmt.unit == "percent" else 10_000
    texts = [fmt.number_text(k / scale).encode() for k in range(10_001)]
    width = max(map(len, texts))
    return (
        scale,
        np.array(texts, dtype=f"S{width}").view(f"V{width}"),
        np.array([len(t) for t in texts], dtype=np.int64),
    )


def _lines(parts: list[bytes | np.ndarray], n: int) -> bytes:
    """n lines, each the parts in order: constants and V arrays (n,); NUL bytes dropped."""
    pattern = b"".join(part if isinstance(part, bytes) else bytes(part.dtype.itemsize) for part in parts)
    table = np.empty(n, dtype=f"V{len(pattern)}")
    table[:] = np.frombuffer(pattern, dtype=table.dtype)[0]
    at = 0
    for part in parts:
        if isinstance(part, np.ndarray):
            field: Any = {"names": ["x"], "formats": [part.dtype], "offsets": [at], "itemsize": len(pattern)}
            view: Any = table.view(np.dtype(field))
            view["x"] = part
        at += len(part) if isinstance(part, bytes) else part.dtype.itemsize
    text = table.tobytes()
    few = np.count_nonzero(table.view(np.uint8)) > 0.97 * len(text)
    return text.replace(b"\0", b"") if few else text.translate(None, b"\0")


def render_inputs(
    fmt: TextFormat, texts: np.ndarray, values: np.ndarray, history: np.ndarray, candidates: np.ndarray
) -> list[bytes]:
    """The `input` field of every row as JSON-escaped UTF-8.

    texts: uint8 (m, width) of the codes, NUL-padded and already escaped.
    values: float64 (m,), those of candidates are not read.
    history, candidates: int64 (rows,) numbers of entries. Equal to escaping `fmt.render(...).input` row by row.
    """
    texts = np.ascontiguousarray(texts)
    history, total = np.asarray(history, dtype=np.int64), np.asarray(history + candidates, dtype=np.int64)
    start = np.cumsum(total) - total
    before, _, rest = fmt.line.partition("{code}")
    between, _, after = rest.partition("{value}")
    if (
        not isinstance(fmt, TextFormat)
        or not after
        or not len(history)
        or not history.all()
        or (fmt.limit and history.max() > fmt.limit)
    ):
        return _render_one_by_one(fmt, texts, values, history, candidates, start)
    longest = int(history.max())
    inside = np.arange(longest) < history[:, None]
    matrix = np.zeros(inside.shape)
    place = (start[:, None] + np.arange(longest))[inside]
    matrix[inside] = values[place]
    scale, number_texts, number_lengths = _number_texts(fmt)
    numbers = printed_numbers(fmt, matrix, history)
    if fmt.sort:
        order = best_first(matrix, history)
        numbers = np.take_along_axis(numbers, order, axis=1)
        place = (start[:, None] + order)[inside]
    printed = fixed_point(numbers[inside], scale)
    codes = texts.view(f"V{texts.shape[1]}").ravel()
    widths = np.count_nonzero(texts, axis=1)
    ends = [escaped(t) for t in (fmt.between, fmt.candidate_between)]
    parts = [escaped(t) for t in (before, between, after)]
    lines = _lines([parts[0], codes[place], parts[1], number_texts[printed], parts[2] + ends[0]], len(place))
    stop = np.cumsum(widths[place] + number_lengths[printed] + sum(map(len, parts)) + len(ends[0]))[
        np.cumsum(history) - 1
    ]
    left, _, right = fmt.candidate.partition("{code}")
    offered = np.ones(len(texts), dtype=bool)
    offered[(start[:, None] + np.arange(longest))[inside]] = False
    names = _lines([escaped(left), codes[offered], escaped(right) + ends[1]], int(offered.sum()))
    sums = np.concatenate([[0], np.cumsum(widths[offered] + len(escaped(left)) + len(escaped(right)) + len(ends[1]))])
    name_stop = sums[np.cumsum(total - history)]
    head, middle = escaped(fmt.head), escaped(fmt.middle)
    rows, a, c = [], 0, 0
    for b, d in zip(stop.tolist(), name_stop.tolist()):
        rows.append(b"".join((head, lines[a : b - len(ends[0])], middle, names[c : max(c, d - len(ends[1]))])))
        a, c = b, d
    return rows


def _render_one_by_one(
    fmt: TextFormat,
    texts: np.ndarray,
    values: np.ndarray,
    history: np.ndarray,
    candidates: np.ndarray,
    start: np.ndarray,
) -> list[bytes]:
    rows = []
    for s, h, c in zip(start.tolist(), history.tolist(), np.asarray(candidates).tolist()):
        codes = [json.loads(b'"' + row.tobytes().replace(b"\0", b"") + b'"') for row in texts[s : s + h + c]]
        prompt = fmt.render([Seen(code, float(v)) for code, v in zip(codes, values[s : s + h])], codes[h:])
        rows.append(escaped(prompt.input))
    return rows


class SpaceText:
    """`code_texts` of one space, for pools that write codes as they come."""

    def __init__(self, space: Space, encoding: str):
        self.space, self.encoding = space, encoding

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        return code_texts(self.space, codes, self.encoding)


def code_texts(space: Space, codes: np.ndarray, encoding: str = "ncode") -> np.ndarray:
    """The JSON-escaped text of each code, NUL-padded; uint8 (n, d) -> uint8 (n, width)."""
    if encoding == "ncode":
        return digit_text(codes)
    words = [[escaped(f"|{w}|") for w in options] for options in option_words(space)]
    texts = [b"+".join(w[digit] for w, digit in zip(words, row)) for row in codes.tolist()]
    width = max(map(len, texts))
    return np.array(texts, dtype=f"S{width}").view(np.uint8).reshape(len(texts), width)
