"""Data recipes: what a wrong one says, before anything is built."""

from __future__ import annotations

import sys

import pytest
import yaml

from data_builders import build
from data_builders.recipes import read_recipe
from data_builders.rows.sampling import RowShape
from search.errors import UserError

SHAPE = RowShape(history=(5, 8))


def written(tmp_path, recipe):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(recipe), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("sets: {a: {builder: hpo}, a: {builder: graph}}", "a is there twice"),
        ("sets: {a: {builder: hpo, seed: 1, seed: 2}}", "seed is there twice"),
        ("sets: {}", "at least one set"),
        ("sets: [a]", "it has sets"),
        ("[" * 3000, "is not YAML"),
        ("sets: {a: {builder: hpo}}\ncommon: 3", "'common' is"),
        ({"sets": {"a": 3}}, "set 'a' is a int"),
        ({"sets": {"../a": {"builder": "hpo"}}}, "a set is called '../a'"),
        ({"sets": {7: {"builder": "hpo"}}}, "a set is called 7"),
        ({"sets": {"a": {"builder": ["hpo"]}}}, "unknown builder of set 'a'"),
        ({"sets": {"a": {"builder": "hpo", "of": {"hpo": 1}}}}, "only mixed sets"),
        ({"sets": {"a": {"builder": "mixed", "of": ["hpo"]}}}, "mixed of nothing"),
        ({"sets": {"a": {"builder": "mixed", "of": {"hpo": 0}}}}, "the weight 0"),
        ({"sets": {"a": {"builder": "mixed", "of": {"hpo": float("nan")}}}}, "the weight nan"),
        ({"sets": {"a": {"builder": "mixed", "of": {"hpo": "1"}}}}, "the weight '1'"),
        ({"sets": {"a": {"builder": "mixed", "of": {"hpo": 1}, "families": "hpolib"}}}, "is mixed and has families"),
        ({"sets": {"a": {"builder": "hpo", "seed": "1"}}}, "has seed: '1'"),
        ({"sets": {"a": {"builder": "hpo", "samples": 2.5}}}, "has samples: 2.5"),
    ],
    ids=str,
)
def test_a_wrong_recipe_is_a_sentence(tmp_path, recipe, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        read_recipe(written(tmp_path, recipe))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"familie": "hpolib"}, "unknown option of builder 'hpo' 'familie' - did you mean families"),
        ({"families": 3}, "builder 'hpo' was given families: 3 - a str is needed"),
        ({"families": True}, "families: True"),
        ({"families": "hpx"}, "unknown family 'hpx'"),
        ({"history": "x"}, "--history was given 'x'"),
        ({"history": "--help"}, "--history was given '--help'"),
        ({"candidates": [3]}, "set 'a': argument --candidates: invalid int value"),
        ({"direct": "yes"}, "set 'a': argument --direct: ignored explicit argument"),
    ],
    ids=str,
)
def test_a_wrong_setting_of_a_set_is_one_sentence(tmp_path, monkeypatch, capsys, setting, said):
    path = written(tmp_path, {"sets": {"a": {"builder": "hpo", "samples": 2, **setting}}})
    monkeypatch.setattr(sys, "argv", ["build", str(path), "--folder", str(tmp_path), "--quiet", "--workers", "1"])
    with pytest.raises(UserError) as error:
        build.main()
    assert said in str(error.value) and capsys.readouterr().err == ""


def test_a_mistake_of_the_builder_is_not_blamed_on_the_user(monkeypatch):
    def broken(shape, source=None, encoding="ncode", families: str = ""):
        return len(3)

    monkeypatch.setattr("data_builders.hpo.make_source", broken)
    with pytest.raises(TypeError, match="has no len"):
        build.make_source({"builder": "hpo", "families": "hpolib"}, SHAPE, {})
