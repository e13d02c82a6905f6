"""How feedback travels back through model calls: a critic for each call, for each input, or for the whole trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from pydantic import BaseModel

from wordgrad import context, dispatch, prompts
from wordgrad.core.function import Context, Feedback
from wordgrad.core.gradient import Gradient
from wordgrad.core.text import merged
from wordgrad.core.value import text_form
from wordgrad.core.variable import Variable
from wordgrad.core.walk import Trace
from wordgrad.engines.defaults import resolve
from wordgrad.engines.stack import wrapped
from wordgrad.errors import EngineError, UnreadableReply
from wordgrad.functions.structured import ask
from wordgrad.prompts import Judged, Limits, Part, Prompt, Step, Verdict
from wordgrad.types import Request, Sampling

Reply = TypeVar("Reply", bound=BaseModel)

_OPTIONS = Sampling(max_tokens=1024)
_CHARS_SHOWN = 6_000


class PerNode:
    """One critic call for each model call. It covers all inputs that need feedback, and shows the others.

    Of a text longer than 6,000 characters the critic sees the start and the end. Where all texts together are more
    than its context holds, that limit is lowered, a quarter at a time, to 200 characters. Where even that is too much,
    inputs are left out: first those that it is not asked about, from the middle on. It is told what it does not see.

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

        def prompt(limits: Limits) -> Prompt:
            step = _step(ctx, limits)
            return prompts.critic_node(step, _judged(ctx, limits), requests=_requests(ctx, grads, limits))

        asked = [slot for slot, needed in enumerate(ctx.needs_input_grad) if needed]
        said = await _verdicts(prompt, asked, self.options, ctx)
        if said is None:
            return _passed_on(ctx, grads)
        shown = _texts(ctx)
        return [_gradient(said.get(slot, ()), shown, sole=asked == [slot]) for slot in range(len(ctx.needs_input_grad))]


class PerEdge:
    """One critic call for each input of a model call, as in the TextGrad paper (Yuksekgonul et al., 2024).

    What its context cannot hold is left out as it is for `per_node`.

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
        here = context.body.get().index

        async def one(slot: int) -> Feedback:
            if not ctx.needs_input_grad[slot]:
                return None
            # A numbering of its own: the place of a call must not depend on which input's critic came first.
            context.body.set(context.Body(index=(*here, slot)))

            def prompt(limits: Limits) -> Prompt:
                step, judged = _step(ctx, limits, asked=slot), _judged(ctx, limits)
                return prompts.critic_edge(step, judged, asked=_label(slot), requests=_requests(ctx, grads, limits))

            reply = await _asked(prompt, Verdict, self.options, ctx)
            return merged(grads) if reply is None else _gradient([reply], _texts(ctx))

        return await dispatch.together([partial(one, slot) for slot in range(len(ctx.needs_input_grad))])


class Fused:
    """One critic call for each example and objective. It sees the whole trace, and covers every parameter.

    What its context cannot hold is left out as it is for `per_node`; of too many calls those that read no parameter
    go first, from the middle on. A parameter that only calls left out have read gets no feedback.

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
        ranks = {leaf: rank for rank, leaf in enumerate(trace.leaves)}
        reads = [any(each.variable in ranks for each in ctx.node.inputs) for ctx in contexts]

        def prompt(limits: Limits) -> Prompt:
            places = limits.places(reads)
            steps = [_step(contexts[place], limits, ranks=ranks) for place in places]
            return prompts.critic_trace(steps, _judged(contexts[-1], limits), left_out=len(contexts) - len(places))

        said = await _verdicts(prompt, range(len(trace.leaves)), self.options, contexts[-1])
        shown = [text for ctx in contexts for text in _texts(ctx)]
        for rank, leaf in enumerate(trace.leaves):
            made = Gradient(text=trace.feedback) if said is None else _gradient(said.get(rank, ()), shown)
            if made is not None:
                trace.deposit(leaf, trace.completed(made, leaf))


per_node = PerNode()
per_edge = PerEdge()
fused = Fused()


def _label(slot: int) -> str:
    return f"P{slot + 1}"


def _step(
    ctx: Context, limits: Limits, *, asked: int | None = None, ranks: Mapping[Variable, int] | None = None
) -> Step:
    """A call as a critic sees it. The trainable inputs carry the label by which a reply names them.

    Args:
        ctx: The call.
        limits: How much of it is shown.
        asked: The one input that the critic is asked about; all trainable ones where None.
        ranks: In a trace, the label of each leaf wherever it is read; what is no leaf has none.
    """
    labels = []
    for slot, each in enumerate(ctx.node.inputs):
        rank = slot if ranks is None else ranks.get(each.variable)
        labels.append(_label(rank) if rank is not None and ctx.needs_input_grad[slot] else "")
    places = limits.places([bool(label) if asked is None else slot == asked for slot, label in enumerate(labels)])
    parts = [
        Part(
            label=labels[place],
            role=ctx.node.inputs[place].variable.role_description,
            text=limits.text(text_form(ctx.inputs[place].value)),
        )
        for place in places
    ]
    return Step(
        description=limits.text(ctx.node.function.description),
        parts=tuple(parts),
        output=limits.text(text_form(ctx.output.value)),
        finish=ctx.output.finish,
        left_out=len(labels) - len(places),
    )


def _judged(ctx: Context, limits: Limits) -> Judged:
    """What the output is judged by, the loss's own words, and what the loss was told."""
    return Judged(
        objective=limits.text(ctx.objective), feedback=limits.text(ctx.feedback), context=limits.text(ctx.known)
    )


def _requests(ctx: Context, grads: Sequence[Gradient], limits: Limits) -> list[str]:
    """What the readers of the output want changed, where that is not the judge's own word."""
    wanted = "\n".join(dict.fromkeys(each.text for each in grads if each.text != ctx.feedback))
    return [limits.text(wanted)] if wanted else []


async def _asked(make: Callable[[Limits], Prompt], form: type[Reply], options: Sampling, ctx: Context) -> Reply | None:
    """The critic's reply; None where neither it nor its repair could be read, or where the request was refused."""
    engine = resolve(None)
    prompt = prompts.fitted(make, chars=_CHARS_SHOWN, engine=engine, sampling=options, form=form)
    request = Request(
        messages=prompt.messages, template=prompt.template, sampling=options, purpose="backward", node=ctx.node.role
    )
    try:
        reply, _ = await ask(wrapped(engine), request, form)
    except UnreadableReply:
        return None
    except EngineError as error:
        if not error.refused:
            raise
        ctx.refusals[context.body.get().index] = error
        return None
    return reply


async def _verdicts(
    make: Callable[[Limits], Prompt], asked: Sequence[int], options: Sampling, ctx: Context
) -> Mapping[int, Sequence[Verdict]] | None:
    """The critic's verdicts on each part that it was asked about; None where it has none on any of them."""
    reply = await _asked(make, prompts.NodeReply, options, ctx)
    if reply is None:
        return None
    said = {slot: [verdict for verdict in reply.parts if verdict.part == _label(slot)] for slot in asked}
    return said if any(said.values()) else None


def _texts(ctx: Context) -> list[str]:
    """What a critic may quote."""
    return [text_form(each.value) for each in (*ctx.inputs, ctx.output)]


def _gradient(verdicts: Sequence[Verdict], shown: Sequence[str], *, sole: bool = False) -> Gradient | None:
    """A gradient where the critic blames the part, or wants what is before it to change.

    A quote that stands nowhere in the `shown` texts is no quote, and is dropped.

    Where the part is the only one that can change, there is nobody else to blame: a wish for change then counts
    whatever the verdict says. A part that the critic speaks of twice has both wishes in one gradient.
    """
    wishes = [
        Gradient(
            text=each.change.strip(),
            severity=each.severity,
            quote=each.quote.strip() if any(each.quote.strip() in text for text in shown) else "",
            keep=each.keep.strip(),
        )
        for each in verdicts
        if each.change.strip() and (sole or each.verdict != "none")
    ]
    return merged(wishes) if wishes else None


def _passed_on(ctx: Context, grads: Sequence[Gradient]) -> Sequence[Feedback]:
    """Without a critic the reader's own request stands: feedback is never lost."""
    return [merged(grads) if needed else None for needed in ctx.needs_input_grad]
