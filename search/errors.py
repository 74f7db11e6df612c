"""One way to say what a user did wrong: a sentence on standard error and exit code 2."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """Wrong use. The message reads: what was given - what is allowed - what to do."""

    code = 2


class WorkLost(UserError):
    """Right use, but the machine gave out (a worker process was killed, memory ran out); the same command goes on."""

    code = 1


def did_you_mean(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for an unknown `name` of some `kind`, with the closest known names first."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return UserError(f"unknown {kind} '{name}' - {hint}known: {', '.join(names)}")


def program(module: str) -> str:
    """How a command is called, in usage and advice: `lmsearcher run` or `python -m search.run`, as the user does it."""
    return f"lmsearcher {module.rpartition('.')[2]}" if sys.argv[0].startswith("lmsearcher ") else f"python -m {module}"


def cli(main: Callable[[], int | None]) -> None:
    """Run a command line: 0 done, 2 wrong use, 1 lost work (one sentence, no traceback) or anything else."""
    try:
        code = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.code) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
    raise SystemExit(code or 0)
