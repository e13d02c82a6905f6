"""Ten thousand hostile replies: no crash, no corrupted value, all parameters or none."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal, get_args

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from optim_engine import Engine, json_reply, marked_reply
from wordgrad import Variable
from wordgrad.optim.constraints import KeepSlots
from wordgrad.optim.tgd import TGD
from wordgrad.types import Completion, Request

START = "Say {question}."
GOOD = "Answer {question} in one word. 一語で答える 🎫"
MEGABYTE = "x" * 1_000_000
PIECES = [
    "I'm sorry, I can't help with that.", "TERMINATE", " ", "\n", "{", "}", '"', "\\", "\\ud800", "\ud800", "\x00",
    "<new>", "</new>", "<new-", "</new-00000000>", "<value>", "</current-1f2e3d4c>", "<VALUE>", "<<new>>", "&lt;new&gt;",
    "```json\n", "```", "null", "NaN", "1e999", '{"value": ', '{"why": "p", "value": "v"}', '{"value": "a", "value": "b"}',
    "{question}", "{Question}", "{{question}}", "{% raw %}", "${question}", "%(question)s", "{0.__class__}", "<b>&amp;</b>",
    "\x1b[31m", "\x07", "\u2028", "\x85", "日本語", "🎫", "שלום", "\u202e", "\u200b", "[" * 200, MEGABYTE,
]  # fmt: skip
Form = Literal[
    "whole", "cut", "doubled", "echo", "echo and whole", "unfinished", "pierced", "other JSON", "noise", "empty"
]
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=20)
"""Lone surrogates and control characters too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a good reply is spoilt."""

    form: Form
    place: float
    """Where in the reply, as a part of its length."""
    piece: str
    unfinished: Literal["length", "refusal"]

    def reply(self, request: Request, *, schema: bool) -> str | Completion:
        """What the engine answers."""
        asked = request.messages[-1].text
        good = json_reply(GOOD) if schema else marked_reply(request, GOOD)
        before, after = good[: int(self.place * len(good))], good[int(self.place * len(good)) :]
        other = [{"why": GOOD}, {"value": 3}, {"value": None}, {"value": [GOOD]}, {"value": ""}, [GOOD], GOOD, None]
        replies: dict[Form, str | Completion] = {
            "whole": good,
            "cut": before,
            "doubled": good + good,
            "echo": asked,
            "echo and whole": f"{asked}\n{good}",
            "unfinished": Completion(text=good, finish=self.unfinished),
            "pierced": before + self.piece + after,
            "other JSON": json.dumps(other[int(self.place * len(other))]),
            "noise": self.piece,
            "empty": "",
        }
        return replies[self.form]


RECIPES = st.builds(
    Recipe,
    form=st.sampled_from(get_args(Form)),
    place=st.floats(0, 1, exclude_max=True),
    piece=st.sampled_from(PIECES) | st.lists(st.sampled_from(PIECES[:-1]) | ANYTHING, max_size=5).map("".join),
    unfinished=st.sampled_from(["length", "refusal"]),
)


WHOLE = Recipe(form="whole", place=0.0, piece="I'm sorry, I can't help with that.", unfinished="length")


def sound(value: str, recipes: tuple[Recipe, Recipe]) -> bool:
    """Whether a value is the text that the model meant, at most with a recipe's piece in it, and nothing of the prompt."""
    value.encode()
    # A piece that stands between a mark and its line break makes that break a part of the text; a quotation mark behind
    # the backslash of an escape makes the escape's five letters text.
    longest = len(GOOD) + len("u3048") + max(len(each.piece) for each in recipes)
    return value.count("{question}") == 1 and "Write the whole new" not in value and len(value) <= longest


@pytest.mark.timeout(300)
@pytest.mark.parametrize("schema", [True, False])
def test_hostile_replies(schema: bool) -> None:
    """Of two parameters either both are written with sound text, or neither is, and why is said."""
    sent, applied = 0, 0

    @settings(max_examples=1_700, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.tuples(RECIPES, RECIPES), st.tuples(RECIPES, RECIPES))
    @example((WHOLE, WHOLE), (replace(WHOLE, form="pierced", place=0.796875), WHOLE))
    @example((WHOLE, WHOLE), (replace(WHOLE, form="pierced", place=0.7265625, piece='"'), WHOLE))
    def stepped(first: tuple[Recipe, Recipe], second: tuple[Recipe, Recipe]) -> None:
        """Each parameter gets a reply and, where that is no use, another one."""
        nonlocal sent, applied
        replies = {"first prompt": list(first), "second prompt": list(second)}

        def rule(request: Request) -> str | Completion:
            nonlocal sent
            sent += 1
            asked = "".join(message.text for message in request.messages)
            whose = next(role for role in replies if f"Write the whole new {role}." in asked)
            return replies[whose].pop(0).reply(request, schema=schema)

        parameters = [Variable(START, role, requires_grad=True) for role in replies]
        for each in parameters:
            each.accumulate_grad("Be brief.")
        optimizer = TGD(parameters, engine=Engine(rule, schema=schema), constraints=[KeepSlots("question")])

        result = optimizer.step()

        values = [each.value for each in parameters]
        applied += result.applied
        if result.applied:
            assert all(map(sound, values, (first, second)))
        else:
            assert (values, bool(result.reasons)) == ([START] * 2, True)

    stepped()
    assert sent > 5_000
    assert applied > 100
