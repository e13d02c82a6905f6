"""Training in code: what `wordgrad optimize` does for a configuration, for any program and any metric."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from types import UnionType
from typing import Any

import anyio
import anyio.to_thread

from wordgrad import dispatch
from wordgrad.compose.preflight import Preflight, preflighted
from wordgrad.compose.record import summarised
from wordgrad.compose.replay import derived
from wordgrad.compose.result import Result
from wordgrad.compose.run import Budget, Run
from wordgrad.compose.training import carried_out
from wordgrad.core.module import Module
from wordgrad.core.variable import Variable
from wordgrad.data import rows as files
from wordgrad.data.examples import examples
from wordgrad.data.split import Splits, split
from wordgrad.engines.defaults import backward_engine, resolve
from wordgrad.errors import BudgetExceeded, NodeError, StoreError, UsageError
from wordgrad.losses.base import Loss
from wordgrad.losses.metric import Metric
from wordgrad.store import runs
from wordgrad.store.database import Database
from wordgrad.train.accept import Acceptance
from wordgrad.train.build import assembled, divided, in_pairs, judges
from wordgrad.train.evaluate import Guardrail, Task, scored
from wordgrad.train.events import Event, Observer, unwatched
from wordgrad.train.job import Job
from wordgrad.train.known import Known
from wordgrad.train.plan import Plan
from wordgrad.train.program import program_of
from wordgrad.types import JSON


class Trainer:
    """Improves the variables of a program; they change only where sealed rows prove that the change is better.

    Args:
        program: A Module, called with each example as a dict from column to value; or fn(variables, example). It
            returns the Variable that its last call gave. Each example's Python runs in a worker thread of its own, or
            on the library's loop if it is async.
        metric: Called metric(output, target), with plain values, async or not; it returns a bool, a number from 0 to 1,
            a Score, or (number, feedback). Or a Loss with a score, as `JudgeLoss`, or `MetricLoss` for other bounds.
        variables: Of a function, by name, in order. A Module has its own.
        input: The column of what is asked.
        target: The column of what is wanted; None where the metric needs none.
        by: A column whose equal values are one case (a customer, a conversation): its rows stay together, and count
            once, by their mean.
        guardrails: By name.
        known: Outputs that are known to be good or bad: the metric is held against them before anything is paid for.
        plan: How long the search is, how wide, and who is asked.
        acceptance: What a new text has to show.

    Raises:
        UsageError: The program or a metric cannot be called so, or there are no variables.
    """

    def __init__(
        self,
        program: Module
        | Callable[[Mapping[str, Variable], Mapping[str, Any]], Variable | Coroutine[Any, Any, Variable]],
        metric: Metric | Loss,
        *,
        variables: Mapping[str, Variable] | None = None,
        input: str = "input",  # noqa: A002 - as the key in [data]
        target: str | None = "target",
        by: str | None = None,
        guardrails: Mapping[str, Guardrail] | None = None,
        known: Sequence[Known] = (),
        plan: Plan | None = None,
        acceptance: Acceptance | None = None,
    ) -> None:
        _require("plan", plan, Plan | None, "a Plan, as in wg.Plan(steps=3)")
        _require("acceptance", acceptance, Acceptance | None, 'an Acceptance, as in wg.Acceptance(rule="lenient")')
        _require("known", known, Sequence, "a list, as in [wg.Known(output=…, passes=True)]")
        for number, each in enumerate(known):
            _require(f"known[{number}]", each, Known, "a Known, as in wg.Known(output=…, passes=True)")
        one = "as in wg.Guardrail(fn, margin=0.05)"
        _require("guardrails", guardrails, Mapping | None, f'a dict, as in {{"short": …}}, of guardrails {one}')
        for name, rail in (guardrails or {}).items():
            _require(f"guardrails[{name!r}]", rail, Guardrail, f"a Guardrail, {one}")
        self.plan = plan or Plan()
        self.acceptance = acceptance or Acceptance()
        self.known = tuple(known)
        called = getattr(program, "__name__", type(program).__name__)
        loss = scored(metric, "metric")
        self.task = Task(
            program=program_of(program, dict(variables or {}), called=called, where="variables="),
            loss=loss,
            pairwise=in_pairs(loss) if target is None else None,
            guardrails=dict(guardrails or {}),
            input=input,
            target=target,
            by=by,
        )

    def fit(
        self,
        train: object,
        validation: object = None,
        test: object = None,
        *,
        budget: Budget | None = None,
        seed: int = 0,
        store: Path | str | None = None,
        cache: bool = False,
        resume: str | None = None,
        observer: Observer = unwatched,
    ) -> Result:
        """Search, let sealed validation rows decide, and leave the better texts in the variables.

        Args:
            train: Examples to learn from, as `wordgrad.examples` takes them. Alone, they are divided as by
                `wordgrad.split`, in the same way whatever the seed; `Result.rows` says how.
            validation: Examples to choose and to confirm by: half of them, by the seed, are sealed until the end.
            test: Examples for the report alone.
            budget: Limits; what confirming the result takes is held back while the search runs.
            seed: Of all that is random.
            store: The file that keeps the run; memory where None.
            cache: Use replies, and results of functions, that earlier runs of the store got: where one call of a
                program was changed, only what depends on it is done again.
            resume: The id of a run in `store` to go on with, with its seed: what it did is read, not done again. Its
                limits hold where no `budget` is given; one counts from the run's start. It decides as it did: with
                another acceptance or other guardrails it is refused.
            observer: Told each event as it happens, in the thread that calls: see `wordgrad.train.events`.

        Returns:
            What was found, and why it was kept or not. A budget that ends the search, or what comes after it, is no
            error: see `Result.status`.

        Raises:
            UsageError: The examples lack a column, are too few, or one stands in two of the three.
            BudgetExceeded: Spent before even the start was scored.
            EngineError: A service failed; with a `store` the run can be resumed.
        """
        _require("budget", budget, Budget | None, "a Budget, as in wg.Budget(calls=500)")
        _require("resume", resume, str | None, "the id of a run, as result.run says it")
        splits = self._splits(train, validation, test)
        with self._restored():
            if resume is not None:
                seed, budget = self._taken_up(store, resume, budget)
            limits = budget or Budget()
            job = self._job(splits, seed)
            job.require_proof()
            # A judge without an engine of its own is the critic.
            critic = backward_engine(resolve(self.plan.critic))
            kept = {"budget": asdict(limits), "decides": self._decides}
            run = Run(store, seed=seed, budget=limits, cache=cache, name="fit", settings=kept, resume=resume)
            with critic, _resumable(run, store), run:
                if resume is not None:
                    run.note("budget", kept["budget"])
                outcome = carried_out(run, job, observer, seed=seed)
                run.note("end", summarised(run.id, outcome, run.usage))
                record = run.found()
                self._put(record.end)
                return Result(rows=job.rows, outcome=outcome, record=record, usage=run.usage)

    async def afit(
        self,
        train: object,
        validation: object = None,
        test: object = None,
        *,
        budget: Budget | None = None,
        seed: int = 0,
        store: Path | str | None = None,
        cache: bool = False,
        resume: str | None = None,
        observer: Observer = unwatched,
    ) -> Result:
        """`fit()` for async code, in a thread of its own.

        Cancelled, it ends before the next row or phase, puts the start's texts back, and is waited for.
        """
        done, stopped = Future[Result](), threading.Event()

        def stoppable(event: Event) -> None:
            if stopped.is_set():
                raise _Stopped
            observer(event)

        def work() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(
                    self.fit(
                        train,
                        validation,
                        test,
                        budget=budget,
                        seed=seed,
                        store=store,
                        cache=cache,
                        resume=resume,
                        observer=stoppable,
                    )
                )
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                done.set_exception(error)

        cancelled = anyio.get_cancelled_exc_class()
        try:
            await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        except cancelled:
            stopped.set()
            # Two trainings must not write the same variables, so what runs is waited for, whoever else cancels.
            while not done.cancel() and not done.done():
                with suppress(cancelled, _Stopped, Exception), anyio.CancelScope(shield=True):
                    await dispatch.arrived(done)
            if not done.cancelled() and done.exception() is None:
                self._put(done.result().outcome.start)
            raise
        return done.result()

    def preflight(
        self, train: object, validation: object = None, test: object = None, *, seed: int = 0, rows: int | None = None
    ) -> Preflight:
        """Ask each engine, score the start twice, and rehearse the first step; say what to gain, and what it takes.

        It looks at rows that `fit()` searches on, and learns from those that it begins with; nothing is applied.

        Args:
            train: As for `fit()`.
            validation: As for `fit()`.
            test: As for `fit()`.
            seed: The same as for `fit()`.
            rows: Selection rows to look at; all where None.

        Raises:
            UsageError: As `fit()`.
            EngineError: A service failed.
            GraphError: No row used a variable.
        """
        _require("rows", rows, Integral | None, "a whole number, or None for all")
        job = self._job(self._splits(train, validation, test), seed)

        @contextmanager
        def opened() -> Generator[tuple[Run, Observer]]:
            with backward_engine(resolve(self.plan.critic)), Run(seed=seed, name="preflight") as run:
                yield run, unwatched

        return preflighted(job, opened, seed=seed, rows=rows)

    def replay(
        self, train: object, validation: object = None, test: object = None, *, store: Path | str, run: str
    ) -> Result:
        """Derive a run of `fit()` once more from its record, with no call; the variables keep their values.

        Args:
            train: As for `fit()`.
            validation: As for `fit()`.
            test: As for `fit()`.
            store: The file that keeps the run, which is only read.
            run: Its id.

        Returns:
            What it found, as `fit()` gave it.

        Raises:
            UsageError: The run has not ended, or decides otherwise than this trainer.
            StoreError: A prompt, a step, a text or the decision comes out otherwise: the program, the data or the
                settings have changed.
        """
        _require("run", run, str, "the id of a run, as result.run says it")
        splits = self._splits(train, validation, test)
        before = {name: each.value for name, each in self.task.program.parameters.items()}
        try:
            seed, _ = self._taken_up(store, run, None)
            job = self._job(splits, seed)
            with backward_engine(resolve(self.plan.critic)):
                found = derived(Path(store), run, job)
            return Result(rows=job.rows, outcome=found.outcome, record=found.record, usage=found.usage)
        finally:
            self._put(before)

    def _splits(self, train: object, validation: object, test: object) -> Splits:
        if validation is None and test is not None:
            raise UsageError("there are test examples and none for validation: give these, or one set that is divided")
        task = self.task
        splits = (
            split(train, by=task.by, input=task.input)
            if validation is None
            else Splits(
                train=examples(train), validation=examples(validation), test=() if test is None else examples(test)
            )
        )
        columns = [each for each in (task.input, task.target, task.by) if each is not None]
        for rows in (splits.train, splits.validation, splits.test):
            files.require_columns(rows, columns)
        splits.require_disjoint(task.input, by=task.by)
        return splits

    def _job(self, splits: Splits, seed: int) -> Job:
        return assembled(
            self.task,
            self.plan,
            self.acceptance,
            splits,
            divided(self.task, splits, seed=seed),
            seed=seed,
            engines=[*judges(self.task), *self.plan.engines],
            known=self.known,
        )

    def _taken_up(self, store: Path | str | None, resume: str, budget: Budget | None) -> tuple[int, Budget]:
        """Put the variables where the run began; returns its seed, and its limits: those given, or that it had last."""
        if store is None:
            raise UsageError(f"resume={resume!r} needs the store= that keeps the run")
        if not Path(store).exists():
            raise UsageError(f"there is no store at {store}")
        parameters = self.task.program.parameters
        with Database(store) as database:
            row = runs.find(database, resume)
            starts = runs.starts(database, row.id)
            if starts and starts.keys() != parameters.keys():
                raise UsageError(
                    f"run {row.id} began with {', '.join(starts)}, and the program has {', '.join(parameters)}: resume "
                    "it with the program that it was made with"
                )
            decided = runs.settings(database, row.id).get("decides")
            if decided is None:
                raise UsageError(
                    f"run {row.id} ({row.name}) was not made by fit(): see wordgrad runs resume, and replay"
                )
            if decided != self._decides:
                raise UsageError(
                    f"run {row.id} decides by {decided}, and this trainer by {self._decides}: another rule would be a "
                    "second look at its sealed rows. Resume it with the same acceptance and guardrails, or start a run"
                )
            before = Budget(**runs.budget_of(database, row.id))
            budget = before if budget is None else budget
            if budget != before:
                runs.take_further(database, row)
        for name, text in starts.items():
            parameters[name].value = text
        return row.seed, budget

    @property
    def _decides(self) -> dict[str, JSON]:
        """The rule, and the guardrails' margins: what decides on sealed rows, beside the metrics."""
        margins = {name: each.margin for name, each in self.task.guardrails.items()}
        return {**asdict(self.acceptance), "guardrails": margins}

    @contextmanager
    def _restored(self) -> Generator[None]:
        """Put the start's texts back where something goes wrong."""
        starts = {name: each.value for name, each in self.task.program.parameters.items()}
        try:
            yield
        except BaseException:
            self._put(starts)
            raise

    def _put(self, values: Mapping[str, JSON]) -> None:
        for name, each in self.task.program.parameters.items():
            each.value = values[name]


def _require(name: str, value: object, kind: type | UnionType, wanted: str) -> None:
    """Raise UsageError where an argument is of another kind; a bool is no number."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{name}={value!r}: give {wanted}")


@contextmanager
def _resumable(run: Run, store: Path | str | None) -> Generator[None]:
    """Have an error of a run that is kept say how to go on."""
    try:
        yield
    except BaseException as error:
        if store is not None and not isinstance(error, UsageError | StoreError):
            more = " and a larger budget" if isinstance(error, BudgetExceeded) else ""
            error.add_note(f"All is kept. Go on with fit(…, store={str(store)!r}, resume={run.id!r}){more}.")
            if isinstance(error, NodeError):
                error.add_note(
                    "Where your own code has to be mended, begin anew with cache=True: it pays only for what differs."
                )
        raise


class _Stopped(BaseException):
    """The thread of a cancelled `afit()` ends."""
