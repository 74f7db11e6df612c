"""A pickle looked at before it is executed: one that would fill the memory with nothing is refused.

A pickle may store an object under any number up to 2^32, and Python's unpickler makes room for twice as many: a file of
40 bytes asks for 64 GB. Every stored object takes two bytes at least, so a number beyond the place in the file where it
stands is nobody's honest one.
"""

from __future__ import annotations

import re
from typing import IO

from search.errors import UserError

# Opcodes with all that belongs to them, as far as their length is known; those that store far above are left out.
_PLAIN = re.compile(
    rb"(?:[()012NQR\x85-\x89\]abdelostu}\x81\x8f\x90\x91\x92\x93\x94\x97\x98]"  # nothing follows
    rb"|[Kqh\x80\x82].|[M\x83]..|[Jj\x84]....|r...\0|[G\x95].{8})*+",  # 1, 2, 4, 3 + a zero, and 8 bytes follow
    re.DOTALL,
)
# How many bytes say how many follow: texts, bytes and long integers.
_COUNTED = {b"U": 1, b"C": 1, b"\x8c": 1, b"\x8a": 1, b"T": 4, b"B": 4, b"X": 4, b"\x8b": 4}
_COUNTED |= {b"\x8d": 8, b"\x8e": 8, b"\x96": 8}
_LINES = {b"I": 1, b"L": 1, b"F": 1, b"S": 1, b"V": 1, b"P": 1, b"g": 1, b"p": 1, b"c": 2, b"i": 2}
_WIDEST = 9  # bytes of the longest opcode that is read as a whole


class Scanner:
    """Follows a pickle's opcodes from block to block, to its end. what: the file's name, for messages."""

    def __init__(self, what: str):
        self._what, self._left, self._skip, self._at, self.ended = what, b"", 0, 0, False

    def feed(self, data: bytes) -> None:
        """Look at the next bytes; UserError for one that stores at an impossible number."""
        if self.ended:
            return
        data, at = self._left + data, 0
        while not self.ended:
            step = min(self._skip, len(data) - at)
            at, self._skip = at + step, self._skip - step
            if self._skip:
                break
            match = _PLAIN.match(data, at)
            at = match.end() if match else at
            length = self._one(data, at)
            if length is None:
                break
            at += length
        self._left, self._at = data[at:], self._at + at

    def _one(self, data: bytes, at: int) -> int | None:
        """How long the opcode there is, but for what it makes us skip; None when its end is not there yet."""
        code = data[at : at + 1]
        if code == b".":
            self.ended = True
            return 1
        if code in _COUNTED:
            start = at + 1
            end = start + _COUNTED[code]
            if len(data) < end:
                return None
            self._skip = int.from_bytes(data[start:end], "little")
            return end - at
        if code in _LINES:
            end = at
            for _ in range(_LINES[code]):
                end = data.find(b"\n", end) + 1
                if not end:
                    return None
            if code == b"p":
                self._check(data[at + 1 : end].strip(), at)
            return end - at
        if code == b"r" and len(data) >= at + 5:
            self._check(b"%d" % int.from_bytes(data[at + 1 : at + 5], "little"), at)
            return 5
        if len(data) - at < _WIDEST:
            return None
        self.ended = True  # no opcode: the unpickler says so
        return 0

    def _check(self, number: bytes, at: int) -> None:
        if number.isdigit() and (len(number) > 18 or int(number) > self._at + at):
            raise UserError(
                f"{self._what} stores an object under a number that it cannot have ({number[:20].decode()}), which"
                " would fill the memory - do not trust this file; fetch it again from the benchmark's own page"
            )


class Watched:
    """An open binary file as an unpickler reads it: each byte is scanned before it is executed."""

    def __init__(self, handle: IO[bytes], what: str):
        self._handle, self._scanner = handle, Scanner(what)
        self._consumed = self._seen = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        return self._took(self._handle.read(size))

    def readline(self) -> bytes:
        """The next line."""
        return self._took(self._handle.readline())

    def peek(self, size: int) -> bytes:
        """Some of the next bytes, which stay the next ones."""
        if hasattr(self._handle, "peek"):
            return self._look(self._handle.peek(size))
        place = self._handle.tell()
        data = self._handle.read(size)
        self._handle.seek(place)
        return self._look(data)

    def _took(self, data: bytes) -> bytes:
        self._look(data)
        self._consumed += len(data)
        return data

    def _look(self, data: bytes) -> bytes:
        """Scan what was not seen before."""
        self._scanner.feed(data[self._seen - self._consumed :])
        self._seen = max(self._seen, self._consumed + len(data))
        return data
