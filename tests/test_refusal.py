"""A server that refuses some rows for what they say: they count for nothing, and the run goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

import wordgrad as wg
from project import BETTER, START, Project, Pupil, project, shouted, shouting
from wordgrad.errors import EngineError
from wordgrad.testing import Reply
from wordgrad.types import Request

__all__ = ["project"]


class Prim(Pupil):
    """Refuses to answer some words, as a content filter does."""

    def __init__(self, *words: str, status: int = 400) -> None:
        super().__init__()
        self.words = words
        self.refusal = EngineError("a content filter stopped this", retryable=False, status=status)
        self.down: tuple[str, ...] = ()
        """Words for which the key is gone, where they are to be shouted."""

    def said(self, request: Request) -> Reply:
        if (
            request.purpose == "forward"
            and request.messages[-1].text in self.down
            and "CAPITALS" in request.messages[0].text
        ):
            return EngineError("no such key", retryable=False, status=401)
        if request.purpose == "forward" and request.messages[-1].text in self.words:
            return self.refusal
        return super().said(request)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_row_is_excluded_and_counted(project: Project, status: int) -> None:
    """In the batch, the races, the sealed rows and the test rows; the run replays to the byte."""
    sealed, raced = project.divided().confirmation[0], project.divided().selection[0]
    project.engine(Prim("train1", "train2", raced, sealed, "test3", status=status))

    report = project.json("optimize", project.config)

    assert (report["accepted"], report["variables"][0]["end"]) == (True, BETTER)
    assert (report["decision"]["n"], report["decision"]["excluded"]) == (5, 1)
    assert (report["test"]["gain"]["n"], report["test"]["gain"]["excluded"]) == (4, 1)
    assert project.json("runs", "replay", report["run"])["same"] is True


def test_a_refused_row_is_named_once(project: Project) -> None:
    """With the server's words; however many texts it was refused under."""
    sealed = project.divided().confirmation[0]
    project.engine(Prim(sealed))

    _, out, _ = project.run("optimize", project.config)

    (told,) = [line for line in out.splitlines() if "was refused" in line]
    assert told.startswith("validation.jsonl:")
    assert told.endswith(" was refused, and does not count: a content filter stopped this")


def test_the_doctor_names_a_refused_row_once(project: Project) -> None:
    """However many looks it was refused in."""
    raced = project.divided().selection[0]
    project.engine(Prim(raced))

    _, out, _ = project.run("doctor", project.config)

    assert out.count("was refused") == 1


def test_rewrites_that_are_too_long_everywhere_lose(project: Project) -> None:
    """Though they are most of the texts: the present one is answered, so it is not the server."""

    class Brief(Pupil):
        def said(self, request: Request) -> Reply:
            if request.purpose == "forward" and "CAPITALS" in request.messages[0].text:
                return EngineError("too long", retryable=False, status=413)
            return super().said(request)

    project.engine(Brief())

    report = project.json("optimize", project.config)

    assert (report["accepted"], report["status"]) == (False, "done")
    assert report["variables"][0]["end"] == START


def test_a_small_batch_may_be_refused_as_a_whole(project: Project) -> None:
    """One row says nothing of the server: the next step learns from the next one."""
    project.change("steps = 2\nbatch = 4", "steps = 8\nbatch = 1")
    project.engine(Prim("train0", "train5"))

    report = project.json("optimize", project.config)

    assert (report["accepted"], report["steps"]) == (True, 8)
    assert project.json("runs", "replay", report["run"])["same"] is True


def test_refusals_in_a_row_do_not_end_a_run(project: Project) -> None:
    """More of them than what makes a server be asked no more, where a key is wrong."""
    words = [f"held{number}" for number in range(40)]
    project.rows("validation", words)
    division = project.divided()
    project.engine(Prim(*division.selection[:8], *division.confirmation[:8]))

    report = project.json("optimize", project.config)

    assert (report["accepted"], report["decision"]["n"], report["decision"]["excluded"]) == (True, 12, 8)


def test_an_account_without_money_refuses_no_row() -> None:
    """Where a server says 400 to that, too, the run ends, and can be resumed."""
    for words, refused in (("Your credit balance is too low to access the API", False), ("blocked by policy", True)):
        assert wg.EngineError(words, retryable=False, status=400).refused is refused


def test_rows_whose_function_failed_still_teach(project: Project) -> None:
    """A failure that is feedback is no refusal."""
    engine = Pupil()

    @wg.function(on_error="feedback")
    def capitals(said: str) -> str:
        if not said.isupper():
            raise ValueError(f"{said} is not in capitals")
        return said

    rows = shouted("held", 16)
    _, training = shouting(
        lambda variables, row: capitals(wg.llm_call(variables["prompt"], row["word"], engine=engine)), engine
    )

    assert training.fit(rows[:4], rows[4:]).accepted


def test_a_judge_of_pairs_is_not_shown_a_refusal(project: Project) -> None:
    """A text that is refused an answer where the start got one is not better for it, and a refusal is no answer."""
    sealed = project.divided().confirmation

    class Paired(Prim):
        def said(self, request: Request) -> Reply:
            if request.purpose == "judge":
                asked = request.messages[-1].text
                if "The first answer" not in asked:
                    good = re.search("[A-Z]{4}[0-9]", asked.split("The text to judge")[1])
                    return {"critique": "It should be in capitals.", "score": float(bool(good))}
                first = asked.split("The first answer")[1].split("The second answer")[0]
                return {"reason": "capitals", "better": "first" if re.search("[A-Z]{4}[0-9]", first) else "second"}
            if request.purpose == "forward" and "CAPITALS" not in request.messages[0].text:
                return request.messages[-1].text
            return super().said(request)

    project.change("[search]", '[metric]\nkind = "rubric"\nrubric = "Is it in capitals?"\n\n[search]')
    project.engine(Paired(*sealed[:5]))

    report = project.json("optimize", project.config)
    _, out, _ = project.run("runs", "show", report["run"])

    assert not report["accepted"]
    assert "5 sealed rows could be judged under the start, and not under the new text" in report["decision"]["words"]
    assert "content filter" not in out


def test_what_was_refused_on_sealed_rows_stays_so(project: Project) -> None:
    """A failure on the test rows afterwards does not have the sealed ones asked again, which another filter may answer."""
    sealed = project.divided().confirmation[0]
    engine = Prim(sealed)
    engine.down = ("test3",)
    project.engine(engine)
    code, _, _ = project.run("optimize", project.config)
    (run,) = (each["run"] for each in project.json("runs", "list"))
    engine.words, engine.down = (), ()

    resumed = project.json("runs", "resume", run)

    assert (code, resumed["accepted"], resumed["decision"]["excluded"]) == (4, True, 1)


def test_where_all_rows_are_refused_the_run_ends(project: Project) -> None:
    """That is a mistake in the request, not in the rows: no score comes of it."""
    project.engine(Prim(*(f"{split}{number}" for split in ("train", "held", "test") for number in range(12))))

    code, _, err = project.run("optimize", project.config)

    assert (code, "a content filter stopped this" in err) == (4, True)


def test_a_row_is_refused_for_one_text_alone(project: Project) -> None:
    """What could be judged under the start only is counted, and too many such rows keep the start."""

    class Lengthy(Pupil):
        def said(self, request: Request) -> Reply:
            if request.purpose == "forward" and "CAPITALS" in request.messages[0].text:
                word = request.messages[-1].text
                if word in project.divided().confirmation[:5]:
                    return EngineError("too long", retryable=False, status=413)
            return super().said(request)

    project.engine(Lengthy())

    report = project.json("optimize", project.config)

    assert report["accepted"] is False
    assert "5 sealed rows could be judged under the start, and not under the new text" in report["decision"]["words"]


@pytest.mark.parametrize(("status", "retryable"), [(401, False), (404, False), (None, False), (503, True)])
def test_other_failures_end_the_run(project: Project, status: int | None, retryable: bool) -> None:
    """A key, a model or a server that is not there says nothing of one row."""
    engine = Prim("test3")
    engine.refusal = wg.EngineError("gone", retryable=retryable, status=status, retry_after_s=0.0)
    project.engine(engine)

    assert project.run("optimize", project.config)[0] == 4


@pytest.mark.parametrize("waits", [False, True])
def test_a_program_that_reads_a_reply_itself_meets_the_refusal(waits: bool) -> None:
    """As an agent's loop does: the row counts for nothing, and the others are as they were."""
    engine = Prim("held7")

    def program(variables: Mapping[str, wg.Variable], row: Mapping[str, Any]) -> wg.Variable:
        answer = wg.llm_call(variables["prompt"], row["word"], engine=engine)
        return wg.llm_call(variables["prompt"], str(answer.value).lower(), engine=engine)

    async def waiting(variables: Mapping[str, wg.Variable], row: Mapping[str, Any]) -> wg.Variable:
        answer = wg.llm_call(variables["prompt"], row["word"], engine=engine)
        return wg.llm_call(variables["prompt"], str((await answer).value).lower(), engine=engine)

    rows = shouted("held", 24)
    prompt, training = shouting(waiting if waits else program, engine)

    result = training.fit(shouted("train", 4), rows[4:], rows[:4])

    assert (result.accepted, prompt.value) == (True, BETTER)
