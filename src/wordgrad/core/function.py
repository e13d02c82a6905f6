"""A Function maps Variables to one Variable and knows its backward rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Hashable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from wordgrad import dispatch
from wordgrad.core.gradient import Gradient
from wordgrad.core.value import Result, text_form
from wordgrad.core.variable import Variable
from wordgrad.dispatch import Label, Pending
from wordgrad.errors import EngineError, GraphError
from wordgrad.types import Index

Feedback: TypeAlias = Gradient | str | None
"""What a backward rule says of one input: a change, the change's text alone, or nothing."""

_grad_enabled: ContextVar[bool] = ContextVar("wordgrad.grad_enabled", default=True)


@contextmanager
def no_grad() -> Generator[None]:
    """Calls made inside require no grad, whatever their inputs do."""
    token = _grad_enabled.set(False)
    try:
        yield
    finally:
        _grad_enabled.reset(token)


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a call, as it was when the call was made."""

    variable: Variable
    version: int
    state: Result | Pending[Result]

    @property
    def result(self) -> Result:
        """What the call read; only for a call that is done."""
        result = self.state.peek() if isinstance(self.state, Pending) else self.state
        assert result is not None, "read the inputs of finished calls only"
        return result


@dataclass(frozen=True, slots=True)
class Node:
    """One call of a Function."""

    function: Function
    inputs: tuple[Input, ...]
    index: Index
    example: str | None
    role: str

    @property
    def values(self) -> tuple[Result, ...]:
        """What the call read, in the order of its inputs."""
        return tuple(each.result for each in self.inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a backward rule may look at."""

    node: Node
    output: Result
    needs_input_grad: tuple[bool, ...]
    example: str
    objective: str
    feedback: str
    """The loss's own words. Critics see them beside their consumer's request, not a paraphrase of a paraphrase."""
    known: str
    """What the loss was told beside the output (a question, sources)."""
    critique: Critique | None
    """How nodes that need a critic get one; None: the default strategy's way."""
    refusals: dict[Index, EngineError] = field(default_factory=dict)
    """What a server would not answer for what the request says, by the critic's index. A strategy writes it down here.

    Raised at once, it would stop the critics that are asked beside it: they are paid, and would not be on record.
    """

    @property
    def inputs(self) -> tuple[Result, ...]:
        """What the call read."""
        return self.node.values

    @property
    def roles(self) -> tuple[str, ...]:
        """The role of each input."""
        return tuple(each.variable.role_description for each in self.node.inputs)


Critique: TypeAlias = Callable[[Context, Sequence[Gradient]], Awaitable[Sequence[Feedback]]]


class Function(ABC):
    """The base of every node's rule. `backward` returns; the pass accumulates."""

    name: str = ""
    description: str = ""
    """What the function does, for the critic who reads its trace."""
    thread: bool = False
    """Whether `forward` is plain code that runs in a worker thread, in its example's program order."""
    turn: bool = False
    """Whether an async `forward` takes its example's turn, as plain code does."""
    exclusive: Hashable | None = None
    """Calls with the same identity never overlap."""
    judges: ClassVar[bool] = False
    """Whether the output is a judgement: a root for `backward()`."""
    structural: ClassVar[bool] = False
    """Whether the output's text is made of the inputs' texts."""

    @abstractmethod
    def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result | Awaitable[Result]:
        """Compute the output. A coroutine runs on the library's loop; plain code where `thread` says."""

    @abstractmethod
    def backward(self, ctx: Context, grads: Sequence[Gradient]) -> Sequence[Feedback] | Awaitable[Sequence[Feedback]]:
        """Say what each input should change.

        Args:
            ctx: The call, and what its output is judged by.
            grads: The feedback on the output, ordered by the reader's place; empty where the output is the root.

        Returns:
            One entry for each input, in order; None where it is blameless or needs none.
        """

    def objective(self, node: Node) -> str:
        """What a judgement of this function judges by; never blank."""
        return self.description or self.name or type(self).__name__

    def apply(
        self,
        *inputs: object,
        roles: Sequence[str] = (),
        role_description: str | None = None,
        example: Hashable | None = None,
    ) -> Variable:
        """Make the call; return its output at once, pending.

        Args:
            inputs: Variables, or values, which become Variables that require no grad.
            roles: The role of each value that is not a Variable yet.
            role_description: The output's role.
            example: The example that the call belongs to: its Python code runs in that example's order.
        """
        variables = [
            each if isinstance(each, Variable) else Variable(each, roles[place] if place < len(roles) else "input")
            for place, each in enumerate(inputs)
        ]
        role = f"output of {self.name}" if role_description is None else role_description
        node = Node(
            function=self,
            inputs=tuple(Input(each, each.version, each._state) for each in variables),  # noqa: SLF001 - same package
            index=dispatch.next_index(),
            example=None if example is None else str(example),
            role=role,
        )
        requires_grad = _grad_enabled.get() and any(each.requires_grad for each in variables)
        state = self._submit(node)
        return Variable._computed(state, node=node, role_description=role, requires_grad=requires_grad)  # noqa: SLF001

    def _submit(self, node: Node) -> Result | Pending[Result]:
        states = [each.state for each in node.inputs]
        waiting = [state for state in states if isinstance(state, Pending)]
        if self.structural and not waiting:
            ready = self.forward(node, node.values)
            assert isinstance(ready, Result), "structural functions are plain code"
            return ready

        def merged(arrived: Sequence[Result]) -> tuple[Result, ...]:
            arriving = iter(arrived)
            return tuple(next(arriving) if isinstance(state, Pending) else state for state in states)

        def work(arrived: Sequence[Result]) -> Result | Awaitable[Result]:
            return self.forward(node, merged(arrived))

        async def awaited(arrived: Sequence[Result]) -> Result:
            made = self.forward(node, merged(arrived))
            return made if isinstance(made, Result) else await made

        return dispatch.submit(
            work if self.thread else awaited,
            waiting,
            label=Label(function=self.name, role=node.role, example=node.example),
            index=node.index,
            thread=self.thread,
            turn=self.turn,
            example=node.example,
            exclusive=self.exclusive,
        )


def no_judge(function: Function) -> GraphError:
    """The error of a `backward()` that starts from the output of a call that judges nothing."""
    return GraphError(
        f"backward() was called on the output of {function.name}, which judges nothing: pass it to a loss, or say what "
        'is wrong with it: output.backward("…")'
    )


def asked_text(node: Node, *, without: int) -> str:
    """The texts of a call's inputs but one: what it was asked beside that one."""
    return "\n".join(text_form(each.result.value) for place, each in enumerate(node.inputs) if place != without)
