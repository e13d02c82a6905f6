"""One example's way to one objective, and what the rules of the calls on it say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from wordgrad import context, dispatch
from wordgrad.core.function import Context, Critique, Feedback, Node, asked_text
from wordgrad.core.gradient import Gradient, Key
from wordgrad.core.graph import ancestors
from wordgrad.core.value import text_form
from wordgrad.core.variable import Variable
from wordgrad.dispatch import Pending
from wordgrad.errors import EngineError, GraphError
from wordgrad.types import Index


class Strategy(Protocol):
    """How the feedback of one example and one objective travels through its trace."""

    async def propagate(self, trace: Trace) -> None:
        """Deposit gradients on the trace's Variables: `trace.walk(critique)`, or `trace.deposit(…)` at once."""


@dataclass(frozen=True, slots=True)
class Seed:
    """Feedback that enters a trace from outside: from a loss, or from a person."""

    variable: Variable
    gradient: Gradient


@dataclass(slots=True)
class Trace:
    """One example's way to one objective: where its feedback enters, and the calls that it can reach."""

    example: str
    objective: str
    index: Index
    seeds: list[Seed]
    steps: list[Variable] = field(default_factory=list)
    """The outputs of calls with something to train behind them, in creation order."""
    leaves: list[Variable] = field(default_factory=list)
    """What can be trained of the inputs of these calls, in the order of first use."""
    refusals: dict[Index, EngineError] = field(default_factory=dict)
    """As in `Context`, of all its calls. `backward()` raises the first, unless the strategy takes them away."""
    _delivered: dict[Variable, dict[Key, Gradient]] = field(default_factory=lambda: defaultdict(dict))

    def __post_init__(self) -> None:
        reached = ancestors(dict.fromkeys(seed.variable for seed in self.seeds), trainable=True)
        nodes = {each: each.grad_fn for each in reached if each.grad_fn is not None}
        self.steps = sorted(nodes, key=lambda each: nodes[each].index)
        inputs = dict.fromkeys(each.variable for step in self.steps for each in nodes[step].inputs)
        self.leaves = [each for each in inputs if each.requires_grad and each.grad_fn is None]
        for seed in self.seeds:
            self.deposit(seed.variable, seed.gradient)

    @property
    def feedback(self) -> str:
        """The loss's own words."""
        return "\n".join(dict.fromkeys(seed.gradient.feedback or seed.gradient.text for seed in self.seeds))

    @property
    def known(self) -> str:
        """What the loss was told beside the output."""
        return "\n".join(dict.fromkeys(seed.gradient.context for seed in self.seeds if seed.gradient.context))

    def deposit(self, variable: Variable, gradient: Gradient) -> None:
        """Add a gradient; the same key twice is one gradient."""
        self._delivered[variable][gradient.key] = gradient

    def gradients(self, variable: Variable) -> list[Gradient]:
        """What has been deposited on `variable`, ordered by the reader's place, then slot."""
        return sorted(self._delivered[variable].values(), key=lambda each: (each.consumer, each.slot))

    def clear(self) -> None:
        """Forget what was deposited, and what was refused."""
        self._delivered.clear()
        self.refusals.clear()

    def context(self, variable: Variable, critique: Critique | None = None) -> Context:
        """The call that made `variable`, as a backward rule sees it."""
        assert variable.grad_fn is not None, "leaves have no call"
        made = context_of(
            variable,
            variable.grad_fn,
            example=self.example,
            objective=self.objective,
            feedback=self.feedback,
            known=self.known,
            critique=critique,
        )
        return replace(made, refusals=self.refusals)

    def completed(self, gradient: Gradient, leaf: Variable) -> Gradient:
        """A gradient made from the whole trace, keyed by the first call that read `leaf`, with that call's evidence."""
        reader, slot = next(
            (step, slot)
            for step in self.steps
            for slot, each in enumerate(step.grad_fn.inputs if step.grad_fn else ())
            if each.variable is leaf
        )
        return _complete(gradient, self.context(reader), slot, [seed.gradient for seed in self.seeds])

    async def walk(self, critique: Critique | None) -> None:
        """Run each call's backward rule once all that read its output have run; what is ready runs concurrently."""
        contexts = {step: self.context(step, critique) for step in self.steps}
        waiting = Counter(each.variable for ctx in contexts.values() for each in ctx.node.inputs)
        try:
            async with anyio.create_task_group() as group:
                walk = _Walk(self, contexts, {step: rank for rank, step in enumerate(self.steps)}, waiting, group)
                for step in self.steps:
                    if not waiting[step]:
                        group.start_soon(walk.visit, step)
        except BaseExceptionGroup as failed:
            raise dispatch.first_error(failed) from None

    def publish(self) -> None:
        """Accumulate what was deposited on the Variables themselves."""
        for variable, gradients in self._delivered.items():
            for gradient in gradients.values():
                variable.accumulate_grad(gradient)


@dataclass(frozen=True, slots=True)
class _Walk:
    """One pass over a trace."""

    trace: Trace
    contexts: Mapping[Variable, Context]
    ranks: Mapping[Variable, int]
    """The place of each call among the trace's: what numbers its critics' calls."""
    waiting: Counter[Variable]
    """How many readers of each Variable have not run yet."""
    group: TaskGroup

    async def visit(self, step: Variable) -> None:
        """Run one call's rule, then start the calls that waited for it alone."""
        ctx = self.contexts[step]
        grads = self.trace.gradients(step)
        if grads:
            context.body.set(context.Body(index=(*self.trace.index, self.ranks[step])))
            for each, said in zip(ctx.node.inputs, await run_rule(ctx, grads), strict=True):
                if said is not None:
                    self.trace.deposit(each.variable, said)
        for each in ctx.node.inputs:
            self.waiting[each.variable] -= 1
            if not self.waiting[each.variable] and each.variable in self.contexts:
                self.group.start_soon(self.visit, each.variable)


def context_of(
    variable: Variable,
    node: Node,
    *,
    example: str,
    objective: str,
    feedback: str,
    known: str = "",
    critique: Critique | None = None,
) -> Context:
    """The call that made `variable`, as its backward rule sees it.

    Raises:
        GraphError: One of its inputs was reassigned after the call read it.
    """
    state = variable._state  # noqa: SLF001 - same package
    output = state.peek() if isinstance(state, Pending) else state
    assert output is not None, "the roots are settled, so all before them is"
    for each in node.inputs:
        if each.variable.version != each.version:
            raise GraphError(
                f"{each.variable.role_description!r} was reassigned after forward read it; run forward again before "
                "backward()"
            )
    return Context(
        node=node,
        output=output,
        needs_input_grad=tuple(each.variable.requires_grad for each in node.inputs),
        example=example,
        objective=objective,
        feedback=feedback,
        known=known,
        critique=critique,
    )


async def run_rule(ctx: Context, grads: Sequence[Gradient]) -> list[Gradient | None]:
    """What the node's backward rule says of each input, completed with its key and its evidence.

    Raises:
        GraphError: It returned more or fewer than one for each input.
    """
    if ctx.output.failure is not None and any(each.failure is not None for each in ctx.inputs):
        # It never ran: the failure came through, and feedback on it belongs to the call that failed.
        message = grads[0] if grads else Gradient(text=ctx.output.failure, severity=3)
        returned: Sequence[Feedback] = [message if each.failure is not None else None for each in ctx.inputs]
    else:
        made = ctx.node.function.backward(ctx, grads)
        returned = await made if isinstance(made, Awaitable) else made
    if len(returned) != len(ctx.node.inputs):
        raise GraphError(
            f"backward() of {ctx.node.function.name!r} returned {len(returned)} gradients for "
            f"{len(ctx.node.inputs)} inputs: return one for each input, None where there is nothing to say"
        )
    return [
        _complete(said, ctx, slot, grads) if needed and said else None
        for slot, (said, needed) in enumerate(zip(returned, ctx.needs_input_grad, strict=True))
    ]


def _complete(said: Gradient | str, ctx: Context, slot: int, grads: Sequence[Gradient]) -> Gradient:
    made = Gradient(text=said) if isinstance(said, str) else said
    evidence = grads[0] if grads else made
    return replace(
        made,
        example=ctx.example,
        objective=ctx.objective,
        consumer=ctx.node.index,
        slot=slot,
        input=made.input if made.output else asked_text(ctx.node, without=slot),
        output=made.output or text_form(ctx.output.value),
        expected=made.expected or evidence.expected,
        score=evidence.score if made.score is None else made.score,
        feedback=made.feedback or ctx.feedback,
    )
