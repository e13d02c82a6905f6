"""The search: learn from failures on training rows, race candidates against the present text, go on from the winner."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from wordgrad.core.backward import backward
from wordgrad.core.gradient import Gradient
from wordgrad.core.variable import Variable
from wordgrad.data.rows import Row
from wordgrad.engines.defaults import backward_engine, resolve
from wordgrad.errors import EngineError
from wordgrad.optim.base import Optimizer
from wordgrad.optim.compression import Compression
from wordgrad.optim.proposal import Proposal
from wordgrad.statistics.betting import mean_interval
from wordgrad.statistics.racing import Race, block_of
from wordgrad.train.answers import settled
from wordgrad.train.critics import Answered
from wordgrad.train.evaluate import Task
from wordgrad.train.events import Lead, Observer, Phase, Refused, Step
from wordgrad.train.plan import Later, Plan
from wordgrad.train.program import values_of
from wordgrad.train.scores import Scores, nothing_learned

_REQUESTS = 5
"""Fewer may all be refused for what they say."""
_FEWER_WORDS = Gradient(text="Say the same in fewer words.", objective="the same answers from a shorter text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Training rows of one step, and what the present text scores on them."""

    rows: Sequence[Row]
    scores: Scores
    refusal: str = ""
    """What a server said that refused a critic, of the first such row; "" where each was answered."""

    @property
    def failures(self) -> list[int]:
        """Places of the rows that fail; one that could not be judged does not."""
        return [place for place in range(len(self.rows)) if self.scores.broke(place)]


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
    _compresses: bool = False
    """Whether the steps left something to compress."""
    _connected: bool = False
    """Whether a row has used a variable."""
    _unused: Sequence[Variable] = ()
    """The judgements of the last batch, if none of its rows did."""
    _criticised: list[EngineError | None] = field(default_factory=list)
    """What a server said that refused a critic, row by row that was criticised."""
    _rewritten: list[EngineError | None] = field(default_factory=list)
    """What a server said that refused a rewrite, one by one."""

    def run(self) -> Mapping[str, str]:
        """The best values found: the start's where nothing beat it.

        Raises:
            GraphError: No row of any batch used a variable.
            EngineError: An engine failed; or of five requests or more a server answered no critic, or no rewriter.
        """
        start, batches = self.values, self.batches()
        for number in itertools.count(1):
            if self.later is not None and number == self.later.step:
                self._change(self.later)
            if number > self.plan.steps or not self._goes_on(self.plan.candidates, self.plan.batch):
                break
            self._made(self._step(number, next(batches)))
        grown = [name for name, text in self.values.items() if len(text) > len(start[name])]
        self._compresses = bool(grown) and self.plan.compressions > 0 and len(self.steps) == self.plan.steps
        if self._compresses and self._goes_on(self.plan.compressions):
            self._made(self._compressed(self.planned, grown, start))
        self.require_use()
        for outcomes in (self._criticised, self._rewritten):
            refusals = [each for each in outcomes if each is not None]
            if len(refusals) == len(outcomes) >= _REQUESTS:
                raise refusals[0]
        return self.values

    @property
    def planned(self) -> int:
        """Steps that the plan has, the compression included where there is something to compress."""
        return self.plan.steps + self._compresses

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

    def require_use(self) -> None:
        """Check that a row that was learned from has used a variable.

        Raises:
            GraphError: None did; it says where the program leaves its variables out.
        """
        if not self._connected:
            self._backward(self._unused)

    def batches(self) -> Iterator[list[Row]]:
        """Batches without end: each pass over the training rows in a new order."""
        while True:
            rows = list(self.train)
            self.rng.shuffle(rows)
            size = min(self.plan.batch, len(rows))
            for start in range(0, len(rows) - size + 1, size):
                yield rows[start : start + size]

    def _step(self, number: int, rows: Sequence[Row]) -> Step:
        before = self.values
        batch = self.learn(rows)
        step = Step(number=number, accepted=False, reason="", before=before, after=before, feedback=self.feedback)
        if not any(step.feedback.values()):
            if self._unused:
                return replace(step, reason="no row of the batch uses a variable: nothing to learn from")
            why = nothing_learned(
                "rows of the batch",
                rows=len(rows),
                failing=len(batch.failures),
                unjudged=batch.scores.values.count(None),
                refusal=batch.refusal,
            )
            return replace(step, reason=why)
        proposals, candidates = self.rewrites()
        if not candidates:
            return replace(step, reason=unusable(proposals, "all equal the present text"))
        texts = [before, *({**before, **each.values} for each in candidates)]
        race = self._race(texts, present=0)
        if race.winner:
            self.optimizer.apply(candidates[race.winner - 1])
        tried = _tried(len(candidates), "candidate")
        cut = "; the budget ended the race" if race.cut else ""
        return replace(
            step,
            accepted=race.winner > 0,
            reason=f"{tried} {'leads' if race.winner else 'does not lead'}: {self._shown(race.lead)}{cut}",
            after=texts[race.best],
            lead=race.lead,
        )

    def _compressed(self, number: int, grown: Sequence[str], start: Mapping[str, str]) -> Step:
        """A step that no row teaches: what grew since the start is to be said in fewer words.

        Shorter texts race against the present one, where of equals the shortest leads. One that leads takes its place
        if it does as well on all selection rows, by the target and by each guardrail that asks no judge.
        """
        before = self.values
        variables = {name: self.task.program.parameters[name] for name in grown}
        compression = Compression(
            variables,
            self.optimizer.engine,
            candidates=self.plan.compressions,
            seed=self.optimizer.seed,
            options=self.optimizer.options,
        )
        self.optimizer.zero_grad()
        for each in variables.values():
            each.accumulate_grad(_FEWER_WORDS)
        self.observer(Phase("compressing", 1))
        proposals = compression.propose()
        shorter = [
            each
            for each in self._distinct(proposals, [before, start])
            if all(len(text) < len(before[name]) for name, text in each.values.items())
        ]
        shorter.sort(key=lambda each: sum(map(len, each.values.values())))
        step = Step(
            number=number,
            accepted=False,
            reason=unusable(proposals, "none is shorter than the present text"),
            before=before,
            after=before,
            feedback=self.feedback,
            lead=None,
            compression=True,
        )
        if not shorter:
            return step
        texts = [*({**before, **each.values} for each in shorter), before]
        race = self._race(texts, present=len(shorter))
        tried = _tried(len(shorter), "shorter text")
        step = replace(step, after=texts[race.best], lead=race.lead)
        if race.winner == len(shorter):
            return replace(step, reason=f"{tried} does worse: {self._shown(race.lead)}")
        if not self._affords(2 * len(self.selection)):
            return replace(step, reason=f"{tried} led, and the budget has no room to compare it on all rows")
        worse, lead = self._compared(texts[race.winner], before)
        if worse:
            return replace(step, reason=f"{tried} does worse by {', '.join(worse)}: {self._shown(lead)}", lead=lead)
        compression.apply(shorter[race.winner])
        return replace(step, accepted=True, reason=f"{tried} does as well: {self._shown(lead)}", lead=lead)

    def _compared(self, shorter: Mapping[str, str], present: Mapping[str, str]) -> tuple[list[str], Lead]:
        """By what a text does worse than the present one on all selection rows, and how far both came."""
        self.observer(Phase("comparing both texts", 2 * len(self.selection)))
        new, old = self.task.measured(
            self.selection,
            [shorter, present],
            against=present,
            guards=[name for name, each in self.task.guardrails.items() if each.hard or not each.asks],
            observer=self.observer,
        )
        return self.task.worse(new, old), self._lead(old.target.known, new.target.known)

    def _shown(self, lead: Lead) -> str:
        shown = self.task.scale.shown
        return (
            f"{shown(lead.candidate)} on {lead.candidate_rows} selection rows, the present text {shown(lead.start)} on "
            f"{lead.start_rows}"
        )

    @property
    def feedback(self) -> Mapping[str, tuple[Gradient, ...]]:
        """What was learned last, by variable."""
        return {name: each.gradients for name, each in self.task.program.parameters.items()}

    def learn(self, rows: Sequence[Row]) -> Batch:
        """Turn what these rows fail at into feedback on the variables, in place of what there was."""
        self.observer(Phase("learning from a batch", len(rows)))
        self.optimizer.zero_grad()
        losses = self.task.judged(rows, None)
        results = settled(losses, [each.place for each in rows], self.observer)
        judged = [each for each, found in zip(losses, results, strict=True) if not isinstance(found, EngineError)]
        # A row that the program answers without its variables, from a table or a cache, teaches nothing.
        used = [each for each in judged if each.requires_grad]
        self._unused = () if used else judged
        self._connected |= bool(used)
        outcomes = self._backward(used)
        self._criticised += outcomes.values()
        refused = {place: str(error) for place, error in outcomes.items() if error is not None}
        for place, reason in refused.items():
            self.observer(Refused(place, reason, critic=True))
        return Batch(rows=rows, scores=Scores.from_results(results), refusal=next(iter(refused.values()), ""))

    def rewrites(self) -> tuple[Sequence[Proposal], Sequence[Proposal]]:
        """All candidates that the feedback leads to, and those that can race: usable, new, and each text once."""
        self.observer(Phase("rewriting", 1))
        proposals = self.optimizer.propose()
        self._rewritten += (rewrite.refusal for each in proposals for rewrite in each.rewrites)
        return proposals, self._distinct(proposals, [self.values])

    def _backward(self, losses: Sequence[Variable]) -> Mapping[str, EngineError | None]:
        """Put critics' words on the variables; what a server said that refused one, by row that was criticised."""
        critics = Answered(self.plan.strategy)
        if losses:
            with backward_engine(resolve(self.plan.critic)):
                backward(losses, strategy=critics)
        return critics.outcomes

    def _distinct(self, proposals: Sequence[Proposal], known: Sequence[Mapping[str, str]]) -> list[Proposal]:
        """The usable candidates, each text once, without those that are known."""
        kept: dict[tuple[tuple[str, str], ...], Proposal] = {}
        for each in proposals:
            values = {**self.values, **each.values}
            if not each.reasons and values not in known:
                kept.setdefault(tuple(values.items()), each)
        return list(kept.values())

    def _race(self, texts: Sequence[Mapping[str, str]], *, present: int) -> _Finish:
        """Race texts, of which one is the present one; of equals the first leads."""
        race = Race(
            entrants=len(texts),
            rows=len(self.selection),
            rng=self.rng,
            bounds=self.task.bounds,
            margin=self.margin,
            incumbent=present,
        )
        hard = [name for name, each in self.task.guardrails.items() if each.hard]
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
                guards=hard,
                observer=self.observer,
            )
            scores = [self.task.constrained(each) for each in found]
            race.tell([self.task.oriented(each) for each in scores])
            for entrant, each in zip(heat.entrants, scores, strict=True):
                scored[entrant] += each.known
        how_far = race.standings
        rivals = [each for each in range(len(texts)) if each != present]
        best = max(rivals, key=lambda each: (each == race.winner, how_far[each].rows, how_far[each].mean or 0.0, -each))
        return _Finish(winner=race.winner, best=best, lead=self._lead(scored[present], scored[best]), cut=cut)

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


def _tried(count: int, what: str) -> str:
    return f"the one {what}" if count == 1 else f"the best of {count} {what}s"


def unusable(proposals: Sequence[Proposal], otherwise: str) -> str:
    """Why no proposal can race: the constraints' reasons, or what is said otherwise."""
    reasons = dict.fromkeys(reason for each in proposals for reason in each.reasons)
    return "no usable rewrite: " + ("; ".join(reasons) or otherwise)


class _Finish(NamedTuple):
    winner: int
    """The place of the text that leads."""
    best: int
    """The place of the best text but the present one."""
    lead: Lead
    cut: bool
    """Whether the budget ended it."""
