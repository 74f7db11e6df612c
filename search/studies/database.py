"""A database under a study: Optuna's tables, read and written in a fifth of Optuna's statements.

Optuna asks the database about each parameter and each note of a new trial while it holds the lock of the study, and
reads everything about every running trial at each look: 56 statements and 64 ms of processor time a trial of eight
parameters on PostgreSQL, during most of which other workers wait. Here it is 12 statements and 11 ms: the parameters
are written at once, and a look costs one statement where nothing has changed. The tables stay Optuna's: its dashboard
and its own storage read and write them too.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Container, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import String, Text, bindparam, cast, insert, literal_column, null, or_, select, union_all, update

TRIALS: Any = models.TrialModel.__table__
PARAMS: Any = models.TrialParamModel.__table__
VALUES: Any = models.TrialValueModel.__table__
USER: Any = models.TrialUserAttributeModel.__table__
SYSTEM: Any = models.TrialSystemAttributeModel.__table__
STEPS: Any = models.TrialIntermediateValueModel.__table__
OF_STUDY: Any = models.StudyUserAttributeModel.__table__
AT_ONCE = 500  # trials named in one statement: SQLite takes 999 values in one, its older builds at least

_distribution = lru_cache(maxsize=4096)(json_to_distribution)
_text_of = lru_cache(maxsize=4096)(distribution_to_json)


class Database(RDBStorage):
    """An Optuna storage on a database URL; its trials are remembered, and only what changed is read again.

    A finished trial never changes. A running one is read again when its state did.
    """

    def __init__(self, url: str):
        super().__init__(url)
        self._known: dict[int, dict[int, FrozenTrial]] = {}
        self._read: dict[int, int] = {}  # the last trial that was read, which may be older than the last that we made
        self._reading = threading.Lock()

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        with self._reading:
            known = self._known.setdefault(study_id, {})
            self._catch_up(study_id, known)
            found = [t for t in known.values() if states is None or t.state in states]
        found.sort(key=_number)
        return copy.deepcopy(found) if deepcopy else found

    def _catch_up(self, study_id: int, known: dict[int, FrozenTrial]) -> None:
        """Read the trials that are new, and those that were running and no longer do."""
        running = [i for i, t in known.items() if not t.state.is_finished()]
        with self.engine.connect() as connection:
            heads = list(connection.execute(_heads(study_id, self._read.get(study_id, -1), running)))
            changed = [h for h in heads if h.trial_id not in known or known[h.trial_id].state != h.state]
            details = _details(connection, [h.trial_id for h in changed]) if changed else {}
        for head in changed:
            known[head.trial_id] = _frozen(head, details.get(head.trial_id, ()))
        if heads:
            self._read[study_id] = max(self._read.get(study_id, -1), heads[-1].trial_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        made = self._create_new_trial(study_id, template_trial)
        with self._reading:
            self._known.setdefault(study_id, {})[made._trial_id] = made
        return made._trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if not state.is_finished():
            return super().set_trial_state_values(trial_id, state, values)
        mine = (TRIALS.c.trial_id == trial_id, TRIALS.c.state.not_in([s for s in TrialState if s.is_finished()]))
        done = {"state": state, "datetime_complete": datetime.now(UTC).replace(tzinfo=None)}
        stored = [(i, *models.TrialValueModel.value_to_stored_repr(v)) for i, v in enumerate(values or ())]
        rows = [{"trial_id": trial_id, "objective": i, "value": v, "value_type": kind} for i, v, kind in stored]
        with self.engine.begin() as connection:
            ended = connection.execute(update(TRIALS).where(*mine).values(**done)).rowcount == 1
            if ended and rows:
                connection.execute(insert(VALUES), rows)
        return ended or super().set_trial_state_values(trial_id, state, values)  # that says what is wrong

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        with self.engine.connect() as connection:
            asked = select(OF_STUDY.c.key, OF_STUDY.c.value_json).where(OF_STUDY.c.study_id == study_id)
            return {key: json.loads(text) for key, text in connection.execute(asked)}

    def _get_prepared_new_trial(self, study_id: int, template_trial: FrozenTrial | None, session: Any) -> Any:
        """Optuna calls this while it holds the lock of the study, so that the number is nobody else's."""
        template = template_trial
        if template is None or template.state != TrialState.RUNNING or template.system_attrs:
            return super()._get_prepared_new_trial(study_id, template, session)
        trial = models.TrialModel(
            study_id=study_id, number=None, state=template.state, datetime_start=template.datetime_start
        )
        session.add(trial)
        session.flush()
        params = [
            {
                "trial_id": trial.trial_id,
                "param_name": name,
                "param_value": template.distributions[name].to_internal_repr(value),
                "distribution_json": _text_of(template.distributions[name]),
            }
            for name, value in template.params.items()
        ]
        notes = [
            {"trial_id": trial.trial_id, "key": key, "value_json": json.dumps(value)}
            for key, value in template.user_attrs.items()
        ]
        for table, rows in ((PARAMS, params), (USER, notes)):
            if rows:
                session.execute(insert(table), rows)
        trial.number = trial.count_past_trials(session)  # last, as SQLite locks at the first write only
        return trial


def _number(trial: FrozenTrial) -> int:
    return trial.number


def _heads(study_id: int, last: int, running: Sequence[int]) -> Any:
    """The statement for number, state and times of the trials behind the last known one, and of the running ones."""
    columns = (TRIALS.c.trial_id, TRIALS.c.number, TRIALS.c.state, TRIALS.c.datetime_start, TRIALS.c.datetime_complete)
    wanted = TRIALS.c.trial_id > last
    if 0 < len(running) <= AT_ONCE:
        wanted = or_(wanted, TRIALS.c.trial_id.in_(running))
    elif running:
        wanted = or_(wanted, TRIALS.c.trial_id >= min(running))
    return select(*columns).where(TRIALS.c.study_id == study_id, wanted).order_by(TRIALS.c.trial_id)


def _details(connection: Any, trial_ids: Sequence[int]) -> dict[int, list[Any]]:
    """What stands in the other tables about some trials: (kind, name, number, text) of each, in order."""
    out: dict[int, list[Any]] = {}
    for i in range(0, len(trial_ids), AT_ONCE):
        for row in connection.execute(EVERYTHING, {"some": trial_ids[i : i + AT_ONCE]}):
            out.setdefault(row.trial_id, []).append(row)
    return out


def _frozen(head: Any, details: Sequence[Any]) -> FrozenTrial:
    """The trial with that number, state and times, as Optuna's storage gives it."""
    kinds: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for row in details:
        kinds[row.kind].append(row)
    spread: dict[str, BaseDistribution] = {r.name: _distribution(r.text) for r in kinds["param"]}
    return FrozenTrial(
        number=head.number,
        state=head.state,
        value=None,
        values=[_value(r) for r in sorted(kinds["value"], key=lambda r: int(r.name))] or None,
        datetime_start=_local(head.datetime_start),
        datetime_complete=_local(head.datetime_complete),
        params={r.name: spread[r.name].to_external_repr(r.number) for r in kinds["param"]},
        distributions=spread,
        user_attrs={r.name: json.loads(r.text) for r in kinds["user"]},
        system_attrs={r.name: json.loads(r.text) for r in kinds["system"]},
        intermediate_values={int(r.name): _value(r) for r in kinds["step"]},
        trial_id=head.trial_id,
    )


def _value(row: Any) -> float:
    """A stored value or intermediate value: infinities and NaN have names."""
    return row.number if row.text == "FINITE" else float({"INF_POS": "inf", "INF_NEG": "-inf", "NAN": "nan"}[row.text])


def _one(kind: str, table: Any, name: Any, number: Any, text: Any, order: Any) -> Any:
    """One part of EVERYTHING."""
    columns: Any = (literal_column(f"'{kind}'").label("kind"), table.c.trial_id, cast(name, String(512)).label("name"))
    more = (number.label("number"), cast(text, Text).label("text"), order.label("place"))
    return select(*columns, *more).where(table.c.trial_id.in_(bindparam("some", expanding=True)))


def _everything() -> Any:
    """The statement for all that is known about `some` trials, in one question instead of five."""
    nothing, p, v, s = null(), PARAMS.c, VALUES.c, STEPS.c
    return union_all(
        _one("param", PARAMS, p.param_name, p.param_value, p.distribution_json, p.param_id),
        _one("value", VALUES, v.objective, v.value, v.value_type, v.trial_value_id),
        _one("user", USER, USER.c.key, nothing, USER.c.value_json, USER.c.trial_user_attribute_id),
        _one("system", SYSTEM, SYSTEM.c.key, nothing, SYSTEM.c.value_json, SYSTEM.c.trial_system_attribute_id),
        _one("step", STEPS, s.step, s.intermediate_value, s.intermediate_value_type, s.trial_intermediate_value_id),
    ).order_by("trial_id", "place")


KINDS = ("param", "value", "user", "system", "step")
EVERYTHING = _everything()


def _local(moment: datetime | None) -> datetime | None:
    """A stored time (UTC) as Optuna gives it out: local, without a zone."""
    return moment and moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
