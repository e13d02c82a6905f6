"""An account of a run as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from wordgrad.compose.account import Account, Figure, Stepped, Table, pictured

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_MARKUP = re.compile(r"[\\`*_{}\[\]()<>#+!|~&]")
# Many readers make a link of a bare address: a backslash in it ends that, and is not shown.
_ADDRESS = re.compile(r"(:(?=//)|www(?=\.))", re.IGNORECASE)


def in_markdown(found: Account, *, beside: bool) -> str:
    """What was decided, each step with all of its feedback, and the texts.

    Args:
        found: What to say.
        beside: Whether the figures lie beside it, as SVG files with their names.
    """
    lines = [f"# Run {found.run}", "", _cell(found.headline), ""]
    for said in found.said:
        lines += [*fenced(said), ""]
    for table in found.tables:
        lines += [f"## {table.title}", "", *_table(table), ""]
    for figure in found.figures if beside else ():
        lines += [*_figure(figure), ""]
    for step in found.steps:
        lines += _step(step)
    for each in found.texts:
        for title, text in (("start", each.start), ("end", each.end)):
            lines += [f"## {_cell(each.name)}: {title}", "", *fenced(text), ""]
    return "\n".join([*lines, f"## {found.spent.title}", "", *_table(found.spent), ""])


def _step(step: Stepped) -> Iterator[str]:
    yield from (f"## {step.title}", "", *fenced(step.reason))
    for name, hunks, feedback in step.changes:
        if hunks:
            marked = [f"{each.marked}{number.translate(_RAISED)}" for number, each in hunks]
            yield from ("", f"### {_cell(name)}", "", *fenced("".join(marked)))
        if feedback:
            listed = [line for title, texts in feedback for line in (title, _listed(texts)) if line is not None]
            yield from ("", f"### Feedback on {_cell(name)}", "", *fenced("\n".join(listed)))
    yield ""


def _listed(texts: Sequence[str]) -> str:
    """As a list; what a text has on further lines stands below its first, and cannot pass for an item of ours."""
    return "\n".join(f"• {each}".replace("\n", "\n  ") for each in texts)


def _table(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(table.head)} |"
    yield f"|{'---|' * table.words}{'---:|' * (len(table.head) - table.words)}"
    for row in table.rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _figure(figure: Figure) -> Iterator[str]:
    caption = _cell(figure.caption)
    yield from (f"![{caption}]({figure.name}.svg)", "", caption)


def fenced(text: str) -> list[str]:
    """The lines of a code block that no text can end."""
    runs = "".join(char if char == "`" else " " for char in text).split()
    fence = "`" * max(3, 1 + max((len(each) for each in runs), default=0))
    return [f"{fence}text", pictured(text), fence]


def _cell(text: str) -> str:
    """Text inside a line of Markdown, with nothing in it that is markup."""
    escaped = _MARKUP.sub(r"\\\g<0>", " ".join(pictured(text).split()))
    return _ADDRESS.sub(r"\1\\", escaped)
