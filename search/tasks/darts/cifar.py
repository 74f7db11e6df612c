"""CIFAR-10 in the forms people have it: the original archive, Parquet files, folders of images by class."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError
from search.tables.safe_pickle import PLAIN, WHOLE, loads
from search.tasks.darts.pictures import Pictures, array_of

LARGEST_ARCHIVE = 1 << 30  # bytes unpacked; CIFAR-10 has 185 million
_HOW = "the original is cifar-10-python.tar.gz (170 MB) from www.cs.toronto.edu/~kriz/cifar.html"


def cifar10(data: str | Path | None = None) -> Pictures:
    """CIFAR-10 from its archive, a folder of Parquet files, or folders train/ and test/ of images by class."""
    if data is None:
        raise UserError(f"darts/cifar10 was given no data - no package has CIFAR-10 - {_HOW}; --task-option data=FILE")
    path = Path(data)
    if path.is_dir() and list(path.rglob("*.parquet")):
        parts = _from_parquet(path)
    elif path.is_dir():
        parts = _from_folder(path)
    elif path.is_file():
        parts = _from_archive(path)
    else:
        raise UserError(f"{path} does not exist - darts/cifar10 reads an archive, Parquet files or folders - {_HOW}")
    (x, y), (test_x, test_y) = parts
    classes = int(max(y.max(), test_y.max())) + 1
    return Pictures("cifar10", x, y, test_x, test_y, classes, path.name)


def _from_archive(path: Path) -> Any:
    """data_batch_1..5 and test_batch of the archive, read without running anything."""
    parts: dict[bool, list[tuple[np.ndarray, np.ndarray]]] = {True: [], False: []}
    total = 0
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if not member.isfile() or not (name.startswith("data_batch") or name == "test_batch"):
                    continue
                total += member.size
                if total > LARGEST_ARCHIVE:
                    raise UserError(
                        f"{path.name} unpacks to more than {LARGEST_ARCHIVE >> 20} MB - CIFAR-10 has 185 - it is"
                        " another file"
                    )
                content = archive.extractfile(member)
                assert content is not None
                parts[name == "test_batch"].append(_batch(content.read(), f"{path.name}:{name}"))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path.name} is not a whole tar archive ({error}) - {_HOW} - download it again") from error
    if not parts[False] or not parts[True]:
        raise UserError(f"{path.name} lacks data_batch_1..5 or test_batch - {_HOW}")
    return [tuple(np.concatenate(column) for column in zip(*parts[test])) for test in (False, True)]


def _batch(content: bytes, what: str) -> tuple[np.ndarray, np.ndarray]:
    found = loads(content, what, {**PLAIN, **WHOLE})
    table = {k.decode() if isinstance(k, bytes) else k: v for k, v in found.items()} if isinstance(found, dict) else {}
    if not {"data", "labels"} <= set(table):
        raise UserError(f"{what} has no 'data' and 'labels' - it is no batch of CIFAR-10 - {_HOW}")
    x, y = array_of(table["data"], what), np.asarray(list(table["labels"]), dtype=np.int64)
    if x.ndim != 2 or x.shape != (len(y), 3072) or x.dtype != np.uint8:
        raise UserError(
            f"{what} holds {x.dtype} {x.shape} for {len(y)} labels - uint8 rows of 3072 are needed - {_HOW}"
        )
    return x.reshape(-1, 3, 32, 32), y


def _from_parquet(path: Path) -> Any:
    """Hugging Face's form: files with 'train' or 'test' in their name, columns img or image and label."""
    from pyarrow import ArrowException, parquet

    out = []
    for part in ("train", "test"):
        x, y = [], []
        for file in sorted(f for f in path.rglob("*.parquet") if part in f.name):
            try:
                table = parquet.read_table(file)
            except (ArrowException, OSError) as error:
                raise UserError(
                    f"{file.name} is not a whole Parquet file ({type(error).__name__}) - download it again"
                ) from error
            names = table.column_names
            column = next((c for c in ("img", "image") if c in names), None)
            if column is None or "label" not in names:
                raise UserError(f"{file.name} has columns {', '.join(names)} - img (or image) and label are needed")
            x += [_decoded(cell["bytes"], file.name) for cell in table[column].to_pylist()]
            y += table["label"].to_pylist()
        if not x:
            raise UserError(
                f"{path} has no Parquet file with '{part}' in its name - train and test are needed - add them"
            )
        out.append((np.array(x), np.array(y, dtype=np.int64)))
    return out


def _decoded(content: bytes, what: str, size: int | None = None) -> np.ndarray:
    """uint8 (3, height, width) of an encoded picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(content)).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise UserError(
            f"{what} holds a picture that cannot be read ({type(error).__name__}) - mend or remove it"
        ) from error
    if size is not None and picture.size != (size, size):
        picture = picture.resize((size, size))
    return np.moveaxis(np.asarray(picture), 2, 0)


def _from_folder(path: Path) -> Any:
    """train/<class>/* and test/<class>/* (or val/), all brought to the size of the first picture."""
    out, size, names = [], None, None
    for part in (("train",), ("test", "val")):
        root = next((path / p for p in part if (path / p).is_dir()), None)
        classes = sorted(p.name for p in root.iterdir() if p.is_dir()) if root else []
        if not classes or (names is not None and classes != names):
            raise UserError(
                f"{path} needs {' or '.join(part)}/<class>/*.png with the same classes in both parts - it has {classes}"
            )
        names, x, y = classes, [], []
        for label, name in enumerate(classes):
            for file in sorted(f for f in (root / name).iterdir() if f.is_file()):  # type: ignore[operator]
                picture = _decoded(file.read_bytes(), str(file), size)
                size = size or picture.shape[-1]
                x.append(picture if picture.shape[1:] == (size, size) else _decoded(file.read_bytes(), str(file), size))
                y.append(label)
        if not x:
            raise UserError(f"{root} has no pictures - train/<class>/*.png is needed - add them")
        out.append((np.array(x), np.array(y, dtype=np.int64)))
    return out
