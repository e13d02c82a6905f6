"""`wordgrad runs replay`: a run derived once more from its record."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from project import BETTER, Project, Pupil, own_modules, project
from stored import rows
from wordgrad.testing import RuleEngine

__all__ = ["own_modules", "project"]

_ONE = "SELECT reply FROM attempts WHERE purpose = 'forward' LIMIT 1"
_KEYS = "SELECT key FROM attempts WHERE purpose = 'optimize'"
_RENAME = "UPDATE attempts SET key = 'another' WHERE purpose = 'optimize'"


def asked(*_: object) -> Any:
    """Nobody may be asked."""
    raise AssertionError("an engine was asked")


def optimized(project: Project, *arguments: object) -> str:
    """The id of a run that has ended; from now on no engine answers."""
    run = str(project.json("optimize", project.config, *arguments)["run"])
    project.engine(RuleEngine(asked, name="fake"))
    return run


def contents(store: Path) -> str:
    """A hash of all rows of a store."""
    with closing(sqlite3.connect(store)) as connection:
        return hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()


def change(store: Path, sql: str) -> None:
    """Change the record."""
    before = contents(store)
    with closing(sqlite3.connect(store)) as connection:
        connection.executescript(sql)

    assert contents(store) != before


def test_a_run_comes_out_the_same_without_a_call(project: Project) -> None:
    """Every prompt, step and text is derived from the record alone, which stays as it was."""
    run = optimized(project)
    project.prompt.write_text(BETTER)  # written since: the run's own start holds
    before = contents(project.store)
    found = project.json("runs", "replay", run)
    code, out, _ = project.run("runs", "replay", run[:-1])

    calls = rows(project.store, "SELECT count(*) FROM places")[0][0]
    assert found == {"run": run, "calls": calls, "recorded": calls, "steps": 2, "same": True}
    assert (code, out) == (
        0,
        f"run {run}: {calls} calls, 2 steps and the texts of prompt came out the same, byte for byte\n",
    )
    assert contents(project.store) == before


@pytest.mark.parametrize("calls", [12, 30, 44])
def test_a_run_that_its_budget_ended_comes_out_the_same(project: Project, calls: int) -> None:
    """Whatever was refused is refused again, at the same place."""
    code, out, _ = project.run("optimize", project.config, "--budget-calls", calls, "--json")
    project.engine(RuleEngine(asked, name="fake"))
    run = json.loads(out)["run"]

    assert code in {0, 3}
    assert project.json("runs", "replay", run)["same"]


def test_a_resumed_run_comes_out_the_same(project: Project) -> None:
    """A run in two parts is one run."""
    run = project.json("optimize", project.config, "--budget-calls", 44)["run"]
    project.json("runs", "resume", run, "--budget-calls", 500)
    project.engine(RuleEngine(asked, name="fake"))

    found = project.json("runs", "replay", run)
    assert found["same"]
    assert found["recorded"] - found["calls"] == 5  # the test rows of the first end
    assert f"{found['calls']} of {found['recorded']} calls" in project.run("runs", "replay", run)[1]


def test_results_of_the_users_code_are_read(project: Project) -> None:
    """A metric that is not pure is not called again."""
    log = project.folder / "log.txt"
    (project.folder / "own_metric.py").write_text(
        "def same(output, target):\n"
        f"    with open({str(log)!r}, 'a') as log:\n"
        "        log.write('.')\n"
        "    return float(output == target)\n"
    )
    project.change("[search]", '[metric]\nkind = "function"\nfunction = "own_metric:same"\n\n[search]')
    run = optimized(project)
    calls = len(log.read_text())

    assert project.json("runs", "replay", run)["same"]
    assert len(log.read_text()) == calls > 0


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        (f"UPDATE attempts SET reply = ({_ONE}) WHERE purpose = 'forward'", "the program changed|comes out otherwise"),
        ("DELETE FROM attempts WHERE purpose = 'optimize'", "damaged: at .* stands a call whose reply is not there"),
        (f"DELETE FROM places WHERE key IN ({_KEYS}); {_RENAME}", "'fake' is asked .optimize. at .*no such call"),
        ("DELETE FROM events WHERE kind = 'step'", r"comes out otherwise: the steps recorded as \[\], now"),
        ("UPDATE versions SET value = (SELECT value FROM versions WHERE version = 0) WHERE version = 1", "the texts"),
        (
            "UPDATE events SET body = replace(body, '\"accepted\": 1', '\"accepted\": 2') WHERE kind = 'end'",
            "the report",
        ),
    ],
)
def test_a_record_that_was_changed_is_told(project: Project, sql: str, words: str) -> None:
    """What does not follow from the rest of the record is named."""
    run = optimized(project)
    change(project.store, sql)
    code, _, err = project.run("runs", "replay", run)

    assert code == 1
    assert re.search(words, err)


def test_changed_data_is_told(project: Project) -> None:
    """The rows are those that the run read, or the replay says where they differ."""
    run = optimized(project)
    project.rows("test", [f"other{number}" for number in range(5)])
    code, _, err = project.run("runs", "replay", run)

    assert code == 1
    assert "the program changed: at " in err


def test_what_cannot_be_replayed_says_why(project: Project) -> None:
    """A run that has not ended, and one of another command."""
    project.run("optimize", project.config, "--budget-calls", "1")
    (unfinished,) = (each["run"] for each in project.json("runs", "list"))
    project.engine(Pupil())
    project.json("eval", project.config)
    evaluated = project.json("runs", "list")[0]["run"]

    assert (
        f"has not ended (failed): first wordgrad runs resume {unfinished}"
        in project.run("runs", "replay", unfinished)[2]
    )
    assert "is none of `wordgrad optimize`" in project.run("runs", "replay", evaluated)[2]
