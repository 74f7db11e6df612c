"""Evaluations a second with 1 and with 4 workers, each evaluation a pause: what claims and storage cost.

    python -m benchmarks.speedup                                  a journal in a temporary folder
    python -m benchmarks.speedup --storage postgresql://user@host/base

Prints for each number of workers: evaluations a second (from the first start to the last end), the share of linear
speed-up, how many draws were given back because another worker held the code, and the processor time a trial took in
the workers (not in a server). On a busy machine only the last two say something. Exit code 1 below --least.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time

from search.spaces import Space
from search.studies.study import Study

SIZES = [6] * 8
WORKER = """
import sys, time
from benchmarks.speedup import SIZES
from search import Space, Study
storage, name, sampler, budget, seconds = sys.argv[1:]
study = Study(Space.of_sizes(SIZES), storage=storage, name=name, sampler=sampler, ranker="surrogate")
print("ready", flush=True)
sys.stdin.readline()

def evaluate(code, seed):
    time.sleep(float(seconds))
    return float(sum(map(int, code)))

begin = time.process_time()
study.run(evaluate, int(budget))
print(time.process_time() - begin, flush=True)
"""


def measure(storage: str, sampler: str, workers: int, budget: int, seconds: float) -> tuple[float, int, float]:
    """Evaluations a second of some workers on a new study, draws given back, and processor seconds a trial."""
    name = f"speedup-{workers}-{time.time_ns()}"
    study = Study(Space.of_sizes(SIZES), storage=storage, name=name, sampler="random")
    command = [sys.executable, "-c", WORKER, storage, name, sampler, str(budget), str(seconds)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    for p in processes:
        p.stdout.readline()
    for p in processes:
        p.stdin.write("go\n")
        p.stdin.flush()
    used = [p.stdout.read() for p in processes]
    if any([p.wait() for p in processes]):
        raise SystemExit("error: a worker failed, its message is above")
    study_id = study.store.storage.get_study_id_from_name(name)
    trials = study.store.storage.get_all_trials(study_id)
    done = [t for t in trials if t.state.name == "COMPLETE"]
    took = max(t.datetime_complete for t in done) - min(t.datetime_start for t in done)
    return len(done) / took.total_seconds(), len(trials) - len(done), sum(map(float, used)) / len(done)


def main() -> int:
    p = argparse.ArgumentParser(prog="python -m benchmarks.speedup", description=__doc__.splitlines()[0])
    p.add_argument("--storage", help="a database URL (default: a journal)")
    p.add_argument("--sampler", default="lmsearcher")
    p.add_argument("--budget", type=int, default=200)
    p.add_argument("--seconds", type=float, default=0.05)
    p.add_argument("--workers", default="1,4")
    p.add_argument("--least", type=float, default=0.6, help="the share of linear speed-up that is expected")
    given = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone, worst = None, 1.0
        for workers in map(int, given.workers.split(",")):
            storage = given.storage or f"{folder}/journal-{workers}.log"
            rate, voids, used = measure(storage, given.sampler, workers, given.budget, given.seconds)
            alone = alone or rate / workers
            worst = min(worst, rate / workers / alone)
            share = rate / workers / alone
            print(
                f"{workers} workers: {rate:.1f} evaluations/s, {share:.2f} of linear, {voids} voids,"
                f" {1e3 * used:.1f} ms of processor time a trial"
            )
    return int(worst < given.least)


if __name__ == "__main__":
    raise SystemExit(main())
