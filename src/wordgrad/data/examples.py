"""Examples from whatever holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wordgrad.data import rows as files
from wordgrad.data.rows import Row
from wordgrad.errors import UsageError


def examples(source: object) -> list[Row]:
    """The examples of a file, a table or a list, in order; at least one.

    In tables a missing value (NaN, NaT) is None, and a date or time its ISO form.

    Args:
        source: The path of a .jsonl, .csv or .parquet file (the last with extra `parquet`); a pandas or polars frame; a
            split of a Hugging Face dataset; or any iterable of mappings from column to value.

    Raises:
        UsageError: It is none of these, is empty, or holds a value without a JSON form, such as an image; the message
            names the place.
    """
    if isinstance(source, str | Path):
        return files.read(Path(source))
    if isinstance(source, Mapping):
        raise UsageError(
            f"examples come in a list, and this is one mapping of {', '.join(map(repr, source))}: pass [it], or one of "
            "its values"
        )
    found = []
    for number, record in enumerate(_records(source), start=1):
        if isinstance(record, Row):
            found.append(record)
        elif isinstance(record, Mapping):
            found.append(Row.of(record, f"example {number}"))
        else:
            raise UsageError(f"example {number} is a {type(record).__name__}: pass a mapping from column to value")
    if not found:
        raise UsageError("there are no examples")
    return _placed(found)


def _placed(rows: list[Row]) -> list[Row]:
    """The rows, each with a place of its own: those of two files of one name would share theirs."""
    seen: set[str] = set()
    placed = []
    for number, row in enumerate(rows, start=1):
        placed.append(replace(row, place=f"{row.place} (example {number})") if row.place in seen else row)
        seen.add(row.place)
    return placed


def _records(source: Any) -> Iterable[object]:  # noqa: ANN401 - of packages that may not be there
    if hasattr(source, "to_dicts"):  # polars
        return source.to_dicts()  # type: ignore[no-any-return]
    if hasattr(source, "to_dict") and hasattr(source, "columns"):  # pandas
        if not source.columns.is_unique:
            raise UsageError("two columns of the frame have the same name")
        return source.to_dict("records")  # type: ignore[no-any-return]
    if not isinstance(source, Iterable):
        raise UsageError(f"a {type(source).__name__} holds no examples: pass a path, a frame, or a list of mappings")
    return source
