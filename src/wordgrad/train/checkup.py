"""Whether a run is worth its money, before it is spent: two looks at the start."""

from __future__ import annotations

import random
from dataclasses import dataclass

from wordgrad.core.variable import Variable
from wordgrad.errors import UsageError
from wordgrad.statistics.betting import Interval, mean_interval
from wordgrad.statistics.power import smallest_gain
from wordgrad.train.config import Config
from wordgrad.train.evaluate import Scores, settled
from wordgrad.train.job import Job

DIFFER = 0.2
"""The share of test rows that a better text scores differently, as `smallest_gain()` is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What the start scores, how steadily, and what a better text could show. Shares are from 0 to 1."""

    rows: int
    """Validation rows that both looks could be judged on."""
    score: float | None
    """The mean of the first look, in the metric's unit; None where no row could be judged."""
    interval: Interval
    """Where the mean of all such rows lies, with confidence 95 %."""
    failing: int
    """Rows that failed in both looks: what there is to learn."""
    unsteady: int
    """Rows that were scored differently: what there is of noise."""
    test_rows: int
    provable: float | None
    """The smallest gain that the test rows prove four times in five, where `DIFFER` of them differ; None where none."""

    @property
    def headroom(self) -> float:
        """The share of rows that failed in both looks."""
        return self.failing / self.rows if self.rows else 0.0

    @property
    def worthwhile(self) -> bool:
        """Whether there is something to learn, and the test rows could show it."""
        return self.provable is not None and self.failing > 0 and self.provable <= self.headroom

    @property
    def verdict(self) -> str:
        """What to do, in words."""
        if not self.rows:
            return "no row could be judged: mend the metric, or give it rows that it can judge"
        if not self.failing and self.unsteady:
            return (
                "what fails is noise: every row that failed once passed the other time. Make answers or judge steadier "
                "(temperature = 0) before you optimise"
            )
        if not self.failing:
            return "nothing to gain: every row passes. Keep the text, or add harder rows"
        learn = f"{self.failing} of {self.rows} rows fail both times: there is something to learn"
        if self.provable is None:
            return f"{learn}, but {self.test_rows} test rows prove no gain of any size. Add test rows"
        gain = f"{100 * self.provable:.0f} points"
        if self.worthwhile:
            return f"{learn}, and {self.test_rows} test rows prove a gain from {gain} on"
        return f"{learn}, but {self.test_rows} test rows prove a gain from {gain} on only. Add test rows"


def checkup(job: Job, first: Scores, again: Scores, *, seed: int) -> Checkup:
    """What two looks at the start, on the same validation rows, say.

    Args:
        job: What would be run.
        first: The scores of one look.
        again: The scores of another, each row asked anew.
        seed: Of the run.
    """
    pairs = job.task.paired(first, again)
    both = zip(first.values, again.values, first.passed, again.passed, strict=True)
    judged = [(one, two) for old, new, one, two in both if old is not None and new is not None]
    scores = [each for each in first.values if each is not None]
    bounds = job.task.loss.scale.bounds if job.task.loss.scale else (0.0, 1.0)
    test = len(job.splits.test)
    return Checkup(
        rows=pairs.n,
        score=first.mean,
        interval=mean_interval(scores, rng=random.Random(f"checkup {seed}"), bounds=bounds),  # noqa: S311 - no secret
        failing=sum(not one and not two for one, two in judged),
        unsteady=sum(each != 0 for each in pairs.differences),
        test_rows=test,
        provable=smallest_gain(test, differ=DIFFER),
    )


def check_metric(job: Job, config: Config) -> int:
    """Hold the metric against the outputs that the configuration knows to be good or bad; returns how many these are.

    Raises:
        UsageError: It passes a bad one, or fails a good one; the message names file, line and output.
    """
    known = config.metric.known
    judged = [
        job.task.loss(Variable(each.output, "an output"), each.target, context=each.input, example=f"known {place}")
        for place, each in enumerate(known, start=1)
    ]
    for each, result in zip(known, settled(judged, progress=lambda _, __: None), strict=True):
        if bool(result.passed) != each.passes:
            does, known_as = ("passes", "bad") if result.passed else ("fails", "good")
            raise UsageError(
                f"{config.at('metric', 'known')}: the metric {does} {each.output!r} (score {result.score}), and it is "
                f"known to be {known_as}: mend the metric, or write passes = {str(result.passed).lower()}"
            )
    return len(known)
