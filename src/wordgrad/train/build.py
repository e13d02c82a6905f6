"""From a configuration to a job: the data are read, and the parts put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from wordgrad.core.variable import Variable
from wordgrad.data import rows as files
from wordgrad.data.rows import Row
from wordgrad.data.split import Division, Splits, divide, split
from wordgrad.engines.defaults import resolve
from wordgrad.errors import UsageError
from wordgrad.functions.strategies import Fused, PerEdge, PerNode
from wordgrad.losses.base import Loss
from wordgrad.losses.judge import JudgeLoss, PairwiseLoss
from wordgrad.losses.metric import MetricLoss
from wordgrad.optim.constraints import MaxTokens
from wordgrad.optim.tgd import TextualGradientDescent
from wordgrad.train.accept import Acceptance
from wordgrad.train.config import Config, EngineTable, GuardrailTable, MetricTable, VariableTable
from wordgrad.train.evaluate import Guardrail, Task
from wordgrad.train.job import Job
from wordgrad.train.known import Known
from wordgrad.train.plan import Plan
from wordgrad.train.program import OnePrompt, Program, load_attribute, of_user
from wordgrad.types import Engine, Sampling

_STRATEGIES: dict[str, type[PerNode | PerEdge | Fused]] = {"per_node": PerNode, "per_edge": PerEdge, "fused": Fused}

EngineOf = Callable[[EngineTable], Engine]


def exact(output: object, target: object) -> tuple[bool, str]:
    """The output is exactly the target; spaces around both do not count."""
    right = str(output).strip() == str(target).strip()
    return right, "" if right else f"The output must be exactly {str(target).strip()!r}, and nothing else."


def build(config: Config, *, engine_of: EngineOf, seed: int) -> Job:
    """Read the data and put the parts together.

    Args:
        config: What the run is told.
        engine_of: Makes the engine of a table.
        seed: Of the optimizer's candidates, and of the division of the validation rows.

    Raises:
        UsageError: A file, a column or a program is missing or wrong, or a row stands in two splits.
    """
    splits = read_splits(config)
    parameters = {name: _variable(name, table, config) for name, table in config.variables.items()}
    loss = _loss(config, config.metric, engine_of, "metric")
    task = Task(
        program=_program(config, parameters, engine_of),
        loss=loss,
        pairwise=in_pairs(loss) if config.target is None else None,
        guardrails={
            name: Guardrail(_loss(config, table, engine_of, "guardrails", name), table.margin)
            for name, table in config.guardrails.items()
        },
        input=config.data.input,
        target=config.target,
        by=config.data.by,
    )
    rewriter = config.engines.optimizer
    plan = plan_of(config, critic=engine_of(config.engines.backward), rewriter=engine_of(rewriter))
    with config.blaming("data", "validation" if config.data.examples is None else "examples"):
        division = divided(task, splits, seed=seed)
    return assembled(
        task,
        plan,
        Acceptance(**config.accept.model_dump()),
        splits,
        division,
        seed=seed,
        options=sampling(rewriter),
        engines=[engine_of(table) for table in config.asked.values()],
        known=_known(config),
        known_at=config.at("metric", "known"),
    )


def _known(config: Config) -> list[Known]:
    known = config.metric.known
    blind = [number for number, each in enumerate(known, start=1) if each.target is None]
    if blind and config.target is not None and config.metric.kind != "rubric":
        raise UsageError(f"{config.at('metric', 'known')}: number {blind[0]} needs a target, as the rows have one")
    return [Known(**each.model_dump()) for each in known]


def rebuilt(config: Config, starts: Mapping[str, str], *, engine_of: EngineOf, seed: int) -> Job:
    """The job of a run with the texts that it began with: a prompt's file may have been written since.

    Raises:
        UsageError: The program has no such variables any more.
    """
    job = build(config, engine_of=engine_of, seed=seed)
    for name, text in starts.items():
        if name not in job.task.program.parameters:
            raise UsageError(f"the program changed: it has no variable {name!r}, which the run began with")
        job.task.program.parameters[name].value = text
    return job


def plan_of(config: Config, *, critic: Engine | str | None, rewriter: Engine | str | None) -> Plan:
    """The plan that a configuration asks for."""
    search = config.search
    return Plan(
        steps=search.steps,
        batch=search.batch,
        candidates=search.candidates,
        compressions=search.compressions,
        momentum=search.momentum,
        strategy=_STRATEGIES[search.strategy](sampling(config.engines.backward)),
        critic=critic,
        rewriter=rewriter,
    )


def in_pairs(loss: Loss) -> PairwiseLoss | None:
    """The judge of pairs that a judge of single answers stands for; None for what is no such judge."""
    if type(loss) is not JudgeLoss:  # a subclass may ask otherwise
        return None
    return PairwiseLoss(loss.objective, loss.engine, options=loss.options)


def judges(task: Task) -> list[Engine]:
    """The judges' engines, the target's first; a judge without one of its own is the critic."""
    losses = [task.loss, *(each.loss for each in task.guardrails.values())]
    named = [each.engine for each in losses if isinstance(each, JudgeLoss) and each.engine is not None]
    return [resolve(each) for each in named]


def divided(task: Task, splits: Splits, *, seed: int) -> Division[Row]:
    """Divide the validation rows; the rows of one case stay together.

    Raises:
        UsageError: They are too few.
    """
    cases = dict(zip(splits.validation, task.cases(splits.validation), strict=True))
    return divide(splits.validation, seed=seed, group=cases.__getitem__)


def assembled(
    task: Task,
    plan: Plan,
    acceptance: Acceptance,
    splits: Splits,
    division: Division[Row],
    *,
    seed: int,
    engines: Sequence[Engine],
    options: Sampling | None = None,
    known: Sequence[Known] = (),
    known_at: str = "known",
) -> Job:
    """The job of these parts.

    Args:
        task: What is optimised, and how it is judged.
        plan: How long, how wide, and who is asked.
        acceptance: What a new text has to show.
        splits: The rows.
        division: Of the validation rows.
        seed: Of the optimizer's candidates.
        engines: As in `Job`.
        options: Limits and sampling of the rewriter.
        known: As in `Job`.
        known_at: As in `Job`.
    """
    optimizer = TextualGradientDescent(
        dict(task.program.parameters),
        plan.engines[1],
        momentum=plan.momentum,
        candidates=plan.candidates,
        seed=seed,
        options=options,
    )
    return Job(
        task=task,
        optimizer=optimizer,
        plan=replace(plan, batch=min(plan.batch, len(splits.train))),
        acceptance=acceptance,
        splits=splits,
        division=division,
        engines=engines,
        known=known,
        known_at=known_at,
    )


def read_splits(config: Config) -> Splits:
    """The rows of all files, checked; or one file's, divided, in the same way in every run.

    Raises:
        UsageError: A file or a column is missing, a file is empty, or a row stands in two splits.
    """
    data = config.data
    if data.examples is not None:
        with config.blaming("data", "examples"):
            return _with_columns(config, split(data.examples, by=data.by, input=data.input))
    found: dict[str, Sequence[Row]] = {}
    for name, path in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        with config.blaming("data", name):
            found[name] = () if path is None else files.read(path)
    splits = _with_columns(config, Splits(**found))
    with config.blaming("data"):
        splits.require_disjoint(data.input, by=data.by)
    return splits


def _with_columns(config: Config, splits: Splits) -> Splits:
    data = config.data
    for key, column in (("input", data.input), ("target", config.target), ("by", data.by)):
        for rows in (splits.train, splits.validation, splits.test):
            with config.blaming("data", key):
                files.require_columns(rows, [] if column is None else [column])
    return splits


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


def _loss(config: Config, table: MetricTable | GuardrailTable, engine_of: EngineOf, *keys: str) -> Loss:
    if table.kind == "rubric":
        assert table.rubric is not None, "the configuration was checked"
        judge = table.judge or config.engines.backward
        return JudgeLoss(table.rubric, engine_of(judge), passing=table.passing, options=sampling(judge))
    if table.kind == "function":
        assert table.function is not None, "the configuration was checked"
        with config.blaming(*keys, "function"):
            fn = load_attribute(table.function, beside=config.path.parent)
            return MetricLoss(fn, objective=table.objective, passing=table.passing)
    return MetricLoss(exact, objective=table.objective, pure=True)
