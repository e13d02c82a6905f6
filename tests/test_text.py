"""Operations on text and on structured values; and text of every script, in every place where text goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wordgrad as wg
from engines import Model, prompt, texts
from wordgrad.core.function import Node
from wordgrad.core.value import Result
from wordgrad.types import Request

SCRIPTS = [
    "売上は12％増えた。",  # Japanese: no spaces
    "ליצור סיכום קצר",  # Hebrew: right to left
    "مرحبا \u202eبالعالم\u202c",  # Arabic, with marks that turn the direction
    "👩‍👩‍👧 family, 🎫 and e\u0301",  # one sign of several code points
    "lone \ud800 half",  # what no encoding can carry
    "nul \x00 and \u2028 break",
]


@wg.function(on_error="feedback")
def whole(text: str) -> int:
    """Read a whole number."""
    return int(text)


# ---- operations


def test_operations_name_their_outputs() -> None:
    """A critic reads what an output is."""
    record = wg.Variable({"city": "Rome"}, "a record")
    total = wg.sum([wg.TextLoss("Is it so?", engine=Model())(prompt())])

    roles = [each.role_description for each in (record["city"], wg.Variable([1])[0], total)]
    assert roles == ["'city' of a record", "0 of a value", "sum of losses"]


def test_a_missing_item_is_named_with_what_there_is() -> None:
    """The message shows the value that was asked, and the key."""
    with pytest.raises(wg.UsageError, match=r"\"Rome\".* has no item 'street'$"):
        _ = wg.Variable({"city": "Rome"}, "a record")["street"].value


def test_join_and_sum_of_nothing_are_refused() -> None:
    """There is no text and no loss to give back."""
    for empty, said in (
        (wg.join, "join() of nothing: pass at least one Variable or text"),
        (wg.sum, "sum() of no losses: pass at least one"),
    ):
        with pytest.raises(wg.UsageError) as caught:
            empty([])
        assert str(caught.value) == said


def test_a_sum_reads_as_its_critiques() -> None:
    """The text of a sum of losses is what each of them says, a line each; its score is the sum of the scores."""
    losses = [wg.MetricLoss(lambda output, target: (0.25, f"{output}, not {target}"))(word, "c") for word in "ab"]
    total = wg.sum(losses)

    assert (total.value, total.score) == ("a, not c\nb, not c", 0.5)


def test_parts_that_are_no_variables_have_roles() -> None:
    """A value in a template is called by its slot, one in a joined text an input."""
    filled, joined = wg.format("{word}!", word="a"), wg.join([wg.Variable("b", "question"), "c"])

    assert [each.role_description for each in filled.predecessors] == ["word"]
    assert [each.role_description for each in joined.predecessors] == ["question", "input"]


def test_an_objects_fields_are_items() -> None:
    """A dataclass or a pydantic model has its fields as items, as the JSON that it is shown as."""

    @dataclass
    class Ticket:
        label: str

    class Reading(wg.Function):
        """Returns an object as it is."""

        async def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result:
            return Result(value=Ticket("bug"))

        def backward(self, ctx: wg.Context, grads: Sequence[wg.Gradient]) -> list[None]:
            return []

    for made in (wg.function(lambda: Ticket("bug"))(), Reading().apply()):
        assert made["label"].value == "bug"


def test_a_join_writes_a_line_each() -> None:
    """Where nothing else is said."""
    assert wg.join(["a", "b"]).value == "a\nb"


def test_a_join_says_what_it_holds() -> None:
    """The role of a joined text is that of its parts, each once."""
    parts = [wg.Variable("a", "question"), "b", wg.Variable("c", "sources"), wg.Variable("d", "sources")]

    assert wg.join(parts).role_description == "question and sources"
    assert wg.join(["a", "b"]).role_description == "joined text"


def test_an_item_gets_the_feedback_with_its_key() -> None:
    """The feedback on a field or an element goes to the whole value, and says which item it concerns."""
    ticket = prompt({"label": ["bug", "crash"]}, "ticket")
    ticket["label"].backward("Too broad.")
    ticket["label"][1].backward("Too narrow.")

    assert [(each.text, each.segment) for each in ticket.gradients] == [
        ("Too broad.", "item 'label'"),
        ("Too narrow.", "item 'label'"),
    ]


@pytest.mark.parametrize(
    "use",
    [
        lambda failed: failed["field"],
        lambda failed: wg.join(["a", failed]),
        lambda failed: wg.format("{x}", x=failed),
        lambda failed: wg.sum([failed]),
    ],
    ids=["item", "join", "format", "sum"],
)
def test_text_operations_hand_a_failure_on(use: Callable[[wg.Variable], wg.Variable]) -> None:
    """What is made of a failed function's output is that failure: feedback on it reaches the function, with its message."""
    written = prompt("seven", "number")
    loss = wg.MetricLoss(lambda output, target: 1.0)(use(whole(written)))
    loss.backward()

    assert loss.score == 0
    assert texts(written) == ["whole failed with ValueError: invalid literal for int() with base 10: 'seven'"]


def test_a_slot_may_have_any_name() -> None:
    """Slots are what is given by name, in any script; "template" too. Every other brace is literal."""
    filled = wg.format("{質問} {template} {other} {} {0} {a b}", 質問="何?", template="t")

    assert filled.value == "何? t {other} {} {0} {a b}"


def test_a_value_is_never_scanned_again() -> None:
    """What looks like a slot in a value stays as it is, whatever the order of the slots."""
    assert wg.format("{a}{b}", a="{b}", b="{a}").value == "{b}{a}"


def test_a_reader_cannot_change_a_value() -> None:
    """A value changes by assignment alone: what a reader does to the list it got reaches nobody else."""
    made = wg.Variable({"pages": [2, 1]})
    sort = wg.function(lambda found: found["pages"].sort() or found)
    before = wg.llm_call(None, made, engine=Model())
    made.value["pages"].append(3)

    assert sort(made).value == {"pages": [1, 2]}
    assert wg.MetricLoss(lambda output, target: len(output.popitem()[1]) / 2)(made).score == 1
    assert made.value == {"pages": [2, 1]}
    assert json.loads(before.trace()[0].inputs[0]) == {"pages": [2, 1]}


# ---- every script


@pytest.mark.parametrize("text", SCRIPTS)
def test_text_of_every_script_goes_round(text: str) -> None:
    """A text reaches the model, judge, critic and optimizer as it is, and as a reply becomes the value as it is."""
    rewrite = {"value": f"new {text}"} if text.isprintable() or "\ud800" not in text else {"value": "new"}
    model = Model(text, judgement=f"No: {text}", critic=_echo(text), rewrite=rewrite)  # type: ignore[arg-type]
    system = prompt(text, f"role {text}")
    answer = wg.BlackboxLLM(model, system)(text)

    with wg.backward_engine(model):
        wg.TextLoss(f"Judge: {text}")(answer, text, context=text).backward()
        result = wg.TGD([system]).step()

    assert answer.value == text
    for purpose in ("forward", "judge", "backward", "optimize"):
        assert all(text in asked for asked in model.asked(purpose))  # type: ignore[arg-type]
    assert (result.applied, system.value) == (True, rewrite["value"])


def _echo(text: str) -> Callable[[Request], object]:
    # A reply that is JSON cannot hold half a character; all else it can.
    said = text.replace("\ud800", "")
    return lambda request: {"parts": [{"part": "P1", "verdict": "mine", "quote": said, "change": f"Say {said}"}]}


@given(st.text(st.characters(), max_size=40), st.text(st.characters(), max_size=40))
def test_any_text_can_be_held_and_filled(text: str, other: str) -> None:
    """Whatever a str may hold, half characters included, is kept as it is by a Variable and by each operation."""
    assert wg.Variable(text).value == str(wg.Variable(text)) == text
    assert wg.format("<{a}>{b}", a=text, b=other).value == f"<{text}>{other}"
    assert (wg.Variable(text) + other).value == text + other
    assert wg.join([text, other], "|").value == f"{text}|{other}"


@given(st.text(st.characters(), max_size=40).filter(str.strip))
def test_any_words_can_be_a_gradient(words: str) -> None:
    """A person's words of any kind, but blank ones, are a gradient; said twice they are one."""
    system = prompt("x")
    for _ in range(2):
        system.accumulate_grad(words)

    assert texts(system) == [words]


@pytest.mark.parametrize("text", SCRIPTS)
def test_text_of_every_script_can_be_drawn(text: str) -> None:
    """A graph of any text is a Mermaid flowchart of as many lines as ever, in which the text breaks nothing."""
    drawn = wg.to_mermaid(wg.format("{a}", a=prompt(text, text)))

    assert len(drawn.splitlines()) == 5
    assert not any(sign in drawn.splitlines()[1].split('["')[1][:-15] for sign in '"[]<>|')


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        (wg.MaxCharacters(4), "日本語だ"),
        (wg.MaxCharacters(4), "e\u0301e\u0301"),
        (wg.MaxTokens(3), "日本語日本語日本語"),
    ],
)
def test_lengths_say_what_they_count(limit: wg.MaxCharacters | wg.MaxTokens, value: str) -> None:
    """`MaxCharacters` counts code points in every script, `MaxTokens` what the engine counts; the reason says which."""
    unit = "characters" if isinstance(limit, wg.MaxCharacters) else "tokens"

    def steps_to(text: str) -> wg.Variable:
        system = prompt("x", "prompt")
        system.accumulate_grad("Longer.")
        result = wg.TGD([system], engine=Model(rewrite={"value": text}), constraints=[limit]).step()
        assert result.applied or f"{unit}; at most {limit.limit} are allowed" in result.reasons[0]
        return system

    assert (steps_to(value).value, steps_to(value + "長い長い").value) == (value, "x")


def test_slots_of_every_script_are_kept() -> None:
    """`KeepSlots` keeps placeholders byte for byte, next to any script."""
    system = prompt("{質問}に答える", "prompt")
    system.accumulate_grad("Be brief.")
    replies = iter([{"value": "{質問 }に一語で答える"}, {"value": "{質問}に一語で答える 🎫"}])
    model = Model(rewrite=lambda request: next(replies))
    result = wg.TGD([system], engine=model, constraints=[wg.KeepSlots("質問")]).step()

    assert (result.applied, result.calls, system.value) == (True, 2, "{質問}に一語で答える 🎫")
