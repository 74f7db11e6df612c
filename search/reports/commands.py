"""The commands that repeat a run and that continue it, from what its summary remembers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from search.reports.curves import Run

FLAGS_ONLY = ("allow_repeats",)
ELSEWHERE = ("latency_limit",)  # is among the task options too
STORED = ("storage", "study")  # a repetition is a new run, with a journal of its own


def repeat_command(run: Run) -> str:
    """The whole command line of a run of search.run, into a new folder; '' when it is not one or nothing is known."""
    known = _configuration(run)
    if run.origin != "run" or not known:
        return ""
    words = ["python", "-m", "search.run"]
    for key, value in known.items():
        if value in (None, False, "", {}, []) or key in (*ELSEWHERE, *STORED) or (key == "controls" and run.control):
            continue
        flag = f"--{key.replace('_', '-')}"
        if key in FLAGS_ONLY:
            words.append(flag)
        elif isinstance(value, Mapping):
            words += [w for k, v in value.items() for w in (flag, f"{k}={v}")]
        elif key == "seeds":
            words += [flag, seeds_text(value)]
        else:
            words += [flag, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return shlex.join([*words, "--out", f"{run.path}-again"])


def continue_command(run: Run) -> str:
    """What goes on with a run: a command line, or the call that opens its storage again."""
    if run.origin == "journal":
        return f"Study(space, direction={run.direction!r}, storage={run.address!r}, name={run.study!r})"
    if run.origin == "optuna":
        return f"optuna.load_study(study_name={run.study!r}, storage={run.address!r})"
    home = _home(run)
    budget = max([s.budget or 0 for s in run.seeds], default=0)
    if any(s.stopped for s in run.seeds):
        return shlex.join(["python", "-m", "search.run", "--resume", "--out", home])
    return shlex.join(["python", "-m", "search.run", "--resume", "--out", home, "--budget", str(2 * budget or 192)])


def seeds_text(seeds: Any) -> str:
    """[0, 1, 2, 5] as '0-2,5'."""
    if not isinstance(seeds, Sequence) or isinstance(seeds, str):
        return str(seeds)
    parts: list[list[int]] = []
    for seed in sorted(int(s) for s in seeds):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def _configuration(run: Run) -> Mapping[str, Any]:
    found = (s.summary.get("configuration") for s in run.seeds)
    return next((c for c in found if isinstance(c, Mapping) and c), {})


def _home(run: Run) -> str:
    """The folder that search.run was given: above the controls, above the arms of a recipe."""
    from search.studies.folder import CONFIGURATION

    places = [run.path, run.path.parent, run.path.parent.parent]
    return str(next((p for p in places if (p / CONFIGURATION).is_file()), run.path))
