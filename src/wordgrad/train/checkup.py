"""Whether a run is worth its money, before it is spent: two looks at the start."""

from __future__ import annotations

import random
from dataclasses import dataclass

from wordgrad.statistics.betting import Interval, mean_interval
from wordgrad.statistics.power import smallest_gain
from wordgrad.train.job import Job
from wordgrad.train.scores import Scores

WORSE = 0.05
"""The share of rows that a better text is taken to score lower, where so many pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What the start scores, how steadily, and what a better text could show. Shares are from 0 to 1."""

    rows: int
    """Validation rows that both looks could be judged on."""
    unjudged: int
    """The others."""
    score: float | None
    """The mean of the first look, in the metric's unit; None where no row could be judged."""
    interval: Interval
    """Where the mean of all such rows lies, with confidence 95 %."""
    failing: int
    """Rows that failed in both looks: what there is to learn."""
    below: int
    """Rows that scored below the best in both looks: what can be better."""
    graded: bool
    """Whether a score lay between the worst and the best: points then say less than rows do."""
    flipped: int
    """Rows that failed in one look only."""
    unsteady: int
    """Rows that were scored differently: what there is of noise."""
    sealed: int
    """Sealed cases that will confirm what is found: rows that belong together are one."""
    worse: float
    """The share of sealed rows that a better text is taken to score lower."""
    provable: float | None
    """The smallest gain that they prove four times in five, as the share of rows that get better less the share that
    get worse; None where they prove none."""

    @property
    def worthwhile(self) -> bool:
        """Whether there is something to learn, and the sealed rows could show it."""
        better = None if self.provable is None else self.provable + self.worse
        return better is not None and self.failing > 0 and better <= self.below / self.rows

    @property
    def proof(self) -> str:
        """What the sealed rows prove four times in five, in words."""
        if self.provable is None:
            return "no gain of any size"
        if self.graded:
            return f"a text that is better on {self.provable + self.worse:.0%} of rows and worse on {self.worse:.0%}"
        return f"a gain from {100 * self.provable:.0f} points on"

    @property
    def all_pass(self) -> bool:
        """Whether every row passed both times."""
        return self.rows > 0 and not self.failing and not self.flipped

    @property
    def verdict(self) -> str:
        """What to do, in words."""
        if not self.rows:
            return "no row could be judged: mend the metric, or give it rows that it can judge"
        if self.all_pass:
            return "nothing to gain: every validation row passes. Keep the text, or add harder rows"
        if not self.failing:
            return (
                "what fails is noise: every row that failed once passed the other time. Make answers or judge steadier "
                "(temperature = 0) before you optimise"
            )
        learn = f"{self.failing} of {self.rows} rows fail both times: there is something to learn"
        if self.worthwhile:
            return f"{learn}, and {self.sealed} sealed rows prove {self.proof}"
        only = "" if self.provable is None else " only"
        return f"{learn}, but {self.sealed} sealed rows prove {self.proof}{only}. Add validation rows"


def checkup(job: Job, first: Scores, again: Scores, *, seed: int) -> Checkup:
    """What two looks at the start, on the same validation rows, say.

    Args:
        job: What would be run.
        first: The scores of one look.
        again: The scores of another, each row asked anew.
        seed: Of the run.
    """
    both = zip(first.values, again.values, first.passed, again.passed, strict=True)
    judged = [(old, new, one, two) for old, new, one, two in both if old is not None and new is not None]
    scores, scale = [old for old, *_ in judged], job.task.scale
    failing = sum(not one and not two for *_, one, two in judged)
    worse = min(WORSE, 1 - failing / len(judged)) if judged else WORSE
    sealed = job.cases
    return Checkup(
        rows=len(judged),
        unjudged=len(first.values) - len(judged),
        score=sum(scores) / len(scores) if scores else None,
        interval=mean_interval(scores, rng=random.Random(f"checkup {seed}"), bounds=scale.bounds),  # noqa: S311 - no secret
        failing=failing,
        below=sum(scale.best not in {old, new} for old, new, *_ in judged),
        graded=any(each not in scale.bounds for old, new, *_ in judged for each in (old, new)),
        flipped=sum(one != two for *_, one, two in judged),
        unsteady=sum(old != new for old, new, *_ in judged),
        sealed=sealed,
        worse=worse,
        provable=smallest_gain(sealed, worse=worse, alpha=job.acceptance.alpha),
    )
