"""How a step reads on the screen, and in `runs show`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from wordgrad.compose.report import pictured, verdict
from wordgrad.train.diff import diff

Record = Mapping[str, Any]
"""What the store keeps of a step: number, compression, accepted, reason, lead; texts and feedback by variable."""

_STYLES = {"same": "", "added": "green", "removed": "red strike"}
_SHOWN = 3
"""Pieces of feedback under a step."""


def show(step: Record, console: Console) -> None:
    """Print a step: a frame on a terminal, indented lines elsewhere."""
    body = Text("\n").join(_body(step, colours=has_colours(console)))
    title = Text.assemble(
        f"step {step['number']}: ",
        (verdict(step), "green" if step["accepted"] else "yellow"),
    )
    if console.is_terminal:
        console.print(Panel(body, title=title, title_align="left", border_style="bright_black"))
    else:
        console.print(Group(title, Text(textwrap.indent(body.plain, "  "))))


def _body(step: Record, *, colours: bool) -> Iterator[Text]:
    yield visible(step["reason"])
    for name, before in step["before"].items():
        after = step["after"][name]
        if after != before:
            taken = "" if step["accepted"] else ", the best candidate"
            yield Text.assemble("\n", visible(f"{name}{taken}:"), style="bold")
            yield changes(before, after, colours=colours)
        asked = step["feedback"][name]
        if asked:
            yield Text.assemble("\n", visible(f"feedback on {name}:"), style="bold")
            yield from (visible(f"• {each}") for each in asked[:_SHOWN])
        if len(asked) > _SHOWN:
            yield Text(f"and {len(asked) - _SHOWN} more", style="dim")


def changes(before: str, after: str, *, colours: bool) -> Text:
    """A diff: green is new and struck red is gone; without colours `{+new+}` and `[-gone-]`."""
    hunks = diff(before, after)
    if not colours:
        return visible("".join(each.marked for each in hunks))
    return Text.assemble(*(visible(text, style=_STYLES[kind]) for each in hunks for kind, text in each.parts))


def has_colours(console: Console) -> bool:
    """Whether colours can be told apart there: a terminal, without NO_COLOR."""
    return console.is_terminal and console.color_system is not None and not console.no_color


def visible(text: str, *, style: str = "") -> Text:
    """Text from a model, a user or their data: no markup in it is read, and no control character sent."""
    return Text(pictured(text), style=style)
