"""The runs of a store: opening, listing, reading, removing."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordgrad.errors import UsageError
from wordgrad.store.database import Database, keep, kept
from wordgrad.train.review import Disagreement, Preference, Review, reviewed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run, as `runs list` shows it."""

    id: str
    name: str
    seed: int
    started_at: float
    """Seconds since 1970."""
    status: str
    """The report's, once there is one; before that "running", also of a run that was killed, or how its process ended:
    "interrupted" or "failed". All but the report's can be resumed."""
    report: Mapping[str, Any] | None
    """What `optimize --json` prints; None before the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the calls of one node for one purpose took."""

    purpose: str
    """forward, backward, optimize, judge or preflight."""
    node: str
    """Whose calls: the role of what was computed, judged or criticised; where a text was rewritten, its name.

    "" where no node made them. A request that two nodes make is one call, of the node that made it first.
    """
    model: str
    calls: int
    """Attempts, those that failed included."""
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    """None where a price is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that a run found, as it is kept."""

    run: RunRow
    steps: list[dict[str, Any]]
    """What each step did, in order."""
    versions: dict[str, list[str]]
    """Each variable's texts in order, the start first; the last one is the metric's choice: see `end`."""
    calls: list[int]
    """Calls made until the end of each step."""
    spent: list[Spent]
    """By purpose, node and model, in the order of their first calls."""
    review: Review | None
    """What people's labels say; None where nobody gave one."""
    end: Mapping[str, str]
    """The text to use of each variable: the one that labels decided for, else the metric's choice."""

    @property
    def starts(self) -> dict[str, str]:
        """The text that each variable began with."""
        return {name: texts[0] for name, texts in self.versions.items()}


def default_path() -> Path:
    """The store in the user's data folder: `$XDG_DATA_HOME/wordgrad/runs.db`."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "wordgrad" / "runs.db"


def open_run(database: Database, *, name: str, seed: int, settings: Mapping[str, Any], secret: bytes | None) -> str:
    """Start a run; returns its id. All runs of a store share one secret, so that the same prompt is the same text."""
    run = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"

    def change(connection: sqlite3.Connection) -> None:
        first = connection.execute("SELECT secret FROM runs ORDER BY started_at LIMIT 1").fetchone()
        own = secret or (first["secret"] if first else secrets.token_bytes(16))
        connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", (run, name, seed, own, time.time()))
        add_event(connection, run, "settings", settings)

    database.write(change).result()
    return run


def reopen_run(database: Database, run: str) -> RunRow:
    """Take a run up again: attempts that were sent and never answered are lost.

    Raises:
        UsageError: There is no such run.
    """
    row = find(database, run)

    def change(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE attempts SET state = 'lost' WHERE run = ? AND state = 'sent'", (row.id,))

    database.write(change).result()
    return row


def take_further(database: Database, run: RunRow) -> None:
    """Let a run that its budget ended go on under another: what the old one refused will be asked again.

    A search that is over stays so, also where its text was not measured to the end.

    Raises:
        UsageError: It has ended with a text that met the sealed rows, and no budget can take it further.
    """
    over = bool(events(database, run.id, "ending"))
    if over and run.status in {"budget", "done"}:
        raise UsageError(
            f"the search of run {run.id} is over: what it found has met the sealed rows, and a second text may not. "
            "Start another run from its text (wordgrad runs export), with validation rows that it has not seen"
        )

    def change(connection: sqlite3.Connection) -> None:
        if not over:
            connection.execute(
                "DELETE FROM events WHERE run = ? AND kind = 'affords' AND NOT json_extract(body, '$.answer')",
                (run.id,),
            )
        (first,) = connection.execute(
            "SELECT min(CAST(place AS INTEGER)) FROM places "
            "WHERE run = ? AND json_extract(error, '$.kind') IS NOT NULL",
            (run.id,),
        ).fetchone()
        if first is not None:
            forget_places(connection, run.id, first)

    database.write(change).result()


def budget_of(database: Database, run: str) -> dict[str, Any]:
    """The limits that a run had last, by kind; none where it had none."""
    before = [settings(database, run).get("budget", {}), *events(database, run, "budget")]
    return dict(before[-1])


def share_replies(database: Database, source: str, run: str) -> None:
    """Let a new run of the store have the replies of another one: they cost it nothing."""

    def change(connection: sqlite3.Connection) -> None:
        columns = [each["name"] for each in connection.execute("SELECT name FROM pragma_table_info('attempts')")]
        given = {"id": "NULL", "run": "?", "shared": "1", "run_s": "0.0"}
        chosen = ", ".join(given.get(name, name) for name in columns)
        connection.execute(
            f"INSERT INTO attempts SELECT {chosen} FROM attempts WHERE run = ? AND state = 'done' ORDER BY id",  # noqa: S608 - constants
            (run, source),
        )

    database.write(change).result()


def forget_places(connection: sqlite3.Connection, run: str, first: int) -> None:
    """Forget inside a change where calls were made, from the one with the number `first` in the run itself on.

    Not only those that failed: once one of these is answered, what follows it may be another path. Replies stay, and
    are found by their keys; so nothing is paid twice.
    """
    # A place as a number is its first part.
    connection.execute("DELETE FROM places WHERE run = ? AND CAST(place AS INTEGER) >= ?", (run, first))


def secret_of(database: Database, run: str) -> bytes:
    """What the run's fences are derived from."""
    secret: bytes = database.read("SELECT secret FROM runs WHERE id = ?", run)[0]["secret"]
    return secret


def runs(database: Database) -> list[RunRow]:
    """All runs, newest first."""
    return [_row(each) for each in database.read(f"{_SELECT} ORDER BY r.started_at DESC, r.id DESC")]


def find(database: Database, run: str) -> RunRow:
    """The run with this id, or with an id that begins so.

    Raises:
        UsageError: None, or several.
    """
    found = database.read(f"{_SELECT} WHERE substr(r.id, 1, ?) = ?", len(run), run)
    if len(found) != 1:
        known = "is not in the store" if not found else f"begins the ids of {len(found)} runs"
        raise UsageError(f"run {run!r} {known} {database.path}; see: wordgrad runs list")
    return _row(found[0])


def settings(database: Database, run: str) -> dict[str, Any]:
    """What the run was started with."""
    return events(database, run, "settings")[0]


def events(database: Database, run: str, kind: str) -> list[dict[str, Any]]:
    """The bodies of a run's events of one kind, in order."""
    rows = database.read("SELECT body FROM events WHERE run = ? AND kind = ? ORDER BY id", run, kind)
    return [json.loads(each["body"]) for each in rows]


def add_event(connection: sqlite3.Connection, run: str, kind: str, body: Mapping[str, Any]) -> None:
    """Append an event inside a change."""
    connection.execute(
        "INSERT INTO events (run, at, kind, body) VALUES (?, ?, ?, ?)", (run, time.time(), kind, json.dumps(body))
    )


def record(database: Database, run: str) -> Record:
    """All that a run found; see `find()` for its name."""
    row = find(database, run)
    return Record(
        run=row,
        steps=steps(database, row.id),
        versions=versions(database, row.id),
        calls=[each["calls"] for each in events(database, row.id, "used")],
        spent=spent(database, row.id),
        review=labelled(database, row.id),
        end=end(database, row.id),
    )


def end(database: Database, run: str) -> dict[str, str]:
    """The text to use of each variable; see `Record`.

    Versions are left as the search made them, so a run that was reviewed still replays and resumes as the same.
    """
    said = labelled(database, run)
    match said and said.decided:
        case "start":
            return starts(database, run)
        case "found":
            return candidate(database, run)
        case _:
            return {name: texts[-1] for name, texts in versions(database, run).items()}


def starts(database: Database, run: str) -> dict[str, str]:
    """The text that each variable began with."""
    return {name: texts[0] for name, texts in versions(database, run).items()}


def candidate(database: Database, run: str) -> dict[str, str]:
    """The texts that the search ended with, whatever was decided of them."""
    return dict(events(database, run, "ending")[-1]["found"])


def labelled(database: Database, run: str) -> Review | None:
    """What people's labels say of a run; None where nobody gave one."""
    return review(database, run) if labels(database, run) else None


def review(database: Database, run: str) -> Review:
    """What labels say of a run whose new text has met the sealed rows.

    Derived each time from the labels, and kept nowhere: the two cannot differ, wherever a review was interrupted.
    """
    decision = events(database, run, "decision")[-1]
    return reviewed(
        disagreements(database, run),
        labels(database, run),
        alpha=decision["alpha"],
        accepted=decision["accepted"],
        broken=[name for name, each in decision["guardrails"].items() if not each["kept"]],
    )


def disagreements(database: Database, run: str) -> list[Disagreement]:
    """The sealed rows on which start and new text differ.

    Raises:
        UsageError: No text has met the sealed rows.
    """
    met = events(database, run, "disagreements")
    if not met:
        status = find(database, run).status
        raise UsageError(f"run {run} has nothing to review: no text of it has met the sealed rows (it is {status})")
    return [Disagreement(**each) for each in met[-1]["rows"]]


def labels(database: Database, run: str) -> dict[str, Preference]:
    """The labels by row; the last one of a row holds."""
    return {each["row"]: each["preferred"] for each in events(database, run, "label")}


def spent(database: Database, run: str) -> list[Spent]:
    """What a run's calls took, by purpose, node and model, in the order of the first calls."""
    rows = database.read(
        "SELECT purpose, node, coalesce(max(model), max(engine)) AS model, count(*) AS calls, "
        "sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, "
        "CASE WHEN count(*) FILTER (WHERE state = 'done' AND cost_usd IS NULL) THEN NULL "
        "ELSE coalesce(sum(cost_usd), 0.0) END AS cost_usd "
        "FROM attempts WHERE run = ? AND NOT shared GROUP BY purpose, node, engine ORDER BY min(id)",
        run,
    )
    return [Spent(**dict(zip(each.keys(), each, strict=True))) for each in rows]


def steps(database: Database, run: str) -> list[dict[str, Any]]:
    """What each step did, in order; a resumed run notes the steps that it replays again, and the last note holds."""
    return list({each["number"]: each for each in events(database, run, "step")}.values())


def versions(database: Database, run: str) -> dict[str, list[str]]:
    """Each variable's values in order, the start first."""
    found: dict[str, list[str]] = {}
    for each in database.read(
        "SELECT v.variable, t.body FROM versions v JOIN texts t ON t.hash = v.value WHERE v.run = ? "
        "ORDER BY v.variable, v.version",
        run,
    ):
        found.setdefault(each["variable"], []).append(kept(each["body"]))
    return found


def add_versions(connection: sqlite3.Connection, run: str, version: int, values: Mapping[str, str]) -> None:
    """Keep all variables' values inside a change; the same version twice is one."""
    for variable, value in values.items():
        connection.execute(
            "INSERT INTO versions VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (run, variable, version, keep(connection, value)),
        )


def drop_versions(connection: sqlite3.Connection, run: str, first: int) -> None:
    """Forget the values of version `first` and later ones inside a change."""
    connection.execute("DELETE FROM versions WHERE run = ? AND version >= ?", (run, first))


def copy_record(source: Database, target: Database, run: str) -> None:
    """Copy into a new store what a run was told and what it was answered, without what it found."""
    rows = {
        "runs": source.read("SELECT * FROM runs WHERE id = ?", run),
        "events": source.read("SELECT * FROM events WHERE run = ? AND kind NOT IN ('step', 'end')", run),
        **{
            table: source.read(f"SELECT * FROM {table} WHERE run = ?", run)  # noqa: S608 - constants
            for table in ("attempts", "places", "results")
        },
    }
    # Read last, written first: the run may go on meanwhile, and no row may lack its text.
    texts = source.read(
        "SELECT * FROM texts WHERE hash IN (SELECT request FROM attempts WHERE run = ? UNION "
        "SELECT reply FROM attempts WHERE run = ? UNION SELECT value FROM results WHERE run = ?)",
        *(run, run, run),
    )

    def change(connection: sqlite3.Connection) -> None:
        for table, found in ({"texts": texts} | rows).items():
            for each in found:
                connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(each))})", tuple(each))  # noqa: S608

    target.write(change).result()


def remove(database: Database, run: str) -> None:
    """Delete a run, and the texts that no other run needs."""

    def change(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM runs WHERE id = ?", (run,))
        connection.execute(
            "DELETE FROM texts WHERE hash NOT IN (SELECT request FROM attempts UNION SELECT reply FROM attempts WHERE "
            "reply IS NOT NULL UNION SELECT value FROM results UNION SELECT value FROM versions)"
        )

    database.write(change).result()


_LAST = "(SELECT {1} FROM events e WHERE e.run = r.id AND e.kind = '{0}' ORDER BY e.id DESC LIMIT 1)"
_OPENED = _LAST.format("status", "e.id").replace("ORDER", "AND json_extract(body, '$.status') = 'running' ORDER")
# The report of an end from which the run went on is none.
_SELECT = (
    f"SELECT r.*, CASE WHEN {_LAST.format('end', 'e.id')} > coalesce({_OPENED}, 0) THEN {_LAST.format('end', 'body')} "  # noqa: S608 - constants
    f"END AS [end], {_LAST.format('status', 'body')} AS status FROM runs r"
)


def _row(row: sqlite3.Row) -> RunRow:
    report = None if row["end"] is None else json.loads(row["end"])
    now = {"status": "running"} if row["status"] is None else json.loads(row["status"])
    return RunRow(
        id=row["id"],
        name=row["name"],
        seed=row["seed"],
        started_at=row["started_at"],
        status=str((report or now).get("status", "done")),
        report=report,
    )
