"""`python -m search.run --check RECIPE`: what would run, how long, how many tokens; nothing is run or written.

Tokens are counted on prompts rendered from made-up histories, one every eighth of the budget, at the ranker's
characters a token. Time is measured where that costs next to nothing: one call of a ranker that runs here.
Evaluations: the task's `seconds` if it has that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from search.cli.assemble import Rankers, build_task, complete, reachable
from search.cli.checks import arm_settings
from search.errors import UserError, did_you_mean
from search.prompts import get_format
from search.rankers import ranker_class, usable
from search.spaces import Seen
from search.strategies import STRATEGIES
from search.tasks import Task

OVERHEAD_SECONDS = 0.005  # of a trial beside its evaluation: storage, files, the progress bar


def arms_of(given: Mapping[str, Any], task: Any, out: Path):
    """(folder, settings) of everything that is run: the main run or the recipe's arms, then the controls."""
    named = given["arms"] or {}
    for name, changes in named.items():
        yield (
            out / name,
            complete({**arm_settings(given, changes), "study": f"{given['study']}/{name}"}),
        )
    if not named:
        yield out, given
    controls = given["controls"] if given["controls"] is not None else ",".join(task.controls)
    for name in [c.strip() for c in controls.split(",") if c.strip() and c.strip() != "none"]:
        yield out / "controls" / name, {**given, **_control(name), "study": f"{given['study']}/controls/{name}"}


def _control(name: str) -> dict[str, Any]:
    """The settings that a control changes: another sampler, or another ranker with the same proposals."""
    known = [s for s in STRATEGIES if s != "lmsearcher"]
    if name in known:
        return {"sampler": name, "ranker": None}
    rankers = [f"{r}-ranker" for r in usable("control")]
    if name in rankers:
        return {"sampler": "lmsearcher", "ranker": name.removesuffix("-ranker")}
    raise did_you_mean("control", name, known + rankers)


def check_run(given: Mapping[str, Any]) -> str:
    """The plan as text; UserError for everything that would stop the run at once."""
    task = build_task(given)
    out = Path(given["out"])
    if given["budget"] > reachable(task):
        raise UserError(
            f"budget {given['budget']} was given - {task.name} has {reachable(task)} codes to evaluate - give at most"
            " that"
        )
    lines = [
        f"task      {task.name}: {task.direction} {task.metric}; {len(task.space)} decisions, {task.space.size:.4g}"
        " codes"
        + (f"; table of {len(task.table)} rows, sha256 {task.table.sha256[:12] or 'unknown'}" if task.table else ""),
        f"folder    {out}"
        + (
            " (exists: needs --resume or another --out)"
            if out.exists() and any(out.iterdir()) and not given["resume"]
            else ""
        ),
    ]
    total = 0.0
    unknown = False
    for folder, arm in arms_of(complete(given), task, out):
        seeds, budget = len(arm["seeds"]), arm["budget"]
        evaluation = OVERHEAD_SECONDS if task.table else getattr(task, "seconds", None)
        asked = max(0, budget - arm["warmup"]) if arm["sampler"] == "lmsearcher" else 0
        call = _seconds_a_call(task, arm) if asked else 0.0
        tokens = _tokens(task, arm) if asked else 0
        name = (
            arm["sampler"]
            if not asked
            else f"ranker {arm['ranker']}, {arm['proposal']} proposals, {arm['candidates']} candidates"
        )
        lines.append(f"run       {folder}: {name}; {seeds} seeds x {budget} evaluations = {seeds * budget}")
        if asked:
            speed = (
                f"{1e3 * call:.1f} ms a call here"
                if call is not None
                else "time a call depends on the model and its server"
            )
            read = f"about {tokens * seeds / 1e6:.2f} M tokens read" if tokens else "no tokens"
            lines.append(f"          {seeds * asked} ranking questions; {read}; {speed}")
        if evaluation is None or call is None:
            unknown = True
        total += seeds * (budget * (evaluation or 0.0) + asked * (call or 0.0)) / arm["workers"]
    least = "at least " if unknown else "about "
    why = (
        "; an evaluation or a ranker whose time is not known beforehand is not in it, the progress bar will say"
        if unknown
        else ""
    )
    lines.append(
        f"time      {least}{_duration(total)} with {given['workers']} worker{'s' if given['workers'] > 1 else ''}{why}"
    )
    return "\n".join(lines)


def _seconds_a_call(task: Task, arm: Mapping[str, Any]) -> float | None:
    """Seconds one ranking takes at half the budget; None where asking would need a large model or a server."""
    kind = ranker_class(arm["ranker"])
    if kind.seconds is not None or not kind.local:
        return kind.seconds
    ranker = Rankers(task).get(arm["ranker"], 0, arm["format"])
    history, candidates = _made_up(task, arm["budget"] // 2, arm["candidates"])
    ranker.rank(history, candidates)  # loads a model, fills caches
    begin = time.perf_counter()
    ranker.rank(history, candidates)
    return time.perf_counter() - begin


def _tokens(task: Task, arm: Mapping[str, Any]) -> int:
    """Tokens that a language model reads in one seed; 0 for rankers that read none."""
    kind = ranker_class(arm["ranker"])
    if kind.prompt is None or kind.characters_a_token is None:
        return 0
    style = get_format(arm["format"] or kind.prompt)
    steps = np.linspace(arm["warmup"], arm["budget"], 8).astype(int)
    lengths = [len(style.render(*_made_up(task, int(n), arm["candidates"])).text) for n in steps]
    return int(np.mean(lengths) * (arm["budget"] - arm["warmup"]) / kind.characters_a_token)


def _made_up(task: Task, told: int, candidates: int) -> tuple[list[Seen], list[str]]:
    rng = np.random.default_rng(0)
    codes = task.space.to_codes(task.space.sample(rng, told + candidates))
    return [Seen(c, float(v)) for c, v in zip(codes[:told], rng.uniform(50, 70, told))], codes[told:]


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
