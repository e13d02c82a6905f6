"""`wordgrad runs replay`: a run derived once more from its record."""

from __future__ import annotations

import hashlib
import importlib
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import wordgrad as wg
from project import BETTER, Flaky, Half, Project, Pupil, Two, own_modules, project
from stored import rows
from wordgrad import cli
from wordgrad.engines import unasked_engine
from wordgrad.testing import RuleEngine

__all__ = ["own_modules", "project"]

_ONE = "SELECT reply FROM attempts WHERE purpose = 'forward' LIMIT 1"
_KEYS = "SELECT key FROM attempts WHERE purpose = 'optimize'"
_RENAME = "UPDATE attempts SET key = 'another' WHERE purpose = 'optimize'"


def asked(*_: object) -> Any:
    """Nobody may be asked."""
    raise AssertionError("an engine was asked")


def raising(error: type[BaseException]) -> Callable[..., Any]:
    """A function that ends the process, more or less."""

    def end(*_: object) -> Any:
        raise error("the process ended")

    return end


def cli_main(project: Project, *arguments: object) -> None:
    """`wordgrad` with these arguments, whatever it raises."""
    project.monkeypatch.setattr("sys.argv", ["wordgrad", *map(str, arguments)])
    cli.main()


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


def test_a_run_of_an_earlier_schema_comes_out_the_same(project: Project) -> None:
    """Its store is migrated when it is opened; it can be branched, too."""
    run = optimized(project)
    change(
        project.store,
        "ALTER TABLE attempts DROP COLUMN node; DROP INDEX results_by_content; PRAGMA user_version = 1; "
        "UPDATE events SET body = json_remove(body, '$.compression') WHERE kind = 'step'",
    )

    assert project.json("runs", "replay", run)["same"] is True
    assert project.json("runs", "replay", run, "--set", "accept.alpha=0.1")["calls"] == 0
    assert rows(project.store, "PRAGMA user_version") == [(4,)]


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


@pytest.mark.parametrize(("calls", "status"), [(12, "budget"), (49, "budget"), (66, "budget"), (500, "done")])
def test_a_run_that_its_budget_ended_comes_out_the_same(project: Project, calls: int, status: str) -> None:
    """Whatever was refused is refused again, at the same place."""
    found = project.json("optimize", project.config, "--budget-calls", calls)
    project.engine(RuleEngine(asked, name="fake"))

    assert found["status"] == status
    assert project.json("runs", "replay", found["run"])["same"]


def test_a_resumed_run_comes_out_the_same(project: Project) -> None:
    """A run in two parts is one run."""
    run = project.json("optimize", project.config, "--budget-calls", 30)["run"]
    project.json("runs", "resume", run, "--budget-calls", 500)
    project.engine(RuleEngine(asked, name="fake"))

    assert project.json("runs", "replay", run)["same"]


def test_a_step_that_was_not_ended_belongs_to_its_run(project: Project) -> None:
    """A budget that ends the search inside its first step leaves calls that are derived with the others."""
    project.engine(Two())
    found = project.json("optimize", project.config, "--budget-calls", 49)
    project.engine(RuleEngine(asked, name="fake"))

    assert (found["status"], found["steps"]) == ("budget", 0)
    assert project.json("runs", "replay", found["run"])["same"]


def test_a_step_that_was_not_ended_after_a_text_led_belongs_to_its_run(project: Project) -> None:
    """Nor are those left out that were made after the text which then met the sealed rows."""
    project.rows("validation", [f"held{number}" for number in range(40)])
    project.engine(Half(price=wg.types.Price(input_usd=1.0, output_usd=2.0)))
    found = project.json("optimize", project.config, "--budget-usd", "0.0058")
    project.engine(RuleEngine(asked, name="fake"))

    assert (found["status"], found["leads"]) == ("budget", 1)
    assert project.json("runs", "replay", found["run"])["same"]


def test_an_end_that_was_measured_later_comes_out_the_same(project: Project) -> None:
    """A run that was judged in one part and scored in another is one run, and every call of it is derived."""
    project.engine(Flaky([f"test{number}" for number in range(5)], times=1))
    project.change("steps = 2", "steps = 1")
    first = project.json("optimize", project.config, "--budget-calls", 49, code=3)
    project.json("runs", "resume", first["run"], "--budget-calls", 500)
    project.engine(RuleEngine(asked, name="fake"))
    found = project.json("runs", "replay", first["run"])

    assert first["status"] == "unmeasured"
    assert found["calls"] == found["recorded"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_end_that_was_never_told_is_the_end(
    project: Project, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """What met the sealed rows is kept before it does: where the process ended then, no larger budget searches on."""
    with monkeypatch.context() as patch:
        patch.setattr("wordgrad.cli.optimize.summarised", raising(error))
        with pytest.raises((error, SystemExit)):
            cli_main(project, "optimize", project.config, "--budget-calls", 49)
    (run,) = (each["run"] for each in project.json("runs", "list"))
    again = project.json("runs", "resume", run, "--budget-calls", 500)
    project.engine(RuleEngine(asked, name="fake"))

    assert (again["status"], again["steps"], again["accepted"]) == ("budget", 1, True)
    assert project.json("runs", "replay", run)["same"]


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
        (
            "DELETE FROM events WHERE kind = 'step'",
            r"otherwise: steps was recorded as \[\], and is \[\{\"number\": 1, ",
        ),
        (
            "UPDATE versions SET value = (SELECT value FROM versions WHERE version = 0) WHERE version = 1",
            "otherwise: texts prompt 2 was recorded as .Say it.., and is .Say it in CAPITALS.. now",
        ),
        (
            "UPDATE events SET body = replace(body, 'true, \"words\"', 'false, \"words\"') WHERE kind = 'end'",
            "otherwise: report accepted was recorded as false, and is true now",
        ),
        (
            "UPDATE events SET body = replace(body, '\"better\": 6', '\"better\": 5') WHERE kind = 'end'",
            "otherwise: report decision better was recorded as 5, and is 6 now",
        ),
        (
            "UPDATE events SET body = replace(body, '\"better\": 6', '\"better\": 60') WHERE kind = 'end'",
            "otherwise: report decision better was recorded as 60, and is 6 now",
        ),
        (
            "UPDATE events SET body = replace(body, '\"steps\": 2', '\"steps\": 1') WHERE kind = 'ending'",
            "comes out otherwise: ",
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
    assert "the test rows are not those that it began with. Give it the same rows" in err


PROGRAM = """\
import wordgrad as wg

engine = None


def shout(variables, row):
    {before}
    return wg.llm_call(variables["prompt"], row["word"], engine=engine)
"""
CALL = 'wg.llm_call(variables["prompt"], row["word"], engine=engine).value'


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("pass", CALL, "the program changed"),
        (CALL, "pass", "comes out otherwise: it made 91 calls, and 49 of them again"),
    ],
    ids=["more", "fewer"],
)
def test_a_program_that_makes_other_calls_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, before: str, after: str, words: str
) -> None:
    """Whether it makes one more, though of a request that the run has the reply to, or one less."""
    code = project.folder / "own_shout.py"
    code.write_text(PROGRAM.format(before=before))
    project.change('[engines.forward]\nengine = "fake"\nmax_tokens = 20\n\n', "")
    project.config.write_text('program = "own_shout:shout"\n' + project.config.read_text())
    monkeypatch.syspath_prepend(str(project.folder))
    own_shout = importlib.import_module("own_shout")
    engine = Pupil()
    own_shout.engine = engine
    project.engine(engine)
    run = project.json("optimize", project.config)["run"]
    code.write_text(PROGRAM.format(before=after))
    importlib.reload(own_shout).engine = engine
    status, _, err = project.run("runs", "replay", run)

    assert status == 1
    assert words in err


def test_no_key_is_needed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record can be checked where nothing could be asked: the engines are made, and have no key."""
    run = project.json("optimize", project.config)["run"]
    monkeypatch.setattr("wordgrad.cli.optimize.get_engine", asked)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    assert project.json("runs", "replay", run)["same"]
    assert [unasked_engine(spec).model for spec in ("gpt-4o", "claude-x")] == ["gpt-4o", "claude-x"]
    with pytest.raises(wg.UsageError, match="set OPENAI_API_KEY"):
        wg.get_engine("gpt-4o")


def test_a_run_that_failed_after_its_end_has_not_ended(project: Project) -> None:
    """Gone on from its end, and stopped by an outage: its earlier report is no report of it."""
    run = project.json("optimize", project.config, "--budget-calls", 30)["run"]
    project.engine(RuleEngine(lambda _: wg.EngineError("down", retryable=False), name="fake"))
    code, _, _ = project.run("runs", "resume", run, "--budget-calls", 500)
    (listed,) = project.json("runs", "list")

    assert (code, listed["status"], listed["report"]) == (4, "failed", None)
    assert f"has not ended (failed): first wordgrad runs resume {run}" in project.run("runs", "replay", run)[2]


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
