"""The proof of the backward pass: where feedback is a number, accumulated feedback is the derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

import wordgrad as wg
from wordgrad.core.function import Feedback, Node
from wordgrad.core.value import Result

Numbers = Sequence[int]


@dataclass(frozen=True)
class Operation:
    """A function of integers with its partial derivatives."""

    name: str
    arity: int
    value: Callable[[Numbers], int]
    partials: Callable[[Numbers], Numbers]


OPERATIONS = (
    Operation("add", 2, sum, lambda x: (1, 1)),
    Operation("subtract", 2, lambda x: x[0] - x[1], lambda x: (1, -1)),
    Operation("multiply", 2, lambda x: x[0] * x[1], lambda x: (x[1], x[0])),
    Operation("square", 1, lambda x: x[0] ** 2, lambda x: (2 * x[0],)),
    Operation("triple product", 3, lambda x: x[0] * x[1] * x[2], lambda x: (x[1] * x[2], x[0] * x[2], x[0] * x[1])),
)


class Arithmetic(wg.Function):
    """An operation as a node; its critic knows calculus, and writes numbers as text."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.name = operation.name

    async def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result:
        """The operation."""
        return Result(value=self.operation.value(_numbers(inputs)))

    def backward(self, ctx: wg.Context, grads: Sequence[wg.Gradient]) -> Sequence[Feedback]:
        """The chain rule."""
        above = sum(int(each.text) for each in grads)
        return [str(above * partial) for partial in self.operation.partials(_numbers(ctx.inputs))]


def _numbers(results: Sequence[Result]) -> list[int]:
    return [result.value for result in results]  # type: ignore[misc]


@dataclass(frozen=True)
class Program:
    """Straight-line code: the leaves' values, then operations on the places of earlier values."""

    leaves: tuple[int, ...]
    trained: tuple[bool, ...]
    lines: tuple[tuple[Operation, tuple[int, ...]], ...]
    roots: tuple[int, ...]
    """Places of the outputs that are judged."""


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Random DAGs, with values used many times, dead code, dead branches and several roots."""
    leaves = draw(st.lists(st.integers(-3, 3), min_size=1, max_size=4))
    trained = draw(st.lists(st.booleans(), min_size=len(leaves), max_size=len(leaves)))
    lines = []
    for place in range(len(leaves), len(leaves) + draw(st.integers(1, 10))):
        operation = draw(st.sampled_from(OPERATIONS))
        lines.append((operation, tuple(draw(st.integers(0, place - 1)) for _ in range(operation.arity))))
    last = len(leaves) + len(lines) - 1
    roots = draw(st.lists(st.integers(len(leaves), last), min_size=1, max_size=3, unique=True))
    return Program(tuple(leaves), tuple(trained), tuple(lines), tuple(roots))


def derivatives(program: Program) -> list[int]:
    """The derivative of the sum of the roots by each leaf, in forward mode: no backward pass is used."""
    found = []
    for chosen in range(len(program.leaves)):
        values = list(program.leaves)
        slopes = [int(place == chosen) for place in range(len(values))]
        for operation, places in program.lines:
            inputs = [values[place] for place in places]
            partials = operation.partials(inputs)
            slopes.append(sum(partial * slopes[place] for partial, place in zip(partials, places, strict=True)))
            values.append(operation.value(inputs))
        found.append(sum(slopes[root] for root in program.roots))
    return found


def built(program: Program) -> list[wg.Variable]:
    """The program as a graph: every value in order, leaves first."""
    variables = [
        wg.Variable(value, "a number", requires_grad=trained)
        for value, trained in zip(program.leaves, program.trained, strict=True)
    ]
    for operation, places in program.lines:
        variables.append(Arithmetic(operation).apply(*(variables[place] for place in places)))
    return variables


def accumulated(leaf: wg.Variable) -> int:
    """The sum of a leaf's feedback."""
    return sum(int(gradient.text) for gradient in leaf.gradients)


@settings(max_examples=150, deadline=None)
@given(programs())
def test_accumulated_feedback_is_the_derivative(program: Program) -> None:
    """On random graphs the sum of a leaf's gradients is the exact derivative, and what is not trained gets none."""
    variables = built(program)
    roots = [variables[root] for root in program.roots if variables[root].requires_grad]
    if roots:
        wg.backward(roots, "1")

    exact = [slope if trained else 0 for slope, trained in zip(derivatives(program), program.trained, strict=True)]
    assert [accumulated(leaf) for leaf in variables[: len(program.leaves)]] == exact


@settings(max_examples=40, deadline=None)
@given(programs())
def test_order_and_repetition_do_not_matter(program: Program) -> None:
    """Roots in another order, one by one, or twice, give each leaf the same gradients."""
    together, apart = built(program), built(program)
    trained = [root for root in program.roots if together[root].requires_grad]
    if trained:
        wg.backward([together[root] for root in trained], "1")
    for root in (*reversed(trained), *trained):
        apart[root].backward("1")

    count = len(program.leaves)
    assert [accumulated(leaf) for leaf in apart[:count]] == [accumulated(leaf) for leaf in together[:count]]
