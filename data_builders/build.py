"""Build what a recipe asks for: several registered sets from several sources, with one command.

    python -m data_builders.build recipes/data/synthetic_228k.yaml
    python -m data_builders.build recipes/data/lmsearcher_228k.yaml \\
        --source nb101=nasbench_only108.tfrecord --source nb301=nb_301/
    python -m data_builders.build recipes/data/lmsearcher_228k.yaml --substitute synthetic

A recipe names its sets: `sets: {NAME: {builder: ..., samples: ..., seed: ..., option: value}}`; `common:` holds what
all sets share. `builder: mixed` with `of: {builder: weight}` draws each row from one of several. Before anything is
built, all sources that are missing are listed with where to get them; synthetic rows stand in only on request and under
another name.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from data_builders.arms import next_lines
from data_builders.options import REGISTRY_HELP, add_arguments, run_builder
from data_builders.recipes import BUILDERS, SHARED, missing_sources, read_recipe, substituted
from data_builders.rows.batch import Source
from data_builders.rows.mixing import MixedSource
from data_builders.rows.sampling import RowShape
from search.errors import UserError, cli, did_you_mean, program


def make_source(settings: Mapping[str, Any], shape: RowShape, sources: Mapping[str, str]) -> Source:
    """The source of a set."""
    options = {k: v for k, v in settings.items() if k not in SHARED and k not in ("builder", "of")}
    encoding = settings.get("encoding", "ncode")

    def one(builder: str, **more: Any) -> Source:
        module, function = BUILDERS[builder].split(":")
        make = getattr(import_module(module), function)
        check_options(builder, make, more)
        return make(shape, source=sources.get(builder), encoding=encoding, **more)

    if settings["builder"] != "mixed":
        return one(settings["builder"], **options)
    weights = settings["of"]
    return MixedSource("mixed", [one(b) for b in weights], [float(w) for w in weights.values()])


def check_options(builder: str, make: Callable[..., Source], options: Mapping[str, Any]) -> None:
    """UserError for an option that a builder lacks, or a value of another kind than it takes."""
    kinds = {n: k for n, k in get_type_hints(make).items() if n not in ("shape", "source", "encoding", "return")}
    for name, value in options.items():
        if name not in kinds:
            raise did_you_mean(f"option of builder '{builder}'", str(name), kinds)
        if isinstance(value, bool) or not isinstance(value, kinds[name]):
            kind = getattr(kinds[name], "__name__", str(kinds[name]))
            raise UserError(
                f"builder '{builder}' was given {name}: {value!r} - a {kind} is needed - correct the recipe"
            )


class _SetOptions(argparse.ArgumentParser):
    """A parser whose errors speak of a set of a recipe instead of a command line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message} - see python -m data_builders.nb201 --help - correct the recipe")


def set_arguments(name: str, settings: Mapping[str, Any], args: argparse.Namespace) -> argparse.Namespace:
    """The shared options of one set, as its builder's own command line would give them."""
    parser = _SetOptions(prog=f"set '{name}'", allow_abbrev=False)
    add_arguments(parser, name)
    words = [
        "--out",
        str(Path(args.folder) / f"{name}.jsonl"),
        "--workers",
        str(args.workers),
    ]
    words += [] if args.registry is None else ["--registry", args.registry]
    for key in SHARED:
        if key in settings:
            flag, value = f"--{key.replace('_', '-')}", settings[key]
            words += [flag] if value is True else [] if value is False else [f"{flag}={value}"]
    if args.samples is not None:
        words += ["--samples", str(args.samples)]
    return parser.parse_args(words + (["--quiet"] if args.quiet else []))


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    parser = argparse.ArgumentParser(
        prog=program("data_builders.build"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", help="YAML file, see recipes/data")
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="BUILDER=PATH",
        help="original file or folder of a builder; repeatable",
    )
    parser.add_argument(
        "--substitute", choices=("synthetic",), default=None, help="build synthetic rows for sources you do not have"
    )
    parser.add_argument("--only", default=None, help="comma-separated sets of the recipe (default: all)")
    parser.add_argument(
        "--samples", type=int, default=None, help="rows of every set, instead of the recipe's numbers (to try it out)"
    )
    parser.add_argument("--folder", default="data", help="where the rows go (default data)")
    parser.add_argument("--registry", default=None, help=REGISTRY_HELP)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main() -> int:
    """The command line."""
    args = parser().parse_args()
    sets = read_recipe(args.recipe)
    if args.only:
        for wrong in [n for n in args.only.split(",") if n not in sets]:
            raise did_you_mean("set of the recipe", wrong, sets)
        sets = {n: sets[n] for n in args.only.split(",")}
    for text in args.source:
        if "=" not in text:
            raise UserError(
                f"--source was given '{text}' - the form is BUILDER=PATH - write for example --source"
                " nb101=nasbench_only108.tfrecord"
            )
    sources = dict(text.split("=", 1) for text in args.source)
    missing = missing_sources(sets, sources)
    if missing and not args.substitute:
        wanted = "; ".join(f"{b}: {how}, then --source {b}=PATH" for b, how in missing.items())
        raise UserError(
            f"the recipe needs sources that were not given - {wanted} - or let synthetic rows stand in: --substitute"
            " synthetic"
        )
    for builder in missing:
        print(f"NOTE: no source for {builder}; its sets hold synthetic rows and are called synthetic_for_...")
    sets = substituted(sets, missing)
    for number, (name, settings) in enumerate(sets.items(), start=1):
        print(f"[{number}/{len(sets)}] {name}")
        options = set_arguments(name, settings, args)
        code = run_builder(
            options,
            name,
            lambda shape, s=settings: make_source(s, shape, sources),
            {"recipe": Path(args.recipe).name},
            next_step=False,
        )
        if code:
            return code
    print("\n".join(["next:", *(f"  {t}" for t in next_lines(args.recipe, sets, bool(missing), args.folder))]))
    return 0


if __name__ == "__main__":
    cli(main)
