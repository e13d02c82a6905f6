"""A run: its store, its engines, and its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Token
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Self

from wordgrad import context, dispatch
from wordgrad.context import Body
from wordgrad.engines.budgeted import Budget, Meter
from wordgrad.engines.cached import Flight
from wordgrad.engines.stack import recorded, replayed
from wordgrad.errors import StoreError, UsageError
from wordgrad.store import runs
from wordgrad.store.database import MEMORY, Database
from wordgrad.store.ledger import RunLedger, Totals
from wordgrad.store.results import Results
from wordgrad.types import JSON, Engine, Index, RunContext


class Run:
    """What makes calls reproducible: a ledger, a seed and limits for all that is called inside the `with`.

    Inside a run the same request has one reply, and a run that was interrupted goes on where it was: `resume=` replays
    what it had done, without a call.

    Args:
        store: The file that keeps it; None keeps it in memory.
        seed: Of all that is random.
        budget: Limits on calls, tokens, money and seconds.
        cache: Use whole replies that earlier runs of the store got, and results of the same functions on the same
            inputs: of several such calls the n-th has what the n-th had.
        name: What lists call it.
        settings: Plain JSON kept with the run.
        resume: The id of a run in `store` to go on with; its seed, name and settings hold.
        secret: What fences are derived from; by default the store's own, which nobody can guess.
        replies_of: The id of another run in `store` whose replies a new one has, at no cost.
    """

    def __init__(
        self,
        store: Path | str | None = None,
        *,
        seed: int = 0,
        budget: Budget | None = None,
        cache: bool = False,
        name: str = "run",
        settings: Mapping[str, Any] | None = None,
        resume: str | None = None,
        secret: bytes | None = None,
        replies_of: str | None = None,
    ) -> None:
        if resume is not None and store is None:
            raise UsageError(f"resume={resume!r} needs the store= that keeps the run")
        self.budget = budget or Budget()
        self._database = self._opened(store, resume)
        self._report: Mapping[str, Any] | None = None
        """What the run had ended with when it was resumed, until it ends anew."""
        try:
            if resume is None:
                self.id = runs.open_run(self._database, name=name, seed=seed, settings=settings or {}, secret=secret)
                self.seed = seed
                if replies_of is not None:
                    runs.share_replies(self._database, replies_of, self.id)
            else:
                row = runs.reopen_run(self._database, resume)
                self.id, self.seed, self._report = row.id, row.seed, row.report
            self.secret = runs.secret_of(self._database, self.id)
            self._ledger = RunLedger(self._database, self.id, cache=cache)
            self._results = Results(self._database, self.id, cache=cache)
            self._meter = _meter(self.budget, self._ledger)
            if resume is not None:
                self.note("status", {"status": "running"})
        except BaseException:
            self._database.close()
            raise
        self._answers = [each["answer"] for each in self.noted("affords")]
        """What `affords` said before the run was interrupted, in order."""
        self._asked = 0
        self._used: Totals | None = None
        """At the end."""
        self._flights: dict[str, Flight] = {}
        self._engines: dict[int, tuple[Engine, Engine]] = {}
        self._tokens: tuple[Token[RunContext | None], Token[Body]] | None = None

    def __enter__(self) -> Self:
        self._tokens = (context.run.set(self), context.body.set(Body(owner=dispatch.here())))
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        assert self._tokens is not None, "entered before"
        context.run.reset(self._tokens[0])
        context.body.reset(self._tokens[1])
        self._tokens = None
        try:
            self._used = self._ledger.totals()
        finally:
            self._database.close(None if error is None else self._ended_by(error))

    def _ended_by(self, error: BaseException) -> Callable[[Connection], None]:
        """The run's status and what lets it be resumed, in one change: a kill between the two would part them.

        A run that had ended stays as it was where it is resumed with another program, other settings or other data.
        """
        forget, report = self._ledger.forgetting(error), self._report
        status = {"status": "failed" if isinstance(error, Exception) else "interrupted"}

        def change(connection: Connection) -> None:
            if report is not None and isinstance(error, StoreError | UsageError):
                runs.add_event(connection, self.id, "end", report)
                return
            runs.add_event(connection, self.id, "status", status)
            forget(connection)

        return change

    # ---- what the graph asks (RunContext)

    def wrap(self, engine: Engine) -> Engine:
        """The engine with replay, cache, retries, budget, limits and ledger around it; one for each engine."""
        found = self._engines.get(id(engine))
        if found is None:
            # The engine is kept beside its stack: an id is of use only while its object lives.
            found = self._engines[id(engine)] = (engine, self._stack(engine))
        return found[1]

    def _opened(self, store: Path | str | None, run: str | None) -> Database:
        return Database(MEMORY if store is None else store)

    def _stack(self, engine: Engine) -> Engine:
        return recorded(engine, self._ledger, self._meter, self._flights)

    async def recall(self, *, index: Index, name: str, source: str, inputs: str) -> tuple[JSON] | None:
        """The recorded result of an impure function; see `RunContext`."""
        return await self._results.recall(index=index, name=name, source=source, inputs=inputs)

    async def record(self, *, index: Index, name: str, source: str, inputs: str, value: JSON) -> None:
        """Keep the result of an impure function; see `RunContext`."""
        await self._results.record(index=index, name=name, source=source, inputs=inputs, value=value)

    # ---- what its owner asks

    @property
    def usage(self) -> Totals:
        """What the run has used, resumed parts included."""
        return self._used or self._ledger.totals()

    def affords(self, calls: int) -> bool:
        """Whether the budget has room for so many more calls, each at what calls took so far.

        A resumed run takes the recorded answers, in order: asked again, the budget would count what came after.
        """
        self._asked += 1
        if self._asked <= len(self._answers):
            return bool(self._answers[self._asked - 1])
        answer = self._meter.affords(calls)
        self.note("affords", {"calls": calls, "answer": answer})
        return answer

    @property
    def reserved(self) -> Mapping[str, float]:
        """The most tokens and dollars that one call has reserved; 0 where neither is limited, or nothing was asked."""
        return dict(self._meter.largest)

    def limit(self, budget: Budget) -> None:
        """Hold other limits from here on; what was spent stays spent."""
        self.budget = self._meter.budget = budget

    def noted(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind, in order, those before an interruption included."""
        return runs.events(self._database, self.id, kind)

    def note(self, kind: str, body: Mapping[str, Any]) -> None:
        """Append an event."""
        if kind == "end":
            self._report = None
        self._database.write(lambda connection: runs.add_event(connection, self.id, kind, body)).result()

    def found(self) -> runs.Record:
        """All that was found so far, as it is kept."""
        return runs.record(self._database, self.id)

    def keep_only(self, versions: int) -> None:
        """Forget versions from this number on."""
        self._database.write(lambda connection: runs.drop_versions(connection, self.id, versions)).result()

    def keep(self, version: int, values: Mapping[str, str]) -> None:
        """Keep the variables' values, all or none; version 0 is the start."""
        self._database.write(lambda connection: runs.add_versions(connection, self.id, version, values)).result()


class Replay(Run):
    """A run derived once more from its record: no engine is asked, and its store is only read.

    What it finds is kept in memory. Code of the user's own whose result was recorded is not called; a call of it that
    raised has no record, and is made again.

    Args:
        store: The file that keeps it.
        run: Its id.
    """

    def __init__(self, store: Path, run: str) -> None:
        super().__init__(store, resume=run)

    def _opened(self, store: Path | str | None, run: str | None) -> Database:
        assert store is not None and run is not None, "both are given"  # noqa: PT018 - one fact
        memory = Database(MEMORY)
        try:
            with Database(store) as database:
                runs.copy_record(database, memory, runs.find(database, run).id)
        except BaseException:
            memory.close()
            raise
        return memory

    def _stack(self, engine: Engine) -> Engine:
        return replayed(engine, self._ledger)

    async def record(self, *, index: Index, name: str, source: str, inputs: str, value: JSON) -> None:
        """Refuse: the run has the results of all impure functions that it called."""
        place = ".".join(map(str, index))
        raise StoreError(
            f"the program changed: {name} is called at {place}, and the run recorded no result of it there. Replay it "
            "with the program, the data and the settings that made it"
        )

    @property
    def calls(self) -> tuple[int, int]:
        """Engine calls derived so far, each word for word as it was recorded, and all recorded ones."""
        return self._ledger.reread


def _meter(budget: Budget, ledger: RunLedger) -> Meter:
    spent = ledger.totals()
    if budget.usd is not None and spent.cost_usd is None:
        raise UsageError(
            f"run {ledger.run} asked models whose price is not known, so a budget in US dollars cannot hold: limit "
            "calls, tokens or seconds"
        )
    return Meter(
        budget,
        clock=ledger.seconds,
        calls=spent.calls,
        tokens=spent.input_tokens + spent.output_tokens,
        usd=spent.cost_usd or 0.0,
    )


__all__ = ["Budget", "Replay", "Run", "Totals"]
