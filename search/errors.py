"""One way to say what a user did wrong: a sentence on standard error and exit code 2."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable

HIDDEN = "***"
# user:password@ of a URL. In http the address ends at /, ? or #; database drivers also take those inside a password.
_HTTP_USER = re.compile(r"(https?://)[^\s/?#@]+@(?:[^\s/?#]*@)?", re.IGNORECASE)
_OTHER_USER = re.compile(r"((?!https?:)\b[a-z][a-z0-9+.-]*://[^\s:@/]*:)\S*(?=@)", re.IGNORECASE)
_PARAMETER = re.compile(
    r"([?&;](?:[^\s=&#]*[_.-])?(?:ssl)?(?:password|passwd|pwd|pass|passphrase|secret|token|api_?key|access_?key)=)[^\s&#'\"]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """A text whose URLs show no password: as user:password@, or as a parameter such as ?password=."""
    text = _HTTP_USER.sub(rf"\1{HIDDEN}@", text)
    return _PARAMETER.sub(rf"\1{HIDDEN}", _OTHER_USER.sub(rf"\1{HIDDEN}", text))


def printable(text: str, keep: str = "") -> str:
    """A text that a terminal shows as it is: control characters and those that turn its direction are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


class UserError(Exception):
    """Wrong use. The message reads: what was given - what is allowed - what to do.

    It shows no password of a URL and no character that steers a terminal, whatever it quotes.
    """

    code = 2

    def __init__(self, message: str = ""):
        super().__init__(printable(without_secrets(message)))


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
