"""What a new value must keep to, told to the model and checked in code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from wordgrad import Variable
from wordgrad.errors import UsageError
from wordgrad.optim.constraints import (
    Change,
    Constraint,
    KeepSlots,
    MatchesSchema,
    MaxCharacters,
    MaxTokens,
    ParsesAs,
    Predicate,
)
from wordgrad.optim.tgd import TGD


class Style(BaseModel):
    """A schema."""

    tone: str
    words: int


def broken(constraint: Constraint, after: str, before: str = "Ask {question} of {who}. {question}") -> str | None:
    """What the constraint says; a token is a character here."""
    return constraint.broken(Change(before=before, after=after, count_tokens=len))


@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        (MaxTokens(3), "abc"),
        (MaxCharacters(3), "日本語"),
        (MaxCharacters(1), "🎫"),
        (KeepSlots("question"), "{question}{question}"),
        (KeepSlots("question", "who"), "{who}: {question} {question} {other} {"),
        (KeepSlots("missing"), "no slot, as before"),
        (ParsesAs("json"), '{"a": [1, 2]}'),
        (ParsesAs("python"), "def f(x):\n    return '日本' + x\n"),
        (ParsesAs("python"), "x = '\\d'"),
        (MatchesSchema(Style), '{"tone": "warm", "words": 3}'),
        (MatchesSchema(list[int]), "[1, 2]"),
        (Predicate(str.isupper, "It is upper case."), "ABC"),
        (Predicate(lambda _: "", "Anything goes."), "x"),
    ],
)
def test_kept(constraint: Constraint, text: str) -> None:
    """A text that keeps to the constraint has nothing wrong with it."""
    assert broken(constraint, text) is None


@pytest.mark.parametrize(
    ("constraint", "text", "reason"),
    [
        (MaxTokens(3), "abcd", "4 tokens; at most 3"),
        (MaxCharacters(2), "日本語", "3 characters; at most 2"),
        (KeepSlots("question"), "{question}", "{question} stands in it 1 times instead of 2"),
        (KeepSlots("question"), "{question} {Question}", "{question} stands in it 1 times"),
        (KeepSlots("question"), "{ question } {question}", "{question} stands in it 1 times"),
        (KeepSlots("who"), "{question} {question}", "{who} stands in it 0 times instead of 1"),
        (KeepSlots("missing"), "{missing}", "{missing} stands in it 1 times instead of 0"),
        (ParsesAs("json"), "{'a': 1}", "not valid json"),
        (ParsesAs("json"), "[" * 100_000, "not valid json"),
        (ParsesAs("json"), "NaN", "not valid json"),
        (ParsesAs("python"), "def f(:", "not valid python"),
        (ParsesAs("python"), "x = 1\x00", "not valid python"),
        (ParsesAs("python"), "x = '\ud800'", "not valid python"),
        (ParsesAs("python"), "```python\nx = 1\n```", "not valid python"),
        (MatchesSchema(Style), '{"tone": "warm"}', "does not fit the schema"),
        (MatchesSchema(Style), "warm", "does not fit the schema"),
        (MatchesSchema(Style), "\ud800", "does not fit the schema"),
        (Predicate(str.isupper, "It is upper case."), "abc", "this does not hold: It is upper case."),
        (Predicate(lambda text: f"{text} is odd", "It is even."), "3", "3 is odd"),
        (Predicate(lambda text: bool(int(text)), "It is a number."), "x", "checking it failed: ValueError"),
    ],
)
def test_broken(constraint: Constraint, text: str, reason: str) -> None:
    """A text that breaks the constraint gets the reason, which the model's repair is shown."""
    assert reason in (broken(constraint, text) or "")


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (MaxTokens(40), "at most 40 tokens"),
        (MaxCharacters(40), "at most 40 characters"),
        (KeepSlots("a", "b"), "{a}, {b}"),
        (ParsesAs("python"), "Python"),
        (ParsesAs("json"), "JSON"),
        (MatchesSchema(Style), '"tone"'),
        (Predicate(str.isupper, "It is upper case."), "It is upper case."),
    ],
)
def test_descriptions(constraint: Constraint, words: str) -> None:
    """Each constraint says in words what the text must be."""
    assert words in constraint.description


@given(st.text())
def test_no_text_crashes_a_check(text: str) -> None:
    """Whatever a model wrote, a check answers."""
    for each in (ParsesAs("python"), ParsesAs("json"), MatchesSchema(Style), KeepSlots("question"), MaxTokens(3)):
        said = broken(each, text)
        assert said is None or said


def test_misuse() -> None:
    """A slot list that is empty, an unknown language, a constraint that is none: errors that say what to do."""
    with pytest.raises(UsageError, match="declare the slots"):
        KeepSlots()
    with pytest.raises(UsageError, match="use Predicate"):
        ParsesAs("ruby")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="use Predicate"):
        TGD([Variable("x", "prompt", True)], constraints=[len])  # type: ignore[list-item]
