"""The backward pass: who gets feedback, how often, in which words, and what it costs."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import anyio
import pytest

import wordgrad as wg
from engines import Model, prompt, texts, verdicts
from wordgrad.core.function import Feedback, Node
from wordgrad.core.value import Result
from wordgrad.core.walk import Strategy
from wordgrad.engines import defaults
from wordgrad.types import Capabilities, Finish, Purpose, Request

JUDGED = "Is it true?"
LIMIT_S = 30


def judged(model: Model, output: wg.Variable, **more: object) -> wg.Variable:
    """A critique of `output` by a model."""
    return wg.TextLoss(JUDGED, engine=model)(output, **more)  # type: ignore[arg-type]


def always_wrong(output: str, target: str) -> tuple[float, str]:
    """Nothing is good enough."""
    return 0.0, f"{output} is wrong."


def passes(output: str, target: str) -> float:
    """All is well."""
    return 1.0


class Rule(wg.Function):
    """A Function whose backward rule returns what it was made with, and keeps what it was given."""

    name = "rule"

    def __init__(self, *said: Feedback) -> None:
        self.said = said
        self.seen: list[list[str]] = []

    async def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result:
        """The inputs' texts in a row."""
        return Result(value="".join(str(each.value) for each in inputs))

    def backward(self, ctx: wg.Context, grads: Sequence[wg.Gradient]) -> Sequence[Feedback]:
        """Written by the test."""
        self.seen.append([each.text for each in grads])
        return self.said


# ---- the losses


def test_each_loss_gives_a_gradient() -> None:
    """N losses of one parameter leave N gradients on it: none is dropped."""
    model, system = Model(), prompt()
    answer = wg.BlackboxLLM(model, system)

    with wg.backward_engine(model):
        wg.backward([judged(model, answer(f"{n}")) for n in range(5)])

    assert texts(system) == ["Be exact."] * 5
    assert len({each.example for each in system.gradients}) == 5


def _grads(gather: Callable[[list[wg.Variable]], None]) -> list[tuple[str, str, int]]:
    """The gradients of three losses of one run, by text, objective and slot, when `gather` goes backward."""
    model, system = Model(judgement=lambda request: f"wrong: {len(request.messages)}"), prompt()
    with wg.Run(), wg.backward_engine(model):
        gather([judged(model, wg.BlackboxLLM(model, system)(f"{n}")) for n in range(3)])
    return [(each.text, each.objective, each.slot) for each in system.gradients]


@pytest.mark.parametrize(
    "gather",
    [
        lambda losses: wg.sum(losses).backward(),
        lambda losses: wg.sum([losses[0], wg.sum(losses[1:])]).backward(),
        lambda losses: sum(losses).backward(),
        lambda losses: wg.sum([*losses, *losses]).backward(),
        lambda losses: [loss.backward() for loss in losses],
    ],
    ids=["wg.sum", "nested", "sum", "twice", "one by one"],
)
def test_a_sum_is_its_losses(gather: Callable[[list[wg.Variable]], None]) -> None:
    """A sum of losses, however built, means what the list of them means: none dropped, none counted twice."""
    assert _grads(gather) == _grads(wg.backward) == [("Be exact.", JUDGED, 0)] * 3


def test_a_sum_never_blanks_the_objective() -> None:
    """The critic of a summed loss is told what the output is judged by, and what the judge said."""
    model, system = Model(judgement="The year is missing."), prompt()
    losses = [judged(model, wg.BlackboxLLM(model, system)(question)) for question in ("one", "two")]

    with wg.backward_engine(model):
        wg.sum(losses).backward()

    assert all(JUDGED in asked and "The year is missing." in asked for asked in model.asked("backward"))
    assert model.count("backward") == 2


def test_passing_costs_no_call() -> None:
    """An example that passes leaves no gradient and asks no critic."""
    model, system = Model(), prompt()
    loss = wg.MetricLoss(passes)(wg.BlackboxLLM(model, system)("What?"), "this")

    with wg.backward_engine(model):
        loss.backward()

    assert (system.gradients, model.count("backward")) == ((), 0)


def test_the_judges_words_are_the_gradient() -> None:
    """What a judge says of a solution is its gradient: no further call is made."""
    model, solution = Model(judgement="Line 2 never ends."), prompt("while True: pass", "code")

    judged(model, solution).backward()

    (gradient,) = solution.gradients
    assert (gradient.text, gradient.objective, gradient.output) == ("Line 2 never ends.", JUDGED, "while True: pass")
    assert len(model.history) == 1


def test_a_model_call_as_the_root_is_a_critique() -> None:
    """An LLM node used as the root judges what it read: its reply is the gradient, and costs no further call."""
    model, solution = Model("Too long."), prompt("A long text.", "essay")
    judgement = wg.llm_call("You judge essays.", solution, engine=model)

    judgement.backward()

    (gradient,) = solution.gradients
    assert (gradient.text, gradient.objective) == ("Too long.", "You judge essays.")
    assert len(model.history) == 1


@pytest.mark.parametrize("system", [None, "", wg.Variable("", "system prompt")])
def test_an_objective_is_never_blank(system: object) -> None:
    """A judging model without a system prompt judges by what it does: a critic is always told something."""
    solution = prompt("A long text.", "essay")
    wg.llm_call(system, solution, engine=Model("Too long.")).backward()  # type: ignore[arg-type]

    (gradient,) = solution.gradients
    assert gradient.objective == "a language model answers the input, following its system prompt"


@pytest.mark.parametrize(
    ("text", "finish"), [("I can't help with that.", "refusal"), ("It is", "length"), (" \n", "stop")]
)
def test_a_judging_model_that_did_not_judge_is_an_error(text: str, finish: Finish) -> None:
    """A refusal, a reply that was cut off, or nothing never becomes feedback on what was to be judged."""
    solution = prompt("A long text.", "essay")
    reply = wg.llm_call("Is it short?", solution, engine=Model(wg.Completion(text=text, finish=finish)))

    with pytest.raises(wg.GraphError, match=f"gave no whole critique .*{finish}"):
        reply.backward()
    assert solution.gradients == ()


def test_a_function_without_words_is_its_own_objective() -> None:
    """A judging Function that has neither description nor name is called by its class."""

    class Silent(Rule):
        name = ""

    solution = prompt("A long text.", "essay")
    Silent("Too long.").apply(solution).backward()

    (gradient,) = solution.gradients
    assert gradient.objective == "Silent"


def test_a_person_may_say_several_things() -> None:
    """A list of words and gradients about one output is each of them; a Gradient's own words are kept."""
    system = prompt("Be brief.")
    text = wg.format("{s}!", s=system)
    text.backward(["Too short.", wg.Gradient(text="Too rude.", objective="tone", severity=1, quote="!")])

    assert sorted((each.text, each.severity, each.quote) for each in system.gradients) == [
        ("Too rude.", 1, "!"),
        ("Too short.", 3, ""),
    ]


def test_a_persons_gradients_are_judged_by_what_they_say() -> None:
    """A Gradient without an objective has what the same words as a text have: one of its own, which the critic is told."""
    model, texts_given, gradients_given = Model("Paris, I think."), prompt(), prompt()

    with wg.backward_engine(model):
        for system, kind in ((texts_given, str), (gradients_given, lambda words: wg.Gradient(text=words))):
            answer = wg.BlackboxLLM(model, system)("Capital of France?", example="France")
            answer.backward([kind("Too long."), kind("Too rude.")])

    told = [(each.objective, each.feedback) for each in gradients_given.gradients]
    assert told == [(each.objective, each.feedback) for each in texts_given.gradients]
    assert len({objective for objective, _ in told}) == 2
    assert all("What the final output is judged by:" in each for each in model.asked("backward"))


def test_a_forgotten_loss_is_an_error() -> None:
    """backward() on the reply of the prompt in training means that a loss was forgotten."""
    answer = wg.BlackboxLLM(Model(), prompt())("What?")

    with pytest.raises(wg.GraphError, match=r"without a loss: pass the reply to a loss, or .*output\.backward"):
        answer.backward()


def test_a_persons_words_are_the_roots_gradient() -> None:
    """`output.backward("…")` gives the person's words to the output's critic, and on to its prompt."""
    model, system = Model("Paris, I think."), prompt()
    answer = wg.BlackboxLLM(model, system)("Capital of France?")

    with wg.backward_engine(model):
        answer.backward("Never say 'I think'.")

    (asked,) = model.asked("backward")
    assert "Never say 'I think'." in asked
    assert "Paris, I think." in asked
    assert (texts(answer), texts(system)) == (["Never say 'I think'."], ["Be exact."])
    assert system.gradients[0].objective


def test_two_remarks_never_replace_each_other() -> None:
    """Each of a person's remarks is an objective of its own; the same one again is the same gradient."""
    system = prompt("Be brief.")
    text = wg.format("{s}!", s=system)
    for words in ("Too short.", "Too rude.", "Too short."):
        text.backward(words)

    assert sorted(texts(system)) == ["Too rude.", "Too short."]


def test_a_persons_words_stand_beside_what_they_are_about() -> None:
    """The gradient of a remark holds the output it is about; its example, where none was named, is the call's place."""
    system = prompt("Be brief.")
    with wg.Run():
        wg.format("{s}?", s=system)
        outputs = wg.map(lambda mark: wg.format("{s}" + mark, s=system), "!.")
    wg.backward(outputs, "Too short.")

    assert [(each.example, each.output) for out in outputs for each in out.gradients] == [
        ("1.0.0", "Be brief.!"),
        ("1.1.0", "Be brief.."),
    ]


def test_a_person_may_speak_of_many_outputs() -> None:
    """The same words about two outputs are a gradient for each."""
    system = prompt("Be brief.")
    outputs = [wg.format(template, s=system) for template in ("{s}!", "{s}?")]

    wg.backward(outputs, "Too short.")

    assert texts(system) == ["Too short."] * 2


# ---- what is refused


def test_a_second_backward_is_an_error() -> None:
    """A loss is used once; `retain_graph=True` on the first call allows a second."""
    model, solution = Model(), prompt()
    loss, among, kept = (judged(model, solution) for _ in range(3))
    loss.backward()
    wg.backward([among])
    kept.backward(retain_graph=True)
    kept.backward()

    for spent in (loss, among, kept):
        with pytest.raises(wg.GraphError, match=r"already called.*retain_graph=True"):
            spent.backward()


def test_a_persons_words_on_a_spent_loss_leave_it_spent() -> None:
    """Feedback on a judgement does not make it usable once more."""
    model, loss = Model(), judged(Model(), prompt())
    loss.backward()
    with wg.backward_engine(model):
        loss.backward("The judge is too strict.")

    with pytest.raises(wg.GraphError, match="already called"):
        loss.backward()


def test_one_spent_loss_in_a_sum_is_an_error() -> None:
    """The rule holds for the losses of a sum, and no other loss of it is used."""
    model, solution = Model(), prompt()
    spent, fresh = judged(model, solution), judged(model, solution)
    spent.backward()
    solution.zero_grad()

    with pytest.raises(wg.GraphError, match="already called"):
        wg.sum([fresh, spent]).backward()

    assert solution.gradients == ()
    fresh.backward()


def test_a_reassigned_variable_is_an_error() -> None:
    """Feedback is about the value that forward read, so an assignment in between is an error."""
    model, system = Model(), prompt()
    loss = judged(model, wg.BlackboxLLM(model, system)("What?"))
    loss.value  # noqa: B018 - the call is done
    system.value = "Answer at length."

    with wg.backward_engine(model), pytest.raises(wg.GraphError, match="'system prompt' was reassigned after forward"):
        loss.backward()

    assert system.gradients == ()


def test_a_call_keeps_the_value_it_was_made_with() -> None:
    """A later assignment never reaches a call that is already out."""
    model, system = Model(lambda request: request.messages[0].text), prompt("old")
    answer = wg.BlackboxLLM(model, system)("What?")
    system.value = "new"

    assert answer.value == "old"


def test_no_history_is_an_error() -> None:
    """backward() on a Variable that no call made says how to connect feedback."""
    with pytest.raises(wg.GraphError, match=r"has no history.*output of a loss.*accumulate_grad"):
        prompt().backward()


def test_nothing_to_train_is_an_error() -> None:
    """backward() with nothing trainable behind it names the nearest Variable that could require grad."""
    model = Model()
    answer = wg.BlackboxLLM(model, wg.Variable("Answer.", "system prompt"))("What?")

    with pytest.raises(wg.GraphError, match=r"requires grad: the nearest Variable is .*requires_grad=True"):
        judged(model, answer).backward()


def test_the_nearest_candidate_is_named() -> None:
    """What could be trained is what the judged output was made from, not the target or the context beside it."""
    answer = wg.BlackboxLLM(Model(), wg.Variable("Answer.", "the answerer's prompt"))("What?")

    with pytest.raises(wg.GraphError, match=r"the nearest Variable is .*the answerer's prompt"):
        judged(Model(), answer, target="Paris", context="France").backward()


def test_the_nearest_of_several_is_named() -> None:
    """By the number of calls in between, whichever input stands first."""
    output = wg.join([wg.join([wg.join(["far"], "")], ""), wg.Variable("near", "the near one")], "")

    with pytest.raises(wg.GraphError, match=r"the nearest Variable is .*'the near one'"):
        output.backward("No.")


def test_where_nothing_could_be_trained() -> None:
    """The search for a candidate ends where a call has no inputs, and on a text that was doubled many times."""
    doubled = wg.Variable("x", "seed")
    for _ in range(15):
        doubled = wg.join([doubled, doubled, wg.function(lambda: "y")()], "")

    for output, nearest in ((wg.function(lambda: 1)(), "output of"), (doubled, "seed")):
        with pytest.raises(wg.GraphError, match=f"the nearest Variable is .*{nearest}"):
            output.backward("No.")


@pytest.mark.parametrize("feedback", ["", " \n", [], ["Too long.", ""], wg.Gradient(text=" ")])
def test_blank_feedback_is_refused(feedback: object) -> None:
    """Nothing, said about an output, is a mistake and no gradient."""
    system = prompt()

    with pytest.raises(wg.UsageError, match="feedback is blank"):
        wg.format("{s}", s=system).backward(feedback)  # type: ignore[arg-type]
    assert system.gradients == ()


def test_no_grad_cuts_the_graph() -> None:
    """What is called inside `no_grad()` requires no grad."""
    model = Model()
    with wg.no_grad():
        answer = wg.BlackboxLLM(model, prompt())("What?")

    assert not answer.requires_grad


@pytest.mark.parametrize("made", [lambda text: wg.format("{t}", t=text), lambda text: text["key"]])
def test_a_text_operation_is_no_judge(made: Callable[[wg.Variable], wg.Variable]) -> None:
    """backward() on a filled template or an item, without a loss or a word, says what to do: it is not passed over."""
    with pytest.raises(wg.GraphError, match=r"judges nothing: pass it to a loss, or .*output\.backward"):
        made(prompt({"key": "value"})).backward()


@pytest.mark.parametrize("said", [("a",), ("a", "b", "c")])
def test_gradients_are_counted(said: tuple[str, ...]) -> None:
    """A rule that returns too few or too many gradients is an error that names it."""
    output = Rule(*said).apply(prompt(), prompt())

    with pytest.raises(wg.GraphError, match=f"'rule' returned {len(said)} gradients for 2 inputs"):
        output.backward("no")


def test_a_failed_root_raises_its_error() -> None:
    """An outage is no feedback: backward() raises it, and nothing is accumulated."""
    model, system = Model(wg.EngineError("down", retryable=False)), prompt()
    loss = judged(model, wg.BlackboxLLM(model, system)("What?"))

    with pytest.raises(wg.NodeError, match="down"):
        loss.backward()

    assert system.gradients == ()


def test_a_dead_critic_leaves_no_gradient() -> None:
    """A critic that cannot be reached raises, and of a batch nothing is accumulated, so that it can be run again."""

    def critic(request: Request) -> object:
        text = request.messages[-1].text
        return wg.EngineError("down", retryable=False) if "second" in text else verdicts(request)

    model, system = Model(critic=critic), prompt()  # type: ignore[arg-type]
    losses = [judged(model, wg.BlackboxLLM(model, system)(question)) for question in ("first", "second")]

    with wg.backward_engine(model):
        with pytest.raises(wg.EngineError, match="down"):
            wg.backward(losses)
        assert system.gradients == ()
        losses[0].backward()

    assert texts(system) == ["Be exact."]


def test_no_backward_engine_is_an_error() -> None:
    """A critic is never looked for: without a default engine the error says how to set one."""
    model, system = Model(), prompt()

    with pytest.raises(wg.UsageError, match="set_backward_engine"):
        judged(model, wg.BlackboxLLM(model, system)("What?")).backward()


# ---- the default engine


@pytest.fixture
def process_default() -> Iterator[Callable[..., None]]:
    """`set_backward_engine`, undone after the test: the process has no other way to forget its default."""
    yield wg.set_backward_engine
    defaults._process.clear()


def test_the_default_engine(process_default: Callable[..., None]) -> None:
    """One setting of the process serves critics, judges and optimizers; a second one must say that it replaces it."""
    first, second = Model(), Model()
    process_default(first)
    with pytest.raises(wg.UsageError, match=r"is set to 'rule' already; pass override=True"):
        process_default(second)
    system = prompt()
    wg.TextLoss(JUDGED)(wg.BlackboxLLM(first, system)("What?")).backward()
    process_default(second, override=True)
    wg.TGD([system]).step()

    assert [first.count(each) for each in ("judge", "backward", "optimize")] == [1, 1, 0]
    assert second.count("optimize") == 1
    assert system.value == "a better text"


def test_a_scoped_engine_goes_before_the_default(process_default: Callable[..., None]) -> None:
    """`with backward_engine(e)` holds inside the `with`, for what is called there, whenever it runs."""
    everywhere, here = Model(judgement="Everywhere."), Model(judgement="Here.")
    process_default(everywhere)
    outputs = [wg.llm_call(None, "What?", engine=Model()) for _ in range(2)]
    with wg.backward_engine(here):
        inside = wg.TextLoss(JUDGED)(outputs[0])
    outside = wg.TextLoss(JUDGED)(outputs[1])

    assert (inside.value, outside.value) == ("Here.", "Everywhere.")


def test_concurrent_users_keep_their_engines() -> None:
    """Threads that go backward at the same time, each inside its own `with`, never reach each other's critics."""
    models, systems = [Model() for _ in range(4)], [prompt() for _ in range(4)]
    together = threading.Barrier(4)

    def user(model: Model, system: wg.Variable) -> None:
        answer = wg.BlackboxLLM(model, system)
        with wg.backward_engine(model):
            together.wait(LIMIT_S)
            wg.backward([wg.TextLoss(JUDGED)(answer(f"{n}")) for n in range(5)])

    threads = [threading.Thread(target=user, args=each) for each in zip(models, systems, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)

    assert [(model.count("judge"), model.count("backward")) for model in models] == [(5, 5)] * 4
    assert [texts(system) for system in systems] == [["Be exact."] * 5] * 4


# ---- how feedback travels


def test_dead_branches_cost_nothing() -> None:
    """A call with nothing to train behind it gets no critic."""
    model, system = Model(), prompt()
    fixed = wg.BlackboxLLM(model, "Say something.")("About what?")
    answer = wg.BlackboxLLM(model, system)([fixed, "Now answer."])

    with wg.backward_engine(model):
        judged(model, answer).backward()

    assert (model.count("forward"), model.count("backward")) == (2, 1)


def test_one_critic_call_covers_all_parts() -> None:
    """`per_node` asks once about all inputs that need feedback; each gets its own change, and the rest is shown."""
    model = Model(critic=lambda request: verdicts(request, P1="Be brief.", P3="Ask for one city."))
    system, template = prompt("Answer."), prompt("Which?", "question")
    answer = wg.llm_call(system, ["France.", template], engine=model)

    with wg.backward_engine(model):
        judged(model, answer).backward()

    (asked,) = model.asked("backward")
    assert "Answer for P1, P3" in asked
    assert "France." in asked
    assert (texts(system), texts(template)) == (["Be brief."], ["Ask for one city."])


def test_per_edge_asks_for_each_part() -> None:
    """`per_edge` asks one critic for each input that needs feedback, as in the TextGrad paper."""
    model, system, question = Model(), prompt(), prompt("Which?", "question")
    loss = judged(model, wg.llm_call(system, ["France.", question], engine=model))

    with wg.backward_engine(model):
        loss.backward(strategy=wg.per_edge)

    assert [asked.rpartition("Answer for ")[2][:2] for asked in model.asked("backward")] == ["P1", "P3"]
    assert (texts(system), texts(question)) == (["Be exact."], ["Be exact."])


def test_fused_asks_once_for_the_trace() -> None:
    """`fused` asks one critic about every parameter of a trace; it sees each step."""
    model, prompts = Model("step"), [prompt("First.", "one"), prompt("Then.", "two")]
    text: wg.Variable | str = "start"
    for each in prompts:
        text = wg.BlackboxLLM(model, each)(text)
    assert isinstance(text, wg.Variable)

    with wg.backward_engine(model):
        judged(model, text).backward(strategy=wg.fused)

    (asked,) = model.asked("backward")
    assert all(shown in asked for shown in ("Step 1", "Step 2", "First.", "Then.", JUDGED, "It is wrong."))
    assert [texts(each) for each in prompts] == [["Be exact."], ["Be exact."]]


def test_fused_labels_parts_in_the_order_of_use() -> None:
    """The steps stand in the order in which they were made, and their prompts are numbered so."""
    model, early, late = Model("x"), prompt("Early.", "one"), prompt("Late.", "two")
    first, second = (wg.BlackboxLLM(model, each)("start") for each in (early, late))
    answer = wg.llm_call(None, [second, first], engine=model)

    with wg.backward_engine(model):
        judged(model, answer).backward(strategy=wg.fused)

    (asked,) = model.asked("backward")
    assert re.findall(r"Step \d|P\d \(\w+\)|Answer for .*, one", asked) == [
        "Step 1", "P1 (one)", "Step 2", "P2 (two)", "Step 3", "Answer for P1, P2, one",
    ]  # fmt: skip


@pytest.mark.parametrize("strategy", [wg.per_node, wg.per_edge, wg.fused])
def test_what_was_judged_itself_needs_no_critic(strategy: object) -> None:
    """Whatever the strategy, the judge's words on a parameter are its gradient, and no critic is asked."""
    model, solution = Model(judgement="Line 2 never ends."), prompt("while True: pass", "code")
    judged(model, solution).backward(strategy=strategy)  # type: ignore[arg-type]

    assert (texts(solution), model.count("backward")) == (["Line 2 never ends."], 0)


@pytest.mark.parametrize("strategy", [wg.per_node, wg.per_edge, wg.fused])
def test_objectives_are_never_mixed(strategy: object) -> None:
    """Several objectives of one output are several critic calls, and each leaves its own gradient."""
    model, system = Model(), prompt()
    losses = wg.objectives(truth=wg.TextLoss("Is it true?", model), length=wg.TextLoss("Is it short?", model))

    with wg.backward_engine(model):
        losses(wg.BlackboxLLM(model, system)("What?")).backward(strategy=strategy)  # type: ignore[arg-type]

    asked = model.asked("backward")
    assert [("true" in each, "short" in each) for each in asked] in ([(True, False), (False, True)],)
    assert sorted(each.objective for each in system.gradients) == ["length: Is it short?", "truth: Is it true?"]


def test_the_original_feedback_reaches_every_step() -> None:
    """Each critic of a chain sees the loss's own words beside its reader's request, not a paraphrase of them."""
    model = Model("step", judgement="The year 1789 is wrong.")
    prompts = [prompt(f"Step {n}.", f"prompt {n}") for n in range(3)]
    text: wg.Variable | str = "start"
    for each in prompts:
        text = wg.BlackboxLLM(model, each)(text)
    assert isinstance(text, wg.Variable)

    with wg.backward_engine(model):
        judged(model, text).backward()

    asked = model.asked("backward")
    assert len(asked) == 3
    assert all("The year 1789 is wrong." in each and JUDGED in each for each in asked)
    assert ["Be exact." in each for each in sorted(asked, key=lambda each: "Step 2." not in each)] == [
        False,
        True,
        True,
    ]


def test_only_blamed_parts_get_feedback() -> None:
    """A part that the critic finds fine gets no gradient, and nothing before it a call."""

    def critic(request: Request) -> object:
        fine = {"part": "P2", "verdict": "none", "change": ""}
        return {"parts": [{"part": "P1", "verdict": "mine", "change": "Cite."}, fine]}

    model, first, second = Model(critic=critic), prompt("A", "first"), prompt("B", "second")  # type: ignore[arg-type]
    answer = wg.BlackboxLLM(model, second)(wg.BlackboxLLM(model, first)("What?"))

    with wg.backward_engine(model):
        judged(model, answer).backward()

    assert (texts(first), texts(second), model.count("backward")) == ([], ["Cite."], 1)


def test_fused_leaves_the_blameless_alone() -> None:
    """Of the parameters of a trace only those get feedback that the critic blames."""

    def critic(request: Request) -> object:
        fine = {"part": "P1", "verdict": "none", "change": "All of it."}
        return {"parts": [fine, {"part": "P2", "verdict": "mine", "change": "Cite."}]}

    model, first, second = Model(critic=critic), prompt("A", "first"), prompt("B", "second")  # type: ignore[arg-type]
    answer = wg.BlackboxLLM(model, second)(wg.BlackboxLLM(model, first)("What?"))

    with wg.backward_engine(model):
        judged(model, answer).backward(strategy=wg.fused)

    assert (texts(first), texts(second)) == ([], ["Cite."])


def test_a_quote_is_from_the_trace() -> None:
    """Words that stand in what the critic saw are kept as its quote; invented ones are dropped, and the change stays."""

    def said(quote: str) -> list[tuple[str, str]]:
        verdict = {"part": "P1", "verdict": "mine", "quote": quote, "change": "Name it."}
        model, system = Model("In spring.", critic={"parts": [verdict]}), prompt()  # type: ignore[dict-item]
        with wg.backward_engine(model):
            judged(model, wg.BlackboxLLM(model, system)("When?")).backward()
        return [(each.text, each.quote) for each in system.gradients]

    assert said("In spring.") == [("Name it.", "In spring.")]
    assert said("In summer.") == [("Name it.", "")]


def test_an_unreadable_critic_loses_no_feedback() -> None:
    """Where a critic's reply and its repair cannot be read, the loss's own words stand."""
    model, system = Model(judgement="Too long.", critic="I cannot say."), prompt()

    with wg.backward_engine(model):
        judged(model, wg.BlackboxLLM(model, system)("What?")).backward()

    assert (texts(system), model.count("backward")) == (["Too long."], 2)


@pytest.mark.parametrize("strategy", [wg.per_node, wg.fused])
@pytest.mark.parametrize("parts", [[], [{"part": "the prompt", "verdict": "mine", "change": "Be brief."}]])
def test_a_critic_that_names_no_part_loses_no_feedback(strategy: Strategy, parts: list[dict[str, str]]) -> None:
    """Where a critic says nothing of what it was asked about, the loss's own words stand."""
    model, system = Model(judgement="Too long.", critic={"parts": parts}), prompt()  # type: ignore[dict-item]

    with wg.backward_engine(model):
        judged(model, wg.BlackboxLLM(model, system)("What?")).backward(strategy=strategy)

    assert texts(system) == ["Too long."]


@pytest.mark.parametrize("strategy", [wg.per_node, wg.fused])
def test_a_critic_that_names_a_part_twice_loses_no_feedback(strategy: Strategy) -> None:
    """Two entries on one part are one gradient with both changes."""
    parts = [{"part": "P1", "verdict": "mine", "change": change} for change in ("Be brief.", "Be polite.")]
    model, system = Model(critic={"parts": parts}), prompt()  # type: ignore[dict-item]

    with wg.backward_engine(model):
        judged(model, wg.BlackboxLLM(model, system)("What?")).backward(strategy=strategy)

    assert texts(system) == ["Be brief.\nBe polite."]


def test_the_critic_is_told_of_a_cut_reply() -> None:
    """A reply cut at its limit is a value that is judged; judge and critic are told that it was cut."""
    model, system = Model(wg.Completion(text="It is", finish="length")), prompt()
    answer = wg.BlackboxLLM(model, system)("What?")

    with wg.backward_engine(model):
        judged(model, answer).backward()

    assert (answer.finish, answer.value) == ("length", "It is")
    assert all("cut off" in each for purpose in ("judge", "backward") for each in model.asked(purpose))


def test_a_value_used_twice_has_two_gradients() -> None:
    """Feedback is kept for each use: a text joined with itself gets one gradient for each place."""
    system = prompt("ab")
    (system + system).backward("No.")

    assert [(each.slot, each.segment) for each in system.gradients] == [(0, "part 1 of 2"), (1, "part 2 of 2")]


def test_plus_does_not_double() -> None:
    """A sum of twelve texts gives each operand one gradient in the feedback's own length."""
    parts = [prompt(f"{n}", f"part {n}") for n in range(12)]
    joined = parts[0]
    for part in parts[1:]:
        joined += part

    joined.backward("Shorter, please.")

    assert joined.value == "01234567891011"
    assert [texts(part) for part in parts] == [["Shorter, please."]] * 12


def test_a_part_gets_all_feedback_on_the_whole() -> None:
    """As one gradient: each text once, in order, with the worst severity."""
    part = prompt("a", "part")
    whole = wg.join([part, "b"])
    said = [("Shorter.", 1), ("Truer.", 3), ("Shorter.", 2)]
    readers = [Rule(wg.Gradient(text=text, severity=severity)).apply(whole) for text, severity in said]
    Rule("Go on.", "Go on.", "Go on.").apply(*readers).backward("No.")

    (made,) = part.gradients
    assert (made.text, made.severity, made.segment) == ("Shorter.\nTruer.", 3, "part 1 of 2")


def test_a_diamond_runs_each_call_once() -> None:
    """A call runs backward when all its readers have, with the feedback of every one of them."""
    shared, left, right, top = Rule("deep"), Rule("left"), Rule("right"), Rule("l", "r")
    system = prompt()
    middle = shared.apply(system)
    top.apply(left.apply(middle), right.apply(middle)).backward("root")

    assert (top.seen, left.seen, right.seen) == ([["root"]], [["l"]], [["r"]])
    assert shared.seen == [["left", "right"]]
    assert texts(system) == ["deep"]


def test_template_slots_get_the_feedback_with_their_name() -> None:
    """The feedback on a filled template goes to each slot's Variable, and says which slot it was."""
    tone, facts = prompt("kind", "tone"), prompt("true", "facts")
    wg.format("Be {tone} and {facts}; keep {braces}.", tone=tone, facts=facts).backward("Too vague.")

    assert [(each.text, each.segment) for each in (*tone.gradients, *facts.gradients)] == [
        ("Too vague.", "slot 'tone' of a template"),
        ("Too vague.", "slot 'facts' of a template"),
    ]


def test_evidence_travels_with_a_gradient() -> None:
    """A gradient holds what was asked, what was answered, what was wanted and the score."""
    model, system = Model("Lyon"), prompt("Name the city.")
    loss = wg.MetricLoss(always_wrong, objective="the right city")
    with wg.backward_engine(model):
        loss(wg.BlackboxLLM(model, system)("Capital of France?"), "Paris", example="row 7").backward()

    (made,) = system.gradients
    assert (made.input, made.output, made.expected, made.score) == ("Capital of France?", "Lyon", "Paris", 0.0)
    assert (made.example, made.objective, made.feedback) == ("row 7", "the right city", "Lyon is wrong.")


def test_a_judges_evidence_is_its_own() -> None:
    """What the output was asked is the judge's context; the target is what was expected, and was never asked."""
    solution = prompt("Lyon", "city")
    judged(Model(), solution, target="Paris", context="France").backward()

    (made,) = solution.gradients
    assert (made.input, made.output, made.expected, made.context) == ("France", "Lyon", "Paris", "France")


def test_what_was_asked_is_all_but_the_variable() -> None:
    """The evidence holds the other inputs of the call, a line each."""
    model, system = Model("Lyon"), prompt("Name the city.")
    with wg.backward_engine(model):
        answer = wg.llm_call(system, ["Capital of France?", "One word."], engine=model)
        judged(model, answer).backward()

    assert [each.input for each in system.gradients] == ["Capital of France?\nOne word."]


def test_a_rule_may_bring_its_own_evidence() -> None:
    """Score, answer and words that a backward rule gives stay; what it leaves out comes from the call and the loss."""
    own, bare = prompt("a", "one"), prompt("b", "two")
    said = wg.Gradient(text="Shorter.", score=0.25, output="an answer", input="a question", feedback="Too long.")
    output = Rule(said, "Longer.").apply(own, bare)
    wg.MetricLoss(always_wrong)(output, "c").backward()

    assert [(each.score, each.input, each.output, each.feedback) for each in (*own.gradients, *bare.gradients)] == [
        (0.25, "a question", "an answer", "Too long."),
        (0.0, "a", "ab", "ab is wrong."),
    ]


def test_a_judging_functions_value_is_the_feedback() -> None:
    """Where the root is a Function of the user's own, the loss's words are what it returned."""
    solution = prompt("A long text.", "essay")
    Rule("Shorten it.").apply(solution).backward()

    (made,) = solution.gradients
    assert (made.text, made.feedback) == ("Shorten it.", "A long text.")


def test_fused_keys_a_gradient_by_its_first_reader() -> None:
    """What `fused` says of a prompt has the key and the evidence that `per_node` gives it."""

    def made(strategy: Strategy) -> list[tuple[object, ...]]:
        model, prompts = Model("step"), [prompt("First.", "one"), prompt("Then.", "two")]
        with wg.Run(), wg.backward_engine(model):
            text = wg.BlackboxLLM(model, prompts[0])("start")
            text = wg.BlackboxLLM(model, prompts[1])(wg.join([text, prompts[0]], " "))
            wg.MetricLoss(always_wrong)(text, "end").backward(strategy=strategy)
        gradients = (min(each.gradients, key=lambda one: one.consumer) for each in prompts)
        return [(each.key, each.input, each.output, each.expected, each.score) for each in gradients]

    assert made(wg.fused) == made(wg.per_node)


def test_a_text_made_of_itself_is_walked_once() -> None:
    """A text doubled forty times has forty calls behind it, and each is listed and walked once."""
    seed = prompt("x", "seed")
    doubled = seed
    for _ in range(40):
        doubled = wg.join([doubled, doubled], "")[0:1]

    doubled.backward("No.")

    assert len(doubled.trace()) == 80
    assert len(seed.gradients) == 2


def test_an_examples_gradient_is_replaced_by_its_retry() -> None:
    """A second pass over the same graph replaces what the first one said: duplicates cannot matter."""
    model, system = Model(), prompt()
    loss = judged(model, wg.BlackboxLLM(model, system)("What?"))

    with wg.backward_engine(model):
        loss.backward(retain_graph=True)
        loss.backward()

    assert texts(system) == ["Be exact."]


@pytest.mark.anyio
async def test_two_passes_at_once_are_one_too_many() -> None:
    """A loss is used once, also where a second pass begins before the first has ended: it asks nobody."""
    model, system = Model(latency_s=1.0), prompt()
    loss = judged(model, wg.BlackboxLLM(model, system)("What?"))
    await loss
    outcomes: list[object] = []

    async def goes() -> None:
        with wg.backward_engine(model):
            try:
                outcomes.append(await loss.abackward())
            except wg.GraphError as error:
                outcomes.append(str(error).split(":")[0])

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(goes)
            group.start_soon(goes)

    assert outcomes == ["backward() was already called from this 'judgement by TextLoss'", None]
    assert (model.count("backward"), len(system.gradients)) == (1, 1)


@pytest.mark.anyio
async def test_abackward() -> None:
    """`abackward()` is `backward()` for async code."""
    model, solution = Model(judgement="Too long."), prompt()

    await judged(model, solution).abackward()

    assert texts(solution) == ["Too long."]


def _by_function(loss: wg.Variable, *said: str, **options: object) -> Awaitable[None]:
    return wg.abackward(loss, *said, **options)  # type: ignore[arg-type]


def _by_method(loss: wg.Variable, *said: str, **options: object) -> Awaitable[None]:
    return loss.abackward(*said, **options)  # type: ignore[arg-type]


@pytest.mark.anyio
@pytest.mark.parametrize("goes", [_by_function, _by_method])
async def test_abackward_takes_what_backward_takes(goes: Callable[..., Awaitable[None]]) -> None:
    """Feedback, strategy and `retain_graph` mean the same in async code."""
    model, system = Model(), prompt()
    answer = wg.BlackboxLLM(model, system)
    output = answer(answer("What?"))
    loss = judged(model, output)

    with wg.backward_engine(model):
        await goes(output, "Too long.", strategy=wg.fused, retain_graph=True)
        asked = model.asked("backward")
        await goes(loss, retain_graph=True)
        await goes(loss)
        with pytest.raises(wg.GraphError, match="already called"):
            await goes(loss)

    assert len(asked) == 1
    assert "Too long." in asked[0]


@pytest.mark.parametrize("strategy", [wg.per_node, wg.per_edge, wg.fused])
def test_the_critic_knows_the_context(strategy: object) -> None:
    """What a loss was told beside the output, such as a question, is shown to every critic, and gets no feedback."""
    model, system, facts = Model("In May."), prompt(), prompt("It was founded in June.", "facts")
    answer = wg.BlackboxLLM(model, system)(wg.BlackboxLLM(model, "Draft.")("When?"))

    with wg.backward_engine(model):
        judged(model, answer, context=facts).backward(strategy=strategy)  # type: ignore[arg-type]

    (asked,) = model.asked("backward")
    assert "It was founded in June." in asked
    assert (texts(system), texts(facts)) == (["Be exact."], [])


# ---- size


class Narrow(Model):
    """A model whose context is as short as its tokens are many: one a byte, the most that any tokenizer needs."""

    def __init__(self, *, tokens: int = 8_192, **options: object) -> None:
        super().__init__(capabilities=Capabilities(schema=True, context_tokens=tokens), **options)  # type: ignore[arg-type]

    def count_tokens(self, text: str) -> int:
        """As the embedded engine counts."""
        return len(text.encode("utf-8", "surrogatepass"))

    def longest(self, purpose: Purpose) -> int:
        """Tokens of the longest request for `purpose`, its reply included."""
        requests = [call.request for call in self.history if call.request.purpose == purpose]
        return max(
            sum(self.count_tokens(each.text) for each in request.messages) + request.sampling.max_tokens
            for request in requests
        )


LONG = "".join(f"第{n}文はとても長い。🎫\n" for n in range(4_000))


@pytest.mark.parametrize("strategy", [wg.per_node, wg.per_edge, wg.fused])
@pytest.mark.parametrize("unreadable", [False, True])
def test_long_texts_fit_the_critic(strategy: object, unreadable: bool) -> None:
    """Where prompt, input, output, rubric and critique are each longer than the critic's context, each is shortened.

    Start and end are kept and the cut is marked, and there is room for the reply, and for the reply's repair.
    """
    replies = {"critic": "No. " * 250} if unreadable else {}
    model, system = Narrow(reply=LONG, judgement=LONG, **replies), prompt(f"Begin. {LONG} End.")
    answer = wg.BlackboxLLM(model, system)([f"{n}: {LONG}" for n in range(8)])
    loss = wg.MetricLoss(lambda output, target: (0.0, LONG), objective=f"Be brief. {LONG}")(answer)

    with wg.backward_engine(model):
        loss.backward(strategy=strategy)  # type: ignore[arg-type]

    asked = model.asked("backward")[0]
    assert all(shown in asked for shown in ("Begin. 第0文", " End.", "Be brief. ", "characters left out", "for P1"))
    assert model.longest("backward") <= 8_192
    assert texts(system) == [LONG if unreadable else "Be exact."]


def test_long_traces_fit_the_critic() -> None:
    """Of a trace of too many steps the fused critic sees those with something to train, then the first and the last.

    It is told how many are left out.
    """
    model, first, last = Narrow(reply="x" * 300), prompt("First.", "one"), prompt("Last.", "two")
    text = wg.BlackboxLLM(model, first)("start")
    for n in range(300):
        text = wg.BlackboxLLM(model, f"Step {n} of many.")(text)
    text = wg.BlackboxLLM(model, last)(text)

    with wg.backward_engine(model):
        judged(model, text).backward(strategy=wg.fused)

    (asked,) = model.asked("backward")
    assert all(shown in asked for shown in ("First.", "Last.", "Step 0 of many.", "Step 299 of many.", "for P1, P2"))
    assert re.search(r"\(29\d of the 302 steps are left out\.\)", asked)
    assert model.longest("backward") <= 8_192
    assert (texts(first), texts(last)) == (["Be exact."], ["Be exact."])


@pytest.mark.parametrize("strategy", [wg.per_node, wg.per_edge, wg.fused])
def test_long_conversations_fit_the_critic(strategy: object) -> None:
    """Of a call with too many parts the critic sees those that it is asked about, then the first and the last."""
    model, system, middle = Narrow(reply="No."), prompt(), prompt("Half way.", "message")
    turns = [f"message {n} " + "x" * 300 for n in range(500)]
    answer = wg.BlackboxLLM(model, system)([*turns[:250], middle, *turns[250:]])

    with wg.backward_engine(model):
        judged(model, answer).backward(strategy=strategy)  # type: ignore[arg-type]

    assert all("message 0 " in each and "message 499 " in each for each in model.asked("backward"))
    assert all(re.search(r"\(\d{3} of the 502 parts are left out\.\)", each) for each in model.asked("backward"))
    assert model.longest("backward") <= 8_192
    assert (texts(system), texts(middle)) == (["Be exact."], ["Be exact."])


def test_a_context_too_short_for_any_critic() -> None:
    """Where not even the shortest prompt fits beside the reply, the error names the engine and what to change."""
    model, system = Narrow(tokens=2_048), prompt()
    loss = judged(Model(), wg.BlackboxLLM(model, system)("What?"))

    with wg.backward_engine(model), pytest.raises(wg.UsageError, match=r"'rule', 2048 tokens.*lower that in options="):
        loss.backward()

    assert (system.gradients, model.count("backward")) == ((), 0)


def test_a_long_chain_of_model_calls() -> None:
    """Feedback travels through 1,200 model calls: one critic call each, and no recursion."""
    model, system = Model("x"), prompt()
    answer = wg.BlackboxLLM(model, system)
    text = answer("start")
    for _ in range(1_199):
        text = answer(text)

    with wg.backward_engine(model):
        judged(model, text).backward()

    assert (model.count("forward"), model.count("backward"), len(system.gradients)) == (1_200, 1_200, 1_200)


def _through(depth: int) -> tuple[float, list[str]]:
    """Seconds of processor time, and the gradients, of feedback through `depth` text operations."""
    system = prompt("x")
    gc.collect()
    start = time.process_time()
    text = system
    for _ in range(depth):
        text = wg.format("{t}", t=text)
    text.backward("No.")
    return time.process_time() - start, texts(system)


def test_depth_costs_linear_time() -> None:
    """Feedback travels through 100,000 text operations; ten times the depth does not cost a hundred times the time."""
    short, _ = _through(10_000)
    long, gradients = _through(100_000)

    assert gradients == ["No."]
    assert long < 40 * short
