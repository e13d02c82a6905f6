"""What changed between two texts, in pieces that people can read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordgrad.train.diff import Hunk, diff


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
    assert [(each.kind, each.text) for each in diff(before, after)] == hunks


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
    assert [(each.kind, each.text) for each in diff(before, after) if each.kind != "same"] == changed


@given(st.text(), st.text())
def test_a_diff_holds_both_texts(before: str, after: str) -> None:
    """Without what was added it is the text before, without what was removed the text after."""

    def without(kind: str) -> str:
        return "".join(each.text for each in diff(before, after) if each.kind != kind)

    assert (without("added"), without("removed")) == (before, after)


def test_a_hunk_is_a_value() -> None:
    """Equal changes are equal."""
    assert diff("a", "b") == [Hunk("removed", "a"), Hunk("added", "b")]
