"""A server that refuses requests for what they say: such rows and rewrites count for nothing, and the run goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest

import wordgrad as wg
from engines import Model, prompt
from project import BETTER, START, Project, Pupil, project, shouted, shouting
from wordgrad.errors import EngineError
from wordgrad.testing import Reply
from wordgrad.types import Completion, Purpose, Request

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


class Deaf(Pupil):
    """Refuses some requests for these purposes."""

    def __init__(self, refused: Callable[[Request], bool], *purposes: Purpose) -> None:
        super().__init__()
        self.refused = refused
        self.purposes = purposes

    def said(self, request: Request) -> Reply:
        if request.purpose in self.purposes and self.refused(request):
            return EngineError("a content filter stopped this", retryable=False, status=400)
        return super().said(request)


def naming(*words: str) -> Callable[[Request], bool]:
    """Whether a request has one of these words, in capitals or not."""
    return lambda request: any(each in request.messages[-1].text.casefold() for each in words)


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


@pytest.mark.parametrize(
    ("purpose", "words"),
    [("backward", "nothing asks for a change (a critic was refused: "), ("optimize", "no usable rewrite: prompt: ")],
)
def test_a_step_is_refused_and_not_the_run(project: Project, purpose: Purpose, words: str) -> None:
    """Where its only row is one that critics, or rewriters, may not read: all but the last. The run replays to the byte."""
    project.change("steps = 2\nbatch = 4", "steps = 8\nbatch = 1")
    project.engine(Deaf(naming(*(f"train{number}" for number in range(7))), purpose))

    report = project.json("optimize", project.config)
    _, out, _ = project.run("runs", "show", report["run"])

    assert (report["accepted"], report["steps"]) == (True, 8)
    assert f"{words}a content filter stopped this" in out
    assert project.json("runs", "replay", report["run"])["same"] is True


def test_a_row_that_no_critic_may_read_is_kept_from_the_rewriter(project: Project) -> None:
    """Whom the same filter would refuse all rows for it. The others teach, and it is named."""
    project.change("batch = 4", "batch = 8")
    project.engine(Deaf(naming("train1", "train2"), "backward", "optimize"))

    _, out, _ = project.run("optimize", project.config)
    (run,) = project.json("runs", "list")

    assert out.count("'s critic was refused, and it teaches nothing: a content filter stopped this") == 2
    assert run["report"]["accepted"] is True
    assert project.json("runs", "replay", run["run"])["same"] is True


def test_other_candidates_still_race(project: Project) -> None:
    """One that no rewriter may write is one that cannot be used."""
    engine = Deaf(lambda request: request.sample[-1] == 0, "optimize")
    project.engine(engine)

    report = project.json("optimize", project.config)

    assert report["accepted"] is True
    assert any(engine.refused(each.request) for each in engine.history if each.request.purpose == "optimize")
    assert project.json("runs", "replay", report["run"])["same"] is True


@pytest.mark.parametrize("purpose", ["backward", "optimize"])
def test_a_critic_or_a_rewriter_that_is_always_refused_is_an_error(project: Project, purpose: Purpose) -> None:
    """That is a mistake in the request, as a form that the server does not know, and no bad prompt. The doctor says it."""
    project.change("candidates = 2", "candidates = 3")
    project.engine(Deaf(naming(""), purpose))

    found = project.json("doctor", project.config)
    code, _, err = project.run("optimize", project.config)

    assert not found["worthwhile"]
    assert "a content filter stopped this" in found["verdict"]
    assert (code, "a content filter stopped this" in err) == (4, True)


def test_a_row_that_is_refused_alone_is_no_error(project: Project) -> None:
    """Where the others pass, so that nobody else was to be criticised: it may be what the row says."""
    project.prompt.write_text(BETTER, encoding="utf-8")
    rows = [{"word": f"train{number}", "shout": f"TRAIN{number or 'ED'}"} for number in range(8)]
    (project.folder / "train.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in rows), encoding="utf-8")
    engine = Deaf(naming(""), "backward")
    project.engine(engine)

    assert project.json("optimize", project.config)["status"] == "done"
    assert [each.request.purpose for each in engine.history].count("backward") == 1


def test_a_compression_that_is_refused_keeps_the_text(project: Project) -> None:
    """The longer one, which won."""
    project.change("[search]", "[search]\ncompressions = 1")
    project.engine(Deaf(naming("use at most"), "optimize"))

    report = project.json("optimize", project.config)
    _, out, _ = project.run("runs", "show", report["run"])

    assert (report["accepted"], report["variables"][0]["end"]) == (True, BETTER)
    assert "no usable rewrite: prompt: a content filter stopped this" in out


class Patient(Model):
    """Refuses one critic at once, and answers the others later."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = 0

    async def complete(self, request: Request) -> Completion:
        if request.purpose == "backward":
            if naming("rude")(request):
                raise EngineError("a content filter stopped this", retryable=False, status=400)
            await anyio.sleep(0.05)
            self.answered += 1
        return await super().complete(request)


@pytest.mark.parametrize("strategy", [wg.per_node, wg.per_edge, wg.fused])
def test_a_refused_critic_is_an_error_by_hand(strategy: Any) -> None:
    """Once all critics are there: what is asked beside it is not stopped. Nothing was accumulated."""
    model, system = Patient(), prompt()
    losses = [
        wg.MetricLoss(lambda output, target: 0.0)(wg.llm_call(system, word, engine=model), word)
        for word in ("rude", "kind")
    ]

    with wg.backward_engine(model), pytest.raises(EngineError, match="a content filter"):
        wg.backward(losses, strategy=strategy)

    assert (model.answered, system.gradients) == (1, ())


def test_a_refused_rewrite_is_a_reason() -> None:
    """And the other variables' are written all the same, though none is applied without it."""
    refusal = EngineError("a content filter stopped this", retryable=False, status=400)
    model = Model(rewrite=lambda asked: refusal if naming("rude")(asked) else {"value": "new"})
    one, two = prompt("Be rude."), prompt("Be kind.")
    for each in (one, two):
        each.accumulate_grad("Be exact.")

    result = wg.TGD([one, two], engine=model).step()

    assert (result.applied, result.reasons, result.calls) == (False, ("p1: a content filter stopped this",), 2)
    assert (one.value, two.value) == ("Be rude.", "Be kind.")


def test_what_was_refused_once_is_no_part_of_later_requests() -> None:
    """Not as a past step either, whose wishes a rewriter is shown."""
    model = Model(
        rewrite=lambda asked: (
            EngineError("filtered", retryable=False, status=400) if naming("rude")(asked) else {"value": "new"}
        )
    )
    system = prompt()
    optimizer = wg.TGD([system], engine=model, momentum=2)
    for words in ("Be rude.", "Be kind."):
        optimizer.zero_grad()
        system.accumulate_grad(words)
        optimizer.step()

    assert system.value == "new"


class Overtaken(Model):
    """Refuses two critics of one call, the second before the first."""

    def __init__(self) -> None:
        super().__init__()
        self.second = anyio.Event()

    async def complete(self, request: Request) -> Completion:
        if request.purpose != "backward":
            return await super().complete(request)
        which = "first" if "Answer for P1" in request.messages[-1].text else "second"
        if which == "second":
            self.second.set()
        await self.second.wait()
        if which == "first":
            await anyio.sleep(0.05)
        raise EngineError(f"no {which} critic", retryable=False, status=400)


def test_the_first_of_two_refusals_is_told() -> None:
    """In the order of the program, not of arrival: a run that is derived again says the same."""
    model = Overtaken()
    output = wg.llm_call(prompt(), prompt("What is it?", "question"), engine=model)
    loss = wg.MetricLoss(lambda output, target: 0.0)(output, "this")

    with wg.backward_engine(model), pytest.raises(EngineError, match="no first critic"):
        wg.backward(loss, strategy=wg.per_edge)
