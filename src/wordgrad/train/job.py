"""From a configuration to a result: the start's score, the search, the end's score."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from wordgrad import context, dispatch
from wordgrad.context import Body
from wordgrad.core.variable import Variable
from wordgrad.data import rows as files
from wordgrad.data.rows import Row
from wordgrad.data.split import Splits
from wordgrad.engines.preflight import preflight
from wordgrad.errors import BudgetExceeded, UsageError
from wordgrad.functions.strategies import Fused, PerEdge, PerNode
from wordgrad.losses.base import Loss
from wordgrad.losses.judge import JudgeLoss
from wordgrad.losses.metric import MetricLoss
from wordgrad.optim.base import Optimizer
from wordgrad.optim.constraints import MaxTokens
from wordgrad.optim.tgd import TextualGradientDescent
from wordgrad.statistics.claim import Claim, chance_better, claim
from wordgrad.statistics.pairs import Pairs
from wordgrad.statistics.power import disagreements_needed
from wordgrad.train.config import Config, EngineTable, VariableTable
from wordgrad.train.evaluate import Scores, Task
from wordgrad.train.program import OnePrompt, Program, load_attribute, of_user
from wordgrad.train.search import Plan, Search, Step, Watcher
from wordgrad.types import Engine, Index, Sampling

_STRATEGIES: dict[str, type[PerNode | PerEdge | Fused]] = {"per_node": PerNode, "per_edge": PerEdge, "fused": Fused}

EngineOf = Callable[[EngineTable], Engine]
Status = Literal["done", "budget", "unmeasured"]


def exact(output: object, target: object) -> tuple[bool, str]:
    """The output is exactly the target; spaces around both do not count."""
    right = str(output).strip() == str(target).strip()
    return right, "" if right else f"The output must be exactly {str(target).strip()!r}, and nothing else."


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that `wordgrad optimize` works with."""

    task: Task
    optimizer: Optimizer
    plan: Plan
    splits: Splits
    engines: Sequence[Engine]
    """Who answers, criticises and rewrites; a program of the user's own has its own to answer."""
    scorers: Sequence[Engine]
    """Those of them that a score asks."""

    @property
    def step_rows(self) -> int:
        """Program runs of one step, at most."""
        wide = self.optimizer.candidates
        race = wide * self.plan.race if wide > self.plan.finalists else 0
        return self.plan.batch + race + (min(wide, self.plan.finalists) + 1) * self.plan.validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What the sealed test rows say of the end; the search has not seen them."""

    claim: Claim
    first: bool
    """Whether no other end met these rows before: a run that goes on after its end may look at them again, and then the
    claim promises nothing."""
    chance: float
    """How likely the end is the better one, by these rows alone."""
    needed: int | None
    """More rows on which the two disagree that would likely decide it; None where it is decided, or none would."""

    @property
    def proved(self) -> bool:
        """Whether the end is better than the start, at the claim's alpha."""
        return self.first and self.claim.proved


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job found."""

    status: Status
    start: Mapping[str, str]
    end: Mapping[str, str]
    test_start: Scores
    test_end: Scores | None
    """None where the budget was spent before the end score could be measured."""
    search: Search
    gain: Gain | None = None
    """The end against the start; None where they are the same text, or the end was not measured."""
    spent: BudgetExceeded | None = None
    """What ended the search, or the end score, in the middle."""

    @property
    def accepted(self) -> int:
        """Steps whose candidate was kept."""
        return sum(step.accepted for step in self.search.steps)


class Allowance(Protocol):
    """What a job may use."""

    def affords(self, calls: int) -> bool:
        """Whether so many more calls may be made."""

    def held_back(self) -> AbstractContextManager[None]:
        """Refuse inside what would use up as much as was used so far: the end's score needs it once more."""


def build(config: Config, *, engine_of: EngineOf, seed: int) -> Job:
    """Read the data and put the parts together.

    Args:
        config: What the run is told.
        engine_of: Makes the engine of a table.
        seed: Of the optimizer's candidates.

    Raises:
        UsageError: A file, a column or a program is missing or wrong, or a row stands in two splits.
    """
    splits = read_splits(config)
    parameters = {name: _variable(name, table, config) for name, table in config.variables.items()}
    task = Task(
        program=_program(config, parameters, engine_of),
        loss=_loss(config, engine_of),
        input=config.data.input,
        target=config.data.target,
    )
    rewriter = config.engines.optimizer
    optimizer = TextualGradientDescent(
        dict(task.program.parameters),
        engine_of(rewriter),
        momentum=config.search.momentum,
        candidates=config.search.candidates,
        seed=seed,
        options=sampling(rewriter),
    )
    plan = Plan(
        steps=config.search.steps,
        batch=min(config.search.batch, len(splits.train)),
        race=min(config.search.race, len(splits.validation)),
        finalists=config.search.finalists,
        validation=min(config.search.validation, len(splits.validation)),
        strategy=_STRATEGIES[config.search.strategy](sampling(config.engines.backward)),
        critic=engine_of(config.engines.backward),
    )
    return Job(
        task=task,
        optimizer=optimizer,
        plan=plan,
        splits=splits,
        engines=[engine_of(table) for table in config.asked.values()],
        scorers=[engine_of(table) for table in config.scoring],
    )


def read_splits(config: Config) -> Splits:
    """The rows of all three files, checked.

    Raises:
        UsageError: A file or a column is missing, a file is empty, or a row stands in two splits.
    """
    data = config.data
    found: dict[str, Sequence[Row]] = {}
    for name, path in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        with config.blaming("data", name):
            found[name] = files.read(path)
    for key, column in (("input", data.input), ("target", data.target)):
        for rows in found.values():
            with config.blaming("data", key):
                files.require_columns(rows, [] if column is None else [column])
    splits = Splits(**found)
    with config.blaming("data"):
        splits.require_disjoint(data.input)
    return splits


def run(
    job: Job, *, seed: int, watcher: Watcher, allowance: Allowance, ends: Sequence[Mapping[str, str]] = ()
) -> Outcome:
    """Score the start on the test rows, search, score the end on the same rows.

    Args:
        job: What to do.
        seed: Of batches and of the order of validation rows.
        watcher: Told what happens.
        allowance: Asked before each step.
        ends: The texts that met the test rows before the run was resumed.

    Raises:
        BudgetExceeded: Spent before even the start was scored.
        EngineError: A service failed.
    """
    test = job.splits.test
    search = Search(
        task=job.task,
        optimizer=job.optimizer,
        plan=job.plan,
        train=job.splits.train,
        validation=job.splits.validation,
        rng=random.Random(seed),  # noqa: S311 - a draw of rows, no secret
        watcher=_Numbered(watcher, job.plan.steps),
        stop=lambda: not allowance.affords(job.step_rows),
    )
    start = search.values
    watcher.phase("asking each engine once", 1)
    preflight(job.engines)
    watcher.phase("scoring the start on the sealed test rows", len(test))
    test_start = job.task.scores(test, start, progress=lambda done, _: watcher.advance(done))
    end_place = dispatch.next_index()
    spent: BudgetExceeded | None = None
    test_end: Scores | None = test_start
    try:
        with allowance.held_back():
            search.run()
    except BudgetExceeded as error:
        spent = error
    status: Status = "done" if len(search.steps) == job.plan.steps else "budget"
    end = search.values
    if end != start:
        watcher.ending(end)
        watcher.phase("scoring the result on the sealed test rows", len(test))
        try:
            with _numbered((*end_place, len(search.steps))):
                test_end = job.task.scores(test, end, progress=lambda done, _: watcher.advance(done))
        except BudgetExceeded as error:
            status, test_end, spent = "unmeasured", None, error
    return Outcome(
        status=status,
        start=start,
        end=end,
        test_start=test_start,
        test_end=test_end,
        search=search,
        gain=None
        if test_end is None or end == start
        else _gained(job.task.paired(test_start, test_end), seed, first=all(each in (start, end) for each in ends)),
        spent=spent,
    )


def _gained(pairs: Pairs, seed: int, *, first: bool) -> Gain:
    rng = random.Random(f"gain {seed}")  # noqa: S311 - no secret
    found = claim(pairs, rng=rng)
    undecided = pairs.binary and not found.proved
    return Gain(
        claim=found,
        first=first,
        chance=chance_better(pairs, rng=rng),
        needed=disagreements_needed(found.better, found.worse) if undecided else None,
    )


@contextmanager
def _numbered(index: Index) -> Generator[None]:
    """Number the calls made inside from `index` on.

    The end's score then has a place of its own for each number of steps: a run that a budget ended may be resumed with
    a larger one, and its next step finds no other call's record at its place.
    """
    token = context.body.set(Body(index=index, owner=dispatch.here()))
    try:
        yield
    finally:
        context.body.reset(token)


@dataclass(slots=True)
class _Numbered:
    """A `Watcher` that says of each phase which step it belongs to."""

    watcher: Watcher
    steps: int
    number: int = 1

    def phase(self, name: str, total: int) -> None:
        self.watcher.phase(f"step {self.number} of {self.steps}: {name}", total)

    def advance(self, done: int) -> None:
        self.watcher.advance(done)

    def step(self, step: Step) -> None:
        self.number = step.number + 1
        self.watcher.step(step)

    def ending(self, values: Mapping[str, str]) -> None:
        self.watcher.ending(values)


def sampling(table: EngineTable) -> Sampling:
    """How an engine of the configuration is asked."""
    return Sampling(max_tokens=table.max_tokens, temperature=table.temperature, timeout_s=table.timeout_s)


def _variable(name: str, table: VariableTable, config: Config) -> Variable:
    text = table.text
    if table.file is not None:
        with config.blaming("variables", name, "file"):
            text = files.text(table.file).rstrip("\n")
    limit = () if table.max_tokens is None else (MaxTokens(table.max_tokens),)
    constraints = (*table.constraints, *limit)
    return Variable(text, table.role, requires_grad=True, name=name, constraints=constraints)


def _program(config: Config, parameters: Mapping[str, Variable], engine_of: EngineOf) -> Program:
    if config.program is not None:
        with config.blaming("program"):
            return of_user(config.program, parameters, beside=config.path.parent)
    if len(parameters) != 1:
        raise UsageError(
            f"{config.at('variables')}: the built-in program has one prompt, and {len(parameters)} are named: name "
            'one, or write program = "module:attribute"'
        )
    forward = config.engines.forward
    return OnePrompt(
        parameters=parameters, engine=engine_of(forward), options=sampling(forward), column=config.data.input
    )


def _loss(config: Config, engine_of: EngineOf) -> Loss:
    metric = config.metric
    if metric.kind == "rubric":
        assert metric.rubric is not None, "the configuration was checked"
        critic = config.engines.backward
        return JudgeLoss(metric.rubric, engine_of(critic), passing=metric.passing, options=sampling(critic))
    if metric.kind == "function":
        assert metric.function is not None, "the configuration was checked"
        with config.blaming("metric", "function"):
            fn = load_attribute(metric.function, beside=config.path.parent)
            return MetricLoss(fn, objective=metric.objective, passing=metric.passing)
    return MetricLoss(exact, objective=metric.objective, pure=True)
