"""From a start to a result: the start's score, the search, one look at sealed rows, the end's score."""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from wordgrad import context, dispatch
from wordgrad.context import Body
from wordgrad.core.value import text_form
from wordgrad.data.rows import Row
from wordgrad.data.split import Division, Splits
from wordgrad.engines.preflight import preflight
from wordgrad.errors import BudgetExceeded, StoreError
from wordgrad.optim.base import Optimizer
from wordgrad.statistics.claim import Claim, claim
from wordgrad.statistics.racing import block_of, most_scores
from wordgrad.train.accept import Acceptance, Decision, decide
from wordgrad.train.evaluate import Task
from wordgrad.train.events import Decided, Ending, Event, Observer, Phase, Step
from wordgrad.train.known import Known, hold_against
from wordgrad.train.plan import Later, Plan
from wordgrad.train.review import Disagreement
from wordgrad.train.scores import Measured, Scores, Slice, slices
from wordgrad.train.search import Search
from wordgrad.types import Engine, Index

_SEALED: Index = (1_000_000_000,)
_TEST: Index = (1_000_000_001,)
"""The place of the end's calls: behind those of any search, which a failure in the end must not make forgotten."""

Status: TypeAlias = Literal["done", "budget", "unmeasured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a training run works with."""

    task: Task
    optimizer: Optimizer
    plan: Plan
    acceptance: Acceptance
    splits: Splits
    """Without test rows the end's score on untouched rows is not known; what is sealed decides in any case."""
    division: Division[Row]
    """The validation rows: what the search may look at, and what is sealed."""
    engines: Sequence[Engine]
    """Who answers, judges, criticises and rewrites; a program of the user's own has its own to answer."""
    seen_before: bool = False
    """Whether another run has looked at the sealed rows."""
    known: Sequence[Known] = ()
    """Outputs that the metric is held against before anything is paid for."""
    known_at: str = "known"
    """Where these stand, for messages."""

    @property
    def rows(self) -> str:
        """How many rows there are for what, in words."""
        parts = [
            f"{len(self.splits.train)} rows to learn from",
            f"{len(self.division.selection)} to choose by",
            f"{len(self.division.confirmation)} sealed to confirm",
            f"{len(self.splits.test) or 'none'} for the report",
        ]
        return ", ".join(parts)

    @property
    def cases(self) -> int:
        """Sealed cases: rows that ask the same, or belong together, are one, and prove as one."""
        return len(set(self.task.cases(self.division.confirmation)))

    def search(self, seed: int, observer: Observer) -> Search:
        """A search that has not begun, with nothing to stop it."""
        return Search(
            task=self.task,
            optimizer=self.optimizer,
            plan=self.plan,
            margin=self.acceptance.margin,
            train=self.splits.train,
            selection=self.division.selection,
            rng=random.Random(seed),  # noqa: S311 - a draw of rows, no secret
            observer=observer,
        )

    def require_proof(self) -> None:
        """Check that the sealed rows could prove anything.

        Raises:
            UsageError: Even if the new text won every one of them, chance alone would do that too often.
        """
        self.acceptance.require_cases(self.cases)

    @property
    def search_rows(self) -> int:
        """Program runs of the search, at most."""
        plan, rows = self.plan, len(self.division.selection)
        most, texts = plan.steps * (plan.batch + most_scores(1 + plan.candidates, rows)), 1 + plan.compressions
        if plan.compressions:
            # The present text may leave after one block, and is scored on all rows in the end.
            most += min(most_scores(texts, rows) + rows - block_of(rows), texts * rows)
        return most

    @property
    def final_rows(self) -> int:
        """Judged runs after the search, at most: both texts on the sealed rows, and the new one on the test rows.

        Where texts are compared in pairs, the pairs of the test rows are judged as well. Without test rows the start
        has been scored on the sealed ones before.
        """
        sealed, test = len(self.division.confirmation), len(self.splits.test)
        return 2 * sealed + test * (1 if self.task.pairwise is None else 2) if test else sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job found."""

    search: Search
    start: Mapping[str, str]
    found: Mapping[str, str]
    """What the search ended with, and the sealed rows judged."""
    status: Status
    decision: Decision | None = None
    """None where nothing led the start in the search, or the budget was spent before it could be made."""
    kinds: Sequence[Slice] = ()
    """The scores of each kind of sealed row, under the start and the found text."""
    test_start: Scores | None = None
    """None without test rows."""
    test_found: Scores | None = None
    """Measured where the found text was accepted, as long as the budget lasted."""
    gain: Claim | None = None
    """The found text against the start on the test rows; None where it was not accepted, or not measured."""
    spent: BudgetExceeded | None = None
    """What ended the search, or the end score, in the middle."""

    @property
    def accepted(self) -> bool:
        """Whether the found text replaces the start."""
        return self.decision is not None and self.decision.accepted

    @property
    def words(self) -> str:
        """What became of it and why, for people who know no statistics."""
        steps = self.search.steps
        if self.decision is not None:
            return self.decision.words
        if self.status == "unmeasured":
            return "the start is kept: the budget was spent before the sealed rows could decide"
        if not steps:
            return "the start is kept: the budget has no room for a step"
        if any(each.accepted for each in steps):
            return "the start is kept: the search came back to it"
        tried = next((each for each in reversed(steps) if each.lead is not None), steps[-1])
        more = "" if tried.lead is None else "; more steps, candidates or training rows may find one that leads"
        return f"the start is kept: nothing led it in the search (step {tried.number}: {tried.reason}){more}"

    @property
    def end(self) -> Mapping[str, str]:
        """What to use."""
        return self.found if self.accepted else self.start

    @property
    def test_end(self) -> Scores | None:
        """Of what is to be used; None without test rows, and where the budget was spent before it was known."""
        if self.accepted or self.status == "unmeasured":
            return self.test_found
        return self.test_start


class Allowance(Protocol):
    """What a job may use, in judged program runs on one row."""

    def opening(self, rows: int) -> AbstractContextManager[None]:
        """Take what is used inside as what so many rows take."""

    def affords(self, rows: int) -> bool:
        """Whether so many more may be paid for."""

    def held_back(self, rows: int) -> AbstractContextManager[None]:
        """Refuse inside what so many rows need afterwards."""


def run(
    job: Job,
    *,
    seed: int,
    observer: Observer,
    allowance: Allowance,
    ended: Ending | None = None,
    later: Later | None = None,
) -> Outcome:
    """Score the start on the test rows, search, let the sealed rows decide, score the end on the test rows.

    Args:
        job: What to do. In the end its variables hold the end's texts.
        seed: Of batches and of the order of rows.
        observer: Told what happens.
        allowance: Asked before each step.
        ended: How the search had ended, where its text had met the sealed rows before the run was resumed: another one
            may not.
        later: Another plan for the last steps.

    Raises:
        UsageError: The metric misjudges an output whose worth is known.
        BudgetExceeded: Spent before even the start was scored.
        EngineError: A service failed.
        StoreError: The search of a resumed run comes out otherwise.
    """
    most_steps = (job.plan if later is None else later.plan).most_steps
    search = replace(
        job.search(seed, _by_step(observer, most_steps)),
        affords=allowance.affords,
        last=None if ended is None else ended.steps,
        later=later,
    )
    start = search.values
    scored = _opened(job, start, observer=observer, allowance=allowance)
    spent: BudgetExceeded | None = None
    try:
        with allowance.held_back(job.final_rows):
            search.run()
    except BudgetExceeded as error:
        spent = error
    outcome = Outcome(
        search=search,
        start=start,
        found=search.values,
        status="done" if len(search.steps) == search.planned else "budget",
        test_start=scored if job.splits.test else None,
        spent=spent,
    )
    if ended is not None and outcome.found != ended.found:
        raise StoreError(
            "the search comes out otherwise than before the run was resumed, and the text that it found then has met "
            "the sealed rows: start another run"
        )
    if outcome.found == start:
        return outcome
    observer(Ending(steps=len(search.steps), found=outcome.found))
    try:
        with _numbered(_SEALED):
            decision, kinds = _decided(job, outcome, seed=seed, observer=observer)
        outcome = replace(outcome, decision=decision, kinds=kinds)
        if outcome.accepted and outcome.test_start is not None:
            with _numbered(_TEST):
                test_found, gain = _tested(job, outcome, outcome.test_start, seed=seed, observer=observer)
            outcome = replace(outcome, test_found=test_found, gain=gain)
    except BudgetExceeded as error:
        outcome = replace(outcome, status="unmeasured", spent=error)
    for name, parameter in job.task.program.parameters.items():
        parameter.value = outcome.end[name]
    return outcome


def _opened(job: Job, start: Mapping[str, str], *, observer: Observer, allowance: Allowance) -> Scores:
    """Ask each engine, check the metric, and score the start on the test rows; without any, on the sealed ones.

    What that takes is what a row takes: the replies on sealed rows are used again when they decide, and the guardrails
    are measured here too, since the end measures them.
    """
    observer(Phase("asking each engine once", 1))
    preflight(job.engines)
    hold_against(job.task, job.known, where=job.known_at)
    rows, which = (job.splits.test, "test") if job.splits.test else (job.division.confirmation, "validation")
    observer(Phase(f"scoring the start on the sealed {which} rows", len(rows)))
    with allowance.opening(len(rows)):
        (scored,) = job.task.measured(rows, [start], against=None, observer=observer)
    return scored.target


def _decided(job: Job, outcome: Outcome, *, seed: int, observer: Observer) -> tuple[Decision, Sequence[Slice]]:
    """Let the sealed rows decide; and what each kind of them scored."""
    sealed = job.division.confirmation
    observer(Phase("comparing the new text with the start on sealed validation rows", 2 * len(sealed)))
    texts = [outcome.start, outcome.found]
    old, new = job.task.measured(sealed, texts, against=outcome.start, observer=observer)
    decision = decide(
        job.task.paired(sealed, old.target, new.target),
        job.task.guarded(sealed, old, new),
        acceptance=job.acceptance,
        answered=None if job.task.pairwise is None else job.task.answered(sealed, old, new),
        seen_before=job.seen_before,
        rng=random.Random(f"decision {seed}"),  # noqa: S311 - no secret
    )
    observer(Decided(decision=decision, disagreements=_disagreements(job, old, new)))
    return decision, slices(old.target, new.target)


def _tested(job: Job, outcome: Outcome, start: Scores, *, seed: int, observer: Observer) -> tuple[Scores, Claim]:
    """The accepted text's scores on the test rows, and its gain over the start's."""
    test = job.splits.test
    observer(Phase("scoring the new text on the sealed test rows", len(test)))
    found = job.task.scores(test, outcome.found, observer=observer)
    pairs = job.task.paired(test, start, found)
    if job.task.pairwise is not None:
        observer(Phase("comparing both texts on the sealed test rows", 2 * len(test)))
        texts = [outcome.start, outcome.found]
        old, new = job.task.measured(test, texts, against=outcome.start, observer=observer)
        pairs = job.task.paired(test, old.target, new.target)
    rng = random.Random(f"gain {seed}")  # noqa: S311 - no secret
    return found, claim(pairs, rng=rng, alpha=job.acceptance.alpha)


def _disagreements(job: Job, old: Measured, new: Measured) -> list[Disagreement]:
    """The sealed rows on which the texts led to different answers, in order; a refusal is none."""
    scores = zip(job.task.oriented(old.target), job.task.oriented(new.target), strict=True)
    signs = [0 if was is None or now is None else (now > was) - (now < was) for was, now in scores]
    rows, task = job.division.confirmation, job.task
    found = zip(rows, task.cases(rows), old.outputs, new.outputs, signs, strict=True)
    return [
        Disagreement(row=row.place, case=case, asked=text_form(row[task.input]), start=before, found=after, metric=sign)
        for row, case, before, after, sign in found
        if before is not None and after is not None and before != after
    ]


@contextmanager
def _numbered(index: Index) -> Generator[None]:
    """Number the calls made inside from `index` on: a search that ended inside a step leaves the end's places free."""
    token = context.body.set(Body(index=index, owner=dispatch.here()))
    try:
        yield
    finally:
        context.body.reset(token)


def _by_step(observer: Observer, steps: int) -> Observer:
    """Says of each phase which step it belongs to."""
    number = 1

    def told(event: Event) -> None:
        nonlocal number
        if isinstance(event, Phase):
            event = Phase(f"step {number} of {steps}: {event.name}", event.total)
        elif isinstance(event, Step):
            number = event.number + 1
        observer(event)

    return told
