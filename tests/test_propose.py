"""Candidate pools: fresh, recorded, and ending cleanly when the space does."""

from __future__ import annotations

import numpy as np
import pytest

from search.errors import UserError
from search.spaces import Decision, Seen, Space
from search.strategies import PROPOSALS
from search.strategies.pool import propose
from search.strategies.proposals import APART, LONG_PATIENCE, PATIENCE, parents

SPACE = Space.of_sizes([5] * 6)


def told(n: int, seed: int = 0) -> list[Seen]:
    rng = np.random.default_rng(seed)
    codes = list(dict.fromkeys(SPACE.to_codes(SPACE.sample(rng, 2 * n))))[:n]
    return [Seen(c, float(sum(map(int, c)))) for c in codes]


@pytest.mark.parametrize("kind", PROPOSALS)
def test_ten_fresh_candidates(kind):
    history = told(40)
    taken = {s.code for s in history}
    pool = propose(SPACE, history, taken, np.random.default_rng(1), kind=kind)
    codes = [c.code for c in pool]
    assert len(codes) == len(set(codes)) == 10 and not taken & set(codes)


def differ(a: str, b: str) -> int:
    return sum(x != y for x, y in zip(a, b))


def test_mixed_is_half_mutants_of_the_best():
    history = sorted(told(60), key=lambda s: s.value)
    best = sorted(history, key=lambda s: -s.value)[:5]
    pool = propose(SPACE, history, {s.code for s in history}, np.random.default_rng(2), kind="mixed")
    mutants = [c.code for c in pool if c.origin == "mutant"]
    assert len(mutants) == 5
    assert all(any(differ(m, s.code) == 1 for s in best) for m in mutants)


def stalled(steps: int) -> list[Seen]:
    """A basin around 444444 that is evaluated first, then `steps` worse codes."""
    peak = [Seen("444444", 100.0), *(Seen(c, 90.0 + i) for i, c in enumerate(SPACE.neighbours("444444")[:8]))]
    rest = [s for s in sorted(told(60), key=lambda s: s.value) if differ(s.code, "444444") > 2]
    return sorted(peak, key=lambda s: s.value) + [Seen(s.code, s.value) for s in rest[:steps]]


@pytest.mark.parametrize("steps", [PATIENCE - 1, PATIENCE, PATIENCE + 1, LONG_PATIENCE, LONG_PATIENCE + 1])
def test_a_stalled_search_mutates_the_best_of_other_regions(steps: int):
    elsewhere, history = steps not in (PATIENCE - 1, PATIENCE + 1), stalled(steps)
    chosen = parents(SPACE, history, {s.code for s in history}, 5)
    assert len(chosen) == 5
    apart = [differ(a, b) for i, a in enumerate(chosen) for b in chosen[:i]]
    assert (min(apart) >= APART) is elsewhere
    assert chosen[0] == "444444"


def test_a_proven_local_optimum_is_left_at_once():
    history = stalled(1)
    taken = {s.code for s in history}
    assert parents(SPACE, history, taken, 5) == [s.code for s in sorted(history, key=lambda s: -s.value)[:5]]
    *rest, last = SPACE.neighbours("444444")
    assert "444444" in parents(SPACE, history, taken | set(rest), 5)
    chosen = parents(SPACE, history, taken | set(rest) | {last}, 5)
    assert all(differ(c, "444444") >= APART for c in chosen) and len(chosen) == 1
    assert "444444" not in parents(SPACE, history, taken | set(rest), 5, feasible=lambda c: c != last)


def test_regions_without_a_fresh_neighbour_are_passed_over():
    history = stalled(PATIENCE)
    taken = {s.code for s in history} | set(SPACE.neighbours("444444"))
    chosen = parents(SPACE, history, taken, 5)
    assert len(chosen) == 5 and "444444" not in chosen and all(differ(c, "444444") >= APART for c in chosen)
    assert parents(SPACE, history, taken, 5, feasible=lambda c: False) == []


def test_without_history_everything_is_uniform():
    assert {c.origin for c in propose(SPACE, [], set(), np.random.default_rng(3), kind="evolution")} == {"uniform"}


def test_the_same_random_state_gives_the_same_pool():
    history = told(30)
    pools = [propose(SPACE, history, {s.code for s in history}, np.random.default_rng(7)) for _ in range(2)]
    assert pools[0] == pools[1]


def test_a_small_space_runs_out_cleanly():
    tiny = Space.of_sizes([2, 3])
    every = {tiny.to_codes(np.array([[a, b]], dtype=np.uint8))[0] for a in range(2) for b in range(3)}
    seen: set[str] = set()
    while pool := propose(tiny, [Seen(c, 1.0) for c in sorted(seen)], seen, np.random.default_rng(len(seen)), n=4):
        seen.add(pool[0].code)
    assert seen == every


def test_the_last_code_of_a_large_enumerable_space_is_found():
    all_codes = SPACE.to_codes(np.stack(np.unravel_index(np.arange(SPACE.size), [5] * 6), axis=1).astype(np.uint8))
    taken = set(all_codes) - {"333133"}
    assert [c.code for c in propose(SPACE, told(10), taken, np.random.default_rng(0))] == ["333133"]


def test_equivalent_codes_are_one_candidate():
    space = Space([Decision("layers", (1, 2)), Decision("a", (0, 1, 2), active=lambda x: x["layers"] == 2)])
    pool = propose(space, [], set(), np.random.default_rng(0), n=20)
    assert len(pool) == 4 and len({space.canonical(c.code) for c in pool}) == 4


def test_infeasible_codes_are_never_proposed():
    pool = propose(SPACE, told(20), set(), np.random.default_rng(0), feasible=lambda c: c[0] == "4")
    assert len(pool) == 10 and all(c.code[0] == "4" for c in pool)


def test_unknown_kinds_are_named():
    with pytest.raises(UserError, match="did you mean mixed"):
        propose(SPACE, [], set(), np.random.default_rng(0), kind="mixd")
