"""The strict reader: what is not the asked-for form is an error, never a value."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordgrad.errors import UnreadableReply
from wordgrad.prompts import (
    EditReply,
    NodeReply,
    RewriteReply,
    Verdict,
    edited,
    read_edits,
    read_json,
    read_marked,
    whole,
)
from wordgrad.types import Completion

MARK = "new-1f2e3d4c"
OPEN, CLOSE = f"<{MARK}>", f"</{MARK}>"


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (f"{OPEN}\nBe brief.\n{CLOSE}", "Be brief."),
        (f"{OPEN}Be brief.{CLOSE}", "Be brief."),
        (f"Sure!\n{OPEN}\r\nBe brief.\r\n{CLOSE}\nAnything else?", "Be brief."),
        (f"{OPEN}\n  indented\n\ntwo\n{CLOSE}", "  indented\n\ntwo"),
        (f"{OPEN}\n<new>inner</new> <value>a & b < c</value>\n{CLOSE}", "<new>inner</new> <value>a & b < c</value>"),
        (f"{OPEN}\n<new-1f2e3d4>\n{CLOSE}", "<new-1f2e3d4>"),
        (f"{OPEN}\nTERMINATE\n{CLOSE}", "TERMINATE"),
        (f"{OPEN}\nXX and XX\n{CLOSE}", "XX and XX"),
        (f"{OPEN}\n要約してください。🎫 שלום {{slot}}\n{CLOSE}", "要約してください。🎫 שלום {slot}"),
        (f"{OPEN}\n```python\nx = 1\n```\n{CLOSE}", "```python\nx = 1\n```"),
        (f"{OPEN}\nlone \ud800\n{CLOSE}", "lone \ud800"),
    ],
)
def test_marked_replies(reply: str, value: str) -> None:
    """What stands between the two marks is the value, as it is."""
    assert read_marked(reply, MARK) == value


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " \n",
        "Be brief.",
        "I'm sorry, I can't help with that.",
        "TERMINATE",
        f"{OPEN}\nBe brief.",
        f"Be brief.\n{CLOSE}",
        f"{CLOSE}\nBe brief.\n{OPEN}",
        f"{OPEN}\n \n{CLOSE}",
        f"{OPEN}{CLOSE}",
        f"{OPEN}\na\n{CLOSE}\n{OPEN}\nb\n{CLOSE}",
        f"{OPEN}{OPEN}\na\n{CLOSE}{CLOSE}",
        f"{OPEN}\na\n{CLOSE}{CLOSE}",
        "<new>\nBe brief.\n</new>",
        "<new-00000000>\nBe brief.\n</new-00000000>",
        f"<{MARK.upper()}>\nBe brief.\n</{MARK.upper()}>",
        f"< {MARK}>\nBe brief.\n</ {MARK}>",
        f"{CLOSE} ends it, {OPEN} begins it; write each once.",
        f"&lt;{MARK}&gt;Be brief.&lt;/{MARK}&gt;",
    ],
)
def test_unmarked_replies(reply: str) -> None:
    """A mark that is missing, repeated, altered or out of order is an error."""
    with pytest.raises(UnreadableReply):
        read_marked(reply, MARK)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (
            lambda: whole(Completion(text="half", finish="length")),
            "the reply was cut off at its length limit: write a shorter one",
        ),
        (lambda: whole(Completion(text="No.", finish="refusal")), "the model refused to reply"),
        (
            lambda: read_json("[]", RewriteReply),
            "the JSON does not fit: the whole reply: Input should be an object",
        ),
        (
            lambda: read_json('{"value": 5}', RewriteReply),
            "the JSON does not fit: value: Input should be a valid string",
        ),
        (
            lambda: read_json('{"edits": [{"find": "a"}]}', EditReply),
            "the JSON does not fit: edits.0.replace: Field required",
        ),
        (
            lambda: read_json('{"value": "v", "value": "w"}', RewriteReply),
            "the reply is not one JSON value (a key stands twice in one object)",
        ),
        (lambda: read_marked("v", "m"), "the reply must hold <m> once and </m> once"),
        (lambda: read_marked("</m>v<m>", "m"), "</m> stands before <m> in the reply"),
        (lambda: read_marked("<m></m>", "m"), "nothing stands between <m> and </m>"),
        (lambda: read_edits("v", "m"), "each change must be a pair of find-m and with-m, each with its end"),
        (lambda: _edited("aXbXc", ("X", "y")), "'X' stands in the current text 2 times instead of once"),
        (lambda: _edited("abc", ("ab", "x"), ("bc", "y")), "two of the changes overlap"),
    ],
)
def test_what_is_wrong_is_said(read: Callable[[], object], said: str) -> None:
    """The words go back to the model, for its one repair: they say what is wrong, and nothing of what was sent."""
    with pytest.raises(UnreadableReply) as caught:
        read()

    assert str(caught.value) == said


def _edited(text: str, *changes: tuple[str, str]) -> str:
    return edited(text, [EditReply.model_validate({"edits": [{"find": a, "replace": b}]}).edits[0] for a, b in changes])


def test_a_marked_reply_cut_anywhere() -> None:
    """No proper beginning of a reply is readable."""
    whole = f"Here it is:\n{OPEN}\nBe brief. Keep figures.\n{CLOSE}"

    for end in range(len(whole)):
        with pytest.raises(UnreadableReply):
            read_marked(whole[:end], MARK)


def test_a_json_reply_cut_anywhere() -> None:
    """No proper beginning of a reply is readable."""
    whole = json.dumps({"value": 'Say "hi" {to} them.'})

    for end in range(len(whole)):
        with pytest.raises(UnreadableReply):
            read_json(whole[:end], RewriteReply)


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ('{"why": "p", "value": "v"}', "v"),
        (' \n{"value": "v"}\n', "v"),
        ('```json\n{"value": "v"}\n```', "v"),
        ('```\n{"value": "v"}\n```\n', "v"),
        ('{"value": "a ``` b"}', "a ``` b"),
        ('{"value": "日本語 🎫", "extra": 1}', "日本語 🎫"),
        ('{"value": "TERMINATE"}', "TERMINATE"),
    ],
)
def test_json_replies(reply: str, value: str) -> None:
    """One JSON value is the reply; a code block around all of it is allowed."""
    assert read_json(reply, RewriteReply).value == value


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "null",
        "[]",
        "I'm sorry, I can't help with that.",
        '{"why": "p"}',
        '{"value": null}',
        '{"value": 5}',
        '{"value": ["v"]}',
        '{"value": "v"} and more',
        'Sure: {"value": "v"}',
        '{"value": "v"}{"value": "w"}',
        '{"value": "v", "value": "w"}',
        "{'value': 'v'}",
        '{"value": "v",}',
        '{"value": "a\nb"}',
        '{"value": NaN}',
        '{"value": "v", "why": 1e999}',
        '{"value": "v", "why": -Infinity}',
        '{"value": "lone \\ud800"}',
        '{"value": "lone \ud800"}',
        '```json\n{"value": "v"}',
        'Here:\n```json\n{"value": "v"}\n```',
        "[" * 100_000,
        "1" * 10_000,
        '{"value": "\\ud8',
    ],
)
def test_json_traps(reply: str) -> None:
    """Prose around it, a repeated key, a wrong type, NaN, endless nesting: each is an error."""
    with pytest.raises(UnreadableReply):
        read_json(reply, RewriteReply)


@pytest.mark.parametrize(
    "reply",
    [
        '{"parts": [{"part": "P1", "verdict": "yours", "severity": 2}]}',
        '{"parts": [{"part": "P1", "verdict": "mine", "severity": 4}]}',
        '{"parts": [{"part": "P1", "verdict": "mine", "severity": 1.5}]}',
        '{"parts": {"P1": "mine"}}',
        '{"part": "P1", "verdict": "mine"}',
    ],
)
def test_verdicts_are_validated(reply: str) -> None:
    """A verdict outside its values is an error."""
    with pytest.raises(UnreadableReply, match="does not fit"):
        read_json(reply, NodeReply)


def test_what_a_small_model_forgets() -> None:
    """Fields with an obvious default may be missing in a reply, and are still required by the schema."""
    schema = Verdict.model_json_schema()

    assert read_json('{"verdict": "none"}', Verdict) == Verdict(verdict="none")
    assert schema["required"] == ["part", "quote", "change", "keep", "verdict", "severity"]
    assert schema["additionalProperties"] is False


def change(find: str, new: str) -> str:
    """One change between its marks."""
    return f"<find-{MARK}>\n{find}\n</find-{MARK}>\n<with-{MARK}>\n{new}\n</with-{MARK}>"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([("two", "2")], "one 2 three\nfour"),
        ([("three\nfour", "3\n4"), ("one", "1")], "1 two 3\n4"),
        ([(" two", "")], "one three\nfour"),
        ([("one ", "1"), ("two ", "2")], "12three\nfour"),
        ([("one", "two"), ("two", "one")], "two one three\nfour"),
        ([("four", "四 🎫 <b> & </find>")], "one two three\n四 🎫 <b> & </find>"),
    ],
)
def test_edits(changes: list[tuple[str, str]], text: str) -> None:
    """Changes are made at the places that they quote, all at once, marked or as JSON."""
    reply = "Here:\n" + "\n\n".join(change(find, new) for find, new in changes)
    as_json = json.dumps({"edits": [{"find": find, "replace": new} for find, new in changes]})

    assert edited("one two three\nfour", read_edits(reply, MARK)) == text
    assert edited("one two three\nfour", read_json(as_json, EditReply).edits) == text


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I'm sorry, I can't help with that.",
        change("", "x"),
        change("five", "5"),
        change("e", "E"),
        change("one two", "1") + change("two three", "2"),
        change("one", "1") + f"<find-{MARK}>two</find-{MARK}>",
        change(change("one", "1"), "x"),
        f"<with-{MARK}>1</with-{MARK}><find-{MARK}>one</find-{MARK}>",
    ],
)
def test_edits_that_cannot_be_made(reply: str) -> None:
    """Words that stand there never or twice, overlaps, and lost or nested marks are errors."""
    with pytest.raises(UnreadableReply):
        edited("one two three", read_edits(reply, MARK))


def test_an_edit_cut_anywhere() -> None:
    """No proper beginning of a reply with one change is readable."""
    whole = change("one", "1")

    for end in range(len(whole)):
        with pytest.raises(UnreadableReply):
            read_edits(whole[:end], MARK)


@given(st.text() | st.text(alphabet='<>/new-1f2e3d4c{}":,[] ', max_size=60))
def test_any_text(reply: str) -> None:
    """Any text either is the asked-for form or raises the one error."""
    readers = (
        lambda: read_marked(reply, MARK),
        lambda: read_edits(reply, MARK),
        lambda: read_json(reply, RewriteReply),
    )
    for read in readers:
        try:
            found = read()
        except UnreadableReply:
            continue
        assert found
