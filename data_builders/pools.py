"""What rows are drawn from: a finite table, or a space whose codes are looked up or computed as they come.

Both pools speak of entries (integers): `members` finds those of pruned subspaces, `find` those of codes; class_of, codes_of,
text_of and value_of tell about them. Entries of a LivePool must be kept
to outlive the next `keep`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data_builders.masks import mask_sizes, option_lists
from search.prompt_bulk import digit_text

ENUMERATE = 4096  # subspaces up to this size are listed and shuffled, larger ones are drawn from
GRID = 1 << 24  # spaces up to this size get a direct address for every code


def draws(size: np.ndarray, rng: np.random.Generator, need: np.ndarray, surplus: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """(row, number within the subspace) for subspaces of these sizes: small ones listed whole in random order, -1 = draw any code.

    Small means up to 2 surplus * need codes (4096 at most); of a larger one surplus * need + 64 are drawn. int64 (m,), int32 (m,);
    rows ascending.
    """
    listed = size <= np.minimum(2 * surplus * need, ENUMERATE)
    amount = np.where(listed, size, (surplus * need).astype(np.int64) + 64).astype(np.int64)
    row = np.repeat(np.arange(len(need)), amount)
    local = np.arange(len(row)) - np.repeat(np.cumsum(amount) - amount, amount)
    key = (row.astype(np.uint64) << np.uint64(44)) | (rng.integers(1 << 32, size=len(row), dtype=np.uint64) << np.uint64(12)) | (local & 4095).astype(np.uint64)
    key.sort()
    local = (key & np.uint64(4095)).astype(np.int32)
    return row, local if listed.all() else np.where(listed[row], local, np.int32(-1))


def subspace_options(allowed: np.ndarray, rng: np.random.Generator, need: np.ndarray, surplus: float = 4.0) -> tuple[np.ndarray, list[np.ndarray]]:
    """(row, [chosen option of decision 0, 1, ...]) of codes in pruned subspaces; allowed bool (options, decisions, rows)."""
    options, kept = option_lists(allowed)
    rows = allowed.shape[2]
    row, local = draws(mask_sizes(allowed), rng, need, surplus)
    drawn = np.flatnonzero(local < 0)
    left = local + np.float32(0.5)
    digits = []
    for i in range(allowed.shape[1]):
        n = kept[i].astype(np.float32)
        whole = np.floor(left * (np.float32(1) / n)[row])  # exact: left is below 4096 and half way between integers
        nth = (left - whole * n[row]).astype(np.int32)
        left = whole + np.float32(0.5)
        if len(drawn):
            of = kept[i].astype(np.int32)[row[drawn]]
            nth[drawn] = np.minimum((rng.random(len(drawn), dtype=np.float32) * of).astype(np.int32), of - 1)
        digits.append(np.ascontiguousarray(options[:, i, :]).ravel()[nth * rows + row])
    return row, digits


class TablePool:
    """A finite table: codes uint8 (n, d), their classes by canonical code, texts uint8 (n, width), columns float64 (columns, n)."""

    def __init__(self, sizes: np.ndarray, codes: np.ndarray, classes: np.ndarray, texts: np.ndarray, columns: np.ndarray):
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

    def all_members(self, rng: np.random.Generator, need: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, entry) pairs, rows ascending, from the whole table: all of a small one, 4 need + 64 draws of a large one."""
        n = len(self.codes)
        row, entry = draws(np.full(len(need), n), rng, need)
        return row, np.where(entry < 0, rng.integers(n, size=len(row), dtype=np.int32), entry)

    def members(self, allowed: np.ndarray, rng: np.random.Generator, need: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, entry) pairs in random order within a row, rows ascending; codes that the table lacks are left out."""
        if self.place is None:
            return self._filtered(allowed, rng)
        row, digits = subspace_options(allowed, rng, need)
        address = np.zeros(len(row), dtype=np.int32)
        for digit, place in zip(digits, self.place):
            address += digit * np.int32(place)
        entry = self.grid[address]
        there = entry >= 0
        return (row, entry) if there.all() else (row[there], entry[there])

    def _filtered(self, allowed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        rows, entries = [], []
        for r in range(allowed.shape[2]):
            outside = ~_bit_mask(allowed[:, :, r], self.sizes)
            inside = np.flatnonzero(((self.bits & outside[:, None]) == 0).all(axis=0))
            entries.append(rng.permutation(inside).astype(np.int32))
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
    """A space too large to list. keys: uint8 (m, d) -> int64 (m,), equal for equal architectures, -1 where there is none;
    values: (column, codes, keys) -> float64 (m,), asked only for the entries that are used; text: codes -> uint8 (m, width).
    surplus: how many codes are drawn for each one needed, more where many codes share a key or have none."""

    def __init__(self, sizes: np.ndarray, keys: Callable, values: Callable, text: Callable = digit_text, surplus: float = 4.0):
        self.sizes, self.keys, self.values, self.text, self.surplus = np.asarray(sizes, dtype=np.int64), keys, values, text, surplus
        self.n_classes, self.complete = None, True
        self.begin()

    def begin(self) -> None:
        """A new batch: forget all entries."""
        self._codes, self._keys = np.empty((0, len(self.sizes)), dtype=np.uint8), np.empty(0, dtype=np.int64)
        self._kept = 0

    def keep(self, entry: np.ndarray) -> np.ndarray:
        """Keep these entries and forget all others that were not kept; returns their new numbers."""
        codes, keys = self._codes[entry], self._keys[entry]
        self._codes, self._keys = np.concatenate([self._codes[: self._kept], codes]), np.concatenate([self._keys[: self._kept], keys])
        self._kept += len(entry)
        return np.arange(self._kept - len(entry), self._kept)

    def distinct(self, column: int) -> int:
        """An upper bound: the size of the space."""
        return int(min(np.prod(self.sizes.astype(np.float64)), 1e18))

    def all_members(self, rng: np.random.Generator, need: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, entry) pairs of codes from the whole space."""
        widest = int(self.sizes.max())
        everything = np.arange(widest)[:, None] < self.sizes
        return self.members(np.repeat(everything[:, :, None], len(need), axis=2), rng, need)

    def members(self, allowed: np.ndarray, rng: np.random.Generator, need: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, entry) pairs in random order within a row, rows ascending."""
        row, digits = subspace_options(allowed, rng, need, self.surplus)
        entry = self.find(np.stack(digits, axis=1))
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
    """A 63-bit number per code, different for different codes (up to one chance in 2**63); uint8 (n, d) -> int64 (n,)."""
    key = np.full(len(codes), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column in codes.T:
        key = (key ^ (column.astype(np.uint64) + np.uint64(1))) * np.uint64(0xD6E8FEB86659FD93)
        key ^= key >> np.uint64(32)
    return (key >> np.uint64(1)).astype(np.int64)
