"""`lmsearcher COMMAND ...`: every `python -m ...` of the project under one name, and what is there to choose from.

lmsearcher run --task nb201/cifar100        the same as python -m search.run --task nb201/cifar100
lmsearcher --list                           tasks, rankers, samplers, proposals and prompt formats, one line each
lmsearcher files --copy .                   yaml/, recipes/, models/ ... of an installed package, to train with
lmsearcher completion bash                  a completion script (extra `completion`)
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from search.errors import UserError, did_you_mean
from search.files import shipped

COMMANDS = {
    "run": ("search.run", "search a design space"),
    "exam": ("search.exam", "how good is a ranker, offline"),
    "report": ("search.report", "compare runs: one page, one table, one picture"),
    "stamp": ("search.stamp", "record or show the prompt format of a model folder"),
    "push": ("search.push", "a model or rows to the Hugging Face Hub, checked first"),
    "reproduce": ("search.reproduce", "the paper's rows: what each needs, costs, and gives here"),
    "analyse": ("search.analyse", "which candidates a ranker picks, what a model attends to"),
    "build": ("data_builders.build", "training rows by a recipe"),
    "check": ("data_builders.check", "check training rows"),
    "card": ("data_builders.card", "the data sheet of training rows"),
    "arms": ("data_builders.arms", "a training YAML with other rows"),
    "trl": ("data_builders.trl", "rows as TRL reads them"),
    **{
        name: (f"data_builders.{name}", f"training rows: {what}")
        for name, what in {
            "synthetic": "the synthetic prior",
            "nb101": "NAS-Bench-101",
            "nb201": "NAS-Bench-201",
            "nb301": "NAS-Bench-301",
            "nbasr": "NAS-Bench-ASR",
            "graph": "NAS-Bench-Graph",
            "hpo": "HPOBench and HPOlib",
            "table": "your own table",
        }.items()
    },
}
COMPLETED = (
    "run",
    "exam",
    "report",
    "stamp",
    "push",
    "build",
    "check",
    "card",
    "trl",
)  # those whose options completion knows
COPIED = ("yaml", "recipes", "models", "data", "dataset_info.json")
SHELLS = ("bash", "zsh", "tcsh")


def parser() -> argparse.ArgumentParser:
    """The parser of everything before the command's own options."""
    names = "\n".join(f"  {name:<12}{what}" for name, (_, what) in _all().items())
    p = argparse.ArgumentParser(
        prog="lmsearcher",
        usage="lmsearcher [-h] [--version] [--list] COMMAND ...",
        description="Search a design space with a language model that ranks architectures.",
        epilog=f"commands:\n{names}\n\nlmsearcher COMMAND --help says more; python -m search.COMMAND is the same.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--version", action="store_true", help="the version, and where the package is")
    p.add_argument("--list", action="store_true", help="tasks, rankers, samplers, proposals, formats: one line each")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that is named; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-"):
        return _call(words[0], words[1:])
    asked = parser().parse_args(words)
    if asked.version:
        from search import __version__

        print(f"lm-searcher {__version__} ({Path(__file__).resolve().parents[2]})")
    elif asked.list:
        print("\n".join(listing()))
    else:
        parser().print_help()
    return 0


def _all() -> dict[str, tuple[str, str]]:
    own = {"files": ("", "where the shipped YAMLs, recipes and models are"), "completion": ("", "for your shell")}
    return COMMANDS | own


def _call(name: str, words: list[str]) -> int:
    if name == "files":
        return _files(words)
    if name == "completion":
        return _completion(words)
    if name not in COMMANDS:
        raise did_you_mean("command", name, _all())
    sys.argv = [f"lmsearcher {name}", *words]
    return import_module(COMMANDS[name][0]).main() or 0


def _files(words: list[str]) -> int:
    """List what is shipped, or copy it to where training is to run."""
    p = argparse.ArgumentParser(prog="lmsearcher files", description=_files.__doc__)
    p.add_argument("--copy", metavar="DIR", type=Path, help="copy to DIR; a file that is there already stays")
    target = p.parse_args(words).copy
    home = shipped()
    names = [path for top in COPIED for path in _tree(home / top)]
    if target is None:
        print("\n".join(str(p) for p in names))
        return 0
    copied = 0
    try:
        for path in names:
            place = target / path.relative_to(home)
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
                copied += 1
    except OSError as error:
        raise UserError(f"--copy {target} was given - {error.strerror} - choose a writable folder") from error
    print(f"{copied} of {len(names)} files copied to {target}; next: yaml/README.md says how to train")
    return 0


def _tree(top: Path) -> list[Path]:
    return [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())


def _completion(words: list[str]) -> int:
    """Print a completion script: eval "$(lmsearcher completion bash)" """
    p = argparse.ArgumentParser(prog="lmsearcher completion", description=_completion.__doc__)
    p.add_argument("shell", choices=SHELLS)
    shell = p.parse_args(words).shell
    try:
        import shtab
    except ImportError as error:
        raise UserError(
            "completion needs shtab - it is not installed - pip install 'lm-searcher[completion]'"
        ) from error
    whole = parser()
    whole.usage = None
    commands = whole.add_subparsers()
    for name, (module, what) in COMMANDS.items():
        inner = [_parser_of(module)] if name in COMPLETED else []
        commands.add_parser(name, help=what, parents=inner, add_help=not inner)
    commands.add_parser("files").add_argument("--copy")
    commands.add_parser("completion").add_argument("shell", choices=SHELLS)
    print(shtab.complete(whole, shell))
    return 0


def _parser_of(module: str) -> argparse.ArgumentParser:
    if module == "search.run":
        module = "search.cli.parser"  # loads neither numpy nor Optuna
    found = import_module(module).parser()
    assert isinstance(found, argparse.ArgumentParser)
    return found


def listing() -> Iterator[str]:
    """The lines of --list. Nothing that is named is imported: what it says of itself is read from its source."""
    from search.prompts import FORMATS
    from search.rankers import RANKERS
    from search.strategies import PROPOSALS, STRATEGIES
    from search.tables import TABLES
    from search.tasks import TASKS

    yield "tasks (--task NAME, --task-option KEY=VALUE)"
    for name, where in TASKS.items():
        what = said((TABLES[name].reader if name in TABLES else where).partition(":")[0])
        yield _line(name, f"[{', '.join(options(where)) or 'no options'}] {what}")
    yield "rankers (--ranker NAME or NAME:ARGUMENT)"
    yield from (_line(name, said(where)) for name, where in RANKERS.items())
    yield "samplers (--sampler NAME)"
    yield from (_line(name, said(where)) for name, where in STRATEGIES.items())
    yield "proposals of sampler lmsearcher (--proposal NAME)"
    yield from (_line(name, said(where)) for name, where in PROPOSALS.items())
    yield "prompt formats of language-model rankers (--format NAME)"
    yield from (_line(name, said_of(name, where.partition(":")[0])) for name, where in FORMATS.items())


def _line(name: str, what: str) -> str:
    return f"  {name:<31} {what}".rstrip()


def said(where: str) -> str:
    """The first sentence of the docstring of 'module:Name', or of the module where the name has none."""
    tree = _source(where)
    _, _, rest = where.partition(":")
    named = _definition(tree, rest.partition(":")[0])
    text = (ast.get_docstring(named) if named else None) or ast.get_docstring(tree) or ""
    first = " ".join(text.partition("\n\n")[0].split())
    return first.partition(" (the space: ")[0].rstrip(".")


def said_of(name: str, where: str) -> str:
    """What a module's docstring says in its line `name   text`; its first sentence when there is no such line."""
    text = ast.get_docstring(_source(where)) or ""
    found = re.search(rf"(?:^|  ){re.escape(name)} {{2,}}(\S.*)", text, re.MULTILINE)
    if not found:
        return said(where)
    column = found.start(1) - text.rfind("\n", 0, found.start(1)) - 1
    more = re.match(rf"(?:\n {{{column}}}\S.*)*", text[found.end() :])
    return " ".join((found[1] + (more[0] if more else "")).split()).partition("; ")[0]


def options(where: str) -> list[str]:
    """The keyword options that the class of a 'module:Class[:argument]' takes beyond its argument."""
    _, _, rest = where.partition(":")
    name, _, argument = rest.partition(":")
    found = _definition(_source(where), name)
    for inside in found.body if found else ():
        if isinstance(inside, ast.FunctionDef) and inside.name == "__init__":
            names = [a.arg for a in (*inside.args.args, *inside.args.kwonlyargs)]
            return names[1 + bool(argument) :]
    return []


def _source(where: str) -> ast.Module:
    spec = find_spec(where.partition(":")[0])
    assert spec is not None and spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _definition(tree: ast.Module, name: str) -> ast.ClassDef | ast.FunctionDef | None:
    """The class or function of that name, also where the module hands on another module's."""
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return node
    for part in ast.walk(tree):
        if isinstance(part, ast.ImportFrom) and part.module and any(a.name == name for a in part.names):
            return _definition(_source(part.module), name)
    return None
