"""Dividing rows into those that choose a candidate and those that judge it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from wordgrad.errors import UsageError

RowT = TypeVar("RowT")

_LEAST = 0.4
_MOST = 0.8


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
        group: What rows have in common that must not stand on both sides: a customer, a conversation, the input itself.
            Large groups make the shares uneven.

    Raises:
        UsageError: The share is none of these, or one part would be empty.
    """
    if not _LEAST <= share <= _MOST:
        raise UsageError(f"share={share!r} of the rows for confirmation: choose {_LEAST} to {_MOST}")
    groups: dict[Hashable, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(place if group is None else group(row), []).append(place)
    if len(groups) < 2:  # noqa: PLR2004 - one for each part
        raise UsageError(
            f"{len(rows)} rows in {len(groups)} groups cannot be divided into selection and confirmation: add rows, or "
            "choose smaller groups"
        )
    shuffled = list(groups.values())
    random.Random(f"division {seed}").shuffle(shuffled)  # noqa: S311 - no secret
    # Large groups first: what is placed last evens the parts out.
    needs = [math.ceil(share * len(rows)), len(rows) - math.ceil(share * len(rows))]
    parts: list[list[int]] = [[], []]
    for each in sorted(shuffled, key=len, reverse=True):
        part = 0 if needs[0] >= needs[1] else 1
        parts[part] += each
        needs[part] -= len(each)
    if len(parts[0]) < _LEAST * len(rows):
        parts.reverse()
    confirmation, selection = (tuple(rows[place] for place in sorted(part)) for part in parts)
    return Division(selection=selection, confirmation=confirmation)
