"""Seconds from `--resume` to the first new trial after a SIGKILL: `python benchmarks/resume.py`

Five times: a search on nb201/cifar10 is killed after 60 trials and resumed. Counted from the launch of the resuming
process, so Python's start is in it. Beside it: how long Optuna's own journal backend waits for the lock of a killed
process (its grace period).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 1.0
OPTUNA_GRACE_SECONDS = 30.0


def told(out: Path) -> int:
    """Trials told so far, as the run folder shows them."""
    path = out / "seed-0" / "trials.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def wait_for(out: Path, trials: int, process: subprocess.Popen) -> None:
    """Return as soon as so many trials are told."""
    while told(out) < trials and process.poll() is None:
        time.sleep(0.001)


def once(out: Path) -> tuple[float, float]:
    """One kill and one resume; wall seconds to the first new trial and processor seconds of the resuming process."""
    command = [sys.executable, "-m", "search.run", "--quiet", "--out", str(out)]
    victim = subprocess.Popen(
        [*command, "--task", "nb201/cifar10", "--ranker", "random", "--budget", "15000"], stdout=subprocess.DEVNULL
    )
    wait_for(out, 60, victim)
    victim.kill()
    victim.wait()
    before = told(out)
    used = os.times()
    begin = time.perf_counter()
    again = subprocess.Popen([*command, "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(out, before + 1, again)
    seconds = time.perf_counter() - begin
    again.kill()
    again.wait()
    now = os.times()
    return seconds, now.children_user + now.children_system - used.children_user - used.children_system


def main() -> None:
    """Print the median of five."""
    times = []
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            times.append(once(Path(folder) / "run"))
    wall, processor = (statistics.median(column) for column in zip(*times))
    verdict = "within" if wall <= LIMIT else "ABOVE"
    print(
        f"first trial {wall:.2f} s after a resume ({verdict} the limit of {LIMIT:g} s; {processor:.2f} s of processor"
        f" time; load {os.getloadavg()[0]:.1f})"
    )
    print(
        f"Optuna's lock of a killed process alone takes {OPTUNA_GRACE_SECONDS:g} s, ratio"
        f" {wall / OPTUNA_GRACE_SECONDS:.3f}"
    )


if __name__ == "__main__":
    main()
