"""Journals of search.Study and storages of Optuna, read as runs: nothing is written, repaired or created.

A study named NAME/seed-S (as search.run names them in a shared database) is a seed of the run NAME; any other study is
a run of one seed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from search.errors import UserError
from search.optuna_tools import quiet
from search.reports.curves import Run, SeedRun
from search.studies import STUDY
from search.studies.folder import JOURNAL
from search.studies.journal import Journal
from search.studies.storage import address, open_storage

SQLITE = b"SQLite format 3\0"
METRIC_NAMES = "study:metric_names"
SEED = re.compile(r"(?P<run>.+)/seed-(?P<seed>\w+)$")


def is_storage(given: str | Path) -> bool:
    """Whether this names a storage rather than a folder: a URL or an existing file."""
    return "://" in str(given) or Path(given).is_file()


def folder_of(given: str | Path) -> Path:
    """The folder a storage lies in; the current one for a database that is not a file."""
    text = str(given)
    if "://" in text:
        return Path(text.removeprefix("sqlite:///")).parent if text.startswith("sqlite:///") else Path()
    return Path(given).parent


def read_storage(given: str | Path) -> list[Run]:
    """The runs of a journal file, a SQLite file or a database URL; UserError when it holds no study with trials."""
    shown = address(str(given)) if "://" in str(given) else str(given)
    storage = _open(str(given), shown)
    groups: dict[str, list[tuple[str, FrozenStudy]]] = {}
    studies = storage.get_all_studies()
    for study in studies:
        match = SEED.match(study.study_name)
        name, seed = (match["run"], match["seed"]) if match else (study.study_name, "0")
        groups.setdefault(name, []).append((seed, study))
    runs = [_run(storage, str(given), shown, name, seeds, len(groups)) for name, seeds in groups.items()]
    runs = [r for r in runs if r.length]
    if not runs:
        raise UserError(f"{shown} holds no finished trial - {len(studies)} studies are in it - report it later")
    return runs


class _Unchanged(Journal):
    """A journal that is only read; a torn last line is left to whoever is writing it."""

    def __init__(self, path: str):
        self.path = Path(path)
        self._restart()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise UserError(f"{self.path} is only read here - {len(logs)} records were not written")


def _open(given: str, shown: str) -> BaseStorage:
    """The storage, opened for reading where that can be said."""
    file = given.removeprefix("sqlite:///").partition("?")[0] if given.startswith("sqlite:///") else given
    try:
        with quiet():
            if "://" not in file:
                if not Path(file).is_file():
                    raise UserError(f"{shown} was given - there is no such file - check the address")
                with open(file, "rb") as handle:
                    start = handle.read(len(SQLITE))
                if start == SQLITE:
                    return get_storage(f"sqlite:///file:{Path(file).resolve()}?mode=ro&uri=true")
                return JournalStorage(_Unchanged(file))
            return open_storage(given)[0]
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{shown} was given - it is neither a journal of search.Study nor an Optuna storage "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}) - give the file itself"
        ) from error


def _run(
    storage: BaseStorage, given: str, shown: str, name: str, seeds: Sequence[tuple[str, FrozenStudy]], runs: int
) -> Run:
    """One run; its path only serves for telling labels apart."""
    first = seeds[0][1]
    metrics = _metric_names(first)
    place = Path(shown.rpartition("://")[2].partition("?")[0])
    home = place.parent if place.name == JOURNAL else place.with_suffix("")
    directions = ["maximize" if d.name == "MAXIMIZE" else "minimize" for d in first.directions]
    parts = [_seed(storage, seed, study, metrics) for seed, study in seeds]
    return Run(
        label=name,
        path=home if runs == 1 and name == STUDY else home / name,
        seeds=tuple(sorted(parts, key=lambda s: (len(s.seed), s.seed))),
        control="/controls/" in name,
        task=home.resolve().name if "://" not in given else home.name,
        metric=metrics[0],
        direction=directions[0],
        directions=dict(zip(metrics[1:], directions[1:], strict=True)),
        origin="journal" if "space" in first.user_attrs else "optuna",
        address=shown,
        study=first.study_name,
    )


def _metric_names(study: FrozenStudy) -> list[str]:
    named = study.system_attrs.get(METRIC_NAMES)
    if named:
        return [str(n) for n in named]
    return ["value"] if len(study.directions) == 1 else [f"objective {i}" for i in range(len(study.directions))]


def _seed(storage: BaseStorage, seed: str, study: FrozenStudy, metrics: Sequence[str]) -> SeedRun:
    frozen = storage.get_all_trials(study._study_id, deepcopy=False)
    ended = [t for t in frozen if t.state.is_finished() and "void" not in t.user_attrs]
    return SeedRun(seed, tuple(_row(i, t, metrics) for i, t in enumerate(ended)), {})


def _row(number: int, t: FrozenTrial, metrics: Sequence[str]) -> dict[str, Any]:
    """The trial as a line of trials.jsonl has it; further objectives are further metrics."""
    notes, complete = t.user_attrs, t.state == TrialState.COMPLETE
    values = list(t.values or []) if complete else []
    limits = _constraints(t)
    state = "INFEASIBLE" if complete and any(v > 0 for v in limits.values()) else t.state.name
    arch = notes.get("arch")
    row = {
        "number": number,
        "code": str(notes.get("code", "")),
        "arch": dict(arch) if isinstance(arch, Mapping) else dict(t.params),
        "value": float(values[0]) if values else None,
        "test": None,
        "state": state,
        "origin": notes.get("origin", "optuna"),
        "seconds": t.duration.total_seconds() if t.duration else None,
    }
    more = dict(notes.get("metrics") or {}) | dict(zip(metrics[1:], values[1:]))
    reason = notes.get("reason") or ("pruned" if t.state == TrialState.PRUNED else None)
    return row | {k: v for k, v in (("reason", reason), ("metrics", more), ("constraints", limits)) if v}


def _constraints(t: FrozenTrial) -> dict[str, float]:
    """Ours are named, Optuna's are a list; <= 0 is feasible in both."""
    ours, theirs = t.user_attrs.get("constraints"), t.system_attrs.get("constraints")
    if isinstance(ours, Mapping):
        return {str(k): float(v) for k, v in ours.items()}
    return {f"constraint {i}": float(v) for i, v in enumerate(theirs or ())}
