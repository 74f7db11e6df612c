"""Parameters with more values than a digit: reals, long integers, many categories, ConfigSpace's spaces."""

from __future__ import annotations

import math

import numpy as np
import pytest

from search import Choice, Decision, Integer, Real, Space, Study, UserError, from_configspace, minimize

LORA = Space(
    [
        Real("lr", 1e-6, 1e-2, log=True),
        Integer("width", 16, 4096, log=True),
        Choice("word", [f"w{i}" for i in range(100)]),
        Decision("optimizer", ("adam", "sgd")),
        Real("momentum", 0.0, 0.99, active=lambda arch: arch["optimizer"] == "sgd"),
    ]
)


def test_a_real_is_two_digits_and_a_code_still_names_one_architecture():
    space = Space([Real("lr", 1e-6, 1e-2, log=True), Decision("act", ("relu", "gelu"))])
    assert [len(d.options) for d in space.decisions] == [12, 36, 2]
    assert space.decode("001") == {"lr": 1e-6, "act": "gelu"}
    assert space.decode("bz0") == {"lr": 1e-2, "act": "relu"}
    assert space.decode("600")["lr"] == pytest.approx(1e-4, rel=0.03)
    assert space.encode({"lr": 3.7e-4, "act": "relu"}) == space.encode({"lr": 3.71e-4, "act": "relu"})


def test_levels_and_digits_are_inverse_and_only_the_last_level_has_several_codes():
    array = LORA.sample(np.random.default_rng(0), 2000)
    codes = LORA.to_codes(array)
    levels = LORA.geometry.levels(array)
    assert (LORA.geometry.levels(LORA.geometry.codes(levels)) == levels).all()
    for code in codes[:200]:
        arch = LORA.decode(code)
        assert LORA.decode(LORA.canonical(code))["lr"] == arch["lr"]
        if arch["optimizer"] == "sgd":
            assert LORA.canonical(LORA.encode(arch)) == LORA.canonical(code)
    assert Space([Choice("x", range(40))]).canonical("1z") == "13"


@pytest.mark.parametrize(
    ("parameter", "count", "ends"),
    [
        (Real("x", -1.0, 1.0), 432, (-1.0, 1.0)),
        (Real("x", 2.0, 2.0), 1, (2.0, 2.0)),
        (Integer("x", 1, 8, log=True), 8, (1, 8)),
        (Integer("x", 10, 100, step=5), 19, (10, 100)),
        (Integer("x", 0, 10**6), 1296, (0, 10**6)),
        (Integer("x", 1, 10**6, log=True), None, (1, 10**6)),
        (Choice("x", range(2000)), 2000, (0, 1999)),
    ],
)
def test_what_a_range_becomes(parameter, count, ends):
    assert (parameter.options[0], parameter.options[-1]) == ends
    assert count in (None, len(parameter.options)) and len(parameter.options) <= 2000
    space = Space([parameter])
    assert len(space) == (1 if len(parameter.options) <= 36 else 2 if len(parameter.options) <= 1296 else 3)
    for option in (parameter.options[0], parameter.options[len(parameter.options) // 2], parameter.options[-1]):
        assert space.decode(space.encode({"x": option})) == {"x": option}


def test_uniform_codes_are_even_in_the_logarithm_where_it_says_so():
    archs = [LORA.decode(c) for c in LORA.to_codes(LORA.sample(np.random.default_rng(1), 2000))]
    assert np.mean([a["lr"] < 1e-4 for a in archs]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([a["width"] < 256 for a in archs]) == pytest.approx(0.5, abs=0.05)


def test_mutants_are_near_and_far_and_always_another_code():
    rng = np.random.default_rng(2)
    start = LORA.sample(rng, 500)
    moved = LORA.mutate(start, rng, told=100)
    assert (start != moved).any(axis=1).all()
    steps = np.abs(LORA.geometry.levels(start)[:, 0] - LORA.geometry.levels(moved)[:, 0])
    assert 0 < np.median(steps[steps > 0]) < 60 < steps.max()


def test_an_inactive_parameter_makes_no_second_architecture():
    arch = {"lr": 1e-4, "width": 64, "word": "w7", "optimizer": "adam", "momentum": 0.5}
    assert LORA.canonical(LORA.encode(arch)) == LORA.canonical(LORA.encode(arch | {"momentum": 0.9}))
    assert math.isnan(LORA.places([LORA.encode(arch)])[0, 4])
    assert not math.isnan(LORA.places([LORA.encode(arch | {"optimizer": "sgd"})])[0, 4])


def loss(arch: dict) -> float:
    rate = (math.log10(arch["lr"]) + 3.5) ** 2 + 0.1 * (math.log2(arch["width"]) - 7) ** 2
    return rate + (0.3 if arch["optimizer"] == "adam" else (arch["momentum"] - 0.9) ** 2)


def test_a_study_over_reals_finds_them_and_goes_on_where_it_was(tmp_path):
    space = Space([a for a in LORA.axes if a.name != "word"])
    best = minimize(loss, space, budget=40, seed=1)
    assert best.value < 0.2 and 1e-4 < best.arch["lr"] < 1e-3
    journal = tmp_path / "journal.log"
    for budget in (7, 15):
        study = Study(space, direction="minimize", storage=journal, seed=3)
        study.run(lambda code, seed: loss(space.decode(code)), budget)
    whole = Study(space, direction="minimize", seed=3)
    whole.run(lambda code, seed: loss(space.decode(code)), 15)
    assert [t.code for t in study.trials] == [t.code for t in whole.trials]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Real("lr", 1e-2, 1e-6), "must not exceed"),
        (lambda: Real("lr", 0.0, 1.0, log=True), "above 0"),
        (lambda: Integer("n", 1, 8.5), "whole numbers"),
        (lambda: Choice("c", (1, 2, 1)), "twice"),
        (lambda: LORA.encode({"lr": 1e-4, "width": 64, "word": "w7"}), "lacks decision 'optimizer'"),
    ],
)
def test_wrong_ranges_are_a_sentence(build, says):
    with pytest.raises(UserError, match=says):
        build()


def test_a_configuration_space_comes_over_with_its_conditions():
    configspace = pytest.importorskip("ConfigSpace", reason="ConfigSpace is not installed (extra configspace)")
    cs = configspace.ConfigurationSpace(
        space={
            "lr": configspace.Float("lr", (1e-5, 1e-1), log=True),
            "layers": configspace.Integer("layers", (1, 200)),
            "kind": configspace.Categorical("kind", ["a", "b", "c"]),
            "size": configspace.Categorical("size", ["s", "m", "l"], ordered=True),
            "fixed": configspace.Constant("fixed", 3),
            "only_b": configspace.Float("only_b", (0.0, 1.0)),
        }
    )
    cs.add(configspace.EqualsCondition(cs["only_b"], cs["kind"], "b"))
    space = from_configspace(cs)
    assert {a.name for a in space.axes} == set(cs)
    for configuration in cs.sample_configuration(30):
        arch = dict(configuration)
        code = space.encode({"only_b": 0.0} | arch)
        back = space.decode(code)
        active = {a.name for a in space.axes if a.active is None or a.active(back)}
        assert active == set(arch)
        assert back["lr"] == pytest.approx(arch["lr"], rel=0.02) and back["kind"] == arch["kind"]
    cs.add(configspace.ForbiddenEqualsClause(cs["kind"], "c"))
    with pytest.raises(UserError, match="forbids"):
        from_configspace(cs)
