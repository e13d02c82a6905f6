"""What changed between two texts, in pieces that people can read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordgrad.train.diff import Hunk, by_sentence, diff, placed


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
        ("Use it:", "Use it: lists, e.g. of desks. Stop", ["{+ lists, e.g. of desks.+}", "{+ Stop+}"]),
        ("Say", 'Say "stop." Then go', ['{+ "stop."+}', "{+ Then go+}"]),
    ],
)
def test_sentences_and_lines_are_hunks_of_their_own(before: str, after: str, changes: list[str]) -> None:
    """In order: together they are the same change."""
    hunks = by_sentence(diff(before, after))

    assert [each._replace(same="").marked for each in hunks if each.change] == changes
    assert "".join(each.same + each.removed for each in hunks) == before
    assert "".join(each.same + each.added for each in hunks) == after


# ---- which feedback has the words of a change

BEFORE = "Sort the ticket. Use the customer's own language. Reply with a desk."
AFTER = "Sort the ticket by its main problem. Use the customer's own language. Reply with exactly one lower-case word."


def changed(before: str, after: str, *feedback: str) -> list[str | None]:
    """For each piece of feedback the change that it stands at."""
    hunks = by_sentence(diff(before, after))
    return [None if place is None else hunks[place]._replace(same="").marked for place in placed(hunks, feedback)]


def test_feedback_stands_at_the_change_that_has_its_words() -> None:
    """Each piece at one change, or at none."""
    asked = ("The reply must be a single lower-case word.", "Look at the main problem only.", "Mind the customer.")

    assert changed(BEFORE, AFTER, *asked) == [
        "[-a desk-]{+exactly one lower-case word+}",
        "{+ by its main problem+}",
        None,
    ]


def test_what_went_is_found_by_its_words_too() -> None:
    """Feedback may ask for something to be taken away."""
    before, after = "Be polite. Always add a greeting. Answer.", "Be polite. Answer."

    assert changed(before, after, "The greeting is not wanted.") == ["[-Always add a greeting. -]"]


@pytest.mark.parametrize(
    ("before", "after", "feedback"),
    [
        ("Say it.", "Say it to the user.", "The answer is wrong."),
        ("Classify the ticket.", "Classify the ticket. Think before you answer.", "You said refund, it was billing."),
        ("Sort it.", "Sort it. Don't explain.", "The desk wasn't right, it can't be billing."),
        ("要約してください。", "日本語で要約してください。敬語を使う。", "日付がない"),
        ("Name the desk. Be brief.", "Be brief. Name the desk.", "Name the desk."),
        ("Sort it by desk. Be kind.", "Read it all. Reply by name.", "It is too long."),
        ("Sort.", "Sort. Think of that.", "I believe that four more important reasons stand there."),
        ("Sort.", "Sort. Think.", "!"),
        ("Sort.", "Sort.", "Think."),
    ],
)
def test_feedback_in_other_words_stands_at_no_change(before: str, after: str, feedback: str) -> None:
    """Short words, words that only moved, and one long word of many are no evidence."""
    assert changed(before, after, feedback) == [None]


def test_a_rare_word_says_more_than_common_ones() -> None:
    """All pieces speak of the reply's words; the one that names the language is about the language."""
    before, after = "Answer. Be kind, and mind time.", "Answer in German. Be kind, and mind reply words."

    assert changed(before, after, "Reply words: German.", "Reply words!", "Reply words, please.") == [
        "{+ in German+}",
        "[-time-]{+reply words+}",
        "[-time-]{+reply words+}",
    ]


def test_of_equal_changes_the_first_has_the_feedback() -> None:
    """A word that came in two places."""
    before, after = (
        "Answer now. Think for a long time before that.",
        "Answer exactly now. Think for a long time exactly.",
    )

    assert changed(before, after, "Be exactly right.") == ["{+ exactly+}"]


_WORDS = st.lists(st.sampled_from(["Sort", "desk.", "Reply", "kindly.", "\n", "language", "German", "an", "言語"]))


@given(_WORDS.map(" ".join), _WORDS.map(" ".join), st.lists(_WORDS.map(" ".join)))
def test_feedback_stands_where_something_changed(before: str, after: str, feedback: list[str]) -> None:
    """Whatever the texts are, and their sentences are still both texts."""
    hunks = by_sentence(diff(before, after))
    places = placed(hunks, feedback)

    assert len(places) == len(feedback)
    assert all(hunks[place].change for place in places if place is not None)
    assert "".join(each.same + each.removed for each in hunks) == before
    assert "".join(each.same + each.added for each in hunks) == after
