"""One of many workers on one study: ask, evaluate, tell, until the budget is spent. See examples/slurm.sh.

    python examples/worker.py --storage runs/cluster/journal.log --budget 40

--storage is a journal file on a shared file system, or a database URL (postgresql://, mysql://, grpc://). A worker that
dies leaves its trial open: tell it as failed (`study.tell(number, None)`), or let it stand; nothing else is lost.
"""

from __future__ import annotations

import argparse
import os

from search import Decision, Space, Study

SPACE = Space([Decision("depth", (2, 4, 6, 8)), Decision("width", (64, 128, 256)), Decision("rank", (4, 8, 16, 32))])


def evaluate(arch: dict) -> float:
    """Your training goes here."""
    return abs(arch["depth"] - 6) + abs(arch["width"] - 128) / 64 + abs(arch["rank"] - 16) / 16


def main() -> None:
    """Work until as many trials were begun as the budget allows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--budget", type=int, default=40)
    args = parser.parse_args()
    study = Study(SPACE, direction="minimize", storage=args.storage, ranker="views")
    while len(study.trials) < args.budget and (trial := study.ask()):
        study.tell(trial.number, evaluate(trial.arch))
        print(f"worker {os.environ.get('SLURM_ARRAY_TASK_ID', '0')} trial {trial.number}: {trial.code}", flush=True)
    if study.best:
        print(f"best {study.best.code} value {study.best.value:g}", flush=True)


if __name__ == "__main__":
    main()
