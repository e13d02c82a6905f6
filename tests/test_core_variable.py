"""What a Variable holds, how it reads, and what it refuses because it is not a str."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import pytest
from pydantic import BaseModel

import wordgrad as wg
from engines import Model, prompt, texts
from wordgrad.types import Price, Usage

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16


@dataclass
class Point:
    """A value of a user's own."""

    x: int


class Meeting(BaseModel):
    """A model with a value that JSON writes as text."""

    day: dt.date


class Ticket(BaseModel):
    """A value of a user's own."""

    label: str


def pending() -> wg.Variable:
    """An output that cannot be there yet when it is looked at: nothing answers before the reader blocks."""
    return wg.llm_call(prompt(), "What?", engine=Model("done"), role_description="answer")


def test_str_is_the_value() -> None:
    """`str(v)` is the text itself."""
    assert str(wg.Variable("Be brief.")) == "Be brief."


def test_str_waits_for_the_value() -> None:
    """`str()` of a pending output blocks until the call has answered."""
    assert str(pending()) == "done"


def test_repr_shows_role_and_first_words() -> None:
    """`repr(v)` names the role and at most eight words, or eighty characters, of the value."""
    shown = repr(wg.Variable("one two three four five six seven eight nine", "counting"))

    assert shown == (
        "Variable('one two three four five six seven eight…', role_description='counting', requires_grad=False)"
    )
    for whole in ("one two three four five six seven eight", "a" * 80):
        assert repr(wg.Variable(whole)).split(", role")[0] == f"Variable({whole!r}"


def test_repr_does_not_block() -> None:
    """`repr(v)` of an output whose call is out says so at once."""
    assert repr(pending()) == "Variable(<pending>, role_description='answer', requires_grad=True)"


def test_repr_of_a_failed_output() -> None:
    """`repr(v)` of an output whose call failed says so, and raises nothing."""
    failed = wg.llm_call(None, "What?", engine=Model(wg.EngineError("down", retryable=False)))
    with pytest.raises(wg.NodeError, match="down"):
        failed.value  # noqa: B018 - reading is the act

    assert repr(failed).startswith("Variable(<failed>,")


def test_f_string_of_what_is_trained_is_refused() -> None:
    """An f-string would cut the graph without a word, so it raises and names both ways out."""
    system = prompt()

    with pytest.raises(wg.UsageError, match=r"\{v\.value\}.*wordgrad\.format"):
        f"{system}"


def test_f_string_of_data_is_its_text() -> None:
    """Where nothing is trained there is no graph to cut."""
    assert f"{wg.Variable('abc'):>5}" == "  abc"


def test_equality_is_identity() -> None:
    """Two Variables with the same text are two."""
    one, other = wg.Variable("a"), wg.Variable("a")

    assert one == one  # noqa: PLR0124 - identity is what is tested
    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda v: v == "stop", r"Compare its \.value"),
        (lambda v: v != "stop", r"Compare its \.value"),
        (lambda v: v == None, r"Compare its \.value"),  # noqa: E711 - the comparison is what is tested
        (bool, r"no truth value: test its \.value"),
        (len, r"no length: use len\(\) of its \.value"),
        (list, r"cannot be iterated: iterate its \.value"),
        (lambda v: "a" in v, r"cannot be searched: search its \.value"),
    ],
)
def test_what_a_str_could_do_is_refused(use: Callable[[wg.Variable], object], said: str) -> None:
    """What would be wrong for ever, such as `v == "stop"`, raises and says what to write instead."""
    with pytest.raises(wg.UsageError, match=said):
        use(wg.Variable("stop"))


def test_a_role_is_required_of_what_is_trained() -> None:
    """Critics know only from the role what a text is for; "" goes without on purpose."""
    with pytest.raises(wg.UsageError, match="needs a role_description"):
        wg.Variable("Be brief.", requires_grad=True)

    assert wg.Variable("Be brief.", "", requires_grad=True).role_description == ""


def test_constraints_are_a_list() -> None:
    """A lone text would be read letter by letter, so it is refused, here and in an optimizer."""
    with pytest.raises(wg.UsageError, match=r"pass \["):
        wg.Variable("Be brief.", "prompt", requires_grad=True, constraints="It stays polite.")
    for options in ({"constraints": "It stays polite."}, {"in_context_examples": "Be brief."}):
        with pytest.raises(wg.UsageError, match=r"pass \["):
            wg.TGD([prompt()], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "held", "text"),
    [
        ("a\nb", "a\nb", "a\nb"),
        ({"a": [1, None]}, {"a": [1, None]}, '{\n  "a": [\n    1,\n    null\n  ]\n}'),
        ((1, 2), [1, 2], "[\n  1,\n  2\n]"),
        (2.5, 2.5, "2.5"),
        (None, None, "null"),
        (Point(1), {"x": 1}, '{\n  "x": 1\n}'),
        (Ticket(label="é"), {"label": "é"}, '{\n  "label": "é"\n}'),
        (Meeting(day=dt.date(2026, 11, 25)), {"day": "2026-11-25"}, '{\n  "day": "2026-11-25"\n}'),
    ],
)
def test_values(value: object, held: object, text: str) -> None:
    """Text is kept as it is; a dataclass or model becomes its JSON; what is no text reads as indented JSON."""
    variable = wg.Variable(value)

    assert (variable.value, variable.text) == (held, text)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", float("nan"), print])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    """A value that could neither be shown nor stored is refused when it is given."""
    with pytest.raises(wg.UsageError, match="has no JSON form"):
        wg.Variable(value)


def test_a_variable_in_a_variable_is_refused() -> None:
    """A Variable is used itself, not wrapped."""
    with pytest.raises(wg.UsageError, match="is a Variable already"):
        wg.Variable(wg.Variable("a"))


def test_images_are_held_and_not_trained() -> None:
    """An image is a value with a short description, and cannot require grad."""
    image = wg.Image(PNG)

    assert str(wg.Variable(image)).startswith("[image/png, 24 bytes, sha256 ")
    assert repr(wg.Variable(image)).startswith("Variable('[image/png, 24 bytes, sha256 ")
    for train in (lambda: wg.Variable(image, "photo", requires_grad=True), wg.Variable(image, "photo").make_leaf):
        with pytest.raises(wg.UsageError) as caught:
            train()
        assert str(caught.value) == (
            f"{image.text_form()} cannot require grad: an optimizer rewrites text, and has no way to write an image. "
            "Leave requires_grad off, and train the text beside it"
        )


def test_images_cannot_be_assigned_to_what_is_trained() -> None:
    """The rule holds for assignment too, and the old value stays."""
    system = prompt("Be brief.")

    with pytest.raises(wg.UsageError, match="cannot require grad"):
        system.value = wg.Image(base64.b64encode(PNG).decode())

    assert (system.value, system.version) == ("Be brief.", 0)


def test_assignment_counts_versions() -> None:
    """Each assignment is a new version."""
    system = prompt("a")
    system.value = "b"
    system.value = ["c"]

    assert (system.value, system.version) == (["c"], 2)


def test_words_are_severe_feedback() -> None:
    """What a person says is a Gradient of the highest severity, in the person's words, with a hash as its objective."""
    system, words = prompt(), "Zu lang. Größe! \ud800"  # half a sign, which no encoding carries
    system.accumulate_grad(words)

    (made,) = system.gradients
    assert (made.text, made.feedback, made.severity) == (words, words, 3)
    digest = hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()
    assert made.objective == f"a person's feedback ({digest[:16]})"


def test_same_gradient_counts_once() -> None:
    """Words said twice are one gradient; other words are another."""
    system = prompt()
    for words in ("Too long.", "Too short.", "Too long."):
        system.accumulate_grad(words)

    assert sorted(texts(system)) == ["Too long.", "Too short."]


def test_gradients_are_ordered_by_place() -> None:
    """The order is that of the calls that read the Variable, then of their inputs, whichever came first."""
    system = prompt()
    places = [((10,), 0), ((2,), 1), ((2,), 0), ((2, 5), 0)]
    for consumer, slot in places:
        system.accumulate_grad(wg.Gradient(text="x", consumer=consumer, slot=slot))

    assert [(each.consumer, each.slot) for each in system.gradients] == sorted(places)


def test_gradients_with_one_key_replace_each_other() -> None:
    """A retry's gradient takes the place of the first one."""
    system = prompt()
    for text in ("first", "second"):
        system.accumulate_grad(wg.Gradient(text=text, example="1", objective="truth", consumer=(3,)))

    assert texts(system) == ["second"]


def test_gradients_without_an_objective_are_told_apart_by_their_words() -> None:
    """Of a person's own gradients each counts once, and none replaces another."""
    system = prompt()
    for text in ("Too long.", "Too rude.", "Too long."):
        system.accumulate_grad(wg.Gradient(text=text))

    assert texts(system) == ["Too long.", "Too rude."]


def test_zero_grad_forgets() -> None:
    """After `zero_grad()` there is no feedback, and its text is empty."""
    system = prompt()
    system.accumulate_grad("Too long.")
    system.zero_grad()

    assert (system.gradients, system.get_gradient_text()) == ((), "")


def test_gradient_text_is_one_line_each() -> None:
    """The requested changes stand one a line."""
    system = prompt()
    for place, text in enumerate(["one", "two"]):
        system.accumulate_grad(wg.Gradient(text=text, consumer=(place,)))

    assert system.get_gradient_text() == "one\ntwo"


def test_detach_stops_feedback() -> None:
    """A detached Variable has the value and the role, no history and no gradient."""
    output = pending().detach()

    assert (output.value, output.requires_grad, output.predecessors) == ("done", False, ())
    assert (output.role_description, output.version, output.name, output.constraints) == ("answer", 0, None, ())


def test_make_leaf_makes_a_parameter() -> None:
    """A computed solution becomes a parameter: its value stays, its history goes."""
    output = pending()
    output.make_leaf()

    assert (output.value, output.requires_grad, output.predecessors) == ("done", True, ())


def test_what_becomes_a_parameter_needs_a_role() -> None:
    """Giving an optimizer a Variable without a role is the same mistake as creating one that requires grad."""
    with pytest.raises(wg.UsageError, match=r"Variable\('Be brief\.', requires_grad=True\) needs a role_description"):
        wg.TGD([wg.Variable("Be brief.")])

    assert wg.TGD([wg.Variable("Be brief.", "", requires_grad=True)]).parameters["p1"].value == "Be brief."


def test_make_leaf_refuses_uses_from_before() -> None:
    """Feedback on a use from before would reach another value, so it is an error."""
    solution = pending()
    use = wg.format("<{s}>", s=solution)
    solution.make_leaf()

    with pytest.raises(wg.GraphError, match="'answer' was reassigned after forward read it"):
        use.backward("Too long.")


def test_plus_joins_from_either_side() -> None:
    """`+` joins texts and Variables without a separator, and keeps the graph."""
    system = prompt("b")
    joined = "a" + system + "c"

    assert (joined.value, joined.requires_grad) == ("abc", True)


def test_plus_an_empty_text_keeps_the_graph() -> None:
    """`"" + v` is a text operation as any other."""
    assert ("" + wg.Variable("a")).value == "a"


def test_plus_a_number_writes_it() -> None:
    """What is no text joins in its text form; only the 0 of `sum()` adds nothing."""
    assert (1 + wg.Variable("a")).value == "1a"


def test_sum_starts_from_zero() -> None:
    """Python's `sum()` of Variables joins them, and its 0 adds nothing."""
    assert sum([wg.Variable("a"), wg.Variable("b")]).value == "ab"  # type: ignore[arg-type]


def test_items_are_variables() -> None:
    """`v["field"]` and `v[0]` take items and keep the graph; a text's item is its character."""
    ticket = prompt({"label": ["bug", "crash"]})
    taken = ticket["label"][1]

    assert (taken.value, taken.requires_grad) == ("crash", True)
    assert wg.Variable("abc")[1].value == "b"


def test_missing_item_is_an_error() -> None:
    """An item that is not there raises where it is taken, with the value that lacks it."""
    with pytest.raises(wg.UsageError, match="has no item 'colour'"):
        wg.Variable({"label": "bug"})["colour"]


def test_predecessors_are_the_inputs_in_order() -> None:
    """An output's predecessors are what its call was given, each as often as it was given."""
    one, other = wg.Variable("a"), wg.Variable("b")

    assert wg.join([one, other, one]).predecessors == (one, other, one)


@pytest.mark.anyio
async def test_await_gives_the_variable() -> None:
    """`await v` waits and gives `v` itself, whose value can then be read inside an event loop."""
    output = pending()
    with anyio.fail_after(10):
        awaited = await output

    assert awaited is output
    assert output.value == "done"


@pytest.mark.anyio
async def test_await_of_what_is_there() -> None:
    """A Variable that no call makes can be awaited as any other."""
    with anyio.fail_after(10):
        assert (await wg.Variable("Be brief.")).value == "Be brief."


@pytest.mark.anyio
async def test_reading_in_an_event_loop_says_await() -> None:
    """In async code a plain read of what was not awaited is an error, ready or not."""
    output = pending()

    with pytest.raises(wg.UsageError, match="await"):
        output.value  # noqa: B018 - reading is the act
    await output


def test_trace_shows_what_was_sent() -> None:
    """`v.trace()` lists each call with its exact messages, its reply, its usage and what it cost."""
    model = Model("done", price=Price(input_usd=1_000_000, output_usd=2_000_000))
    output = wg.llm_call("Be brief.", wg.join(["What", "now?"], " "), engine=model)
    (joined, asked) = output.trace()

    assert (joined.index < asked.index, joined.role, asked.role) == (True, "joined text", "reply of the model")
    assert (joined.function, joined.inputs, joined.output) == ("join", ("What", "now?"), "What now?")
    assert (asked.function, asked.inputs, asked.output) == ("llm", ("Be brief.", "What now?"), "done")
    (call,) = asked.calls
    assert (call.engine, call.request) == (model.name, model.history[0].request)
    assert (call.completion.text, call.completion.usage) == ("done", Usage(input_tokens=6, output_tokens=1))
    assert (call.cost_usd, asked.error) == (8, None)


def test_the_trace_of_a_failed_call_shows_what_it_read() -> None:
    """A failed call and all after it are listed, with what they had read and why; None stands for what never came."""
    failed = wg.llm_call("Be brief.", "What?", engine=Model(wg.EngineError("no", retryable=False)))
    output = wg.join([failed, "and so on"])

    said = "llm ('reply of the model') failed: EngineError: no"
    assert [(each.function, each.inputs, each.output, each.error, each.calls) for each in output.trace()] == [
        ("llm", ("Be brief.", "What?"), None, said, ()),
        ("join", (None, "and so on"), None, said, ()),
    ]


def test_nothing_is_behind_a_leaf() -> None:
    """What no call made has an empty trace."""
    assert wg.Variable("Be brief.").trace() == []


def test_mermaid_shortens_long_labels() -> None:
    """A label has at most 60 characters, the last of them an ellipsis where it was longer."""
    shown = [
        line.split('"')[1]
        for line in wg.to_mermaid(wg.Variable("", "a" * 56), wg.Variable("", "a" * 57)).split("\n")[1:3]
    ]

    assert shown == ["a" * 56 + ": #39;#39;", "a" * 57 + ": …"]


def test_repr_of_an_output_shows_what_came_of_it() -> None:
    """A computed output shows its first words, a failed one that it failed."""
    done, failed = pending(), wg.llm_call(None, "What?", engine=Model(wg.EngineError("no", retryable=False)))
    _ = done.value
    with pytest.raises(wg.NodeError):
        _ = failed.value

    assert [repr(each).split(",")[0] for each in (done, failed)] == ["Variable('done'", "Variable(<failed>"]


@pytest.mark.parametrize(
    ("made", "named"),
    [(lambda: wg.Variable("v", "a role"), "'a role'"), (lambda: wg.Variable("v"), "'(no role)'")],
)
def test_errors_name_the_variable(made: Callable[[], wg.Variable], named: str) -> None:
    """By its role, where it has one."""
    with pytest.raises(wg.UsageError, match=rf"^Variable {re.escape(named)} has no truth value"):
        bool(made())


def test_a_missing_role_is_explained() -> None:
    """The message shows the text, and how to go on."""
    with pytest.raises(wg.UsageError) as caught:
        wg.Variable("Be brief.", requires_grad=True)

    assert str(caught.value) == (
        "Variable('Be brief.', requires_grad=True) needs a role_description: critics and the optimizer know only from "
        'it what the text is for. Say it in a few words ("system prompt of the summariser"), or pass "" to go without '
        "on purpose"
    )


def test_mermaid_shows_a_pending_graph() -> None:
    """The drawing never blocks, and nothing in a text can break it."""
    drawn = wg.to_mermaid(wg.format("{a}", a=prompt('"]; click', "a role")))

    assert drawn.splitlines() == [
        "flowchart TD",
        '  v0["a role: #39;#34;#93;#59; click#39;"]:::trainable',
        '  v1["a filled template: #39;#34;#93;#59; click#39;"]',
        "  v0 -->|format| v1",
        "  classDef trainable stroke-width:3px",
    ]
