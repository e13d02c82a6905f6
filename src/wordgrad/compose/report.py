"""A run to read: as Markdown with drawings beside it, and as one page of HTML."""

from __future__ import annotations

from pathlib import Path

from wordgrad.compose.account import FIGURES, account, gained, headline, pictured, scores, shown, verdict
from wordgrad.compose.markdown import in_markdown
from wordgrad.compose.page import in_html
from wordgrad.errors import UsageError
from wordgrad.store.runs import Record

__all__ = ["gained", "headline", "markdown", "page", "pictured", "save", "scores", "shown", "verdict"]


def save(record: Record, folder: Path | str) -> None:
    """Write report.html, and report.md with its figures score.svg, lengths.svg and spending.svg, those that there are.

    The folder is made where it is missing; an earlier report is replaced, its figures included.

    Raises:
        UsageError: They cannot be written.
    """
    found = account(record)
    drawn = {each.name: each.drawing.alone(each.caption) for each in found.figures}
    files = {f"{name}.svg": drawn.get(name) for name in FIGURES}
    files |= {"report.md": in_markdown(found, beside=True), "report.html": in_html(found)}
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            if text is None:
                (Path(folder) / name).unlink(missing_ok=True)
            else:
                (Path(folder) / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be written: {error.strerror}") from error


def markdown(record: Record) -> str:
    """The run as Markdown that stands alone: all but the figures."""
    return in_markdown(account(record), beside=False)


def page(record: Record) -> str:
    """The run as one page of HTML that needs nothing else."""
    return in_html(account(record))
