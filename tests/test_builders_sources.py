"""Builders of the benchmarks, on files in their original formats that the tests write, and on the tables that pip
brings.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from data_builders import build, check, graph, hpo, nb101, nb301, nbasr
from data_builders.rows.masks import draw_masks
from data_builders.rows.sampling import RowShape
from data_builders.rows.writing import Job, write_rows
from search.errors import UserError, cli
from search.prompts.encodings import domain_text, parse_domain
from search.spaces import nb101 as cells
from search.spaces import nb301 as darts
from search.spaces.nb201 import space as nb201_space
from tests.test_builders_sampling import rows_of

REPOSITORY = Path(__file__).resolve().parent.parent
SHORT = RowShape(history=(12, 30))


def checked(source, tmp_path, rows=40):
    """The check's result for rows of a source."""
    plan = {
        "builder": "test",
        "encoding": "ncode",
        "shape": {k: list(v) if isinstance(v, tuple) else v for k, v in vars(SHORT).items()},
    }
    out = tmp_path / "rows.jsonl"
    write_rows(Job(source, 0, 0, rows, "paper", False, False, SHORT.candidates, plan), out, workers=1, progress=False)
    args = type(
        "Args", (), {"format": None, "held_out": [], "tokenizer": None, "cutoff_len": 0, "workers": 1, "quiet": True}
    )()
    return check.check_file(out, args)


def cell_codes(n, seed=0):
    """Valid NAS-Bench-101 codes from pruned subspaces and from everywhere."""
    rng = np.random.default_rng(seed)
    codes = cells.space().sample(rng, n)
    codes[:, :21] = rng.random((n, 21)) < rng.choice([0.3, 0.5, 0.7], n)[:, None]
    return codes


def test_cell_keys_are_the_benchmarks_equivalence():
    codes = cell_codes(3000)
    codes[1500:, 21:] = np.minimum(codes[1500:, 21:], 1)
    codes[2000:, 3:21] = codes[2000:, 3:21] & codes[:1000, 3:21]
    keys = cells.cell_keys(codes)
    texts = cells.space().to_codes(codes)
    valid = [cells.valid(c) for c in texts]
    assert ((keys >= 0) == valid).all() and sum(valid) > 1000
    ours: dict[int, set] = {}
    theirs: dict[str, set] = {}
    for key, text in zip(keys.tolist(), texts):
        if key >= 0:
            md5 = cells.cell_key(text)
            ours.setdefault(key, set()).add(md5)
            theirs.setdefault(md5, set()).add(key)
    assert all(len(v) == 1 for v in ours.values()) and all(len(v) == 1 for v in theirs.values())
    assert len(theirs) < sum(valid)


@pytest.fixture(scope="module")
def cell_table(tmp_path_factory):
    """A CSV of all cells with at most five vertices."""
    path = tmp_path_factory.mktemp("nb101") / "cells.csv"
    vertices = (0, 1, 2, 3, 6)
    at = [cells.EDGES.index((a, b)) for i, a in enumerate(vertices) for b in vertices[i + 1 :]]
    bits = np.arange(1 << 10)[:, None] >> np.arange(10) & 1
    codes = np.zeros((1 << 10, 27, 26), dtype=np.uint8)
    codes[:, :, at] = bits[:, None, :]
    codes[:, :, 21:24] = np.array(list(np.ndindex(3, 3, 3)))
    codes = codes.reshape(-1, 26)
    keys, first = np.unique(cells.cell_keys(codes), return_index=True)
    found = [cells.canonical(c) for c in cells.space().to_codes(codes[first[keys >= 0]])]
    assert len(found) == len(set(found)) == 2532  # as many as the benchmark has
    rng = np.random.default_rng(0)
    path.write_text("code,val_acc\n" + "".join(f"{c},{90 + c.count('1') / 3 + rng.normal():.4f}\n" for c in found))
    return path


def test_nasbench_101_rows(cell_table):
    source = nb101.make_source(RowShape(history=(6, 12), candidates=5), str(cell_table))
    batch = source.batch(np.random.default_rng(0), 40)
    values = {c: float(v) for c, v in (line.split(",") for line in cell_table.read_text().split()[1:])}
    spelled_otherwise = 0
    for history, shown, candidates, offered in rows_of(batch):
        classes = [cells.canonical(c) for c in history + candidates]
        assert len(set(classes)) == len(classes)
        assert [values[c] for c in classes] == [*shown, *offered]
        spelled_otherwise += sum(a != b for a, b in zip(classes, history + candidates))
    assert spelled_otherwise > 100


def test_nasbench_101_pool_finds_every_cell_of_a_subspace(cell_table):
    source = nb101.make_source(RowShape(history=(5, 5), candidates=2), str(cell_table), direction="maximize")
    pool, rng = source.pool, np.random.default_rng(3)
    masks = draw_masks(pool.sizes, rng, 60)
    masks = masks.take((masks.size >= 8) & (masks.size <= 256))
    row, entry = pool.members(masks, rng, np.full(len(masks), 200))
    codes = cells.space().to_codes(pool.codes_of(entry))
    known = {line.split(",")[0] for line in cell_table.read_text().split()[1:]}
    assert all(cells.canonical(c) in known for c in codes)
    for r in range(len(masks)):
        options = [masks.options[: masks.kept[i, r], i, r] for i in range(26)]
        everything = {
            "".join(map(str, c)) for c in np.stack(np.meshgrid(*options, indexing="ij"), axis=-1).reshape(-1, 26)
        }
        expected = {c for c in everything if cells.valid(c) and cells.canonical(c) in known}
        assert {c for c, at in zip(codes, row) if at == r} == expected


def test_real_cells_of_nasbench_101(shared_table, tmp_path):
    path = shared_table("ecnas_nb101_5v_4epoch.csv.gz")
    shape = RowShape(history=(6, 12), candidates=5)
    batch = nb101.make_source(shape, str(path), metric="valid_acc_ep4", direction="maximize").batch(
        np.random.default_rng(0), 30
    )
    for history, _, candidates, _ in rows_of(batch):
        classes = [cells.canonical(c) for c in history + candidates]
        assert len(set(classes)) == len(classes) and all(map(cells.valid, history + candidates))


def darts_codes(n, seed=0):
    return darts.space().sample(np.random.default_rng(seed), n)


def test_darts_keys_and_features_agree_with_the_reader():
    codes = darts_codes(300)
    texts = darts.space().to_codes(codes)
    assert np.array_equal(darts.edge_features(codes, 7), darts.edge_matrix(texts))
    twins = darts.space().to_array([darts.canonical(t) for t in texts])
    assert (twins != codes).any()
    assert np.array_equal(darts.architecture_keys(codes), darts.architecture_keys(twins))
    assert len(np.unique(darts.architecture_keys(codes))) == len({darts.canonical(t) for t in texts})
    swapped = np.concatenate([codes[:, 11:], codes[:, :11]], axis=1)
    assert (darts.architecture_keys(swapped) != darts.architecture_keys(codes)).all()


def test_nasbench_301_rows(tmp_path):
    pytest.importorskip("xgboost")
    codes = darts_codes(60)
    path = tmp_path / "runs.csv"
    score = 90 + (codes[:, :8] == 3).sum(axis=1) * 0.4
    path.write_text("code,val_acc\n" + "".join(f"{c},{v:.3f}\n" for c, v in zip(darts.space().to_codes(codes), score)))
    source = nb301.make_source(SHORT, str(path), members=2)
    assert source.origins[0]["surrogate"]["rows"] == 60
    result = checked(source, tmp_path, rows=6)
    assert result["broken"] == {} and result["counts"]["argmax_by_truth_file"] == 6
    a, b = (source.batch(np.random.default_rng(1), 2) for _ in range(2))
    assert np.array_equal(a.values, b.values) and np.array_equal(a.texts, b.texts)


def test_nasbench_asr_rows_from_files_of_the_original_form(tmp_path):
    from search.spaces.nbasr import all_codes, model_key

    rng = np.random.default_rng(0)
    keys = sorted({model_key(c) for c in all_codes()})
    base = {k: 0.2 + 0.1 * rng.random() for k in keys}
    for seed in (1234, 1235):
        header = {
            "dataset_type": "training",
            "version": 1,
            "columns": ["model_hash", "val_per", "test_per"],
            "epochs": 40,
            "seed": seed,
        }
        table = [[k, [0.9, base[k] + 0.001 * rng.random()], base[k], None] for k in keys]
        with open(tmp_path / f"nb-asr-e40-{seed}.pickle", "wb") as handle:
            pickle.dump(header, handle)
            pickle.dump(table, handle)
    result = checked(nbasr.make_source(SHORT, str(tmp_path)), tmp_path)
    assert result["broken"] == {} and result["counts"]["argmax_by_table"] == 40


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (hpo, {"families": "hpobench", "datasets": "car"}),
        (hpo, {"families": "hpolib", "datasets": "naval_propulsion"}),
        (graph, {"datasets": "proteins"}),
    ],
)
def test_pip_tables(module, options, tmp_path):
    result = checked(module.make_source(SHORT, **options), tmp_path)
    assert result["broken"] == {} and result["counts"]["argmax_by_table"] == 40


def test_two_spaces_in_one_file(tmp_path):
    source = hpo.make_source(SHORT, datasets="car,naval_propulsion")
    assert [o["table"] for o in source.origins] == ["hpobench/car", "hpolib/naval_propulsion"]
    assert checked(source, tmp_path)["broken"] == {}


def test_operator_text_is_the_papers():
    space = nb201_space()
    text = "|conv3X3~0|+|conv3X3~0|+|conv3X3~1|+|skip_connect~0|+|conv1X1~1|+|conv3X3~2|"
    assert domain_text(space, "333123") == text and parse_domain(space, text) == "333123"
    with pytest.raises(UserError, match="is not operator text"):
        parse_domain(space, text[:-3])
    assert domain_text(darts.space(), "0" * 22).startswith("|max_pool_3x3~normal_op_2_0|+|")


@pytest.mark.parametrize("recipe", sorted((REPOSITORY / "recipes" / "data").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_are_sound(recipe):
    sets = build.read_recipe(recipe)
    registered = json.loads((REPOSITORY / "dataset_info.json").read_text())
    args = type("Args", (), {"folder": "data", "workers": 1, "registry": "none", "samples": None, "quiet": True})()
    for name, settings in sets.items():
        build.set_arguments(name, settings, args)
        assert registered[name]["file_name"] == f"data/{name}.jsonl"
    seeds = [(s["builder"], s.get("seed", 0), json.dumps(s)) for s in sets.values()]
    assert len(set(seeds)) == len(seeds)


def test_every_set_of_a_training_recipe_is_registered():
    registered = json.loads((REPOSITORY / "dataset_info.json").read_text())
    for path in (REPOSITORY / "yaml").glob("*.yaml"):
        config = yaml.safe_load(path.read_text())
        for key in ("dataset", "eval_dataset"):
            for name in filter(None, str(config.get(key) or "").split(",")):
                assert name in registered, f"{path.name}: {name}"


def run_build(monkeypatch, tmp_path, *words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["build", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli(build.main)
    return stop.value.code


def test_missing_sources_are_all_named_and_nothing_is_built(monkeypatch, tmp_path, capsys):
    recipe = REPOSITORY / "recipes" / "data" / "lmsearcher_228k.yaml"
    assert run_build(monkeypatch, tmp_path, recipe) == 2
    error = capsys.readouterr().err
    assert "nasbench_only108.tfrecord" in error and "figshare 13246952" in error and "--substitute synthetic" in error
    assert list(tmp_path.iterdir()) == []
    assert run_build(monkeypatch, tmp_path, recipe, "--source", "nb101=none.tfrecord") == 2
    assert "does not exist" in capsys.readouterr().err


def test_synthetic_rows_stand_in_on_request_only_and_say_so(monkeypatch, tmp_path, capsys):
    recipe = REPOSITORY / "recipes" / "data" / "lmsearcher_228k.yaml"
    assert (
        run_build(monkeypatch, tmp_path, recipe, "--substitute", "synthetic", "--samples", 5, "--quiet", "--workers", 1)
        == 0
    )
    assert "NOTE: no source for nb101" in capsys.readouterr().out
    sets = json.loads((tmp_path / "dataset_info.json").read_text())
    assert sorted(sets) == [f"synthetic_for_{n}" for n in ("nb101", "nb101_eval", "nb301", "nb301_eval")]
    rows = {(tmp_path / "data" / f"{name}.jsonl").read_bytes() for name in sets}
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sets: {a: {builder: nb2001}}", "did you mean nb201"),
        ("sets: {a: {builder: nb201, history: 5-900000}}", "--history was given"),
        ("sets: {a: {builder: nb201, candidate_kind: best}}", "--candidate-kind: invalid choice: 'best'"),
        ("sets: {a: {builder: nb201, colour: red}}", "colour"),
        ("sets: [a]", "must hold 'sets'"),
        ("sets: {a: [", "is not YAML"),
        ("sets: {a: {builder: mixed}}", "mixed of nothing"),
    ],
)
def test_wrong_recipes_are_a_sentence(monkeypatch, tmp_path, capsys, text, message):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text + "\n")
    assert run_build(monkeypatch, tmp_path, recipe, "--quiet") == 2
    assert message in capsys.readouterr().err
