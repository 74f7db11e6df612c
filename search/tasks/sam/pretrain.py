"""Make what every search starts from, without one: the embedded model and its nested adapters.

    python -m search.tasks.sam.pretrain                       both, as a search makes them on its first run
    python -m search.tasks.sam.pretrain --steps 1000          the model, longer (searched with pretrain_steps=1000)

They are kept in $LMSEARCHER_CACHE (default ~/.cache/lmsearcher); a killed command goes on.
"""

from __future__ import annotations

import argparse

from search.errors import cli
from search.tasks.sam.space import LARGEST, RANKS
from search.tasks.sam.task import Sam


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.sam.pretrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", type=int, help="of the model (default: its recipe's)")
    parser.add_argument("--nested-steps", type=int, help="of the nested adapters (default: their recipe's)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    args = parser.parse_args(argv)
    task = Sam(threads=args.threads, device=args.device, steps=args.nested_steps, pretrain_steps=args.steps)
    task.prepare()
    for rank, digit in ((RANKS[0], "0"), (LARGEST, "3")):
        print(f"uniform rank {rank}: {task.metric} {task.evaluate(digit * len(task.space)).value:.4f}")
    return 0


if __name__ == "__main__":
    cli(main)
