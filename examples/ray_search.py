"""Evaluations as Ray tasks: ask while workers are free, tell as they end. Run it again: the study goes on.

pip install ray; python examples/ray_search.py --budget 40
"""

from __future__ import annotations

import argparse

import ray
from worker import SPACE, evaluate

from search import Study


def main() -> None:
    """Keep four evaluations running until the budget is spent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="runs/ray/journal.log")
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--at-once", type=int, default=4)
    args = parser.parse_args()
    ray.init(include_dashboard=False, log_to_driver=False)
    task = ray.remote(evaluate)
    study = Study(SPACE, direction="minimize", storage=args.storage, ranker="views")
    running: dict = {}
    while True:
        while len(running) < args.at_once and len(study.trials) < args.budget and (trial := study.ask()):
            running[task.remote(trial.arch)] = trial
        if not running:
            break
        (done,), _ = ray.wait(list(running))
        trial = running.pop(done)
        try:
            value = ray.get(done)
        except ray.exceptions.RayError as error:
            print(f"trial {trial.number} failed: {error}")
            value = None  # is told as a failure; the search goes on
        study.tell(trial, value)
    if study.best:
        print(f"{len(study.trials)} trials, best {study.best.code} value {study.best.value:g}")


if __name__ == "__main__":
    main()
