"""Proposal `wide` and ranker `views`: what is looked at, in which order, on which spaces; lists that are searched as
lists.
"""

from __future__ import annotations

import numpy as np
import pytest

from search.errors import UserError
from search.prompts.evidence import read
from search.prompts.mixture import READINGS, normal_gain
from search.rankers import Context, make_ranker
from search.spaces import Decision, Seen, Space
from search.strategies import PROPOSALS, STRATEGIES, make_strategy
from search.strategies.base import Setup
from search.strategies.listed import Listed, listed
from search.strategies.pool import propose
from search.strategies.proposals import apart, since_best
from search.strategies.wide import PATIENT, moves, promising, regions, scan, untold
from search.tables.base import Table
from search.tasks.tabular import TableTask

SPACE = Space.of_sizes([5] * 6)
LONG = Space.of_sizes([30] * 48)


def told(space: Space, n: int, seed: int = 0) -> list[Seen]:
    rng = np.random.default_rng(seed)
    codes = untold(space.sample(rng, 2 * n), space.sample(rng, 0))[:n]
    effects = rng.normal(size=(len(space), 36))
    values = effects[np.arange(len(space)), codes].sum(axis=1)
    return [Seen(c, float(v)) for c, v in zip(space.to_codes(codes), values, strict=True)]


def pool(space: Space, history: list[Seen], seed: int = 1, **more) -> list[str]:
    taken = {space.canonical(s.code) for s in history}
    return [c.code for c in propose(space, history, taken, np.random.default_rng(seed), kind="wide", **more)]


@pytest.mark.parametrize("space", [SPACE, LONG, Space.of_sizes([2] * 40), Space.of_sizes([36, 36])])
def test_ten_fresh_candidates_in_every_shape_of_space(space):
    history = told(space, 40)
    found = pool(space, history)
    assert len(set(found)) == 10 and not set(found) & {s.code for s in history}
    assert found == pool(space, history) != pool(space, history, seed=2)


def test_all_one_digit_moves_of_a_short_code_and_a_share_of_a_long_one():
    codes = SPACE.to_array(["000000", "444444"])
    near = SPACE.to_codes(moves(SPACE, codes, np.random.default_rng(0)))
    assert sorted(near) == sorted(SPACE.neighbours("000000") + SPACE.neighbours("444444"))
    start = LONG.sample(np.random.default_rng(0), 2)
    some = moves(LONG, start, np.random.default_rng(0), most=100)
    assert len(some) == 100 and all(min((row != s).sum() for s in start) == 1 for row in some)
    assert len(moves(Space.of_sizes([1, 1]), np.zeros((1, 2), dtype=np.uint8), np.random.default_rng(0))) == 0


def test_the_scan_reaches_across_the_space_and_around_the_best():
    history = told(SPACE, 30)
    best = SPACE.to_array([s.code for s in sorted(history, key=lambda s: -s.value)])
    looked = scan(SPACE, best, np.random.default_rng(0))
    apart = (looked[:, None, :] != best[None, :5, :]).sum(axis=2).min(axis=1)
    assert set(apart.tolist()) >= {1, 2, 3, 4} and len(untold(looked, best)) > 400


def test_candidates_come_in_the_order_of_the_views_ranker():
    history = waiting(0)
    found = pool(SPACE, history)
    assert make_ranker("views", Context(SPACE)).rank(history, found).best == found[0]


def waiting(steps: int) -> list[Seen]:
    """A history whose best code was told `steps` trials before its end."""
    history = sorted(told(SPACE, 40), key=lambda s: -s.value)
    return history[steps + 1 :] + history[: steps + 1]


def far(found: list[str], best: str) -> list[bool]:
    return [sum(a != b for a, b in zip(c, best)) >= apart(len(SPACE)) for c in found]


def test_a_search_that_found_nothing_better_for_a_while_looks_at_other_regions_every_third_step():
    for steps in range(PATIENT + 6):
        history = waiting(steps)
        assert since_best(history) == steps
        best = max(history, key=lambda s: s.value).code
        elsewhere = steps >= PATIENT and steps % 3 == 2
        assert all(far(pool(SPACE, history), best)) is elsewhere, steps


def test_a_stalled_search_listens_to_one_view_another_each_time():
    noise = np.random.default_rng(0).normal(size=40)  # where there is nothing to learn the views disagree
    noise[26] = 9.0
    history = [Seen(s.code, float(v)) for s, v in zip(told(SPACE, 40), noise, strict=True)]
    assert since_best(history) == 13 and 13 % 3 == 1
    ranked = make_ranker("views", Context(SPACE)).rank
    firsts = [found[0] != ranked(history, found).best for seed in range(8) for found in [pool(SPACE, history, seed)]]
    assert any(firsts), "the mixture would always have chosen its own first"


def test_regions_lie_apart_from_each_other():
    ordered = SPACE.to_array([s.code for s in sorted(told(SPACE, 60), key=lambda s: -s.value)])
    heads = regions(ordered)
    assert (heads[0] == ordered[0]).all() and 2 <= len(heads) <= 6
    assert min((a != b).sum() for i, a in enumerate(heads) for b in heads[:i]) >= apart(len(SPACE))


def test_a_short_history_is_followed_by_uniform_codes():
    history = told(SPACE, 2)
    taken = {s.code for s in history}
    found = propose(SPACE, history, taken, np.random.default_rng(0), kind="wide")
    assert [c.origin for c in found] == ["uniform"] * 10
    assert list(promising(SPACE, history, np.random.default_rng(0))) == []


def test_constraints_and_equivalent_codes_hold_in_a_scan():
    assert all(c[0] == "4" for c in pool(SPACE, told(SPACE, 30), feasible=lambda c: c[0] == "4"))
    folded = Space([Decision("on", (0, 1)), *(Decision(f"x{i}", (0, 1, 2), lambda a: a["on"]) for i in range(6))])
    history = [s for s in told(folded, 30) if s.code == folded.canonical(s.code)]
    keys = [folded.canonical(c) for c in pool(folded, history)]
    assert len(set(keys)) == len(keys) == 10 and not set(keys) & {s.code for s in history}


def test_the_gain_of_a_normal_variable_is_its_integral():
    draws = 0.5 + 2.0 * np.random.default_rng(0).normal(size=400_000)
    for best in (-9.0, 0.0, 1.0, 4.0):
        expected = np.maximum(draws - best, 0).mean()
        assert normal_gain(np.array([0.5]), np.array([2.0]), best)[0] == pytest.approx(expected, abs=0.02)
    far = normal_gain(np.array([0.0, 20.0]), np.array([1.0, 1.0]), 10.0)
    assert far[0] == 0.0 and far[1] == pytest.approx(10.0)


@pytest.mark.parametrize(
    "spec", ["views", *(f"views:{r}" for r in READINGS), "views:ei?join=average", "views:?shown=9"]
)
def test_every_reading_prefers_the_better_half_of_an_additive_world(spec):
    entries = told(SPACE, 140)
    history, rest = entries[:100], entries[100:]
    answer = make_ranker(spec, Context(SPACE)).rank(history, [s.code for s in rest])
    values = np.array([s.value for s in rest])
    first = np.argsort(answer.scores)[20:]
    assert values[first].mean() > values.mean() + (0.0 if "shown" in spec else 0.25) * values.std(), spec
    assert answer.best in {s.code for s in rest} and len(answer.scores) == 40


def test_an_exam_reads_the_mean_and_wrong_readings_are_named():
    assert make_ranker("views", Context(SPACE, goal="pick")).reading == "mean"
    for spec, said in (("views:eu", "did you mean ei"), ("views:?join=sum", "join"), ("views:?shown=1", "at least")):
        with pytest.raises(UserError, match=said):
            make_ranker(spec, Context(SPACE))


def test_views_answers_short_and_flat_histories():
    for history in ([], [Seen("000000", 1.0)], [Seen(f"00000{i}", 2.0) for i in range(5)]):
        answer = make_ranker("views", Context(SPACE)).rank(history, ["111111", "222222"])
        assert np.isfinite(answer.scores).all() and (len(history) > 1 or answer.scores[0] == answer.scores[1])


def sparse(rows: int, decisions: int, seed: int = 0) -> TableTask:
    """Somebody's past runs: a few rows of a large space, mostly additive."""
    rng = np.random.default_rng(seed)
    space = Space.of_sizes([6] * decisions, "sparse")
    codes = untold(space.sample(rng, rows), space.sample(rng, 0))
    effects = rng.normal(size=(decisions, 6)) * rng.gamma(1, size=(decisions, 1))
    values = effects[np.arange(decisions), codes].sum(axis=1)
    values += 0.2 * values.std() * rng.normal(size=len(codes))
    return TableTask(Table("sparse", space, codes, {"v": values}), "v", "maximize")


def search(task: TableTask, sampler: str, budget: int, seed: int = 0, **more) -> list[float]:
    strategy = make_strategy(sampler, Setup(task.space, seed, feasible=task.feasible, codes=task.codes(), **more))
    history: list[Seen] = []
    while len(history) < budget:
        found = strategy.suggest(history, {s.code for s in history}, len(history))
        if found is None:
            break
        history.append(Seen(found.code, task.evaluate(found.code).value))
    assert len({s.code for s in history}) == len(history)
    return [s.value for s in history]


@pytest.mark.parametrize("rows, decisions", [(1000, 8), (300, 200)])
@pytest.mark.parametrize(
    "sampler", [*(s for s in STRATEGIES if s not in ("lmsearcher", "gp")), pytest.param("gp", marks=pytest.mark.slow)]
)
def test_every_sampler_spends_its_budget_on_a_sparse_table(rows, decisions, sampler):
    budget = 20 if sampler in ("tpe", "gp") and decisions == 200 else 100
    assert len(search(sparse(rows, decisions), sampler, budget)) == budget


@pytest.mark.parametrize("rows, decisions", [(1000, 8), (300, 200)])
@pytest.mark.parametrize("proposal", PROPOSALS)
def test_ridge_beats_random_search_on_a_sparse_table_with_every_proposal(rows, decisions, proposal):
    regret = {"ridge": 0.0, "random": 0.0}
    for seed in range(6):
        task = sparse(rows, decisions, seed)
        ranker = make_ranker("surrogate", Context(task.space))
        ours = search(task, "lmsearcher", 60, seed, ranker=ranker, proposal=proposal)
        assert len(ours) == 60
        regret["ridge"] += task.optimum - max(ours)
        regret["random"] += task.optimum - max(search(task, "random", 60, seed))
    assert regret["ridge"] < 0.8 * regret["random"]


@pytest.mark.parametrize("sampler", ["random", "local", "evolution", "lmsearcher"])
def test_a_list_is_searched_to_its_last_code(sampler):
    task = sparse(40, 8)
    more = {"ranker": make_ranker("views", Context(task.space)), "proposal": "wide"} if sampler == "lmsearcher" else {}
    assert sorted(search(task, sampler, 99, **more)) == sorted(task.values)


def test_the_moves_of_a_list_are_its_nearest_codes():
    codes = SPACE.to_array(["000000", "000011", "000001", "444444", "000111"])
    rows = Listed(SPACE, codes)
    assert rows.moves("000000") == ["000001", "000011", "000111", "444444"]
    assert SPACE.to_codes(rows.near("000002", 2)) == ["000000", "000001"]
    assert sorted(rows.shuffled(np.random.default_rng(0))) == sorted(SPACE.to_codes(codes))


def test_complete_and_dense_tables_are_no_lists():
    assert listed(SPACE, None) is None and listed(SPACE, SPACE.sample(np.random.default_rng(0), 400)) is None
    assert listed(SPACE, SPACE.sample(np.random.default_rng(0), 300)) is not None


def test_a_scan_and_the_ranker_behind_it_fit_one_history_once():
    history = told(SPACE, 50)
    found = pool(SPACE, history)
    before = read.__globals__["_read"].cache_info()
    make_ranker("views", Context(SPACE)).rank(history, found)
    assert read.__globals__["_read"].cache_info().misses == before.misses
