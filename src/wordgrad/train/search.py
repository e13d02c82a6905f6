"""The search: learn from failures on training rows, race the candidates, keep what beats the incumbent."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wordgrad.core.backward import Strategy, backward
from wordgrad.core.gradient import Gradient
from wordgrad.data.rows import Row
from wordgrad.engines.defaults import backward_engine
from wordgrad.optim.base import Optimizer
from wordgrad.optim.proposal import Proposal
from wordgrad.train.accept import Verdict, compare
from wordgrad.train.evaluate import Scores, Task, settled
from wordgrad.types import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, and how wide; see `wordgrad.train.config.Search`."""

    steps: int
    batch: int
    race: int
    finalists: int
    validation: int
    strategy: Strategy
    critic: Engine
    """Writes the gradients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step did, and why."""

    number: int
    """From 1."""
    accepted: bool
    reason: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    """The best candidate's values, also where it was not accepted; `before` where there was none."""
    feedback: Mapping[str, tuple[Gradient, ...]]
    """The gradients on each variable."""
    verdict: Verdict | None
    """The deciding comparison; None where no candidate reached it."""


class Watcher(Protocol):
    """Told what a search is doing."""

    def phase(self, name: str, total: int) -> None:
        """A new piece of work of `total` rows starts."""

    def advance(self, done: int) -> None:
        """`done` rows of it are there."""

    def step(self, step: Step) -> None:
        """A step has ended."""

    def ending(self, values: Mapping[str, str]) -> None:
        """The search has ended with these texts, and they meet the test rows next."""


@dataclass(slots=True)
class Search:
    """One search from a start. All randomness comes from `rng`.

    Args:
        task: What is optimised, and how it is judged.
        optimizer: Proposes candidates from the gradients.
        plan: How long, and how wide.
        train: Rows to learn from.
        validation: Rows to compare candidates on.
        rng: Draws batches and shuffles validation rows.
        watcher: Told what happens.
        stop: Asked before each step; True ends the search as planned.
    """

    task: Task
    optimizer: Optimizer
    plan: Plan
    train: Sequence[Row]
    validation: Sequence[Row]
    rng: random.Random
    watcher: Watcher
    stop: Callable[[], bool] = lambda: False
    steps: list[Step] = field(default_factory=list)
    _order: list[Row] = field(default_factory=list)

    def run(self) -> Mapping[str, str]:
        """The best values found: the start's where nothing beat it."""
        self._order = list(self.validation)
        self.rng.shuffle(self._order)
        batches = self._batches()
        for number in range(1, self.plan.steps + 1):
            if self.stop():
                break
            step = self._step(number, next(batches))
            self.steps.append(step)
            self.watcher.step(step)
        return self.values

    @property
    def values(self) -> dict[str, str]:
        """What the parameters hold now."""
        return {name: str(each.value) for name, each in self.task.program.parameters.items()}

    def _batches(self) -> Iterator[list[Row]]:
        """Batches without end: each pass over the training rows in a new order."""
        while True:
            rows = list(self.train)
            self.rng.shuffle(rows)
            size = min(self.plan.batch, len(rows))
            for start in range(0, len(rows) - size + 1, size):
                yield rows[start : start + size]

    def _step(self, number: int, batch: Sequence[Row]) -> Step:
        before = self.values
        feedback = self._learn(batch)

        def ended(reason: str, *, after: Mapping[str, str] | None = None, verdict: Verdict | None = None) -> Step:
            return Step(
                number=number,
                accepted=verdict is not None and verdict.better,
                reason=reason,
                before=before,
                after=before if after is None else after,
                feedback=feedback,
                verdict=verdict,
            )

        if not any(feedback.values()):
            return ended("every row of the batch passed: nothing to learn")
        self.watcher.phase("rewriting", 1)
        proposals = self.optimizer.propose()
        candidates = self._distinct(proposals, before)
        if not candidates:
            reasons = dict.fromkeys(reason for each in proposals for reason in each.reasons)
            return ended("no usable rewrite: " + ("; ".join(reasons) or "all equal the present text"))
        finalists = self._race(candidates, before)
        best, verdict = self._final(finalists, before)
        if verdict.better:
            self.optimizer.apply(best)
        tried = "the one candidate" if len(candidates) == 1 else f"the best of {len(candidates)} candidates"
        said = "beats" if verdict.better else "does not beat"
        return ended(
            f"{tried} {said} the present text on {verdict.n} validation rows "
            f"({verdict.candidate:.0%} against {verdict.start:.0%})",
            after={**before, **best.values},
            verdict=verdict,
        )

    def _learn(self, batch: Sequence[Row]) -> Mapping[str, tuple[Gradient, ...]]:
        self.watcher.phase("learning from a batch", len(batch))
        self.optimizer.zero_grad()
        losses = self.task.judged(batch, None)
        settled(losses, progress=lambda done, _: self.watcher.advance(done))
        with backward_engine(self.plan.critic):
            backward(losses, strategy=self.plan.strategy)
        return {name: each.gradients for name, each in self.task.program.parameters.items()}

    def _distinct(self, proposals: Sequence[Proposal], before: Mapping[str, str]) -> list[Proposal]:
        """The usable candidates, each text once, without the present one."""
        kept: dict[tuple[tuple[str, str], ...], Proposal] = {}
        for each in proposals:
            values = {**before, **each.values}
            if not each.reasons and values != dict(before):
                kept.setdefault(tuple(values.items()), each)
        return list(kept.values())

    def _race(self, candidates: Sequence[Proposal], before: Mapping[str, str]) -> list[Proposal]:
        """The best few on a few shared rows; with ties the earlier candidate."""
        if len(candidates) <= self.plan.finalists:
            return list(candidates)
        rows = self._order[: self.plan.race]
        self.watcher.phase(f"racing {len(candidates)} candidates", len(candidates) * len(rows))
        means = []
        for place, each in enumerate(candidates):
            means.append(self._mean(self._scores(rows, {**before, **each.values}, place * len(rows))))
        ranked = sorted(range(len(candidates)), key=lambda place: (-means[place], place))
        return [candidates[place] for place in ranked[: self.plan.finalists]]

    def _final(self, finalists: Sequence[Proposal], before: Mapping[str, str]) -> tuple[Proposal, Verdict]:
        """The best finalist, compared with the incumbent on the same rows."""
        rows = self._order[: self.plan.validation]
        self.watcher.phase("comparing with the present text", (len(finalists) + 1) * len(rows))
        incumbent = self._scores(rows, before, 0)
        verdicts = []
        for place, each in enumerate(finalists, start=1):
            scores = self._scores(rows, {**before, **each.values}, place * len(rows))
            verdicts.append((each, compare(self.task.paired(incumbent, scores))))
        return max(verdicts, key=lambda pair: pair[1].candidate)

    def _scores(self, rows: Sequence[Row], values: Mapping[str, str], offset: int) -> Scores:
        return self.task.scores(rows, values, progress=lambda done, _: self.watcher.advance(offset + done))

    def _mean(self, scores: Scores) -> float:
        known = [each for each in self.task.oriented(scores) if each is not None]
        return sum(known) / len(known) if known else float("-inf")
