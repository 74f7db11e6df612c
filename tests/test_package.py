"""What is installed: one command, files found from any folder, a wheel that holds what the checkout holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePath

import pytest

import search
from search.errors import UserError
from search.files import find, shipped

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
INTERPRETERS = ["3.11", "3.12", "3.13"]


def lmsearcher(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command from a folder of the user's, not the repository's."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "lmsearcher", *words],
        cwd=cwd,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_shipped_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find("yaml/lmsearcher_8b.yaml") == shipped() / "yaml/lmsearcher_8b.yaml"
    assert find("models/nano").is_dir()
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "lmsearcher_8b.yaml").write_text("mine")
    assert find("yaml/lmsearcher_8b.yaml").read_text() == "mine", "the user's own file comes first"
    assert find("nowhere/at_all.yaml") == Path("nowhere/at_all.yaml"), "the caller says what is missing"


def test_folders_in_a_chat_yaml_are_found_beside_it(tmp_path, monkeypatch):
    from search.rankers.chat import read_chat_yaml

    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project / "yaml", project / "saves" / "mine", elsewhere):
        folder.mkdir(parents=True)
    (project / "saves" / "mine" / "config.json").write_text("{}")
    (project / "yaml" / "mine_chat.yaml").write_text("model_name_or_path: saves/mine\n")
    monkeypatch.chdir(elsewhere)
    found = read_chat_yaml(str(project / "yaml" / "mine_chat.yaml"))
    assert Path(found["model_name_or_path"]).samefile(project / "saves" / "mine")
    assert Path(read_chat_yaml("yaml/lmsearcher_nano_chat.yaml")["model_name_or_path"]) == find("models/nano_answer")


def test_a_missing_model_is_trained_by_its_own_yaml(tmp_path, monkeypatch):
    from search.rankers.chat import read_chat_yaml

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"train it first: llamafactory-cli train yaml/lmsearcher_8b\.yaml$"):
        read_chat_yaml("yaml/lmsearcher_8b_chat.yaml")


def test_the_command_is_every_module_under_one_name(tmp_path):
    said = lmsearcher(cwd=tmp_path)
    assert said.returncode == 0 and "report" in said.stdout
    for command, module in (("run", "search.run"), ("check", "data_builders.check")):
        ours = lmsearcher(command, "--help", cwd=tmp_path).stdout
        theirs = subprocess.run(
            [sys.executable, "-P", "-m", module, "--help"], env=ENVIRONMENT, capture_output=True, text=True
        ).stdout
        assert ours.startswith(f"usage: lmsearcher {command} ")
        assert ours.split("--help")[1].split()[:40] == theirs.split("--help")[1].split()[:40]
    wrong = lmsearcher("runn", cwd=tmp_path)
    assert wrong.returncode == 2 and "did you mean run?" in wrong.stderr and "Traceback" not in wrong.stderr


def test_version_and_list(tmp_path):
    assert f"lm-searcher {search.__version__}" in lmsearcher("--version", cwd=tmp_path).stdout
    listed = lmsearcher("--list", cwd=tmp_path).stdout
    from search.prompts import FORMATS
    from search.rankers import RANKERS
    from search.strategies import PROPOSALS, STRATEGIES
    from search.tasks import TASKS

    shipped = [
        n for n, where in FORMATS.items() if where.startswith("search.")
    ]  # not an ablation's that a test entered
    for name in (*TASKS, *RANKERS, *STRATEGIES, *PROPOSALS, *shipped):
        assert re.search(rf"^  {re.escape(name)} +\S", listed, re.MULTILINE), f"{name} has no line of its own"
    assert re.search(r"^  nb201/cifar100 +\[source, metric, epochs\]", listed, re.MULTILINE), "options of the task"


def test_exports_exist_and_importing_minimize_loads_neither_optuna_nor_torch():
    assert all(getattr(search, name) is not None for name in search.__all__)
    code = (
        "import sys; from search import minimize; print([m for m in ('optuna', 'torch', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_type_checkers_see_every_export():
    source = Path(search.__file__).read_text()
    for name in search.__all__:
        assert f"import {name} as {name}" in source
    assert Path(search.__file__).with_name("py.typed").is_file()


def test_completion_knows_commands_and_options(tmp_path):
    pytest.importorskip("shtab")
    for shell in ("bash", "zsh"):
        script = lmsearcher("completion", shell, cwd=tmp_path)
        assert script.returncode == 0, script.stderr
        assert "--proposal" in script.stdout and "report" in script.stdout
    bash = lmsearcher("completion", "bash", cwd=tmp_path).stdout
    asked = "COMP_WORDS=(lmsearcher ru); COMP_CWORD=1; _shtab_lmsearcher; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", f"{bash}\n{asked}"], capture_output=True, text=True)
    assert done.stdout.split() == ["run"], done.stderr


def test_a_users_search_py_is_named_instead_of_an_import_error(tmp_path):
    (tmp_path / "search.py").write_text("print('mine')\n")
    said = lmsearcher("--list", cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{REPOSITORY}")
    assert said.returncode == 2
    assert str(tmp_path / "search.py") in said.stderr and "rename" in said.stderr and "Traceback" not in said.stderr
    script = "from lmsearcher import minimize"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "rename that file" in done.stderr
    done = subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True)
    assert done.returncode == 0


def test_files_are_copied_to_train_with_and_none_is_overwritten(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{}")
    assert lmsearcher("files", "--copy", ".", cwd=tmp_path).returncode == 0
    assert (tmp_path / "yaml" / "lmsearcher_tiny.yaml").is_file() and (tmp_path / "models/tiny/config.json").is_file()
    assert (tmp_path / "dataset_info.json").read_text() == "{}"
    assert "0 of" in lmsearcher("files", "--copy", ".", cwd=tmp_path).stdout


def test_what_is_tracked_beside_the_packages_is_on_the_list_of_the_wheel():
    setup, manifest = ((REPOSITORY / name).read_text() for name in ("setup.py", "MANIFEST.in"))
    patterns = re.findall(r'^    "([^"]+)",', setup, re.MULTILINE)
    for name in tracked("models", "yaml", "recipes", "data", "dataset_info.json"):
        assert any(PurePath(name).match(p) or fnmatch(name, p.replace("**/", "")) for p in patterns), (
            f"{name}: setup.py"
        )
        top = "/".join(name.split("/")[:2]) if name.startswith("models/") else name.split("/")[0]
        assert top in manifest, f"{name}: MANIFEST.in"


# ---------------------------------------------------------------------------------------------------- the wheel itself


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built from the tracked files alone."""
    clone = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout: the tracked files are unknown")
    for name in listed.stdout.decode().split("\0")[:-1]:
        place = clone / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((REPOSITORY / name).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    built = run_pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", out, clone)
    assert built.returncode == 0, built.stderr[-2000:]
    return next(out.glob("lm_searcher-*.whl"))


def run_pip(python: str, *words: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [python, "-m", "pip", "-q", *map(str, words)], capture_output=True, text=True, timeout=3000, cwd="/"
    )
    if "Failed to establish a new connection" in done.stderr or "Temporary failure in name resolution" in done.stderr:
        pytest.skip("no network: nothing can be installed")
    return done


def tracked(*folders: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", *folders], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return listed.stdout.split()


@pytest.mark.slow
def test_the_wheel_holds_what_the_checkout_ships(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in tracked("models", "yaml", "recipes", "data", "dataset_info.json"):
        assert f"search/shipped/{name}" in names, f"{name} is tracked but not in the wheel: setup.py and MANIFEST.in"
    assert {"search/py.typed", "data_builders/py.typed", "lmsearcher/__init__.py"} <= names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", "compat/"))]
    assert wheel.stat().st_size <= 16e6


@pytest.mark.slow
@pytest.mark.parametrize("version", INTERPRETERS)
def test_a_strangers_path_from_the_wheel(wheel, tmp_path, version):
    """Installed in a clean environment, run from an empty folder.

    With this interpreter the extra `nano` is installed too, with the torch that is here; the others get no torch, which
    is hundreds of megabytes each (LMSEARCHER_TEST_NANO=1: they do).
    """
    python = interpreter(version)
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True)
    binary = tmp_path / "venv" / "bin"
    nano = version == "{}.{}".format(*sys.version_info) or bool(os.environ.get("LMSEARCHER_TEST_NANO"))
    what = [f"{wheel}[nano]", *local_torch(version)] if nano else [wheel]
    installed = run_pip(str(binary / "python"), "install", *what)
    assert installed.returncode == 0, installed.stderr[-2000:]
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(binary / words[0]), *words[1:]], cwd=empty, env=environment, capture_output=True, text=True
        )

    assert str(tmp_path / "venv") in run("lmsearcher", "--version").stdout
    done = run("lmsearcher", "run", "--task", "nb201/cifar100", "--budget", "12", "--out", "runs/a", "--quiet")
    assert done.returncode == 0, done.stderr
    ranker = "nano" if nano else "views"
    assert f'"ranker": "{ranker}"' in (empty / "runs/a/run.json").read_text()
    again = run("python", "-m", "search.run", "--resume", "--out", "runs/a", "--budget", "14", "--quiet")
    assert again.returncode == 0, again.stderr
    checked = run("lmsearcher", "run", "--check", "recipes/search/nb201_controls.yaml")
    assert checked.returncode == 0 and "20 seeds x 192" in checked.stdout, checked.stderr
    chat = run("lmsearcher", "run", "--task", "nb201/cifar100", "--ranker", "chat:yaml/lmsearcher_nano_chat.yaml")
    assert "holds no model" not in chat.stderr and "needs LLaMA-Factory" in chat.stderr, "its model folder was found"
    if nano:
        answer = run(
            "lmsearcher", "run", "--task", "nb201/cifar100", "--ranker", "nano:answer", "--budget", "8", "--quiet"
        )
        assert answer.returncode == 0, answer.stderr
    built = run("lmsearcher", "synthetic", "--format", "paper", "--samples", "3", "--workers", "1")
    assert built.returncode == 0, built.stderr


@pytest.mark.slow
def test_a_newcomers_first_hour_from_the_wheel(wheel, tmp_path):
    """examples/first_hour.sh: own table, own function, own Optuna study, ^C, continue, report; without torch."""
    script = REPOSITORY / "examples" / "first_hour.sh"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHON": sys.executable}
    done = subprocess.run(["bash", script, wheel], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.count("best ") >= 6 and "Traceback" not in done.stderr
    assert "evaluations begun in both: 31" in done.stdout


def interpreter(version: str) -> str:
    """An interpreter of that version, or a skip."""
    if version == "{}.{}".format(*sys.version_info):
        return sys.executable
    homes = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for python in (*map(str, homes), f"python{version}"):
        try:
            said = subprocess.run(
                [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True
            )
        except OSError:
            continue
        if said.stdout.decode().strip() == version:
            return python
    pytest.skip(f"no Python {version} on this machine")


def local_torch(version: str) -> list[str]:
    """The torch of this environment where it can be had again: a local version such as 2.13.0+cpu is not on PyPI."""
    if version != "{}.{}".format(*sys.version_info):
        return []
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    try:
        return [f"torch=={of('torch')}"]
    except PackageNotFoundError:
        return []
