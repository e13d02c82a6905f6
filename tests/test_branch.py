"""`wordgrad runs replay ID --set key=value`: what if? Only what differs is paid."""

from __future__ import annotations

import pytest

import wordgrad as wg
from project import Project, Pupil, project
from stored import rows
from wordgrad.testing import RuleEngine
from wordgrad.types import Request

__all__ = ["project"]

SHARED = "SELECT count(*) FROM attempts WHERE run = '{}' AND NOT shared"


class Slow(Pupil):
    """Learns to shout words of one number after the other, so that each step has something to learn."""

    def said(self, request: Request) -> object:  # type: ignore[override]
        system, word = request.messages[0].text, request.messages[-1].text
        if request.purpose == "optimize":
            known = word.count("Shout ")
            return {"value": "Say it. " + " ".join(f"Shout {number}." for number in range(2 * known + 2))}
        if request.purpose == "forward":
            return word.upper() if f"Shout {word[-1]}." in system else word
        return super().said(request)


@pytest.fixture
def run(project: Project) -> str:
    """A run of two steps that found something in each."""
    project.change("batch = 4", "batch = 8")
    project.rows("validation", [f"held{number}" for number in range(40)])
    project.engine(Slow())
    made = project.json("optimize", project.config)
    assert (made["leads"], made["accepted"]) == (2, True)
    return str(made["run"])


def branched(project: Project, run: str, *options: object) -> tuple[dict[str, object], int]:
    """The report of a branch, and the calls that it paid for."""
    engine = Slow()
    project.engine(engine)
    found: dict[str, object] = project.json("runs", "replay", run, *options)
    ((paid,),) = rows(project.store, SHARED.format(found["run"]))
    assert paid == len(engine.history)
    return found, paid


def test_another_alpha_costs_nothing(project: Project, run: str) -> None:
    """All calls are those of the run: only the claim is made anew."""
    found, paid = branched(project, run, "--set", "accept.alpha=0.1")
    before = next(each["report"] for each in project.json("runs", "list") if each["run"] == run)

    assert (paid, found["calls"], found["leads"]) == (0, 0, 2)
    assert (before["decision"]["alpha"], found["decision"]["alpha"]) == (0.05, 0.1)  # type: ignore[index]
    assert found["variables"] == before["variables"]


def test_a_later_step_costs_what_it_adds(project: Project, run: str) -> None:
    """A third step is paid, the two before it are not; the branch can be resumed and replayed as any run."""
    found, paid = branched(project, run, "--from-step", 3, "--set", "search.steps=3")
    again = project.json("runs", "replay", found["run"])

    assert (found["steps"], found["leads"]) == (3, 3)
    assert 0 < paid < 120
    assert again["same"] is True


def test_a_branch_keeps_the_steps_before_it(project: Project, run: str) -> None:
    """It may end there, and not earlier."""
    code, _, err = project.run("runs", "replay", run, "--from-step", 3, "--set", "search.steps=1")

    assert code == 2
    assert "--set search.steps=1: a branch from step 3 keeps the 2 before it" in " ".join(err.split())
    assert branched(project, run, "--from-step", 2, "--set", "search.steps=1")[0]["steps"] == 1


def test_steps_before_the_branch_stay_as_they_were(project: Project, run: str) -> None:
    """From the second step on there are more candidates; the first is the run's own."""
    found, _ = branched(project, run, "--from-step", 2, "--set", "search.candidates=4")
    first, second = (project.json("runs", "show", each)["steps"] for each in (run, found["run"]))

    assert second[0] == first[0]
    asked = "SELECT count(*) FROM attempts WHERE run = '{}' AND purpose = 'optimize'"
    assert [rows(project.store, asked.format(each)) for each in (run, found["run"])] == [[(4,)], [(6,)]]


def test_a_branch_says_that_it_proves_nothing(project: Project, run: str) -> None:
    """Its sealed rows have been looked at; and it never writes."""
    before = project.prompt.read_text("utf-8")
    code, out, _ = project.run("runs", "replay", run, "--set", "accept.alpha=0.2")

    assert code == 0
    assert ". Another run has looked at these rows: a hint, and no proof.\n" in out
    assert project.prompt.read_text("utf-8") == before
    branch = project.json("runs", "list")[0]
    assert (branch["report"]["accepted"], branch["report"]["decision"]["proved"]) == (True, False)
    assert "a hint, and no proof" in project.run("runs", "show", branch["run"])[1]
    assert project.json("runs", "replay", branch["run"])["same"]


def test_a_branch_keeps_its_budget(project: Project, run: str) -> None:
    """Calls that the run paid for do not count."""
    found, paid = branched(project, run, "--from-step", 3, "--set", "search.steps=9", "--budget-calls", 100)

    assert (found["status"], paid <= 100) == ("budget", True)


def test_a_branch_has_the_limits_of_the_file(project: Project, run: str) -> None:
    """Where the command line gives none; what is set of them holds too."""
    found, paid = branched(project, run, "--set", "search.steps=9", "--set", "budget.calls=100")

    assert (found["status"], paid <= 100) == ("budget", True)


def test_a_branch_that_could_prove_nothing_is_refused(project: Project, run: str) -> None:
    """As a run of its own would be: twenty sealed rows are too few for one false claim in ten million."""
    code, _, err = project.run("runs", "replay", run, "--set", "accept.alpha=0.0000001")

    assert (code, "20 validation rows are sealed" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "accept.alpha"], "--set accept.alpha: write key=value"),
        (["--set", "accept.alhpa=0.1"], "unknown key; did you mean alpha?"),
        (["--set", "accept.alpha=2"], "accept.alpha: Input should be less than 1"),
        (["--set", "search.steps.x=2"], "'search.steps.x' cannot be set: 'steps' is no table"),
        (["--set", "variables.prompt.text=x"], "a branch begins with the run's own texts"),
        (["--from-step", "2"], "--from-step says from where on other settings hold: give them with --set"),
        (["--budget-usd", "2"], "a replay makes no call, so a budget is of a branch only"),
        (["--from-step", "9", "--set", "search.steps=9"], "made 2 steps: branch from one of them, or the next"),
        (
            ["--from-step", "2", "--set", "accept.alpha=0.1"],
            "--set accept.alpha: between two steps only search.steps, ",
        ),
    ],
)
def test_what_cannot_be_branched_says_why(project: Project, run: str, options: list[str], words: str) -> None:
    """Before anything is asked."""
    project.engine(RuleEngine(lambda _: wg.EngineError("asked", retryable=False), name="fake"))
    code, _, err = project.run("runs", "replay", run, *options)

    assert code == 2
    assert words in err
