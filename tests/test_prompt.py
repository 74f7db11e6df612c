"""The prompt text is a contract: with the paper, with the authors' script, and between training and search."""

from __future__ import annotations

import numpy as np
import pytest

from search.errors import UserError
from search.prompts import FORMATS, format_hash, get_format
from search.prompts.formats import percentages
from search.spaces import Seen

HISTORY = [Seen("43212502", 89.47), Seen("03255564", 94.28), Seen("53215432", 14.13)]
CANDIDATES = ["33513501", "63225362"]


def test_the_paper_format_is_table_1():
    assert (
        get_format("paper").render(HISTORY, CANDIDATES).text
        == "Please analyze the history, rank the candidate and output the highest-performing"
        " candidate.\nHistory:\nNCode: 03255564, accuracy: 94.28;\nNCode: 43212502, accuracy: 89.47;\nNCode:"
        " 53215432, accuracy: 14.13;\nCandidate:\n33513501\n63225362"
    )


def test_the_release_format_is_one_line_of_scaled_scores():
    assert (
        get_format("release").render(HISTORY, CANDIDATES).text
        == "03255564|1.0000,43212502|0.9400,53215432|0.0000,33513501;63225362;"
    )


def test_release_survives_ties_and_keeps_the_best_200():
    fmt = get_format("release")
    assert "0000|0.5000,1111|0.5000," in fmt.render([Seen("0000", 3.0), Seen("1111", 3.0)], ["2222"]).text
    many = [Seen(f"{i:04d}", float(i % 251)) for i in range(300)]
    pairs, _ = fmt.read(fmt.render(many, ["9999"]))
    assert len(pairs) == 200 and pairs[0][1] == 1.0 and pairs[-1][1] == 0.0


def test_append_only_appends():
    rng = np.random.default_rng(0)
    history = [Seen(f"{i:04d}", float(rng.normal())) for i in range(40)]
    fmt = get_format("append")
    texts = [fmt.render(history[:n], []).text.removesuffix("\nCandidate:\n") for n in range(10, 20)]
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:]))


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_is_rendered_can_be_read_back(name):
    fmt = get_format(name)
    if fmt.read is None:
        pytest.skip(f"{name} summarises the history; it has no inverse")
    pairs, candidates = fmt.read(fmt.render(HISTORY, CANDIDATES))
    assert {c for c, _ in pairs} == {s.code for s in HISTORY} and candidates == (CANDIDATES if fmt.candidate else [])


def test_losses_are_mapped_in_order_and_inside_the_scale():
    losses = -np.array([0.3, 0.02, 4e7, 0.5, 0.021, 0.4, 0.019])
    shown = percentages(losses)
    assert (np.argsort(shown) == np.argsort(losses)).all() and shown.min() >= 0 and shown.max() <= 100


def test_the_map_changes_only_at_milestones():
    values = np.random.default_rng(1).normal(size=39)
    assert np.array_equal(percentages(values[:20]), percentages(values[:39])[:20])


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        ("33513501", "33513501"),
        (" 63225362;\n", "63225362"),
        ("The best is 63225362.", "63225362"),
        ("33513501 or 63225362", None),
        ("", None),
        ("333", None),
        ("63225362633", None),
        ("６３２２５３６２", None),
    ],
)
def test_only_an_unambiguous_candidate_counts_as_an_answer(answer, means):
    assert get_format("paper").parse(answer, CANDIDATES) == means


def test_failed_trials_may_not_be_shown():
    with pytest.raises(UserError, match="not finite"):
        get_format("paper").render([Seen("0000", float("nan"))], ["1111"])


def test_unknown_formats_are_named():
    with pytest.raises(UserError, match="did you mean paper"):
        get_format("papr")


def test_the_hash_pins_the_text():
    """A change of this value is a change of the format: models trained before it must not be served after it."""
    assert format_hash("paper") == "892f0369c380"
    assert format_hash("append") == "22071ea0557d"
    assert format_hash("release") == "ecdb0920b073"
