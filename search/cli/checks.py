"""What a setting of `python -m search.run` may be, wherever it stood: a flag, a recipe, an arm, KEY=VALUE, run.json."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from search.cli import TRACKERS
from search.errors import UserError, did_you_mean, without_secrets
from search.rankers import HISTORY_CONTROLS, ranker_class
from search.strategies import DEFAULT_PROPOSAL, PROPOSALS, STRATEGIES

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"proposal": "uniform", "format": "paper", "candidates": 10, "warmup": 5, "budget": 192},
    "best": {"proposal": DEFAULT_PROPOSAL, "candidates": 10, "warmup": 5},
}
# key: least, most. The most is far beyond use and far below what fills a machine.
WHOLE = {
    "budget": (1, 10**9),
    "candidates": (1, 100_000),
    "warmup": (0, 10**9),
    "workers": (1, 1024),
    "max_failures": (0, 10**9),
}
POSITIVE = {"timeout": "seconds", "latency_limit": "milliseconds"}
NAMES = ("task", "table", "code_column", "metric", "test_metric", "ranker", "format", "controls", "storage", "study")
FLAGS = ("allow_repeats", "resume", "take_over", "quiet")
SEEDS, LARGEST_SEED = 10_000, 2**32 - 1
# What an arm may not change: all arms search the same thing, on one command line.
NOT_IN_ARMS = (
    "task",
    "table",
    "decisions",
    "code_column",
    "metric",
    "direction",
    "test_metric",
    "task_option",
    "latency_limit",
    "controls",
    "arms",
    "quiet",
)


def checked(merged: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with every value of its kind; UserError for the first that is not."""
    out = dict(merged)
    for key in WHOLE:
        out[key] = _whole(key, merged[key])
    for key, unit in POSITIVE.items():
        out[key] = _positive(key, merged[key], unit)
    for key in (*NAMES, "sampler", "proposal", "out"):
        out[key] = _name(key, merged[key])
    for key in FLAGS:
        if not isinstance(merged[key], bool):
            raise _wrong(key, merged[key], "true or false")
    out["decisions"] = _list_of_names(merged["decisions"])
    out["task_option"] = task_options(merged["task_option"])
    out["seeds"] = parse_seeds(merged["seeds"])
    if merged["history_control"] not in (None, *HISTORY_CONTROLS):
        raise did_you_mean("history control", shown(merged["history_control"]), HISTORY_CONTROLS)
    if merged["direction"] not in (None, "maximize", "minimize"):
        raise _wrong("direction", merged["direction"], "maximize or minimize")
    if out["proposal"] not in PROPOSALS:
        raise did_you_mean("proposal", str(out["proposal"]), PROPOSALS)
    if out["log"] not in (None, *TRACKERS):
        raise did_you_mean("tracking library", str(out["log"]), TRACKERS)
    if out["sampler"] not in STRATEGIES:
        raise did_you_mean("sampler", str(out["sampler"]), STRATEGIES)
    _one_thing(out)
    return out


def arm_settings(given: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an arm of a recipe: those of the run, then the arm's preset, then what the arm says.

    An arm's preset says how it searches, not how long: all arms get the run's budget unless they name one.
    """
    changes = dict(changes)
    preset = changes.pop("preset", None)
    base = {k: v for k, v in preset_settings(preset).items() if k != "budget"}
    for key in changes:
        if key in NOT_IN_ARMS:
            raise UserError(
                f"an arm sets '{key}' - all arms of a recipe search the same thing - write it outside 'arms', or make"
                " two recipes"
            )
    arm = checked({**given, **base, **changes, "arms": None})
    return read_as_paper(arm) if preset == "paper" else arm


def read_as_paper(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of the paper's loop, which has a model that reads its prompt: UserError when none is named, instead
    of a stand-in that reads something else while run.json says 'paper'. A named ranker without prompts loses the
    format.
    """
    if settings["sampler"] == "lmsearcher" and not settings["ranker"]:
        raise UserError(
            "--preset paper was given without --ranker - the paper's loop needs a model that reads its prompt -"
            " give chat:yaml/lmsearcher_8b_chat.yaml, endpoint:URL#MODEL, or by name what shall stand in, e.g. nano"
        )
    reads = not settings["ranker"] or ranker_class(settings["ranker"]).prompt == settings["format"]
    return settings if reads else {**settings, "format": None}


def preset_settings(name: Any) -> dict[str, Any]:
    """The settings of a preset; none without one."""
    if name is not None and (not isinstance(name, str) or name not in PRESETS):
        raise did_you_mean("preset", shown(name), PRESETS)
    return PRESETS[name] if name is not None else {}


def _wrong(key: str, value: Any, allowed: str) -> UserError:
    return UserError(f"--{key.replace('_', '-')} {shown(value)} was given - it must be {allowed} - correct it")


def shown(value: Any) -> str:
    """A value for a message, shortened: a recipe may nest it without end."""
    short = reprlib.Repr()
    short.maxlevel = 2
    return value[:200] if isinstance(value, str) else short.repr(value)


def _whole(key: str, value: Any) -> int | None:
    least, most = WHOLE[key]
    if value is None and key == "max_failures":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(key, value, f"a whole number of at least {least} and at most {most}")
    return value


def _positive(key: str, value: Any, unit: str) -> float | None:
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise _wrong(key, value, f"a positive number of {unit}")
    return number


def _name(key: str, value: Any) -> str | None:
    """A text; a number stands for its digits, as a column may be called 5."""
    if value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool)):
        text = None if value is None else str(value)
        if text is None or (text and "\0" not in text):
            return text
    raise _wrong(key, value, "a text")


def _list_of_names(value: Any) -> list[str] | str | None:
    if isinstance(value, list) and value:
        return [str(_name("decisions", v)) for v in value]
    return _name("decisions", value)


def task_options(value: Any) -> dict[str, Any]:
    """Options of a task: names and single values; none at all is an empty dict."""
    value = {} if value is None else value
    if not isinstance(value, Mapping) or not all(isinstance(v, (str, int, float, type(None))) for v in value.values()):
        raise _wrong("task_option", value, "options of the form KEY: VALUE with one value each")
    return {str(k): v for k, v in value.items()}


def _one_thing(merged: Mapping[str, Any]) -> None:
    if merged["resume"] and not merged["task"] and not merged["table"]:
        raise UserError(
            f"--resume --out {merged['out']} was given - there is no run in that folder - name the folder of a run, or"
            " leave --resume out and say what is searched: --task or --table"
        )
    if (merged["task"] is None) == (merged["table"] is None):
        given = "both --task and --table were" if merged["task"] else "neither --task nor --table was"
        raise UserError(
            f"{given} given - exactly one says what is searched - e.g. --task nb201/cifar100, or --table FILE --metric"
            " COLUMN"
        )
    if merged["table"] and not merged["metric"]:
        raise UserError("--table was given without --metric - say which column to optimise - e.g. --metric accuracy")


def parse_seeds(text: Any) -> list[int]:
    """'0-4,9' -> [0, 1, 2, 3, 4, 9]."""
    parts = text if isinstance(text, list) else (text if isinstance(text, str) else shown(text)).split(",")
    seeds: dict[int, None] = {}
    for part in parts:
        match = re.fullmatch(r"\s*([0-9]{1,11})\s*(?:-\s*([0-9]{1,11})\s*)?", shown(part))
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last > LARGEST_SEED or isinstance(part, bool):
            raise UserError(
                f"--seeds {shown(text)} was given - allowed are numbers up to {LARGEST_SEED} and ranges such as 0-4 or"
                f" 0,3,7 - correct '{shown(part)}'"
            )
        if last - first >= SEEDS or len(seeds) + last - first >= SEEDS:
            raise UserError(f"--seeds {shown(text)} was given - a run has at most {SEEDS} seeds - give fewer")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    if not seeds:
        raise UserError(f"--seeds {shown(text)} was given - at least one is needed - e.g. 0 or 0-4")
    return list(seeds)


def hide_secrets(value: Any) -> Any:
    """A setting as it may be written down: without the passwords in its URLs."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {k: hide_secrets(v) for k, v in value.items()}
    return [hide_secrets(v) for v in value] if isinstance(value, list) else value
