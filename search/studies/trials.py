"""Trials in an Optuna storage: a journal file, a database, a gRPC proxy, or memory. One record starts a trial, one ends
it.

A trial that never was (its worker died, lost the race for a code, or found the budget spent) is *void*: it stays in the
storage as a failed trial with the reason, and everything here looks past it. Numbers are dense over the others. A
running trial whose code an earlier one holds has lost the race: every reader looks past it from its first moment, so
that no number moves when its worker gives it up.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.errors import UserError
from search.optuna_tools import Layout, layout, numbered, quiet
from search.spaces import Seen, Space
from search.studies import STUDY
from search.studies.claims import alive, identity, lives_here
from search.studies.evaluate import Outcome
from search.studies.trial import NOTES, OUTCOME, Trial

EXTERNAL = "external"
MARK = "settings"  # the note of a trial that says with which settings it was started
ORPHAN_SECONDS = 3.0  # for a worker that is ending to tell what it has


class Store:
    """The trials of one study; several processes may hold a Store on the same storage.

    name: None is the only study that the storage has, whatever it is called, or a new one called STUDY.
    """

    def __init__(self, storage: BaseStorage, name: str | None, space: Space, direction: str):
        name = _only_study(storage) if name is None else name
        self.space, self.direction, self.storage, self.name = space, direction, storage, name
        self._sign = 1.0 if direction == "maximize" else -1.0
        self.unique = True  # False: two trials may have one code, so no running trial loses a race
        self._settled: list[Trial] = []
        self._held: set[str] = set()  # canonical codes of the settled
        self._cursor = 0
        self._keys: dict[str, str] = {}
        self._bound: dict[str, Any] = {}
        self._mark: str | None = None
        wanted = StudyDirection.MAXIMIZE if direction == "maximize" else StudyDirection.MINIMIZE
        self._study = _study_called(storage, name, wanted)
        if storage.get_study_directions(self._study) != [wanted]:
            raise UserError(
                f"study '{name}' exists with the other direction than {direction} - give the direction it was started"
                " with, or another --out"
            )
        known, fingerprint = self.attribute("space"), _fingerprint(space)
        if known is None:
            self.set_attribute("space", fingerprint)
        elif known != fingerprint:
            raise UserError(
                f"study '{name}' was started on another search space - decisions and options must stay as they were -"
                " choose another --out"
            )
        self._layout = self._layout_found()

    def _layout_found(self) -> Layout:
        """How this study stores codes: as values, or by option numbers if it was started that way."""
        first = next(iter(self.storage.get_all_trials(self._study, deepcopy=False)), None)
        old, new = numbered(self.space), layout(self.space)
        by_number = first is not None and first.distributions == old.distributions != new.distributions
        return old if by_number else new

    def bind(self, settings: Mapping[str, Any]) -> None:
        """Keep the settings with the study; UserError when it was started with others.

        Of two runs that start a study at the same moment both may think that they were first. So each trial bears a
        mark of its settings, and the settings are looked at again with every trial.
        """
        known = self.attribute("settings")
        if known is None:
            self.set_attribute("settings", dict(settings))
            known = self.attribute("settings")
        self._bound, self._mark = dict(settings), _hash(json.dumps(known, sort_keys=True))
        self._check_settings(known)

    def _check_settings(self, known: Mapping[str, Any]) -> None:
        given = self._bound
        for key in sorted({*known, *given}):
            if known.get(key) != given.get(key):
                raise UserError(
                    f"study '{self.name}' was started with {key} {known.get(key)}, but {given.get(key)} was given -"
                    " a study keeps its settings - give the same, or another --out (in a database: another --study)"
                )

    def trials(self) -> list[Trial]:
        """All trials that count, in number order; finished ones are read once."""
        frozen = self.storage.get_all_trials(self._study, deepcopy=False)
        while self._cursor < len(frozen) and frozen[self._cursor].state.is_finished():
            if not _void(frozen[self._cursor]):
                self._settled.append(self._trial(frozen[self._cursor], len(self._settled)))
                self._held.add(self.key(self._settled[-1].code))
            self._cursor += 1
        out, held = list(self._settled), set(self._held)
        for t in frozen[self._cursor :]:
            if not _void(t):
                trial = self._trial(t, len(out))
                if trial.state != "RUNNING" or not self.unique or self.key(trial.code) not in held:
                    out.append(trial)
                    held.add(self.key(trial.code))
        return out

    def start(self, code: str, origin: str, ranker: Mapping[str, Any] | None = None, external: bool = False) -> int:
        """Create a running trial in one record; returns its id."""
        owner = EXTERNAL if external else identity()
        attributes = self._attributes(code, origin, owner)
        if ranker:
            attributes["ranker"] = dict(ranker)
        template = FrozenTrial(  # create_trial would check every option of every decision again
            number=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params=self._layout.params(code),
            distributions=self._layout.distributions,
            user_attrs=attributes,
            system_attrs={},
            intermediate_values={},
            trial_id=-1,
        )
        return self.storage.create_new_trial(self._study, template)

    def _attributes(self, code: str, origin: str, owner: Any) -> dict[str, Any]:
        arch = {k: _plain(v) for k, v in self.space.decode(code).items()}
        mark = {MARK: self._mark} if self._mark else {}
        return {"code": code, "origin": origin, "owner": owner, "arch": arch} | mark

    def finish(self, trial_id: int, outcome: Outcome) -> None:
        """Tell a running trial what came out: its value, or that it failed and why."""
        for key in OUTCOME:
            if note := getattr(outcome, key):
                self._note(trial_id, key, dict(note) if isinstance(note, Mapping) else note)
        if outcome.reason is None:
            self.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [float(outcome.value)])
        else:
            self.storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def _note(self, trial_id: int, key: str, note: Any) -> None:
        """Keep a note with a trial; metrics that are longer than the database takes (MySQL: 64 KiB) leave a word."""
        try:
            self.storage.set_trial_user_attr(trial_id, key, note)
        except optuna.exceptions.StorageInternalError as error:
            if key != "metrics" or type(error.__cause__).__name__ != "DataError":
                raise
            said = f"{len(json.dumps(note))} bytes of metrics are more than this database takes"
            self.storage.set_trial_user_attr(trial_id, key, {"left_out": said})

    def restore(self, told: Trial) -> None:
        """Put a finished trial back that the storage lost, as the next one."""
        done = datetime.now()
        attributes = self._attributes(told.code, told.origin, EXTERNAL)
        notes = {k: v for k in NOTES if (v := getattr(told, k))}
        template = optuna.trial.create_trial(
            state=TrialState.COMPLETE if told.reason is None else TrialState.FAIL,
            value=told.value,
            params=self._layout.params(told.code),
            distributions=self._layout.distributions,
            user_attrs=attributes | notes,
        )
        template.datetime_start, template.datetime_complete = done - timedelta(seconds=told.seconds or 0.0), done
        self.storage.create_new_trial(self._study, template)

    def void(self, trial_id: int, why: str) -> None:
        """Say that a running trial never was."""
        self.storage.set_trial_user_attr(trial_id, "void", why)
        self.storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def reap(self, take_over: bool = False, exclusive: bool = False) -> int:
        """Void the running trials of dead workers; returns how many. Trials that were asked for outside are left alone.

        take_over: owners on other machines are dead too.
        exclusive: the caller owns the storage, so nobody else can be alive.
        """
        count = 0
        for t in self.storage.get_all_trials(self._study, deepcopy=False, states=(TrialState.RUNNING,)):
            owner = t.user_attrs.get("owner")
            if owner == EXTERNAL and "void" not in t.user_attrs:
                continue
            if exclusive and isinstance(owner, Mapping):
                _outlive(owner)
            state = alive(owner) if isinstance(owner, Mapping) else False
            if exclusive or state is False or (state is None and take_over):
                try:
                    self.void(t._trial_id, "its worker died")
                    count += 1
                except optuna.exceptions.UpdateFinishedTrialError:
                    pass  # another worker gave it back at the same time
        return count

    def running(self) -> list[tuple[int, int | None]]:
        """(trial id, process id of its owner) of every running trial; None: nobody's, or somebody's elsewhere."""
        frozen = self.storage.get_all_trials(self._study, deepcopy=False, states=(TrialState.RUNNING,))
        owners = [t.user_attrs.get("owner") for t in frozen]
        pids = (o.get("pid") if isinstance(o, Mapping) and lives_here(o) else None for o in owners)
        return [(t._trial_id, pid) for t, pid in zip(frozen, pids)]

    def key(self, code: str) -> str:
        """The canonical code, remembered."""
        if code not in self._keys:
            self._keys[code] = self.space.canonical(code)
        return self._keys[code]

    def history(self, trials: list[Trial]) -> list[Seen]:
        """What a strategy may see: completed feasible trials, higher is better."""
        return [Seen(t.code, self._sign * t.value) for t in trials if t.state == "COMPLETE"]

    def best(self, trials: list[Trial]) -> Trial | None:
        """The best completed feasible trial; the earliest of equals."""
        done = [t for t in trials if t.state == "COMPLETE"]
        return max(done, key=lambda t: self._sign * t.value) if done else None

    def attribute(self, key: str) -> Any:
        """A note kept with the study (None: not there)."""
        return self.storage.get_study_user_attrs(self._study).get(key)

    def enqueued(self) -> list[str]:
        """The codes that somebody wants evaluated; UserError when the study's settings have become others."""
        notes = self.storage.get_study_user_attrs(self._study)
        if self._bound:
            self._check_settings(notes.get("settings") or self._bound)
        return notes.get("enqueued") or []

    def set_attribute(self, key: str, value: Any) -> None:
        """Keep a JSON value with the study."""
        self.storage.set_study_user_attr(self._study, key, value)

    def _trial(self, t: FrozenTrial, number: int) -> Trial:
        notes = t.user_attrs
        if self._mark and notes.get(MARK, self._mark) != self._mark:
            raise UserError(
                f"study '{self.name}' holds trials of a run with other settings - two runs were started on it at once -"
                " start one of them again with another --out (in a database: another --study)"
            )
        code = notes.get("code") or self._layout.code(t.params)
        constraints = notes.get("constraints") or {}
        state = t.state.name
        if state == "COMPLETE" and any(c > 0 for c in constraints.values()):
            state = "INFEASIBLE"
        return Trial(
            number=number,
            code=code,
            arch=self.space.decode(code),
            origin=notes.get("origin", "external"),
            state=state,
            value=t.value if t.state == TrialState.COMPLETE else None,
            seconds=_seconds(t.datetime_start, t.datetime_complete),
            reason=notes.get("reason"),
            metrics=notes.get("metrics") or {},
            constraints=constraints,
            ranker=notes.get("ranker") or {},
            traceback=notes.get("traceback"),
            trial_id=t._trial_id,
        )


def _only_study(storage: BaseStorage) -> str:
    """The name of the only study in a storage, STUDY if there is none; UserError when there are several."""
    names = sorted(s.study_name for s in storage.get_all_studies())
    if len(names) > 1 and STUDY not in names:
        raise UserError(
            f"the journal holds {len(names)} studies ({', '.join(names)}) - a run folder's journal holds one - choose"
            " another --out, or open the journal with search.Study(name=...)"
        )
    return names[0] if len(names) == 1 else STUDY


def _study_called(storage: BaseStorage, name: str, direction: StudyDirection) -> int:
    """The id of a study, which is created if it is not there; nothing is written if it is."""
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        pass
    with quiet():
        try:
            return storage.create_new_study([direction], name)
        except optuna.exceptions.DuplicatedStudyError:
            return storage.get_study_id_from_name(name)


def _void(t: FrozenTrial) -> bool:
    return "void" in t.user_attrs or ("code" not in t.user_attrs and t.state == TrialState.FAIL)


def _fingerprint(space: Space) -> str:
    """A hash of names and options: a study must never go on over a changed space."""
    return _hash(re.sub(r" at 0x[0-9a-f]+", "", json.dumps(space.to_dict()["decisions"])))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _outlive(owner: Mapping[str, Any]) -> None:
    """Wait for a worker whose master died; it notices within a second."""
    end = time.monotonic() + ORPHAN_SECONDS
    while owner != identity() and alive(owner) and time.monotonic() < end:
        time.sleep(0.05)


def _plain(option: Any) -> Any:
    """An option as the dashboard may show it."""
    return option if isinstance(option, (int, float, str, bool, type(None))) else str(option)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds(), 6) if start and end else None
