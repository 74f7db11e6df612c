"""Evidence: a pure function of history and one candidate, blind to names and order, and right about simple worlds."""

from __future__ import annotations

import numpy as np
import pytest
from plain_evidence import plain

from search.prompts.evidence import FEW, VIEWS, gather, normal_scores, read, shown


def question(
    seed: int = 0, n: int = 30, m: int = 7, d: int = 6, k: int = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.unique(rng.integers(k, size=(n + m, d)), axis=0).astype(np.uint8)
    codes = rng.permutation(codes)
    effects = rng.normal(size=(d, k))
    values = effects[np.arange(d), codes].sum(1) + 0.1 * rng.normal(size=len(codes))
    return codes[:-m], values[:-m], codes[-m:]


def test_normal_scores_depend_on_order_only_and_share_ties():
    assert np.allclose(normal_scores(np.array([1.0, 3.0, 2.0])), normal_scores(np.array([-9.0, 1e9, 0.0])))
    scores = normal_scores(np.array([5.0, 5.0, 1.0, 9.0]))
    assert scores[0] == scores[1] and scores[2] < scores[0] < scores[3]


def test_order_of_history_and_of_decisions_does_not_matter():
    codes, values, new = question()
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(len(codes)), rng.permutation(codes.shape[1])
    one, other = gather(codes, values, new), gather(codes[rows][:, columns], values[rows], new[:, columns])
    for name in ("mean", "std", "skill"):
        assert np.allclose(getattr(one, name), getattr(other, name), atol=1e-5), name
    assert (one.length, one.decisions, one.options, one.spread) == pytest.approx(
        (other.length, other.decisions, other.options, other.spread)
    )


def test_new_names_for_the_options_change_only_the_views_that_read_levels():
    codes, values, new = question()
    names = np.array([2, 0, 3, 1], dtype=np.uint8)
    one, other = gather(codes, values, new), gather(names[codes], values, names[new])
    blind = [i for i, view in enumerate(VIEWS) if view in ("add", "exp", "hier", "count", "ard")]
    assert np.allclose(one.mean[:, blind], other.mean[:, blind], atol=1e-5)
    levels = VIEWS.index("ord")
    assert not np.allclose(one.mean[:, levels], other.mean[:, levels], atol=1e-3)


def test_candidates_do_not_influence_each_other():
    codes, values, new = question()
    together = gather(codes, values, new)
    alone = np.concatenate([gather(codes, values, new[i : i + 1]).mean for i in range(len(new))])
    assert np.allclose(together.mean, alone, atol=1e-5)


def test_a_monotone_map_of_the_values_changes_nothing():
    codes, values, new = question()
    assert np.array_equal(gather(codes, values, new).mean, gather(codes, np.exp(values), new).mean)


def test_additive_world_is_predicted():
    rng = np.random.default_rng(3)
    codes = np.unique(rng.integers(4, size=(150, 6)), axis=0).astype(np.uint8)
    codes = rng.permutation(codes)
    values = rng.normal(size=(6, 4))[np.arange(6), codes].sum(1)
    evidence = gather(codes[:100], values[:100], codes[100:])
    column = VIEWS.index("add")
    assert evidence.skill[column] > 0.9
    assert np.corrcoef(evidence.mean[:, column], values[100:])[0, 1] > 0.9


def test_levels_extrapolate_where_matches_cannot():
    rng = np.random.default_rng(0)
    codes = rng.integers(10, size=(60, 4)).astype(np.uint8)
    values = codes.sum(1).astype(float)
    evidence = gather(codes, values, np.array([[9, 9, 9, 9], [0, 0, 0, 0]], dtype=np.uint8))
    column = VIEWS.index("ordx")
    assert evidence.mean[0, column] > 1.0 > -1.0 > evidence.mean[1, column]


@pytest.mark.parametrize("n", range(FEW + 2))
def test_short_and_flat_histories_are_answered(n: int):
    codes = np.arange(n * 3, dtype=np.uint8).reshape(n, 3) % 5
    evidence = gather(codes, np.full(n, 2.5), np.array([[1, 2, 3]], dtype=np.uint8))
    assert np.isfinite(evidence.mean).all() and np.isfinite(evidence.std).all() and np.isfinite(evidence.skill).all()
    assert np.allclose(evidence.mean, 0.0, atol=1e-6)


def test_long_histories_keep_the_best_and_the_latest():
    values = np.arange(500.0)[::-1]
    kept = shown(values, 200)
    assert len(kept) == 200 and set(range(100)) <= set(kept) and set(range(400, 500)) <= set(kept)
    assert np.array_equal(kept, np.sort(kept))


@pytest.mark.parametrize("n, d, k", [(12, 4, 4), (25, 6, 5), (60, 12, 2), (40, 48, 30), (120, 3, 9)])
def test_the_quick_way_gives_the_figures_of_the_plain_one(n, d, k):
    codes, values, new = question(seed=n, n=n, m=20, d=d, k=k)
    found, (mean, std) = gather(codes, values, new), plain(codes, values, new)
    assert np.abs(found.mean - mean).max() < 2e-6 and np.abs(found.std - std).max() < 2e-6


def test_options_the_history_never_saw_are_answered_like_the_plain_way():
    codes, values, new = question(n=20)
    new[0] = 9
    found, (mean, std) = gather(codes, values, new), plain(codes, values, new)
    assert np.abs(found.mean - mean).max() < 2e-6 and np.abs(found.std - std).max() < 2e-6


def test_a_history_is_fitted_once_for_all_who_ask_about_it():
    codes, values, new = question()
    assert read(codes, values) is read(codes.copy(), list(values)) and read(codes, -values) is not read(codes, values)
    assert np.array_equal(read(codes, values).about(new).mean, gather(codes, values, new).mean)
