"""The first step of a search, before it is paid: do critics and rewriter do their work, and does it help?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wordgrad.core.gradient import Gradient
from wordgrad.optim.proposal import Proposal
from wordgrad.statistics.races import Effect
from wordgrad.train.estimate import distinct
from wordgrad.train.events import Observer, Phase
from wordgrad.train.job import Job
from wordgrad.train.program import values_of
from wordgrad.train.scores import nothing_learned
from wordgrad.train.search import Batch, unusable

_TRIED = 4
"""Rewrites, at most: each takes as many calls as a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What the first step that learns would race."""

    batches: Sequence[Batch]
    """Those that the search begins with, until there is feedback."""
    feedback: Mapping[str, tuple[Gradient, ...]]
    """On the last one, by variable."""
    proposals: Sequence[Proposal] = ()
    """All that was written."""
    candidates: Sequence[Proposal] = ()
    """Of them, those that can race: usable, new, and each text once."""
    effects: Sequence[Effect] = ()
    """What the first of these do to the rows that they were written for, which is more than they do to others."""

    @property
    def rows(self) -> int:
        """Different training rows that were asked."""
        return len(self._scored)

    @property
    def failing(self) -> int:
        """Training rows, of those asked, that fail."""
        return sum(score is not None and not passed for score, passed in self._scored.values())

    @property
    def unjudged(self) -> int:
        """Training rows, of those asked, that could not be judged."""
        return sum(score is None for score, _ in self._scored.values())

    @property
    def _scored(self) -> dict[str, tuple[float | None, bool]]:
        """Score and pass of each row, by its place: a later pass over few rows asks the same ones again."""
        return {
            row.place: (score, passed)
            for batch in self.batches
            for row, score, passed in zip(batch.rows, batch.scores.values, batch.scores.passed, strict=True)
        }

    def asked(self, column: str) -> int:
        """Training rows that ask something else, by this column."""
        return distinct([row for batch in self.batches for row in batch.rows], column)

    @property
    def racing(self) -> float:
        """The share of rewrites that can race; all, where none was asked for."""
        return len(self.candidates) / len(self.proposals) if self.proposals else 1.0

    def silent(self, step: int) -> bool:
        """Whether rows of this step (from 0) fail, and nothing asks for a change; of one not rehearsed, as of all."""
        passed_over = step < len(self.batches) - 1 and bool(self.batches[step].failures)
        return passed_over or (self.failing > 0 and not self.proposals)

    @property
    def fault(self) -> str:
        """Why nothing would be learned, in words; "" where something would."""
        if self.proposals:
            return "" if self.candidates else unusable(self.proposals, "all equal the present text")
        refusal = next((each.refusal for each in self.batches if each.refusal), "")
        return nothing_learned(
            "training rows", rows=self.rows, failing=self.failing, unjudged=self.unjudged, refusal=refusal
        )


def rehearsed(job: Job, *, seed: int, observer: Observer) -> Rehearsal:
    """Learn from the batches that the search begins with until there is feedback, and rewrite; nothing is applied.

    Feedback that the variables had is forgotten, as when a search begins.

    Raises:
        GraphError: No row used a variable.
    """
    search, optimizer = job.search(seed, observer), job.optimizer
    before = optimizer.state_dict()
    batches: list[Batch] = []
    try:
        for rows in itertools.islice(search.batches(), job.plan.steps):
            batches.append(search.learn(rows))
            if any(search.feedback.values()):
                break
        search.require_use()
        feedback = search.feedback
        proposals, candidates = search.rewrites() if any(feedback.values()) else ((), ())
    finally:
        optimizer.zero_grad()
        optimizer.load_state_dict(before)
    return Rehearsal(batches=batches, feedback=feedback, proposals=proposals, candidates=candidates)


def effects(job: Job, rehearsal: Rehearsal, *, observer: Observer) -> list[Effect]:
    """Score the first four candidates on the rows that they were written for, as a race would.

    That is beside the start, by the judge of pairs if there is one, and with the hard constraints that ask no judge.
    """
    task, start, batch = job.task, values_of(job.task.program), rehearsal.batches[-1]
    texts = [start, *({**start, **each.values} for each in rehearsal.candidates[:_TRIED])]
    observer(Phase("trying rewrites on these rows", len(texts) * len(batch.rows)))
    hard = [name for name, each in task.guardrails.items() if each.hard and not each.asks]
    found = task.measured(batch.rows, texts, against=start, guards=hard, observer=observer)
    present, *rewritten = (task.oriented(task.constrained(each)) for each in found)
    return [_effect(batch.failures, present, each) for each in rewritten]


def _effect(failing: Sequence[int], present: Sequence[float | None], rewritten: Sequence[float | None]) -> Effect:
    scores = enumerate(zip(present, rewritten, strict=True))
    gains = [(place, new - old) for place, (old, new) in scores if old is not None and new is not None]
    mending = [gain > 0 for place, gain in gains if place in failing]
    breaking = [gain < 0 for place, gain in gains if place not in failing]
    return Effect(sum(mending), len(mending), sum(breaking), len(breaking))
