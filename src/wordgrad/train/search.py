"""The search: learn from failures on training rows, race candidates against the present text, go on from the winner."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from wordgrad.core.backward import Strategy, backward
from wordgrad.core.gradient import Gradient
from wordgrad.core.variable import Variable
from wordgrad.data.rows import Row
from wordgrad.engines.defaults import backward_engine, resolve
from wordgrad.errors import UsageError
from wordgrad.functions.strategies import per_node
from wordgrad.optim.base import Optimizer
from wordgrad.optim.proposal import Proposal
from wordgrad.statistics.betting import mean_interval
from wordgrad.statistics.racing import Race, block_of
from wordgrad.train.evaluate import Task, settled
from wordgrad.train.events import Lead, Observer, Phase, Step
from wordgrad.train.program import values_of
from wordgrad.types import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long a search is, how wide, and who is asked."""

    steps: int = 3
    batch: int = 8
    """Training rows that one step learns from."""
    candidates: int = 8
    """Rewrites that race against the present text."""
    momentum: int = 0
    """Past steps that the rewriter is shown."""
    strategy: Strategy = per_node
    """How feedback passes a model call."""
    critic: str | Engine | None = None
    """Who writes the gradients; the default backward engine where None."""
    rewriter: str | Engine | None = None
    """Who rewrites; the critic where None."""
    compressions: int = 0
    """Rewrites at the end that say what was found in fewer words; one that does as well takes its place."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.candidates) < 1 or min(self.momentum, self.compressions) < 0:
            raise UsageError(
                f"steps={self.steps!r}, batch={self.batch!r}, candidates={self.candidates!r}: needed are >= 1; "
                f"momentum={self.momentum!r}, compressions={self.compressions!r}: >= 0"
            )

    @property
    def most_steps(self) -> int:
        """Steps of a search that has something to compress in the end."""
        return self.steps + (self.compressions > 0)

    @property
    def engines(self) -> tuple[Engine, Engine]:
        """Who writes the gradients, and who rewrites."""
        critic = resolve(self.critic)
        return critic, critic if self.rewriter is None else resolve(self.rewriter)


_FEWER_WORDS = (
    "Say the same in fewer words. Keep every rule, name, form and example that an answer depends on; leave out what is "
    "said twice, and what is not needed."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Another plan from some step on: what if?"""

    step: int
    """The first step under it; from 2."""
    plan: Plan
    margin: float


@dataclass(slots=True)
class Search:
    """One search from a start. All randomness comes from `rng`.

    Args:
        task: What is optimised, and how it is judged.
        optimizer: Proposes candidates from the gradients.
        plan: How long, how wide, and whose feedback.
        margin: Of a race: the gain that is not worth more scoring, as a share of the scores' width.
        train: Rows to learn from.
        selection: Rows to race candidates on.
        rng: Draws batches, and the order of the rows in each race.
        observer: Told what happens.
        affords: Asked before each step whether so many program runs can be paid for: a batch, and a race's first heat.
            If not, the search ends as planned. Asked before each further heat too: if not, the race ends there.
        last: The number of the last step, where that is known.
        later: Another plan for the last steps, and the first of them; those before were paid for. Its engines are those
            of the first plan.
    """

    task: Task
    optimizer: Optimizer
    plan: Plan
    margin: float
    train: Sequence[Row]
    selection: Sequence[Row]
    rng: random.Random
    observer: Observer
    affords: Callable[[int], bool] = lambda _: True
    last: int | None = None
    later: Later | None = None
    steps: list[Step] = field(default_factory=list)
    planned: int = 0
    """Steps that the plan has, the compression included where there is something to compress."""
    _connected: bool = False
    """Whether a row has used a variable."""
    _unused: Sequence[Variable] = ()
    """The judgements of the last batch, if none of its rows did."""

    def run(self) -> Mapping[str, str]:
        """The best values found: the start's where nothing beat it.

        Raises:
            GraphError: No row of any batch used a variable.
        """
        start, batches = self.values, self._batches()
        for number in itertools.count(1):
            if self.later is not None and number == self.later.step:
                self._change(self.later)
            self.planned = self.plan.steps
            if number > self.plan.steps or not self._goes_on(self.plan.candidates, self.plan.batch):
                break
            self._made(self._step(number, next(batches)))
        done = len(self.steps) == self.plan.steps
        if done and self.plan.compressions and _length(self.values) > _length(start):
            self.planned += 1
            if self._goes_on(self.plan.compressions):
                self._made(self._compressed(self.planned))
        if not self._connected:
            self._backward(self._unused)  # which says where the program leaves its variables out
        return self.values

    def _change(self, later: Later) -> None:
        self.plan, self.margin = later.plan, later.margin
        self.optimizer.candidates = later.plan.candidates
        self.optimizer.history = self.optimizer.history.of(later.plan.momentum)

    def _made(self, step: Step) -> None:
        self.steps.append(step)
        self.observer(step)

    def _goes_on(self, candidates: int, batch: int = 0) -> bool:
        """Whether the next step may be made: what it takes at least is a batch, and the first heat of a race."""
        first = (candidates + 1) * block_of(len(self.selection))
        return len(self.steps) != self.last and self._affords(min(batch, len(self.train)) + first)

    def _affords(self, rows: int) -> bool:
        paid_for = self.later is not None and len(self.steps) + 1 < self.later.step
        return paid_for or self.affords(rows)

    @property
    def values(self) -> dict[str, str]:
        """What the parameters hold now."""
        return values_of(self.task.program)

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
        self._learn(batch)
        step = Step(number=number, before=before, after=before, feedback=self._feedback)
        if not any(step.feedback.values()):
            rows = "no row of the batch uses a variable" if self._unused else "every row of the batch passed"
            return replace(step, reason=f"{rows}: nothing to learn")
        self.observer(Phase("rewriting", 1))
        proposals = self.optimizer.propose()
        candidates = self._distinct(proposals, before)
        if not candidates:
            reasons = dict.fromkeys(reason for each in proposals for reason in each.reasons)
            return replace(step, reason="no usable rewrite: " + ("; ".join(reasons) or "all equal the present text"))
        return self._raced(step, candidates)

    def _compressed(self, number: int) -> Step:
        """A step that no row teaches: all variables are asked to say the same in fewer words."""
        before = self.values
        self.optimizer.zero_grad()
        for each in self.optimizer.parameters.values():
            if each.requires_grad:
                each.accumulate_grad(_FEWER_WORDS)
        self.optimizer.candidates = self.plan.compressions
        step = Step(number=number, before=before, after=before, feedback=self._feedback, compression=True)
        self.observer(Phase("compressing", 1))
        rewrites = self._distinct(self.optimizer.propose(), before)
        shorter = [each for each in rewrites if _length({**before, **each.values}) < _length(before)]
        if not shorter:
            return replace(step, reason="no usable rewrite is shorter than the present text")
        return self._raced(step, sorted(shorter, key=lambda each: _length({**before, **each.values})))

    @property
    def _feedback(self) -> Mapping[str, tuple[Gradient, ...]]:
        return {name: each.gradients for name, each in self.task.program.parameters.items()}

    def _raced(self, step: Step, candidates: Sequence[Proposal]) -> Step:
        """The step with how a race of candidates and the present text ended.

        Of equals the first leads. So a candidate has to be better than the present text, and a compression only as
        good: the shortest comes first, and the present text last.
        """
        present = len(candidates) if step.compression else 0
        texts = [{**step.before, **each.values} for each in candidates]
        race = self._race([*texts[:present], step.before, *texts[present:]], present)
        best = race.best if race.best < present else race.best - 1
        if race.accepted:
            self.optimizer.apply(candidates[best])
        what = "shorter text" if step.compression else "candidate"
        verdict = ("does worse", "does as well") if step.compression else ("does not lead", "leads")
        tried = f"the one {what}" if len(candidates) == 1 else f"the best of {len(candidates)} {what}s"
        cut = "; the budget ended the race" if race.cut else ""
        lead, shown = race.lead, self.task.scale.shown
        return replace(
            step,
            reason=f"{tried} {verdict[race.accepted]}: {shown(lead.candidate)} on {lead.candidate_rows} selection "
            f"rows, the present text {shown(lead.start)} on {lead.start_rows}{cut}",
            after=texts[best],
            lead=lead,
            accepted=race.accepted,
        )

    def _learn(self, batch: Sequence[Row]) -> None:
        self.observer(Phase("learning from a batch", len(batch)))
        self.optimizer.zero_grad()
        losses = self.task.judged(batch, None)
        settled(losses, self.observer)
        # A row that the program answers without its variables, from a table or a cache, teaches nothing.
        used = [each for each in losses if each.requires_grad]
        self._unused = () if used else losses
        self._connected |= bool(used)
        self._backward(used)

    def _backward(self, losses: Sequence[Variable]) -> None:
        if losses:
            with backward_engine(resolve(self.plan.critic)):
                backward(losses, strategy=self.plan.strategy)

    def _distinct(self, proposals: Sequence[Proposal], before: Mapping[str, str]) -> list[Proposal]:
        """The usable candidates, each text once, without the present one."""
        kept: dict[tuple[tuple[str, str], ...], Proposal] = {}
        for each in proposals:
            values = {**before, **each.values}
            if not each.reasons and values != dict(before):
                kept.setdefault(tuple(values.items()), each)
        return list(kept.values())

    def _race(self, texts: Sequence[Mapping[str, str]], present: int) -> _Finish:
        """Race texts, of which one is the present one."""
        race = Race(
            entrants=len(texts),
            rows=len(self.selection),
            rng=self.rng,
            bounds=self.task.bounds,
            margin=self.margin,
            incumbent=present,
        )
        scored: list[list[float]] = [[] for _ in texts]
        cut = False
        while (heat := race.heat()) is not None:
            if race.calls and not self._affords(len(heat.entrants) * len(heat.rows)):
                cut = True
                break
            self.observer(Phase(f"racing {len(heat.entrants)} texts", len(heat.entrants) * len(heat.rows)))
            found = self.task.measured(
                [self.selection[row] for row in heat.rows],
                [texts[entrant] for entrant in heat.entrants],
                against=texts[present],
                hard=True,
                observer=self.observer,
            )
            race.tell([self.task.oriented(each.target) for each in found])
            for entrant, each in zip(heat.entrants, found, strict=True):
                scored[entrant] += [score for score in each.target.values if score is not None]
        how_far = race.standings
        rivals = [each for each in range(len(texts)) if each != present]
        best = max(rivals, key=lambda each: (each == race.winner, how_far[each].rows, how_far[each].mean or 0.0, -each))
        lead = self._lead(scored[present], scored[best])
        return _Finish(accepted=race.winner != present, best=best, lead=lead, cut=cut)

    def _lead(self, start: Sequence[float], candidate: Sequence[float]) -> Lead:
        rng = random.Random("an order to bet in")  # noqa: S311 - the search's own draws stay as they are
        interval = mean_interval(candidate, rng=rng, bounds=self.task.scale.bounds)
        return Lead(
            start=sum(start) / len(start) if start else None,
            start_rows=len(start),
            candidate=sum(candidate) / len(candidate) if candidate else None,
            candidate_rows=len(candidate),
            low=interval.low,
            high=interval.high,
        )


def _length(values: Mapping[str, str]) -> int:
    return sum(map(len, values.values()))


class _Finish(NamedTuple):
    accepted: bool
    """Whether a candidate won."""
    best: int
    """The place of the best text but the present one."""
    lead: Lead
    cut: bool
    """Whether the budget ended it."""
