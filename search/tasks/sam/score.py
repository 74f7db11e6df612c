"""The metrics of Table 3 of what `retrain` trained, on test pictures: mean and deviation over its seeds.

    python -m search.tasks.sam.score --run runs/sam-long
    python -m search.tasks.sam.score --run runs/sam-long --data datasets        trained on published data sets

For each code and setting the weights of the best validated epoch are read, once a seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError, cli
from search.files import write_atomic
from search.tasks.sam.recipe import Recipe


def summary(values: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """{metric: (mean, deviation)} over seeds; the deviation of one seed is 0."""
    stacked = {name: np.array([v[name] for v in values]) for name in values[0]}
    return {n: (float(v.mean()), float(v.std(ddof=1)) if len(v) > 1 else 0.0) for n, v in stacked.items()}


def score(run: Path, data: Path | None, device: str = "auto", progress: bool = True) -> dict[str, Any]:
    """{setting: {code: {domain: {metric: (mean, deviation)}}}} of a folder of `retrain`."""
    from search.tasks.sam.measure import table
    from search.tasks.sam.retrain import base_of, folder_of, opened, read_about, restored
    from search.tasks.training import open_place

    about, place = read_about(run), open_place(device)
    if (about["model"] is None) != (data is None):
        raise UserError(
            f"{run} was trained on {'generated pictures' if data else 'published data sets'} - --data is needed for the"
            " latter alone - leave it out or give it"
        )
    found: dict[str, Any] = {}
    base = base_of(about, place, False)
    for name, recipe in about["settings"].items():
        setting = opened(name, data, about["pictures"])
        for code in about["codes"]:
            per_seed: dict[str, list[dict[str, float]]] = {domain: [] for domain in setting.test}
            for seed in about["seeds"]:
                model = restored(base, folder_of(run, name, code, seed), code, Recipe(**recipe)).to(place.device)
                for domain, pictures in setting.test.items():
                    per_seed[domain].append(table(model, pictures, setting.metrics, Recipe(**recipe), place))
            found.setdefault(name, {})[code] = {domain: summary(rows) for domain, rows in per_seed.items()}
            if progress and place.rank == 0:
                show(name, code, found[name][code], setting.paper, setting.metrics)
    return found


def show(
    name: str, code: str, domains: dict[str, Any], paper: dict[str, tuple[float, ...]], metrics: Sequence[str]
) -> None:
    """One line a domain: mean and deviation of each metric, and what the paper has for it."""
    for domain, values in domains.items():
        shown = "  ".join(f"{metric} {values[metric][0]:.2f} +- {values[metric][1]:.2f}" for metric in metrics)
        print(f"{name} {domain} {code}: {shown}", flush=True)
    for method, numbers in paper.items():
        print(f"  published, {method}: " + "  ".join(f"{m} {v}" for m, v in zip(metrics, numbers)))


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.sam.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of search.tasks.sam.retrain")
    parser.add_argument("--data", type=Path, help="folder of the published data sets it was trained on")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    args = parser.parse_args(argv)
    found = score(args.run, args.data, args.device)
    path = write_atomic(args.run / "scores.json", json.dumps(found, indent=1) + "\n")
    print(f"all of it: {path}")
    return 0


if __name__ == "__main__":
    cli(main)
