"""Rendering many prompts at once gives the bytes of rendering one by one."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_builders.rows.batch import direct_format, told_format
from search.prompts import get_format
from search.prompts.bulk import best_first, digit_text, escaped, fixed_point, render_inputs
from search.spaces import Seen, Space

VALUES = {
    "percent": lambda rng, m: np.round(rng.random(m) * 100, 2),
    "half cents": lambda rng, m: rng.integers(0, 20_000, m) / 200,
    "thirds": lambda rng, m: (
        (rng.integers(0, 10_000, m) + rng.integers(0, 10_000, m) + rng.integers(0, 10_000, m)) / 300
    ),
    "fractions": lambda rng, m: rng.random(m),
    "tiny losses": lambda rng, m: -rng.random(m) * 1e-4,
    "heavy tail": lambda rng, m: -np.exp(rng.normal(size=m) * 4),
    "few values": lambda rng, m: rng.integers(0, 3, m) * 1.0,
    "all equal": lambda rng, m: np.full(m, 42.0),
    "nearly equal": lambda rng, m: 50 + rng.integers(0, 2, m) * 1e-14,
    "up to 1e300": lambda rng, m: rng.choice([-1.0, 1.0], m) * 10.0 ** rng.integers(290, 301, m),
    "near overflow": lambda rng, m: rng.uniform(-1, 1, m) * 1.79e308,
    "one giant": lambda rng, m: np.where(rng.random(m) < 0.1, 1e308, rng.random(m) * 1e-12),
    "subnormal": lambda rng, m: rng.choice([5e-324, 1e-323, 0.0], m),
    "zeroes of both signs": lambda rng, m: rng.choice([0.0, -0.0, 1.0], m),
}


def one_by_one(fmt, codes, values, history, candidates):
    """Format.render of every row, escaped."""
    out, at = [], 0
    for h, c in zip(history, candidates):
        seen = [Seen(code, float(v)) for code, v in zip(codes[at : at + h], values[at : at + h])]
        out.append(escaped(fmt.render(seen, codes[at + h : at + h + c]).input))
        at += h + c
    return out


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", ["paper", "append", "release"])
@pytest.mark.parametrize("longest", [12, 190])
def test_bulk_rendering_is_byte_equal(name, kind, longest):
    rng = np.random.default_rng([len(kind), longest])
    history, candidates = rng.integers(1, longest + 1, 20), rng.integers(1, 12, 20)
    m = int((history + candidates).sum())
    array = rng.integers(0, 30, (m, 7)).astype(np.uint8)
    values = VALUES[kind](rng, m)
    fmt = get_format(name)
    codes = Space.of_sizes([36] * 7).to_codes(array)
    assert render_inputs(fmt, digit_text(array), values, history, candidates) == one_by_one(
        fmt, codes, values, history, candidates
    )


@pytest.mark.parametrize("name", ["paper", "append", "release"])
@pytest.mark.parametrize("size", [1e300, 1e307, 1.7e308])
def test_numbers_that_reach_the_end_of_the_scale_keep_their_order(name, size):
    values = np.array([-1.0, 0.5, -0.25, 1.0, 0.0, 0.75]) * size
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers = get_format(name).numbers(values)
    assert np.isfinite(numbers).all() and (np.diff(numbers[np.argsort(values)]) > 0).all()
    assert np.allclose(numbers, get_format(name).numbers(values / size), rtol=1e-12)


def test_direct_rows_and_told_order():
    rng = np.random.default_rng(3)
    history = rng.integers(5, 40, 10)
    m = int(history.sum())
    array, values = rng.integers(0, 5, (m, 6)).astype(np.uint8), rng.random(m) * 100
    codes = Space.of_sizes([5] * 6).to_codes(array)
    none = np.zeros(10, dtype=np.int64)
    for fmt in (direct_format(get_format("paper")), told_format(get_format("paper"))):
        rows = render_inputs(fmt, digit_text(array), values, history, none)
        assert rows == one_by_one(fmt, codes, values, history, none)
    assert (
        b"Candidate"
        not in render_inputs(direct_format(get_format("paper")), digit_text(array), values, history, none)[0]
    )


def test_texts_of_different_widths_and_quotes():
    texts = ['|a"b~0|', "|conv3X3~0|+|x~1|", "|ü~0|", "|z~0|"]
    raw = [escaped(t) for t in texts]
    width = max(map(len, raw))
    array = np.array(raw, dtype=f"S{width}").view(np.uint8).reshape(4, width)
    values, fmt = np.array([90.0, 9.5, 100.0, 0.0]), get_format("paper")
    rows = render_inputs(fmt, array, values, np.array([3]), np.array([1]))
    assert rows == one_by_one(fmt, texts, values, [3], [1])
    assert (
        json.loads(b'"' + rows[0] + b'"')
        == fmt.render([Seen(t, v) for t, v in zip(texts[:3], values)], texts[3:]).input
    )


def test_a_history_above_the_limit_shows_the_best():
    rng = np.random.default_rng(5)
    array, values = rng.integers(0, 5, (261, 6)).astype(np.uint8), rng.random(261) * 100
    fmt, codes = get_format("release"), Space.of_sizes([5] * 6).to_codes(array)
    assert render_inputs(fmt, digit_text(array), values, np.array([251]), np.array([10])) == one_by_one(
        fmt, codes, values, [251], [10]
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.floats(0, 100, allow_nan=False) | st.integers(0, 20_000).map(lambda k: k / 200), min_size=1, max_size=30
    )
)
def test_rounding_is_pythons(numbers):
    for scale, digits in ((100, 2), (10_000, 4)):
        ours = fixed_point(np.array(numbers), scale)
        assert [f"{k / scale:.{digits}f}" for k in ours.tolist()] == [f"{x:.{digits}f}" for x in numbers]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 1 + 2**-52, 1e-300, -5.5]) | st.floats(-1e6, 1e6),
        min_size=1,
        max_size=40,
    )
)
def test_order_is_stable(values):
    matrix = np.array([values + [7.0]])
    expected = np.argsort(-np.array(values), kind="stable")
    assert best_first(matrix, np.array([len(values)]))[0, : len(values)].tolist() == expected.tolist()
