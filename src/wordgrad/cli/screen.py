"""What a run shows on the terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from wordgrad.cli import steps
from wordgrad.store.ledger import Totals
from wordgrad.train.evaluate import Scores
from wordgrad.train.job import Gain, Outcome
from wordgrad.train.search import Step

_WIDE = 80
"""Columns from which the bar has room beside what it is about."""


class _Bar(Progress):
    """A bar, and what was used so far in a line of its own: both in one line are too wide for most terminals."""

    def __init__(self, console: Console, usage: Callable[[], str]) -> None:
        self._usage = usage  # first: the base class draws itself at once
        bar = (BarColumn(bar_width=24),) if console.width >= _WIDE else ()
        what = TextColumn("{task.description}", markup=False)
        super().__init__(SpinnerColumn(), what, *bar, MofNCompleteColumn(), console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(f"  {self._usage()}", style="dim")


@dataclass(slots=True)
class Screen:
    """A `Watcher` with a progress bar and colours on a terminal, and plain lines elsewhere.

    Args:
        console: Where to write.
        totals: Gives the run's usage so far.
        clock: Seconds; only differences count.
    """

    console: Console
    totals: Callable[[], Totals]
    clock: Callable[[], float] = time.monotonic
    _progress: _Bar | None = None
    _bar: TaskID | None = None
    _used: Totals = field(init=False)
    _started: float = field(init=False)
    _phase: tuple[float, int] = field(init=False)
    """When the phase began, and the tokens written until then."""

    def __post_init__(self) -> None:
        self._used = self.totals()
        self._started = self.clock() - self._used.seconds
        self._phase = (self.clock(), self._used.output_tokens)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._progress = _Bar(self.console, self.usage)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def phase(self, name: str, total: int) -> None:
        """Show a new bar, or a line."""
        self._used = self.totals()
        self._phase = (self.clock(), self._used.output_tokens)
        if self._progress is None:
            self.console.print(Text(f"{name} ({total})"))
            return
        if self._bar is not None:
            self._progress.remove_task(self._bar)
        self._bar = self._progress.add_task(name, total=total)

    def advance(self, done: int) -> None:
        """Move the bar."""
        self._used = self.totals()
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=done)

    def step(self, step: Step) -> None:
        """Show the diff of each variable, and the feedback that caused it."""
        self._used = self.totals()
        steps.show(steps.recorded(step), self.console)
        self.console.print(Text(f"  {self.usage()}", style="dim"))

    def ending(self, values: Mapping[str, str]) -> None:
        """Nothing: the phase says it."""

    def usage(self) -> str:
        """What was used so far; the rate is that of the tokens written in the present phase, where there are any."""
        used, now = self._used, self.clock()
        since, before = self._phase
        wrote = used.output_tokens - before
        rate = f"{wrote / max(now - since, 1.0):.0f} tok/s · " if wrote else ""
        money = "" if used.cost_usd is None else f" · ${used.cost_usd:.4f}"
        return (
            f"{used.calls} calls · {used.input_tokens:,} tokens read, {used.output_tokens:,} written · "
            f"{rate}{now - self._started:.0f} s{money}"
        )


class Unwatched:
    """A `Watcher` that shows nothing."""

    def phase(self, name: str, total: int) -> None:
        """Nothing."""

    def advance(self, done: int) -> None:
        """Nothing."""

    def step(self, step: Step) -> None:
        """Nothing."""

    def ending(self, values: Mapping[str, str]) -> None:
        """Nothing."""


def summary(outcome: Outcome, totals: Totals, console: Console) -> None:
    """Print the start and the end on the sealed test rows, and what it all took."""
    table = Table(title="on the sealed test rows", title_justify="left")
    if not console.is_terminal:
        table.box = None
    for column in ("", "score", "passed", "of"):
        table.add_column(column, justify="right" if column else "left")
    for name, scores in (("start", outcome.test_start), ("end", outcome.test_end)):
        table.add_row(name, *_row(scores), str(len(outcome.test_start.values)))
    money = "" if totals.cost_usd is None else f", ${totals.cost_usd:.4f}"
    console.print(table)
    if outcome.gain is not None:
        console.print(gained(outcome.gain), highlight=False)
    console.print(
        f"{totals.calls} calls, {totals.input_tokens + totals.output_tokens:,} tokens, {totals.seconds:.0f} s{money}, "
        f"{outcome.accepted} of {len(outcome.search.steps)} steps accepted",
        highlight=False,
    )


def gained(gain: Gain) -> str:
    """What the test rows prove, or how far they are from a proof."""
    claim = gain.claim
    unjudged = f", {claim.excluded} not judged" if claim.excluded else ""
    rows = f"rows: {claim.better} better, {claim.worse} worse{unjudged}"
    points = f"{100 * claim.difference:+.1f} points"
    if gain.proved:
        return f"{points}, at least {100 * claim.low:+.1f} with {1 - claim.alpha:.0%} confidence ({rows})"
    if not gain.first:
        return f"{points}; another end met these rows before, so they prove nothing more ({rows})"
    more = "" if gain.needed is None else f"; {gain.needed} more rows on which the two disagree would likely decide"
    return f"{points}, not proved: better than the start with a chance of {gain.chance:.0%}{more} ({rows})"


def _row(scores: Scores | None) -> tuple[str, str]:
    if scores is None:
        return "not measured", ""
    return percent(scores.mean), str(sum(scores.passed))


def print_json(value: object) -> None:
    """Write one JSON value to stdout, in any encoding."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(value)  # all in ASCII, by JSON's own escapes
    sys.stdout.write(f"{text}\n")


def percent(score: float | None) -> str:
    """A score from 0 to 1; "-" where no row could be judged."""
    return "-" if score is None else f"{score:.1%}"
