"""Reading replies strictly: what is not exactly the asked-for form is an error, never a guess."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wordgrad.errors import UnreadableReply
from wordgrad.types import JSON, Completion

Model = TypeVar("Model", bound=BaseModel)

_CODE_BLOCK = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)


def _closed(schema: dict[str, Any]) -> None:
    """Strict schema modes want every field required and no other allowed; reading is kinder about what is missing."""
    schema["required"] = list(schema["properties"])
    schema["additionalProperties"] = False


class Reply(BaseModel):
    """The base of the structured replies."""

    model_config = ConfigDict(json_schema_extra=_closed)


class Verdict(Reply):
    """A critic's word on one part. A schema's fields are written in this order: what is found before what is judged."""

    part: str = ""
    quote: str = ""
    change: str = ""
    keep: str = ""
    verdict: Literal["mine", "upstream", "none"]
    severity: int = Field(default=2, ge=0, le=3)


class NodeReply(Reply):
    """A critic's word on every part that it was asked about."""

    parts: list[Verdict]


class RewriteReply(Reply):
    """A new value."""

    value: str


class Edit(Reply):
    """One place to change; an empty `replace` deletes it."""

    find: str = Field(min_length=1)
    """Exact words that stand in the text once."""
    replace: str


class EditReply(Reply):
    """Changes to a long value, and why."""

    edits: list[Edit] = Field(min_length=1)


class Group(Reply):
    """Records that ask for the same change."""

    change: str = Field(min_length=1)
    keep: str = ""
    records: list[int]


class ReduceReply(Reply):
    """Many records, grouped."""

    groups: list[Group]


def whole(completion: Completion) -> str:
    """The reply's text.

    Raises:
        UnreadableReply: It was cut off or refused, so that what is there is not the reply.
    """
    if completion.finish == "length":
        raise UnreadableReply("the reply was cut off at its length limit: write a shorter one")
    if completion.finish == "refusal":
        raise UnreadableReply("the model refused to reply")
    return completion.text


def read_json(text: str, form: type[Model]) -> Model:
    """The reply as a `form`. The whole reply must be one JSON value; one code block around it is allowed.

    Raises:
        UnreadableReply: It is not; the message says why, for the repair.
    """
    block = _CODE_BLOCK.fullmatch(text.strip())
    body = block[1] if block else text
    try:
        parse_json(body)  # pydantic's own parser takes what this one refuses
        return form.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole reply"
        raise UnreadableReply(f"the JSON does not fit: {place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableReply(f"the reply is not one JSON value ({error})") from error


def parse_json(text: str) -> JSON:
    """One JSON value, as the standard has it. Python's own parser takes NaN, and the last of two equal keys.

    Raises:
        ValueError: It is none.
        RecursionError: It is nested too deep.
    """
    made: JSON = json.loads(text, object_pairs_hook=_distinct, parse_constant=_finite, parse_float=_finite)
    return made


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _finite(number: str) -> float:
    if not math.isfinite(float(number)):
        raise ValueError(f"{number!r} is no finite number")
    return float(number)


def read_marked(text: str, delimiter: str) -> str:
    """What stands between `<delimiter>` and `</delimiter>`, each of which must stand in the reply exactly once.

    Everything between them is taken as it is, other tags included, but for the line breaks next to the marks.
    What stands around them is ignored.

    Raises:
        UnreadableReply: A mark is missing, repeated or out of order, or nothing stands between them.
    """
    opening, closing = f"<{delimiter}>", f"</{delimiter}>"
    if text.count(opening) != 1 or text.count(closing) != 1:
        raise UnreadableReply(f"the reply must hold {opening} once and {closing} once")
    start, end = text.index(opening) + len(opening), text.index(closing)
    if start > end:
        raise UnreadableReply(f"{closing} stands before {opening} in the reply")
    found = text[start:end].strip("\r\n")
    if not found.strip():
        raise UnreadableReply(f"nothing stands between {opening} and {closing}")
    return found


def read_edits(text: str, delimiter: str) -> list[Edit]:
    """The pairs of `<find-…>…</find-…>` and `<with-…>…</with-…>` in the reply, in order.

    Raises:
        UnreadableReply: There is none, or a mark stands outside such a pair.
    """
    tag = re.escape(delimiter)
    pair = re.compile(
        rf"<find-{tag}>\r?\n?(.+?)\r?\n?</find-{tag}>\s*<with-{tag}>\r?\n?(.*?)\r?\n?</with-{tag}>", re.DOTALL
    )
    found = pair.findall(text)
    # Four marks a pair: one more is a mark that was lost, doubled or nested.
    if not found or text.count(f"-{delimiter}>") != 4 * len(found):
        raise UnreadableReply(f"each change must be a pair of find-{delimiter} and with-{delimiter}, each with its end")
    return [Edit(find=find, replace=new) for find, new in found]


def edited(text: str, edits: Sequence[Edit]) -> str:
    """`text` with each change made in it.

    Raises:
        UnreadableReply: The words of one do not stand in the text exactly once, or two overlap.
    """
    spans = []
    for edit in edits:
        count = text.count(edit.find)
        if count != 1:
            raise UnreadableReply(f"{edit.find[:80]!r} stands in the current text {count} times instead of once")
        start = text.index(edit.find)
        spans.append((start, start + len(edit.find), edit.replace))
    spans.sort()
    if any(end > start for (_, end, _), (start, _, _) in pairwise(spans)):
        raise UnreadableReply("two of the changes overlap")
    for start, end, new in reversed(spans):
        text = text[:start] + new + text[end:]
    return text
