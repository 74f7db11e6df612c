"""What reports are made of: run folders, journals, Optuna storages.

A run is a folder with seed-0, seed-1, ... (trials.jsonl and summary.json in each).
A recipe's folder holds one such folder for each arm instead. Either may hold controls in controls/NAME.
A running search has no summary.json yet and can be read too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.reports.curves import Run, Section, SeedRun
from search.reports.storages import is_storage, read_storage
from search.studies.folder import CONFIGURATION, JOURNAL, SUMMARY, TRIALS, read_summary, read_trials


def read_sections(paths: Sequence[str | Path]) -> list[Section]:
    """All runs under `paths`, grouped by task, metric and direction in the order given.

    UserError when there is none.
    """
    found = {
        run.path.resolve(): run
        for path in paths
        for run in (read_storage(path) if is_storage(path) else _expand(Path(path)))
    }
    runs = list(found.values())
    groups: dict[tuple[str, str, str], list[Run]] = {}
    finished = {r.task: r for r in reversed(runs) if r.metric}
    runs = [r if r.metric else _adopt(r, finished.get(r.task)) for r in runs]
    for run in _distinct_labels(runs):
        groups.setdefault((run.task, run.metric, run.direction), []).append(run)
    return [
        Section(*key, tuple(group), next((r.optimum for r in group if r.optimum is not None), None))
        for key, group in groups.items()
    ]


def _adopt(run: Run, other: Run | None) -> Run:
    """An unfinished run with the metric of a finished one on the same task."""
    return (
        replace(run, metric=other.metric, direction=other.direction, optimum=other.optimum)
        if other
        else replace(run, metric="value")
    )


def _expand(path: Path) -> list[Run]:
    if not path.is_dir():
        raise UserError(
            f"{path} was given - it must be the folder of a run, a journal file or the URL of an Optuna storage - see"
            " `ls runs`"
        )
    if (path / TRIALS).is_file():
        return [_run(path, [path])]
    seeds = _seed_folders(path)
    if not seeds and (path / JOURNAL).is_file():
        return read_storage(path / JOURNAL)
    if seeds:
        found = [_run(path, seeds)]
    else:
        found = [run for p in sorted(path.iterdir()) if p.is_dir() and _is_run(p) for run in _expand(p)]
    found += [_run(p, s) for p in sorted((path / "controls").glob("*")) if p.is_dir() and (s := _seed_folders(p))]
    if not found:
        raise UserError(
            f"{path} holds no run - a run has seed-0/trials.jsonl - start one with `python -m search.run --out {path}`"
        )
    return found


def _is_run(path: Path) -> bool:
    """Whether a folder holds the seeds of a run, or a journal of search.Study."""
    return bool(_seed_folders(path)) or (path / JOURNAL).is_file()


def _seed_folders(path: Path) -> list[Path]:
    found = [p for p in path.glob("seed-*") if (p / TRIALS).is_file()]
    return sorted(found, key=lambda p: (len(p.name), p.name))


def _run(path: Path, folders: Sequence[Path]) -> Run:
    places = (path / CONFIGURATION, path.parent / CONFIGURATION, path.parent.parent / CONFIGURATION)
    started = next((read_summary(f) for f in places if f.is_file()), {})
    seeds = tuple(
        SeedRun(
            f.name.removeprefix("seed-"),
            read_trials(f / TRIALS),
            read_summary(f / SUMMARY),
            _budget(read_summary(f / SUMMARY), started),
        )
        for f in folders
    )
    first: Mapping[str, Any] = next((s.summary for s in seeds if s.summary), {})
    first = first or {"task": started.get("task")}
    optimum = first.get("optimum")
    return Run(
        label=path.name,
        path=path,
        seeds=seeds,
        control=path.resolve().parent.name == "controls",
        task=str(first.get("task") or path.name),
        metric=str(first.get("metric") or ""),
        direction=str(first.get("direction") or "maximize"),
        optimum=float(optimum) if isinstance(optimum, (int, float)) else None,
    )


def _budget(*said: Mapping[str, Any]) -> int | None:
    """The first budget that is stated: by a seed's summary, else by its run."""
    return next((s["budget"] for s in said if isinstance(s.get("budget"), int)), None)


def _distinct_labels(runs: Sequence[Run]) -> list[Run]:
    """Labels that tell the runs of one section apart: parents' names are prepended until they differ."""
    out = []
    for run in runs:
        others = [
            r for r in runs if r is not run and r.path != run.path and r.task == run.task and r.metric == run.metric
        ]
        depth = 1
        while depth < len(run.path.parts) and any(_tail(o.path, depth) == _tail(run.path, depth) for o in others):
            depth += 1
        out.append(replace(run, label=_tail(run.path, depth)))
    return out


def _tail(path: Path, depth: int) -> str:
    return "/".join(p for p in path.parts[-depth:] if p != "controls")
