"""What a row is made of: the pruning rule, distinct architectures, true answers, every option."""

from __future__ import annotations

import pickle
from dataclasses import replace
from math import comb

import numpy as np
import pytest

from data_builders.nb201 import make_source as nb201_source
from data_builders.prior.text_rows import make_source as prior_source
from data_builders.rows.from_tables import table_source
from data_builders.rows.masks import draw_masks, first_masks, first_of_each
from data_builders.rows.mixing import MixedSource
from data_builders.rows.pools import LivePool, TablePool, code_keys, in_random_order
from data_builders.rows.sampling import PoolSource, RowShape
from search.errors import UserError
from search.prompts.bulk import digit_text
from search.spaces import Space
from search.tables import Table

SIZES = (4, 3, 5, 2, 6, 3)


def small_table(seed=0, keep=1.0, classes=2):
    """A grid of 2,160 codes with an additive response; every `classes` values of the first digit mean the same."""
    space = Space.of_sizes(SIZES, "small")
    space = Space(space.decisions, "small", canonical=lambda c: str(int(c[0]) // classes * classes) + c[1:])
    rng = np.random.default_rng(seed)
    codes = (
        np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), axis=-1).reshape(-1, len(SIZES)).astype(np.uint8)
    )
    codes = codes[rng.random(len(codes)) < keep]
    effects = [rng.normal(size=n) for n in SIZES]
    values = 60 + 5 * sum(e[codes[:, i]] for i, e in enumerate(effects)) + rng.normal(size=len(codes)) * 0.1
    return Table("small", space, codes, {"acc": values}, {"acc": "maximize"})


def rows_of(batch):
    """(history codes, history values, candidate codes, candidate values) of every row, as text and lists."""
    texts = [bytes(t).rstrip(b"\0").decode() for t in batch.texts]
    for start, h, c in zip(batch.start, batch.history, batch.candidates):
        yield (
            texts[start : start + h],
            batch.values[start : start + h],
            texts[start + h : start + h + c],
            batch.values[start + h : start + h + c],
        )


def test_masks_follow_the_rule_of_the_space():
    space, n = Space.of_sizes(SIZES), 20_000
    ours = draw_masks(space.cardinalities, np.random.default_rng(0), n).allowed()
    rng = np.random.default_rng(1)
    theirs = np.stack([space.prune(rng).allowed.T for _ in range(4_000)], axis=2)
    assert not ours[:, :, :].any(axis=2)[~(np.arange(6)[:, None] < space.cardinalities)].any()
    assert np.abs(ours.mean(axis=2) - theirs.mean(axis=2)).max() < 0.03
    for count in range(1, 7):
        share = [(m.sum(axis=0) == count).mean(axis=1) for m in (ours, theirs)]
        assert np.abs(share[0] - share[1]).max() < 0.03
    assert ours.any(axis=0).all()


def test_the_paper_rule_leaves_few_codes_on_nasbench_201():
    """Exact odds: a decision keeps k of 5 options with the binomial's odds (none counts as one), half of them are
    frozen to one.
    """
    odds = {k: comb(5, k) / 64 for k in range(1, 6)}
    odds[1] += 0.5 + 1 / 64
    exact = {1: 1.0}
    for _ in range(6):
        nxt: dict[int, float] = {}
        for size, p in exact.items():
            for k, q in odds.items():
                nxt[size * k] = nxt.get(size * k, 0.0) + p * q
        exact = nxt
    sizes = draw_masks(np.full(6, 5), np.random.default_rng(0), 40_000).size
    for least in (2, 12, 100, 200):
        assert (sizes >= least).mean() == pytest.approx(sum(p for size, p in exact.items() if size >= least), abs=0.007)
    assert np.median(sizes) == 12 and sum(p for size, p in exact.items() if size >= 100) < 0.07


def test_probabilities_are_options():
    rng = np.random.default_rng(0)
    everything = draw_masks(np.array(SIZES), rng, 50, 0.0, 0.0)
    assert (everything.size == np.prod(SIZES)).all()
    frozen = draw_masks(np.array(SIZES), rng, 200, 0.999, 0.0)
    assert (frozen.size == 1).mean() > 0.9


def test_first_masks_count_every_draw():
    masks, found, drawn = first_masks(np.full(6, 5), np.random.default_rng(2), np.full(300, 60), 16, 0.5, 0.5)
    assert len(masks) == found.sum() and (masks.size >= 60).all() and (drawn[~found] == 16).all()
    assert found.sum() / drawn.sum() == pytest.approx(0.13, abs=0.03)


@pytest.mark.parametrize("keys", [9, None])
def test_first_of_each(keys):
    rng = np.random.default_rng(0)
    row, key = np.sort(rng.integers(0, 40, 500)), rng.integers(0, 9, 500)
    seen, expected = set(), []
    for pair in zip(row.tolist(), key.tolist()):
        expected.append(pair not in seen)
        seen.add(pair)
    assert first_of_each(row, key, keys, 40).tolist() == expected


@pytest.mark.parametrize("keep", [1.0, 0.6])
@pytest.mark.parametrize(
    "change",
    [{}, {"mutants": True}, {"pruning": False}, {"small": "shrink"}, {"order": "ascending"}, {"candidates": 4}],
)
def test_rows_keep_the_promises(keep, change):
    table = small_table(keep=keep)
    shape = RowShape(**{"history": (8, 30), "candidates": 10, **change})
    batch = table_source("small", [table], "acc", shape).batch(np.random.default_rng(4), 200)
    answers, _ = batch.answers()
    for i, (history, values, candidates, offered) in enumerate(rows_of(batch)):
        classes = [table.space.canonical(c) for c in history + candidates]
        assert len(set(classes)) == len(classes)
        assert len(candidates) == shape.candidates and len(history) <= 30
        assert shape.small == "shrink" or len(history) >= 8
        assert [table.lookup(c, "acc") for c in history + candidates] == [*values, *offered]
        assert batch.values[answers[i]] == max(offered)
        if shape.pruning and not shape.mutants:
            used = np.array([[int(d) for d in c] for c in history + candidates])
            assert (used == used[0]).all(axis=0).any() or len(used) > 0
        if shape.order == "ascending":
            assert list(values) == sorted(values)


def test_a_row_stays_in_one_subspace():
    shape = RowShape(history=(20, 20), p_decision=0.9, p_option=0.3)
    batch = table_source("small", [small_table(classes=1)], "acc", shape).batch(np.random.default_rng(0), 50)
    spans = [np.prod([len({c[i] for c in h + c2}) for i in range(6)]) for h, _, c2, _ in rows_of(batch)]
    assert np.median(spans) < 200  # of 2,160: frozen decisions and dropped options show


def test_mutant_candidates_are_near_the_best():
    table = small_table()

    def nearest(shape):
        batch = table_source("small", [table], "acc", shape).batch(np.random.default_rng(1), 100)
        share = []
        for history, values, candidates, _ in rows_of(batch):
            best = [history[i] for i in np.argsort(-values)[:5]]
            share.append(np.mean([min(sum(a != b for a, b in zip(c, p)) for p in best) == 1 for c in candidates]))
        return np.mean(share), batch.counts["mutant_candidates"]

    uniform, none = nearest(RowShape(history=(20, 30)))
    mixed, used = nearest(RowShape(history=(20, 30), mutants=True))
    assert none == 0 and 350 <= used <= 500
    assert mixed > uniform + 0.15


def test_direct_rows_have_a_strictly_better_answer():
    batch = table_source("small", [small_table()], "acc", RowShape(history=(8, 30), direct=True)).batch(
        np.random.default_rng(0), 200
    )
    assert (batch.candidates == 1).all()
    for history, values, candidates, offered in rows_of(batch):
        assert offered[0] > values.max() and candidates[0] not in history and 8 <= len(history) <= 30


def test_shuffled_scores_are_the_same_numbers_elsewhere():
    table = small_table()
    batch = table_source("small", [table], "acc", RowShape(history=(20, 30), shuffle_scores=True)).batch(
        np.random.default_rng(0), 60
    )
    agree = []
    for history, values, candidates, offered in rows_of(batch):
        true = [table.lookup(c, "acc") for c in history]
        assert sorted(true) == sorted(values)
        assert [table.lookup(c, "acc") for c in candidates] == list(offered)
        agree.append(np.corrcoef(true, values)[0, 1])
    assert abs(np.mean(agree)) < 0.1


def test_missing_values_are_never_shown():
    table = small_table()
    values = table.metrics["acc"].copy()
    values[::3] = np.nan
    table = Table("small", table.space, table.codes, {"acc": values}, {"acc": "maximize"})
    for mutants in (False, True):
        batch = table_source("small", [table], "acc", RowShape(history=(8, 30), mutants=mutants)).batch(
            np.random.default_rng(0), 100
        )
        assert np.isfinite(batch.values).all()


def test_a_minimised_metric_is_turned():
    table = small_table()
    down = Table("small", table.space, table.codes, {"loss": -table.metrics["acc"]}, {"loss": "minimize"})
    shape = RowShape(history=(8, 30))
    a = table_source("small", [table], "acc", shape).batch(np.random.default_rng(0), 50)
    b = table_source("small", [down], "loss", shape).batch(np.random.default_rng(0), 50)
    assert np.array_equal(a.texts, b.texts) and np.array_equal(a.values, b.values)


def test_pools_agree_on_a_space_without_a_grid():
    """The same table once with direct addresses, once filtered by bits, once computed as it goes."""
    table = small_table(keep=0.8)
    shape, values = RowShape(history=(8, 30)), table.metrics["acc"]
    ours = table_source("small", [table], "acc", shape).pool
    filtered = TablePool(ours.sizes, ours.codes, ours.classes, ours.texts, ours.columns)
    filtered.place = None
    from data_builders.rows import pools

    filtered.bits, filtered.keys = pools._bit_rows(ours.codes, ours.sizes), pools._keys(ours.codes)
    filtered.by_key = np.argsort(filtered.keys)
    masks = draw_masks(ours.sizes, np.random.default_rng(0), 40)
    listed = masks.size <= 64
    found = []
    for pool in (ours, filtered):
        row, entry = pool.members(masks.take(listed), np.random.default_rng(0), np.full(int(listed.sum()), 8))
        found.append({(r, e) for r, e in zip(row.tolist(), entry.tolist())})
    assert found[0] == found[1] and len(found[0]) > 100
    some = np.random.default_rng(1).integers(0, 2, (200, 6)).astype(np.uint8)
    assert np.array_equal(ours.find(some), filtered.find(some))

    at = {c: i for i, c in enumerate(table.space.to_codes(table.codes))}

    def keys(codes):
        rows = np.array([at.get(c, -1) for c in table.space.to_codes(codes)])
        return np.where(rows >= 0, ours.classes[rows], -1)

    def looked_up(column, codes, keys):
        return np.array([values[at[c]] for c in table.space.to_codes(codes)])

    batch = PoolSource("live", LivePool(ours.sizes, keys, looked_up), [{}], shape).batch(np.random.default_rng(0), 60)
    for history, shown, candidates, offered in rows_of(batch):
        assert len({table.space.canonical(c) for c in history + candidates}) == len(history) + len(candidates)
        assert [table.lookup(c, "acc") for c in history + candidates] == [*shown, *offered]


@pytest.mark.parametrize("rows", [40, 2000])
def test_random_order_within_rows(rows):
    rng = np.random.default_rng(0)
    row, keys = np.repeat(np.arange(rows), 6), np.tile([0, 1, 2, 2, 2, 3], rows)
    entry = np.arange(len(row))
    place = np.zeros((4, 4))
    for _ in range(4000 // rows):
        r, e = in_random_order(row, entry, keys, 4, rows, rng)
        assert r.tolist() == np.repeat(np.arange(rows), 4).tolist() and (e // 6 == r).all()
        for nth in range(4):
            place[nth] += np.bincount(keys[e[nth::4]], minlength=4)
    share = place / place.sum(axis=1, keepdims=True)
    assert (
        np.abs(share[0] - [1 / 6, 1 / 6, 1 / 2, 1 / 6]).max() < 0.04
    )  # the first is drawn by code, then repeats are skipped


def test_code_keys_tell_codes_apart():
    codes = np.stack(np.meshgrid(*[np.arange(4)] * 7, indexing="ij"), axis=-1).reshape(-1, 7).astype(np.uint8)
    assert len(np.unique(code_keys(codes))) == len(codes) and (code_keys(codes) >= 0).all()


def test_rows_that_cannot_be_are_a_sentence():
    table = small_table(keep=0.02)
    with pytest.raises(UserError, match="distinct architectures - a row needs up to 200"):
        table_source("small", [table], "acc", RowShape())
    with pytest.raises(UserError, match="too little of its space for pruning"):
        table_source("small", [table], "acc", RowShape(history=(15, 15))).batch(np.random.default_rng(0), 8)
    with pytest.raises(UserError, match="no known direction"):
        table_source(
            "small",
            [Table("small", table.space, table.codes, {"x": np.ones(len(table))})],
            "x",
            RowShape(history=(5, 5)),
        )


def test_direct_rows_of_a_table_with_two_values_end_with_a_sentence():
    table = small_table()
    flat = Table("flat", table.space, table.codes, {"acc": np.arange(len(table)) % 2 * 1.0}, {"acc": "maximize"})
    source = table_source("flat", [flat], "acc", RowShape(history=(30, 30), direct=True, pruning=False))
    with pytest.raises(UserError, match="more than 10 equal best values"):
        source.batch(np.random.default_rng(0), 8)


def test_direct_rows_from_the_prior_end(monkeypatch):
    """Worlds whose best value is shared by too many codes are passed over; they used to be asked for ever."""
    from data_builders.prior import text_rows

    drawn = []

    def mostly_flat(rng):
        drawn.append(sample_world(rng))
        return replace(drawn[-1], clean=lambda codes: np.zeros(len(codes))) if len(drawn) % 2 else drawn[-1]

    sample_world = text_rows.sample_world
    monkeypatch.setattr(text_rows, "sample_world", mostly_flat)
    batch = prior_source(RowShape(history=(10, 20), direct=True), group=4).batch(np.random.default_rng(3), 40)
    assert len(batch) == 40 and batch.counts["worlds_without_rows"] > 0


def test_nasbench_201_rows_as_at_inference():
    batch = nb201_source(RowShape()).batch(np.random.default_rng(0), 64)
    assert batch.history.min() >= 90 and batch.history.max() <= 190 and (batch.candidates == 10).all()
    assert set(batch.origin.tolist()) == {0, 1, 2}
    assert batch.counts["mask_draws"] > 20 * 64
    from search.spaces.nb201 import canonical

    for history, _, candidates, _ in rows_of(batch):
        assert len({canonical(c) for c in history + candidates}) == len(history) + len(candidates)


def test_synthetic_rows():
    shape = RowShape(history=(40, 60))
    source = prior_source(shape)
    batch = source.batch(np.random.default_rng(0), 64)
    assert len(batch) == 64 and batch.counts["worlds"] == 2
    lengths = set()
    for history, values, candidates, offered in rows_of(batch):
        assert len(set(history) | set(candidates)) == len(history) + len(candidates)
        assert np.isfinite(values).all() and np.isfinite(offered).all()
        lengths.add(len(history[0]))
    assert len(lengths) == 2
    again = source.batch(np.random.default_rng(0), 64)
    assert np.array_equal(batch.values, again.values) and np.array_equal(batch.texts, again.texts)


def test_mixed_sources_keep_their_origins():
    a = table_source("a", [small_table(1)], "acc", RowShape(history=(8, 30)))
    b = prior_source(RowShape(history=(8, 30)))
    mixed = MixedSource("mixed", [a, b], [3.0, 1.0])
    batch = mixed.batch(np.random.default_rng(0), 400)
    assert np.bincount(batch.origin, minlength=2)[0] == pytest.approx(300, abs=40)
    table = small_table(1)
    for (history, values, _, _), origin in zip(rows_of(batch), batch.origin):
        if origin == 0:
            assert [table.lookup(c, "acc") for c in history] == list(values)
    part = batch.take(slice(10, 20))
    assert [r[0] for r in rows_of(part)] == [r[0] for r in rows_of(batch)][10:20]


def test_sources_can_go_to_another_process():
    """Where processes are spawned (macOS) the source is pickled."""
    shape = RowShape(history=(8, 30))
    for source in (
        nb201_source(shape, encoding="domain"),
        prior_source(shape),
        MixedSource("m", [prior_source(shape), nb201_source(shape)], [1, 1]),
    ):
        again = pickle.loads(pickle.dumps(source))
        a, b = (s.batch(np.random.default_rng(1), 5) for s in (source, again))
        assert np.array_equal(a.texts, b.texts) and np.array_equal(a.values, b.values)


def test_texts_are_digits():
    assert bytes(digit_text(np.array([[0, 9, 10, 35, 255]], dtype=np.uint8))[0]) == b"09az\0"
