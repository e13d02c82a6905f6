"""Rows from jsonl and csv files, with the place that each came from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wordgrad.errors import UsageError
from wordgrad.types import JSON


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One example: its columns, and where they stand, for messages."""

    columns: Mapping[str, JSON]
    place: str
    """"train.jsonl:12"."""

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
    """The rows of a .jsonl or .csv file (UTF-8, with or without a byte order mark), in order; at least one.

    Raises:
        UsageError: The file is missing, of another kind, empty, or broken; the message names the line.
    """
    readers = {".jsonl": _jsonl, ".csv": _csv}
    if path.suffix not in readers:
        raise UsageError(f"{path}: rows are read from .jsonl and .csv files")
    rows = list(readers[path.suffix](text(path), path))
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


def _jsonl(source: str, path: Path) -> Iterator[Row]:
    # Not splitlines(): a ticket may hold a line separator that JSON allows inside a string.
    for number, line in enumerate(source.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            columns = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}:{number}: no JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(columns, dict):
            raise UsageError(f"{path}:{number}: a row is a JSON object, not {type(columns).__name__}")
        yield Row(columns, f"{path.name}:{number}")


def _csv(source: str, path: Path) -> Iterator[Row]:
    # Not splitlines(): a cell may hold a line separator that is none to a csv file.
    reader = csv.reader(io.StringIO(source), strict=True)
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


def require_columns(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Raise UsageError at the first row without one of `columns`."""
    for row in rows:
        for column in columns:
            row[column]


def require_disjoint(splits: Mapping[str, Sequence[Row]], column: str) -> None:
    """Raise UsageError where two splits share an input: a test on what was trained on says nothing."""
    seen: dict[str, tuple[str, Row]] = {}
    for split, rows in splits.items():
        for row in rows:
            key = json.dumps(row[column], sort_keys=True)
            other, first = seen.setdefault(key, (split, row))
            if other != split:
                raise UsageError(
                    f"{row.place} ({split}) repeats {first.place} ({other}): the same {column!r} may not stand in two "
                    "splits; remove one of them"
                )
