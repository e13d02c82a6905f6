"""Dividing examples into those to learn from, to choose by, to prove by and to report on."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from wordgrad.data.examples import examples as read
from wordgrad.data.rows import Row
from wordgrad.errors import UsageError
from wordgrad.types import JSON

RowT = TypeVar("RowT")

_LEAST = 0.4
_MOST = 0.8
_SHOWN = 5
"""Repetitions that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Examples for training, validation and test, each in the order that they came in."""

    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row]

    def save(self, folder: Path | str) -> None:
        """Write train.jsonl, validation.jsonl and test.jsonl; the folder is made where it is missing.

        Raises:
            UsageError: One of the files is there already, or the folder cannot be written to; no file was written then.
        """
        files = {Path(folder) / f"{name}.jsonl": rows for name, rows in self.parts().items()}
        there = [str(path) for path in files if path.exists()]
        if there:
            raise UsageError(f"{' and '.join(there)} stands there already: remove it, or name another folder")
        texts = {path: "".join(f"{_line(row)}\n" for row in rows) for path, rows in files.items()}
        written: list[Path] = []
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for path, text in texts.items():
                with path.open("x", encoding="utf-8") as file:
                    written.append(path)
                    file.write(text)
        except OSError as error:
            for path in written:
                path.unlink()
            raise UsageError(f"{error.filename or folder} cannot be written: {error.strerror}") from error

    def parts(self) -> dict[str, Sequence[Row]]:
        """The three, by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def require_disjoint(self, column: str | None = None, *, by: str | None = None) -> None:
        """Check that no two splits share an example, or a group: a test on what was trained on says nothing.

        Args:
            column: What makes two examples the same; all columns where None.
            by: A column whose equal values are one group, as in `split()`.

        Raises:
            UsageError: Some do; the message shows where.
        """
        what = "example" if column is None else repr(column)
        self._require(lambda row: identity(dict(row.columns) if column is None else row[column]), what)
        if by is not None:
            self._require(lambda row: unit(row, by), repr(by))

    def _require(self, key_of: Callable[[Row], str | None], what: str) -> None:
        """Raise UsageError where rows of two splits have the same key; None is no key."""
        seen: dict[str, tuple[str, Row]] = {}
        repeated = []
        for split, rows in self.parts().items():
            for row in rows:
                key = key_of(row)
                other, first = (split, row) if key is None else seen.setdefault(key, (split, row))
                if other != split:
                    repeated.append(f"{row.place} ({split}) repeats {first.place} ({other})")
        if repeated:
            more = [f"and {len(repeated) - _SHOWN} more"] if len(repeated) > _SHOWN else []
            raise UsageError(
                f"{'; '.join([*repeated[:_SHOWN], *more])}: the same {what} may not stand in two splits; remove one of "
                "them, or keep them together with split(…, by=COLUMN)"
            )


def split(
    examples: object,
    *,
    train: float = 0.3,
    validation: float = 0.4,
    test: float = 0.3,
    by: str | None = None,
    input: str | None = None,  # noqa: A002 - as the key in [data]
    seed: int = 0,
) -> Splits:
    """Divide examples at random; the same seed divides the same examples alike.

    Args:
        examples: As `wordgrad.examples` takes them.
        train: The share to learn from. A prompt needs few; choosing and proving need many.
        validation: The share to choose by.
        test: The share for the report, which may be 0; the others are above 0, and all add up to 1.
        by: A column whose equal values are not divided: a customer, a conversation, a document. None and "" are no
            value, and stand alone. Large groups make the shares uneven.
        input: The column of what is asked, which no two parts may have in common; all columns together where None.
        seed: Of the order in which they are dealt out.

    Raises:
        UsageError: The shares are none, a part would be empty, or the same example stands in two of them; the message
            shows where.
    """
    shares = {"train": train, "validation": validation, "test": test}
    numbers = all(isinstance(each, int | float) for each in shares.values())
    if (
        not numbers
        or min(train, validation) <= 0
        or test < 0
        or not math.isclose(sum(shares.values()), 1, abs_tol=1e-6)
    ):
        raise UsageError(f"{train=}, {validation=}, {test=}: give shares above 0 that add up to 1; test may be 0")
    rows = read(examples)
    groups = _grouped(rows, None if by is None else lambda row: unit(row, by))
    dealt = _dealt(groups, [each * len(rows) for each in shares.values()], random.Random(f"split {seed}"))  # noqa: S311 - no secret
    parts = {name: [rows[place] for place in places] for name, places in zip(shares, dealt, strict=True)}
    empty = [name for name, part in parts.items() if not part and shares[name]]
    if empty:
        grouped, smaller = ("", "") if by is None else (f" in {len(groups)} groups", ", or choose smaller groups")
        raise UsageError(
            f"{len(rows)} examples{grouped} leave nothing for {' and '.join(empty)}: add examples{smaller}"
        )
    splits = Splits(**parts)
    splits.require_disjoint(input)
    return splits


def unit(row: Row, by: str) -> str | None:
    """What a row has in common with others: the value of a column; None and "" are no value."""
    return None if row[by] in (None, "") else identity(row[by])


def identity(value: JSON) -> str:
    """What equal values have in common; those of a csv file are texts, so 7 and "7" are equal."""
    if isinstance(value, dict):
        value = {name: identity(each) for name, each in value.items()}
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Division(Generic[RowT]):
    """Two parts without a row, or a group, in common; each in the order that the rows came in."""

    selection: tuple[RowT, ...]
    """The search may look at these as often as it likes."""
    confirmation: tuple[RowT, ...]
    """Sealed: one candidate meets them, once. At least 40 % of the rows."""


def divide(
    rows: Sequence[RowT],
    *,
    seed: int | str,
    share: float = 0.5,
    group: Callable[[RowT], Hashable] | None = None,
) -> Division[RowT]:
    """Divide validation rows at random; the same seed divides the same rows alike.

    Args:
        rows: In an order that is the same in every run.
        seed: Of the run.
        share: For confirmation, from 0.4 to 0.8. Half is the default: in the simulations of docs/statistics.md the
            texts that runs end with are best there.
        group: What rows have in common that must not stand on both sides: a customer, a conversation, the input itself;
            None for a row that stands alone. Large groups make the shares uneven.

    Raises:
        UsageError: The share is none of these, or one part would be empty.
    """
    if not _LEAST <= share <= _MOST:
        raise UsageError(f"share={share!r} of the rows for confirmation: choose {_LEAST} to {_MOST}")
    groups = _grouped(rows, group)
    if len(groups) < 2:  # noqa: PLR2004 - one for each part
        raise UsageError(
            f"{len(rows)} rows in {len(groups)} groups cannot be divided into selection and confirmation: add rows, or "
            "choose smaller groups"
        )
    wanted = math.ceil(share * len(rows))
    parts = _dealt(groups, [wanted, len(rows) - wanted], random.Random(f"division {seed}"))  # noqa: S311 - no secret
    if len(parts[0]) < _LEAST * len(rows):
        parts.reverse()
    confirmation, selection = (tuple(rows[place] for place in part) for part in parts)
    return Division(selection=selection, confirmation=confirmation)


def connected(keys: Sequence[Sequence[Hashable]]) -> list[int]:
    """The group of each item: items that share a key, or are joined by others that do, are one group."""
    groups = list(range(len(keys)))
    first: dict[Hashable, int] = {}

    def root(item: int) -> int:
        while groups[item] != item:
            item = groups[item]
        return item

    for item, own in enumerate(keys):
        for key in own:
            groups[root(item)] = root(first.setdefault(key, item))
    return [root(item) for item in range(len(keys))]


def _grouped(rows: Sequence[RowT], group: Callable[[RowT], Hashable] | None) -> list[list[int]]:
    """The places of the rows, by what they have in common; each alone where nothing is said."""
    groups: dict[Hashable, list[int]] = {}
    for place, row in enumerate(rows):
        key = None if group is None else group(row)
        groups.setdefault(("alone", place) if key is None else ("group", key), []).append(place)
    return list(groups.values())


def _dealt(groups: Sequence[list[int]], sizes: Sequence[float], rng: random.Random) -> list[list[int]]:
    """Deal groups out to parts of about these sizes; the places of each part in order."""
    shuffled = list(groups)
    rng.shuffle(shuffled)
    lacks, parts = list(sizes), [list[int]() for _ in sizes]
    # Large groups first, each to the part that lacks most: what is placed last evens the parts out.
    for each in sorted(shuffled, key=len, reverse=True):
        part = lacks.index(max(lacks))
        parts[part] += each
        lacks[part] -= len(each)
    return [sorted(part) for part in parts]


def _line(row: Row) -> str:
    line = json.dumps(dict(row.columns), ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half a sign, which JSON can escape
        return json.dumps(dict(row.columns))
    return line
