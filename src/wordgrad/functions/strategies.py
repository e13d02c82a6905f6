"""How feedback travels back through model calls: a critic for each call, for each input, or for the whole trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, TypeVar

import anyio
from pydantic import BaseModel

from wordgrad import context, prompts
from wordgrad.core.backward import Trace
from wordgrad.core.function import Context, Feedback
from wordgrad.core.gradient import Gradient
from wordgrad.core.text import merged
from wordgrad.core.value import text_form
from wordgrad.core.variable import Variable
from wordgrad.engines.defaults import resolve
from wordgrad.engines.stack import wrapped
from wordgrad.errors import UnreadableReply
from wordgrad.functions.structured import ask
from wordgrad.prompts import Part, Prompt, Verdict
from wordgrad.types import Request, Sampling

Reply = TypeVar("Reply", bound=BaseModel)

_OPTIONS = Sampling(max_tokens=1024)
_CHARS_SHOWN = 6_000
"""Of one text in a critic's prompt; the middle of a longer one is left out, and marked."""


class PerNode:
    """One critic call for each model call. It covers all inputs that need feedback, and shows the others.

    Args:
        options: Limits and sampling of the critic.
    """

    def __init__(self, options: Sampling = _OPTIONS) -> None:
        self.options = options

    async def propagate(self, trace: Trace) -> None:
        """Walk the trace with a critic at each model call."""
        await trace.walk(self.critique)

    async def critique(self, ctx: Context, grads: Sequence[Gradient]) -> Sequence[Feedback]:
        """What each input of one call should change, from one structured reply."""
        reply = await _asked(prompts.critic_node(**_shown(ctx, grads)), prompts.NodeReply, self.options)
        if reply is None:
            return _passed_on(ctx, grads)
        said = {verdict.part: verdict for verdict in reply.parts}
        sole = sum(ctx.needs_input_grad) == 1
        shown = _texts(ctx)
        return [_gradient(said.get(_label(slot)), shown, sole=sole) for slot in range(len(ctx.needs_input_grad))]


class PerEdge:
    """One critic call for each input of a model call, as in the TextGrad paper (Yuksekgonul et al., 2024).

    Args:
        options: Limits and sampling of the critic.
    """

    def __init__(self, options: Sampling = _OPTIONS) -> None:
        self.options = options

    async def propagate(self, trace: Trace) -> None:
        """Walk the trace with a critic at each input of each model call."""
        await trace.walk(self.critique)

    async def critique(self, ctx: Context, grads: Sequence[Gradient]) -> Sequence[Feedback]:
        """What each input of one call should change, each from a call of its own, concurrently."""
        said: list[Feedback] = [None] * len(ctx.needs_input_grad)
        here = context.body.get().index

        async def one(slot: int) -> None:
            # A numbering of its own: the place of a call must not depend on which input's critic came first.
            context.body.set(context.Body(index=(*here, slot)))
            prompt = prompts.critic_edge(**_shown(ctx, grads), asked=_label(slot))
            reply = await _asked(prompt, Verdict, self.options)
            said[slot] = merged(grads) if reply is None else _gradient(reply, _texts(ctx))

        async with anyio.create_task_group() as group:
            for slot, needed in enumerate(ctx.needs_input_grad):
                if needed:
                    group.start_soon(one, slot)
        return said


class Fused:
    """One critic call for each example and objective. It sees the whole trace, and covers every parameter.

    Args:
        options: Limits and sampling of the critic.
    """

    def __init__(self, options: Sampling = _OPTIONS) -> None:
        self.options = options

    async def propagate(self, trace: Trace) -> None:
        """Deposit one gradient on each parameter that the critic blames."""
        if not trace.leaves:
            return
        context.body.set(context.Body(index=trace.index))
        contexts = [trace.context(step) for step in trace.steps]
        prompt = prompts.critic_trace(
            steps=[
                prompts.Step(
                    description=ctx.node.function.description,
                    parts=tuple(_parts(ctx, trace.leaves)),
                    output=shortened(text_form(ctx.output.value)),
                    finish=ctx.output.finish,
                )
                for ctx in contexts
            ],
            asked=[_label(rank) for rank in range(len(trace.leaves))],
            objective=trace.objective,
            feedback=trace.feedback,
        )
        reply = await _asked(prompt, prompts.NodeReply, self.options)
        shown = [text for ctx in contexts for text in _texts(ctx)]
        said = None if reply is None else {verdict.part: verdict for verdict in reply.parts}
        for rank, leaf in enumerate(trace.leaves):
            made = Gradient(text=trace.feedback) if said is None else _gradient(said.get(_label(rank)), shown)
            if made is not None:
                trace.deposit(leaf, trace.completed(made, leaf))


per_node = PerNode()
per_edge = PerEdge()
fused = Fused()


def shortened(text: str) -> str:
    """At most `_CHARS_SHOWN` characters of `text`: its start and its end, and how much was left out between."""
    if len(text) <= _CHARS_SHOWN:
        return text
    half = _CHARS_SHOWN // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"


def _label(slot: int) -> str:
    return f"P{slot + 1}"


class _Shown(TypedDict):
    description: str
    parts: list[Part]
    output: str
    finish: str
    objective: str
    feedback: str
    requests: list[str]


def _shown(ctx: Context, grads: Sequence[Gradient]) -> _Shown:
    """What a critic of one call sees: the call, what it is judged by, the loss's own words, and the reader's wish."""
    requests = [each.text for each in grads if each.text != ctx.feedback]
    return {
        "description": ctx.node.function.description,
        "parts": _parts(ctx, None),
        "output": shortened(text_form(ctx.output.value)),
        "finish": ctx.output.finish,
        "objective": ctx.objective,
        "feedback": shortened(ctx.feedback),
        "requests": list(dict.fromkeys(requests)),
    }


def _parts(ctx: Context, leaves: Sequence[Variable] | None) -> list[Part]:
    """The inputs of a call; the trainable ones carry the label by which a reply names them.

    In a trace a leaf keeps one label wherever it is read; what is no leaf has none.
    """
    ranks = None if leaves is None else {leaf: rank for rank, leaf in enumerate(leaves)}
    parts = []
    for slot, each in enumerate(ctx.node.inputs):
        rank = slot if ranks is None else ranks.get(each.variable)
        parts.append(
            Part(
                label=_label(rank) if rank is not None and ctx.needs_input_grad[slot] else "",
                role=each.variable.role_description,
                text=shortened(text_form(each.result.value)),
            )
        )
    return parts


async def _asked(prompt: Prompt, form: type[Reply], options: Sampling) -> Reply | None:
    """The critic's reply; None where neither it nor its repair could be read."""
    request = Request(messages=prompt.messages, template=prompt.template, sampling=options, purpose="backward")
    try:
        reply, _ = await ask(wrapped(resolve(None)), request, form)
    except UnreadableReply:
        return None
    return reply


def _texts(ctx: Context) -> list[str]:
    """What a critic may quote."""
    return [text_form(each.value) for each in (*ctx.inputs, ctx.output)]


def _gradient(verdict: Verdict | None, shown: Sequence[str], *, sole: bool = False) -> Gradient | None:
    """A gradient where the critic blames the part, or wants what is before it to change.

    A quote that stands nowhere in the `shown` texts is no quote, and is dropped.

    Where the part is the only one that can change, there is nobody else to blame: a wish for change then counts
    whatever the verdict says.
    """
    if verdict is None or (verdict.verdict == "none" and not sole) or not verdict.change.strip():
        return None
    quote = verdict.quote.strip()
    return Gradient(
        text=verdict.change.strip(),
        severity=verdict.severity,
        quote=quote if any(quote in text for text in shown) else "",
        keep=verdict.keep.strip(),
    )


def _passed_on(ctx: Context, grads: Sequence[Gradient]) -> Sequence[Feedback]:
    """Without a readable critic the reader's own request stands: feedback is never lost."""
    return [merged(grads) if needed else None for needed in ctx.needs_input_grad]
