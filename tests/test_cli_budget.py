"""Budgets of the main job, and going on after one was spent."""

from __future__ import annotations

import json
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest

import wordgrad as wg
from project import BETTER, Half, Project, Pupil, Two, project
from wordgrad.testing import RuleEngine
from wordgrad.types import Price, Request

__all__ = ["project"]

WHOLE = 49
"""Calls of the whole job, and the least budget that allows its first step; see test_cli."""


class Timed(Pupil):
    """Each call takes a second of the run's clock; those with the better text on some rows may take longer.

    Args:
        monkeypatch: Sets the clock.
        late_s: What these take.
        late: How their words begin.
        **options: As for `RuleEngine`.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, late_s: float = 1.0, late: str = "train", **options: Any
    ) -> None:
        super().__init__(**options)
        self.now_s = 0.0
        self.late_s, self.late = late_s, late
        clock = SimpleNamespace(time=time.time, monotonic=lambda: self.now_s)
        monkeypatch.setattr("wordgrad.store.ledger.time", clock)

    def said(self, request: Request) -> object:  # type: ignore[override]
        late = request.messages[-1].text.startswith(self.late) and "CAPITALS" in request.messages[0].text
        self.now_s += self.late_s if late else 1.0
        return super().said(request)


def told(project: Project, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the report and stderr of `optimize`."""
    code, out, err = project.run("optimize", project.config, "--json", *arguments)
    return code, json.loads(out) if out else {}, err


def same(report: dict[str, Any]) -> dict[str, Any]:
    """The report without what differs between runs that found the same."""
    return {key: value for key, value in report.items() if key not in ("run", "seconds")}


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.8, 0.95])
def test_money_ends_the_search_as_planned(project: Project, share: float) -> None:
    """Wherever a limit in dollars ends the search, it is kept, and enough was held back to judge and measure the end."""
    price = Price(input_usd=1.0, output_usd=2.0)
    project.change("steps = 2", "steps = 6")
    project.rows("validation", [f"held{number}" for number in range(40)])
    project.engine(Half(price=price))
    whole = told(project)[1]["cost_usd"]

    code, found, _ = told(project, "--budget-usd", str(share * whole))

    assert (code, found["status"], found["accepted"]) == (0, "budget", found["leads"] > 0)
    assert found["test"]["end"] == 0.6 * found["leads"]
    assert found["cost_usd"] <= share * whole


@pytest.mark.parametrize(("seconds", "status", "leads"), [(12, "budget", 0), (60, "budget", 1), (90, "done", 1)])
def test_time_ends_the_search_as_planned(
    project: Project, monkeypatch: pytest.MonkeyPatch, seconds: int, status: str, leads: int
) -> None:
    """A step begins only where time for it is left beside what the end takes."""
    project.engine(Timed(monkeypatch))

    code, found, _ = told(project, "--budget-seconds", str(seconds))

    assert (code, found["status"], found["leads"]) == (0, status, leads)
    assert found["test"]["end"] == float(leads)
    assert found["seconds"] <= seconds


@pytest.mark.parametrize("share", [0.5, 0.55, 0.65])
def test_the_last_call_has_room_for_its_whole_reply(project: Project, share: float) -> None:
    """A call reserves all that it may write: that much is held back, too, however short replies are."""
    project.change("max_tokens = 20", "max_tokens = 1000")
    project.change("steps = 2", "steps = 6")
    project.rows("validation", [f"held{number}" for number in range(40)])
    project.engine(Half(price=Price(input_usd=1.0, output_usd=2.0)))
    whole = told(project)[1]["cost_usd"]

    code, found, _ = told(project, "--budget-usd", str(share * whole))

    assert (code, found["status"], found["accepted"]) == (0, "budget", found["leads"] > 0)


@pytest.mark.parametrize(("kind", "in_a_dollar"), [("usd", 1), ("tokens", 1_000_000)])
@pytest.mark.parametrize("share", [0.65, 0.8])
def test_a_fifth_is_held_back_for_longer_texts(project: Project, share: float, kind: str, in_a_dollar: int) -> None:
    """Where the new text is far longer than the start, one and a half times what rows took then would not be enough."""
    project.change("steps = 2", "steps = 6")
    project.rows("validation", [f"held{number}" for number in range(40)])
    project.engine(Half({"value": BETTER + " Be clear." * 100}, price=Price(input_usd=1.0, output_usd=1.0)))
    limit_usd = share * told(project)[1]["cost_usd"]
    project.change("[search]", f"[budget]\n{kind} = {round(limit_usd, 6) * in_a_dollar:g}\n\n[search]")

    code, found, _ = told(project)

    assert (code, found["status"], found["test"]["end"]) == (0, "budget", 0.6)
    assert found["cost_usd"] <= limit_usd + 1e-6


@pytest.mark.parametrize("seconds", [2_100, 2_200])
def test_a_fifth_is_held_back_for_slower_texts(project: Project, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Likewise of time; with these limits the search ends where half as much again would leave too little."""

    class Thorough(Timed, Half):
        """Its critics take five minutes."""

        def said(self, request: Request) -> object:  # type: ignore[override]
            self.now_s += 300.0 if request.purpose == "backward" else 0.0
            return super().said(request)

    project.change("steps = 2", "steps = 6")
    project.rows("validation", [f"held{number}" for number in range(40)])
    project.engine(Thorough(monkeypatch, late_s=100.0, late="test", max_in_flight=1))

    code, found, _ = told(project, "--budget-seconds", str(seconds))

    assert (code, found["status"], found["test"]["end"]) == (0, "budget", 0.6)
    assert found["seconds"] <= seconds


def test_the_message_says_what_was_spent(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that ran out before the decision is called time; the exit code is 3, and how to go on is said."""
    project.engine(Timed(monkeypatch, late_s=100.0))

    code, found, err = told(project, "--budget-seconds", "90")

    assert (code, found["status"], found["decision"]) == (3, "unmeasured", None)
    assert "error: the budget of 90 seconds is spent" in err
    assert "before what was found could be measured" in err
    assert f"wordgrad runs resume {found['run']} --store {project.store} and a larger budget (--budget-calls" in err


@pytest.mark.parametrize(
    ("first", "larger", "code"),
    [
        (["--budget-calls", "3"], ["--budget-calls", "100"], 3),
        (["--budget-calls", "44"], ["--budget-calls", "100"], 0),
        (["--budget-seconds", "1"], ["--budget-seconds", "100"], 3),
        (["--budget-seconds", "40"], ["--budget-seconds", "100"], 0),
    ],
)
def test_a_spent_budget_can_be_raised(
    project: Project, monkeypatch: pytest.MonkeyPatch, first: list[str], larger: list[str], code: int
) -> None:
    """A run that its budget ended before any text led goes on to what it would have found, and pays nothing twice."""
    whole = told(project)[1]
    engine = Timed(monkeypatch)
    project.engine(engine)
    ended, _, _ = told(project, *first)
    run = project.json("runs", "list")[0]["run"]

    resumed = project.json("runs", "resume", run, *larger)
    again = project.json("runs", "resume", run)

    assert (ended, same(resumed), len(engine.history)) == (code, same(whole), WHOLE)
    assert same(again) == same(whole)


def test_a_raised_budget_holds_too(project: Project) -> None:
    """A resumed run stops at its new limit, and counts what it had used before."""
    engine = Pupil()
    project.engine(engine)
    told(project, "--budget-calls", "3")
    run = project.json("runs", "list")[0]["run"]

    code, _, err = project.run("runs", "resume", run, "--budget-calls", "5")

    assert (code, len(engine.history)) == (3, 5)
    assert "error: the budget of 5 calls is spent: 5 used" in err


@pytest.mark.parametrize(("late", "in_flight", "decided"), [("train", 9, False), ("test", 1, True)])
def test_an_end_that_was_not_measured_can_be_measured(
    project: Project, monkeypatch: pytest.MonkeyPatch, late: str, in_flight: int, decided: bool
) -> None:
    """With more time the same text is judged and scored; the search is not done again."""
    whole = told(project)[1]
    engine = Timed(monkeypatch, late_s=100.0, late=late, max_in_flight=in_flight)
    project.engine(engine)
    _, found, _ = told(project, "--budget-seconds", "90")

    resumed = project.json("runs", "resume", found["run"], "--budget-seconds", "10000")

    assert (found["status"], found["decision"] is not None) == ("unmeasured", decided)
    assert same(resumed) == same(whole)
    assert len(engine.history) == WHOLE


def test_what_meets_the_sealed_rows_late_is_what_was_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that ends the search inside a step leaves none to judge its text; with more, that text is judged, and only it."""
    project.engine(Timed(monkeypatch, late_s=100.0, max_in_flight=1))
    _, found, _ = told(project, "--budget-seconds", "90")
    engine = Pupil()
    project.engine(engine)

    resumed = project.json("runs", "resume", found["run"], "--budget-seconds", "10000")
    again, _, _ = project.run("runs", "resume", found["run"], "--budget-seconds", "20000")

    assert (found["status"], found["steps"], found["decision"]) == ("unmeasured", 1, None)
    assert (resumed["status"], resumed["steps"], resumed["accepted"]) == ("budget", 1, True)
    assert not [each for each in engine.history if each.prompt.startswith("train")]
    assert again == 2


def test_a_search_that_its_budget_ended_is_called_so(project: Project) -> None:
    """Whoever reads that the start was kept must know that nothing else was tried, and how to try it."""
    code, out, _ = project.run("optimize", project.config, "--budget-calls", "6")
    run = project.json("runs", "list")[0]["run"]

    assert code == 0
    assert (
        f"the budget ended the search after 0 of 2 steps. Go on with: wordgrad runs resume {run} --store "
        f"{project.store} and a larger budget (--budget-calls, --budget-tokens, --budget-usd, --budget-seconds)\n"
    ) in out
    assert "the start is kept: the budget has no room for a step.\n" in out


def test_nobody_is_sent_on_from_a_text_that_was_judged(project: Project) -> None:
    """A search that its budget ended with a text is called so too, and no larger budget is offered: it would be refused."""
    code, out, _ = project.run("optimize", project.config, "--budget-calls", str(WHOLE))

    assert code == 0
    assert "the budget ended the search after 1 of 2 steps\n" in out
    assert "Go on with" not in out


class Tenth(Pupil):
    """Learns the words that end with a nought, so that a race takes all its heats."""

    def said(self, request: Request) -> object:  # type: ignore[override]
        said = super().said(request)
        word = request.messages[-1].text
        return said if request.purpose != "forward" or word[-1] == "0" else word


def test_limits_stand_in_the_file(project: Project) -> None:
    """A `[budget]` holds as the options do, which hold in its place; a resumed run has it too."""
    project.change("[search]", "[budget]\ncalls = 44\ntokens = 100000\n\n[search]")
    _, found, _ = told(project)
    _, more, _ = told(project, "--budget-calls", "66")
    resumed = project.json("runs", "resume", found["run"])

    assert [(each["status"], each["steps"]) for each in (found, more, resumed)] == [
        ("budget", 0),
        ("budget", 1),
        ("budget", 0),
    ]
    project.change("tokens = 100000", "tokens = 10")
    assert told(project)[0] == 3


def test_a_budget_may_end_a_race_between_two_heats(project: Project) -> None:
    """Each heat is paid for by itself: the step that it ends is kept, and says so; the sealed rows still decide."""
    project.rows("validation", [f"held{number}" for number in range(40)])
    project.engine(Tenth())
    _, whole, _ = told(project)
    _, cut, _ = told(project, "--budget-calls", "90")
    first = project.json("runs", "show", cut["run"])["steps"][0]

    assert "the budget ended the race" not in project.json("runs", "show", whole["run"])["steps"][0]["reason"]
    assert first["reason"].endswith("8 selection rows, the present text 0% on 8; the budget ended the race")
    assert (cut["status"], cut["steps"], cut["calls"] <= 90) == ("budget", 1, True)
    assert project.json("runs", "replay", cut["run"])["same"]


def test_a_race_that_a_budget_cut_is_not_gone_on_with(project: Project) -> None:
    """What it ended with has met the sealed rows: a larger budget is refused, and the run stays what it was."""
    project.rows("validation", [f"held{number}" for number in range(40)])
    project.change("steps = 2", "steps = 1")
    project.engine(Tenth())
    _, cut, _ = told(project, "--budget-calls", "90")
    code, _, err = project.run("runs", "resume", cut["run"], "--budget-calls", "1000")
    again = project.json("runs", "resume", cut["run"], "--budget-calls", "90")

    assert (cut["status"], cut["decision"] is not None) == ("done", True)
    assert (code, "is over: what it found has met the sealed rows" in err) == (2, True)
    assert same(again) == same(cut)
    assert project.json("runs", "replay", cut["run"])["same"]


def test_a_step_is_paid_for_by_what_a_row_takes(project: Project) -> None:
    """Where a judge is asked about each row, a step needs twice the calls: it is not begun to be thrown away."""

    class Judge(Pupil):
        """Judges by whether it is shouted, seeing what is wanted."""

        def said(self, request: Request) -> object:  # type: ignore[override]
            if request.purpose != "judge":
                return super().said(request)
            shouted = len(re.findall(r"TEST|HELD|TRAIN", request.messages[-1].text)) > 1
            return {"critique": "Shout it.", "score": float(shouted)}

    project.change("[search]", '[metric]\nkind = "rubric"\nrubric = "Is it shouted?"\n\n[search]')
    project.engine(Judge())
    reports = [told(project, "--budget-calls", str(calls))[1] for calls in (88, 89)]

    # The engine once, then two calls a row: 5 rows to open, 22 in a step at least, 17 in the end.
    assert [each["steps"] for each in reports] == [0, 1]
    assert reports[0]["calls"] == 1 + 2 * 5


def test_a_budget_that_ends_inside_a_step_keeps_what_was_found(project: Project) -> None:
    """Calls that the estimate of a step left out may end it in the middle: the text before it is the result."""
    project.engine(Two())

    code, found, _ = told(project, "--budget-calls", str(WHOLE))

    assert (code, found["status"], found["steps"], found["calls"]) == (0, "budget", 0, 32)
    assert (found["decision"], found["test"]["end"], found["test"]["gain"]) == (None, 0.0, None)


def test_a_budget_that_ended_inside_the_first_step_can_be_raised(project: Project) -> None:
    """No text had led yet, and no sealed row was looked at: the run goes on to what it would have found."""
    engine = Two()
    project.engine(engine)
    whole = told(project)[1]
    before = len(engine.history)
    run = told(project, "--budget-calls", str(WHOLE))[1]["run"]

    resumed = project.json("runs", "resume", run, "--budget-calls", "500")

    assert same(resumed) == same(whole)
    assert len(engine.history) == 2 * before


@pytest.mark.parametrize("purpose", ["backward", "optimize", "forward"])
def test_a_service_that_fails_on_the_way_exits_4(project: Project, purpose: str) -> None:
    """Whoever was asked, an outage is an outage, says how to go on, and the resumed run asks again."""
    whole = told(project)[1]
    down = True

    class Down(Pupil):
        def said(self, request: Request) -> object:  # type: ignore[override]
            if down and request.purpose == purpose:
                return wg.EngineError("the server is gone", retryable=False, status=404)
            return super().said(request)

    project.engine(Down())
    code, out, err = project.run("optimize", project.config)
    run = project.json("runs", "list")[0]["run"]
    down = False

    resumed = project.json("runs", "resume", run)

    assert (code, "the server is gone" in err) == (4, True)
    assert f"stopped; all is kept. Go on with: wordgrad runs resume {run} --store {project.store}\n" in out
    assert {**same(resumed), "calls": 0} == {**same(whole), "calls": 0}


def test_an_unmeasured_end_is_called_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table and the list of runs say that there is no end score, and never show another number in its place."""
    project.engine(Timed(monkeypatch, late_s=100.0, late="test", max_in_flight=1))

    code, out, _ = project.run("optimize", project.config, "--budget-seconds", "90")
    _, listed, _ = project.run("runs", "list")

    assert code == 3
    assert [line.split() for line in out.splitlines() if line.startswith((" start", " end"))] == [
        ["start", "0.0%", "0", "5"],
        ["end", "not", "measured", "5"],
    ]
    assert ("unmeasured" in listed, "0.0% → not measured" in listed) == (True, True)


def test_what_cannot_be_mended_by_going_on_offers_no_resumption(project: Project) -> None:
    """A mistake in the configuration would only come up again."""
    code, out, err = project.run("optimize", project.config, "--budget-usd", "1")

    assert (code, "Go on with" in out + err) == (2, False)


def test_the_store_can_be_copied_into_a_shell(project: Project) -> None:
    """A path with a space is quoted in the commands that are offered."""
    store = project.folder / "my runs" / "runs.db"

    _, out, _ = project.run("optimize", project.config, "--store", store)

    assert f" --store '{store}'\n" in out


def test_the_default_store_needs_no_mention(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --store and WORDGRAD_STORE the commands that are offered are short."""
    monkeypatch.delenv("WORDGRAD_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(project.folder))
    project.engine(RuleEngine(lambda _: wg.EngineError("gone", retryable=False, status=401), name="fake"))

    _, out, _ = project.run("optimize", project.config)

    assert "--store" not in out
    assert (project.folder / "wordgrad" / "runs.db").exists()


def test_a_refused_resume_changes_nothing(project: Project) -> None:
    """A limit that cannot hold is refused, and the run has ended as it had."""
    run = told(project, "--budget-calls", "30")[1]["run"]
    before = project.json("runs", "list")
    code, _, err = project.run("runs", "resume", run, "--budget-usd", "5")

    assert (code, "price is not known" in err) == (2, True)
    assert project.json("runs", "list") == before
    assert before[0]["report"]["status"] == "budget"
