"""TFRecord files and protobuf messages in plain Python: no TensorFlow, no protobuf.

A record is: length (8 bytes, little endian), masked CRC32C of the length, payload, masked CRC32C of the payload.
Checksums are computed for thousands of records at once, so that a 500 MB file takes seconds, not minutes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError

_BATCH = 4096
_BATCH_BYTES = 8 << 20
_LONGEST = 1 << 16  # bytes; the benchmark's largest has some thousand
_BLOCK = 16 << 20  # bytes of the block that checksums are computed on: records times the longest of them


@cache
def _table() -> np.ndarray:
    """The byte table of CRC32C (Castagnoli, reflected polynomial 0x82F63B78), uint32 (256,)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1).astype(np.uint32)
    return table


def masked_crc32c(messages: list[bytes]) -> np.ndarray:
    """The masked CRC32C of each message (of at least 4 bytes), uint32 (n,).

    The messages are right-aligned and the register starts at zero, which leading zero bytes do not change; the usual
    start at all ones is the same as inverting the first four bytes.
    """
    lengths = np.array([len(m) for m in messages])
    longest = int(lengths.max())
    block = np.zeros((len(messages), longest), dtype=np.uint8)
    block[np.arange(longest) >= longest - lengths[:, None]] = np.frombuffer(b"".join(messages), dtype=np.uint8)
    start = longest - lengths
    for i in range(4):
        block[np.arange(len(messages)), start + i] ^= 0xFF
    table, crc = _table(), np.zeros(len(messages), dtype=np.uint32)
    for column in np.ascontiguousarray(block.T):
        crc = table[(crc ^ column) & 0xFF] ^ (crc >> 8)
    crc = ~crc
    return (crc >> 15 | crc << 17) + np.uint32(0xA282EAD8)


def records(path: str | Path) -> Iterator[bytes]:
    """The payloads of a TFRecord file, in order, each verified before it is given out.

    Memory stays at a few megabytes. UserError for a missing or truncated file and for a wrong checksum.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"file {path} does not exist - give the path of a .tfrecord file")
    with open(path, "rb", buffering=1 << 20) as handle:
        done = 0
        error = None
        while error is None:
            batch, error = _read(handle, path, done)
            if not batch:
                break
            heads, bodies, sums = zip(*batch, strict=True)
            stored = np.array(sums, dtype=np.uint32)
            good = (masked_crc32c(list(heads)) == stored[:, 0]) & (masked_crc32c(list(bodies)) == stored[:, 1])
            if not good.all():
                raise _damaged(path, done + int(np.argmin(good)))
            yield from bodies
            done += len(batch)
        if error is not None:
            raise error


def _read(handle: Any, path: Path, done: int) -> tuple[list[tuple[bytes, bytes, tuple[int, int]]], UserError | None]:
    """The next records, and what is wrong with the one after them (its predecessors are verified first: they may be the
    cause).
    """
    batch: list[tuple[bytes, bytes, tuple[int, int]]] = []
    size = longest = 0
    while len(batch) < _BATCH and size < _BATCH_BYTES and (len(batch) + 1) * longest < _BLOCK:
        head = handle.read(12)
        if not head:
            break
        number = done + len(batch)
        if len(head) < 12:
            return batch, _truncated(path, number)
        length, length_sum = struct.unpack("<QI", head)
        plausible = 4 <= length <= _LONGEST
        body = handle.read(length + 4) if plausible else b""
        if not plausible or len(body) < length + 4:
            return batch, (
                _truncated(path, number) if masked_crc32c([head[:8]])[0] == length_sum else _damaged(path, number)
            )
        batch.append((head[:8], body[:-4], (length_sum, struct.unpack("<I", body[-4:])[0])))
        size, longest = size + length, max(longest, length)
    return batch, None


def _truncated(path: Path, number: int) -> UserError:
    return UserError(
        f"{path.name} ends in the middle of record {number + 1} - the file is incomplete - download it again"
    )


def _damaged(path: Path, number: int) -> UserError:
    return UserError(
        f"record {number + 1} of {path.name} has a wrong checksum - the file is damaged or not a TFRecord file -"
        " download it again"
    )


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) of a protobuf message: int, float (64-bit) or bytes; ValueError for anything malformed."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        value: Any
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 1:
            value, at = struct.unpack_from("<d", message, at)[0], at + 8
        elif kind == 2:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        elif kind == 5:
            value, at = struct.unpack_from("<f", message, at)[0], at + 4
        else:
            raise ValueError(f"wire type {kind}")
        if at > end:
            raise ValueError("message ends early")
        yield number, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("message ends early")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
