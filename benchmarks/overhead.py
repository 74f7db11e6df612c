"""What a trial costs beyond its evaluation: `python benchmarks/overhead.py`

Own loop (ask, propose, rank at random, tell, write trials.jsonl) on a journal, beside Optuna's plain ask/tell with its random
sampler on Optuna's own journal backend. Milliseconds a trial, median of three runs of 200 trials; the ratio is ours to Optuna's.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.optuna_tools import distributions
from search.runfolder import append_trial
from search.space import Space
from search.study import Study

TRIALS = 200
LIMITS = {6: 5.0, 48: 30.0}


def ours(space: Space, folder: Path) -> float:
    """Milliseconds a trial of our loop."""
    study = Study(space, storage=folder / "journal.log", ranker="random")
    begin = time.perf_counter()
    study.run(lambda code, seed: float(code.count("0")), TRIALS, after=lambda trial: append_trial(folder, trial))
    return (time.perf_counter() - begin) / TRIALS * 1e3


def plain_optuna(space: Space, folder: Path) -> float:
    """Milliseconds a trial of ask and tell on Optuna's journal file."""
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.log")))
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    parameters = distributions(space)
    begin = time.perf_counter()
    for _ in range(TRIALS):
        trial = study.ask(parameters)
        study.tell(trial, 0.0)
    return (time.perf_counter() - begin) / TRIALS * 1e3


def main() -> None:
    """Print one line per number of decisions."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for decisions, limit in LIMITS.items():
        space = Space.of_sizes([5] * decisions)
        figures = {}
        for measure in (ours, plain_optuna):
            times = []
            for _ in range(3):
                with tempfile.TemporaryDirectory() as folder:
                    times.append(measure(space, Path(folder)))
            figures[measure] = statistics.median(times)
        mine, theirs = figures[ours], figures[plain_optuna]
        verdict = "within" if mine <= limit else "ABOVE"
        print(f"{decisions} decisions: ours {mine:.2f} ms a trial ({verdict} the limit of {limit:g} ms), Optuna alone {theirs:.2f} ms, ratio {mine / theirs:.2f}")


if __name__ == "__main__":
    main()
