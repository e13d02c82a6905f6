"""Outputs whose worth is known: a metric that misjudges one of them teaches the wrong thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wordgrad.core.variable import Variable
from wordgrad.errors import EngineError, UsageError
from wordgrad.train.answers import settled
from wordgrad.train.evaluate import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An output, and whether it is good."""

    output: str
    passes: bool
    target: Any = None
    input: Any = None
    """What was asked; a judge is told it."""


def hold_against(task: Task, known: Sequence[Known], *, where: str) -> None:
    """Hold the target metric against outputs that are known to be good or bad.

    Args:
        task: With the metric.
        known: Any number.
        where: Where these stand, for messages.

    Raises:
        UsageError: The metric passes a bad one, fails a good one, or cannot judge one; the message names it.
    """
    places = [f"known {number}" for number in range(1, len(known) + 1)]
    judged = [
        task.loss(Variable(each.output, "an output"), each.target, context=each.input, example=place)
        for place, each in zip(places, known, strict=True)
    ]
    results = settled(judged, places)
    for number, (each, result) in enumerate(zip(known, results, strict=True), start=1):
        which = f"{where}: of number {number}, {each.output!r}, the metric"
        if isinstance(result, EngineError) or result.score is None:
            raise UsageError(f"{which} gives no score: mend it")
        if bool(result.passed) != each.passes:
            does, worth = ("passes it", "bad") if result.passed else ("fails it", "good")
            raise UsageError(
                f"{which} gives {result.score:g}, which {does}, and it is known to be {worth}: mend the metric, or "
                f"write passes = {str(result.passed).lower()}"
            )
