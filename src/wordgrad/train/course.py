"""The course of a run: what it pays for, and how often."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from wordgrad.statistics.races import Raced, Rewriting
from wordgrad.train.checkup import Checkup
from wordgrad.train.estimate import distinct
from wordgrad.train.job import Job
from wordgrad.train.rehearsal import Rehearsal

_ACCEPTED = 0.5
"""A guess: how much is gained decides it, and how many rows are sealed."""


@dataclass(slots=True)
class Course:
    """How often a run does what it pays for."""

    scored: float = 0.0
    """Rows on which the start, or the present text, is scored alone."""
    met: float = 0.0
    """Rows on which it is compared with rewrites."""
    rewritten: float = 0.0
    """Rows that meet a rewrite."""
    reported: int = 0
    """Of them, those that meet it for the report."""
    guarded: float = 0.0
    """Rows scored by all guardrails, at the beginning and at the end."""
    raced: float = 0.0
    """Rows scored by the hard ones, in races."""
    failing: int = 0
    """Rows that critics are asked about."""
    rewrites: int = 0
    """Candidates that are written."""


def made_up(job: Job, found: Checkup, rehearsal: Rehearsal, rng: random.Random) -> Course:
    """A course by chance, of a run whose rows and rewrites are like those seen.

    The first batches are those of the rehearsal, where a row may pass that failed, or fail that passed (`_flips`). Of
    other rows such a share fails as of those seen, by Jeffreys' prior. As many rewrites race as could in the rehearsal.
    Each is like one of those tried, more or less (`Rewriting`), and what leads is gone on with. A new text is accepted
    in every second run.
    """
    run = _Run(
        job=job,
        rehearsal=rehearsal,
        rng=rng,
        flips=_flips(found, rehearsal, rng),
        wrong=_failing(found, rehearsal, rng),
        rewriting=Rewriting.drawn(rng, rehearsal.effects),
    )
    for number in range(job.plan.steps):
        run.step(number)
    if run.changed and job.plan.compressions:
        run.compress()
    run.end()
    return run.course


def _flips(found: Checkup, rehearsal: Rehearsal, rng: random.Random) -> float:
    """The chance that a row passes where it failed before, or fails where it passed.

    Every second engine is taken to be steady: the more rows were looked at without a flip, the surer this one is. Of
    others the chance has Jeffreys' prior. Where no row failed at all, those of the rehearsal count as well: a
    row that was seen once says something of flips where all are taken to pass.
    """
    pairs, flipped = found.rows, found.flipped
    if found.all_pass and not rehearsal.failing:
        pairs += rehearsal.rows - rehearsal.unjudged
    unseen = math.exp(math.lgamma(pairs + 0.5) - math.lgamma(pairs + 1)) / math.sqrt(math.pi)
    if not flipped and rng.random() < 1 / (1 + unseen):
        return 0.0
    return rng.betavariate(flipped + 0.5, pairs - flipped + 0.5)


def _failing(found: Checkup, rehearsal: Rehearsal, rng: random.Random) -> float:
    failing = found.failing + found.flipped / 2 + rehearsal.failing
    seen = found.rows + rehearsal.rows - rehearsal.unjudged
    return rng.betavariate(failing + 0.5, seen - failing + 0.5)


@dataclass(slots=True, kw_only=True)
class _Run:
    """A made-up run."""

    job: Job
    rehearsal: Rehearsal
    rng: random.Random
    flips: float
    wrong: float
    """The share of rows that the present text fails."""
    rewriting: Rewriting
    changed: bool = False
    """Whether the present text is not the start any more."""
    seen: float = 0.0
    """Selection rows that the present text was scored on."""
    course: Course = field(default_factory=Course)

    def step(self, number: int) -> None:
        """Learn from a batch, and race."""
        chances = [self.wrong] * self.job.plan.batch
        if number < len(self.rehearsal.batches):
            batch = self.rehearsal.batches[number]
            fails = len(batch.failures)
            chances = [1 - self.flips] * fails + [self.flips] * (len(batch.rows) - fails)
        failing = sum(self.rng.random() < each for each in chances)
        # A later pass over the rows asks the critics of an unchanged text nothing new.
        if self.changed or number < len(self.job.splits.train) // self.job.plan.batch:
            self.course.failing += failing
        if failing and not self.rehearsal.silent(number):
            self.race(self.job.plan.candidates)

    def compress(self) -> None:
        """Race shorter texts; the shortest of the best and the present one are compared on all rows."""
        rows, before = len(self.job.division.selection), self.seen
        raced = self.race(self.job.plan.compressions, present_last=True)
        if not raced.won:
            return
        shorter, present = rows - raced.leader, (rows - raced.present) * (1 - before / rows)
        self.course.met += present
        self.course.rewritten += shorter
        self.course.raced += shorter + present

    def race(self, rewrites: int, *, present_last: bool = False) -> Raced:
        """Race as many of the rewrites as can be used."""
        rows, rivals = len(self.job.division.selection), round(rewrites * self.rehearsal.racing)
        margin = self.job.acceptance.margin
        raced = self.rewriting.raced(
            self.rng, rewrites=rivals, rows=rows, wrong=self.wrong, margin=margin, present_last=present_last
        )
        self.course.rewrites += rewrites
        # What earlier races scored of the present text is there.
        met = raced.present * (1 - self.seen / rows)
        self.seen = raced.leader if raced.won else self.seen + met
        self.course.met += met
        self.course.rewritten += raced.scores - raced.present
        self.course.raced += raced.scores
        self.changed |= raced.won
        self.wrong = raced.wrong
        return raced

    def end(self) -> None:
        """Score the start, which comes first; then the new text, if there is one."""
        job, course = self.job, self.course
        confirmation, test = len(job.division.confirmation), len(job.splits.test)
        opening = distinct(job.splits.test or job.division.confirmation, job.task.input)
        course.scored = opening + self.learned_from
        course.guarded = opening
        if not self.changed:
            return
        course.rewritten += confirmation
        # Without test rows the start has met the sealed ones.
        course.met += confirmation if test else 0
        course.guarded += 2 * confirmation if test else confirmation
        if self.rng.random() < _ACCEPTED:
            course.rewritten += test
            course.reported = test

    @property
    def learned_from(self) -> float:
        """Training rows that are asked: a text that changed meets even those anew that an earlier pass has shown."""
        plan = self.job.plan
        if self.changed:
            return plan.steps * plan.batch
        whole = len(self.rehearsal.batches) == plan.steps
        return self.rehearsal.asked(self.job.task.input) if whole else _batches(self.job)


def _batches(job: Job) -> float:
    """Different training rows that the batches draw, on average: each pass shuffles anew, and leaves some out."""
    rows, size = len(job.splits.train), job.plan.batch
    passes, rest = divmod(job.plan.steps, rows // size)
    unseen = (1 - rows // size * size / rows) ** passes * (1 - rest * size / rows)
    return distinct(job.splits.train, job.task.input) * (1 - unseen)
