"""The file: opening, migrating, and one writer whose commits are groups."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Self, TypeVar

from wordgrad.errors import StoreError

T = TypeVar("T")

MEMORY = ":memory:"
_BUSY_S = 30.0
_GROUP = 1_000
"""Changes in one commit, at most."""
_GROUP_S = 0.003
"""How long the first change of a commit waits for others to join it."""


class Database:
    """One SQLite file in WAL mode, or one in memory. Safe from any thread; two processes may write at once.

    Use it in a `with`, or close it: the end commits what is waiting.

    Args:
        path: The file, made with mode 0600 where it is missing, as its folders with 0700; or `MEMORY`.

    Raises:
        StoreError: It cannot be opened, is no store, or a newer wordgrad wrote it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._pid = os.getpid()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._open = threading.Lock()
        with _named(path):
            if path != MEMORY:
                _create(Path(path))
            writing = _Guarded(_migrated(path))
            # A file is read through a connection of its own: no reader waits for a commit.
            self._reading = writing if path == MEMORY else _Guarded(_connected(path))
        writer = _Writer(path=path, writing=writing, reading=self._reading, jobs=self._jobs)
        # One that nobody closes, because Ctrl-C came before its `with`, ends with its object: the thread has no
        # reference to it.
        self._end = weakref.finalize(self, self._jobs.put, None)
        self._end.atexit = False
        self._thread = threading.Thread(target=writer.run, name="wordgrad-store", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, change: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Have `change` made in the next group; the future is done once that is committed.

        A change that fails is taken back alone, and its future fails with it.

        Raises:
            StoreError: The store is closed.
        """
        job = _Job(change)
        self._check_process()
        with self._open:
            self._check_open()
            self._jobs.put(job)
        return job.future

    def read(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:  # noqa: ANN401 - what SQLite takes
        """The rows of a query."""
        self._check_process()
        self._check_open()
        with self._reading.lock, _named(self.path):
            return self._reading.connection.execute(sql, parameters).fetchall()

    def _check_process(self) -> None:
        # Before any lock: a child has no writer, and a lock that another thread held at the fork is never let go there.
        if os.getpid() != self._pid:
            raise StoreError(
                f"the run that keeps its calls in {self.path} is that of the process which forked this one: open a Run "
                "of its own here"
            )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(
                f"the run that kept its calls in {self.path} has ended: read what it computes inside its `with`"
            )

    def close(self, last: Callable[[sqlite3.Connection], object] | None = None) -> None:
        """Commit what is waiting, then `last`, after which nothing is written, and close the file.

        Raises:
            StoreError: `last` cannot be made, or comes after the end.
        """
        job = None if last is None else _Job(last)
        if job is not None:
            self._check_process()
        with self._open:
            if job is not None:
                self._check_open()
                self._jobs.put(job)
            self._closed = True
            self._end()
        self._thread.join()
        if job is not None:
            job.future.result()


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A connection, and the lock of who uses it."""

    connection: sqlite3.Connection
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        with self.lock:
            self.connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """Commits changes in groups, until it is told to end; then it closes the connections."""

    path: Path | str
    writing: _Guarded
    reading: _Guarded
    jobs: queue.SimpleQueue[_Job | None]

    def run(self) -> None:
        """Until None is among the jobs."""
        # No variable here: while it waits for the next group it would keep the last one's changes, and their database.
        while self._write(self._next_group()):
            pass
        self.reading.close()
        self.writing.close()

    def _next_group(self) -> list[_Job | None]:
        """What comes within a few milliseconds; None is the last, where it is there."""
        group = [self.jobs.get()]
        # It sleeps, and is not woken by each change that comes: that would stop whoever makes them, each time.
        time.sleep(_GROUP_S)
        with contextlib.suppress(queue.Empty):
            while len(group) < _GROUP and group[-1] is not None:
                group.append(self.jobs.get_nowait())
        return group

    def _write(self, group: list[_Job | None]) -> bool:
        """Whether more may come."""
        jobs = [job for job in group if job is not None]
        if jobs:
            self._commit(jobs)
        return group[-1] is not None

    def _commit(self, group: list[_Job]) -> None:
        try:
            outcomes = self._made(group)
        except Exception as error:  # noqa: BLE001 - whoever waits for the group must hear of it
            if len(group) > 1 and not isinstance(error.__cause__, sqlite3.OperationalError):
                # A change that cannot be made must not undo those of other calls.
                for job in group:
                    self._commit([job])
                return
            for job in group:
                job.future.set_exception(error)
        else:
            for job, outcome in zip(group, outcomes, strict=True):
                job.future.set_result(outcome)

    def _made(self, group: list[_Job]) -> list[Any]:
        """Make the changes, all or none."""
        connection = self.writing.connection
        with self.writing.lock, _named(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                outcomes = [job.change(connection) for job in group]
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return outcomes


@dataclass(frozen=True, slots=True)
class _Job:
    """One change of a group, and who waits for what comes of it."""

    change: Callable[[sqlite3.Connection], Any]
    future: Future[Any] = field(default_factory=Future)


def keep(connection: sqlite3.Connection, text: str) -> str:
    """Store a text once, as a JSON string (a lone surrogate has no UTF-8 form); returns its hash."""
    body = json.dumps(text)
    digest = hashlib.sha256(body.encode()).hexdigest()
    connection.execute("INSERT INTO texts VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, body))
    return digest


def kept(body: str) -> str:
    """The text that `keep` stored."""
    text: str = json.loads(body)
    return text


def _create(file: Path) -> None:
    """Make what is missing of the file and its folders, for their owner alone."""
    missing = [each for each in file.parents if not each.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    file.touch(mode=0o600)


def _connected(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def _migrated(path: Path | str) -> sqlite3.Connection:
    connection = _connected(path)
    try:
        _use_wal(connection)
        connection.executescript("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    # Of two that make one file at the same moment SQLite refuses one at once, whatever its timeout: both want the
    # exclusive lock that the change of mode takes.
    latest = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= latest:
                raise
            time.sleep(_GROUP_S)
        else:
            return


def _migrate(connection: sqlite3.Connection, path: Path | str) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    steps = sorted(
        (each for each in files("wordgrad.store").joinpath("migrations").iterdir() if each.name.endswith(".sql")),
        key=lambda each: each.name,
    )
    if found > len(steps):
        raise StoreError(
            f"the store {path} was written by a newer wordgrad (schema {found}, this one knows {len(steps)}): upgrade "
            "wordgrad, or name another store with --store"
        )
    if found == len(steps):
        return
    # What fails is taken back when the connection is closed.
    connection.execute("BEGIN IMMEDIATE")
    # Read again: another process may have migrated the file while this one waited for it.
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    for step in steps[found:]:
        for statement in step.read_text(encoding="utf-8").split(";\n"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {max(found, len(steps))}")
    connection.execute("COMMIT")


@contextmanager
def _named(path: Path | str) -> Generator[None]:
    """SQLite's errors with the file that they are about, and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "disk is full" in text or "disk I/O" in text:
            advice = "the disk is full; free some space and resume the run: what was committed is still there"
        elif "readonly" in text:
            advice = "it cannot be written; change its permissions, or name another store with --store"
        elif "not a database" in text or "malformed" in text:
            advice = "the file is damaged or no store; move it away, or name another one with --store"
        elif "unable to open" in text:
            advice = "a folder stands there, or it may not be read; name another store with --store"
        elif "locked" in text:
            advice = f"another process held it for more than {_BUSY_S:.0f} s; try again when that is done"
        elif "UNIQUE constraint failed: places" in text:
            advice = "another process goes on with the same run; let one of the two end"
        else:
            advice = "see the message"
        raise StoreError(f"the store {path}: {text}: {advice}") from error
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror}") from error
