"""A training recipe with other rows: the same YAML but for its data sets and its output folder.

    python -m data_builders.arms recipes/data/ablation_no_pruning.yaml
    python -m data_builders.arms recipes/data/ablation_direct.yaml --base yaml/lmsearcher_1b.yaml --substitute synthetic

Writes yaml/BASE_ARM.yaml and yaml/BASE_ARM_chat.yaml. LLaMA-Factory has no overlays beyond key=value, and a second run
into the folder of a finished one resumes it and trains nothing; so an arm has a file, a folder and held-out rows of its
own. Everything else is the base's text, letter by letter.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data_builders.recipes import missing_sources, read_recipe, substituted
from search.errors import UserError, cli
from search.files import find, write_atomic

BASE = "yaml/lmsearcher_8b.yaml"
CHANGED = ("dataset", "eval_dataset", "output_dir")
PREFIX = "ablation_"


@dataclass(frozen=True)
class Arm:
    """A base recipe with other rows.

    name: what is added to the base's name.
    recipe: the data recipe's path.

    train, held_out: data set names.
    stamp: the options of search.stamp that say what its rows look like.
    """

    name: str
    recipe: str
    what: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    stamp: str
    substitute: bool = False


def arm_of(recipe: str | Path, sets: Mapping[str, Mapping[str, Any]], substitute: bool = False) -> Arm:
    """The arm that a data recipe describes, from its sets (after substitution, if any)."""
    path = Path(recipe)
    first = next((t for t in path.read_text(encoding="utf-8").splitlines() if t.startswith("# ")), "# own rows")
    held_out = tuple(n for n in sets if n.endswith("_eval"))
    name = path.stem.removeprefix(PREFIX) + ("_synthetic" if substitute else "")
    train = tuple(n for n in sets if n not in held_out)
    return Arm(name, path.as_posix(), first[2:].rstrip("."), train, held_out, stamp_options(sets), substitute)


def stamp_options(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """The options of `search.stamp` for a model trained on these sets."""
    settings = next(iter(sets.values()))
    name = settings.get("format", "paper")
    if settings.get("direct"):
        name = "direct" if name == "paper" else f"{name}-direct"
    encoding = settings.get("encoding", "ncode")
    return f"--format {name}" + (f" --encoding {encoding}" if encoding != "ncode" else "")


def training_text(base: Path, arm: Arm) -> str:
    """The arm's training YAML; UserError when the base lacks a line that must change, or there are no held-out rows."""
    text, settings = _read(base)
    if "eval_dataset" in settings and not arm.held_out:
        raise UserError(
            f"{arm.recipe} has no set whose name ends in _eval - {base} evaluates while it trains, and the held-out"
            " rows must be the arm's own - add one"
        )
    values = (",".join(arm.train), ",".join(arm.held_out), output_dir(base, arm))
    changes = {k: v for k, v in zip(CHANGED, values) if k in settings}
    for key, value in changes.items():
        text = _replaced(text, key, value, base)
    launch = re.search(r"^# Launch.*?((?:[A-Z_]+=\S+ )*llamafactory-cli train) ", text, re.M | re.S)
    command = launch[1] if launch else "llamafactory-cli train"
    name = arm_file(base, arm)
    build = f"python -m data_builders.build {arm.recipe}" + (" --substitute synthetic" if arm.substitute else "")
    header = [
        f"# What     {base.as_posix()} with other rows. {arm.what}.",
        f"# Launch   {command} {name}",
        f"#          then: python -m search.stamp {changes['output_dir']} {arm.stamp}",
        f"# Data     {build}" + ("" if arm.substitute else " --source ..., see there"),
        f"# Memory   that of {base.as_posix()}",
        f"# Override {command} {name} learning_rate=5.0e-6 output_dir=saves/try",
        f"# Paper    only {', '.join(changes)} differ from {base.as_posix()}; written by",
        f"#          python -m data_builders.arms {arm.recipe}{_flags(base, arm)}",
    ]
    return "\n".join(header) + "\n" + _body(text)


def chat_text(base: Path, arm: Arm) -> str:
    """The arm's inference YAML, from the base's."""
    chat = base.with_name(f"{base.stem}_chat.yaml")
    text, settings = _read(chat)
    served = "adapter_name_or_path" if "adapter_name_or_path" in settings else "model_name_or_path"
    text = _replaced(text, served, output_dir(base, arm), chat)
    file = arm_file(base, arm)
    name = file.replace(".yaml", "_chat.yaml")
    ranker = f"write:chat:{name}" if "direct" in arm.stamp else f"chat:{name}"
    header = [
        f"# What     Serve the searcher that {file} trains.",
        f"# Launch   python -m search.run --task nb201/cifar100 --ranker {ranker}",
        f"# Needs    what {chat.as_posix()} needs",
    ]
    return "\n".join(header) + "\n" + _body(text)


def arm_file(base: Path, arm: Arm) -> str:
    """Where the arm's training YAML lies, beside its base."""
    return base.with_name(f"{base.stem}_{arm.name}.yaml").as_posix()


def output_dir(base: Path, arm: Arm) -> str:
    """The folder that the arm's weights go to: the base's with the arm's name behind it."""
    return f"{_read(base)[1]['output_dir']}_{arm.name}"


def training_yaml(train: tuple[str, ...], held_out: tuple[str, ...], folder: Path = Path("yaml")) -> Path | None:
    """The shipped training YAML that reads exactly these sets, the largest model first; None if there is none."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        wanted = (",".join(train), ",".join(held_out))
        if settings.get("do_train") and (settings.get("dataset"), settings.get("eval_dataset", "")) == wanted:
            found.append((path.stem != Path(BASE).stem, len(path.stem), path))
    return min(found)[2] if found else None


def next_lines(recipe: str | Path, sets: Mapping[str, Mapping[str, Any]], substitute: bool, folder: str) -> list[str]:
    """What to do with rows that were just built: check, train, stamp; nothing in it may resume another run."""
    arm = arm_of(recipe, sets, substitute)
    lines = [f"python -m data_builders.check {folder}/NAME.jsonl"]
    if not arm.held_out:
        name = "_".join(arm.train)[:60]
        to = f"saves/{name}"
        return [
            *lines,
            f"llamafactory-cli train yaml/lmsearcher_tiny.yaml dataset={','.join(arm.train)} output_dir={to}",
        ]
    path = training_yaml(arm.train, arm.held_out)
    if path is None:
        lines.append(f"python -m data_builders.arms {arm.recipe}{_flags(Path(BASE), arm)}")
        path = Path(arm_file(Path(BASE), arm))
        weights = output_dir(Path(BASE), arm)
    else:
        weights = _read(path)[1]["output_dir"]
    return [*lines, f"FORCE_TORCHRUN=1 llamafactory-cli train {path}", f"python -m search.stamp {weights} {arm.stamp}"]


def _flags(base: Path, arm: Arm) -> str:
    other = f" --base {base.as_posix()}" if base.as_posix() != BASE else ""
    return other + (" --substitute synthetic" if arm.substitute else "")


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    path = find(path)
    if not path.is_file():
        raise UserError(f"{path} was given - it is no file - name a training YAML such as {BASE}")
    text = path.read_text(encoding="utf-8")
    return text, yaml.safe_load(text)


def _replaced(text: str, key: str, value: str, path: Path) -> str:
    text, count = re.subn(rf"(?m)^{key}:[ ]*\S+", f"{key}: {value}", text)
    if count != 1:
        raise UserError(f"{path} has {count} lines '{key}: ...' - an arm replaces exactly one - correct the base")
    return text


def _body(text: str) -> str:
    """A YAML without the comment block at its head."""
    return re.sub(r"\A(?:#.*\n)+", "", text)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.arms", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", help="data recipe of the arm, see recipes/data")
    parser.add_argument("--base", default=BASE, help=f"training YAML that the arm varies (default {BASE})")
    parser.add_argument(
        "--substitute", choices=("synthetic",), help="the rows were built with the same option of data_builders.build"
    )
    args = parser.parse_args()
    sets = read_recipe(args.recipe)
    if args.substitute:
        sets = substituted(sets, missing_sources(sets, {}))
    arm, base = arm_of(args.recipe, sets, bool(args.substitute)), Path(args.base)
    training, chat = training_text(base, arm), chat_text(base, arm)
    name = arm_file(base, arm)
    for path, text in ((name, training), (name.replace(".yaml", "_chat.yaml"), chat)):
        write_atomic(Path(path), text)
        print(path)
    return 0


if __name__ == "__main__":
    cli(main)
