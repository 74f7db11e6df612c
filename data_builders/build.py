"""Build what a recipe asks for: several registered sets from several sources, with one command.

    python -m data_builders.build recipes/data/synthetic_228k.yaml
    python -m data_builders.build recipes/data/lmsearcher_228k.yaml --source nb101=nasbench_only108.tfrecord --source
    nb301=nb_301/ python -m data_builders.build recipes/data/lmsearcher_228k.yaml --substitute synthetic

A recipe names its sets: `sets: {NAME: {builder: ..., samples: ..., seed: ..., option: value}}`; `common:` holds what
all sets share. `builder: mixed` with `of: {builder: weight}` draws each row from one of several. Before anything is
built, all sources that are missing are listed with where to get them; synthetic rows stand in only on request and under
another name.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from data_builders.options import add_arguments, run_builder
from data_builders.rows.batch import Source
from data_builders.rows.mixing import MixedSource
from data_builders.rows.sampling import RowShape
from search.errors import UserError, cli, did_you_mean

BUILDERS = {
    name: f"data_builders.{name}:make_source" for name in ("nb101", "nb201", "nb301", "nbasr", "graph", "hpo", "table")
}
BUILDERS["synthetic"] = "data_builders.prior.text_rows:make_source"
HOW_TO_GET = {
    "nb101": "nasbench_only108.tfrecord (499 MB) from storage.googleapis.com/nasbench",
    "nb301": "the runs (results_*.json) from figshare 13246952, unpacked into a folder",
    "nbasr": "nb-asr-e40-*.pickle from the releases of github.com/SamsungLabs/nb-asr, in a folder",
}
SHARED = (
    "samples",
    "seed",
    "format",
    "history",
    "candidates",
    "candidate_kind",
    "order",
    "no_pruning",
    "p_decision",
    "p_option",
    "small",
    "direct",
    "shuffle_scores",
    "encoding",
)


def read_recipe(path: str | Path) -> dict[str, dict[str, Any]]:
    """{set name: its settings, the common ones filled in}, checked."""
    path = Path(path)
    if not path.is_file():
        known = sorted(p.name for p in Path("recipes/data").glob("*.yaml"))
        raise did_you_mean("recipe", str(path), [f"recipes/data/{k}" for k in known])
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(
            f"{path} is not YAML ({str(error).splitlines()[0]}) - see recipes/data for examples - correct it"
        ) from error
    if not isinstance(recipe, dict) or set(recipe) - {"common", "sets"} or not isinstance(recipe.get("sets"), dict):
        raise UserError(
            f"{path} must hold 'sets' and may hold 'common' - it has"
            f" {sorted(recipe) if isinstance(recipe, dict) else recipe!r} - correct it"
        )
    sets = {name: {**(recipe.get("common") or {}), **settings} for name, settings in recipe["sets"].items()}
    for name, settings in sets.items():
        builders = settings.get("of", {}) if settings.get("builder") == "mixed" else [settings.get("builder")]
        if not builders:
            raise UserError(f"set '{name}' is mixed of nothing - 'of: {{builder: weight}}' is needed - add it")
        for builder in builders:
            if builder not in BUILDERS:
                raise did_you_mean(f"builder of set '{name}'", str(builder), BUILDERS)
    return sets


def builders_of(settings: Mapping[str, Any]) -> list[str]:
    """The builders a set needs."""
    return list(settings["of"]) if settings["builder"] == "mixed" else [settings["builder"]]


def missing_sources(sets: Mapping[str, Mapping[str, Any]], sources: Mapping[str, str]) -> dict[str, str]:
    """{builder: what to get} for sources that a set needs and that are not given; UserError for one given that does not
    exist.
    """
    for name, path in sources.items():
        if name not in BUILDERS:
            raise did_you_mean("source", name, BUILDERS)
        if not Path(path).exists():
            raise UserError(
                f"source {name}={path} does not exist - {HOW_TO_GET.get(name, 'a file or folder')} is needed - correct"
                " the path"
            )
    needed = {b for settings in sets.values() for b in builders_of(settings)}
    return {b: HOW_TO_GET[b] for b in sorted(needed & set(HOW_TO_GET)) if b not in sources}


def substituted(sets: Mapping[str, dict[str, Any]], missing: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The sets with synthetic rows in place of missing sources, under the name synthetic_for_NAME."""
    out = {}
    for place, (name, settings) in enumerate(sets.items(), start=1):
        lost = [b for b in builders_of(settings) if b in missing]
        if lost:  # two sets of one seed would otherwise get the same synthetic rows
            settings = {**settings, "seed": settings.get("seed", 0) + 1_000_003 * place}
        if not lost:
            out[name] = settings
        elif settings["builder"] == "mixed":
            weights = {b: w for b, w in settings["of"].items() if b not in lost}
            weights["synthetic"] = weights.get("synthetic", 0) + sum(settings["of"][b] for b in lost)
            out[f"synthetic_for_{name}"] = {**settings, "of": weights}
        else:
            out[f"synthetic_for_{name}"] = {k: v for k, v in settings.items() if k in SHARED} | {"builder": "synthetic"}
    return out


def make_source(settings: Mapping[str, Any], shape: RowShape, sources: Mapping[str, str]) -> Source:
    """The source of a set."""
    options = {k: v for k, v in settings.items() if k not in SHARED and k not in ("builder", "of")}
    encoding = settings.get("encoding", "ncode")

    def one(builder: str, **more: Any) -> Source:
        module, function = BUILDERS[builder].split(":")
        try:
            return getattr(import_module(module), function)(
                shape, source=sources.get(builder), encoding=encoding, **more
            )
        except TypeError as error:
            raise UserError(
                f"builder '{builder}' was given {more} - {error} - see python -m data_builders.{builder} --help"
            ) from error

    if settings["builder"] != "mixed":
        return one(settings["builder"], **options)
    weights = settings["of"]
    return MixedSource("mixed", [one(b) for b in weights], [float(w) for w in weights.values()])


def set_arguments(name: str, settings: Mapping[str, Any], args: argparse.Namespace) -> argparse.Namespace:
    """The shared options of one set, as its builder's own command line would give them."""
    parser = argparse.ArgumentParser()
    add_arguments(parser, name)
    words = [
        "--out",
        str(Path(args.folder) / f"{name}.jsonl"),
        "--workers",
        str(args.workers),
        "--registry",
        args.registry,
    ]
    for key in SHARED:
        if key in settings:
            flag, value = f"--{key.replace('_', '-')}", settings[key]
            words += [flag] if value is True else [] if value is False else [flag, str(value)]
    if args.samples is not None:
        words += ["--samples", str(args.samples)]
    try:
        return parser.parse_args(words + (["--quiet"] if args.quiet else []))
    except SystemExit:
        given = {k: v for k, v in settings.items() if k in SHARED}
        raise UserError(
            f"set '{name}' has a setting that is not allowed among {given} - see python -m data_builders.nb201 --help -"
            " correct it"
        ) from None


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
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
    parser.add_argument(
        "--registry", default="dataset_info.json", help="LLaMA-Factory's list of data sets; 'none' to leave it alone"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args()
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
    names = ",".join(n for n in sets if not n.endswith("_eval"))
    print(
        f"next: python -m data_builders.check {args.folder}/NAME.jsonl, then llamafactory-cli train"
        f" yaml/lmsearcher_8b.yaml dataset={names}"
    )
    return 0


if __name__ == "__main__":
    cli(main)
