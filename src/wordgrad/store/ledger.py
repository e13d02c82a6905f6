"""One run's engine calls and events, written as they happen and read when it is resumed."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from wordgrad import dispatch
from wordgrad.engines.key import body
from wordgrad.errors import BudgetExceeded, EngineError
from wordgrad.store.database import Database, keep, kept
from wordgrad.store.runs import add_event, events, forget_places
from wordgrad.types import JSON, Completion, Engine, Index, PlaceRow, Request, Usage

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a run has used. Attempts without a reply count as calls, replies of other runs as nothing."""

    calls: int = 0
    answered: int = 0
    """Of them, those that got a reply."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cost_usd: float | None = None
    """None where a price is not known."""
    seconds: float = 0.0
    """The time between an interruption and its resumption left out."""


class RunLedger:
    """Implements `wordgrad.types.Ledger` on a `Database`.

    What was read at the start and written since is kept in memory: no call waits for a read.

    Args:
        database: Where the rows are.
        run: The run's id; its row exists.
        cache: Whether replies of other runs may be used.
    """

    def __init__(self, database: Database, run: str, *, cache: bool) -> None:
        self._database = database
        self.run = run
        self._cache = cache
        self._rows: dict[tuple[Index, int], PlaceRow] = {}
        self._read: set[tuple[Index, int]] = set()
        self._replies: dict[str, Completion] = {}
        self._earlier: dict[str, deque[tuple[int, EngineError]]] = defaultdict(deque)
        self._last: dict[str, int] = {}
        """Each key's last attempt that a place of this session can have seen the end of."""
        self._broken: BaseException | None = None
        """Why the first change that failed did."""
        self._started = time.monotonic() - self._load()

    def _load(self) -> float:
        """Read what the run did before; returns how many seconds it took."""
        used: dict[str, int] = defaultdict(int)
        for each in self._database.read("SELECT * FROM places WHERE run = ?", self.run):
            self._rows[_index(each["place"]), each["call"]] = PlaceRow(each["key"], _error(each["error"]))
            used[each["key"]] = max(used[each["key"]], each["attempt"] or 0)
        void = max((each["attempts"] for each in events(self._database, self.run, "failed")), default=0)
        seconds = 0.0
        for each in self._database.read(
            "SELECT a.*, t.body FROM attempts a LEFT JOIN texts t ON t.hash = a.reply WHERE a.run = ? ORDER BY a.id",
            self.run,
        ):
            key, attempt = each["key"], each["id"]
            seconds = max(seconds, each["run_s"])
            if each["state"] == "done":
                self._replies.setdefault(key, _completion(each))
                self._last.setdefault(key, attempt)
            elif each["state"] == "failed" and attempt > max(used[key], void):
                error = _error(each["error"])
                assert isinstance(error, EngineError), "what an engine raised"
                self._earlier[key].append((attempt, error))
        return seconds

    def seconds(self) -> float:
        """How long the run has taken, up to its last attempt before an interruption and since it was resumed."""
        return time.monotonic() - self._started

    # ---- engine calls

    def row(self, index: Index, call: int) -> PlaceRow | None:
        found = self._rows.get((index, call))
        if found is not None:
            self._read.add((index, call))
        return found

    @property
    def reread(self) -> tuple[int, int]:
        """How many of the recorded calls were asked for since the run was opened, and how many there are."""
        return len(self._read), len(self._rows)

    def reply(self, key: str) -> Completion | None:
        return self._replies.get(key)

    def earlier(self, key: str) -> EngineError | None:
        if not self._earlier[key]:
            return None
        self._last[key], error = self._earlier[key].popleft()
        return error

    async def shared(self, key: str, request: Request) -> Completion | None:
        """Never a refusal; a cut reply only where it is a value: forward text."""
        if not self._cache:
            return None
        finishes = "stop length" if request.purpose == "forward" and request.schema is None else "stop"
        found = self._database.read(
            "SELECT a.*, t.body FROM attempts a JOIN texts t ON t.hash = a.reply "
            "WHERE a.key = ? AND a.state = 'done' AND instr(?, a.finish) ORDER BY a.id LIMIT 1",
            key,
            finishes,
        )
        if not found:
            return None
        completion = _completion(found[0])
        columns = (
            "key, engine, purpose, sample, template, request, state, reply, finish, model, input_tokens, "
            "output_tokens, cached_input_tokens, cost_usd, latency_s"
        )

        def change(connection: sqlite3.Connection) -> int:
            copied = connection.execute(
                f"INSERT INTO attempts (run, shared, sent_at, run_s, node, {columns}) "  # noqa: S608 - constants
                f"SELECT ?, 1, ?, ?, ?, {columns} FROM attempts WHERE id = ?",
                (self.run, time.time(), self.seconds(), _encodable(request.node), found[0]["id"]),
            )
            assert copied.lastrowid is not None
            return copied.lastrowid

        await self._commit(change, lambda attempt: self._settled(attempt, key, completion))
        return completion

    async def sent(self, engine: Engine, request: Request, key: str) -> int:
        text = json.dumps(body(request))
        values = (engine.name, request.purpose, _encodable(request.node), json.dumps(request.sample), request.template)

        def change(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO attempts "
                "(run, key, engine, purpose, node, sample, template, request, sent_at, run_s, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'sent')",
                (self.run, key, *values, keep(connection, text), time.time(), self.seconds()),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

        return await self._commit(change)

    def done(self, attempt: int, key: str, completion: Completion, cost_usd: float | None) -> None:
        seconds = self.seconds()

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE attempts SET state = 'done', reply = ?, finish = ?, model = ?, input_tokens = ?, "
                "output_tokens = ?, cached_input_tokens = ?, cost_usd = ?, latency_s = ?, run_s = ? WHERE id = ?",
                (keep(connection, completion.text), *_columns(completion, cost_usd), seconds, attempt),
            )

        self._write(change)
        self._settled(attempt, key, completion)

    def failed(self, attempt: int, key: str, error: EngineError) -> None:
        values = (_said(error), self.seconds(), attempt)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE attempts SET state = 'failed', error = ?, run_s = ? WHERE id = ?", values)

        self._write(change)
        self._settled(attempt, key, None)

    async def placed(self, index: Index, call: int, row: PlaceRow) -> None:
        said = None if row.error is None else _said(row.error)
        values = (self.run, place_of(index), call, row.key, self._last.get(row.key), said)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO places VALUES (?, ?, ?, ?, ?, ?)", values)

        def known(_: None) -> None:
            self._rows[index, call] = row

        await self._commit(change, known)

    async def event(self, kind: str, **body: JSON) -> None:
        await self._commit(lambda connection: add_event(connection, self.run, kind, body))

    def forgetting(self, error: BaseException) -> Callable[[sqlite3.Connection], None]:
        """The change that lets a resumed run ask again what ended this one: an outage is over by then.

        It must be the last one: what a call that is still out wrote after it would be taken for the resumed run's own.

        What the program did before the call made in the run itself where `error` came up stays, errors included: which
        of them it had read is not known. From there on places are forgotten: of calls that were out together, which
        failed first is chance.

        Args:
            error: What the program ended with. Nothing changes unless a place's error stands in its chain.
        """
        chain = list(_chain(error))
        firsts = [index[:1] for (index, _), row in list(self._rows.items()) if any(row.error is each for each in chain)]

        def change(connection: sqlite3.Connection) -> None:
            if firsts:
                (first,) = min(firsts) or (0,)
                forget_places(connection, self.run, first)
                known = connection.execute("SELECT max(id) FROM attempts WHERE run = ?", (self.run,)).fetchone()[0]
                add_event(connection, self.run, "failed", {"error": f"{error}", "from": first, "attempts": known or 0})

        return change

    def _settled(self, attempt: int, key: str, completion: Completion | None) -> None:
        self._last[key] = attempt
        if completion is not None:
            self._replies.setdefault(key, completion)

    async def _commit(
        self, change: Callable[[sqlite3.Connection], T], known: Callable[[T], None] = lambda _: None
    ) -> T:
        """Make a change, and wait; `known` lets memory follow the file, even if the caller is cancelled meanwhile."""
        return await dispatch.arrived(self._write(change, known))

    def _write(
        self, change: Callable[[sqlite3.Connection], T], known: Callable[[T], None] = lambda _: None
    ) -> Future[T]:
        """Have a change made, unless one before it failed: a record with a hole in it could not be replayed."""

        def unbroken(connection: sqlite3.Connection) -> T:
            if self._broken is not None:
                raise self._broken
            return change(connection)

        def ended(committed: Future[T]) -> None:
            error = committed.exception()
            if error is None:
                known(committed.result())
            else:
                self._broken = self._broken or error

        committed = self._database.write(unbroken)
        committed.add_done_callback(ended)
        return committed

    # ---- totals

    def totals(self) -> Totals:
        """What the run has used, resumed parts included."""
        found = self._database.read(
            "SELECT count(*) AS calls, count(*) FILTER (WHERE state = 'done') AS answered, "
            "coalesce(sum(input_tokens), 0) AS input, coalesce(sum(output_tokens), 0) AS output, "
            "coalesce(sum(cached_input_tokens), 0) AS cached, "
            "sum(cost_usd) AS cost, count(*) FILTER (WHERE state = 'done' AND cost_usd IS NULL) AS unpriced "
            "FROM attempts WHERE run = ? AND NOT shared",
            self.run,
        )[0]
        return Totals(
            calls=found["calls"],
            answered=found["answered"],
            input_tokens=found["input"],
            output_tokens=found["output"],
            cached_input_tokens=found["cached"],
            cost_usd=None if found["unpriced"] else found["cost"] or 0.0,
            seconds=self.seconds(),
        )


def _encodable(name: str) -> str:
    """A lone surrogate, which has no UTF-8 form, as its escape."""
    return name.encode("utf-8", "backslashreplace").decode()


def place_of(index: Index) -> str:
    """A call's index as the store writes it."""
    return ".".join(map(str, index))


def _index(place: str) -> Index:
    return tuple(map(int, place.split("."))) if place else ()


def _columns(completion: Completion, cost_usd: float | None) -> tuple[Any, ...]:
    usage = completion.usage
    return (
        completion.finish,
        completion.model,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        cost_usd,
        completion.latency_s,
    )


def _completion(row: sqlite3.Row) -> Completion:
    return Completion(
        text=kept(row["body"]),
        finish=row["finish"],
        usage=Usage(
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            cached_input_tokens=row["cached_input_tokens"],
        ),
        model=row["model"] or "",
        latency_s=row["latency_s"] or 0.0,
    )


def _said(error: EngineError | BudgetExceeded) -> str:
    if isinstance(error, BudgetExceeded):
        facts = {"kind": error.kind, "spent": error.spent, "limit": error.limit}
    else:
        facts = {
            "retryable": error.retryable,
            "status": error.status,
            "request_id": error.request_id,
            "retry_after_s": error.retry_after_s,
        }
    return json.dumps({"message": f"{error}", **facts})


def _error(said: str | None) -> EngineError | BudgetExceeded | None:
    if said is None:
        return None
    facts = json.loads(said)
    return (BudgetExceeded if "kind" in facts else EngineError)(facts.pop("message"), **facts)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and all that led to it."""
    stack, seen = [error], {id(error)}
    while stack:
        each = stack.pop()
        yield each
        members = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        for led in (each.__cause__, each.__context__, *members):
            if led is not None and id(led) not in seen:
                seen.add(id(led))
                stack.append(led)
