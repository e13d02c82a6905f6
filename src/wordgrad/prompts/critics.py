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
    left_out: int = 0
    """How many more parts it read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the final output was found to be."""

    objective: str
    """What it is judged by; never blank."""
    feedback: str
    """The loss's own words."""
    context: str = ""
    """What the loss was told beside the output (a question, sources)."""


def critic_node(step: Step, judged: Judged, *, requests: Sequence[str] = ()) -> Prompt:
    """Ask about every labelled part of one step at once; the reply is a `NodeReply`.

    Args:
        step: The call; its unlabelled parts are shown, and not asked about.
        judged: What became of its output.
        requests: What the readers of the output want changed about it; none where it was judged itself.
    """
    labels = [part.label for part in step.parts if part.label]
    return prompt("critic_node", **_step(step), **_judgement(judged, [step], requests), asked=", ".join(labels))


def critic_edge(step: Step, judged: Judged, *, asked: str, requests: Sequence[str] = ()) -> Prompt:
    """Ask about the part with the label `asked` alone; the reply is a `Verdict`. Arguments as in `critic_node`."""
    return prompt("critic_edge", **_step(step), **_judgement(judged, [step], requests), asked=asked)


def critic_trace(steps: Sequence[Step], judged: Judged, *, left_out: int = 0) -> Prompt:
    """Ask about every labelled part of a whole trace at once; the reply is a `NodeReply`.

    Args:
        steps: The calls, in the order in which they were made. A part that several steps read has one label.
        judged: What became of the last output.
        left_out: How many more calls the trace has.
    """
    shown = "".join(f"Step {number}\n\n{_in_order(step)}" for number, step in enumerate(steps, start=1))
    labels = dict.fromkeys(part.label for step in steps for part in step.parts if part.label)
    judgement = _judgement(judged, steps)
    return prompt(
        "critic_trace",
        objective=judgement["objective"],
        trace=shown + _left_out(left_out, len(steps), "steps"),
        feedback=judgement["feedback"],
        asked=", ".join(labels),
    )


def _step(step: Step) -> dict[str, str]:
    # What the step was given comes last: a small model writes about what it read last, and that should not be the
    # judge's words, which it would repeat.
    return {
        "description": section("What the step does", step.description, "step"),
        "asked_parts": _parts([part for part in step.parts if part.label]),
        "output": section("What the step wrote", step.output or "(nothing)", "output") + ENDINGS.get(step.finish, ""),
        "other_parts": _parts([part for part in step.parts if not part.label])
        + _left_out(step.left_out, len(step.parts), "parts"),
    }


def _in_order(step: Step) -> str:
    told = _step(step)
    return told["description"] + told["asked_parts"] + told["other_parts"] + told["output"]


def _parts(parts: Sequence[Part]) -> str:
    return "".join(
        f"{part.label or 'Also read'} ({one_line(part.role) or 'no role given'}):\n"
        f"{fence(part.text, part.label or 'input')}\n\n"
        for part in parts
    )


def _left_out(count: int, shown: int, things: str) -> str:
    return f"({count} of the {count + shown} {things} are left out.)\n\n" if count else ""


def _judgement(judged: Judged, steps: Sequence[Step], requests: Sequence[str] = ()) -> dict[str, str]:
    read = [part.text for step in steps for part in step.parts]
    known = "" if judged.context in read else judged.context
    return {
        "objective": section("What the final output is judged by", judged.objective, "objective"),
        "feedback": section("What was asked, and what is known", known, "context")
        + section("What the judge said", judged.feedback, "feedback"),
        "requests": section("What the next step wants changed about this output", "\n".join(requests), "request"),
    }
