"""What a run leaves behind: runs/NAME/seed-S/{trials.jsonl, summary.json, journal.log, ranker.jsonl}.

The journal is the truth while a run lasts; trials.jsonl and summary.json are written from it, so they can always be
rebuilt.
"""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import UserError
from search.files import write_atomic
from search.studies.claims import OWNERSHIP

if TYPE_CHECKING:
    from search.studies.trial import Trial


def read_trials(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The trials of one seed in order; a torn last line of a running search is left out.

    UserError names a line that is no trial, or that stands where it cannot: numbers rise.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror} - fix the permissions, or name another run") from error
    trials: list[Mapping[str, Any]] = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        trial = _row(text, trials[-1]["number"] if trials else -1)
        if trial is None:
            raise UserError(
                f"{path} line {number} is not the next trial - one JSON object per line is expected, and numbers rise -"
                " continue the run with --resume to repair it"
            )
        trials.append(trial)
    return tuple(trials)


def _row(text: bytes, last: int) -> Mapping[str, Any] | None:
    """The trial that a line describes, None when it describes none that could follow on number `last`."""
    try:
        row = json.loads(text)
        value = row["value"]
        right = type(row["number"]) is int and row["number"] > last and row["state"] in STATES
        return row if right and (value is None or isfinite(value)) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_summary(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    content = read_object(path)
    if content is None:
        raise UserError(
            f"{path} is not a JSON object - it is written by search.run - continue the run with --resume to write it"
            " again"
        )
    return content


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, None when it holds anything else; UserError when it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror} - fix that file, or choose another --out") from error
    return content if isinstance(content, dict) else None


TRIALS, SUMMARY, JOURNAL, CONFIGURATION = "trials.jsonl", "summary.json", "journal.log", "run.json"
STATES = ("COMPLETE", "INFEASIBLE", "FAIL")  # of a trial that is told


def plain(thing: Any) -> Any:
    """For json.dumps(default=plain): numpy scalars and arrays become numbers and lists, anything else its text."""
    return thing.tolist() if hasattr(thing, "tolist") else str(thing)


def line(record: Mapping[str, Any], indent: int | None = None) -> str:
    """One JSON line (or several, with an indent); what UTF-8 cannot hold stays escaped."""
    text = json.dumps(record, default=plain, ensure_ascii=False, indent=indent)
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def write_trials(folder: Path, trials: Sequence[Trial]) -> None:
    """Write trials.jsonl anew from finished trials, in number order."""
    write_atomic(folder / TRIALS, "".join(line(t.row()) for t in trials if t.state != "RUNNING"))


class Rows:
    """trials.jsonl while a run lasts, for those who watch it and as a second copy.

    Trials are added in number order, each once all before it are finished: a number that was written never changes.
    """

    def __init__(self, folder: Path, trials: Sequence[Trial]):
        self._path, self._written = folder / TRIALS, _finished(trials)
        write_trials(folder, trials[: self._written])

    def catch_up(self, trials: Sequence[Trial]) -> None:
        """Add what was finished since the last time."""
        finished = _finished(trials, self._written)
        for trial in trials[self._written : finished]:
            append(self._path, trial.row())
        self._written = finished


def _finished(trials: Sequence[Trial], start: int = 0) -> int:
    """The number of the first trial from `start` on that still runs."""
    return next((i for i in range(start, len(trials)) if trials[i].state == "RUNNING"), len(trials))


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one whole JSON line to a file, or nothing and a UserError when it cannot be written."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _add(handle, line(record).encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror} - everything told so far is safe in {JOURNAL} - "
            "free space or fix the permissions, then continue with --resume"
        ) from error


def _add(handle: int, text: bytes) -> None:
    """One write, as other workers append to the same file; a full disk may take a part of it only, which goes again."""
    start, written = os.fstat(handle).st_size, 0
    try:
        while written < len(text):
            written += os.write(handle, text[written:])
    except OSError:
        if os.fstat(handle).st_size == start + written:
            os.ftruncate(handle, start)
        raise


def anytime(trials: Sequence[Trial], direction: str) -> list[float | None]:
    """Best value after each trial (None until one succeeded)."""
    better = max if direction == "maximize" else min
    out: list[float | None] = []
    best: float | None = None
    for t in trials:
        if t.state == "COMPLETE":
            best = t.value if best is None else better(best, t.value)
        out.append(best)
    return out


def summary(
    description: Mapping[str, Any],
    configuration: Mapping[str, Any],
    trials: Sequence[Trial],
    best: Trial | None,
    ending: str,
    seed: int,
) -> dict[str, Any]:
    """The content of summary.json."""
    notes = [t.ranker for t in trials if t.ranker]
    fallbacks = Counter(n["fallback"] for n in notes if n.get("fallback"))
    return {
        **description,
        "budget": configuration.get("budget"),
        "seed": seed,
        "ending": ending,
        "best": (
            None
            if best is None
            else {"number": best.number, "code": best.code, "arch": best.arch, "value": best.value, "test": best.test}
        ),
        "anytime": anytime(trials, description["direction"]),
        "trials": dict(Counter(t.state for t in trials)),
        "origins": dict(Counter(t.origin for t in trials)),
        "failures": dict(Counter(t.reason for t in trials if t.reason)),
        "ranker": {
            "calls": (
                sum(t.origin in ("uniform", "mutant", "scan", "written", "fallback") for t in trials)
                if configuration.get("sampler") == "lmsearcher"
                else 0
            ),
            "tokens": sum(n.get("tokens", 0) for n in notes),
            "seconds": round(sum(n.get("seconds", 0.0) for n in notes), 3),
            "fallbacks": sum(fallbacks.values()),
            "fallback_reasons": dict(fallbacks),
            "invalid_answers": sum(n.get("invalid", 0) for n in notes),
        },
        "seconds": round(sum(t.seconds or 0.0 for t in trials), 3),
        "configuration": dict(configuration),
        "versions": versions(),
    }


def finish(folder: Path, content: Mapping[str, Any], trials: Sequence[Trial], best: Trial | None) -> None:
    """Write the final trials.jsonl (the test value of the best trial filled in) and summary.json."""
    write_trials(folder, [replace(t, test=best.test) if best and t.number == best.number else t for t in trials])
    write_atomic(folder / SUMMARY, line(content, indent=1))


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    from importlib.metadata import PackageNotFoundError, version

    out = {"python": platform.python_version()}
    for package in ("lm-searcher", "numpy", "optuna", "torch", "transformers", "llamafactory"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            pass
    return out


def check_empty(folder: Path, resume: bool) -> None:
    """UserError when a folder that is to be written holds something and this is not a resume.

    Only the owner of the folder can rely on the answer: anybody else's run may be about to write.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file - a run keeps its files in a folder - choose another --out")
    if not resume and folder.exists() and any(p.name not in OWNERSHIP for p in folder.iterdir()):
        raise UserError(
            f"--out {folder} is not empty - a run never mixes with another - add --resume to continue it, or choose"
            " another --out"
        )
