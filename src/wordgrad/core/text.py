"""Text operations. Their backward rules are exact: the feedback, with the segment that it concerns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from wordgrad.core.function import Context, Feedback, Function, Node, no_judge
from wordgrad.core.gradient import Gradient
from wordgrad.core.value import Result, plain, text_form
from wordgrad.core.variable import Variable
from wordgrad.errors import UsageError

_NAME = re.compile(r"\{([^\W\d]\w*)\}")
"""A slot: what may be the name of a keyword argument, in any script."""


class _Structural(Function):
    """Copies the feedback on the whole to each part, and says which part it was."""

    structural = True

    def segments(self, node: Node) -> Sequence[str]:
        """What each input is of the whole, in order."""
        count = len(node.inputs)
        return [f"part {place} of {count}" for place in range(1, count + 1)]

    def backward(self, ctx: Context, grads: Sequence[Gradient]) -> Sequence[Feedback]:
        if not grads:
            raise no_judge(self)
        return [
            merged(grads, segment=segment) if needed else None
            for segment, needed in zip(self.segments(ctx.node), ctx.needs_input_grad, strict=True)
        ]


class Join(_Structural):
    """The inputs' texts with a separator between them."""

    name = "join"
    description = "puts texts one after the other"

    def __init__(self, separator: str) -> None:
        self.separator = separator

    def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result:
        """A failed part makes the whole a failure: there is no text to join."""
        failed = next((each for each in inputs if each.failure is not None), None)
        return failed or Result(value=self.separator.join(text_form(each.value) for each in inputs))


class Sum(Join):
    """Several losses as one root: `backward()` starts from each of them."""

    name = "sum"
    description = "adds up losses"

    def __init__(self) -> None:
        super().__init__("\n")

    def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result:
        """The critiques in order; the score is the sum of the scores, None where one has none."""
        scores = [each.score for each in inputs if each.score is not None]
        text = super().forward(node, inputs)
        return replace(text, score=math.fsum(scores) if len(scores) == len(inputs) else None)


class Format(_Structural):
    """A frozen template with slots."""

    name = "format"
    description = "fills the slots of a frozen template"

    def __init__(self, template: str, names: Sequence[str]) -> None:
        self.template = template
        self.names = tuple(names)

    def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result:
        """One pass: a value that looks like a slot stays as it is."""
        failed = next((each for each in inputs if each.failure is not None), None)
        if failed is not None:
            return failed
        values = {name: text_form(each.value) for name, each in zip(self.names, inputs, strict=True)}
        return Result(value=_NAME.sub(lambda slot: values.get(slot[1], slot[0]), self.template))

    def segments(self, node: Node) -> Sequence[str]:
        return [f"slot {name!r} of a template" for name in self.names]


class Item(_Structural):
    """One field of an object, or one element of a list."""

    name = "item"
    description = "takes one item of a structured value"

    def __init__(self, key: str | int) -> None:
        self.key = key

    def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result:
        """Raises UsageError where the value has no such item."""
        if inputs[0].failure is not None:
            return inputs[0]
        value = inputs[0].value if isinstance(inputs[0].value, str) else plain(inputs[0].value)
        try:
            return Result(value=value[self.key])  # type: ignore[index]
        except (KeyError, IndexError, TypeError) as error:
            raise UsageError(f"{text_form(value)[:80]!r} has no item {self.key!r}") from error

    def segments(self, node: Node) -> Sequence[str]:
        return [f"item {self.key!r}"]


def merged(grads: Sequence[Gradient], *, segment: str = "") -> Gradient:
    """All feedback on an output, of which there is some, as one gradient.

    The texts stand one a line in order, each once; the evidence is the first one's, the severity the worst one's.
    """
    texts = list(dict.fromkeys(each.text for each in grads))
    return replace(
        grads[0],
        text="\n".join(texts),
        severity=max(each.severity for each in grads),
        segment=segment or grads[0].segment,
    )


def join(parts: Sequence[object], separator: str = "\n") -> Variable:
    """The texts of `parts` with `separator` between them.

    Args:
        parts: Variables, or values, which get no feedback. At least one.
        separator: Frozen text.
    """
    if not parts:
        raise UsageError("join() of nothing: pass at least one Variable or text")
    return Join(separator).apply(*parts, role_description=_shared_role(parts))


def sum(losses: Sequence[Variable]) -> Variable:
    """One root for many losses: `wg.sum(losses).backward()` is `wg.backward(losses)`."""
    if not losses:
        raise UsageError("sum() of no losses: pass at least one")
    return Sum().apply(*losses, role_description="sum of losses")


def format(template: str, /, **values: object) -> Variable:
    """Fill the `{name}` slots of a frozen template, keeping the graph.

    Only the names given are slots; every other brace is literal text.

    Raises:
        UsageError: A value is given for a slot that the template does not have.
    """
    found = set(_NAME.findall(template))
    missing = [name for name in values if name not in found]
    if missing:
        raise UsageError(f"the template has no slot {{{missing[0]}}}: {template[:80]!r}")
    return Format(template, list(values)).apply(
        *values.values(), roles=list(values), role_description="a filled template"
    )


def item(variable: Variable, key: str | int) -> Variable:
    """One field or element of a structured value; `v[key]`."""
    return Item(key).apply(variable, role_description=f"{key!r} of {variable.role_description or 'a value'}")


def _shared_role(parts: Sequence[object]) -> str:
    roles = [part.role_description for part in parts if isinstance(part, Variable) and part.role_description]
    return " and ".join(dict.fromkeys(roles)) or "joined text"
