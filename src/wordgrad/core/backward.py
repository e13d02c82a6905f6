"""The backward pass: feedback at the roots becomes gradients on everything they were computed from."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from wordgrad import context, dispatch
from wordgrad.core.function import Context, Critique, Feedback, Node, asked_text
from wordgrad.core.gradient import Gradient, Key
from wordgrad.core.graph import ancestors
from wordgrad.core.text import Join
from wordgrad.core.value import Result, text_form
from wordgrad.core.variable import BLANK, Variable, spoken
from wordgrad.dispatch import Pending
from wordgrad.errors import GraphError, UsageError
from wordgrad.types import Index


class Strategy(Protocol):
    """How the feedback of one example and one objective travels through its trace."""

    async def propagate(self, trace: Trace) -> None:
        """Deposit gradients on the trace's Variables: `trace.walk(critique)`, or `trace.deposit(…)` at once."""


def backward(
    losses: Variable | Sequence[Variable],
    feedback: str | Gradient | Sequence[str | Gradient] | None = None,
    *,
    strategy: Strategy | None = None,
    retain_graph: bool = False,
) -> None:
    """Turn losses, or a person's feedback on outputs, into gradients on what they were computed from.

    Passing examples cost nothing; so do branches with nothing to train. No loss is dropped, none counted twice.

    Args:
        losses: One root or many. A sum of losses is each of them.
        feedback: What is wrong with each of `losses`, where these are plain outputs.
        strategy: `wordgrad.per_node` (default), `per_edge` or `fused`.
        retain_graph: Allow a second pass from the same roots.

    Raises:
        GraphError: A root that cannot receive feedback, was used already, or read a value since reassigned.
        NodeError: A root failed.
        EngineError: The critic could not be reached. Nothing was accumulated.
    """
    work = _prepared(losses, feedback, strategy, retain_graph=retain_graph)
    dispatch.run(work, what="backward()")


async def abackward(
    losses: Variable | Sequence[Variable],
    feedback: str | Gradient | Sequence[str | Gradient] | None = None,
    *,
    strategy: Strategy | None = None,
    retain_graph: bool = False,
) -> None:
    """`backward()` for async code."""
    await dispatch.arun(_prepared(losses, feedback, strategy, retain_graph=retain_graph))


def _prepared(
    losses: Variable | Sequence[Variable],
    feedback: str | Gradient | Sequence[str | Gradient] | None,
    strategy: Strategy | None,
    *,
    retain_graph: bool,
) -> Callable[[], Awaitable[None]]:
    given = [losses] if isinstance(losses, Variable) else list(losses)
    strangers = [each for each in given if not isinstance(each, Variable)]
    if strangers:
        raise UsageError(
            f"backward() goes from Variables, and {strangers[0]!r} is none: pass losses, or outputs and beside them "
            "what is wrong: backward([output], feedback)"
        )
    roots = list(dict.fromkeys(given if feedback is not None else _parts(given)))
    words = [feedback] if isinstance(feedback, str | Gradient) else list(feedback or ())
    said = [spoken(each) for each in words]
    if feedback is not None and not words:
        raise UsageError(BLANK)
    for root in roots:
        _check(root, judged=feedback is None)
    index = dispatch.next_index()

    async def work() -> None:
        with _used_up(roots) if feedback is None and not retain_graph else nullcontext():
            seeds = [each for root in roots for each in await _seeds(root, said)]
            for each in given:
                await _settled(each)  # a sum stands for its losses, and may be read afterwards as they may
            traces = _traces(seeds, index)
            propagate = _walked if strategy is None else strategy.propagate
            await dispatch.together([partial(propagate, trace) for trace in traces])
            for trace in traces:
                trace.publish()

    return work


@contextmanager
def _used_up(roots: Sequence[Variable]) -> Generator[None]:
    """Losses serve for one pass: from its start, so that another at the same time is refused, unless it fails."""
    for root in roots:
        _check(root, judged=True)
    for root in roots:
        root._spent = True  # noqa: SLF001 - same package
    try:
        yield
    except BaseException:
        for root in roots:
            root._spent = False  # noqa: SLF001 - same package
        raise


def _parts(roots: Sequence[Variable]) -> list[Variable]:
    """The roots with every sum of losses, however deep, replaced by the losses."""
    found: list[Variable] = []
    stack = list(reversed(roots))
    while stack:
        root = stack.pop()
        if root.grad_fn is not None and isinstance(root.grad_fn.function, Join):
            stack.extend(reversed(root.predecessors))
        else:
            found.append(root)
    return found


def _check(root: Variable, *, judged: bool) -> None:
    if root.grad_fn is None:
        raise GraphError(
            f"{root!r} has no history, so feedback cannot flow from it: call backward() on the output of a loss, or "
            'output.backward("what is wrong with it") on the output that the feedback is about. (For a Variable '
            "itself: accumulate_grad().)"
        )
    if not root.requires_grad:
        raise GraphError(
            f"nothing behind {root!r} requires grad: the nearest Variable is {_nearest_leaf(root)!r}. Create it with "
            "requires_grad=True, or make the calls outside no_grad()"
        )
    if judged and root._spent:  # noqa: SLF001 - same package
        raise GraphError(
            f"backward() was already called from this {root.role_description!r}: run forward again, or pass "
            "retain_graph=True to the first call"
        )


def _nearest_leaf(root: Variable) -> Variable:
    """The nearest thing that `root` was computed from; for a judgement, that what was judged was computed from."""
    judges = root.grad_fn is not None and root.grad_fn.function.judges
    queue = deque(root.predecessors[:1] if judges else [root])
    seen = set(queue)
    while queue:
        nearest = queue.popleft()
        if nearest.grad_fn is None:
            return nearest
        further = [each for each in dict.fromkeys(nearest.predecessors) if each not in seen]
        seen.update(further)
        queue.extend(further)
    return root


@dataclass(frozen=True, slots=True)
class Seed:
    """Feedback that enters a trace from outside: from a loss, or from a person."""

    variable: Variable
    gradient: Gradient


async def _seeds(root: Variable, words: Sequence[Gradient]) -> list[Seed]:
    output = await _settled(root)
    node = root.grad_fn
    assert node is not None, "checked before"
    example = node.example or ".".join(map(str, node.index))
    if words:
        shown = text_form(output.value)
        return [
            Seed(root, replace(each, example=each.example or example, output=each.output or shown)) for each in words
        ]
    feedback = output.failure or text_form(output.value)
    objective = node.function.objective(node)
    ctx = _context(root, node, example=example, objective=objective, feedback=feedback, known="", critique=None)
    said = await _said(ctx, ())
    judged = [Seed(node.inputs[slot].variable, each) for slot, each in enumerate(said) if each is not None]
    if output.passed or output.score is None:  # what could not be judged is blamed on nobody
        return judged
    return [*judged, *_noted(root, ctx)]


def _noted(root: Variable, ctx: Context) -> list[Seed]:
    """What a metric said of Variables before the output it judged: each note begins where its Variable is."""
    behind = [each for each in ancestors([root]) if each is not root]
    seeds = []
    for slot, (name, words) in enumerate(ctx.output.notes.items(), start=len(ctx.node.inputs)):
        named = [each for each in behind if name in (each.name, each.role_description)]
        if not named:
            known = ", ".join(dict.fromkeys(repr(each.name or each.role_description) for each in behind))
            raise GraphError(f"{ctx.node.function.name!r} has a note on {name!r}, and before its output are {known}")
        gradient = Gradient(
            text=words,
            example=ctx.example,
            objective=ctx.objective,
            consumer=ctx.node.index,
            slot=slot,
            severity=3,
            score=ctx.output.score,
            feedback=f"{name}: {words}",
        )
        seeds += [Seed(each, gradient) for each in named if each.requires_grad]
    return seeds


async def _settled(variable: Variable) -> Result:
    state = variable._state  # noqa: SLF001 - same package
    return await state.wait() if isinstance(state, Pending) else state


def _context(
    variable: Variable,
    node: Node,
    *,
    example: str,
    objective: str,
    feedback: str,
    known: str,
    critique: Critique | None,
) -> Context:
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


async def _said(ctx: Context, grads: Sequence[Gradient]) -> list[Gradient | None]:
    """What the node's backward rule says of each input, completed with its key and its evidence."""
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

    def context(self, variable: Variable, critique: Critique | None = None) -> Context:
        """The call that made `variable`, as a backward rule sees it."""
        assert variable.grad_fn is not None, "leaves have no call"
        return _context(
            variable,
            variable.grad_fn,
            example=self.example,
            objective=self.objective,
            feedback=self.feedback,
            known=self.known,
            critique=critique,
        )

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
            for each, said in zip(ctx.node.inputs, await _said(ctx, grads), strict=True):
                if said is not None:
                    self.trace.deposit(each.variable, said)
        for each in ctx.node.inputs:
            self.waiting[each.variable] -= 1
            if not self.waiting[each.variable] and each.variable in self.contexts:
                self.group.start_soon(self.visit, each.variable)


def _traces(seeds: Sequence[Seed], index: Index) -> list[Trace]:
    grouped: dict[tuple[str, str], list[Seed]] = {}
    for seed in seeds:
        grouped.setdefault((seed.gradient.example, seed.gradient.objective), []).append(seed)
    return [
        Trace(example=example, objective=objective, index=(*index, rank), seeds=group)
        for rank, ((example, objective), group) in enumerate(grouped.items())
    ]


async def _walked(trace: Trace) -> None:
    await trace.walk(None)
