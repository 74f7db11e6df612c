"""Settings: every value is checked wherever it stands, passwords and control characters are never shown or written,
and a study refuses settings that it was not started with.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from search import Decision, Space, Study, UserError
from search.cli.checks import arm_settings, parse_seeds
from search.cli.options import settings
from search.errors import cli, printable, without_secrets
from search.run import main
from search.strategies import DEFAULT_PROPOSAL
from search.studies.database import Database
from search.studies.trials import Store
from search.tasks import TASKS, Task

REPOSITORY = Path(__file__).resolve().parent.parent
NB201 = ["--task", "nb201/cifar100", "--ranker", "random", "--quiet"]


def refused(*argv: str) -> str:
    with pytest.raises(UserError) as error:
        settings([str(a) for a in argv])
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--timeout", "inf"], "positive number of seconds"),
        (["--timeout", "nan"], "positive number of seconds"),
        (["--timeout", "-1"], "positive number of seconds"),
        (["timeout=soon"], "positive number of seconds"),
        (["timeout=[1]"], "positive number of seconds"),
        (["--candidates", "1000000000"], "at most 100000"),
        (["candidates=1e9"], "whole number"),
        (["budget=true"], "whole number"),
        (["budget={}"], "whole number"),
        (["workers=100000"], "at most 1024"),
        (["--seeds", "0-99999999999"], "allowed are numbers up to"),
        (["--seeds", "0-4000000000"], "at most 10000 seeds"),
        (["seeds=[]"], "at least one"),
        (["seeds=[true]"], "allowed are"),
        (["seeds=1.5"], "allowed are"),
        (["seeds=-1"], "allowed are"),
        (["preset=[1]"], "unknown preset"),
        (["sampler=[1]"], "must be a text"),
        (["sampler=5"], "unknown sampler"),
        (["proposal={a: 1}"], "must be a text"),
        (["ranker=true"], "must be a text"),
        (["format=[]"], "must be a text"),
        (["direction=3"], "maximize or minimize"),
        (["quiet=5"], "true or false"),
        (["task_option=5"], "KEY: VALUE"),
        (["task_option={a: [1]}"], "KEY: VALUE"),
        (["latency_limit=.inf"], "positive number of milliseconds"),
        (["decisions=[[1]]"], "must be a text"),
        (["controls=[a]"], "must be a text"),
        (["arms=5"], "mapping"),
        (["arms={a: 5}"], "mapping"),
        (["arms={../x: {ranker: random}}"], "files stay inside"),
        (["arms={a: {budget: many}}"], "whole number"),
        (["arms={a: {workers: 0}}"], "whole number"),
        (["arms={a: {seeds: x}}"], "allowed are"),
        (["arms={a: {timeout: -1}}"], "positive number"),
        (["arms={a: {preset: nope}}"], "unknown preset"),
        (["arms={a: {task: nb201/cifar10}}"], "all arms of a recipe search the same thing"),
        (["arms={a: {ranker: [[1]]}}"], "it must be one value"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_odd_values_are_one_sentence(argv, said):
    assert said in refused("--task", "nb201/cifar100", *argv)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"task: 2001-99-99\n",
        b"[" * 2000,
        b"task: nb201/cifar10\nname: [1]\n",
        b"task: nb201/cifar10\nname: 5\n",
    ],
    ids=["not text", "no date", "deep", "list as a name", "number as a name"],
)
def test_odd_recipes_are_one_sentence_or_fine(tmp_path, content):
    (tmp_path / "r.yaml").write_bytes(content)
    if content.endswith(b"name: 5\n"):
        assert settings(["--recipe", str(tmp_path / "r.yaml")])[0]["out"] == "runs/5"
    else:
        assert refused("--recipe", tmp_path / "r.yaml")


def test_a_recipe_that_nests_without_end_is_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    for key in ("seeds", "ranker", "task_option", "preset", "name", "arms", "history_control"):
        (tmp_path / "r.yaml").write_text("task: nb201/cifar10\nx: &b\n  " + "\n  ".join(lines) + f"\n{key}: *a11\n")
        refused("--recipe", tmp_path / "r.yaml")
        (tmp_path / "s.yaml").write_text(f"task: nb201/cifar10\n{key}:\n  " + "\n  ".join(lines) + "\n")
        refused("--recipe", tmp_path / "s.yaml")


def test_an_arm_may_have_its_own_preset_and_seeds(tmp_path):
    recipe = (
        "task: nb201/cifar10\nbudget: 9\narms:\n  a: {preset: paper, budget: 8, seeds: 3-4}\n  b: {sampler: random}\n"
    )
    (tmp_path / "r.yaml").write_text(recipe)
    assert main(["--recipe", str(tmp_path / "r.yaml"), "ranker=random", "--quiet", "--out", str(tmp_path / "o")]) == 0
    assert sorted(p.name for p in (tmp_path / "o" / "a").iterdir()) == ["seed-3", "seed-4"]
    said = json.loads((tmp_path / "o" / "a" / "seed-3" / "summary.json").read_text())["configuration"]
    assert (said["proposal"], said["format"], said["budget"]) == ("uniform", None, 8), "random reads no prompt"
    said = json.loads((tmp_path / "o" / "b" / "seed-0" / "summary.json").read_text())["configuration"]
    assert (said["sampler"], said["budget"]) == ("random", 9)


def test_the_preset_of_an_arm_says_how_it_searches_and_not_how_long(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "task: nb201/cifar10\nranker: surrogate\nbudget: 40\n"
        "arms:\n  paper: {preset: paper, ranker: endpoint:http://127.0.0.1:9/v1#m}\n  best: {preset: best}\n"
    )
    for more, budget in (([], 40), (["--budget", "7"], 7)):
        given, _ = settings(["--recipe", str(recipe), *more])
        arms = {name: arm_settings(given, changes) for name, changes in given["arms"].items()}
        assert [arms[n]["budget"] for n in ("paper", "best")] == [budget] * 2
        assert (arms["paper"]["proposal"], arms["paper"]["format"]) == ("uniform", "paper")
        assert arms["best"]["proposal"] == DEFAULT_PROPOSAL
        assert settings(["--check", str(recipe), *more])[1] is True
    assert "without --ranker" in refused("--task", "nb201/cifar10", "arms={a: {preset: paper}}")


def test_seeds():
    assert parse_seeds("0-4,9") == [0, 1, 2, 3, 4, 9] and parse_seeds([3, "5-6"]) == [3, 5, 6] and parse_seeds(7) == [7]


@pytest.mark.parametrize("content", ["5", "[]", "{", "\xff", '{"task": 5, "arms": 3}', '{"task_option": [1]}'])
@pytest.mark.parametrize("name", ["run.json", "owner.json", "seed-0/summary.json"])
def test_corrupt_files_of_a_run_are_a_sentence_or_no_matter(tmp_path, name, content):
    out = tmp_path / "r"
    assert main([*NB201, "--budget", "6", "--out", str(out)]) == 0
    trials = (out / "seed-0" / "trials.jsonl").read_text()
    (out / name).write_bytes(content.encode("latin-1"))
    try:
        assert main(["--resume", "--quiet", "--out", str(out)]) == 0
    except UserError as error:
        assert name == "run.json" and "\n" not in str(error)
    assert (out / "seed-0" / "trials.jsonl").read_text() == trials


def test_a_corrupt_summary_of_another_seed_is_a_sentence(tmp_path):
    out = tmp_path / "r"
    assert main([*NB201, "--budget", "6", "--seeds", "0-1", "--out", str(out)]) == 0
    (out / "seed-1" / "summary.json").write_text("[")
    with pytest.raises(UserError, match="is not a JSON object"):
        main(["--resume", "--quiet", "--seeds", "0", "--out", str(out)])


SECRET_URLS = [
    "postgresql://me:s:e/cret@db:5432/x",
    "postgresql+psycopg2://me:sec@ret@db:5432/x?a=b",
    "postgresql://db/x?user=me&password=secret",
    "mysql://db/x?charset=utf8&passwd=secret#f",
    "mysql://db/x?ssl_key_password=secret",
    "grpc://me:secret@host:13000",
    "endpoint:http://me:secret@host:8000/v1#model?role=chat",
    "endpoint:https://secret@host/v1#model",
    "endpoint:http://host/v1?api_key=secret#model",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_no_password_is_shown(url):
    for text in (url, f"storage {url} cannot be opened", f"('{url}',)"):
        hidden = without_secrets(text)
        assert "***" in hidden and not any(part in hidden for part in ("secret", "cret", "sec@", "s:e"))
        assert without_secrets(hidden) == hidden
    assert "cret" not in str(UserError(f"{url} is wrong"))


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:///a.db",
        "postgresql://db:5432/x",
        "postgresql://me@db/x",
        "endpoint:http://127.0.0.1:8000/v1#meta/llama@rev?max_tokens=5",
        "raw:models/raw?tokens=768",
        "mail me@host",
    ],
)
def test_what_is_no_password_is_shown(text):
    assert without_secrets(text) == text


class NoAnswers(BaseHTTPRequestHandler):
    """A server that lists one model and answers no question."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "model"}]}')

    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, *_) -> None:
        pass


def test_no_password_is_written_to_a_run_folder(tmp_path, monkeypatch):
    pytest.importorskip("httpx")
    server = ThreadingHTTPServer(("127.0.0.1", 0), NoAnswers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ranker = f"endpoint:http://me:secret@127.0.0.1:{server.server_port}/v1#model?retries=0"
    run = ["--task", "nb201/cifar10", "--ranker", ranker, "--budget", "7", "--quiet"]
    url = f"sqlite:///{tmp_path}/study.db?timeout=5&password=secret"
    monkeypatch.setattr("search.studies.storage.open_storage", lambda _: (_sqlite(tmp_path), None))
    assert main([*run, "--storage", url, "--out", str(tmp_path / "r")]) == 0
    for path in (tmp_path / "r").rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes(), path
    assert b"secret" not in (tmp_path / "study.db").read_bytes()
    with pytest.raises(UserError, match="give --storage again"):
        main(["--resume", "--quiet", "--out", str(tmp_path / "r")])
    with pytest.raises(UserError, match="give --ranker again"):
        main(["--resume", "--quiet", "--storage", url, "--out", str(tmp_path / "r")])
    again = ["--resume", "--quiet", "--storage", url, "--ranker", ranker, "--budget", "8", "--out", str(tmp_path / "r")]
    assert main(again) == 0
    server.shutdown()


def _sqlite(folder: Path):
    import optuna

    return optuna.storages.get_storage(f"sqlite:///{folder}/study.db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:sec@ret@127.0.0.1:1/x",
        "postgresql://me:secret@127.0.0.1:99999/x",
        "postgresql://me:secret@127.0.0.1:port/x",
        "mysql+pymysql://me:sec:ret@127.0.0.1:1/x",
        "grpc://me:secret@localhost:13000",
        "grpc://localhost:99999",
        "grpc://localhost:0",
        "grpc://localhost:port",
        "grpc://",
        "oracle://me:secret@host/x",
        "://",
    ],
)
def test_a_storage_that_cannot_be_opened_is_a_sentence_without_its_password(url):
    with pytest.raises(UserError) as error:
        Study(Space.of_sizes([2]), ranker="random", storage=url)
    said = str(error.value)
    assert "\n" not in said and not any(part in said for part in ("secret", "ret@", "sec@", "sec:"))


def test_a_database_study_refuses_a_run_with_other_settings(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    first = ["--task", "nb201/cifar100", "--quiet", "--storage", url, "--budget", "6"]
    assert main([*first, "--ranker", "random", "--out", str(tmp_path / "a" / "shared")]) == 0
    other = [*first, "--ranker", "surrogate", "--out", str(tmp_path / "b" / "shared")]
    with pytest.raises(UserError, match="started with ranker random, but surrogate was given"):
        main(other)
    with pytest.raises(UserError, match="started with table"):
        main(["--task", "nb201/cifar10", *first[2:], "--ranker", "random", "--out", str(tmp_path / "c" / "shared")])
    assert main([*other[:-1], str(tmp_path / "e" / "shared"), "--study", "mine"]) == 0
    same = [*first, "--ranker", "random", "--budget", "9", "--out", str(tmp_path / "d" / "shared")]
    assert main(same) == 0
    rows = (tmp_path / "d" / "shared" / "seed-0" / "trials.jsonl").read_text().splitlines()
    assert len(rows) == 9 and rows[:5] == (tmp_path / "a/shared/seed-0/trials.jsonl").read_text().splitlines()[:5]


@pytest.mark.parametrize("late", ["before the other's first trial", "after it"])
def test_two_runs_that_start_a_study_at_the_same_moment_do_not_mix(tmp_path, monkeypatch, late):
    def started(**settings) -> Study:
        return Study(Space.of_sizes([4] * 4), sampler="random", storage=url, settings=settings)

    def objective(code: str, seed: int) -> float:
        return 1.0

    url = f"sqlite:///{tmp_path}/study.db"
    first = started(table="a")
    if late == "after it":
        first.run(objective, 1)
    look = Store.attribute
    looks: list[str] = []

    def before_the_first_wrote(self: Store, key: str):
        looks.append(key)
        return None if looks.count("settings") == 1 and key == "settings" else look(self, key)

    monkeypatch.setattr(Store, "attribute", before_the_first_wrote)
    second = started(table="b")
    monkeypatch.undo()
    with pytest.raises(UserError, match="was started with table b, but a was given"):
        first.run(objective, 3)
    if late == "after it":
        with pytest.raises(UserError, match="holds trials of a run with other settings"):
            second.run(objective, 3)
    else:
        assert second.run(objective, 3).why == "budget"


def test_trials_that_were_begun_elsewhere_are_not_counted_as_told(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/study.db"
    run = ["--task", "nb201/cifar100", "--sampler", "random", "--quiet", "--storage", url]
    assert main([*run, "--budget", "3", "--out", str(tmp_path / "r")]) == 0
    storage = Database(url)
    foreign = {"code": "000000", "origin": "uniform", "owner": {"host": "elsewhere", "pid": 1, "start": "1"}}
    ((study),) = storage.get_all_studies()
    trial_id = storage.create_new_trial(study._study_id)
    for key, value in foreign.items():
        storage.set_trial_user_attr(trial_id, key, value)
    more = ["--resume", "--quiet", "--budget", "6", "--out", str(tmp_path / "r")]
    assert main(more) == 0
    said = capsys.readouterr().out
    assert "5 of 6 evaluations" in said and "1 more were begun elsewhere" in said
    assert main([*more, "--take-over"]) == 0
    said = capsys.readouterr().out
    assert "6 of 6 evaluations" in said and "elsewhere" not in said


def test_control_characters_are_escaped():
    assert printable("naïve \U0001f600") == "naïve \U0001f600"
    assert printable("a\x1b[31mb\u202ec\x07\n", keep="\n") == "a\\x1b[31mb\\u202ec\\x07\n"
    assert str(UserError("a\x1b[2Jb\nc\u2066")) == "a\\x1b[2Jb\\nc\\u2066"


def test_names_that_steer_a_terminal_are_shown_as_text(tmp_path, capsys):
    path = tmp_path / "odd.csv"
    path.write_text(
        "dep\x1b[2Jth,wid\u202eth,loss\n" + "".join(f"{i % 4},{i // 4}\x1b]0;x\x07,{i}\n" for i in range(16))
    )
    argv = ["--table", str(path), "--decisions", "dep\x1b[2Jth,wid\u202eth", "--metric", "loss", "--ranker", "random"]
    assert main([*argv, "--budget", "5", "--out", str(tmp_path / "r")]) == 0
    said = capsys.readouterr()
    assert "\\x1b[2J" in said.out
    assert not any(c in said.out for c in "\x1b\u202e\x07")


SETS = """
from search import Decision, Space, Study
options = [{"conv", "pool", "skip"}, frozenset({"a", "b", "c"}), [{"x", "y", "z"}, 1], {"k": {"p", "q"}}]
study = Study(Space([Decision("ops", options), Decision("d", (1, 2, 3))]), sampler="random", storage=%r)
study.run(lambda code, seed: float(int(code, 4)), %d)
print(len(study.trials))
"""


def test_options_that_are_sets_can_be_resumed(tmp_path):
    journal = str(tmp_path / "journal.log")
    for hash_seed, budget in (("1", 3), ("2", 5), ("77", 8)):
        command = [sys.executable, "-c", SETS % (journal, budget)]
        done = subprocess.run(
            command, cwd=REPOSITORY, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True
        )
        assert done.stdout.strip() == str(budget), done.stderr


def test_one_and_true_are_two_options():
    space = Space([Decision("x", (1, True)), Decision("y", (0, False, 0.0)), Decision("z", (2, "2"))])
    for code in space.to_codes(space.sample(np.random.default_rng(0), 50)):
        assert space.encode(space.decode(code)) == code
    assert space.encode({"x": 1.0, "y": 0, "z": 2}) == "000", "an equal value stands for an option where it is none"
    with pytest.raises(UserError, match="was given 3"):
        space.encode({"x": 3, "y": 0, "z": 2})


class Vandal(Task):
    """Destroys the database of its own study at the fourth evaluation."""

    name = "vandal"
    space = Space.of_sizes([4, 4])

    def evaluate(self, code: str, seed: int) -> float:
        Vandal.count += 1
        if Vandal.count == 4:
            with sqlite3.connect(os.environ["VANDAL"]) as database:
                database.execute("DROP TABLE trial_user_attributes")
                database.execute("DROP TABLE trials")
        return 1.0


def test_whatever_gives_out_is_one_sentence_with_the_line_that_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(TASKS, "vandal", f"{__name__}:Vandal")
    monkeypatch.setenv("VANDAL", str(tmp_path / "study.db"))
    Vandal.count = 0
    run = ["--task", "vandal", "--sampler", "random", "--budget", "9", "--quiet", "--out", str(tmp_path / "r")]
    with pytest.raises(SystemExit) as ended:
        cli(lambda: main([*run, "--storage", f"sqlite:///{tmp_path}/study.db"]))
    said = capsys.readouterr().err
    assert ended.value.code == 1 and said.startswith("error: the run stopped: ") and said.count("\n") == 1
    assert f"python -m search.run --resume --out {tmp_path / 'r'}" in said and "Traceback" not in said
    assert "Traceback" in (tmp_path / "r" / "error.log").read_text()
    assert len((tmp_path / "r" / "seed-0" / "trials.jsonl").read_text().splitlines()) == 3
