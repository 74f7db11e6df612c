"""The plain data of a torch file (.pth), read without torch and without running anything in it.

Handles the zip form (torch 1.6 and later) and the older stream of pickles. Tensors come out as None: the benchmarks
keep their figures as plain numbers.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.tables.safe_pickle import NUMPY, PLAIN, load

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch's own mark at the start of its files before version 1.6


def _nothing(*_: Any) -> None:
    return None


_TENSORS = {
    **{("torch._utils", name): _nothing for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")},
    **{
        ("torch", f"{kind}Storage"): _nothing
        for kind in ("Float", "Double", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool", "BFloat16")
    },
}


def load_plain(path: str | Path) -> Any:
    """The object stored in a torch file, tensors replaced by None; UserError for a missing, damaged or unsafe file."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"file {path} does not exist - give the path of the benchmark's .pth file")
    allowed = {**PLAIN, **NUMPY, **_TENSORS}
    if zipfile.is_zipfile(path):
        return _from_zip(path, allowed)
    with open(path, "rb") as handle:
        if load(handle, path.name, allowed) != _LEGACY_MAGIC:
            raise UserError(f"{path.name} was not written by torch.save - a .pth file is needed - check the path")
        load(handle, path.name, allowed)  # protocol version
        load(handle, path.name, allowed)  # byte order and word sizes of the machine
        return load(handle, path.name, allowed)


def _from_zip(path: Path, allowed: Mapping[tuple[str, str], Callable[..., Any]]) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            inner = next((i for i in archive.infolist() if i.filename.rsplit("/", 1)[-1] == "data.pkl"), None)
            if inner is None:
                raise UserError(
                    f"{path.name} is a zip file without data.pkl - a file written by torch.save is needed - check the"
                    " path"
                )
            if inner.compress_type != zipfile.ZIP_STORED or inner.file_size > path.stat().st_size:
                raise UserError(
                    f"{path.name} has a data.pkl that must be unpacked ({inner.file_size} bytes, it says) - torch.save"
                    " packs nothing - do not trust this file; fetch it again from the benchmark's own page"
                )
            return load(io.BytesIO(archive.read(inner)), path.name, allowed)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        # RuntimeError: encrypted, or packed in a way that zipfile does not know
        raise UserError(f"{path.name} is damaged ({error}) - download it again") from error
