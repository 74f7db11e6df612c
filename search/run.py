"""Search: `python -m search.run --task nb201/cifar100 --seeds 0-4 --out runs/first`

Writes OUT/seed-S/trials.jsonl and summary.json for every seed, shows progress, and can be stopped and resumed at any
point with `--resume`. Exit codes: 0 done, 2 wrong use, 1 anything else.
"""

from __future__ import annotations

import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from search.cli.checks import hide_secrets
from search.cli.options import DEFAULTS, settings
from search.errors import UserError, WorkLost, cli, printable, program, without_secrets
from search.threads import wait_asleep

DETAILS = "error.log"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    wait_asleep()
    given, check = settings(argv)
    if check:
        from search.cli.plan import check_run

        print(check_run(given))
        return 0
    out = Path(given["out"])
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run_all(given, out)
    except KeyboardInterrupt:
        print(f"\nstopped - every told trial is kept - continue with:\n  {resume_line(out)}", file=sys.stderr)
        return 1
    except UserError:
        raise
    except Exception as error:
        raise _stopped(error, given, out) from error
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def resume_line(out: Path) -> str:
    """The command that continues a run."""
    return f"{program('search.run')} --resume --out {shlex.quote(str(out))}"


def _stopped(error: Exception, given: Mapping[str, Any], out: Path) -> WorkLost:
    """What is said when something gave out (a database, a server, or this program); details go to a file."""
    from search.studies.storage import first_line

    details = ""
    with suppress(OSError):
        (out / DETAILS).write_text(without_secrets(traceback.format_exc()), "utf-8", "backslashreplace")
        details = f" (details in {out / DETAILS})"
    return WorkLost(
        f"the run stopped: {type(error).__name__}: {first_line(error, given['storage'])}{details} - every told trial is"
        f" kept - correct the cause, then continue with: {resume_line(out)}"
    )


def _run_all(given: Mapping[str, Any], out: Path) -> int:
    """All arms, controls and seeds of one command."""
    from search.cli.assemble import Rankers, build_task, complete, reachable
    from search.cli.plan import arms_of
    from search.files import write_atomic
    from search.studies.claims import own
    from search.studies.folder import CONFIGURATION, check_empty, line

    task = build_task(given)
    arms = list(arms_of(complete(given), task, out))
    for budget in sorted({given["budget"], *(arm["budget"] for _, arm in arms)}):
        if budget > reachable(task):
            raise UserError(
                f"--budget {budget} was given - "
                f"{task.name or 'this space'} has {reachable(task)} codes to evaluate - give a budget of at most that"
            )
    check_empty(out, given["resume"])
    rankers = Rankers(task)
    for _, arm in arms:
        if arm["sampler"] == "lmsearcher":
            rankers.get(arm["ranker"], arm["seeds"][0], arm["format"])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be created ({error.strerror}) - choose a writable place") from error
    with own(out, given["take_over"]):
        check_empty(out, given["resume"])
        text = line(_configuration(complete(given)) | {"arms": hide_secrets(given["arms"])}, indent=1)
        remember = partial(write_atomic, out / CONFIGURATION, text)
        if not (out / CONFIGURATION).exists():
            remember()
        task.prepare(progress=not given["quiet"])
        worst = 0
        try:
            for folder, arm in arms:
                for seed in arm["seeds"]:
                    worst = max(worst, _run_seed(arm, task, rankers, seed, folder, remember))
        finally:
            rankers.close()
    _closing(out, task, arms)
    return worst


def _run_seed(
    given: Mapping[str, Any], task: Any, rankers: Any, seed: int, folder: Path, remember: Callable[[], Any]
) -> int:
    """One study from where it stands to its budget, its files and its final block; returns the exit code.

    remember: writes the settings down, once the study has taken them: what it refuses must not be resumed with.
    """
    from search.cli.assemble import build_study, running
    from search.cli.console import final_block
    from search.cli.tracking import make_tracker
    from search.cli.workers import run_workers
    from search.studies.folder import JOURNAL, Rows, finish, summary
    from search.studies.progress import Bar
    from search.studies.rescue import reconcile

    home = folder / f"seed-{seed}"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{home} cannot be created ({error.strerror}) - choose a writable --out") from error
    storage = given["storage"] or str(home / JOURNAL)
    study = build_study(given, task, rankers, seed, storage, home)
    if study.repaired:
        print(f"repaired: {study.repaired}", file=sys.stderr)
    own_journal = given["storage"] is None
    if restored := reconcile(study.store, home, own_journal):
        print(f"rebuilt: {restored}", file=sys.stderr)
    remember()
    study.store.reap(given["take_over"], exclusive=own_journal)
    rows = Rows(home, study.trials)
    label = printable(f"{folder.resolve().name} seed {seed}")
    tracker = make_tracker(given["log"], home, label, _configuration(given), study.trials, task.direction)
    with closing(tracker), Bar(study, given["budget"], label, given["quiet"]) as bar:
        if given["workers"] > 1:

            def watch() -> None:
                trials = study.trials
                rows.catch_up(trials)
                tracker.catch_up(trials)
                bar.refresh(trials)

            ending = run_workers(given, seed, home, storage, study, watch)
        else:

            def after(trial: Any) -> None:
                rows.catch_up(study.trials)
                tracker.catch_up(study.trials)
                bar.add(trial)

            ending = study.run(task.evaluate, after=after, **running(given))
    trials = study.trials
    best = study.best
    if best is not None and ending.why != "failures":
        best = replace(best, test=task.test(best.code))
    finish(home, summary(task.describe(), _configuration(given), trials, best, ending.why, seed), trials, best)
    told = sum(t.state != "RUNNING" for t in trials)
    block = final_block(study, best, ending, home, label, told, given["budget"], resume_line(Path(given["out"])))
    print(
        printable(block, keep="\n")
        if folder.parent.name != "controls"
        else f"{label}: best {best.code if best else 'none'}  value {best.value if best else float('nan'):.6g}"
    )
    return 1 if ending.why == "failures" else 0


def _configuration(given: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: given[k] for k in DEFAULTS if k not in ("resume", "take_over", "log", "quiet", "arms", "out")}
    return hide_secrets(kept)


def _closing(out: Path, task: Any, arms: Sequence[tuple[Path, Mapping[str, Any]]]) -> None:
    """What to do next: the task's epilogue for the best architecture of all, and the report's command line."""
    from search.cli.console import closing
    from search.studies.folder import read_summary

    folders = [f for f, _ in arms]
    print(printable(f"\n{closing(folders)}\n", keep="\n"))
    better = max if task.direction == "maximize" else min
    bests = [
        best for f in folders for p in sorted(f.glob("seed-*/summary.json")) if (best := read_summary(p).get("best"))
    ]
    if bests:
        said = task.epilogue(better(bests, key=lambda b: b["value"])["code"])
        if said:
            print(said)
    print(f"next: {program('search.report')} {out}")


if __name__ == "__main__":
    cli(main)
