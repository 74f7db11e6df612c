"""The flags of `python -m search.run`; what they mean with recipes and presets stands in search.cli.options."""

from __future__ import annotations

import argparse

from search.cli import TRACKERS
from search.cli.checks import PRESETS
from search.errors import program
from search.rankers import HISTORY_CONTROLS, RANKERS
from search.strategies import DEFAULT_PROPOSAL, PROPOSALS, STRATEGIES


def parser() -> argparse.ArgumentParser:
    """The argument parser; options that were not given are absent from the namespace."""
    p = argparse.ArgumentParser(
        prog=program("search.run"),
        argument_default=argparse.SUPPRESS,
        description="Search a design space: propose, rank, evaluate, repeat.",
        epilog="Example: python -m search.run --task nb201/cifar100 --seeds 0-4 --out runs/first",
    )
    what = p.add_argument_group("what is searched")
    what.add_argument("--task", metavar="NAME", help="a task that comes with this repository, e.g. nb201/cifar100, hat")
    what.add_argument("--table", metavar="FILE", help="your own table: CSV, CSV.gz or Parquet, one architecture a row")
    what.add_argument("--decisions", metavar="A,B,C", help="with --table: one column per decision")
    what.add_argument("--code-column", metavar="COL", help="with --table: a column of digit strings")
    what.add_argument("--metric", metavar="M", help="the column or metric to optimise")
    what.add_argument(
        "--direction", choices=("maximize", "minimize"), help="default: what is natural for the metric, else maximize"
    )
    what.add_argument(
        "--test-metric",
        metavar="M",
        help="with --table: read once, for the best architecture; the search never sees it",
    )
    what.add_argument(
        "--task-option",
        action="append",
        metavar="KEY=VALUE",
        help="an option of the task (lmsearcher --list names them); may be repeated",
    )
    what.add_argument("--latency-limit", type=float, metavar="MS", help="same as --task-option latency_limit=MS")
    how = p.add_argument_group("how")
    how.add_argument("--sampler", metavar="NAME", help=f"{', '.join(STRATEGIES)} (default lmsearcher)")
    how.add_argument(
        "--ranker",
        metavar="SPEC",
        help=(
            f"{', '.join(RANKERS)}; some take an argument: chat:YAML, endpoint:URL#MODEL,"
            " write:endpoint:URL#MODEL, replay:PATH (default: nano where its model and torch are there, else views)"
        ),
    )
    how.add_argument("--proposal", choices=PROPOSALS, help=f"where candidates come from (default {DEFAULT_PROPOSAL})")
    how.add_argument("--format", metavar="NAME", help="prompt format of a language-model ranker: paper, release, ...")
    how.add_argument(
        "--history-control",
        choices=HISTORY_CONTROLS,
        help="what the ranker sees: values shuffled among the codes, or negated; proposals see the true ones",
    )
    how.add_argument("--preset", choices=sorted(PRESETS), help="paper: the paper's settings; best: what we found best")
    how.add_argument("--budget", type=int, metavar="N", help="evaluations per seed (default 192)")
    how.add_argument("--seeds", metavar="S", help="0, 0-4 or 0,3,7 (default 0)")
    how.add_argument("--candidates", type=int, metavar="N", help="candidates per step (default 10)")
    how.add_argument(
        "--warmup", type=int, metavar="N", help="random evaluations before the ranker is asked (default 5)"
    )
    how.add_argument(
        "--controls",
        metavar="A,B",
        help=(
            "run beside it, same budget: random, evolution, local, tpe, gp, random-ranker, oracle-ranker,"
            " surrogate-ranker; 'none' for none (default: what the task names; only hat names any)"
        ),
    )
    how.add_argument(
        "--allow-repeats", action="store_true", help="with random, tpe, gp: leave out the filter against repeated codes"
    )
    keep = p.add_argument_group("where and how safely")
    keep.add_argument(
        "--out",
        metavar="DIR",
        help="default runs/TASK-HOW or runs/TABLE-METRIC-HOW, HOW being the sampler, for lmsearcher its ranker",
    )
    keep.add_argument("--resume", action="store_true", help="continue the run in --out; its settings are remembered")
    keep.add_argument("--take-over", action="store_true", help="with --resume: the owner on another machine is gone")
    keep.add_argument(
        "--storage",
        metavar="URL",
        help=(
            "keep trials in a database many machines share: postgresql://, mysql://, sqlite:///, grpc://HOST:PORT"
            " (default: a journal file in --out)"
        ),
    )
    keep.add_argument(
        "--study",
        metavar="NAME",
        help="with --storage: what the study is called there (default: the name of --out when it was started)",
    )
    keep.add_argument("--workers", type=int, metavar="N", help="processes that evaluate at once (default 1)")
    keep.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help="seconds an evaluation may take before it is stopped and counted as failed",
    )
    keep.add_argument(
        "--max-failures",
        type=int,
        metavar="N",
        help="failed evaluations before a run gives up (default: more than five and more than half of them)",
    )
    keep.add_argument(
        "--log", choices=TRACKERS, help="tell a tracking library every trial, too (curves of value, best and failures)"
    )
    keep.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument(
        "--recipe", metavar="FILE", help="a YAML file with these options as keys (and 'arms': several runs in one)"
    )
    p.add_argument(
        "--check",
        nargs="?",
        const="",
        metavar="RECIPE",
        help="say what would run, how long, how many tokens; run nothing",
    )
    p.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="override a key of the recipe, e.g. budget=50")
    return p
