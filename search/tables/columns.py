"""Any table as a search problem: CSV, CSV.gz or Parquet.

    read_table("runs.csv.gz", code_column="arch")              one column of digit strings ("03255564")
    read_table("runs.csv", decisions=["depth", "width"])       one column per decision

Digit strings are read as text, so leading zeros stay. The options of a position (or of a decision column) are those
that occur in it, in ascending order (numbers by value, anything else as text), and become digits 0, 1, ...;
`Space.decode` gives the original digit or value back. All other columns that hold only numbers are metrics; an empty
cell is not measured. Rows with the same code are repeated measurements: their metrics are averaged and a warning says
how many.
"""

from __future__ import annotations

import csv
import gzip
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from search.errors import UserError, did_you_mean
from search.spaces import DIGITS, Choice, Decision, Space
from search.tables.base import Table, natural_direction
from search.tables.cache import cached, file_sum

CODE_COLUMNS = ("code", "ncode", "arch")
_CACHE_ABOVE = 1 << 20  # bytes; smaller files are parsed faster than a cache is opened
_LONGEST_LINE = 1 << 20  # characters; 10,000 columns of 100 characters
_UNPACKED, _UNPACKED_AT_LEAST = 200, 1 << 28  # tables of digits pack 5 to 50 times; a bomb of zeros 1,000 times
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?", re.ASCII)  # '1_0', '007' and 'inf' are names


def read_table(
    path: str | Path, *, code_column: str | None = None, decisions: Sequence[str] | None = None, name: str | None = None
) -> Table:
    """The table in a file.

    code_column: the column of digit strings.
    decisions: the columns that are the choices, in order.

    With neither, a column called code, ncode or arch is taken. UserError for a missing file, an unknown column, digit
    strings of different lengths, a cell without a value, more than 36 options, or no numeric column left.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"table file {path} does not exist - CSV, CSV.gz and Parquet files are read - give the path of one"
        )
    if code_column is not None and decisions:
        raise UserError(
            "both a code column and decision columns were given - a table has one or the other - leave one out"
        )
    digest = file_sum(path)
    label = name or path.name.split(".")[0]

    def build() -> Table:
        return _build(path, code_column, tuple(decisions or ()), label, digest)

    if path.stat().st_size < _CACHE_ABOVE:
        return build()
    return cached(label, f"table|{digest}|{code_column}|{decisions}", build)


def read_columns(path: str | Path) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """All columns of a file as text, and those that hold only numbers as float64 (n,) with NaN for empty cells."""
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"table file {path} does not exist - CSV, CSV.gz and Parquet files are read - give the path of one"
        )
    columns = _columns(path)
    if not columns or not next(iter(columns.values())):
        raise UserError(
            f"table file {path} has no rows - a header line and one line per architecture are needed - check the file"
        )
    return columns, {c: values for c, cells in columns.items() if (values := _numbers(cells)) is not None}


def finite(path: Path, metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The metrics with 'not measured' in place of infinities (a run that diverged), and a warning that says how many;
    a metric without any number is left out.
    """
    out = {}
    for name, values in metrics.items():
        if endless := int(np.isinf(values).sum()):
            warnings.warn(
                f"table {path.name}: {endless} infinite values of '{name}' count as not measured", stacklevel=5
            )
        out[name] = np.where(np.isinf(values), np.nan, values)
    return {name: values for name, values in out.items() if not np.isnan(values).all()}


def raw_code(table_space: Space, code: str) -> str:
    """The digit string as it stands in the file, for a table read with a code column."""
    return "".join(str(option) for option in table_space.decode(code).values())


def _build(path: Path, code_column: str | None, decisions: tuple[str, ...], name: str, digest: str) -> Table:
    columns, numbers = read_columns(path)
    if decisions:
        for column in decisions:
            _known(path, column, columns)
        chosen = _ladders([_decision(path, c, columns[c]) for c in decisions])
    else:
        code_column = _known(path, code_column, columns) if code_column is not None else _guess(path, columns)
        chosen = _positions(path, code_column, columns[code_column])
    space = Space([axis for axis, _ in chosen], name)
    levels = np.stack([found for _, found in chosen], axis=1)
    codes = levels.astype(np.uint8) if space.geometry is None else space.geometry.codes(levels)
    used = set(decisions) | {code_column}
    metrics = finite(path, {c: values for c, values in numbers.items() if c not in used})
    if not metrics:
        raise UserError(
            f"table file {path} has no numeric column beside the codes - columns are {', '.join(columns)} - add the"
            " metric to search on"
        )
    rows = len(codes)
    codes, metrics = _merge(codes, metrics)
    source = path.name
    if repeats := rows - len(codes):
        source += f" ({repeats} of {rows} rows repeat a code: repeated measurements, averaged)"
        warnings.warn(f"table {source} - if that is not meant, name more decision columns", stacklevel=4)
    directions = {m: d for m in metrics if (d := natural_direction(m))}
    return Table(name, space, codes, metrics, directions, source, "", digest)


def _columns(path: Path) -> dict[str, list[str]]:
    kind = "".join(path.suffixes[-2:]).lower()
    if kind.endswith((".parquet", ".pq")):
        return _parquet(path)
    if not kind.endswith((".csv", ".csv.gz")):
        raise UserError(
            f"table file {path.name} ends in '{path.suffix}' - .csv, .csv.gz and .parquet are read - convert it to one"
            " of them"
        )
    opener = gzip.open if kind.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as handle:
            rows = csv.reader(_lines(handle, path.stat().st_size))
            header = [column.strip() for column in next(rows, [])]
            body = [row for row in rows if row]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise UserError(
            f"table file {path} cannot be read ({error}) - a whole UTF-8 CSV file is needed - write it again"
        ) from error
    if twice := sorted({c for c in header if header.count(c) > 1}):
        raise UserError(
            f"table file {path} has two columns of one name: {', '.join(twice)} - names must differ by more than spaces"
            " - rename one"
        )
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise UserError(
                f"line {number} of {path} has {len(row)} cells - the header has {len(header)} - correct that line"
            )
    return {column: [row[i].strip() for row in body] for i, column in enumerate(header)}


def _lines(handle: TextIO, size: int) -> Iterator[str]:
    """The lines of a file of `size` bytes; csv.Error for a line without end, and for what unpacks to far too much."""
    most, read = max(_UNPACKED_AT_LEAST, _UNPACKED * size), 0
    while line := handle.readline(_LONGEST_LINE):
        read += len(line)
        if len(line) == _LONGEST_LINE and not line.endswith("\n"):
            raise csv.Error(f"a line is longer than {_LONGEST_LINE} characters")
        if read > most:
            raise csv.Error(f"{size} bytes unpack to more than {most}")
        yield line


def _parquet(path: Path) -> dict[str, list[str]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"{path.name} is a Parquet file, which needs pyarrow - CSV files are read without it - run: pip install"
            " pyarrow"
        ) from error
    try:
        data = parquet.read_table(path)
    except Exception as error:  # pyarrow raises its own and OS errors
        raise UserError(
            f"table file {path} cannot be read ({str(error)[:120]}) - a whole Parquet file is needed - write it again"
        ) from error
    return {c: ["" if v is None else str(v) for v in data[c].to_pylist()] for c in data.column_names}


def _known(path: Path, column: str, columns: dict[str, list[str]]) -> str:
    if column not in columns:
        raise did_you_mean(f"column of {path.name}", column, columns)
    return column


def _guess(path: Path, columns: dict[str, list[str]]) -> str:
    for column in CODE_COLUMNS:
        if (
            column in columns
            and len({len(c) for c in columns[column]}) == 1
            and all(set(c) <= set(DIGITS) for c in columns[column])
        ):
            return column
    raise UserError(
        f"table file {path.name} has no column of digit strings called {', '.join(CODE_COLUMNS)} - its columns are"
        f" {', '.join(columns)} - name the code column or the decision columns"
    )


def _positions(path: Path, column: str, cells: list[str]) -> list[tuple[Decision | Choice, np.ndarray]]:
    first = len(cells[0])
    for number, cell in enumerate(cells, start=2):
        if len(cell) != first or not cell:
            raise UserError(
                f"row {number} of {path.name} has code '{cell}' of {len(cell)} digits in column '{column}' - the first"
                f" has {first} - codes must be of one length, leading zeros included - store them as text"
            )
        if not set(cell) <= set(DIGITS):
            raise UserError(
                f"row {number} of {path.name} has code '{cell}' in column '{column}' - a code is made of 0-9 and a-z -"
                " name another code column"
            )
    raw = np.frombuffer("".join(cells).encode(), dtype=np.uint8).reshape(len(cells), first)
    chosen: list[tuple[Decision | Choice, np.ndarray]] = []
    for i in range(first):
        found, digits = np.unique(raw[:, i], return_inverse=True)
        chosen.append((Decision(f"d{i}", tuple(map(chr, found))), digits.astype(np.uint8)))
    return chosen


def _decision(path: Path, column: str, cells: list[str]) -> tuple[Decision | Choice, np.ndarray]:
    """A decision column and the level of each row; more than 36 numbers are a ladder, more than 36 texts an error."""
    if "" in cells:
        raise UserError(
            f"row {cells.index('') + 2} of {path.name} has no value in decision column '{column}' - every row needs one"
            " - fill it in"
        )
    values: Sequence[Any] = [_option(c) for c in cells]
    if any(isinstance(v, str) for v in values):
        values = cells
    options = sorted(set(values))
    index = {v: i for i, v in enumerate(options)}
    levels = np.array([index[v] for v in values], dtype=np.int64)
    if len(options) <= len(DIGITS):
        return Decision(column, tuple(options)), levels
    if isinstance(options[0], str):
        raise UserError(
            f"decision column '{column}' of {path.name} has {len(options)} different values - a decision has at most"
            f" {len(DIGITS)}, only numbers may have more - group them, or leave the column out of the decisions"
        )
    return Choice(column, options, ordered=True), levels


def _ladders(chosen: list[tuple[Decision | Choice, np.ndarray]]) -> list[tuple[Decision | Choice, np.ndarray]]:
    """Where one column of numbers is too long for a digit, the short ones are ordered too; else all as they are."""
    if not any(isinstance(axis, Choice) for axis, _ in chosen):
        return chosen
    return [
        (axis if isinstance(axis.options[0], str) else Choice(axis.name, axis.options, ordered=True), levels)
        for axis, levels in chosen
    ]


def _option(cell: str) -> int | float | str:
    """The value of a cell: a finite number where it is written as one, else its text."""
    try:
        number = float(cell) if _NUMBER.fullmatch(cell) else np.inf
        if not np.isfinite(number):
            return cell
        return int(cell) if cell.lstrip("+-").isdigit() else number
    except ValueError:  # a lone point or exponent
        return cell


def _numbers(cells: list[str]) -> np.ndarray | None:
    """float64 (n,) with NaN for empty cells, or None when a cell is not a number or all are empty."""
    try:
        values = np.array([c or "nan" for c in cells], dtype=np.float64)
    except ValueError:
        return None
    if any("_" in c for c in cells):  # Python reads 1_0 as ten
        return None
    return None if np.isnan(values).all() else values


def _merge(codes: np.ndarray, metrics: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Distinct codes in the order of their first row, each metric averaged over the rows of a code that have it."""
    _, first, group = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(codes):
        return codes, metrics
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    group = place[group.reshape(-1)]
    merged = {}
    for name, values in metrics.items():
        measured = ~np.isnan(values)
        count = np.bincount(group, weights=measured, minlength=len(first))
        shown = np.where(measured, values, 0.0)
        mean: np.ndarray = np.bincount(group, weights=shown, minlength=len(first)) / np.maximum(count, 1)
        if not np.isfinite(mean).all():  # the sum of values near 1e308
            mean = np.bincount(group, weights=shown / np.maximum(count, 1)[group], minlength=len(first))
        merged[name] = np.where(count > 0, mean, np.nan)
    return codes[first[order]], merged
