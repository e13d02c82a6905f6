"""One run's rows, written as they happen and read when it is resumed."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from wordgrad import dispatch
from wordgrad.engines.key import body
from wordgrad.errors import EngineError, StoreError
from wordgrad.store.database import Database, keep, kept
from wordgrad.types import JSON, Completion, Engine, Index, PlaceRow, Request, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a run has used. Attempts without a reply count as calls."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cost_usd: float | None = None
    """None where a price is not known."""


@dataclass(frozen=True, slots=True)
class _Recorded:
    name: str
    source: str
    inputs: str
    value: JSON


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
        self._rows: dict[tuple[str, int], PlaceRow] = {}
        self._replies: dict[str, Completion] = {}
        self._results: dict[str, _Recorded] = {}
        self._load()

    def _load(self) -> None:
        for each in self._database.read("SELECT * FROM places WHERE run = ?", self.run):
            self._rows[each["place"], each["call"]] = PlaceRow(each["key"], _error(each["error"]))
        for each in self._database.read(
            "SELECT a.*, t.body FROM attempts a JOIN texts t ON t.hash = a.reply "
            "WHERE a.run = ? AND a.state = 'done' ORDER BY a.id",
            self.run,
        ):
            self._replies.setdefault(each["key"], _completion(each))
        for each in self._database.read(
            "SELECT r.*, t.body FROM results r JOIN texts t ON t.hash = r.value WHERE r.run = ?", self.run
        ):
            value = json.loads(kept(each["body"]))
            self._results[each["place"]] = _Recorded(each["name"], each["source"], each["inputs"], value)

    # ---- engine calls

    def row(self, index: Index, call: int) -> PlaceRow | None:
        return self._rows.get((_place(index), call))

    def reply(self, key: str) -> Completion | None:
        return self._replies.get(key)

    def shared(self, key: str) -> Completion | None:
        """Never a refusal; a cut reply only of forward text."""
        if not self._cache:
            return None
        found = self._database.read(
            "SELECT a.*, t.body FROM attempts a JOIN texts t ON t.hash = a.reply WHERE a.key = ? AND a.state = 'done' "
            "AND (a.finish = 'stop' OR (a.finish = 'length' AND a.purpose = 'forward')) ORDER BY a.id LIMIT 1",
            key,
        )
        return _completion(found[0]) if found else None

    async def sent(self, engine: Engine, request: Request, key: str) -> int:
        text = json.dumps(body(request))
        values = (engine.name, request.purpose, json.dumps(request.sample), request.template)

        def change(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO attempts (run, key, engine, purpose, sample, template, request, state, sent_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 'sent', ?)",
                (self.run, key, *values, keep(connection, text), time.time()),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

        return await dispatch.arrived(self._database.write(change))

    async def done(self, attempt: int, key: str, completion: Completion, cost_usd: float | None) -> None:
        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE attempts SET state = 'done', reply = ?, finish = ?, model = ?, input_tokens = ?, "
                "output_tokens = ?, cached_input_tokens = ?, cost_usd = ?, latency_s = ? WHERE id = ?",
                (keep(connection, completion.text), *_columns(completion, cost_usd), attempt),
            )

        await dispatch.arrived(self._database.write(change))
        self._replies.setdefault(key, completion)

    async def failed(self, attempt: int, error: BaseException) -> None:
        said = _said(error)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE attempts SET state = 'failed', error = ? WHERE id = ?", (said, attempt))

        await dispatch.arrived(self._database.write(change))

    async def joined(self, key: str, completion: Completion) -> None:
        self._replies.setdefault(key, completion)
        text = completion.text

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO attempts (run, key, engine, purpose, sample, template, request, state, reply, finish, "
                "model, cost_usd, latency_s, sent_at) SELECT ?, key, engine, purpose, sample, template, request, "
                "'done', ?, finish, model, 0, 0, ? FROM attempts WHERE key = ? AND state = 'done' LIMIT 1",
                (self.run, keep(connection, text), time.time(), key),
            )

        await dispatch.arrived(self._database.write(change))

    async def placed(self, index: Index, call: int, row: PlaceRow) -> None:
        place = _place(index)
        error = None if row.error is None else _said(row.error)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO places VALUES (?, ?, ?, ?, ?)", (self.run, place, call, row.key, error))

        await dispatch.arrived(self._database.write(change))
        self._rows[place, call] = row

    async def event(self, kind: str, **body: JSON) -> None:
        await dispatch.arrived(self._database.write(lambda connection: self.note(connection, kind, body)))

    def note(self, connection: sqlite3.Connection, kind: str, body: dict[str, Any]) -> None:
        """Append an event inside a change."""
        connection.execute(
            "INSERT INTO events (run, at, kind, body) VALUES (?, ?, ?, ?)",
            (self.run, time.time(), kind, json.dumps(body)),
        )

    # ---- results of user code

    async def recall(self, *, index: Index, name: str, source: str, inputs: str) -> tuple[JSON] | None:
        """See `RunContext.recall`."""
        found = self._results.get(_place(index))
        if found is None:
            return None
        for what, recorded, now in (
            ("function", found.name, name),
            ("source", found.source, source),
            ("inputs", found.inputs, inputs),
        ):
            if recorded != now:
                raise StoreError(
                    f"run {self.run}: the program changed: the call {_place(index)!r} of {name} was recorded with "
                    f"another {what} ({recorded[:40]!r}, now {now[:40]!r}). Resume it with the program that made it, "
                    "or start a new run"
                )
        return (found.value,)

    async def record(self, *, index: Index, name: str, source: str, inputs: str, value: JSON) -> None:
        """See `RunContext.record`."""
        place = _place(index)
        text = json.dumps(value)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?)",
                (self.run, place, name, source, inputs, keep(connection, text)),
            )

        await dispatch.arrived(self._database.write(change))
        self._results[place] = _Recorded(name, source, inputs, value)

    # ---- totals

    def totals(self) -> Totals:
        """What the run has used, resumed parts included."""
        found = self._database.read(
            "SELECT count(*) FILTER (WHERE latency_s IS NULL OR latency_s > 0 OR input_tokens > 0) AS calls, "
            "coalesce(sum(input_tokens), 0) AS input, coalesce(sum(output_tokens), 0) AS output, "
            "coalesce(sum(cached_input_tokens), 0) AS cached, "
            "sum(cost_usd) AS cost, count(*) FILTER (WHERE state = 'done' AND cost_usd IS NULL) AS unpriced "
            "FROM attempts WHERE run = ?",
            self.run,
        )[0]
        return Totals(
            calls=found["calls"],
            input_tokens=found["input"],
            output_tokens=found["output"],
            cached_input_tokens=found["cached"],
            cost_usd=None if found["unpriced"] else found["cost"] or 0.0,
        )


def _place(index: Index) -> str:
    return ".".join(map(str, index))


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


def _said(error: BaseException) -> str:
    facts: dict[str, Any] = {"message": f"{error}" or type(error).__name__}
    if isinstance(error, EngineError):
        facts |= {"retryable": error.retryable, "status": error.status, "request_id": error.request_id}
    return json.dumps(facts)


def _error(said: str | None) -> EngineError | None:
    if said is None:
        return None
    facts = json.loads(said)
    return EngineError(
        facts["message"],
        retryable=bool(facts.get("retryable")),
        status=facts.get("status"),
        request_id=facts.get("request_id"),
    )
