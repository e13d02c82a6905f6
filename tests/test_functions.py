"""What a pipeline is made of: model calls, Python functions, images."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from pydantic import BaseModel

import wordgrad as wg
from engines import Model, prompt, texts
from wordgrad.core.function import Feedback
from wordgrad.types import Capabilities, ImageData, Message

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
LIMIT_S = 10


class City(BaseModel):
    """A structured reply."""

    name: str
    people: int


@dataclass
class Found:
    """What a tool returns."""

    pages: list[int]


def sent(model: Model) -> list[tuple[Message, ...]]:
    """The messages of each call, in creation order."""
    return [call.request.messages for call in model.history]


# ---- @wg.function


@wg.function
def upper(text: str) -> str:
    """Write it in capitals."""
    return text.upper()


@wg.function(on_error="feedback")
def whole(text: str) -> int:
    """Read a whole number."""
    return int(text)


@wg.function
def describe(*parts: object, **named: object) -> str:
    """Show what came in."""
    return f"{parts} {named}"


def test_a_function_gets_plain_values() -> None:
    """A Python node is given the Variable's value, and gives a Variable."""
    output = upper(prompt("abc"))

    assert (output.value, output.requires_grad, output.role_description) == ("ABC", True, "output of upper")


def test_variables_in_containers_are_inputs() -> None:
    """Variables inside lists, tuples, dicts and keyword arguments are read, and get feedback."""
    parts = [prompt(f"{n}", f"part {n}") for n in range(4)]
    output = describe([parts[0], "x"], {"key": (parts[1],)}, last={"deep": [parts[2]]}, plain=parts[3])

    assert output.value == "(['0', 'x'], {'key': ('1',)}) {'last': {'deep': ['2']}, 'plain': '3'}"
    output.backward("No.")
    assert [texts(part) for part in parts] == [["No."]] * 4


class Pair(NamedTuple):
    """A tuple with names."""

    left: object
    right: object


def test_named_tuples_are_tuples() -> None:
    """Variables inside a named tuple are inputs as in any tuple, and the function gets one of its kind."""
    text = prompt("abc", "text")
    output = describe(Pair(text, 1))

    assert output.value == "(Pair(left='abc', right=1),) {}"
    assert output.predecessors == (text,)


def test_a_function_runs_in_a_worker_thread() -> None:
    """A sync body runs in a thread of its own, neither the caller's nor the loop's."""
    where = wg.function(lambda: threading.get_ident())  # noqa: PLW0108 - what is written in C has no signature

    assert where().value != threading.get_ident()


def test_role_and_example_are_the_nodes_own() -> None:
    """`role_description=` and `example=` name the node and do not reach the function."""
    output = describe(1, role_description="shown", example="row 3")

    assert (output.value, output.role_description) == ("(1,) {}", "shown")


def test_a_blank_role_is_kept() -> None:
    """A role of "" is meant, as for a Variable, and is not replaced by the default."""
    outputs = [describe(1, role_description=""), wg.llm_call(None, "What?", engine=Model(), role_description="")]

    assert [each.role_description for each in outputs] == ["", ""]


def test_results_are_json_where_they_can_be() -> None:
    """A dataclass becomes its JSON, whose items can be taken."""
    search = wg.function(lambda query: Found(pages=[3, 5]))

    assert search("x")["pages"][1].value == 5


def test_an_async_function() -> None:
    """An async body runs on the library's loop and gives a Variable as any other."""

    @wg.function
    async def fetch(place: str) -> str:
        await anyio.lowlevel.checkpoint()
        return f"page of {place}"

    assert fetch(wg.Variable("Rome")).value == "page of Rome"


def test_an_async_functions_failures() -> None:
    """An async function fails, observes and hands failures on as a sync one."""

    @wg.function(on_error="feedback")
    async def number(text: str) -> int:
        await anyio.lowlevel.checkpoint()
        return int(text)

    @wg.function
    async def broken(text: str) -> str:
        raise ValueError("no such page")

    written = prompt("seven", "number")
    wg.MetricLoss(lambda output, target: 1.0)(number(number(written))).backward()

    assert texts(written)[0].endswith("number failed with ValueError: invalid literal for int() with base 10: 'seven'")
    with pytest.raises(wg.NodeError, match=r"broken.*no such page"):
        broken("x").value  # noqa: B018 - reading is the act


def test_what_has_no_json_form_is_handed_on() -> None:
    """Outside a run a function may give any object, and the next function gets that object itself."""
    lock = threading.Lock()
    same = wg.function(lambda given: given is lock)

    assert same(wg.function(lambda: lock)()).value is True


def test_a_function_without_words_is_told_by_its_source() -> None:
    """A critic of a function that has no description reads its docstring, else its source, also of a partial one."""
    model = Model()

    def split(separator: str | None, text: str) -> int:
        return len(text.split(separator))  # counts the words

    with wg.backward_engine(model):
        wg.function(rule="critic")(partial(split, None))(prompt("one two three")).backward("Too many.")

    assert "# counts the words" in model.asked("backward")[0]


def test_a_functions_error_names_it() -> None:
    """By default a failing function fails what is computed from it, with one error that names the function."""

    @wg.function
    def broken(text: str) -> str:
        raise ValueError("no such page")

    output = upper(broken("x"))

    with pytest.raises(wg.NodeError, match=r"broken.*no such page") as raised:
        output.value  # noqa: B018 - reading is the act
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_failure_is_an_observation_for_a_model() -> None:
    """With `on_error="feedback"` a model call downstream reads the error's text as the function's value."""
    model = Model("I see.")
    answer = wg.llm_call("Go on.", whole("seven"), engine=model)

    assert answer.value == "I see."
    assert sent(model)[0][1].text == "ValueError: invalid literal for int() with base 10: 'seven'"


def test_a_failure_passes_by_python_functions() -> None:
    """Python nodes after a failed one do not run, and hand the failure on."""
    ran = []

    @wg.function
    def after(number: int) -> int:
        ran.append(number)
        return number + 1

    output = after(whole("seven"))

    assert output.value.startswith("ValueError: invalid literal")
    assert ran == []


def test_a_failure_is_feedback_without_a_call() -> None:
    """A loss of a failed output is failed: what went in gets the annotated message, and no model is asked."""
    model, written = Model(), prompt("seven", "number")
    loss = wg.TextLoss("Is it a number?", model)(upper(whole(written)))
    loss.backward()

    (made,) = written.gradients
    assert made.text == "whole failed with ValueError: invalid literal for int() with base 10: 'seven'"
    assert (made.severity, made.segment) == (3, "")
    assert model.history == ()


def test_a_persons_words_on_a_failure_reach_what_failed() -> None:
    """They pass by what never ran, and are the gradient of what the failed call read."""
    written = prompt("seven", "number")
    upper(whole(written)).backward("Write digits.")

    assert texts(written) == ["Write digits."]


def test_a_failed_output_has_the_worst_score() -> None:
    """A metric of a failed output is not computed: the score is the bad end of its bounds."""
    loss = wg.MetricLoss(lambda output, target: 1.0, bounds=(-1, 1))

    assert loss(whole("seven")).score == -1


def test_an_outage_is_never_feedback() -> None:
    """An engine's failure inside a function is an error even where failures are feedback."""

    @wg.function(on_error="feedback")
    def asks(text: str) -> str:
        raise wg.EngineError("down", retryable=False)

    with pytest.raises(wg.NodeError, match="down"):
        asks("x").value  # noqa: B018 - reading is the act


def test_a_function_must_not_return_a_variable() -> None:
    """A function that returns a Variable would cut the graph: the error names Module."""
    wrong = wg.function(wg.Variable)

    with pytest.raises(wg.WordgradError, match=r"returned a Variable.*wordgrad\.Module"):
        wrong("x").value  # noqa: B018 - reading is the act


def test_pass_through_copies_feedback() -> None:
    """By default each input gets the feedback on the output, without a call."""
    system = prompt("abc")
    upper(system).backward("Too loud.")

    assert texts(system) == ["Too loud."]


def test_a_critic_reads_what_the_function_does() -> None:
    """With `rule="critic"` one critic call reads the function's description, inputs and output."""
    model = Model()
    count = wg.function(rule="critic", description="counts words")(lambda text: len(text.split()))
    system = prompt("one two three")

    with wg.backward_engine(model):
        count(system).backward("Too many.")

    (asked,) = model.asked("backward")
    assert all(shown in asked for shown in ("counts words", "one two three", "Too many."))
    assert texts(system) == ["Be exact."]


def test_a_rule_of_the_authors_own() -> None:
    """A rule may be a function of the call and its feedback; it says one thing for each input."""

    def rule(ctx: wg.Context, grads: Sequence[wg.Gradient]) -> Sequence[Feedback]:
        return [f"{grads[0].text} ({ctx.roles[0]}: {ctx.inputs[0].value} → {ctx.output.value})", None]

    first, second = prompt("ab", "first"), prompt("cd", "second")
    wg.function(rule=rule)(lambda one, other: one + other)(first, second).backward("Wrong.")

    assert (texts(first), texts(second)) == (["Wrong. (first: ab → abcd)"], [])


def test_an_async_rule() -> None:
    """A rule may be async."""

    async def rule(ctx: wg.Context, grads: Sequence[wg.Gradient]) -> Sequence[Feedback]:
        await anyio.lowlevel.checkpoint()
        return ["From afar."]

    system = prompt()
    wg.function(rule=rule)(lambda text: text)(system).backward("Wrong.")

    assert texts(system) == ["From afar."]


def test_a_function_is_no_judge() -> None:
    """backward() on a function's output without a loss says what to do."""
    with pytest.raises(wg.GraphError, match=r"judges nothing: pass it to a loss, or .*output\.backward"):
        upper(prompt()).backward()


@pytest.mark.parametrize("options", [{"rule": "guess"}, {"on_error": "ignore"}])
def test_unknown_options_are_refused(options: dict[str, str]) -> None:
    """A misspelt option fails where it is written, and names what there is."""
    with pytest.raises(wg.UsageError, match="is not known: pass"):
        wg.function(**options)  # type: ignore[call-overload]


def test_exclusive_calls_never_overlap() -> None:
    """With `exclusive=True` calls run one at a time, in call order, whatever their examples."""
    inside, order, overlaps = threading.Semaphore(1), [], []

    @wg.function(exclusive=True)
    def write(row: int) -> int:
        overlaps.append(not inside.acquire(blocking=False))
        order.append(row)
        inside.release()
        return row

    rows = [write(n, example=n) for n in range(20)]

    assert [row.value for row in rows] == list(range(20))
    assert (order, any(overlaps)) == (list(range(20)), False)


def test_calls_of_one_example_keep_their_order() -> None:
    """Side effects of one example happen in program order, though no value connects the calls."""
    log: list[int] = []
    note = wg.function(log.append)
    for n in range(20):
        last = note(n, example="one")
    last.value  # noqa: B018 - the last one ends last

    assert log == list(range(20))


def test_examples_run_side_by_side() -> None:
    """Calls of different examples overlap: two that wait for each other both end."""
    meet = threading.Barrier(2)
    wait = wg.function(lambda: meet.wait(LIMIT_S) >= 0)

    assert [call.value for call in (wait(example="one"), wait(example="two"))] == [True, True]


# ---- model calls


def test_a_model_behind_a_prompt() -> None:
    """A `BlackboxLLM` sends its system prompt and the question, and its prompt is its parameter."""
    model, system = Model("Paris"), prompt("Name the city.")
    llm = wg.BlackboxLLM(model, system)

    assert llm("Capital of France?").value == "Paris"
    assert sent(model) == [(Message("system", ("Name the city.",)), Message("user", ("Capital of France?",)))]
    assert (llm.parameters(), llm.state_dict()) == ([system], {"system_prompt": "Name the city."})


def test_no_system_prompt_sends_none() -> None:
    """Without a system prompt there is no system message."""
    model = Model()
    wg.BlackboxLLM(model)("Hello").value  # noqa: B018 - reading is the act

    assert sent(model) == [(Message("user", ("Hello",)),)]


def test_options_are_bound_and_sent() -> None:
    """An `LLMCall` sends its options with each call, and `sample=` asks for another draw."""
    model = Model()
    ask = wg.LLMCall(model, options=wg.Sampling(max_tokens=7, temperature=0.5))
    ask("Hello", sample=3).value  # noqa: B018 - reading is the act

    (request,) = [call.request for call in model.history]
    assert (request.sampling, request.sample) == (wg.Sampling(max_tokens=7, temperature=0.5), (3,))


def test_a_call_does_not_wait_for_a_detached_input() -> None:
    """A call of what is pending returns at once, also where feedback stops there."""
    drawn = threading.Event()

    @wg.function
    def draw() -> str:
        assert drawn.wait(LIMIT_S)
        return "a cat"

    answer = wg.llm_call(None, draw().detach(), engine=Model(lambda request: f"It is {request.messages[0].text}."))
    drawn.set()

    assert answer.value == "It is a cat."


def test_a_conversation_of_several_turns() -> None:
    """A list of role and content is sent turn by turn; a Variable in it gets feedback."""
    model, earlier = Model(), prompt("Hi.", "earlier answer")
    answer = wg.llm_call(
        "Be kind.",
        [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": earlier},
            {"role": "user", "content": ["And", "now?"]},
        ],
        engine=model,
    )
    with wg.backward_engine(model):
        answer.backward("Rude.")

    assert sent(model)[0] == (
        Message("system", ("Be kind.",)),
        Message("user", ("Hello",)),
        Message("assistant", ("Hi.",)),
        Message("user", ("And", "now?")),
    )
    assert texts(earlier) == ["Be exact."]


@pytest.mark.parametrize(
    ("conversation", "said"),
    [
        ([{"role": "system", "content": "x"}], "unknown role 'system'"),
        ([{"role": "user", "content": "x"}, "y"], "a conversation is a list of"),
        ([{"role": "user", "text": "x"}], "a conversation is a list of"),
        ([], "a conversation of nothing"),
    ],
)
def test_wrong_conversations_are_refused(conversation: list[object], said: str) -> None:
    """What is neither a message nor a list of turns fails when the call is made."""
    with pytest.raises(wg.UsageError, match=said):
        wg.llm_call(None, conversation, engine=Model())  # type: ignore[arg-type]


def test_values_are_sent_as_their_text() -> None:
    """A JSON value in a conversation is sent as indented JSON."""
    model = Model()
    wg.llm_call(None, wg.Variable({"a": 1}), engine=model).value  # noqa: B018 - reading is the act

    assert sent(model)[0][0].text == '{\n  "a": 1\n}'


def test_a_template_with_a_trained_slot() -> None:
    """A `FormattedLLMCall` fills bound and given slots, in one pass, and trains the bound one."""
    model, tone = Model(), prompt("kind", "tone")
    write = wg.FormattedLLMCall(model, 'Be {tone}. Say {"text": {text}}.', slots={"tone": tone})
    answer = write(text="{tone}")
    with wg.backward_engine(model):
        answer.backward("Rude.")

    assert sent(model)[0][0].text == 'Be kind. Say {"text": {tone}}.'
    assert (write.parameters(), texts(tone)) == ([tone], ["Be exact."])


def test_a_template_call_names_its_reply_and_draw() -> None:
    """A `FormattedLLMCall` takes `sample=` and `role_description=` as any model call, beside the slots' values."""
    model = Model()
    write = wg.FormattedLLMCall(model, "Say {text}.", system_prompt="Be kind.")
    answer = write(text="yes", sample=3, role_description="greeting")

    assert (answer.value, answer.role_description) == ("an answer", "greeting")
    assert [call.request.sample for call in model.history] == [(3,)]


@pytest.mark.parametrize("slot", ["sample", "role_description", "example"])
def test_slots_that_the_call_would_take_are_refused(slot: str) -> None:
    """A slot with the name of one of the call's own arguments would stay unfilled without a word."""
    with pytest.raises(wg.UsageError, match=f"the slot {{{slot}}} .* rename it"):
        wg.FormattedLLMCall(Model(), f"Say {{{slot}}}.")


def test_a_value_without_a_slot_is_refused() -> None:
    """A value for a slot that the template does not have is a misspelling."""
    with pytest.raises(wg.UsageError, match=r"has no slot \{txt\}"):
        wg.FormattedLLMCall(Model(), "Say {text}.")(txt="x")


@pytest.mark.parametrize(("finish", "text"), [("length", "It is"), ("refusal", "No."), ("stop", "")])
def test_cut_and_refused_replies_are_values(finish: str, text: str) -> None:
    """A text reply that was cut or refused, or is empty, is a value that says how it ended."""
    output = wg.llm_call(None, "What?", engine=Model(wg.Completion(text=text, finish=finish)))  # type: ignore[arg-type]

    assert (output.value, output.finish) == (text, finish)


@pytest.mark.parametrize("schema", [True, False])
def test_structured_replies(schema: bool) -> None:
    """A schema's reply is its JSON, whether the engine enforces schemas or is told in words."""
    model = Model({"name": "Rome", "people": 3}, capabilities=Capabilities(schema=schema))
    output = wg.llm_call(None, "Which?", engine=model, schema=City)

    assert output.value == {"name": "Rome", "people": 3}
    assert ('"people"' in sent(model)[0][-1].text) is not schema


def test_a_structured_reply_is_repaired_once() -> None:
    """A reply that does not fit is sent back once, with what is wrong; the trace shows both calls."""

    def reply(request: wg.Request) -> object:
        return {"name": "Rome"} if len(request.messages) == 1 else {"name": "Rome", "people": 3}

    model = Model(reply)  # type: ignore[arg-type]
    output = wg.llm_call(None, "Which?", engine=model, schema=City)

    assert output["people"].value == 3
    assert "people: Field required" in sent(model)[1][-1].text
    (asked,) = output.trace()
    assert [call.request for call in asked.calls] == [call.request for call in model.history]


def test_a_repair_fits_the_context() -> None:
    """The reply shown for its repair is shortened to what the context holds; without room nobody is asked again."""

    def calls(context_tokens: int) -> int:
        model = Model("No. " * 9_000, capabilities=Capabilities(schema=True, context_tokens=context_tokens))
        options = wg.Sampling(max_tokens=100)
        output = wg.llm_call(None, "Which?", engine=model, schema=City, options=options)
        with pytest.raises(wg.NodeError, match="not one JSON value"):
            output.value  # noqa: B018 - reading is the act
        tokens = [sum(model.count_tokens(each.text) for each in messages) for messages in sent(model)]
        assert max(tokens) <= context_tokens - 100
        return len(tokens)

    assert (calls(600), calls(140)) == (2, 1)


def test_a_schema_in_words_joins_the_question() -> None:
    """Told in words, the schema is a part of the last user message: chat templates refuse two of those in a row."""
    model = Model({"name": "東京", "people": 3}, capabilities=Capabilities(schema=False))
    wg.llm_call("Be exact.", "Which?", engine=model, schema=City).value  # noqa: B018 - reading is the act

    (messages,) = sent(model)
    assert [(each.role, each.parts[:1]) for each in messages] == [("system", ("Be exact.",)), ("user", ("Which?",))]
    assert json.loads(messages[1].parts[1].partition("\n")[2]) == City.model_json_schema()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ('{"name": "Rome", "name": "Oslo", "people": 3}', "a key stands twice"),
        ('{"name": "Rome", "people": 1e999}', "'1e999' is no finite number"),
        ('Here: {"name": "Rome", "people": 3}', "not one JSON value"),
        ('{"name": "\ud800", "people": 3}', "unable to parse raw data as a unicode string"),
        ("", "not one JSON value"),
    ],
)
def test_structured_replies_are_read_strictly(reply: str, problem: str) -> None:
    """What is not exactly one JSON value of the form is sent back with the reason, and is never a value."""
    model = Model(reply)

    with pytest.raises(wg.NodeError, match=re.escape(problem)):
        wg.llm_call(None, "Which?", engine=model, schema=City).value  # noqa: B018 - reading is the act
    assert problem in sent(model)[1][-1].text


def test_a_code_block_around_a_structured_reply() -> None:
    """One code block around the whole reply is allowed, as small models write it."""
    model = Model('```json\n{"name": "東京 🗼", "people": 3}\n```')

    assert wg.llm_call(None, "Which?", engine=model, schema=City).value == {"name": "東京 🗼", "people": 3}


class Founded(BaseModel, strict=True):
    """A structured reply of a strict form."""

    on: date


def test_a_strict_form_is_read_as_json() -> None:
    """In a strict form a date is still written as text: JSON has no other way."""
    model = Model({"on": "1624-09-17"})

    assert wg.llm_call(None, "When?", engine=model, schema=Founded).value == {"on": "1624-09-17"}


def test_a_cut_structured_reply_is_an_error() -> None:
    """A structured reply that was cut is no value, even where what is there can be read."""
    model = Model(wg.Completion(text='{"name": "Rome", "people": 3}', finish="length"))

    with pytest.raises(wg.NodeError, match="cut off") as raised:
        wg.llm_call(None, "Which?", engine=model, schema=City).value  # noqa: B018 - reading is the act
    assert isinstance(raised.value.__cause__, wg.UnreadableReply)


def test_two_calls_are_two_draws() -> None:
    """Outside a run nothing is shared: the same call twice is two calls."""
    model = Model()
    outputs = [wg.llm_call(None, "Hello", engine=model) for _ in range(2)]

    assert [output.value for output in outputs] == ["an answer"] * 2
    assert len(model.history) == 2


# ---- images


def seeing(reply: str = "a cat") -> Model:
    """An engine with eyes."""
    return Model(reply, capabilities=Capabilities(schema=True, images=True))


def test_images_are_sent_as_bytes(tmp_path: Path) -> None:
    """An image from bytes, base64, a data URL or a path is sent as its bytes, in its place among the parts."""
    file = tmp_path / "photo"
    file.write_bytes(PNG)
    encoded = base64.b64encode(PNG).decode()
    images = [wg.Image(each) for each in (PNG, encoded, f"data:image/png;base64,{encoded}", file)]
    model = seeing()

    assert wg.MultimodalLLMCall(model)([*images, "What is shown?"]).value == "a cat"
    assert sent(model) == [(Message("user", (*[ImageData("image/png", PNG)] * 4, "What is shown?")),)]


def test_critics_see_an_images_description() -> None:
    """A critic reads what an image is, and the prompt beside it gets the feedback."""
    model, system = seeing(), prompt("Name the animal.")
    answer = wg.BlackboxLLM(model, system)(wg.Variable(wg.Image(PNG), "photo"))

    with wg.backward_engine(model):
        answer.backward("It is a dog.")

    assert "[image/png, 24 bytes, sha256 " in model.asked("backward")[0]
    assert texts(system) == ["Be exact."]


@pytest.mark.parametrize(
    "call",
    [
        wg.MultimodalLLMCall,
        lambda model: wg.llm_call(None, wg.Image(PNG), engine=model),
        lambda model: wg.llm_call(None, [wg.Variable(wg.Image(PNG)), "What?"], engine=model),
    ],
)
def test_blind_engines_get_no_images(call: Callable[[Model], object]) -> None:
    """An engine that declares no images is refused before anything is sent."""
    with pytest.raises(wg.UsageError, match="cannot see images"):
        call(Model())


def test_blind_engines_get_no_computed_images() -> None:
    """An image that a function makes is refused when it is there, and not sent either."""
    model = Model()
    drawn = wg.function(lambda: wg.Image(PNG))()

    with pytest.raises(wg.NodeError, match="cannot see images"):
        wg.llm_call(None, drawn, engine=model).value  # noqa: B018 - reading is the act
    assert model.history == ()


def test_text_is_never_a_path(tmp_path: Path) -> None:
    """A str that looks like a path opens no file: as an image it is refused, as a message it is text."""
    file = tmp_path / "secret.png"
    file.write_bytes(PNG)
    model = seeing()

    with pytest.raises(wg.UsageError, match="for a file pass"):
        wg.Image(str(file))
    assert wg.llm_call(None, str(file), engine=model).value == "a cat"
    assert sent(model)[0][0].parts == (str(file),)


def test_what_is_no_image_is_refused() -> None:
    """Bytes that are no PNG, JPEG, GIF or WebP are refused when given."""
    with pytest.raises(wg.UsageError, match="no PNG, JPEG, GIF or WebP"):
        wg.Image(b"%PDF-1.7")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.png", "http://localhost:9/a.png", "http://[::1]:9/a.png"])
def test_private_addresses_are_not_fetched(url: str) -> None:
    """Data cannot make the library read from this machine or its network."""
    output = wg.llm_call(None, wg.Image(url), engine=seeing())

    with pytest.raises(wg.WordgradError, match="private address"):
        output.value  # noqa: B018 - reading is the act


# ---- modules


class Writer(wg.Module):
    """A program of two prompts, one of them shared."""

    def __init__(self, model: Model) -> None:
        self.draft = wg.BlackboxLLM(model, prompt("Draft.", "drafter"))
        self.review = [wg.BlackboxLLM(model, prompt("Review.", "reviewer"))]
        self.again = {"first": self.draft.system_prompt}

    def forward(self, topic: str) -> wg.Variable:
        """Draft, then review."""
        return self.review[0](self.draft(topic))  # type: ignore[no-any-return]


def test_parameters_are_found_by_path() -> None:
    """Parameters in attributes, lists and dicts have their paths as names, each once, in order of definition."""
    writer = Writer(Model())

    assert [name for name, _ in writer.named_parameters()] == ["draft.system_prompt", "review.0.system_prompt"]


def test_state_is_saved_and_loaded() -> None:
    """`state_dict()` is plain JSON that `load_state_dict()` gives back."""
    one, other = Writer(Model()), Writer(Model())
    one.parameters()[1].value = "Review it twice."
    other.load_state_dict(one.state_dict())

    assert other.state_dict() == {"draft.system_prompt": "Draft.", "review.0.system_prompt": "Review it twice."}


def test_wrong_state_changes_nothing() -> None:
    """A state with other names is refused whole."""
    writer = Writer(Model())

    with pytest.raises(wg.UsageError, match=r"unknown \['x'\], missing \['review.0.system_prompt'\]"):
        writer.load_state_dict({"draft.system_prompt": "New.", "x": "y"})
    assert writer.state_dict()["draft.system_prompt"] == "Draft."


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, r"unknown \[\], missing \['review.0.system_prompt'\]"),
        ({"review.0.system_prompt": "New.", "x": "y"}, r"unknown \['x'\], missing \[\]"),
    ],
)
def test_a_state_with_too_few_or_too_many_names_is_refused(more: dict[str, str], said: str) -> None:
    """Either is enough; the message names the program."""
    with pytest.raises(wg.UsageError, match=f"the state does not fit Writer: {said}"):
        Writer(Model()).load_state_dict({"draft.system_prompt": "New.", **more})  # type: ignore[dict-item]


def test_parameters_in_a_dict_are_named_by_their_keys() -> None:
    """Keys of any kind become parts of the path."""
    writer = Writer(Model())
    writer.by_desk = {"billing": prompt("a"), 7: prompt("b")}  # type: ignore[attr-defined]

    assert list(writer.state_dict())[-2:] == ["by_desk.billing", "by_desk.7"]


def test_a_program_may_point_back() -> None:
    """Modules and lists that hold each other are gone through once."""
    writer = Writer(Model())
    writer.draft.parent = writer  # type: ignore[attr-defined]
    writer.review.append(writer.review)  # type: ignore[arg-type]

    assert list(writer.state_dict()) == ["draft.system_prompt", "review.0.system_prompt"]


@pytest.mark.parametrize("wrong", [object(), {1, 2}])
def test_a_state_with_one_wrong_value_changes_nothing(wrong: object) -> None:
    """All values are assigned, or none: one that no Variable can hold leaves the others as they were."""
    writer = Writer(Model())
    before = writer.state_dict()

    with pytest.raises(wg.UsageError, match="has no JSON form"):
        writer.load_state_dict({"draft.system_prompt": "New.", "review.0.system_prompt": wrong})  # type: ignore[dict-item]
    assert writer.state_dict() == before


def test_a_batch_runs_concurrently() -> None:
    """`module.batch()` gives the results in order, in as many rounds as one example has calls."""
    model = Model(lambda request: request.messages[-1].text + ".")
    outputs = Writer(model).batch([f"{n}" for n in range(8)])

    assert [output.value for output in outputs] == [f"{n}.." for n in range(8)]
    assert model.rounds == 2
