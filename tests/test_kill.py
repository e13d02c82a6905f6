"""SIGKILL at random moments of the main job: the resumed run ends as one that nobody killed, and pays for nothing twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from project import Project, answered, found, project
from stored import rows
from wordgrad.store.database import Database
from wordgrad.testing.server import Body, FakeServer

__all__ = ["project"]

LIMIT_S = 60
KILLS = 5
"""Of each run; the tests below make 50 in all, and some more where two runs share a store."""


class Killer:
    """Answers as the pupil does, and kills processes some milliseconds after a number of requests."""

    def __init__(self) -> None:
        self._targets: tuple[subprocess.Popen[str], ...] = ()
        self._left = 0
        self._delay_s = 0.0
        self._lock = threading.Lock()

    def aim(self, *targets: subprocess.Popen[str], after: int, delay_s: float) -> None:
        """Kill all of these, so long after so many requests."""
        with self._lock:
            self._targets, self._left, self._delay_s = targets, after, delay_s

    def __call__(self, body: Body) -> str:
        """One request's answer."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                for each in self._targets:
                    if self._delay_s:
                        threading.Timer(self._delay_s, each.kill).start()
                    else:
                        each.kill()
        return answered(body)


def kept(store: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What the graph may have seen: each call's place, each function's result, each reply."""
    return {
        "places": rows(store, "SELECT * FROM places"),
        "results": rows(store, "SELECT * FROM results"),
        "replies": rows(store, "SELECT id, run, key, reply FROM attempts WHERE state = 'done'"),
    }


def calm_run(project: Project, server: FakeServer) -> tuple[dict[str, Any], int]:
    """What a job that nobody kills finds, in a store of its own, and its number of calls; the server forgets them."""
    said = project.run("optimize", project.config, "--json", "--store", project.folder / "calm.db")[1]
    calls = len(server.requests)
    server.requests.clear()
    return found(said), calls


def unsettled(store: Path) -> list[tuple[Any, ...]]:
    """Attempts that are neither done nor lost, and keys of a run that were answered twice."""
    odd = rows(store, "SELECT id, state FROM attempts WHERE state NOT IN ('done', 'lost')")
    twice = "SELECT run, key FROM attempts WHERE state = 'done' GROUP BY run, key HAVING count(*) > 1"
    return odd + rows(store, twice)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(10))
def test_a_killed_run_ends_as_a_calm_one(project: Project, seed: int) -> None:
    """Its values are those of the calm run, what the graph had seen stays, and only lost attempts are sent again."""
    rng, killer = random.Random(seed), Killer()
    with FakeServer(killer) as server:
        project.served(server.address)
        calm, calls = calm_run(project, server)
        arguments, seen = ["optimize", project.config], []
        for _ in range(KILLS):
            with project.spawned(*arguments) as child:
                killer.aim(
                    child, after=rng.randint(1, calls // KILLS - 1), delay_s=rng.choice([0, 0.02 * rng.random()])
                )
                child.wait(LIMIT_S)
            assert child.returncode == -signal.SIGKILL
            seen.append(kept(project.store))
            arguments = ["runs", "resume", *rows(project.store, "SELECT id FROM runs")[0]]
        ended = found(project.run(*arguments, "--json")[1])

    final = kept(project.store)
    attempts, lost = rows(project.store, "SELECT count(*), sum(state = 'lost') FROM attempts")[0]
    assert (ended, unsettled(project.store)) == (calm, [])
    assert all(set(each[name]) <= set(final[name]) for each in seen for name in final)
    assert len(server.requests) <= attempts == calls + lost


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
def test_two_killed_runs_of_one_store_end_as_calm_ones(project: Project, seed: int) -> None:
    """Two processes that write one file and are killed at one moment disturb neither it nor each other."""
    rng, killer = random.Random(seed), Killer()
    with FakeServer(killer) as server:
        project.served(server.address)
        calm, _ = calm_run(project, server)
        job = ["optimize", project.config, "--json"]
        with project.spawned(*job) as one, project.spawned(*job) as other:
            killer.aim(one, other, after=rng.randint(5, 30), delay_s=0.02 * rng.random())
            one.wait(LIMIT_S)
            other.wait(LIMIT_S)
        assert (one.returncode, other.returncode) == (-signal.SIGKILL, -signal.SIGKILL)
        runs = [run for (run,) in rows(project.store, "SELECT id FROM runs")]
        # One that was killed before its run began begins now.
        again = [*(["runs", "resume", run, "--json"] for run in runs), job, job][:2]
        with project.spawned(*again[0]) as one, project.spawned(*again[1]) as other:
            ended = [found(each.communicate(timeout=LIMIT_S)[0]) for each in (one, other)]

    attempts = rows(project.store, "SELECT count(*) FROM attempts")[0][0]
    assert (ended, unsettled(project.store)) == ([calm, calm], [])
    assert len(server.requests) <= attempts


_MIGRATION = """
import os, signal, sqlite3, sys
from wordgrad.store import database

left = int(sys.argv[2])

class Traced(sqlite3.Connection):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.set_trace_callback(self.traced)

    def traced(self, _):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

connect = sqlite3.connect
sqlite3.connect = lambda *args, **options: connect(*args, **options, factory=Traced)
database.Database(sys.argv[1]).close()
print("made")
"""


@pytest.mark.timeout(300)
def test_a_migration_that_is_killed_is_made_by_the_next_who_opens(tmp_path: Path) -> None:
    """Whatever statement it dies before, the file is then opened, and has all of its tables."""
    with Database(tmp_path / "whole.db"):
        pass
    whole = rows(tmp_path / "whole.db", "SELECT sql FROM sqlite_schema ORDER BY name")
    said, statement = "", 0
    while "made" not in said:
        statement += 1
        store = tmp_path / f"{statement}.db"
        child = subprocess.run(
            [sys.executable, "-c", _MIGRATION, str(store), str(statement)],
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        said = child.stdout
        assert child.returncode == (0 if "made" in said else -signal.SIGKILL), child.stderr
        with Database(store):
            pass
        assert rows(store, "SELECT sql FROM sqlite_schema ORDER BY name") == whole

    assert statement > 10
