"""What a run shows on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from wordgrad.core.gradient import Gradient
from wordgrad.store.ledger import Totals
from wordgrad.train.diff import diff
from wordgrad.train.job import Outcome
from wordgrad.train.search import Step

_STYLES = {"same": "", "added": "green", "removed": "red strike"}
_SHOWN = 3
"""Pieces of feedback under a step."""


@dataclass(slots=True)
class Screen:
    """A `Watcher` with a progress bar and colours on a terminal, and plain lines elsewhere.

    Args:
        console: Where to write.
        totals: Gives the run's usage so far.
        steps: How many steps there will be.
    """

    console: Console
    totals: Callable[[], Totals]
    steps: int
    _progress: Progress | None = None
    _bar: TaskID | None = None
    _started: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[usage]}", style="dim"),
                console=self.console,
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def phase(self, name: str, total: int) -> None:
        """Show a new bar, or a line."""
        if self._progress is None:
            self.console.print(f"{name} ({total})", highlight=False, markup=False)
            return
        if self._bar is not None:
            self._progress.remove_task(self._bar)
        self._bar = self._progress.add_task(name, total=total, usage=self._usage())

    def advance(self, done: int) -> None:
        """Move the bar."""
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=done, usage=self._usage())

    def step(self, step: Step) -> None:
        """Show the coloured diff of each variable, and the feedback that caused it."""
        mark = "[green]accepted[/green]" if step.accepted else "[yellow]kept the present text[/yellow]"
        body = Text()
        for name, before in step.before.items():
            if step.after[name] != before:
                body.append_text(coloured(before, step.after[name]))
                body.append("\n")
            for each in chosen(step.feedback[name]):
                body.append(f"\n• {each}", style="dim")
        self.console.print(
            Panel(body, title=f"step {step.number} of {self.steps}: {mark}", title_align="left", border_style="dim")
            if body.plain.strip()
            else f"step {step.number} of {self.steps}: {mark}"
        )
        self.console.print(f"  {step.reason}  {self._usage()}", highlight=False, markup=False)

    def _usage(self) -> str:
        used = self.totals()
        seconds = max(time.monotonic() - self._started, 1e-9)
        money = "" if used.cost_usd is None else f" · ${used.cost_usd:.4f}"
        return f"{used.calls} calls · {used.output_tokens / seconds:.0f} tok/s · {seconds:.0f} s{money}"


def coloured(before: str, after: str) -> Text:
    """A diff: green is new, struck red is gone."""
    text = Text()
    for hunk in diff(before, after):
        text.append(hunk.text, style=_STYLES[hunk.kind])
    return text


def chosen(gradients: tuple[Gradient, ...]) -> list[str]:
    """The most severe requests, each text once."""
    ranked = sorted(gradients, key=lambda each: -each.severity)
    texts = list(dict.fromkeys(each.text for each in ranked))
    more = [f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return texts[:_SHOWN] + more


def summary(outcome: Outcome, totals: Totals, *, seconds: float, n: int) -> Table:
    """The start and the end on the sealed test rows."""
    table = Table(title="on the sealed test rows", title_justify="left")
    for column in ("", "score", "passed", "of"):
        table.add_column(column, justify="left" if not column else "right")
    rows: Mapping[str, object] = {"start": outcome.test_start, "end": outcome.test_end}
    for name, scores in rows.items():
        if scores is None:
            table.add_row(name, "not measured", "", str(n))
        else:
            found = outcome.test_start if name == "start" else outcome.test_end
            assert found is not None
            mean = "-" if found.mean is None else f"{found.mean:.1%}"
            table.add_row(name, mean, str(sum(found.passed)), str(n))
    table.caption = (
        f"{totals.calls} calls, {totals.input_tokens + totals.output_tokens} tokens, {seconds:.0f} s, "
        f"{outcome.accepted} of {len(outcome.search.steps)} steps accepted"
    )
    return table
