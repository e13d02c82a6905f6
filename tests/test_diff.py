"""What changed between two texts, in pieces that people can read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordgrad.train.diff import Hunk, by_sentence, causes, diff


def parts(before: str, after: str) -> list[tuple[str, str]]:
    """All that is the same, gone or new, in order."""
    return [part for hunk in diff(before, after) for part in hunk.parts]


@pytest.mark.parametrize(
    ("before", "after", "hunks"),
    [
        ("same", "same", [("same", "same")]),
        ("", "new", [("added", "new")]),
        ("old", "", [("removed", "old")]),
        (
            "Reply in one word.",
            "Reply in two words.",
            [
                ("same", "Reply in "),
                ("removed", "one word"),
                ("added", "two words"),
                ("same", "."),
            ],
        ),
        (
            "Which team should handle this?",
            "Decide on a desk for this?",
            [("removed", "Which team should handle"), ("added", "Decide on a desk for"), ("same", " this?")],
        ),
    ],
)
def test_words_are_the_pieces(before: str, after: str, hunks: list[tuple[str, str]]) -> None:
    """A word that changed is gone and new as a whole, and the rest of the line stays."""
    assert parts(before, after) == hunks


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("どのチームが担当しますか。", "どの部署が担当しますか。", [("removed", "チーム"), ("added", "部署")]),
        ("请用一个词回答问题。", "请用两个词回答问题。", [("removed", "一"), ("added", "两")]),
        ("API請求を見る", "API請求書を見る", [("added", "書")]),
        ("กรุณาตอบ", "กรุณาตอบสั้น", [("added", "สั้น")]),
    ],
)
def test_scripts_without_spaces_change_sign_by_sign(before: str, after: str, changed: list[tuple[str, str]]) -> None:
    """In Japanese, Chinese and Thai a line with one change is not one change of the whole line."""
    assert [part for part in parts(before, after) if part[0] != "same"] == changed


@given(st.text(), st.text())
def test_a_diff_holds_both_texts(before: str, after: str) -> None:
    """Without what was added it is the text before, without what was removed the text after."""

    def without(kind: str) -> str:
        return "".join(text for each, text in parts(before, after) if each != kind)

    assert (without("added"), without("removed")) == (before, after)


def test_a_hunk_is_a_place_where_texts_differ() -> None:
    """It has what both have before it; what follows the last change is a hunk that changes nothing."""
    assert diff("Say it now.", "Say it in words.") == [Hunk("Say it ", "now", "in words"), Hunk(".")]
    assert [each.marked for each in diff("Say it now.", "Say it in words.")] == ["Say it [-now-]{+in words+}", "."]
    assert diff("", "") == []


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ("Sort it.", "Sort it. Be kind. Reply.", ["{+ Be kind.+}", "{+ Reply.+}"]),
        ("Sort it:", "Sort it:\n1. Read e\n\n2. Reply", ["{+\n1. Read e+}", "{+\n\n2. Reply+}"]),
        ("Sort it. Be kind! Reply.", "Sort it.", ["[- Be kind!-]", "[- Reply.-]"]),
        ("Sort.", "Read. Think. Decide.", ["[-Sort.-]{+Read.+}", "{+ Think.+}", "{+ Decide.+}"]),
        ("Sort. Read it", "Ask; think", ["[-Sort.-]", "[- Read it-]{+Ask; think+}"]),
        ("请。", "请。说。写。", ["{+说。+}", "{+写。+}"]),
        ("Pi is 3.", "Pi is 3.14 or so.", ["{+14 or so.+}"]),
    ],
)
def test_sentences_and_lines_are_hunks_of_their_own(before: str, after: str, changes: list[str]) -> None:
    """In order: together they are the same change."""
    hunks = by_sentence(diff(before, after))

    assert [each._replace(same="").marked for each in hunks if each.change] == changes
    assert "".join(each.same + each.removed for each in hunks) == before
    assert "".join(each.same + each.added for each in hunks) == after


# ---- what asked for a change

BEFORE = "Sort the ticket. Use the customer's own language. Reply with a desk."
AFTER = "Sort the ticket by its main problem. Use the customer's own language. Reply with one lower-case word."
MAIN, WORD = "Look at the main problem only.", "The reply must be a single lower-case word."


def test_feedback_stands_at_the_change_that_has_its_words() -> None:
    """Each piece at one change; in their own order."""
    one = "One word."

    assert causes(diff(BEFORE, AFTER), [WORD, MAIN, one]) == [[MAIN], [WORD, one], []]


def test_what_went_is_found_by_its_words_too() -> None:
    """Feedback may ask for something to be taken away."""
    hunks = diff("Be polite. Always add a greeting. Answer.", "Be polite. Answer.")

    assert causes(hunks, ["The greeting is not wanted."]) == [["The greeting is not wanted."], []]


def test_feedback_in_other_words_stands_at_no_change() -> None:
    """Words that the text has elsewhere too, or that only moved within a change, are no evidence."""
    hunks = diff(BEFORE, AFTER)

    assert causes(hunks, ["Mind the customer.", "Shipping!"]) == [[], [], []]
    assert causes(diff("Name a desk", "A desk name"), ["Name it."]) == [[]]


def test_a_rare_word_says_more_than_common_ones() -> None:
    """All pieces speak of a reply in one word; the one that names the language is about the language."""
    hunks = diff(
        "Answer. Be kind, and mind the customer's time.", "Answer in German. Be kind, and mind the reply word."
    )
    common = "The reply word"

    assert causes(hunks, [f"{common} was German.", common, f"{common} is long."])[0] == [f"{common} was German."]


def test_of_equal_changes_the_first_has_the_feedback() -> None:
    """A word that came in two places."""
    hunks = diff("Answer now. Think for a long time before that.", "Answer exactly now. Think for a long time exactly.")

    assert causes(hunks, ["Be exactly right."])[0] == ["Be exactly right."]


@given(st.text(), st.text(), st.lists(st.text(), unique=True))
def test_no_feedback_is_shown_twice(before: str, after: str, feedback: list[str]) -> None:
    """Whatever the texts are."""
    hunks = by_sentence(diff(before, after))
    found = causes(hunks, feedback)

    assert len(found) == len(hunks)
    assert sorted(each for texts in found for each in texts) == sorted({each for texts in found for each in texts})
    assert not any(texts and not hunk.change for hunk, texts in zip(hunks, found, strict=True))
