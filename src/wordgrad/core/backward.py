"""The backward pass: feedback at the roots becomes gradients on everything they were computed from."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

from wordgrad import dispatch
from wordgrad.core.function import Context
from wordgrad.core.gradient import Gradient
from wordgrad.core.graph import ancestors
from wordgrad.core.text import Join
from wordgrad.core.value import Result, text_form
from wordgrad.core.variable import BLANK, Variable, spoken
from wordgrad.core.walk import Seed, Strategy, Trace, context_of, run_rule
from wordgrad.dispatch import Pending
from wordgrad.errors import GraphError, UsageError
from wordgrad.types import Index


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
        EngineError: The critic could not be reached, or its server refused a request. Nothing was accumulated.
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
            _require_answers(traces)
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
    ctx = context_of(root, node, example=example, objective=objective, feedback=feedback)
    said = await run_rule(ctx, ())
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


def _traces(seeds: Sequence[Seed], index: Index) -> list[Trace]:
    grouped: dict[tuple[str, str], list[Seed]] = {}
    for seed in seeds:
        grouped.setdefault((seed.gradient.example, seed.gradient.objective), []).append(seed)
    return [
        Trace(example=example, objective=objective, index=(*index, rank), seeds=group)
        for rank, ((example, objective), group) in enumerate(grouped.items())
    ]


def _require_answers(traces: Sequence[Trace]) -> None:
    refusals = {index: error for trace in traces for index, error in trace.refusals.items()}
    if refusals:
        raise refusals[min(refusals)]


async def _walked(trace: Trace) -> None:
    await trace.walk(None)
