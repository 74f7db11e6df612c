"""Files that are either whole or not there (written under a temporary name, then renamed), and the files we ship."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from search.errors import UserError

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # neither exists everywhere
_KEPT_OF_NAME = 80  # characters; a temporary name must not be longer than the file system allows


@contextmanager
def open_atomic(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open `path` for writing; it appears (or is replaced) only if the block ends without an error.

    The temporary name cannot be guessed and is never one that somebody else has made, be it a link.

    mode: "w" (UTF-8 with line feeds) or "wb".
    """
    import secrets  # here, as a command line's help writes nothing

    path = Path(path)
    temporary = path.with_name(f".{path.name[:_KEPT_OF_NAME]}.{secrets.token_hex(8)}.tmp")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o666), mode, **text) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error} - choose a writable place with free space"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: str | Path, content: str | bytes) -> Path:
    """Write `content` to `path` whole or not at all; returns the path."""
    with open_atomic(path, "wb" if isinstance(content, bytes) else "w") as handle:
        handle.write(content)
    return Path(path)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def shipped() -> Path:
    """The folder with models/, yaml/, recipes/ and dataset_info.json: the checkout, or where the wheel put them."""
    package = Path(__file__).resolve().parent
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent


def find(path: str | Path, *near: Path) -> Path:
    """The file or folder that a relative path means, from wherever the command was called.

    It is looked for in the working folder, then in the folders `near` (and above each: a YAML in yaml/ names folders
    beside yaml/), then among the shipped files. The path itself when it is nowhere, for the caller's own error.
    """
    path = Path(path)
    if path.is_absolute() or path.exists():
        return path
    places = [place for folder in near for place in (folder, folder.resolve().parent)]
    return next((p for place in (*places, shipped()) if (p := place / path).exists()), path)


def cache_folder() -> Path:
    """Where converted tables are kept."""
    return Path(os.environ.get("LMSEARCHER_CACHE") or Path.home() / ".cache" / "lmsearcher")


def read_own(path: str | Path) -> bytes:
    """The content of a regular file that nobody else could have written: it is ours or root's, and no link.

    Raises PermissionError where that cannot be said, any other OSError where it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0))  # a pipe must not hold us up
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not _ours(found):
            raise PermissionError(f"{path} is not a file of this user alone")
        return file.read()


def check_own(folder: Path) -> Path:
    """The folder, which must be a real one of this user (or root) that not everybody can write to; else UserError."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or not _ours(found):
        raise UserError(
            f"{folder} is a link, belongs to another user or can be written by everybody - what is read from it could"
            " be anybody's - set LMSEARCHER_CACHE to a folder of your own"
        )
    return folder


def _ours(found: os.stat_result) -> bool:
    if not hasattr(os, "geteuid"):
        return True
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & stat.S_IWOTH


@contextmanager
def file_lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Exclusive lock on `path` that the operating system drops when its holder dies, however it dies.

    path: a file, made if missing, or a folder, in which no lock file is left behind.
    wait: False raises BlockingIOError while somebody else holds the lock.
    """
    handle = _open_for_lock(path)
    try:
        _lock(handle, wait)
        yield
    finally:
        os.close(handle)


def _open_for_lock(path: Path) -> int:
    if not path.is_dir():
        return os.open(path, os.O_RDWR | os.O_CREAT | _NOFOLLOW, 0o644)
    if os.name == "nt":  # folders cannot be opened there
        return os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    return os.open(path, os.O_RDONLY)


def _lock(handle: int, wait: bool) -> None:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(str(error)) from error
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
