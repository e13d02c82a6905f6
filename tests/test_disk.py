"""A store whose disk is full, or whose file somebody else holds: a clear error, and what was committed stays."""

from __future__ import annotations

import random
import sqlite3
import threading
from pathlib import Path

import pytest

from project import Project, Pupil, answered, found, project
from stored import rows
from wordgrad.store.database import Database
from wordgrad.testing import FakeServer, Reply
from wordgrad.types import Request

__all__ = ["project"]

LIMIT_S = 60
PLACES = "SELECT * FROM places"
"""Each call with its reply, as a run that goes on will read them."""
_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from wordgrad.cli import main
main()
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(8))
def test_a_disk_that_is_full_at_any_write(project: Project, tmp_path: Path, seed: int) -> None:
    """The job ends with what to do, and when there is room it goes on to the end of a job that had it all along."""
    calm = tmp_path / "calm.db"
    with FakeServer(answered) as server, Database(calm), Database(project.store):
        project.served(server.address)
        whole = found(project.run("optimize", project.config, "--json", "--store", calm)[1])
        # The log of changes stays while somebody has the file open: it is what grows until the disk is full.
        # Not to its end: how many commits there are, and so how long it gets, depends on what happens at once.
        room = random.Random(seed).randrange(100_000, (tmp_path / "calm.db-wal").stat().st_size * 4 // 10)
        with project.spawned(room, "optimize", project.config, "--json", program=_LIMITED) as child:
            _, err = child.communicate(timeout=LIMIT_S)
        before = set(rows(project.store, PLACES))
        begun = [run for (run,) in rows(project.store, "SELECT id FROM runs")]

        again = ["runs", "resume", *begun] if begun else ["optimize", project.config]
        code, said, _ = project.run(*again, "--json")

    assert child.returncode == 1
    assert "free some space and resume the run: what was committed is still there" in err
    assert (code, found(said)) == (0, whole)
    assert before <= set(rows(project.store, PLACES))


class Locking(Pupil):
    """Takes the store's lock at one of its calls, as another program may, and lets it go after a while, or never."""

    def __init__(self, store: Path, *, call: int, held_s: float | None) -> None:
        super().__init__()
        self._left = call
        self._other = sqlite3.connect(store, isolation_level=None, check_same_thread=False)
        self._held_s = held_s

    def said(self, request: Request) -> Reply:
        """The pupil's reply."""
        self._left -= 1
        if self._left == 0:
            self._other.execute("BEGIN IMMEDIATE")
            if self._held_s is not None:
                threading.Timer(self._held_s, self.let_go).start()
        return super().said(request)

    def let_go(self) -> None:
        """Give the lock back."""
        self._other.execute("ROLLBACK")
        self._other.close()


def test_a_store_that_is_held_for_a_moment_is_waited_for(project: Project) -> None:
    """A backup, or another run's commit, holds a run up and does not end it."""
    whole = found(project.run("optimize", project.config, "--json", "--store", project.folder / "calm.db")[1])
    with Database(project.store):
        pass
    project.engine(Locking(project.store, call=9, held_s=0.5))

    code, said, _ = project.run("optimize", project.config, "--json")

    assert (code, found(said)) == (0, whole)


def test_a_store_that_is_held_too_long_ends_the_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says that another process held the file, and for how long; the run can be resumed."""
    monkeypatch.setattr("wordgrad.store.database._BUSY_S", 1.0)
    whole = found(project.run("optimize", project.config, "--json", "--store", project.folder / "calm.db")[1])
    with Database(project.store):
        pass
    engine = Locking(project.store, call=9, held_s=None)
    project.engine(engine)
    code, _, err = project.run("optimize", project.config, "--json")
    before = set(rows(project.store, PLACES))
    engine.let_go()
    project.engine(Pupil())

    again = project.run("runs", "resume", rows(project.store, "SELECT id FROM runs")[0][0], "--json")

    assert code == 1
    assert "another process held it for more than 1 s; try again when that is done" in err
    assert (again[0], found(again[1])) == (0, whole)
    assert before <= set(rows(project.store, PLACES))
