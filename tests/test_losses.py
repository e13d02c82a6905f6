"""What judges an output: a model, a metric, or several of them; and what a judgement is worth."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import anyio
import numpy as np
import pytest

import wordgrad as wg
from engines import Model, prompt, texts, verdicts
from wordgrad.types import Request

VERDICT = {"critique": "The year is missing.", "score": 0.4}


def metric(fn: Callable[..., object], **options: object) -> wg.MetricLoss:
    """A metric with an objective of its own."""
    return wg.MetricLoss(fn, objective="the right city", **options)  # type: ignore[arg-type]


# ---- judges


def test_a_critique() -> None:
    """A `TextLoss` is the judge's words, without a score; the judge is shown all that is known."""
    model = Model(judgement=" The year is missing.\n")
    loss = wg.TextLoss("Is it exact?", model)("In spring.", "In May 1990.", context="When was it founded?")

    assert (loss.value, loss.score, loss.role_description) == ("The year is missing.", None, "judgement by TextLoss")
    (asked,) = model.asked("judge")
    assert all(shown in asked for shown in ("Is it exact?", "In spring.", "In May 1990.", "When was it founded?"))


@pytest.mark.parametrize("judgement", [wg.Completion(text="The year", finish="length"), " \n"])
def test_a_critique_that_is_none(judgement: object) -> None:
    """A critique that was cut off, or is empty, is no judgement: an error that says what to do."""
    loss = wg.TextLoss("Is it exact?", Model(judgement=judgement))("In spring.")  # type: ignore[arg-type]

    with pytest.raises(wg.NodeError, match=r"no whole critique \(finish='(length|stop)'\): raise max_tokens"):
        loss.value  # noqa: B018 - reading is the act


def test_a_score_by_a_rubric() -> None:
    """A `JudgeLoss` has the judge's score and, as its value, the critique, which is the gradient of what was judged."""
    model, solution = Model(judgement=VERDICT), prompt("In spring.", "answer")
    loss = wg.JudgeLoss("Exact: 1.", model)(solution)
    loss.backward()

    assert (loss.value, loss.score) == ("The year is missing.", 0.4)
    (gradient,) = solution.gradients
    assert (gradient.text, gradient.score, gradient.objective) == ("The year is missing.", 0.4, "Exact: 1.")
    assert len(model.history) == 1


@pytest.mark.parametrize(
    ("passing", "gradients"), [(None, ["The year is missing."]), (0.5, ["The year is missing."]), (0.4, [])]
)
def test_a_judges_score_may_pass(passing: float | None, gradients: list[str]) -> None:
    """An example whose score reaches `passing`, by default 1, gives no feedback."""
    solution = prompt("In spring.", "answer")
    wg.JudgeLoss("Exact: 1.", Model(judgement=VERDICT), passing=passing)(solution).backward()

    assert texts(solution) == gradients


def test_a_judges_reply_is_repaired_once() -> None:
    """A verdict that does not fit, such as 8 of 10, is sent back once with what is wrong."""

    def judge(request: Request) -> object:
        return VERDICT if len(request.messages) > 2 else {"critique": "Good.", "score": 8}

    model = Model(judgement=judge)  # type: ignore[arg-type]
    loss = wg.JudgeLoss("Exact: 1.", model)("In spring.")

    assert loss.score == 0.4
    assert "score: Input should be less than or equal to 1" in model.asked("judge")[1]
    assert loss.trace()[0].calls[0].completion.text == '{"critique": "Good.", "score": 8}'


def test_a_verdict_that_cannot_be_read_is_no_score() -> None:
    """Neither the reply nor its repair is a verdict: no score, no feedback, and the value says why."""
    model, solution = Model(judgement="Well."), prompt("In spring.", "answer")
    loss = wg.JudgeLoss("Exact: 1.", model)(solution)
    loss.backward()

    assert "gave no reply in the asked form" in loss.value
    assert (loss.score, solution.gradients, len(model.history)) == (None, (), 2)


def preferring(wanted: str) -> Callable[[Request], object]:
    """A judge of pairs that prefers the answer with these words, wherever it stands."""

    def judge(request: Request) -> object:
        first, second = request.messages[-1].text.split("The second answer")
        places = [name for name, shown in (("first", first), ("second", second)) if wanted in shown]
        return {"reason": "It is exact.", "better": places[0] if places else "neither"}

    return judge


def test_a_judge_of_pairs_prefers_one() -> None:
    """1 for the better output, 0 for the worse one, wherever the two stand; the reason is the critique."""
    loss = wg.PairwiseLoss("Exact: 1.", Model(judgement=preferring("1990")))  # type: ignore[arg-type]
    scores = [
        (loss(f"In May 1990, {n}.", f"In spring, {n}.").score, loss(f"In spring, {n}.", f"In May 1990, {n}.").score)
        for n in range(20)
    ]

    assert scores == [(1.0, 0.0)] * 20
    assert loss("In May 1990.", "In spring.").value == "It is exact."
    assert loss("In fall.", "In spring.", context="When?").score == 0.5


def test_pairs_are_shown_in_no_favoured_order() -> None:
    """Which output comes first changes from pair to pair, and is the same for a pair whichever of the two is judged."""
    model = Model(judgement={"reason": "It is first.", "better": "first"})
    loss = wg.PairwiseLoss("Exact: 1.", model)
    scores = [(loss(f"a{n}", f"b{n}").score, loss(f"b{n}", f"a{n}").score) for n in range(60)]

    assert set(scores) == {(1.0, 0.0), (0.0, 1.0)}
    assert 15 < sum(first for first, _ in scores if first) < 45
    asked = model.asked("judge")
    assert asked[::2] == asked[1::2]


def test_equal_outputs_need_no_judge() -> None:
    """Neither is better, and nobody is asked; a judge that cannot be read gives no score."""
    model = Model(judgement="Well.")
    loss = wg.PairwiseLoss("Exact: 1.", model)

    assert (loss("Same.", "Same.").score, model.history) == (0.5, ())
    assert (loss("One.", "Other.").score, len(model.history)) == (None, 2)


@pytest.mark.parametrize("judge", [wg.TextLoss, wg.JudgeLoss, wg.PairwiseLoss])
def test_a_blank_objective_is_refused(judge: Callable[[str], object]) -> None:
    """A critic must always be told what the output is judged by, so a judge needs words to judge by."""
    with pytest.raises(wg.UsageError, match="needs words to judge by"):
        judge(" \n")


@pytest.mark.parametrize("judge", [wg.TextLoss, wg.JudgeLoss, wg.PairwiseLoss])
def test_an_output_too_long_for_the_judge(judge: Callable[..., wg.TextLoss]) -> None:
    """Of an output that is longer than the judge's context, start and end are judged, and the cut is marked."""
    from test_core_backward import LONG, Narrow

    verdict = {"reason": "No.", "better": "neither"} if judge is wg.PairwiseLoss else VERDICT
    model = Narrow(judgement=verdict)  # as JSON it is a critique as any other
    loss = judge("Is it exact?", model)(f"Begin. {LONG} End.", context=LONG)
    loss.value  # noqa: B018 - the call is done

    (asked,) = model.asked("judge")
    assert all(shown in asked for shown in ("Is it exact?", "Begin. 第0文", " End.", "characters left out"))
    assert model.longest("judge") <= 8_192


def test_a_judge_with_room_sees_all() -> None:
    """Where the judge's context has room, or its length is not known, an output is judged whole."""
    model, output = Model(), "x" * 50_000
    wg.TextLoss("Is it exact?", model)(output).value  # noqa: B018 - reading is the act

    assert output in model.asked("judge")[0]


def test_the_default_judge_is_taken_when_the_loss_is_called() -> None:
    """A default that is set later, or holds elsewhere, never reaches a judgement that was asked for before."""
    first, second = Model(judgement="First."), Model(judgement="Second.")
    loss = wg.TextLoss("Is it exact?")
    with wg.backward_engine(first):
        judged = loss(wg.llm_call(None, "What?", engine=Model()))
    with wg.backward_engine(second):
        again = loss(wg.llm_call(None, "What?", engine=Model()))

    assert (judged.value, again.value) == ("First.", "Second.")


def test_no_judge_is_an_error_of_the_call() -> None:
    """Without `engine=` and a default, calling the loss says how to set one."""
    with pytest.raises(wg.UsageError, match="set_backward_engine"):
        wg.TextLoss("Is it exact?")("In spring.")


# ---- metrics


@pytest.mark.parametrize(
    ("returned", "score", "words"),
    [
        (0.25, 0.25, "Judged by the right city, the output scored 0.25; 1 is needed. The expected output is: Paris"),
        (0, 0.0, "Judged by the right city, the output scored 0; 1 is needed. The expected output is: Paris"),
        (False, 0.0, "Judged by the right city, the output scored 0; 1 is needed. The expected output is: Paris"),
        (
            np.float32(0.25),
            0.25,
            "Judged by the right city, the output scored 0.25; 1 is needed. The expected output is: Paris",
        ),
        (np.False_, 0.0, "Judged by the right city, the output scored 0; 1 is needed. The expected output is: Paris"),
        ((0.5, "Nearly."), 0.5, "Nearly."),
        ((0, " "), 0.0, "Judged by the right city, the output scored 0; 1 is needed. The expected output is: Paris"),
        ((False, "No."), 0.0, "No."),
        (wg.Score(value=0.5, feedback="Nearly."), 0.5, "Nearly."),
        (wg.Score(np.float32(0.25), "Nearly."), 0.25, "Nearly."),  # type: ignore[arg-type]
    ],
)
def test_what_a_metric_may_return(returned: object, score: float, words: str) -> None:
    """A number or a bool, numpy's too, a `Score`, or (number, feedback); without feedback the loss says what was wanted."""
    solution = prompt("Lyon", "answer")
    loss = metric(lambda output, target: returned)(solution, "Paris")
    loss.backward()

    assert (loss.score, loss.value, texts(solution)) == (score, words, [words])


@pytest.mark.parametrize(
    "returned", [None, "good", (0.5,), (0.5, 3), [1], np.ones(2), np.str_("good"), ("a", "b"), wg.Score]
)
def test_what_a_metric_must_not_return(returned: object) -> None:
    """What is no score is an error that names the metric and says what to return."""
    with pytest.raises(wg.NodeError, match=r"the metric '<lambda>' returned .*: return a number, a bool, a Score"):
        metric(lambda output, target: returned)("Lyon").value  # noqa: B018 - reading is the act


@pytest.mark.parametrize(
    "returned",
    [
        wg.Score("abc"),  # type: ignore[arg-type]
        wg.Score("0.5"),  # type: ignore[arg-type]
        wg.Score(np.ones(2)),  # type: ignore[arg-type]
        wg.Score(10**400),
        wg.Score(0.5, None),  # type: ignore[arg-type]
        wg.Score(None, 3),  # type: ignore[arg-type]
        wg.Score(0.5, notes=None),  # type: ignore[arg-type]
        wg.Score(0.5, notes={"the answer": None}),  # type: ignore[dict-item]
        wg.Score(0.5, tags=["a"]),  # type: ignore[arg-type]
    ],
)
def test_a_score_must_be_well_formed(returned: wg.Score) -> None:
    """The error names the metric, shows the score, and says what each part of one is."""
    with pytest.raises(
        wg.NodeError, match=r"(?s)the metric '<lambda>' returned Score\(.*\): give a Score a number, or None where"
    ):
        metric(lambda output, target: returned)("Lyon").value  # noqa: B018 - reading is the act


@pytest.mark.parametrize(
    "returned", [(None, "The reference is broken."), wg.Score(value=None, feedback="Broken."), (None, "")]
)
def test_what_cannot_be_judged_is_no_zero(returned: object) -> None:
    """A metric that could not judge has no score, does not pass, and blames nobody."""
    solution = prompt("Lyon", "answer")
    loss = metric(lambda output, target: returned)(solution)
    loss.backward()

    assert (loss.score, loss.result.passed, solution.gradients) == (None, None, ())


@pytest.mark.parametrize(
    ("options", "score", "passes"),
    [
        ({}, 1, True),
        ({}, 0.99, False),
        ({"passing": 0.5}, 0.5, True),
        ({"passing": 0.5}, 0.49, False),
        ({"bounds": (-5, 5)}, 5, True),
        ({"bounds": (0, 100), "higher_is_better": False}, 0, True),
        ({"bounds": (0, 100), "higher_is_better": False}, 1, False),
        ({"bounds": (0, 100), "higher_is_better": False, "passing": 10}, 10, True),
        ({"bounds": (0, 100), "higher_is_better": False, "passing": 10}, 11, False),
    ],
)
def test_passing(options: dict[str, object], score: float, passes: bool) -> None:
    """An example passes when its score reaches `passing`, by default the good end of the bounds."""
    solution = prompt("Lyon", "answer")
    loss = metric(lambda output, target: score, **options)(solution)
    loss.backward()

    assert (loss.result.passed, solution.gradients == ()) == (passes, passes)


@pytest.mark.parametrize("score", [1.01, -0.01, math.nan, math.inf])
def test_a_score_outside_the_bounds_is_an_error(score: float) -> None:
    """A score that cannot be is never clipped: the error says to fix the metric, or its bounds."""
    with pytest.raises(wg.NodeError, match=r"lies outside bounds=\(0\.0, 1\.0\): fix the metric, or its bounds"):
        metric(lambda output, target: score)("Lyon").value  # noqa: B018 - reading is the act


@pytest.mark.parametrize("options", [{"bounds": (1, 0)}, {"bounds": (0, 0)}, {"passing": 2}, {"passing": -0.1}])
def test_impossible_scales_are_refused(options: dict[str, object]) -> None:
    """Bounds that do not rise, and a `passing` outside them, fail where they are written."""
    with pytest.raises(wg.UsageError, match=r"must rise|lies outside"):
        metric(lambda output, target: 1, **options)


def test_a_metric_gets_plain_values() -> None:
    """Output and target arrive as plain values, Variables or not."""
    seen: list[tuple[object, object]] = []

    def compare(output: object, target: object) -> bool:
        seen.append((output, target))
        return True

    loss = metric(compare)(wg.Variable({"city": "Lyon"}), wg.Variable(["Paris"], "wanted"))

    assert loss.score == 1
    assert seen == [({"city": "Lyon"}, ["Paris"])]


def test_an_async_metric() -> None:
    """An async metric runs on the library's loop."""

    async def slow(output: str, target: str) -> tuple[float, str]:
        await anyio.lowlevel.checkpoint()
        return 0.5, "Nearly."

    class Slow:
        """An object that is called so."""

        async def __call__(self, output: str, target: str) -> tuple[float, str]:
            return await slow(output, target)

    assert metric(slow)("Lyon").value == "Nearly."
    assert metric(Slow())("Lyon").value == "Nearly."


@pytest.mark.parametrize("pure", [True, False])
def test_a_metric_of_a_run_is_recorded_unless_pure(pure: bool, tmp_path: object) -> None:
    """A resumed run reads a metric's score, sync or async, and computes it again only where that is declared pure."""
    ran: list[str] = []

    def sync(output: str, target: str) -> float:
        ran.append("sync")
        return 0.5

    async def later(output: str, target: str) -> tuple[float, str]:
        ran.append("async")
        return 0.25, "No."

    def scores(run: wg.Run) -> list[float | None]:
        with run:
            return [metric(each, pure=pure)("Lyon").score for each in (sync, later)]

    store = f"{tmp_path}/store.db"
    first = wg.Run(store)
    assert scores(first) == scores(wg.Run(store, resume=first.id)) == [0.5, 0.25]

    assert ran == ["sync", "async"] * (2 if pure else 1)


def test_a_metrics_objective() -> None:
    """What critics are told a metric stands for is its `objective`, else its docstring, else its name."""

    def exact(output: str, target: str) -> bool:
        """The answer is the city's name alone."""
        return False

    def bare(output: str, target: str) -> bool:
        return False

    stated = [wg.MetricLoss(exact, objective="Given."), wg.MetricLoss(exact), wg.MetricLoss(bare)]
    partly = [wg.MetricLoss(partial(partial(fn))) for fn in (exact, bare)]

    assert [loss.objective for loss in stated] == [
        "Given.", "The answer is the city's name alone.", "the metric 'bare'",
    ]  # fmt: skip
    assert [loss.objective for loss in partly] == [loss.objective for loss in stated[1:]]


def test_a_metric_says_that_the_output_was_cut() -> None:
    """Where the output was cut off at its limit the words of a bare number say so."""
    answer = wg.llm_call(None, "Which?", engine=Model(wg.Completion(text="Ly", finish="length")))

    assert str(metric(lambda output, target: 0)(answer)).endswith("The output was cut off at its length limit.")


# ---- what is beside the output


def test_targets_and_contexts_get_no_feedback() -> None:
    """What was wanted and what is known may be trainable Variables; they are read, and never blamed."""
    solution, wanted, known = prompt("Lyon", "answer"), prompt("Paris", "target"), prompt("France", "context")
    wg.TextLoss("Is it true?", Model())(solution, wanted, context=known).backward()

    assert (texts(solution), wanted.gradients, known.gradients) == (["It is wrong."], (), ())


@wg.function(on_error="feedback")
def whole(text: str) -> int:
    """Read a whole number."""
    return int(text)


@pytest.mark.parametrize("place", ["target", "context"])
@pytest.mark.parametrize("loss", [wg.MetricLoss(lambda output, target: 0.0), wg.JudgeLoss("Exact: 1.", Model())])
def test_a_failed_target_blames_nobody(loss: wg.MetricLoss, place: str) -> None:
    """Without the target or the context an output cannot be judged: no score, no call, and no feedback on it."""
    solution = prompt("7", "answer")
    judged = loss(solution, **{place: whole("seven")})  # type: ignore[arg-type]
    judged.backward()

    assert (judged.score, solution.gradients) == (None, ())
    assert "invalid literal for int()" in judged.value


def test_a_judgement_may_be_read_on() -> None:
    """The critique is a value as any other: a model that reads it sends feedback to what was judged, by a critic."""
    model, draft = Model("A better text."), prompt("A text.", "draft")
    critique = wg.TextLoss("Is it short?", model)(draft)
    better = wg.llm_call("Improve the text.", [draft, critique], engine=model)

    with wg.backward_engine(model):
        better.backward("Still too long.")

    assert texts(draft) == ["Be exact.", "Be exact."]
    assert "Is it short?" in next(asked for asked in model.asked("backward") if "It is wrong." in asked)


# ---- several


def test_two_objectives_with_the_same_words_are_two() -> None:
    """Objectives are kept apart by their names: two judges with one instruction leave two gradients, by two critics."""
    strict, mild = Model(judgement="Far too long."), Model(judgement="A little long.")
    model, system = Model(), prompt()
    losses = wg.objectives(strict=wg.TextLoss("Is it short?", strict), mild=wg.TextLoss("Is it short?", mild))

    with wg.backward_engine(model):
        losses(wg.BlackboxLLM(model, system)("What?"), example="row 7").backward()

    asked = model.asked("backward")
    assert [("Far too long." in each, "A little long." in each) for each in asked] == [(True, False), (False, True)]
    assert [each.objective for each in system.gradients] == ["mild: Is it short?", "strict: Is it short?"]


def test_objectives_add_up() -> None:
    """The scores of several objectives add up; where one has none, neither has the sum. None at all is an error."""
    half, none = metric(lambda output, target: 0.5), metric(lambda output, target: (None, ""))

    assert wg.objectives(one=half, other=half)("Lyon").score == 1
    assert wg.objectives(one=half, other=none)("Lyon").score is None
    with pytest.raises(wg.UsageError, match="at least one loss"):
        wg.objectives()


def test_all_objectives_know_target_and_context() -> None:
    """Each of several losses is told the target and the context."""
    model = Model()
    wg.objectives(one=wg.TextLoss("A?", model), two=wg.TextLoss("B?", model))("Lyon", "Paris", context="France").result  # noqa: B018

    assert all("Paris" in asked and "France" in asked for asked in model.asked("judge"))


# ---- notes on what came before


def noted(model: Model, notes: dict[str, str], *, score: float | None = 0.0) -> tuple[wg.Variable, wg.Variable]:
    """The prompts of a chain of two calls, after a metric with notes was back-propagated from."""
    first, second = prompt("Find.", "system prompt of the finder"), prompt("Answer.", "system prompt of the writer")
    passages = wg.llm_call(first, "When?", engine=model, role_description="the passages")
    output = wg.llm_call(second, passages, engine=model, role_description="the answer")
    loss = wg.MetricLoss(lambda output, target: wg.Score(score, "It is wrong.", notes=notes))(output)
    with wg.backward_engine(model):
        loss.backward()
    return first, second


def test_a_note_begins_where_its_variable_is() -> None:
    """Without it nothing is asked of the first call, whose reader blames nobody before it; with it that call is."""

    def critic(request: Request) -> object:
        found = verdicts(request)
        asked = request.messages[-1].text
        blamed = ("Find." in asked and "No dates are in them." in asked) or "Answer." in asked
        none = {"verdict": "none", "severity": 0, "change": ""}
        return {"parts": [{**each, **({} if blamed and each["part"] == "P1" else none)} for each in found["parts"]]}  # type: ignore[index, union-attr, dict-item, call-overload]

    without, _ = noted(Model(critic=critic), {})  # type: ignore[arg-type]
    first, second = noted(Model(critic=critic), {"the passages": "No dates are in them."})  # type: ignore[arg-type]

    assert (texts(without), texts(first), texts(second)) == ([], ["Be exact."], ["Be exact."])
    assert first.gradients[0].score == 0.0


def test_a_note_on_a_parameter_needs_no_critic() -> None:
    """It is the feedback itself, beside what the pass finds."""
    model = Model()
    first, _ = noted(model, {"system prompt of the finder": "Ask for dates."})

    assert "Ask for dates." in texts(first)
    assert len(first.gradients) == 2


def test_what_passes_or_was_not_judged_has_no_notes() -> None:
    """There is nothing to mend, or nobody to blame."""
    for score in (1.0, None):
        model = Model()
        first, second = noted(model, {"the passages": "No dates."}, score=score)

        assert (first.gradients, second.gradients, model.asked("backward")) == ((), (), [])


def test_a_note_on_nothing_is_told() -> None:
    """With the names that there are."""
    with pytest.raises(wg.GraphError, match=r"has a note on 'passage', and before its output are .*'the passages'"):
        noted(Model(), {"passage": "No dates."})


def test_a_fused_critic_is_shown_the_notes() -> None:
    """One critic for the trace sees the loss's words, and each note with its name."""
    model, first = Model(), prompt("Find.", "system prompt of the finder")
    output = wg.llm_call(first, "When?", engine=model, role_description="the answer")
    score = wg.Score(0.0, "It is wrong.", notes={"the answer": "No date is in it."})
    loss = wg.MetricLoss(lambda output, target: score)(output)
    with wg.backward_engine(model):
        wg.backward([loss], strategy=wg.fused)

    (asked,) = model.asked("backward")
    assert "It is wrong." in asked
    assert "the answer: No date is in it." in asked
