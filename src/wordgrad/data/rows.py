"""Rows from jsonl, csv and parquet files, with the place that each came from."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from wordgrad.errors import UsageError
from wordgrad.types import JSON

_limiting = threading.Lock()  # two readers at once would give each other's limit back


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One example: its columns, and where they stand, for messages."""

    columns: Mapping[str, JSON]
    place: str
    """"train.jsonl:12"."""

    @classmethod
    def of(cls, record: Mapping[Any, Any], place: str) -> Self:
        """A row of a table, with JSON values: a missing one (NaN, NaT) is None, a date or time its ISO form.

        Raises:
            UsageError: A value has no JSON form, as an image has none.
        """
        columns = {str(name): _json(value, place, str(name)) for name, value in record.items()}
        if len(columns) < len(record):
            raise UsageError(f"{place}: two columns have the same name")
        return cls(columns, place)

    def __getitem__(self, column: str) -> JSON:
        """The value of a column.

        Raises:
            UsageError: The row has no such column.
        """
        try:
            return self.columns[column]
        except KeyError:
            raise UsageError(
                f"{self.place}: no column {column!r}; the row has {', '.join(map(repr, self.columns))}"
            ) from None


def read(path: Path) -> list[Row]:
    """The rows of a .jsonl or .csv file (UTF-8, with or without a byte order mark) or a .parquet file, in order.

    At least one.

    Raises:
        UsageError: The file is missing, of another kind, empty, or broken; the message names the line.
    """
    readers: dict[str, Callable[[Path], Iterable[Row]]] = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise UsageError(f"{path}: rows are read from .jsonl, .csv and .parquet files")
    rows = list(readers[path.suffix](path))
    if not rows:
        raise UsageError(f"{path}: the file has no rows")
    return rows


def text(path: Path) -> str:
    """A file's text (UTF-8, with or without a byte order mark).

    Raises:
        UsageError: It is missing, or no such text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text: {error}") from error


def _jsonl(path: Path) -> Iterator[Row]:
    # Not splitlines(): a ticket may hold a line separator that JSON allows inside a string.
    for number, line in enumerate(text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            columns = json.loads(line)
            # What Python reads and JSON has not, NaN and Infinity, is as in a table.
            row = Row.of(columns, f"{path.name}:{number}") if isinstance(columns, dict) else None
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}:{number}: no JSON: {error.msg} at column {error.colno}") from error
        except ValueError as error:  # a number of thousands of digits
            raise UsageError(f"{path}:{number}: the row cannot be read: {error}") from error
        except RecursionError as error:
            raise UsageError(f"{path}:{number}: the row cannot be read: it is nested too deep") from error
        if row is None:
            raise UsageError(f"{path}:{number}: a row is a JSON object, not {type(columns).__name__}")
        yield row


def _csv(path: Path) -> list[Row]:
    content = text(path)
    with _long_cells(len(content)):
        return list(_cells(content, path))


@contextmanager
def _long_cells(limit: int) -> Generator[None]:
    """Let csv read cells of so many characters: a document may be one, and the limit is the whole process's."""
    with _limiting:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, limit))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _cells(content: str, path: Path) -> Iterator[Row]:
    # Not splitlines(): a cell may hold a line separator that is none to a csv file.
    reader = csv.reader(io.StringIO(content), strict=True)
    try:
        names = next(reader, [])
        if len(set(names)) < len(names):
            raise UsageError(f"{path}:1: two columns have the same name")
        first = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(names):
                raise UsageError(f"{path}:{first}: the row has {len(cells)} columns, the first line {len(names)}")
            if cells:
                yield Row(dict(zip(names, cells, strict=True)), f"{path.name}:{first}")
            first = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{path}:{reader.line_num}: {error}") from error


def _parquet(path: Path) -> Iterator[Row]:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError(f"{path}: a .parquet file is read by pyarrow: pip install 'wordgrad[parquet]'") from error
    try:
        records = parquet.read_table(path).to_pylist()
    except (OSError, ValueError, OverflowError, arrow.ArrowException) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    for number, record in enumerate(records, start=1):
        yield Row.of(record, f"{path.name}:{number}")


def _json(value: Any, place: str, column: str) -> JSON:  # noqa: ANN401 - what a table can hold
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, dt.date | dt.time):
        return None if value != value else value.isoformat()  # noqa: PLR0124 - pandas' NaT equals nothing
    if isinstance(value, float) and not math.isinf(value):
        return None if math.isnan(value) else float(value)
    if isinstance(value, Mapping):
        return {str(name): _json(each, place, column) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(each, place, column) for each in value]
    if hasattr(value, "tolist"):  # numpy's, which frames hold, and other arrays
        return _of_array(value, place, column)
    raise _no_json(value, place, column)


def _of_array(value: Any, place: str, column: str) -> JSON:  # noqa: ANN401 - of a package that may not be there
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "M":  # times, of which tolist() makes counts of nanoseconds
        return [_of_array(each, place, column) for each in value] if value.shape else _time(str(value))
    plain = value.tolist()
    if kind == "m" or type(plain) is type(value):
        raise _no_json(value, place, column)
    return _json(plain, place, column)


def _time(iso: str) -> str | None:
    return None if iso == "NaT" else iso


def _no_json(value: object, place: str, column: str) -> UsageError:
    what = value if isinstance(value, float) else f"a {type(value).__name__}"
    return UsageError(
        f"{place}: column {column!r} holds {what}, which has no JSON form: mend it, or leave the column out"
    )


def require_columns(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Raise UsageError at the first row without one of `columns`."""
    for row in rows:
        for column in columns:
            row[column]
