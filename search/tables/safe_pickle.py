"""Reading pickles without running them: only plain containers, numbers, text and (on request) numpy values come out.

A pickle names functions to call; here each name is looked up in a fixed list and everything else is refused
with a sentence, before anything is called.
"""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from search.errors import UserError
from search.tables.pickle_scan import Watched

_STACK = 1 << 29  # bytes, taken only as far as used; some 60 a level of nested tuples, so some eight million levels
_DTYPE = re.compile(r"[<>|=]?[biufcSU?]\d*")


def _dtype(text: Any, *flags: Any) -> np.dtype:
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise pickle.UnpicklingError(f"numpy type {text!r} is not a plain number or text")
    return np.dtype(text)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, np.dtype) or not isinstance(data, (bytes, str)):
        raise pickle.UnpicklingError("a numpy scalar without a plain type")
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype=dtype, count=1)[0].item()


class _Array(list[Any]):
    """Receives the state of a pickled numpy array and becomes a list of its values."""

    def __setstate__(self, state: Any) -> None:
        self[:] = _values(state).tolist()


class WholeArray:
    """Receives the state of a pickled numpy array and keeps it as `array`, for arrays too large to be lists."""

    def __init__(self, *_: Any):
        self.array = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        self.array = _values(state)


def _values(state: Any) -> np.ndarray:
    _, shape, dtype, fortran, data = state
    if not isinstance(dtype, np.dtype) or not isinstance(data, (bytes, str)):
        raise pickle.UnpicklingError("a numpy array of objects")
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _dict_of(*_: Any) -> dict[Any, Any]:
    return {}


def _bytes_of(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "ascii", "utf-8"):
        raise pickle.UnpicklingError(f"text encoding {encoding!r}")
    return text.encode(encoding)


_BUILTINS = (set, frozenset, dict, list, tuple, int, float, complex)

PLAIN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _dict_of,
    ("_codecs", "encode"): _bytes_of,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in _BUILTINS},
}
NUMPY: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _Array,
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
}

WHOLE: Mapping[tuple[str, str], Callable[..., Any]] = {
    **NUMPY,
    ("numpy", "ndarray"): WholeArray,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): WholeArray for core in ("core", "_core")},
}


class SafeUnpickler(pickle.Unpickler):
    """An unpickler that knows only the names in `allowed`; anything else is a UserError that names it."""

    def __init__(self, handle: IO[bytes], what: str, allowed: Mapping[tuple[str, str], Callable[..., Any]]):
        super().__init__(Watched(handle, what), encoding="latin1")
        self._what, self._allowed = what, allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._allowed:
            return self._allowed[module, name]
        raise UserError(
            f"{self._what} asks to run {module}.{name} while it is read - only plain numbers, text and containers are"
            " allowed - do not trust this file; fetch it again from the benchmark's own page"
        )

    def persistent_load(self, pid: Any) -> Any:
        """Storages of torch files are not needed: the benchmarks keep their figures as plain numbers."""
        return None


def load(handle: IO[bytes], what: str, allowed: Mapping[tuple[str, str], Callable[..., Any]] | None = None) -> Any:
    """The next pickle in an open binary file.

    what: the file's name for messages.
    allowed: PLAIN and NUMPY unless given.

    Raises UserError for a name outside the list, and for a file that is cut short or damaged.
    """
    reader = SafeUnpickler(handle, what, {**PLAIN, **NUMPY} if allowed is None else allowed)
    try:
        return _with_room(reader.load)
    except UserError:
        raise
    except EOFError as error:
        raise UserError(f"{what} ends too early - the file is incomplete - download it again") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = f"{type(error).__name__}: {str(error)[:120]}"
        raise UserError(
            f"{what} is not a readable pickle ({reason}) - it is damaged or of another kind - download it again"
        ) from error


def _with_room(work: Callable[[], Any]) -> Any:
    """The result of work(), done where the stack is deep: Python hashes nested tuples as deep as they go, unchecked."""
    found: list[Any] = []
    failed: list[BaseException] = []

    def do() -> None:
        try:
            found.append(work())
        except BaseException as error:  # raised again below, in the thread that asked
            failed.append(error)

    thread = threading.Thread(target=do, daemon=True)
    usual = threading.stack_size(_STACK)
    try:
        thread.start()
    finally:
        threading.stack_size(usual)
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def loads(data: bytes, what: str, allowed: Mapping[tuple[str, str], Callable[..., Any]] | None = None) -> Any:
    """One pickle from bytes; see `load`."""
    return load(io.BytesIO(data), what, allowed)


def load_file(path: str | Path) -> Any:
    """One pickle from a file, uncompressed on the way where the name ends in .bz2, .pbz2 or .gz; see `load`."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"file {path} does not exist - give the path of the benchmark's file")
    opener: Any = bz2.open if path.suffix in (".bz2", ".pbz2") else gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as handle:
        value = load(handle, path.name)
        try:
            while handle.read(1 << 20):  # to the end: only there are the checksums of a compressed file verified
                pass
        except (OSError, EOFError) as error:
            raise UserError(
                f"{path.name} ends too early or is damaged ({error}) - the file is incomplete - download it again"
            ) from error
        return value
