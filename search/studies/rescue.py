"""What trials.jsonl knows and the storage does not: the second copy of a study, held against the first on resuming.

A journal that was lost, emptied or cut short is rebuilt from it; one that says something else is refused. A database
is compared alone: other machines may write to it, so nothing is put back there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.spaces import Space
from search.studies.evaluate import Outcome
from search.studies.folder import STATES, SUMMARY, TRIALS, read_summary
from search.studies.trial import Trial
from search.studies.trials import Store


def told_before(path: Path, space: Space) -> list[Trial]:
    """The trials that a trials.jsonl holds, in number order; lines that say nothing readable are passed over.

    UserError when two lines give one number to different trials.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror} - fix the permissions, then resume") from error
    told: dict[int, Trial] = {}
    for line in lines:
        trial = _trial(line, space)
        if trial is not None and not _same(told.setdefault(trial.number, trial), trial):
            raise _contradiction(path, trial, told[trial.number])
    return [told[number] for number in sorted(told)]


def _trial(line: bytes, space: Space) -> Trial | None:
    """The finished trial that a line describes, None when it does not."""
    try:
        row = json.loads(line)
        value = None if row["value"] is None else float(row["value"])
        right = type(row["number"]) is int and row["number"] >= 0 and row["state"] in STATES
        right = right and (value is None) == (row["state"] == "FAIL") and (value is None or isfinite(value))
        notes: dict[str, Mapping[str, Any]] = {k: dict(row.get(k) or {}) for k in ("metrics", "constraints", "ranker")}
        trial = Trial(
            number=row["number"],
            code=space.check(row["code"]),
            arch=space.decode(row["code"]),
            origin=str(row["origin"]),
            state=row["state"],
            value=value,
            seconds=None if row["seconds"] is None else float(row["seconds"]),
            reason=row.get("reason"),
            traceback=row.get("traceback"),
            **notes,
        )
    except (ValueError, KeyError, TypeError, RecursionError, UserError):
        return None
    return trial if right else None


def _same(one: Trial, other: Trial) -> bool:
    return (one.code, one.state, one.value) == (other.code, other.state, other.value)


def _contradiction(path: Path, here: Trial, there: Trial) -> UserError:
    return UserError(
        f"{path} says that trial {here.number} is code {here.code} with {here.state} {here.value}, but the study says"
        f" {there.code} with {there.state} {there.value} - one of the two was changed - move the wrong one away, then"
        " continue with --resume"
    )


def reconcile(store: Store, folder: Path, exclusive: bool) -> str | None:
    """Put the trials of trials.jsonl that the study lacks back into it; returns what was done (None: nothing).

    exclusive: the storage is the folder's own journal. UserError when the two contradict each other.
    """
    told, trials = told_before(folder / TRIALS, store.space), store.trials()
    if not exclusive:
        _compare(told, trials, folder)
        return None
    if not told and not trials and read_summary(folder / SUMMARY).get("trials"):
        raise UserError(
            f"{folder} has a {SUMMARY} but neither trials in its journal nor a {TRIALS} - nothing is left to continue"
            " from - restore one of them from a copy, or choose another --out"
        )
    count = 0
    for t in told:
        if t.number > len(trials) + count:
            raise UserError(
                f"{folder / TRIALS} has a trial {t.number} but neither it nor the journal has trial"
                f" {len(trials) + count} - a part of both is lost - restore one of them from a copy, or choose another"
                " --out"
            )
        known = trials[t.number] if t.number < len(trials) else None
        if known is None:
            store.restore(t)
        elif known.state == "RUNNING" and known.code == t.code:
            store.finish(known.trial_id, Outcome(t.value, t.reason, t.metrics, t.constraints, t.traceback))
        elif _same(known, t):
            continue
        else:
            raise _contradiction(folder / TRIALS, t, known)
        count += 1
    return f"the journal of {folder} lacked {count} trials, they were taken from {TRIALS}" if count else None


def _compare(told: list[Trial], trials: list[Trial], folder: Path) -> None:
    """UserError when trials.jsonl holds trials that the database lacks: another database, or one that was emptied."""
    missing = Counter((t.code, t.value) for t in told) - Counter((t.code, t.value) for t in trials)
    if missing:
        raise UserError(
            f"{folder / TRIALS} holds {missing.total()} trials that the study in the database lacks - it is another"
            " database, or it was emptied - give the --storage it was started with, or choose another --out"
        )
