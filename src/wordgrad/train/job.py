"""From a configuration to a result: the start's score, the search, the end's score."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wordgrad.core.variable import Variable
from wordgrad.data import rows as files
from wordgrad.data.rows import Row
from wordgrad.engines.preflight import preflight
from wordgrad.errors import BudgetExceeded, UsageError
from wordgrad.functions.strategies import Fused, PerEdge, PerNode
from wordgrad.losses.base import Loss
from wordgrad.losses.judge import JudgeLoss
from wordgrad.losses.metric import MetricLoss
from wordgrad.optim.base import Optimizer
from wordgrad.optim.constraints import MaxTokens
from wordgrad.optim.tgd import TextualGradientDescent
from wordgrad.train.config import Config, EngineTable, VariableTable
from wordgrad.train.evaluate import Scores, Task
from wordgrad.train.program import OnePrompt, Program, load_attribute, of_user
from wordgrad.train.search import Plan, Search, Watcher
from wordgrad.types import Engine, Sampling

_STRATEGIES: dict[str, type[PerNode | PerEdge | Fused]] = {"per_node": PerNode, "per_edge": PerEdge, "fused": Fused}

EngineOf = Callable[[EngineTable], Engine]
Status = Literal["done", "budget", "unmeasured"]


def exact(output: object, target: object) -> tuple[bool, str]:
    """The output is exactly the target; spaces around both do not count."""
    right = str(output).strip() == str(target).strip()
    return right, "" if right else f"The output must be exactly {str(target).strip()!r}, and nothing else."


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The rows of a job."""

    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that `wordgrad optimize` works with."""

    task: Task
    optimizer: Optimizer
    plan: Plan
    splits: Splits
    engines: Sequence[Engine]
    """Who answers, criticises and rewrites."""

    @property
    def step_rows(self) -> int:
        """Program runs of one step, at most."""
        wide = self.optimizer.candidates
        race = wide * self.plan.race if wide > self.plan.finalists else 0
        return self.plan.batch + race + (min(wide, self.plan.finalists) + 1) * self.plan.validation


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

    @property
    def accepted(self) -> int:
        """Steps whose candidate was kept."""
        return sum(step.accepted for step in self.search.steps)


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
    parameters = {name: _variable(name, table) for name, table in config.variables.items()}
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
    tables = (config.engines.forward, config.engines.backward, config.engines.optimizer)
    engines = [engine_of(table) for table in tables]
    return Job(task=task, optimizer=optimizer, plan=plan, splits=splits, engines=engines)


def read_splits(config: Config) -> Splits:
    """The rows of all three files, checked.

    Raises:
        UsageError: A file or a column is missing, a file is empty, or a row stands in two splits.
    """
    data = config.data
    found = {name: files.read(path) for name, path in _files(config).items()}
    columns = [data.input] if data.target is None else [data.input, data.target]
    for rows in found.values():
        files.require_columns(rows, columns)
    files.require_disjoint(found, data.input)
    return Splits(**found)


def _files(config: Config) -> dict[str, Path]:
    return {"train": config.data.train, "validation": config.data.validation, "test": config.data.test}


def run(job: Job, *, seed: int, watcher: Watcher, stop: Callable[[int], bool]) -> Outcome:
    """Score the start on the test rows, search, score the end on the same rows.

    Args:
        job: What to do.
        seed: Of batches and of the order of validation rows.
        watcher: Told what happens.
        stop: Asked before each step with the program runs that it and the end score need; True ends the search.

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
        watcher=watcher,
        stop=lambda: stop(job.step_rows + len(test)),
    )
    start = search.values
    watcher.phase("asking each engine once", 1)
    preflight(job.engines)
    watcher.phase("scoring the start on the sealed test rows", len(test))
    test_start = job.task.scores(test, start, progress=lambda done, _: watcher.advance(done))
    status: Status = "done"
    try:
        search.run()
    except BudgetExceeded:
        status = "budget"
    end = search.values
    if len(search.steps) < job.plan.steps:
        status = "budget"
    if end == start:
        return Outcome(status=status, start=start, end=end, test_start=test_start, test_end=test_start, search=search)
    watcher.phase("scoring the result on the sealed test rows", len(test))
    try:
        test_end = job.task.scores(test, end, progress=lambda done, _: watcher.advance(done))
    except BudgetExceeded:
        return Outcome(status="unmeasured", start=start, end=end, test_start=test_start, test_end=None, search=search)
    return Outcome(status=status, start=start, end=end, test_start=test_start, test_end=test_end, search=search)


def sampling(table: EngineTable) -> Sampling:
    """How an engine of the configuration is asked."""
    return Sampling(max_tokens=table.max_tokens, temperature=table.temperature)


def _variable(name: str, table: VariableTable) -> Variable:
    text = table.text
    if table.file is not None:
        try:
            text = table.file.read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise UsageError(f"variables.{name}.file: {table.file} cannot be read: {error.strerror}") from error
    limit = () if table.max_tokens is None else (MaxTokens(table.max_tokens),)
    constraints = (*table.constraints, *limit)
    return Variable(text, table.role, requires_grad=True, name=name, constraints=constraints)


def _program(config: Config, parameters: Mapping[str, Variable], engine_of: EngineOf) -> Program:
    if config.program is not None:
        return of_user(config.program, parameters)
    if len(parameters) != 1:
        raise UsageError(
            f"the built-in program has one prompt, and [variables] names {len(parameters)}: name one, or write "
            'program = "module:attribute"'
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
        fn = load_attribute(metric.function, "metric.function")
        return MetricLoss(fn, objective=metric.objective, passing=metric.passing)
    return MetricLoss(exact, objective=metric.objective, pure=True)
