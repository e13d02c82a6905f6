"""The command line: what it prints, keeps, writes and exits with."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from importlib.metadata import version
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

import wordgrad as wg
from project import BETTER, START, Flaky, Project, Pupil, Slow, breaking, project
from wordgrad import cli
from wordgrad.store.database import Database
from wordgrad.store.runs import runs
from wordgrad.testing import Answer, FakeServer, RuleEngine
from wordgrad.train.events import Advance, Step

__all__ = ["project"]

SCREEN = "wordgrad.cli.screen.Screen.__call__"
ALL_CALLS = 1 + 5 + 4 + 4 + 2 + 6 + 6 + 4 + 6 + 6 + 5
"""Preflight, start on test, batch, critics, rewrites, both texts on selection, next batch, both on confirmation, end on
test."""


def report(project: Project, *arguments: str) -> dict[str, object]:
    """What `optimize --json` prints."""
    found: dict[str, object] = project.json("optimize", project.config, *arguments)
    return found


# ---- optimize


def test_optimize_reports_one_json_object(project: Project) -> None:
    """The report has exactly these keys: what the sealed rows decided, and the scores on the test rows."""
    found = report(project)
    (run,) = runs(Database(project.store))

    assert found.pop("seconds") >= 0  # type: ignore[operator]
    assert found.pop("tokens").keys() == {"input", "output"}  # type: ignore[attr-defined]
    assert found == {
        "run": run.id,
        "status": "done",
        "variables": [{"name": "prompt", "start": START, "found": BETTER, "end": BETTER}],
        "accepted": True,
        "words": "the new text is better (6 sealed validation rows: better on 6, worse on 0). Were it no better, chance "
        "would do as well once in 64 runs",
        "decision": {
            "accepted": True,
            "proved": True,
            "rule": "strict",
            "by_judge": False,
            "words": "the new text is better (6 sealed validation rows: better on 6, worse on 0). Were it no better, "
            "chance would do as well once in 64 runs",
            "n": 6,
            "start": 0.0,
            "candidate": 1.0,
            "difference": 1.0,
            "low": pytest.approx(0.425, abs=0.001),
            "high": 1.0,
            "p": 1 / 64,
            "better": 6,
            "worse": 0,
            "excluded": 0,
            "likely": 1.0,
            "alpha": 0.05,
            "unjudged": 0,
            "chance": 127 / 128,
            "needed": None,
            "guardrails": {},
        },
        "slices": [],
        "bounds": [0.0, 1.0],
        "test": {
            "n": 5,
            "start": 0.0,
            "end": 1.0,
            "gain": {
                "n": 5,
                "start": 0.0,
                "candidate": 1.0,
                "difference": 1.0,
                "low": pytest.approx(0.348, abs=0.001),
                "high": 1.0,
                "p": 1 / 32,
                "better": 5,
                "worse": 0,
                "excluded": 0,
            },
            "slices": [],
        },
        "steps": 2,
        "leads": 1,
        "calls": ALL_CALLS,
        "cost_usd": None,
    }


def test_the_decision_is_told_with_its_reason(project: Project) -> None:
    """Six sealed rows of six prove it; three are said to be too few, with the chance and what would decide."""
    _, proved, _ = project.run("optimize", project.config)
    project.change("steps = 2", "steps = 1")
    project.engine(Slow())
    _, unproved, _ = project.run("optimize", project.config)

    assert (
        "the new text is better (6 sealed validation rows: better on 6, worse on 0). Were it no better, chance would do "
        "as well once in 64 runs.\n"
    ) in proved
    assert "+100.0 points, at least +34.8 points with 95% confidence (rows: 5 better, 0 worse)\n" in proved
    assert (
        "the start is kept: the best new text is not proved to be better (6 sealed validation rows: better on 3, worse "
        "on 0). It is better with a probability of 94%; 18 more rows on which the two disagree would likely decide.\n"
    ) in unproved
    assert " points, at least" not in unproved


def test_a_second_text_may_not_meet_the_sealed_rows(project: Project) -> None:
    """A search that goes on after its text was judged could try until it is lucky: it is refused, and nothing changes."""
    project.engine(Slow())
    first = report(project, "--budget-calls", str(ALL_CALLS))
    engine = RuleEngine(lambda _: AssertionError("asked"), name="fake")
    project.engine(engine)
    code, _, err = project.run("runs", "resume", str(first["run"]), "--budget-calls", "500")
    again = project.json("runs", "resume", str(first["run"]))

    assert (first["status"], first["steps"], first["decision"]["better"]) == ("budget", 1, 3)  # type: ignore[index]
    assert code == 2
    assert (
        f"error: the search of run {first['run']} is over: what it found has met the sealed rows, and a second text may "
        "not. Start another run from its text (wordgrad runs export), with validation rows that it has not seen\n"
    ) in err
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert project.json("runs", "replay", str(first["run"]))["same"]


def test_nothing_is_claimed_of_a_start_that_was_kept(project: Project) -> None:
    """There is one text: nothing to decide, and no gain to speak of."""
    project.engine(Pupil(rewrite={"value": "Say it twice."}))
    found = report(project)

    assert (found["accepted"], found["leads"], found["decision"], found["test"]["gain"]) == (False, 0, None, None)  # type: ignore[index]


def test_json_leaves_stdout_to_the_report(project: Project) -> None:
    """With --json everything else goes to stderr."""
    code, out, err = project.run("optimize", project.config, "--json")

    assert (code, out.count("\n"), bool(err)) == (0, 1, True)
    assert json.loads(out)["status"] == "done"


def test_optimize_prints_plain_lines_without_a_terminal(project: Project) -> None:
    """A log shows the steps, both scores and where to look, without control characters."""
    code, out, _ = project.run("optimize", project.config)

    assert code == 0
    assert "\x1b" not in out
    assert "step 1: a new text leads" in out
    assert "100.0%" in out
    assert "wordgrad runs show" in out


def test_the_start_is_kept_where_nothing_is_better(project: Project) -> None:
    """A search that finds nothing says so; that is no failure, and no sealed row is asked once more."""
    engine = Pupil({"value": "Say it slowly."})
    project.engine(engine)

    found = report(project)

    test: dict[str, object] = found["test"]  # type: ignore[assignment]
    assert (found["accepted"], test["start"], test["end"], test["gain"]) == (False, 0.0, 0.0, None)
    assert found["variables"] == [{"name": "prompt", "start": START, "found": START, "end": START}]
    assert sum(each.prompt.startswith("test") for each in engine.history) == 5
    assert not {each.prompt for each in engine.history} & set(project.divided().confirmation)


def test_a_perfect_start_asks_no_critic(project: Project) -> None:
    """Where every row passes there is nothing to learn: no feedback and no rewrites are paid."""
    project.prompt.write_text(BETTER, encoding="utf-8")
    engine = Pupil()
    project.engine(engine)

    found = report(project)

    assert {each.request.purpose for each in engine.history} == {"preflight", "forward"}
    assert found["calls"] == 1 + 5 + 4 + 4


def test_write_changes_the_prompts_file(project: Project) -> None:
    """With --write the accepted text is in its file, and nothing else was left beside it."""
    before = {each.name for each in project.folder.iterdir()}

    report(project, "--write")

    assert project.prompt.read_text(encoding="utf-8") == BETTER + "\n"
    assert {each.name for each in project.folder.iterdir()} == {*before, "kept"}


def test_write_is_atomic(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the rename fails the old text is still whole, and the error names the file."""

    def fails(*_: object) -> None:
        raise PermissionError(13, "not allowed")

    monkeypatch.setattr(os, "replace", fails)
    code, _, err = project.run("optimize", project.config, "--write")

    assert (code, project.prompt.read_text(encoding="utf-8")) == (2, START + "\n")
    assert "prompt.txt cannot be written: not allowed" in err.replace("\n", "")


def test_without_write_only_the_store_changes(project: Project) -> None:
    """Nothing outside the store is touched unless that is asked for."""
    before = {each: each.read_bytes() for each in project.folder.iterdir()}

    report(project)

    assert {each: each.read_bytes() for each in project.folder.iterdir() if each.is_file()} == before


def test_the_same_seed_gives_the_same_report(project: Project) -> None:
    """Two runs with one seed and the same replies differ in their id and their time only."""
    reports = [report(project, "--seed", "7") for _ in range(2)]
    for each in reports:
        del each["run"], each["seconds"]

    assert reports[0] == reports[1]


# ---- exit codes


@pytest.mark.parametrize(
    ("calls", "code", "status"),
    [(6, 0, "budget"), (ALL_CALLS, 0, "budget"), (66, 0, "budget"), (67, 0, "done")],
)
def test_a_budget_that_ends_the_search_as_planned_is_no_failure(
    project: Project, calls: int, code: int, status: str
) -> None:
    """A step is begun only where its calls and the end's are left; what was found is judged in any case."""
    found, out, _ = project.run("optimize", project.config, "--json", "--budget-calls", str(calls))
    said = json.loads(out)

    assert (found, said["status"], said["test"]["end"]) == (code, status, float(said["leads"]))
    assert said["calls"] <= calls


def test_a_budget_that_does_not_reach_the_start_score_exits_3(project: Project) -> None:
    """Spent before there is any score: 3, and exactly the allowed calls were made."""
    engine = Pupil()
    project.engine(engine)

    code, _, err = project.run("optimize", project.config, "--budget-calls", "3")

    assert (code, len(engine.history)) == (3, 3)
    assert "budget of 3 calls is spent" in err.replace("\n", " ")


def test_an_end_that_could_not_be_scored_exits_3(project: Project) -> None:
    """Retries may use up what was kept back for the end score: the report says so, and so does the exit code."""
    project.engine(Flaky([f"test{number}" for number in range(5)], times=1))
    project.change("steps = 2", "steps = 1")
    calls = 1 + 5 + 4 + 4 + 2 + 6 + 6 + 6 + 6 + 9

    code, out, err = project.run("optimize", project.config, "--json", "--budget-calls", str(calls))
    found = json.loads(out)

    assert (code, found["status"], found["test"]["end"], found["calls"]) == (3, "unmeasured", None, calls)
    assert (found["accepted"], found["variables"][0]["end"]) == (True, BETTER)
    assert "before what was found could be measured" in err.replace("\n", " ")


def test_a_text_that_was_not_judged_is_not_used(project: Project) -> None:
    """Retries may use up what was kept back for the decision: without one the start holds, and no file is written."""
    project.engine(Flaky(project.divided().confirmation, times=3))
    project.change("steps = 2", "steps = 1")
    calls = 1 + 5 + 4 + 4 + 2 + 6 + 6 + 21

    code, out, err = project.run("optimize", project.config, "--json", "--write", "--budget-calls", str(calls))
    found = json.loads(out)

    assert (code, found["status"], found["decision"], found["calls"]) == (3, "unmeasured", None, calls)
    assert found["variables"] == [{"name": "prompt", "start": START, "found": BETTER, "end": START}]
    assert (found["accepted"], project.prompt.read_text(encoding="utf-8")) == (False, START + "\n")
    assert "before what was found could be measured" in err.replace("\n", " ")


@pytest.mark.parametrize("status", [401, 404])
def test_a_service_that_refuses_exits_4(project: Project, status: int) -> None:
    """A wrong key or model is found out by the first call, and costs no other."""
    engine = RuleEngine(lambda _: wg.EngineError("refused", retryable=False, status=status), name="fake")
    project.engine(engine)

    code, _, err = project.run("optimize", project.config)

    assert (code, len(engine.history)) == (4, 1)
    assert "refused" in err


def test_an_outage_is_one_error(project: Project) -> None:
    """When the service dies under many calls, one message says so, and the calls that wait are not made."""

    class Dying(Pupil):
        """Refuses every test row."""

        def said(self, request: wg.Request) -> object:  # type: ignore[override]
            if request.messages[-1].text.startswith("test"):
                return wg.EngineError("no more credit", retryable=False, status=402)
            return super().said(request)

    project.rows("test", [f"test{number}" for number in range(100)])
    engine = Dying(max_in_flight=1)
    project.engine(engine)

    code, out, err = project.run("optimize", project.config)

    assert (code, (out + err).count("no more credit")) == (4, 1)
    assert len(engine.history) < 10


@pytest.mark.parametrize("arguments", [["optimize"], ["optimize", "missing.toml"], ["nothing"]])
def test_wrong_usage_exits_2(project: Project, arguments: list[str]) -> None:
    """A missing argument, file or command is the user's to mend."""
    code, _, err = project.run(*arguments)

    assert (code, bool(err)) == (2, True)


def test_a_money_budget_without_a_price_exits_2(project: Project) -> None:
    """A limit in dollars needs prices; the message says where to state them."""
    code, _, err = project.run("optimize", project.config, "--budget-usd", "1")

    assert code == 2
    assert "price = {input_usd" in err.replace("\n", "")


def test_a_price_in_the_file_is_used(project: Project) -> None:
    """A stated price makes the cost known and a budget in dollars possible."""
    for table in ("forward", "backward", "optimizer"):
        project.change(f"[engines.{table}]", f"[engines.{table}]\nprice = {{input_usd = 1.0, output_usd = 2.0}}")

    found = report(project, "--budget-usd", "1")
    tokens: dict[str, int] = found["tokens"]  # type: ignore[assignment]

    assert found["cost_usd"] == pytest.approx((tokens["input"] + 2 * tokens["output"]) / 1_000_000)


def test_limits_in_the_file_hold(project: Project) -> None:
    """Tables that say the same share their limits: of all calls one is out at a time, though the engine carries more."""

    class Crowded(Pupil):
        """Knows how many of its calls were out at once."""

        out = most = 0

        async def complete(self, request: wg.Request) -> wg.Completion:
            self.out += 1
            self.most = max(self.most, self.out)
            completion = await super().complete(request)
            self.out -= 1
            return completion

    engine = Crowded()
    project.engine(engine)
    report(project)
    free = engine.most
    for table in ("forward", "backward", "optimizer"):
        limits = "max_in_flight = 1\nrequests_per_minute = 1000\ntokens_per_minute = 1000000"
        project.change(f"[engines.{table}]", f"[engines.{table}]\n{limits}")
    project.change("max_tokens = 20", "max_tokens = 100")
    engine.most = 0
    report(project)

    assert (free > 1, engine.most) == (True, 1)


# ---- interruption


def test_an_interrupted_run_can_be_resumed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C exits with 130 and says how to go on; the resumed run asks nothing twice, and ends as one that ran on."""
    whole = report(project)
    engine = Pupil()
    project.engine(engine)
    with monkeypatch.context() as patched:
        patched.setattr(SCREEN, breaking(Step, KeyboardInterrupt()))
        code, out, err = project.run("optimize", project.config)
    stopped = len(engine.history)
    newest = runs(Database(project.store))[0]
    resumed = project.json("runs", "resume", newest.id)

    assert code == 130
    assert f"wordgrad runs resume {newest.id}" in (out + err).replace("\n", " ")
    assert (stopped, len(engine.history)) == (ALL_CALLS - 4 - 12 - 5, ALL_CALLS)
    for each in (whole, resumed):
        del each["run"], each["seconds"]
    assert resumed == whole


def test_a_failed_run_is_listed_as_that_until_it_is_resumed(project: Project) -> None:
    """An outage fails the run; once it is over and the run was resumed, the run is done."""
    project.engine(RuleEngine(lambda _: wg.EngineError("down", retryable=False, status=500), name="fake"))
    project.run("optimize", project.config)
    (failed,) = project.json("runs", "list")
    project.engine(Pupil())
    project.json("runs", "resume", failed["run"])
    (done,) = project.json("runs", "list")

    assert (failed["status"], done["status"]) == ("failed", "done")


def test_an_interrupted_run_is_listed_as_that(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no scores yet; what it found so far can be looked at."""
    monkeypatch.setattr(SCREEN, breaking(Step, KeyboardInterrupt()))
    project.run("optimize", project.config)
    (listed,) = project.json("runs", "list")

    code, out, _ = project.run("runs", "list")
    _, shown, _ = project.run("runs", "show", listed["run"])

    assert (code, listed["status"], listed["report"], "→" in out) == (0, "interrupted", None, False)
    assert ("step 1: a new text leads" in shown, BETTER in shown) == (True, True)


def test_ctrl_c_ends_calls_in_flight(project: Project) -> None:
    """A real interruption while a server works ends at once, and the resumed run asks only what had no answer."""
    waiting = threading.Event()
    slow = True

    def rule(body: dict[str, Any]) -> Answer:
        word = body["messages"][-1]["content"]
        if slow and word == "test3":
            waiting.set()
            return Answer(fault="stall")
        return Answer(text=word.upper())

    with FakeServer(rule) as server:
        project.change('engine = "fake"', f'engine = "openai:m@{server.address}/v1"')
        for _ in range(2):
            project.change('engine = "fake"', f'engine = "openai:m@{server.address}/v1"')
        with project.spawned("optimize", project.config) as child:
            assert waiting.wait(60)
            child.send_signal(signal.SIGINT)
            out, _ = child.communicate(timeout=30)
        (run,) = runs(Database(project.store))
        asked, slow = len(server.requests), False
        with project.spawned("runs", "resume", run.id, "--json") as again:
            report, _ = again.communicate(timeout=60)

    assert (child.returncode, again.returncode) == (130, 0)
    assert f"stopped; all is kept. Go on with: wordgrad runs resume {run.id}" in out
    assert [json.loads(report)["test"][name] for name in ("n", "start", "end")] == [5, 1.0, 1.0]
    repeated = len(server.requests) - asked - 8  # both steps' batches of 4
    assert 1 <= repeated <= 5


def test_a_screen_that_breaks_costs_nothing_that_was_paid(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while progress is shown ends the run; resumed, it asks only for the rest and ends as it would have."""
    whole = report(project, "--store", str(project.folder / "calm.db"))
    with monkeypatch.context() as patched:
        patched.setattr(SCREEN, breaking(Advance, RuntimeError("the terminal is gone"), after=3))
        code, _, err = project.run("optimize", project.config)
    (run,) = runs(Database(project.store))

    again = project.json("runs", "resume", run.id)

    assert (code, "RuntimeError: the terminal is gone" in err) == (1, True)
    assert [again[name] for name in ("variables", "test", "calls")] == [
        whole[name] for name in ("variables", "test", "calls")
    ]


def test_a_resumed_run_uses_the_configuration_it_began_with(project: Project) -> None:
    """A finished run that is resumed asks nobody, though its file was changed since."""
    first = report(project)
    project.change("steps = 2", "steps = 9")
    project.engine(RuleEngine(lambda _: AssertionError("asked"), name="fake"))

    again = project.json("runs", "resume", str(first["run"]))

    assert (again["run"], again["calls"], again["steps"]) == (first["run"], first["calls"], 2)


# ---- the engine that is used where none is named


def without_engines(project: Project) -> None:
    """Let the configuration name no engine."""
    source = project.config.read_text(encoding="utf-8")
    project.config.write_text(source.replace('engine = "fake"\n', ""), encoding="utf-8")


def test_the_chosen_engine_is_printed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers where nothing is named, and why, is said once."""
    without_engines(project)
    monkeypatch.setenv("WORDGRAD_ENGINE", "fake")

    code, out, _ = project.run("optimize", project.config)

    assert (code, out.splitlines()[0]) == (0, "engine: fake (WORDGRAD_ENGINE is set)")
    assert out.count("engine: ") == 1


def test_a_resumed_run_keeps_the_engine_that_was_chosen(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was set since does not change who answers."""
    without_engines(project)
    monkeypatch.setenv("WORDGRAD_ENGINE", "fake")
    first = report(project)
    monkeypatch.setenv("WORDGRAD_ENGINE", "other")
    asked: list[str] = []
    project.engine(lambda spec: asked.append(spec) or Pupil())  # type: ignore[func-returns-value]

    again = project.json("runs", "resume", str(first["run"]))

    assert (again["calls"], set(asked)) == (first["calls"], {"fake"})


def test_missing_weights_are_told_with_the_command(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody downloads a gigabyte by surprise: without a terminal the command that does it is named, and no run made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.folder))
    project.change('engine = "fake"', 'engine = "local"')

    code, out, err = project.run("optimize", project.config)

    assert (code, project.store.exists()) == (2, False)
    assert "1.1 GB, licence Apache-2.0, from Hugging Face hub" in out
    assert "models pull qwen2.5-coder-1.5b-instruct --yes` to download it" in err


def test_an_estimate_needs_no_weights(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run would take is said before anything is downloaded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.folder))
    project.change('engine = "fake"', 'engine = "local"')

    code, out, _ = project.run("estimate", project.config)

    assert (code, "GB" in out) == (0, False)


# ---- runs


def test_runs_are_listed_newest_first(project: Project) -> None:
    """`runs list` shows every run with its status and scores."""
    ids = [report(project)["run"], report(project)["run"]]

    found = project.json("runs", "list")
    code, out, _ = project.run("runs", "list")

    assert [each["run"] for each in found] == ids[::-1]
    assert [each["status"] for each in found] == ["done", "done"]
    assert (code, "0.0% → 100.0%" in out) == (0, True)


def test_runs_show_gives_the_steps(project: Project) -> None:
    """`runs show` says what each step did and why; the first letters of an id are enough."""
    run = str(report(project)["run"])

    found = project.json("runs", "show", run[:-1])
    code, out, _ = project.run("runs", "show", run)

    assert [(each["number"], each["accepted"]) for each in found["steps"]] == [(1, True), (2, False)]
    assert (code, BETTER in out) == (0, True)


def test_runs_diff_gives_both_texts(project: Project) -> None:
    """`runs diff` shows how each text changed."""
    run = str(report(project)["run"])

    found = project.json("runs", "diff", run)
    code, out, _ = project.run("runs", "diff", run)

    assert found == [{"name": "prompt", "start": START, "end": BETTER}]
    assert (code, "CAPITALS" in out) == (0, True)


def test_runs_export_one_text_alone(project: Project) -> None:
    """`runs export --variable` prints the text and nothing else."""
    run = str(report(project)["run"])

    code, out, _ = project.run("runs", "export", run, "--variable", "prompt")

    assert (code, out) == (0, BETTER + "\n")


def test_runs_export_of_an_unknown_variable_names_the_known(project: Project) -> None:
    """A misspelt name exits with 2."""
    run = str(report(project)["run"])

    code, _, err = project.run("runs", "export", run, "--variable", "promt")

    assert (code, "it has prompt" in err.replace("\n", " ")) == (2, True)


def test_runs_export_markdown_fences_any_text(project: Project) -> None:
    """A text that holds code fences cannot end its own block."""
    project.engine(Pupil({"value": "CAPITALS\n```\n````\n# no heading"}))
    run = str(report(project)["run"])

    _, out, _ = project.run("runs", "export", run)

    assert "`````text\nCAPITALS\n```\n````\n# no heading\n`````\n" in out


def test_runs_export_json_holds_everything(project: Project) -> None:
    """`runs export --format json` gives versions and steps."""
    run = str(report(project)["run"])

    _, out, _ = project.run("runs", "export", run, "--format", "json")
    found = json.loads(out)

    assert (found["versions"], len(found["steps"])) == ({"prompt": [START, BETTER]}, 2)


def test_runs_rm_removes_one(project: Project) -> None:
    """A removed run is gone, and the other is as it was."""
    first, second = (str(report(project)["run"]) for _ in range(2))

    code, _, _ = project.run("runs", "rm", first)

    assert (code, [each["run"] for each in project.json("runs", "list")]) == (0, [second])
    assert project.json("runs", "diff", second)[0]["end"] == BETTER


@pytest.mark.parametrize("command", ["show", "diff", "export", "rm", "resume"])
def test_an_unknown_run_exits_2(project: Project, command: str) -> None:
    """A run that is not there is named, with where to look."""
    report(project)

    code, _, err = project.run("runs", command, "nope")

    assert (code, "'nope' is not in the store" in err.replace("\n", " ")) == (2, True)


def test_looking_makes_no_store(project: Project) -> None:
    """Listing runs where none was made says so, and leaves no file."""
    code, _, err = project.run("runs", "list")

    assert (code, "no run was made yet" in err.replace("\n", " "), project.store.exists()) == (2, True, False)


def test_what_no_terminal_can_show_is_escaped(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text in any script can be exported where the encoding has no signs for it."""
    project.engine(Pupil({"value": "CAPITALS で答える"}))
    run = str(report(project)["run"])
    monkeypatch.setattr("sys.argv", ["wordgrad", "runs", "export", run, "--variable", "prompt"])
    monkeypatch.setattr("sys.stdout", TextIOWrapper(BytesIO(), encoding="ascii"))

    with pytest.raises(SystemExit) as caught:
        cli.main()
    sys.stdout.flush()

    assert caught.value.code == 0
    assert sys.stdout.buffer.getvalue() == "CAPITALS で答える\n".encode("ascii", "backslashreplace")  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", [["show"], ["diff"], ["export", "--format", "json"]])
def test_json_is_json_in_any_encoding(project: Project, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """What the encoding of the output has no sign for has JSON's own escapes, not Python's."""
    text = "CAPITALS é で 🙂"
    project.engine(Pupil({"value": text}))
    run = str(report(project)["run"])
    name, *options = command if len(command) > 1 else [*command, "--json"]
    monkeypatch.setattr("sys.argv", ["wordgrad", "runs", name, run, *options])
    monkeypatch.setattr("sys.stdout", TextIOWrapper(BytesIO(), encoding="ascii"))

    with pytest.raises(SystemExit) as caught:
        cli.main()
    sys.stdout.flush()
    found = json.loads(sys.stdout.buffer.getvalue())  # type: ignore[attr-defined]

    assert (caught.value.code, text in json.dumps(found, ensure_ascii=False)) == (0, True)


def test_a_program_that_lost_a_variable_is_no_crash(project: Project) -> None:
    """A run whose program has another Variable now cannot be resumed, and the message names what is missing."""
    program = project.folder / "lossy.py"
    source = (
        "import wordgrad as wg\n"
        "class Shout(wg.Module):\n"
        "    def __init__(self):\n"
        "        self.prompt = wg.Variable('Say it.', 'system prompt', requires_grad=True)\n"
        "    def forward(self, row):\n"
        "        return self.prompt + row['word']\n"
    )
    program.write_text(source, encoding="utf-8")
    text = project.config.read_text(encoding="utf-8")
    start, end = text.index("[engines.forward]"), text.index("[engines.backward]")
    without = text[:start] + text[end:]
    start, end = without.index("[variables.prompt]"), without.index("[data]")
    project.config.write_text('program = "lossy:Shout"\n' + without[:start] + without[end:], encoding="utf-8")
    run = str(report(project)["run"])
    program.write_text(source.replace("self.prompt", "self.other"), encoding="utf-8")
    del sys.modules["lossy"]

    code, _, err = project.run("runs", "resume", run)

    assert (code, "error: the program changed: it has no variable 'prompt', which the run began with" in err) == (
        2,
        True,
    )


def test_the_version_is_told(project: Project) -> None:
    """`--version` prints what is installed, for reports."""
    assert project.run("--version") == (0, f"wordgrad {version('wordgrad')}\n", "")


def test_only_runs_of_optimize_can_be_resumed(project: Project) -> None:
    """Another command's run is told as such; it is listed with its score."""
    project.run("eval", project.config)
    (listed,) = project.json("runs", "list")

    code, _, err = project.run("runs", "resume", listed["run"])
    _, out, _ = project.run("runs", "list")

    assert (listed["status"], listed["report"]["score"], "0.0%" in out) == ("done", 0.0, True)
    assert (code, "is none of `wordgrad optimize`: " in err) == (2, True)


def test_a_fault_of_our_own_keeps_its_traceback(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What neither the user's code nor a service caused is not dressed up: a report needs the whole of it."""
    monkeypatch.setattr("wordgrad.cli.runs.kept.runs", json.loads)
    report(project)

    with pytest.raises(TypeError, match="the JSON object must be str"):
        project.run("runs", "list")


# ---- eval and estimate


def test_eval_asks_its_engines_once_before(project: Project) -> None:
    """A wrong key costs one call, and the exit code is that of a service."""
    engine = RuleEngine(lambda _: wg.EngineError("refused", retryable=False, status=401), name="fake")
    project.engine(engine)

    code, _, err = project.run("eval", project.config)

    assert (code, len(engine.history), "error: refused" in err) == (4, 1, True)


def test_the_built_in_program_has_one_prompt(project: Project) -> None:
    """Two prompts need a program of one's own, and so does none."""
    project.change("[data]", '[variables.other]\nrole = "other"\ntext = "x"\n\n[data]')

    code, _, err = project.run("estimate", project.config)

    assert (code, "variables: the built-in program has one prompt, and 2 are named" in err) == (2, True)


def test_eval_scores_the_configured_text(project: Project) -> None:
    """`eval` asks the engine once, then runs the test rows once."""
    assert project.json("eval", project.config) == {"n": 5, "score": 0.0, "passed": 0, "unjudged": 0, "calls": 6}


def test_eval_scores_another_text(project: Project) -> None:
    """--variable gives the text of a file instead."""
    other = project.folder / "other.txt"
    other.write_text(BETTER, encoding="utf-8")

    found = project.json("eval", project.config, "--variable", f"prompt={other}")

    assert found == {"n": 5, "score": 1.0, "passed": 5, "unjudged": 0, "calls": 6}


@pytest.mark.parametrize("given", ["prompt", "other=prompt.txt", "prompt=missing.txt"])
def test_eval_refuses_what_it_cannot_use(project: Project, given: str) -> None:
    """A pair without a known name and a file that is there exits with 2."""
    code, _, err = project.run("eval", project.config, "--variable", given)

    assert (code, f"--variable {given}" in err.replace("\n", " ")) == (2, True)


class Many(Pupil):
    """Each draw of a rewrite is another text; the fourth is the best, the third the second best."""

    def said(self, request: wg.Request) -> object:  # type: ignore[override]
        if request.purpose == "optimize":
            self.drawn = getattr(self, "drawn", 0) + 1
            return {"value": ["Say.", "Say it so.", "Mostly CAPITALS.", "CAPITALS."][(self.drawn - 1) % 4]}
        said = super().said(request)
        mostly = request.purpose == "forward" and "Mostly" in request.messages[0].text
        return request.messages[-1].text if mostly and request.messages[-1].text[-1] == "7" else said


def test_losers_leave_the_race_early(project: Project) -> None:
    """All texts are compared on a few rows, and those that are behind on no more; the best wins."""
    project.change("candidates = 2", "candidates = 4")
    project.rows("validation", [f"held{number}" for number in range(60)])
    engine = Many(max_in_flight=1)
    project.engine(engine)

    found = report(project)
    rows = set(project.divided().selection)
    asked = Counter(each.request.messages[0].text for each in engine.history if each.prompt in rows)

    assert found["variables"] == [{"name": "prompt", "start": START, "found": "CAPITALS.", "end": "CAPITALS."}]
    assert asked == {START: 8, "Say.": 8, "Say it so.": 8, "Mostly CAPITALS.": 16, "CAPITALS.": 16}


@pytest.mark.parametrize("strategy", ["per_node", "per_edge", "fused"])
@pytest.mark.parametrize("validation", [12, 60])
def test_the_estimate_bounds_every_way_to_search(project: Project, strategy: str, validation: int) -> None:
    """With each strategy, many candidates and a price the run stays inside its bounds, money included."""
    project.change("candidates = 2", f'candidates = 4\nstrategy = "{strategy}"')
    project.rows("validation", [f"held{number}" for number in range(validation)])
    project.engine(Many(price=wg.types.Price(input_usd=1.0, output_usd=2.0)))
    said = project.json("estimate", project.config)["all"]

    found = report(project)
    tokens: dict[str, int] = found["tokens"]  # type: ignore[assignment]

    assert said["calls"]["least"] <= found["calls"] <= said["calls"]["most"]  # type: ignore[operator]
    assert tokens["input"] + tokens["output"] <= said["tokens"]
    assert 0 < found["cost_usd"] <= said["usd"]  # type: ignore[operator]


@pytest.mark.parametrize("rewrite", [None, {"value": "Say it slowly."}, "no rewrite at all"], ids=["good", "bad", "no"])
@pytest.mark.parametrize("train", [8, 4, 5])
def test_the_estimate_bounds_the_run(project: Project, rewrite: object, train: int) -> None:
    """What a run takes lies between the bounds that were said before, whatever the engine answers."""
    project.rows("train", [f"train{number}" for number in range(train)])
    project.engine(Pupil(rewrite))  # type: ignore[arg-type]
    said = project.json("estimate", project.config)["all"]

    found = report(project)
    tokens: dict[str, int] = found["tokens"]  # type: ignore[assignment]

    assert said["calls"]["least"] <= found["calls"] <= said["calls"]["most"]  # type: ignore[operator]
    assert tokens["input"] + tokens["output"] <= said["tokens"]


def test_the_estimate_of_a_perfect_start_is_exact(project: Project) -> None:
    """The lower bound is what a run with nothing to learn takes."""
    project.prompt.write_text(BETTER, encoding="utf-8")

    said = project.json("estimate", project.config)["all"]["calls"]["least"]

    assert report(project)["calls"] == said


def test_the_estimate_asks_nobody(project: Project) -> None:
    """Estimating makes no call and keeps no run."""
    project.engine(RuleEngine(lambda _: AssertionError("asked"), name="fake"))

    code, out, _ = project.run("estimate", project.config)

    assert (code, "unknown" in out, project.store.exists()) == (0, True, False)


def test_paths_are_relative_to_the_configuration(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command works from any folder."""
    elsewhere: Path = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)

    assert project.json("eval", project.config)["n"] == 5
    assert list(elsewhere.iterdir()) == []
