"""The DARTS space: codes, genotypes, published runs written here in their original form, and the refitted surrogate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from search.errors import UserError
from search.spaces import nb301
from search.tables import load_table
from search.tables.nb301 import load
from search.tasks import load_task

DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),"
    " ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],"
    " reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),"
    " ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)


def test_size_of_the_space():
    space = nb301.space()
    assert space.size == (7**8 * 180) ** 2 == 1_076_746_950_455_072_400
    assert len(space) == 22
    assert tuple(space.cardinalities) == (7,) * 8 + (3, 6, 10) + (7,) * 8 + (3, 6, 10)


def test_code_of_the_published_darts_cell():
    code = nb301.parse_genotype(DARTS_V2)
    # normal: nodes 2 and 3 from (0, 1), node 4 from (0, 1), node 5 from (0, 2); reduction: node 3 from (1, 2), 4 from
    # (0, 2), 5 from (1, 2)
    assert code == "33332325" + "001" + "00020202" + "214"
    assert nb301.parse_genotype(nb301.genotype(code)) == code
    assert nb301.space().decode(code)["reduce_inputs_3"] == "1_2"


def test_every_code_is_a_genotype():
    space = nb301.space()
    for code in space.to_codes(space.sample(np.random.default_rng(0), 200)):
        assert nb301.parse_genotype(nb301.genotype(code)) == code


def test_canonical_ignores_the_order_of_nodes():
    first = [("sep_conv_3x3", 0), ("skip_connect", 1), ("max_pool_3x3", 0), ("dil_conv_5x5", 1)]
    cell = [*first, ("sep_conv_5x5", 0), ("skip_connect", 2), ("avg_pool_3x3", 1), ("skip_connect", 3)]
    place = {0: 0, 1: 1, 2: 3, 3: 2, 4: 5, 5: 4}  # exchange nodes 2 and 3, and 4 and 5
    nodes = [[(op, place[s]) for op, s in cell[2 * k : 2 * k + 2]] for k in (1, 0, 3, 2)]
    a, b = nb301.encode_cell(cell), nb301.encode_cell([item for node in nodes for item in node])
    assert a != b and nb301.canonical_cell(a) == nb301.canonical_cell(b) == min(nb301.canonical_cell(a), a, b)
    space = nb301.space()
    for code in space.to_codes(space.sample(np.random.default_rng(1), 50)):
        assert nb301.canonical(nb301.canonical(code)) == nb301.canonical(code)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("('max_pool_3x3', 0)", "('max_pool_3x3', 2)"), "fed by states"),
        (("sep_conv_3x3", "conv_9x9"), "operation 'conv_9x9' was given"),
        (("('skip_connect', 0), ", ""), "a cell of 7 edges|a cell of 6 edges"),
        (("[2, 3, 4, 5]", "[3, 4, 5]"), "concatenates the states 2 to 5"),
        (("normal_concat", "x"), "is not a DARTS genotype"),
    ],
)
def test_other_texts_are_a_sentence(change, said):
    with pytest.raises(UserError, match=said):
        nb301.parse_genotype(DARTS_V2.replace(*change))


def test_edge_matrix():
    code = nb301.parse_genotype(DARTS_V2)
    one = nb301.edge_matrix([code]).reshape(28, 7)
    assert (
        one.sum() == 16 and one[0, 3] == 1 and one[14 + 2 + 1, 0] == 1 and one[14 + 2 + 2, 2] == 1 and one[4].sum() == 0
    )


def test_real_lists(shared_table):
    table = load_table("nb301", shared_table("darts_cifar10_random214.csv.gz"))
    assert len(table) == 214 and table.metric("test_acc_best").max() == pytest.approx(97.56)
    other = load(shared_table("darts_cifar10_oncenas545.csv.gz"))
    assert "359 architectures with 'none' left out" in other.source
    both = load(shared_table("darts_cifar10_oncenas545.csv.gz"), with_none=True)
    assert len(both) == 526 and both.space.cardinalities[0] == 8


def run(code, accuracy, **changes):
    """One result file of the benchmark (only the keys that say what was trained, and the figures)."""
    lead = "NetworkSelectorDatasetInfo:darts:"
    config = {f"{lead}layers": 8, f"{lead}init_channels": 32, "OptimizerSelector:optimizer": "sgd"}
    for kind, digits in (("normal", code[:11]), ("reduce", code[11:])):
        cell = nb301.decode_cell(digits)
        for node in (2, 3, 4, 5):
            pair = cell[2 * (node - 2) : 2 * (node - 2) + 2]
            for op, source in pair:
                config[f"{lead}edge_{kind}_{nb301.EDGE_OFFSET[node] + source}"] = op
            if node > 2:
                config[f"{lead}inputs_node_{kind}_{node}"] = f"{pair[0][1]}_{pair[1][1]}"
    info = [{"val_accuracy": accuracy, "epochs": 98, "model_parameters": 1}]
    return {
        "optimized_hyperparamater_config": config | changes,
        "budget": 100,
        "info": info,
        "test_accuracy": accuracy + 1,
        "runtime": 5000,
    }


def truth(codes):
    """An accuracy that edges and operations explain: convolutions help, pooling hurts, skips help a little."""
    worth = np.array([-1.0, -1.2, 0.3, 1.0, 1.1, 0.7, 0.8])
    return 93 + nb301.edge_matrix(codes).reshape(len(codes), 28, 7).sum(axis=1) @ worth / 10


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nb301")
    space = nb301.space()
    codes = space.to_codes(space.sample(np.random.default_rng(3), 400))
    for i, (code, accuracy) in enumerate(zip(codes, truth(codes), strict=True)):
        (folder / ("rs" if i % 2 else "de")).mkdir(exist_ok=True)
        (folder / ("rs" if i % 2 else "de") / f"results_{i}.json").write_text(json.dumps(run(code, float(accuracy))))
    (folder / "rs" / "results_again.json").write_text(json.dumps(run(codes[0], 90.0)))
    (folder / "rs" / "results_big.json").write_text(
        json.dumps(run(codes[1], 99.0, **{"NetworkSelectorDatasetInfo:darts:layers": 20}))
    )
    (folder / "other.json").write_text("{}")
    (folder / "broken.json").write_text("{")
    return folder, codes


def test_published_runs(runs):
    folder, codes = runs
    for _ in range(2):
        table = load_table("nb301", folder)
        assert len(table) == 400
        assert table.lookup(codes[1], "val_acc") == pytest.approx(truth(codes[1:2])[0])
        assert table.lookup(codes[0], "val_acc") == pytest.approx((truth(codes[:1])[0] + 90) / 2)
        assert "401 runs (8 layers, 32 channels, 100 epochs), 3 files of other kinds left out" in table.source


@pytest.fixture(scope="module")
def task(runs):
    pytest.importorskip("xgboost")
    return load_task("nb301", source=runs[0], members=3)


def test_surrogate_predicts_architectures_it_has_not_seen(task):
    space = nb301.space()
    codes = space.to_codes(space.sample(np.random.default_rng(9), 200))
    said = np.array([task.evaluate(c, 0).value for c in codes])
    assert np.corrcoef(said, truth(codes))[0, 1] > 0.8
    assert task.surrogate.held_out["r2"] > 0.5 and task.surrogate.held_out["kendall"] > 0.5
    assert task.describe()["held_out"] == task.surrogate.held_out and task.describe()["noise"] is False


def test_surrogate_is_kept_and_gives_the_same_answers(task, runs, capsys):
    again = load_task("nb301", source=runs[0], members=3)
    assert "held-out" not in capsys.readouterr().err
    codes = runs[1][:20]
    assert [again.evaluate(c, 0).value for c in codes] == [task.evaluate(c, 0).value for c in codes]


def test_noise_is_off_by_default_and_repeatable_when_on(task, runs):
    code = runs[1][5]
    assert task.evaluate(code, 0).value == task.evaluate(code, 1).value
    noisy = load_task("nb301", source=runs[0], members=3, noise=True)
    assert noisy.evaluate(code, 0).value == noisy.evaluate(code, 0).value != noisy.evaluate(code, 1).value


def test_kendall_against_its_definition():
    from search.tables.nb301_surrogate import kendall

    assert kendall(np.arange(5.0), np.arange(5.0)) == 1 and kendall(np.arange(5.0), -np.arange(5.0)) == -1
    assert kendall(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(1 / 3)


def test_wrong_sources_are_a_sentence(tmp_path, runs):
    for source, said in (
        (None, "no source was given"),
        (tmp_path / "x", "does not exist"),
        (tmp_path, "has no .json runs"),
    ):
        with pytest.raises(UserError, match=said):
            load_table("nb301", source)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(UserError, match="none of the 1 .json files"):
        load_table("nb301", tmp_path)
    (tmp_path / "a.csv").write_text("arch,acc\nx,1\n")
    with pytest.raises(UserError, match="a column 'genotype' or 'code' is needed"):
        load_table("nb301", tmp_path / "a.csv")
    pytest.importorskip("xgboost")
    with pytest.raises(UserError, match="did you mean"):
        load_task("nb301", source=runs[0], metric="val_ac")
    (tmp_path / "b.csv").write_text(f'genotype,val_acc\n"{DARTS_V2}",97\n')
    with pytest.raises(UserError, match="1 architectures with 'val_acc' were given - 10 members need at least 100"):
        load_task("nb301", source=tmp_path / "b.csv")
