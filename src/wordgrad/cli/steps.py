"""How a step reads: on the screen, in `runs show`, in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from wordgrad.core.gradient import Gradient
from wordgrad.train.diff import diff
from wordgrad.train.search import Step

Record = Mapping[str, Any]
"""What the store keeps of a step: number, accepted, reason, and by variable the text before, after and the feedback."""

_STYLES = {"same": "", "added": "green", "removed": "red strike"}
_MARKS = {"same": ("", ""), "added": ("{+", "+}"), "removed": ("[-", "-]")}
_SHOWN = 3
"""Pieces of feedback under a step."""

# A model's text must not move the cursor or clear the screen: control characters are shown as their pictures.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0x2426)


def recorded(step: Step) -> dict[str, Any]:
    """The step as the store keeps it; feedback with the most severe first, each text once."""
    return {
        "number": step.number,
        "accepted": step.accepted,
        "reason": step.reason,
        "before": dict(step.before),
        "after": dict(step.after),
        "feedback": {name: _ranked(gradients) for name, gradients in step.feedback.items()},
    }


def _ranked(gradients: Sequence[Gradient]) -> list[str]:
    return list(dict.fromkeys(each.text for each in sorted(gradients, key=lambda each: -each.severity)))


def show(step: Record, console: Console) -> None:
    """Print a step: a frame on a terminal, indented lines elsewhere."""
    body = Text("\n").join(_body(step, colours=has_colours(console)))
    title = Text.assemble(
        f"step {step['number']}: ",
        ("accepted", "green") if step["accepted"] else ("kept the present text", "yellow"),
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


def markdown(step: Record) -> list[str]:
    """The lines of a step's section, with all of its feedback."""
    lines = [f"## Step {step['number']}: {'accepted' if step['accepted'] else 'kept the present text'}", ""]
    lines += fenced(step["reason"])
    for name, before in step["before"].items():
        if step["after"][name] != before:
            lines += ["", f"### {name}", "", *fenced(changes(before, step["after"][name], colours=False).plain)]
        if step["feedback"][name]:
            lines += [
                "",
                f"### Feedback on {name}",
                "",
                *fenced("\n".join(f"• {each}" for each in step["feedback"][name])),
            ]
    return [*lines, ""]


def fenced(text: str) -> list[str]:
    """The lines of a code block that no text can end."""
    runs = "".join(char if char == "`" else " " for char in text).split()
    fence = "`" * max(3, 1 + max((len(each) for each in runs), default=0))
    return [f"{fence}text", text, fence]


def changes(before: str, after: str, *, colours: bool) -> Text:
    """A diff: green is new and struck red is gone; without colours `{+new+}` and `[-gone-]`."""
    text = Text()
    for hunk in diff(before, after):
        if colours:
            text.append_text(visible(hunk.text, style=_STYLES[hunk.kind]))
        else:
            text.append_text(visible(hunk.text.join(_MARKS[hunk.kind])))
    return text


def has_colours(console: Console) -> bool:
    """Whether colours can be told apart there: a terminal, without NO_COLOR."""
    return console.is_terminal and console.color_system is not None and not console.no_color


def visible(text: str, *, style: str = "") -> Text:
    """Text from a model, a user or their data: no markup in it is read, and no control character sent."""
    return Text(text.translate(_PICTURES), style=style)
