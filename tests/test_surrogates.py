"""The classical models: right against brute force, robust against thin or flat histories, and as good as is known."""

from __future__ import annotations

import numpy as np
import pytest

from search.rankers import Context, make_ranker
from search.rankers import regression as surrogates
from search.spaces import Seen, Space

RNG = np.random.default_rng(0)
SPACE = Space.of_sizes([5, 2, 4, 3])
THIN = [
    [],
    [("0000", 1)],
    [("0000", 1), ("4132", 1)],
    [("0000", 1)] * 3,
    [("0000", 1), ("4132", 2)],
    [("0000", 1), ("0000", 2)],
    [("0000", "nan"), ("4132", 2)],
]
SPECS = ["surrogate", "surrogate:onehot", "knn", "gp", "gp:ei", "gp:scales"]


def codes_and_values(n: int, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    effects = [np.random.default_rng([9, i]).normal(size=c) for i, c in enumerate(SPACE.cardinalities)]
    codes = SPACE.sample(rng, n)
    return codes, sum(e[codes[:, i]] for i, e in enumerate(effects)) + noise * rng.normal(size=n)


def brute_ridge(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, penalty: float) -> np.ndarray:
    centre = x.mean(axis=0)
    weights = np.linalg.solve(
        (x - centre).T @ (x - centre) + penalty * np.eye(x.shape[1]), (x - centre).T @ (y - y.mean())
    )
    return (x_new - centre) @ weights + y.mean()


def test_pairs_have_one_indicator_per_two_decisions():
    features = surrogates.pairs(SPACE.to_array(["0000", "4132"]), SPACE.cardinalities)
    assert features.shape == (2, 5 * 2 + 5 * 4 + 5 * 3 + 2 * 4 + 2 * 3 + 4 * 3)
    assert features.sum(axis=1).tolist() == [6, 6] and (features[0] * features[1]).sum() == 0


def test_the_pair_kernel_is_the_inner_product_of_the_features():
    a, b = SPACE.sample(RNG, 7), SPACE.sample(RNG, 5)
    sizes = SPACE.cardinalities
    first = surrogates.one_hot(a, sizes) @ surrogates.one_hot(b, sizes).T
    second = surrogates.pairs(a, sizes) @ surrogates.pairs(b, sizes).T
    np.testing.assert_allclose(surrogates.pair_kernel(a, b, 0.3), 0.7 * first / 4 + 0.3 * second / 6)


@pytest.mark.parametrize("n", [6, 40])
def test_ridge_equals_brute_force_in_both_forms(n):
    codes, y = codes_and_values(n)
    new, _ = codes_and_values(8, seed=1)
    x, x_new = surrogates.one_hot(codes, SPACE.cardinalities), surrogates.one_hot(new, SPACE.cardinalities)
    scale = ((x - x.mean(axis=0)) ** 2).sum() / n
    got = surrogates.ridge(x, y, x_new, alphas=(0.2,))
    np.testing.assert_allclose(got.mean, brute_ridge(x, y, x_new, 0.2 * scale), atol=1e-9)
    np.testing.assert_allclose(surrogates.kernel_ridge(x @ x.T, y, x_new @ x.T, (0.2,)).mean, got.mean, atol=1e-9)
    for i in range(n):
        rest = np.arange(n) != i
        np.testing.assert_allclose(got.loo[i], brute_ridge(x[rest], y[rest], x[[i]], 0.2 * scale)[0], atol=1e-8)


def test_alpha_is_the_one_with_the_smallest_leave_one_out_error():
    codes, y = codes_and_values(30, noise=1.0)
    x = surrogates.one_hot(codes, SPACE.cardinalities)
    errors = {a: ((surrogates.ridge(x, y, x, (a,)).loo - y) ** 2).mean() for a in surrogates.ALPHAS}
    chosen = surrogates.ridge(x, y, x)
    assert chosen.info["alpha"] == min(errors, key=errors.get)
    assert chosen.info["loo_mse"] == pytest.approx(min(errors.values()))


def test_gp_leave_one_out_equals_leaving_one_out():
    codes, y = codes_and_values(20)
    fit = surrogates.gp(codes, y, codes, rates=(0.5,), noises=(0.1,))
    centre = y.mean()
    for i in (0, 7):
        rest = np.arange(20) != i
        kernel = np.exp(-0.5 * (4 - surrogates.matches(codes, codes)))
        weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + 0.1 * np.eye(19), y[rest] - centre)
        assert fit.loo[i] == pytest.approx(kernel[i, rest] @ weights + centre)
    far, near = surrogates.gp(codes, y, codes[:1]).std, surrogates.gp(codes[1:], y[1:], codes[:1]).std
    assert (codes[1:] == codes[0]).all(axis=1).any() or far[0] < near[0]


def test_expected_improvement_rises_with_mean_and_with_spread():
    score = surrogates.expected_improvement(
        np.array([0.0, 0.5, 0.0, -9.0, -9.5]), np.array([0.1, 0.1, 0.5, 0.1, 0.1]), best=0.6
    )
    assert score[2] > score[1] > score[0] > score[3] > score[4] and np.isfinite(score).all()


def test_rank_skill_is_high_where_there_is_something_to_learn_and_low_where_not():
    codes, y = codes_and_values(80)
    assert surrogates.rank_skill(surrogates.gp(codes, y, codes).loo, y) > 0.9
    noise = np.random.default_rng(3).permutation(y)
    assert surrogates.rank_skill(surrogates.knn(codes, noise, codes).loo, noise) < 0.4
    assert surrogates.rank_skill(np.ones(5), np.arange(5.0)) == 0.0


@pytest.mark.parametrize("kind", ["rank", "robust", "blend"])
def test_targets_keep_the_order_and_tame_heavy_tails(kind):
    y = -np.exp(np.random.default_rng(0).normal(size=60) * 4)
    scaled = surrogates.scale_values(y, kind)
    assert np.abs(scaled).max() < 6 and abs(scaled.mean()) < 1e-9
    assert (np.diff(scaled[np.argsort(y)]) >= -1e-12).all()
    assert not surrogates.scale_values([3.0] * 4, kind).any() and len(surrogates.scale_values([], kind)) == 0


@pytest.mark.parametrize("spec", SPECS)
def test_rankers_choose_well_after_100_trials_and_never_depend_on_the_order_of_the_history(spec):
    codes, y = codes_and_values(100)
    history = [Seen(c, float(v)) for c, v in zip(SPACE.to_codes(codes), y, strict=True)]
    new, truth = codes_and_values(150, seed=2, noise=0.0)
    ranker = make_ranker(spec, Context(SPACE))
    pools = [SPACE.to_codes(new[i : i + 10]) for i in range(0, 150, 10)]
    value = dict(zip(SPACE.to_codes(new), truth, strict=True))
    better = [np.mean([value[c] <= value[ranker.rank(history, pool).best] for c in pool]) for pool in pools]
    assert np.mean(better) > 0.85
    shuffled = [history[i] for i in np.random.default_rng(5).permutation(100)]
    assert ranker.rank(shuffled, pools[0]).scores == pytest.approx(ranker.rank(history, pools[0]).scores, abs=2e-5)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("history", THIN)
def test_thin_and_flat_histories_are_answered(spec, history):
    ranking = make_ranker(spec, Context(SPACE)).rank([Seen(c, float(v)) for c, v in history], ["1111", "2122", "0000"])
    assert ranking.best in ("1111", "2122", "0000") and np.isfinite(ranking.scores).all() and ranking.fallback is None


@pytest.mark.parametrize("spec", SPECS)
def test_a_space_of_one_decision_and_one_of_single_options_work(spec):
    one = make_ranker(spec, Context(Space.of_sizes([36])))
    assert one.rank([Seen("0", 1.0), Seen("z", 2.0), Seen("z", 2.1)], ["0", "z"]).best == "z"
    flat = make_ranker(spec, Context(Space.of_sizes([1, 1])))
    assert flat.rank([Seen("00", 1.0), Seen("00", 2.0)], ["00"]).best == "00"


def test_unknown_modes_are_explained():
    from search.errors import UserError

    with pytest.raises(UserError, match="did you mean"):
        make_ranker("gp:means", Context(SPACE))
