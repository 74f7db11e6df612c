"""What rows are drawn from: a finite table, or a space whose codes are looked up or computed as they come.

Both pools speak of entries (integers): `members` finds those of pruned subspaces, `find` those of codes; class_of,
codes_of, text_of and value_of tell about them. Entries of a LivePool must be kept to outlive the next `keep`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data_builders.rows.masks import Subspaces, first_of_each, whole_space
from search.prompts.bulk import digit_text

ENUMERATE = 4096  # subspaces up to this size are listed, larger ones are drawn from
GRID = 1 << 24  # spaces up to this size get a direct address for every code


def crossed(left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All sums of a row's left and right addresses.

    Each side: (how many a row has int64 (rows,), addresses int32, row after row).
    """
    (na, a), (nb, b) = left, right
    repeat = np.repeat(nb, na)  # for every left address: how many partners
    first = np.repeat(a, repeat)
    start_b = np.repeat(np.cumsum(nb) - nb, na)
    shift = np.repeat(start_b - (np.cumsum(repeat) - repeat), repeat)
    shift += np.arange(len(first))
    return na * nb, first + b[shift]


def listed_addresses(spaces: Subspaces, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, address) of every code of the subspaces, rows ascending; address = sum of option * place."""
    alive = np.arange(spaces.options.shape[0]) < spaces.kept[:, :, None]  # (decisions, rows, options)
    parts = [
        (spaces.kept[i], (spaces.options[:, i, :].T[alive[i]].astype(np.int32) * np.int32(place[i])).astype(np.int32))
        for i in range(len(place))
    ]
    while len(parts) > 1:
        parts = [crossed(*parts[i : i + 2]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return np.repeat(np.arange(len(spaces)), parts[0][0]), parts[0][1]


def drawn_digits(spaces: Subspaces, rng: np.random.Generator, each: int) -> np.ndarray:
    """`each` uniform codes of every subspace, with repeats; uint8 (rows * each, decisions), rows ascending."""
    d, rows = spaces.kept.shape
    most = spaces.options.shape[0]
    base = (np.arange(rows, dtype=np.uint32) * np.uint32(most))[:, None]
    digits = np.empty((d, rows * each), dtype=np.uint8)
    for i in range(d):
        nth = rng.integers(1 << 26, size=(rows, each), dtype=np.uint32)  # times at most 36 options: below 2**32
        nth *= spaces.kept[i][:, None].astype(np.uint32)
        nth >>= np.uint32(26)
        nth += base
        digits[i] = np.ascontiguousarray(spaces.options[:, i, :].T).ravel()[nth.ravel()]
    return np.ascontiguousarray(digits.T)


def amounts(spaces: Subspaces, need: np.ndarray, surplus: float) -> tuple[np.ndarray, int]:
    """(which subspaces are listed whole: up to 2 surplus * need codes and 4096 at most; how many codes are drawn from
    each other one).
    """
    return spaces.size <= np.minimum(2 * surplus * need, ENUMERATE), int(surplus * need.max(initial=0)) + 64


def places(row: np.ndarray, rows: int) -> np.ndarray:
    """The place of each pair within its row, for ascending rows; int64 (m,)."""
    amount = np.bincount(row, minlength=rows)
    return np.arange(len(row)) - np.repeat(np.cumsum(amount) - amount, amount)


def distinct_in_rows(row: np.ndarray, keys: np.ndarray, n_keys: int | None, rows: int) -> np.ndarray:
    """How many different keys each row has; int64 (rows,).

    n_keys: keys are below it (None: any integers).
    """
    if n_keys is not None and n_keys * rows < 1 << 32:
        slot = row.astype(np.uint32) * np.uint32(n_keys) + keys.astype(np.uint32)
        slot.sort()
        return np.bincount(
            (slot[np.append(True, slot[1:] != slot[:-1])] if len(slot) else slot) // np.uint32(n_keys), minlength=rows
        )
    return np.bincount(row[first_of_each(row, keys, n_keys, rows)], minlength=rows)


def in_random_order(
    row: np.ndarray, entry: np.ndarray, keys: np.ndarray, n_keys: int | None, rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs shuffled within their row, only the first of each (row, key) kept; rows ascending."""
    if rows <= 1 << 10 and len(row) <= 1 << 24:
        order = (row.astype(np.uint64) << np.uint64(54)) | np.arange(len(row), dtype=np.uint64)
        order |= rng.integers(1 << 30, size=len(row), dtype=np.uint32).astype(np.uint64) << np.uint64(24)
        order.sort()
        place = (order & np.uint64((1 << 24) - 1)).astype(np.int64)
    else:
        place = np.lexsort((rng.random(len(row)), row))
    entry, keys = entry[place], keys[place]
    first = first_of_each(row, keys, n_keys, rows)
    return row[first], entry[first]


class TablePool:
    """A finite table: codes uint8 (n, d), their classes by canonical code, texts uint8 (n, width), columns float64
    (columns, n).
    """

    def __init__(
        self, sizes: np.ndarray, codes: np.ndarray, classes: np.ndarray, texts: np.ndarray, columns: np.ndarray
    ):
        self.sizes, self.codes, self.texts, self.columns = np.asarray(sizes, dtype=np.int64), codes, texts, columns
        self.classes, self.n_classes = classes.astype(np.int32), int(classes.max()) + 1
        self.complete = not np.isnan(columns).any()
        space = float(np.prod(self.sizes.astype(np.float64)))
        self.place = np.cumprod(np.append(1, self.sizes[:0:-1]))[::-1] if space <= GRID else None
        if self.place is not None:
            self.grid = np.full(int(space), -1, dtype=np.int32)
            self.grid[codes.astype(np.int64) @ self.place] = np.arange(len(codes), dtype=np.int32)
        else:
            self.bits = _bit_rows(codes, self.sizes)
            self.keys = _keys(codes)
            self.by_key = np.argsort(self.keys)

    def begin(self) -> None:
        """A new batch: nothing to forget."""

    def keep(self, entry: np.ndarray) -> np.ndarray:
        """The numbers under which these entries stay known; the same ones."""
        return entry

    def distinct(self, column: int) -> int:
        """How many different architectures have a value in this column."""
        return len(np.unique(self.classes[~np.isnan(self.columns[column])]))

    def members(
        self, spaces: Subspaces | None, rng: np.random.Generator, need: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(row, entry) pairs, rows ascending, codes that the table lacks left out; spaces None: of the whole table."""
        if spaces is None:
            return self._whole(rng, need)
        if self.place is None:
            return self._filtered(spaces)
        listed, each = amounts(spaces, need, 4.0)
        if listed.all():
            row, address = listed_addresses(spaces, self.place)
        else:
            row, address = listed_addresses(spaces.take(listed), self.place)
            drawn = drawn_digits(spaces.take(~listed), rng, each).astype(np.int32) @ self.place.astype(np.int32)
            row = np.concatenate([np.flatnonzero(listed)[row], np.repeat(np.flatnonzero(~listed), each)])
            order = np.argsort(row, kind="stable")
            row, address = row[order], np.concatenate([address, drawn])[order]
        entry = self.grid[address]
        there = entry >= 0
        return (row, entry) if there.all() else (row[there], entry[there])

    def _whole(self, rng: np.random.Generator, need: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, each = len(self.codes), 4 * int(need.max()) + 64
        if n <= 2 * each:
            return np.repeat(np.arange(len(need)), n), np.tile(np.arange(n, dtype=np.int32), len(need))
        return np.repeat(np.arange(len(need)), each), rng.integers(n, size=len(need) * each, dtype=np.int32)

    def _filtered(self, spaces: Subspaces) -> tuple[np.ndarray, np.ndarray]:
        rows, entries, allowed = [], [], spaces.allowed()
        for r in range(len(spaces)):
            outside = ~_bit_mask(allowed[:, :, r], self.sizes)
            inside = np.flatnonzero(((self.bits & outside[:, None]) == 0).all(axis=0))
            entries.append(inside.astype(np.int32))
            rows.append(np.full(len(inside), r))
        return np.concatenate(rows), np.concatenate(entries)

    def find(self, codes: np.ndarray) -> np.ndarray:
        """The entry of each code, -1 where the table lacks it; uint8 (m, d) -> int32 (m,)."""
        if self.place is not None:
            return self.grid[codes.astype(np.int64) @ self.place]
        keys = _keys(codes)
        at = np.minimum(np.searchsorted(self.keys, keys, sorter=self.by_key), len(self.keys) - 1)
        return np.where(self.keys[self.by_key[at]] == keys, self.by_key[at], -1).astype(np.int32)

    def class_of(self, entry: np.ndarray) -> np.ndarray:
        """A number that equal architectures share, below n_classes."""
        return self.classes[entry]

    def codes_of(self, entry: np.ndarray) -> np.ndarray:
        """uint8 (m, d)."""
        return self.codes[entry]

    def text_of(self, entry: np.ndarray) -> np.ndarray:
        """uint8 (m, width), the escaped text, NUL-padded."""
        return self.texts[entry]

    def value_of(self, column: np.ndarray, entry: np.ndarray) -> np.ndarray:
        """float64, NaN where absent."""
        return self.columns[column, entry]


class LivePool:
    """A space too large to list.

    keys: uint8 (m, d) -> int64 (m,), equal for equal architectures, -1 where there is none.
    values: (column, codes, keys) -> float64 (m,), asked only for the entries that are used.
    text: codes -> uint8 (m, width).
    surplus: how many codes are drawn for each one needed, more where many codes share a key or have none.
    """

    def __init__(
        self, sizes: np.ndarray, keys: Callable, values: Callable, text: Callable = digit_text, surplus: float = 4.0
    ):
        self.sizes, self.keys, self.values, self.text, self.surplus = (
            np.asarray(sizes, dtype=np.int64),
            keys,
            values,
            text,
            surplus,
        )
        self.n_classes, self.complete = None, True
        self.begin()

    def begin(self) -> None:
        """A new batch: forget all entries."""
        self._codes, self._keys = np.empty((0, len(self.sizes)), dtype=np.uint8), np.empty(0, dtype=np.int64)
        self._kept = 0

    def keep(self, entry: np.ndarray) -> np.ndarray:
        """Keep these entries and forget all others that were not kept; returns their new numbers."""
        codes, keys = self._codes[entry], self._keys[entry]
        self._codes, self._keys = (
            np.concatenate([self._codes[: self._kept], codes]),
            np.concatenate([self._keys[: self._kept], keys]),
        )
        self._kept += len(entry)
        return np.arange(self._kept - len(entry), self._kept)

    def distinct(self, column: int) -> int:
        """An upper bound: the size of the space."""
        return int(min(float(np.prod(self.sizes.astype(np.float64))), 1e18))

    def members(
        self, spaces: Subspaces | None, rng: np.random.Generator, need: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(row, entry) pairs, rows ascending; spaces None: of the whole space."""
        spaces = whole_space(self.sizes, len(need)) if spaces is None else spaces
        listed, each = amounts(spaces, need, self.surplus)
        row = np.repeat(np.flatnonzero(~listed), each)
        codes = drawn_digits(spaces.take(~listed), rng, each)
        if listed.any():
            few = spaces.take(listed)
            more = _listed_digits(few, self.sizes)
            row, codes = np.concatenate([np.flatnonzero(listed)[more[0]], row]), np.concatenate([more[1], codes])
            order = np.argsort(row, kind="stable")
            row, codes = row[order], codes[order]
        entry = self.find(codes)
        return row[entry >= 0], entry[entry >= 0]

    def find(self, codes: np.ndarray) -> np.ndarray:
        """New entries for these codes, -1 for those that mean no architecture."""
        keys = self.keys(codes)
        valid = keys >= 0
        entry = np.where(valid, len(self._keys) + np.cumsum(valid) - 1, -1)
        self._codes, self._keys = np.concatenate([self._codes, codes[valid]]), np.concatenate([self._keys, keys[valid]])
        return entry

    def class_of(self, entry: np.ndarray) -> np.ndarray:
        """The key of each entry's architecture."""
        return self._keys[entry]

    def codes_of(self, entry: np.ndarray) -> np.ndarray:
        """uint8 (m, d)."""
        return self._codes[entry]

    def text_of(self, entry: np.ndarray) -> np.ndarray:
        """uint8 (m, width)."""
        return self.text(self._codes[entry])

    def value_of(self, column: np.ndarray, entry: np.ndarray) -> np.ndarray:
        """float64 (m,)."""
        return self.values(column, self._codes[entry], self._keys[entry])


def _listed_digits(spaces: Subspaces, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, digits) of every code of small subspaces, by counting through the surviving options."""
    amount = spaces.size.astype(np.int64)
    row = np.repeat(np.arange(len(spaces)), amount)
    left = np.arange(len(row)) - np.repeat(np.cumsum(amount) - amount, amount)
    digits = np.empty((len(row), len(sizes)), dtype=np.uint8)
    for i in range(len(sizes)):
        left, nth = np.divmod(left, spaces.kept[i][row])
        digits[:, i] = spaces.options[nth, i, row]
    return row, digits


def _keys(codes: np.ndarray) -> np.ndarray:
    """Each code as one comparable value; uint8 (n, d) -> V (n,) as S with a marker that keeps trailing zeros."""
    padded = np.concatenate([codes + 1, np.full((len(codes), 1), 255, dtype=np.uint8)], axis=1)
    return np.ascontiguousarray(padded).view(f"S{padded.shape[1]}").ravel()


def _bit_rows(codes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """One bit per (decision, option); uint64 (words, n)."""
    bits = np.zeros((int(sizes.sum()) // 64 + 1, len(codes)), dtype=np.uint64)
    for i, offset in enumerate(np.cumsum(sizes) - sizes):
        at = codes[:, i].astype(np.int64) + offset
        for word in np.unique(at // 64):
            here = at // 64 == word
            bits[word, here] |= np.uint64(1) << (at[here] % 64).astype(np.uint64)
    return bits


def _bit_mask(allowed: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    flat = np.concatenate([allowed[:n, i] for i, n in enumerate(sizes)])
    words = len(flat) // 64 + 1
    return np.packbits(np.pad(flat, (0, words * 64 - len(flat))), bitorder="little").view("<u8").astype(np.uint64)


def code_keys(codes: np.ndarray) -> np.ndarray:
    """A 63-bit number per code, different for different codes (up to one chance in 2**63); uint8 (n, d) -> int64
    (n,).
    """
    key = np.full(len(codes), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column in codes.T:
        key = (key ^ (column.astype(np.uint64) + np.uint64(1))) * np.uint64(0xD6E8FEB86659FD93)
        key ^= key >> np.uint64(32)
    return (key >> np.uint64(1)).astype(np.int64)
