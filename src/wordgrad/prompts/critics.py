"""The prompts of critics: they turn feedback on an output into requests for change to what it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wordgrad.prompts.judges import ENDINGS
from wordgrad.prompts.render import Prompt, fence, one_line, prompt, section


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One input of a step."""

    label: str
    """By which the reply names it ("P1"); "" where nothing is asked about it."""
    role: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of a trace."""

    description: str
    parts: tuple[Part, ...]
    output: str
    finish: str = "stop"


def critic_node(
    *,
    description: str,
    parts: Sequence[Part],
    output: str,
    objective: str,
    feedback: str,
    requests: Sequence[str] = (),
    finish: str = "stop",
) -> Prompt:
    """Ask about every labelled part of one step at once; the reply is a `NodeReply`.

    Args:
        description: What the step does.
        parts: What it read, in order; the unlabelled ones are shown, and not asked about.
        output: What it wrote.
        objective: What the output is judged by; never blank.
        feedback: The loss's own words.
        requests: What the readers of the output want changed about it; none where it was judged itself.
        finish: How the output ended: "stop", "length" or "refusal".
    """
    shown = _step(description, parts, output, finish) | _judgement(objective, feedback, requests)
    return prompt("critic_node", **shown, asked=", ".join(part.label for part in parts if part.label))


def critic_edge(
    *,
    description: str,
    parts: Sequence[Part],
    output: str,
    objective: str,
    feedback: str,
    asked: str,
    requests: Sequence[str] = (),
    finish: str = "stop",
) -> Prompt:
    """Ask about the part with the label `asked` alone; the reply is a `Verdict`. Arguments as in `critic_node`."""
    shown = _step(description, parts, output, finish) | _judgement(objective, feedback, requests)
    return prompt("critic_edge", **shown, asked=asked)


def critic_trace(*, steps: Sequence[Step], asked: Sequence[str], objective: str, feedback: str) -> Prompt:
    """Ask about every labelled part of a whole trace at once; the reply is a `NodeReply`.

    Args:
        steps: The calls, in the order in which they were made.
        asked: The labels. A part that several steps read has one label.
        objective: What the last output is judged by; never blank.
        feedback: The loss's own words.
    """
    trace = "".join(
        f"Step {number}\n\n" + "".join(_step(step.description, step.parts, step.output, step.finish).values())
        for number, step in enumerate(steps, start=1)
    )
    judgement = _judgement(objective, feedback, ())
    return prompt(
        "critic_trace",
        objective=judgement["objective"],
        trace=trace,
        feedback=judgement["feedback"],
        asked=", ".join(asked),
    )


def _step(description: str, parts: Sequence[Part], output: str, finish: str) -> dict[str, str]:
    read = "".join(
        f"{part.label or 'Also read'} ({one_line(part.role) or 'no role given'}):\n"
        f"{fence(part.text, part.label or 'input')}\n\n"
        for part in parts
    )
    return {
        "description": section("What the step does", description, "step"),
        "parts": read,
        "output": section("What the step wrote", output or "(nothing)", "output") + ENDINGS.get(finish, ""),
    }


def _judgement(objective: str, feedback: str, requests: Sequence[str]) -> dict[str, str]:
    return {
        "objective": section("What the final output is judged by", objective, "objective"),
        "feedback": section("What the judge said", feedback, "feedback"),
        "requests": section("What the next step wants changed about this output", "\n".join(requests), "request"),
    }
