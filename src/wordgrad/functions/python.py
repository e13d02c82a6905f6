"""Python functions as nodes: tools, retrievers, parsers, code execution."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, overload

from wordgrad.core.function import Context, Feedback, Function, Node, no_judge
from wordgrad.core.gradient import Gradient
from wordgrad.core.text import merged
from wordgrad.core.value import Opaque, Result, copied, plain, text_form
from wordgrad.core.variable import Variable
from wordgrad.errors import UsageError, WordgradError
from wordgrad.functions.recorded import Identity, arecorded, digest, recorded, source_of, unbound
from wordgrad.functions.strategies import per_node

P = ParamSpec("P")

BackwardRule: TypeAlias = Callable[[Context, Sequence[Gradient]], Sequence[Feedback] | Awaitable[Sequence[Feedback]]]
Rule: TypeAlias = Literal["pass_through", "critic"] | BackwardRule
OnError: TypeAlias = Literal["raise", "feedback"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class _Hole:
    """Where a Variable stood among the arguments."""

    place: int


class PythonFunction(Generic[P]):
    """A Python function whose calls are nodes. Made by `@wordgrad.function`."""

    def __init__(
        self,
        fn: Callable[P, object],
        *,
        rule: Rule,
        on_error: OnError,
        pure: bool,
        exclusive: bool,
        description: str,
    ) -> None:
        update_wrapper(self, fn)
        self.fn = fn
        self.rule = rule
        self.on_error = on_error
        self.pure = pure
        self.exclusive = exclusive
        own = unbound(fn)
        self.name = getattr(own, "__qualname__", type(own).__name__)
        self.description = description or inspect.getdoc(own) or source_of(fn)
        self.digest = digest(source_of(fn))

    def __call__(self, *args: Any, **kwargs: Any) -> Variable:  # noqa: ANN401 - Variables stand where values do
        """Call the function; returns at once.

        `role_description=` and `example=` are the node's own, and reach the function only where it names them.
        """
        own = inspect.signature(self.fn).parameters
        role: str | None = None if "role_description" in own else kwargs.pop("role_description", None)
        example: Hashable | None = None if "example" in own else kwargs.pop("example", None)
        variables: list[Variable] = []
        call = _Call(self, _hollowed(args, variables), _hollowed(kwargs, variables))
        return call.apply(*variables, role_description=role, example=example)


class _Call(Function):
    """One call of a Python function: its arguments, with holes where the Variables were."""

    def __init__(self, made_by: PythonFunction[Any], args: Any, kwargs: Any) -> None:  # noqa: ANN401
        self.made_by = made_by
        self.args = args
        self.kwargs = kwargs
        self.name = made_by.name
        self.description = made_by.description
        self.turn = inspect.iscoroutinefunction(made_by.fn)
        self.thread = not self.turn
        self.exclusive = _identity(made_by.fn) if made_by.exclusive else None

    def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result | Awaitable[Result]:
        """Run the body in its thread or on the loop; a failed input passes through."""
        failed = _failure(inputs)
        if failed is not None:
            return failed
        if self.turn:
            return self._awaited(node, inputs)
        if self.made_by.pure:
            return self._computed(inputs)
        return recorded(partial(self._identity, node, inputs), partial(self._computed, inputs))

    def _computed(self, inputs: tuple[Result, ...]) -> Result:
        try:
            return self._result(self._body(inputs))
        except Exception as error:  # noqa: BLE001 - a tool may fail in any way; `on_error` says what it means
            return self._failed(error)

    async def _awaited(self, node: Node, inputs: tuple[Result, ...]) -> Result:
        async def computed() -> Result:
            try:
                return self._result(await self._body(inputs))
            except Exception as error:  # noqa: BLE001 - as above
                return self._failed(error)

        return await (computed() if self.made_by.pure else arecorded(partial(self._identity, node, inputs), computed))

    def _body(self, inputs: tuple[Result, ...]) -> Any:  # noqa: ANN401 - what the user's function returns
        values = [copied(each.value) for each in inputs]
        return self.made_by.fn(*_filled(self.args, values), **_filled(self.kwargs, values))

    def _result(self, value: object) -> Result:
        if isinstance(value, Variable):
            raise UsageError(
                f"{self.name} returned a Variable: a @function gets plain values and returns a plain value. To combine "
                "calls that are nodes themselves, write a wordgrad.Module"
            )
        return Result(value=_plain_if_possible(value))

    def _failed(self, error: Exception) -> Result:
        # An outage or a mistake in the caller's code is no feedback on a prompt.
        if self.made_by.on_error == "raise" or isinstance(error, WordgradError):
            raise error
        message = f"{type(error).__name__}: {error}"
        return Result(value=message, failure=f"{self.name} failed with {message}")

    def _identity(self, node: Node, inputs: tuple[Result, ...]) -> Identity:
        texts = [text_form(each.value) for each in inputs]
        return Identity(
            index=node.index,
            name=self.name,
            source=self.made_by.digest,
            # An object without words of its own prints its address, which is another one in each process.
            inputs=digest(_ADDRESS.sub("", repr((texts, self.args, self.kwargs)))),
        )

    def backward(self, ctx: Context, grads: Sequence[Gradient]) -> Sequence[Feedback] | Awaitable[Sequence[Feedback]]:
        """By the declared rule: copied through, a critic's, or the author's own."""
        if not grads:
            raise no_judge(self)
        if self.made_by.rule == "critic":
            return (ctx.critique or per_node.critique)(ctx, grads)
        if self.made_by.rule == "pass_through":
            return [merged(grads) if needed else None for needed in ctx.needs_input_grad]
        return self.made_by.rule(ctx, grads)


@overload
def function(fn: Callable[P, object], /) -> PythonFunction[P]: ...
@overload
def function(
    *,
    rule: Rule = ...,
    on_error: OnError = ...,
    pure: bool = ...,
    exclusive: bool = ...,
    description: str = ...,
) -> Callable[[Callable[P, object]], PythonFunction[P]]: ...
def function(
    fn: Callable[P, object] | None = None,
    /,
    *,
    rule: Rule = "pass_through",
    on_error: OnError = "raise",
    pure: bool = False,
    exclusive: bool = False,
    description: str = "",
) -> PythonFunction[P] | Callable[[Callable[P, object]], PythonFunction[P]]:
    """Make a Python function's calls nodes of the graph. It receives plain values and returns a plain value.

    A sync function runs in a worker thread, an async one on the library's loop: create loop-bound objects (clients,
    locks) inside it. In one example, calls run one at a time in program order.

    Args:
        fn: The function, where the decorator is written without arguments.
        rule: "pass_through" copies the feedback to each input without a call; "critic" asks a critic, who reads the
            description, inputs and output; or your own rule (see `Function.backward`).
        on_error: "raise" fails what depends on the call; "feedback" makes the error an observation: model calls see
            its text, and a loss of it is feedback on this call.
        pure: The result depends on the inputs only, so a run need not record it.
        exclusive: Calls never overlap, and run in call order.
        description: What it does, for critics; the docstring where empty, else the source.

    Raises:
        UsageError: An unknown `rule` or `on_error`.
    """
    if rule not in ("pass_through", "critic") and not callable(rule):
        raise UsageError(f'rule={rule!r} is not known: pass "pass_through", "critic" or a function (ctx, grads)')
    if on_error not in ("raise", "feedback"):
        raise UsageError(f'on_error={on_error!r} is not known: pass "raise" or "feedback"')

    def decorated(fn: Callable[P, object]) -> PythonFunction[P]:
        return PythonFunction(fn, rule=rule, on_error=on_error, pure=pure, exclusive=exclusive, description=description)

    return decorated if fn is None else decorated(fn)


def _hollowed(value: Any, variables: list[Variable]) -> Any:  # noqa: ANN401 - any nesting of arguments
    """`value` with a hole for each Variable in its lists, tuples and dicts; the Variables are appended in order."""
    if isinstance(value, Variable):
        variables.append(value)
        return _Hole(len(variables) - 1)
    if isinstance(value, dict):
        return {key: _hollowed(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_hollowed(each, variables) for each in value]
    if isinstance(value, tuple):
        return _tuple_like(value, [_hollowed(each, variables) for each in value])
    return value


def _filled(value: Any, values: Sequence[object]) -> Any:  # noqa: ANN401 - any nesting of arguments
    if isinstance(value, _Hole):
        return values[value.place]
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    if isinstance(value, tuple):
        return _tuple_like(value, [_filled(each, values) for each in value])
    return value


def _identity(fn: Callable[..., object]) -> Hashable:
    # By equality where there is one: each `db.write` is another object, and they must not overlap.
    try:
        hash(fn)
    except TypeError:
        return id(fn)
    return fn


def _tuple_like(value: tuple[object, ...], items: list[object]) -> tuple[object, ...]:
    # A named tuple's class takes its fields one by one.
    make: Callable[[list[object]], tuple[object, ...]] = getattr(type(value), "_make", tuple)
    return make(items)


def _failure(inputs: Sequence[Result]) -> Result | None:
    return next((each for each in inputs if each.failure is not None), None)


def _plain_if_possible(value: object) -> object:
    """JSON where there is a JSON form, so that a call gives the same value when a run is resumed."""
    if isinstance(value, str | Opaque):
        return value
    try:
        return plain(value)
    except UsageError:
        return value
