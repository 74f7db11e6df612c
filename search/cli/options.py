"""What can be asked on the command line of `python -m search.run`, in a recipe, or by a preset; later layers win.

defaults  <  --preset  <  --recipe FILE  <  (with --resume) the run's own run.json  <  KEY=VALUE  <  --flags
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.cli.checks import (
    arm_settings,
    checked,
    hide_secrets,
    preset_settings,
    read_as_paper,
    shown,
    task_options,
)
from search.cli.parser import parser
from search.errors import HIDDEN, UserError, did_you_mean
from search.files import find
from search.rankers import default_ranker, ranker_class
from search.strategies import DEFAULT_PROPOSAL
from search.studies.folder import CONFIGURATION, read_object

DEFAULTS: dict[str, Any] = {
    "task": None,
    "table": None,
    "decisions": None,
    "code_column": None,
    "metric": None,
    "direction": None,
    "test_metric": None,
    "task_option": {},
    "latency_limit": None,
    "ranker": None,
    "proposal": DEFAULT_PROPOSAL,
    "sampler": "lmsearcher",
    "format": None,
    "history_control": None,
    "budget": 192,
    "seeds": "0",
    "candidates": 10,
    "warmup": 5,
    "workers": 1,
    "max_failures": None,
    "timeout": None,
    "controls": None,
    "allow_repeats": False,
    "storage": None,
    "study": None,
    "out": None,
    "resume": False,
    "take_over": False,
    "log": None,
    "quiet": False,
    "arms": None,
}
NOT_IN_RECIPES = ("out", "storage", "study", "resume", "take_over")
MAY_CHANGE = (
    "table",  # it may be somewhere else; a study takes none of another content
    "budget",
    "workers",
    "max_failures",
    "timeout",
    "controls",
    "out",
    "resume",
    "take_over",
    "storage",
    "log",
    "quiet",
    "seeds",
)
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*$")


def settings(argv: Sequence[str] | None) -> tuple[dict[str, Any], bool]:
    """All layers merged into one dict with the keys of DEFAULTS, and whether only a check was asked for."""
    given = vars(parser().parse_args(argv))
    check = given.pop("check", None)
    recipe_path = given.pop("recipe", None) or check or None
    overrides = dict(_key_value(o) for o in given.pop("overrides", []))
    recipe = read_recipe(recipe_path) if recipe_path else {}
    name = recipe.pop("name", None)
    for key in overrides:
        _known(key, "the command line", ("preset",))
    if "task_option" in given:
        given["task_option"] = dict(_key_value(o) for o in given["task_option"])
    layer = {**recipe, **overrides, **given}
    for key, check_one in (("task_option", task_options), ("arms", _arms)):
        if key in layer:
            layer[key] = check_one(layer[key])
    preset = layer.pop("preset", None)
    merged = {**DEFAULTS, **preset_settings(preset)}
    if layer.get("resume") and layer.get("out"):
        merged.update(_remembered(Path(layer["out"]), layer))
    merged.update(layer)
    if layer.get("task_option"):
        merged["task_option"] = {**task_options(recipe.get("task_option")), **layer["task_option"]}
    if merged["latency_limit"] is not None:
        merged["task_option"] = {**task_options(merged["task_option"]), "latency_limit": merged["latency_limit"]}
    merged["arms"] = _arms(merged["arms"])
    merged = checked(merged)
    merged["out"] = str(merged["out"] or Path("runs") / str(name or _default_name(merged)))
    _writable_name(merged["out"])
    merged["study"] = merged["study"] or Path(merged["out"]).resolve().name
    if preset == "paper" and not merged["arms"]:
        merged = read_as_paper(merged)
    if layer.get("format") and merged["sampler"] == "lmsearcher" and not merged["arms"]:
        _check_format(layer["format"], merged["ranker"] or default_ranker())
    for changes in (merged["arms"] or {}).values():
        arm = arm_settings(merged, changes)
        if preset == "paper":
            read_as_paper(arm)
    return merged, check is not None


def read_recipe(path: str | Path) -> dict[str, Any]:
    """A recipe (a file, or one of the shipped ones by its path) as a dict of options; UserError names the key that is
    wrong.

    A recipe cannot say where files are written.
    """
    import yaml

    path = find(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"recipe {path} was given - it cannot be read ({error.strerror}) - see recipes/search/"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(
            f"recipe {path} is not valid YAML: {str(error).splitlines()[-1].strip()} - correct that line"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"recipe {path} holds {type(content).__name__} - it must be a mapping of options")
    recipe = {str(k).replace("-", "_"): v for k, v in content.items()}
    for key in recipe:
        _known(key, str(path), ("name", "preset", "description", "expects"))
    recipe.pop("description", None), recipe.pop("expects", None)
    if recipe.get("name") is not None:
        _plain_name(recipe["name"])
    recipe["arms"] = _arms(recipe.get("arms"))
    return recipe


def _arms(arms: Any) -> dict[str, dict[str, Any]] | None:
    """Arms as a recipe may have them: name -> options, of single values or lists of them; None without any."""
    if arms is None or arms == {}:
        return None
    if not isinstance(arms, dict) or not all(isinstance(a, dict) for a in arms.values()):
        raise UserError("arms of another shape were given - it must be a mapping: arm name -> options")
    out = {}
    for name, arm in arms.items():
        out[_plain_name(name)] = {str(k).replace("-", "_"): v for k, v in arm.items()}
        for key, value in out[str(name)].items():
            _known(key, f"arm {name}", ("preset",))
            for one in value if isinstance(value, list) else [value]:
                if one is not None and not isinstance(one, (str, int, float)):
                    raise UserError(f"arm {name} sets '{key}' to {shown(value)} - it must be one value")
    return out


def _plain_name(name: Any) -> str:
    if isinstance(name, (str, int, float)) and PLAIN_NAME.fullmatch(str(name)):
        return str(name)
    raise UserError(
        f"the name {shown(name)} was given - names are letters, digits, '.', '_' and '-' - files stay inside --out"
    )


def _writable_name(out: str) -> None:
    """UserError for a path that no system can have."""
    try:
        os.stat(out)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise UserError(f"--out {out} was given - it cannot be a folder ({error}) - choose another") from error


def _known(key: str, where: str, also: Sequence[str] = ()) -> None:
    if key in NOT_IN_RECIPES:
        raise UserError(
            f"{where} sets '{key}' - a recipe does not decide where files are written - give --{key.replace('_', '-')}"
            " on the command line"
        )
    if key not in DEFAULTS and key not in also:
        raise did_you_mean(f"option in {where}", key, [k for k in DEFAULTS if k not in NOT_IN_RECIPES])


def _key_value(text: str) -> tuple[str, Any]:
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"'{text}' was given - it must read KEY=VALUE - e.g. budget=50")
    try:
        return key.strip().replace("-", "_"), yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        return key.strip().replace("-", "_"), value


def _remembered(out: Path, layer: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the run that is resumed; UserError when the command line contradicts one that may not change."""
    path = out / CONFIGURATION
    if not path.exists():
        return {}
    old = read_object(path)
    if old is None:
        raise UserError(
            f"{path} is damaged: it is not a JSON object - restore it from a copy; or move it away and repeat the whole"
            " command line with --resume"
        )
    old = {k: v for k, v in old.items() if k in DEFAULTS and k not in ("out", "resume", "take_over", "quiet")}
    for key, again in (("storage", "--storage"), ("ranker", "--ranker"), ("arms", "--recipe")):
        if HIDDEN in str(old.get(key)) and key not in layer:
            raise UserError(
                f"{out} was started with {key} {old[key]} - passwords are not written to run folders - give"
                f" {again} again"
            )
    for key, given in layer.items():
        value = hide_secrets(given) if key == "arms" or isinstance(given, str) else given
        same = old.get(key) == value
        if key == "task_option":
            same = {**task_options(old.get(key)), **value} == old.get(key)
        if key in old and key not in MAY_CHANGE and not same:
            raise UserError(
                f"--{key.replace('_', '-')} {value} was given but {out} was started with {old[key]} - "
                "a resumed run keeps its settings - leave it out, or choose another --out"
            )
    return old


def _default_name(merged: Mapping[str, Any]) -> str:
    """Where a run goes that was given no --out: what is searched and how; two metrics of one table are two runs."""
    what = merged["task"] or f"{Path(str(merged['table'] or 'search')).name.split('.')[0]}-{merged['metric'] or ''}"
    how = merged["sampler"] if merged["sampler"] != "lmsearcher" else merged["ranker"] or default_ranker()
    return re.sub(r"[^A-Za-z0-9._]+|-{2,}", "-", f"{what}-{how}").strip("-.")


def _check_format(name: str, ranker: str) -> None:
    """UserError for a format that was asked for in so many words and that the ranker would pass over in silence."""
    known = ranker_class(ranker).formats
    if known and name not in known:
        raise UserError(
            f"--format {name} was given - ranker {ranker} asks in its own format, {' or '.join(known)} - leave --format"
            " out, or name a ranker that asks in words: chat:YAML, endpoint:URL#MODEL"
        )
