"""A read-only view of what a Variable was computed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wordgrad.core.function import Node
from wordgrad.core.value import EngineCall, Result, text_form
from wordgrad.core.variable import Variable
from wordgrad.dispatch import Pending
from wordgrad.errors import NodeError
from wordgrad.types import Index

_LABEL_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a trace."""

    index: Index
    function: str
    role: str
    inputs: tuple[str | None, ...]
    """None for one whose call failed."""
    output: str | None
    """None where the call failed."""
    error: str | None
    """Why it failed: the message of the first call before it that did."""
    calls: tuple[EngineCall, ...]
    """What was sent and received, word for word."""


def ancestors(roots: Iterable[Variable], *, trainable: bool = False) -> list[Variable]:
    """Every Variable that the roots were computed from, roots included, inputs before what reads them.

    Args:
        roots: Where to start.
        trainable: Whether to leave out what requires no grad.
    """
    order: list[Variable] = []
    seen: set[int] = set()
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        variable, expanded = stack.pop()
        if expanded:
            order.append(variable)
            continue
        if id(variable) in seen or (trainable and not variable.requires_grad):
            continue
        seen.add(id(variable))
        stack.append((variable, True))
        stack.extend((each, False) for each in reversed(variable.predecessors))
    return order


def trace(variable: Variable) -> list[Step]:
    """Each call behind `variable` in creation order. Blocks until it is computed, or has failed."""
    _error(variable._state)  # noqa: SLF001 - same package
    made = [(each, each.grad_fn) for each in ancestors([variable])]
    nodes = sorted(((node, each) for each, node in made if node is not None), key=lambda pair: pair[0].index)
    return [_step(node, each) for node, each in nodes]


def _step(node: Node, variable: Variable) -> Step:
    result = _known(variable._state)  # noqa: SLF001 - same package
    return Step(
        index=node.index,
        function=node.function.name,
        role=node.role,
        inputs=tuple(_text(_known(each.state)) for each in node.inputs),
        output=_text(result),
        error=_error(variable._state),  # noqa: SLF001 - same package
        calls=() if result is None else result.calls,
    )


def _known(state: Result | Pending[Result]) -> Result | None:
    return state.peek() if isinstance(state, Pending) else state


def _error(state: Result | Pending[Result]) -> str | None:
    """Wait, and say what went wrong."""
    if isinstance(state, Pending):
        try:
            state.result()
        except NodeError as error:
            return str(error)
    return None


def _text(result: Result | None) -> str | None:
    return None if result is None else text_form(result.value)


def to_mermaid(*roots: Variable) -> str:
    """The graph as a Mermaid flowchart, for a README or a notebook: values as boxes, calls as arrows.

    Texts are shortened and escaped. Never blocks: what is pending says so.
    """
    order = ancestors(roots)
    names = {id(each): f"v{place}" for place, each in enumerate(order)}
    lines = ["flowchart TD"]
    for each in order:
        box = f'{names[id(each)]}["{_escaped(_label(each))}"]'
        lines.append(f"  {box}:::trainable" if each.requires_grad and each.grad_fn is None else f"  {box}")
    for each in order:
        called = "" if each.grad_fn is None else each.grad_fn.function.name
        lines.extend(f"  {names[id(source)]} -->|{_escaped(called)}| {names[id(each)]}" for source in each.predecessors)
    lines.append("  classDef trainable stroke-width:3px")
    return "\n".join(lines)


def _label(variable: Variable) -> str:
    shown = f"{variable.name or variable.role_description}: {variable._shown()}"  # noqa: SLF001 - same package
    return shown if len(shown) <= _LABEL_LENGTH else shown[: _LABEL_LENGTH - 1] + "…"


def _escaped(label: str) -> str:
    # Mermaid reads entities, and its own syntax everywhere else.
    return "".join(char if char.isalnum() or char in " .,:…-" else f"#{ord(char)};" for char in label)
