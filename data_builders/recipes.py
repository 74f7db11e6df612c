"""Data recipes (recipes/data/*.yaml): reading and checking them, and what stands in for sources that are missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from search.errors import UserError, did_you_mean
from search.files import find

BUILDERS = {
    name: f"data_builders.{name}:make_source" for name in ("nb101", "nb201", "nb301", "nbasr", "graph", "hpo", "table")
}
BUILDERS["synthetic"] = "data_builders.prior.text_rows:make_source"
HOW_TO_GET = {
    "nb101": "nasbench_only108.tfrecord (499 MB) from storage.googleapis.com/nasbench",
    "nb301": "the runs (results_*.json) from figshare 13246952, unpacked into a folder",
    "nbasr": "nb-asr-e40-*.pickle from the releases of github.com/SamsungLabs/nb-asr, in a folder",
}
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
SHARED = (
    "samples",
    "seed",
    "format",
    "history",
    "candidates",
    "candidate_kind",
    "order",
    "no_pruning",
    "p_decision",
    "p_option",
    "small",
    "direct",
    "shuffle_scores",
    "encoding",
)


def read_recipe(path: str | Path) -> dict[str, dict[str, Any]]:
    """{set name: its settings, the common ones filled in}, checked."""
    path = find(path)
    if not path.is_file():
        known = sorted(p.name for p in find("recipes/data").glob("*.yaml"))
        raise did_you_mean("recipe", str(path), [f"recipes/data/{k}" for k in known])
    try:
        recipe = _OneOfEach(path.read_text(encoding="utf-8")).get_single_data()
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not YAML ({why}) - see recipes/data for examples - correct it") from error
    if not isinstance(recipe, dict) or set(recipe) - {"common", "sets"} or not isinstance(recipe.get("sets"), dict):
        found = ", ".join(sorted(map(str, recipe))) if isinstance(recipe, dict) else f"a {type(recipe).__name__}"
        raise UserError(f"{path} must hold 'sets' and may hold 'common' - it has {found} - correct it")
    common = recipe.get("common") or {}
    if not isinstance(common, dict) or not recipe["sets"]:
        raise UserError(f"{path} must hold at least one set, and 'common' is {{option: value}} - correct it")
    return {name: _checked(name, common, settings) for name, settings in recipe["sets"].items()}


def _checked(name: Any, common: dict[str, Any], settings: Any) -> dict[str, Any]:
    """The settings of a set with the common ones filled in."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(
            f"a set is called {name!r} - a name is made of letters, digits and _-. - it names a file; change it"
        )
    if not isinstance(settings, dict):
        raise UserError(f"set '{name}' is a {type(settings).__name__} - it must be {{builder: ..., option: value}}")
    settings = {**common, **settings}
    of = settings.get("of", {})
    if settings.get("builder") != "mixed":
        if of:
            raise UserError(f"set '{name}' has 'of' - only mixed sets are made of others - use builder: mixed")
        builders = [settings.get("builder")]
    else:
        if not of or not isinstance(of, dict):
            raise UserError(f"set '{name}' is mixed of nothing - 'of: {{builder: weight}}' is needed - add it")
        for builder, weight in of.items():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < 1e9:
                raise UserError(f"set '{name}' gives {builder} the weight {weight!r} - a number above 0 is needed")
        if own := sorted(map(str, set(settings) - {"builder", "of", *SHARED})):
            raise UserError(
                f"set '{name}' is mixed and has {', '.join(own)} - mixed sets take shared options only - leave it out"
            )
        builders = list(of)
    for builder in builders:
        if not isinstance(builder, str) or builder not in BUILDERS:
            raise did_you_mean(f"builder of set '{name}'", str(builder), BUILDERS)
    for number in ("seed", "samples"):
        if isinstance(value := settings.get(number, 0), bool) or not isinstance(value, int):
            raise UserError(f"set '{name}' has {number}: {value!r} - a whole number is needed - correct it")
    return settings


class _OneOfEach(yaml.SafeLoader):
    """YAML in which no key may come twice: a second set of a name would replace the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A dictionary; YAMLError for a key that comes twice."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise yaml.YAMLError(f"{', '.join(twice)} is there twice, line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def builders_of(settings: Mapping[str, Any]) -> list[str]:
    """The builders a set needs."""
    return list(settings["of"]) if settings["builder"] == "mixed" else [settings["builder"]]


def missing_sources(sets: Mapping[str, Mapping[str, Any]], sources: Mapping[str, str]) -> dict[str, str]:
    """{builder: what to get} for sources that a set needs and that are not given; UserError for one given that does not
    exist.
    """
    for name, path in sources.items():
        if name not in BUILDERS:
            raise did_you_mean("source", name, BUILDERS)
        if not Path(path).exists():
            raise UserError(
                f"source {name}={path} does not exist - {HOW_TO_GET.get(name, 'a file or folder')} is needed - correct"
                " the path"
            )
    needed = {b for settings in sets.values() for b in builders_of(settings)}
    return {b: HOW_TO_GET[b] for b in sorted(needed & set(HOW_TO_GET)) if b not in sources}


def substituted(sets: Mapping[str, dict[str, Any]], missing: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The sets with synthetic rows in place of missing sources, under the name synthetic_for_NAME."""
    out = {}
    for place, (name, settings) in enumerate(sets.items(), start=1):
        lost = [b for b in builders_of(settings) if b in missing]
        if lost:  # two sets of one seed would otherwise get the same synthetic rows
            settings = {**settings, "seed": settings.get("seed", 0) + 1_000_003 * place}
        if not lost:
            out[name] = settings
        elif settings["builder"] == "mixed":
            weights = {b: w for b, w in settings["of"].items() if b not in lost}
            weights["synthetic"] = weights.get("synthetic", 0) + sum(settings["of"][b] for b in lost)
            out[f"synthetic_for_{name}"] = {**settings, "of": weights}
        else:
            out[f"synthetic_for_{name}"] = {k: v for k, v in settings.items() if k in SHARED} | {"builder": "synthetic"}
    return out
