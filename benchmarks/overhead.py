"""What a trial costs beyond its evaluation: `python benchmarks/overhead.py`

Own loop (ask, propose, rank at random, tell, write trials.jsonl) on a journal, beside Optuna's plain ask/tell with its
random sampler on Optuna's own journal backend. Milliseconds a trial, median of three runs of 200 trials; the ratio is
ours to Optuna's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.optuna_tools import layout
from search.spaces import Space
from search.studies.folder import Rows
from search.studies.study import Study

TRIALS = 200
LIMITS = {6: 5.0, 48: 30.0}


def ours(space: Space, folder: Path) -> None:
    """Our loop."""
    study = Study(space, storage=folder / "journal.log", ranker="random")
    rows = Rows(folder, study.trials)
    study.run(lambda code, seed: float(code.count("0")), TRIALS, after=lambda trial: rows.catch_up(study.trials))


def plain_optuna(space: Space, folder: Path) -> None:
    """Ask and tell on Optuna's journal file."""
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.log")))
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    parameters = layout(space).distributions
    for _ in range(TRIALS):
        study.tell(study.ask(parameters), 0.0)


def measure(run: Callable[[Space, Path], None], space: Space) -> tuple[float, float]:
    """Wall and processor milliseconds a trial, medians of three runs."""
    walls, processors = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            wall, processor = time.perf_counter(), time.process_time()
            run(space, Path(folder))
            walls.append((time.perf_counter() - wall) / TRIALS * 1e3)
            processors.append((time.process_time() - processor) / TRIALS * 1e3)
    return statistics.median(walls), statistics.median(processors)


def main() -> None:
    """Print one line per number of decisions."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.overhead", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"load {os.getloadavg()[0]:.1f}")
    for decisions, limit in LIMITS.items():
        space = Space.of_sizes([5] * decisions)
        (mine, mine_cpu), (theirs, theirs_cpu) = measure(ours, space), measure(plain_optuna, space)
        verdict = "within" if mine <= limit else "ABOVE"
        print(
            f"{decisions} decisions: ours {mine:.2f} ms a trial ({verdict} the limit of {limit:g}), Optuna alone"
            f" {theirs:.2f} ms, ratio {mine / theirs:.2f}"
        )
        print(
            f"             processor time {mine_cpu:.2f} ms, Optuna {theirs_cpu:.2f} ms, ratio"
            f" {mine_cpu / theirs_cpu:.2f}"
        )


if __name__ == "__main__":
    main()
