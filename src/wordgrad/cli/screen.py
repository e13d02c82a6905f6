"""What a run shows on the terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from wordgrad.cli import steps
from wordgrad.compose.record import recorded
from wordgrad.compose.report import gained, shown
from wordgrad.statistics.claim import Claim
from wordgrad.store.ledger import Totals
from wordgrad.train.accept import Decision
from wordgrad.train.events import Advance, Event, Phase, Refused, Step
from wordgrad.train.job import Outcome
from wordgrad.train.scores import Scores, Slice, slices

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
    """An `Observer` with a progress bar and colours on a terminal, and plain lines elsewhere.

    Args:
        console: Where to write.
        totals: Gives the run's usage so far.
        clock: Seconds; only differences count.
        refused: Rows that were named as refused: the next text, or look, may be refused on the same ones.
    """

    console: Console
    totals: Callable[[], Totals]
    clock: Callable[[], float] = time.monotonic
    refused: list[str] = field(default_factory=list)
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

    def __call__(self, event: Event) -> None:
        """Show a new bar, or a line; move the bar; show a step. The decision stands in the summary."""
        self._used = self.totals()
        match event:
            case Phase(name, total):
                self._begin(name, total)
            case Advance(done):
                if self._progress is not None and self._bar is not None:
                    self._progress.update(self._bar, completed=done)
            case Refused(place, reason, critic) if place not in self.refused:
                self.refused.append(place)
                what = "'s critic was refused, and it teaches nothing" if critic else " was refused, and does not count"
                self.console.print(steps.visible(f"{place}{what}: {reason}", style="yellow"))
            case Step():
                steps.show(recorded(event), self.console)
                self.console.print(Text(f"  {self.usage()}", style="dim"))

    def _begin(self, name: str, total: int) -> None:
        self._phase = (self.clock(), self._used.output_tokens)
        if self._progress is None:
            self.console.print(Text(f"{name} ({total})"))
            return
        if self._bar is not None:
            self._progress.remove_task(self._bar)
        self._bar = self._progress.add_task(name, total=total)

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


def summary(outcome: Outcome, totals: Totals, console: Console) -> None:
    """Print what was decided and why, the start and the end on the test rows, and what it all took."""
    bounds = outcome.search.task.scale.bounds
    console.print(steps.visible(f"{outcome.words}.", style="green" if outcome.accepted else "yellow"))
    if outcome.decision is not None and outcome.decision.proved:
        console.print(_confirmed(outcome.decision, bounds), highlight=False)
    if outcome.test_start is not None:
        table = Table(title="on the sealed test rows", title_justify="left")
        if not console.is_terminal:
            table.box = None
        for column in ("", "score", "passed", "of"):
            table.add_column(column, justify="right" if column else "left")
        for name, scores in (("start", outcome.test_start), ("end", outcome.test_end)):
            table.add_row(name, *_row(scores, bounds), str(len(outcome.test_start.values)))
        console.print(table)
        if outcome.test_end is not None:
            _print_slices(slices(outcome.test_start, outcome.test_end), bounds, console)
    if outcome.gain is not None:
        console.print(_gain(outcome.gain, bounds), highlight=False)
    money = "" if totals.cost_usd is None else f", ${totals.cost_usd:.4f}"
    console.print(
        f"{totals.calls} calls, {totals.input_tokens + totals.output_tokens:,} tokens, {totals.seconds:.0f} s{money}",
        highlight=False,
    )


def _print_slices(found: Sequence[Slice], bounds: tuple[float, float], console: Console) -> None:
    for each in found:
        scores = f"{shown(each.start, bounds)} → {shown(each.end, bounds)}"
        console.print(steps.visible(f"  {each.name}: {scores} of {each.n}"))


def _confirmed(decision: Decision, bounds: tuple[float, float]) -> str:
    """What the sealed rows say of the gain; a proof is more often a lucky one, which is taken off what is likely."""
    sure = f"{1 - decision.claim.alpha:.0%} confidence"
    likely, low = gained(decision.likely, bounds), gained(decision.claim.low, bounds)
    return f"on the sealed validation rows, likely {likely}, at least {low} with {sure}"


def _gain(claim: Claim, bounds: tuple[float, float]) -> str:
    """What the test rows say of the gain."""
    unjudged = f", {claim.excluded} not judged" if claim.excluded else ""
    rows = f"rows: {claim.better} better, {claim.worse} worse{unjudged}"
    sure = f"{1 - claim.alpha:.0%} confidence"
    return f"{gained(claim.difference, bounds)}, at least {gained(claim.low, bounds)} with {sure} ({rows})"


def _row(scores: Scores | None, bounds: tuple[float, float]) -> tuple[str, str]:
    if scores is None:
        return "not measured", ""
    return shown(scores.mean, bounds), str(sum(scores.passed))


def print_json(value: object) -> None:
    """Write one JSON value to stdout, in any encoding."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(value)  # all in ASCII, by JSON's own escapes
    sys.stdout.write(f"{text}\n")
