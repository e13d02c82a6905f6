"""The prompts of losses that ask a model."""

from __future__ import annotations

from wordgrad.prompts.render import Prompt, prompt, section

ENDINGS = {
    "length": "(It was cut off here: the writer reached the length limit.)\n\n",
    "refusal": "(The writer refused to answer.)\n\n",
}
"""What a reader of an output must know about how it ended; a whole reply needs no word."""


def judge_text(instruction: str, *, output: str, target: str = "", context: str = "", finish: str = "stop") -> Prompt:
    """Ask for a critique of `output`. The reply is the critique itself, as plain text.

    Args:
        instruction: What to judge by.
        output: What is judged.
        target: What was wanted; "" where it is not known.
        context: What the output answers (a question, sources); "" where there is none.
        finish: How the output ended: "stop", "length" or "refusal".
    """
    return prompt("judge_text", **_case(instruction, output, target, context, finish))


def judge_score(rubric: str, *, output: str, target: str = "", context: str = "", finish: str = "stop") -> Prompt:
    """Ask for {"critique": text, "score": 0 to 1} on `output`. Arguments as in `judge_text`."""
    return prompt("judge_score", **_case(rubric, output, target, context, finish))


def judge_pair(rubric: str, *, first: str, second: str, context: str = "") -> Prompt:
    """Ask for {"reason": text, "better": "first", "second" or "neither"} on two answers.

    Args:
        rubric: What to judge by.
        first: One answer.
        second: The other.
        context: What both answer; "" where there is none.
    """
    return prompt(
        "judge_pair",
        instruction=section("Judge by this, and by nothing else", rubric, "instruction"),
        context=section("What was asked, and what is known", context, "context"),
        first=section("The first answer", first or "(nothing)", "text"),
        second=section("The second answer", second or "(nothing)", "text"),
    )


def _case(instruction: str, output: str, target: str, context: str, finish: str) -> dict[str, str]:
    return {
        # First, because it is the same for every output that a loss judges: prefix caches hit.
        "instruction": section("Judge by this, and by nothing else", instruction, "instruction"),
        "context": section("What was asked, and what is known", context, "context"),
        "target": section("What was wanted", target, "target"),
        "output": section("The text to judge", output or "(nothing)", "text") + ENDINGS.get(finish, ""),
    }
