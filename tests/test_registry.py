"""From a name to the thing it names: did you mean, options that are taken, arguments that are bound."""

from __future__ import annotations

import pytest

from search.errors import UserError
from search.prompts import FORMATS, get_format
from search.rankers import RANKERS, Ranker, ranker_class
from search.registry import build, options_of, resolve
from search.strategies import STRATEGIES
from search.tables import TABLES
from search.tasks import TASKS


def test_every_name_of_every_registry_leads_somewhere():
    pytest.importorskip("torch")  # the task hat is a task of torch's
    for kind, registry in (("ranker", RANKERS), ("sampler", STRATEGIES), ("task", TASKS), ("format", FORMATS)):
        for name in registry:
            assert resolve(kind, name, registry) is not None
    for name, entry in TABLES.items():
        assert callable(resolve("table", name, {name: entry.reader})) and entry.objective != entry.test


def test_an_unknown_name_gets_a_hint():
    with pytest.raises(UserError, match="unknown ranker 'surogate' - did you mean surrogate"):
        resolve("ranker", "surogate", RANKERS)


def test_an_option_that_is_not_taken_is_named_and_the_others_listed():
    with pytest.raises(UserError, match="unknown option of task graph/cora 'metrik' - did you mean metric"):
        build("task", "graph/cora", TASKS, metrik="latency")
    assert options_of(resolve("task", "graph/cora", TASKS)) == ["source", "metric", "epochs"]


def test_a_mistake_inside_a_maker_is_not_taken_for_a_wrong_option(monkeypatch):
    def broken(size=1):
        raise TypeError("unexpected keyword of something deep inside")

    monkeypatch.setattr("search.registry.import_module", lambda name: type("module", (), {"thing": broken}))
    with pytest.raises(TypeError, match="deep inside"):
        build("task", "x", {"x": "anywhere:thing"}, size=2)


def test_rankers_say_what_they_are():
    kinds = {name: ranker_class(name) for name in RANKERS}
    assert all(issubclass(kind, Ranker) and kind.name == name for name, kind in kinds.items())
    assert {n for n, k in kinds.items() if k.control} >= {"random", "oracle", "surrogate"}
    assert not kinds["random"].transcript and kinds["nano"].shared and not kinds["chat"].local
    assert all((k.prompt is None) == (k.characters_a_token is None) for k in kinds.values())


def test_formats_say_what_they_are():
    for name in FORMATS:
        fmt = get_format(name)
        assert fmt.name == name and name in fmt.family and isinstance(fmt.names_code, bool)
        assert isinstance(fmt.sort, bool) and (fmt.read is None or callable(fmt.read))
