"""Making much feedback fit a prompt: by requested change, with support counts, map then reduce."""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from wordgrad import dispatch
from wordgrad.prompts import Prompt, Record, ReduceReply
from wordgrad.prompts import reduce as reduce_prompt

Ask: TypeAlias = Callable[[Prompt, tuple[int, ...]], Awaitable[ReduceReply | None]]
"""Sends a prompt from a place of its own; None where the reply could not be read."""

_FIELD_CHARS = 4_000
_FEWEST_CHARS = 100


@dataclass(frozen=True, slots=True)
class Fitted:
    """Whole records that fit, and how many did not."""

    records: tuple[Record, ...]
    left_out: int = 0


async def grouped(
    records: Sequence[Record], *, tokens: int, room: float, count: Callable[[str], int], ask: Ask
) -> Fitted:
    """The records as they are where they fit, else about sqrt(n) groups of them.

    A group's record has the change that all of its records ask for, the evidence of its worst one, and counts as
    many examples as they do together. A record that the model forgets stays as it is. What still does not fit is
    left out from the least supported on, and counted.

    Args:
        records: In order. A field longer than 4,000 characters is shortened, and marked; where the record alone does
            not fit, that limit is lowered, a quarter at a time, to 100.
        tokens: How many they may have together.
        room: How many may be shown in a prompt that asks for groups.
        count: The engine's count of tokens.
        ask: Sends a prompt.
    """
    made = [(_within([each], tokens, count) or [each.shortened(_FEWEST_CHARS)])[0] for each in records]
    if _size(made, count) > tokens and len(made) > 1:
        side = math.ceil(math.sqrt(len(made)))
        reduced = functools.partial(_reduced, room=room, count=count, ask=ask)
        chunks = [made[start : start + side] for start in range(0, len(made), side)]
        works = [
            functools.partial(reduced, chunk, math.ceil(math.sqrt(len(chunk))), (0, place))
            for place, chunk in enumerate(chunks)
        ]
        made = [record for group in await dispatch.together(works) for record in group]
        if len(made) > side:
            made = await reduced(made, side, (1,))
    return _fitting(made, tokens, count)


async def _reduced(
    records: Sequence[Record],
    groups: int,
    place: tuple[int, ...],
    *,
    room: float,
    count: Callable[[str], int],
    ask: Ask,
) -> list[Record]:
    """The records in groups, by one call; as they are where no prompt holds them."""
    shown = _within(records, room, count)
    if shown is None:
        return list(records)
    return _merged(records, await ask(reduce_prompt([each.text() for each in shown], groups=groups), place))


def _within(records: Sequence[Record], tokens: float, count: Callable[[str], int]) -> list[Record] | None:
    """The records with their longest fields shortened until all fit together; None where they never do."""
    chars = _FIELD_CHARS
    while chars >= _FEWEST_CHARS:
        made = [each.shortened(chars) for each in records]
        if _size(made, count) <= tokens:
            return made
        chars = chars * 3 // 4
    return None


def _merged(records: Sequence[Record], reply: ReduceReply | None) -> list[Record]:
    """One record for each group, at the place of its first member, and the records that are in none."""
    left = dict(enumerate(records, start=1))
    made: dict[int, Record] = {}
    for group in () if reply is None else reply.groups:
        numbers = [number for number in dict.fromkeys(group.records) if number in left]
        if not numbers:
            continue
        members = [left.pop(number) for number in numbers]
        worst = max(members, key=lambda each: each.severity)
        if len(members) == 1:
            made[numbers[0]] = worst
            continue
        agreed = len({each.expected for each in members}) == 1
        made[min(numbers)] = replace(
            worst,
            change=group.change,
            keep=group.keep or worst.keep,
            support=sum(each.support for each in members),
            # What one of them wanted is not what the others did.
            expected=worst.expected if agreed else "",
        )
    return [record for _, record in sorted({**left, **made}.items())]


def _fitting(records: Sequence[Record], tokens: int, count: Callable[[str], int]) -> Fitted:
    """The best supported, then the most severe, in their old order; at least one."""
    ranked = sorted(range(len(records)), key=lambda place: (-records[place].support, -records[place].severity, place))
    kept: list[int] = []
    spent = 0
    for place in ranked:
        spent += count(records[place].text())
        if kept and spent > tokens:
            break
        kept.append(place)
    return Fitted(tuple(records[place] for place in sorted(kept)), len(records) - len(kept))


def _size(records: Sequence[Record], count: Callable[[str], int]) -> int:
    return sum(count(each.text()) for each in records)
