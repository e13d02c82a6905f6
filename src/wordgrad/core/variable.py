"""A text, an image or a JSON value in a graph, with the feedback that it has received."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from wordgrad import dispatch
from wordgrad.core.gradient import Gradient, Key
from wordgrad.core.value import Opaque, Result, copied, plain, text_form
from wordgrad.dispatch import Pending
from wordgrad.errors import UsageError

if TYPE_CHECKING:
    from wordgrad.core.function import Node
    from wordgrad.core.graph import Step
    from wordgrad.core.walk import Strategy

_WORDS_SHOWN = 8
_CHARS_SHOWN = 80


held: ContextVar[Mapping[int, Result] | None] = ContextVar("wordgrad.held", default=None)
"""Other values for some Variables, by id. They hold in every call made under them, however late its body runs."""


class Variable:
    """A value with a role; the output of a call is one too, and may still be pending.

    Args:
        value: Text, a `wordgrad.Image`, or any JSON value.
        role_description: What the value is for ("system prompt of the summariser"). Critics and the optimizer read
            it, so it must be given for what requires grad; "" is allowed, for ablations.
        requires_grad: Whether feedback is wanted for it and an optimizer may rewrite it.
        name: What reports call it; a Module's attribute name where None.
        constraints: What every value must keep to: text, or objects of `wordgrad.optim.constraints`.

    Raises:
        UsageError: No role for what requires grad, or a value that cannot be held or trained.
    """

    __slots__ = (
        "_gradients",
        "_own",
        "_spent",
        "_version",
        "constraints",
        "grad_fn",
        "name",
        "requires_grad",
        "role_description",
    )

    def __init__(
        self,
        value: object,
        role_description: str | None = None,
        requires_grad: bool = False,  # noqa: FBT001, FBT002 - PyTorch's and TextGrad's signature
        *,
        name: str | None = None,
        constraints: Sequence[object] = (),
    ) -> None:
        if requires_grad and role_description is None:
            raise _no_role(value)
        if not isinstance(role_description, str | None):
            raise UsageError(f"role_description={role_description!r} is no text: say in words what the value is for")
        if isinstance(constraints, str):
            raise UsageError(f"constraints={constraints!r} is one text: pass [{constraints!r}]")
        _check(value, requires_grad=requires_grad)
        self._own: Result | Pending[Result] = Result(value=value if isinstance(value, str | Opaque) else plain(value))
        self._version = 0
        self._spent = False
        self._gradients: dict[Key, Gradient] = {}
        self.role_description = role_description or ""
        self.requires_grad = requires_grad
        self.name = name
        self.constraints = tuple(constraints)
        self.grad_fn: Node | None = None

    @classmethod
    def _computed(
        cls, state: Result | Pending[Result], *, node: Node | None, role_description: str, requires_grad: bool
    ) -> Variable:
        """The output of a call. Functions make these; users do not."""
        self = cls.__new__(cls)
        self._own = state
        self._version = 0
        self._spent = False
        self._gradients = {}
        self.role_description = role_description
        self.requires_grad = requires_grad
        self.name = None
        self.constraints = ()
        self.grad_fn = node
        return self

    # ---- the value

    @property
    def _state(self) -> Result | Pending[Result]:
        """What is held: the Variable's own, or what a context holds in its place."""
        values = held.get()
        return self._own if values is None else values.get(id(self), self._own)

    @property
    def result(self) -> Result:
        """The value and what is known beside it (finish, score, calls). Blocks until it is there."""
        return self._state.result() if isinstance(self._state, Pending) else self._state

    @property
    def value(self) -> Any:  # noqa: ANN401 - JSON, text or an image
        """What the Variable holds. Blocks until a pending call has answered.

        A list or an object is the reader's own: to change what the Variable holds, assign a whole new value.

        Raises:
            NodeError: The call that makes it, or one before it, failed.
            UsageError: Read where blocking is not allowed; `await` the Variable there.
        """
        return copied(self.result.value)

    @value.setter
    def value(self, new: object) -> None:
        _check(new, requires_grad=self.requires_grad)
        self._own = Result(value=new if isinstance(new, str | Opaque) else plain(new))
        self._version += 1
        self.grad_fn = None

    @property
    def text(self) -> str:
        """How the value reads in a prompt."""
        return text_form(self.value)

    @property
    def version(self) -> int:
        """How often the value was reassigned."""
        return self._version

    @property
    def score(self) -> float | None:
        """For the output of a loss: its number; None where it has none."""
        return self.result.score

    @property
    def finish(self) -> str:
        """How the reply ended: "stop", "length" or "refusal"; "stop" for what no engine wrote."""
        return self.result.finish

    def __await__(self) -> Generator[Any, Any, Variable]:
        if isinstance(self._state, Pending):
            yield from self._state.wait().__await__()
        return self

    def make_leaf(self) -> None:
        """Wait for the value, drop the history, and require grad: a computed solution becomes a parameter.

        A later `backward()` through a use from before is an error.

        Raises:
            UsageError: It holds an image, or has no role.
        """
        if not self.requires_grad and not self.role_description:
            raise _no_role(self.value)
        if self.grad_fn is not None:
            self.value = self.value
        _check(self.value, requires_grad=True)
        self.requires_grad = True

    def detach(self) -> Variable:
        """The same value with no history: feedback stops here."""
        return Variable._computed(self._state, node=None, role_description=self.role_description, requires_grad=False)

    # ---- the graph

    @property
    def predecessors(self) -> tuple[Variable, ...]:
        """The inputs of the call that made this, in order; empty for a leaf."""
        return () if self.grad_fn is None else tuple(each.variable for each in self.grad_fn.inputs)

    def trace(self) -> list[Step]:
        """Each call behind this Variable in creation order, with its exact messages, reply, usage and cost."""
        from wordgrad.core.graph import trace  # noqa: PLC0415 - graph imports variable

        return trace(self)

    def backward(
        self,
        feedback: str | Gradient | Sequence[str | Gradient] | None = None,
        *,
        strategy: Strategy | None = None,
        retain_graph: bool = False,
    ) -> None:
        """Turn this loss, or a person's `feedback` on this output, into gradients on what it was computed from.

        Raises:
            GraphError: Nothing here can receive feedback; the message says what to change.
        """
        from wordgrad.core.backward import backward  # noqa: PLC0415 - backward imports variable

        backward(self, feedback, strategy=strategy, retain_graph=retain_graph)

    async def abackward(
        self,
        feedback: str | Gradient | Sequence[str | Gradient] | None = None,
        *,
        strategy: Strategy | None = None,
        retain_graph: bool = False,
    ) -> None:
        """`backward()` for async code."""
        from wordgrad.core.backward import abackward  # noqa: PLC0415 - backward imports variable

        await abackward(self, feedback, strategy=strategy, retain_graph=retain_graph)

    # ---- gradients

    @property
    def gradients(self) -> tuple[Gradient, ...]:
        """The feedback so far, ordered by the place of the call that read the Variable, then by slot."""
        return tuple(sorted(self._gradients.values(), key=lambda each: (each.consumer, each.slot, *each.key[:2])))

    def accumulate_grad(self, gradient: str | Gradient) -> None:
        """Add one piece of feedback; the same one twice counts once."""
        if isinstance(gradient, str):
            gradient = spoken(gradient)
        self._gradients[gradient.key] = gradient

    def zero_grad(self) -> None:
        """Forget the feedback."""
        self._gradients.clear()

    def get_gradient_text(self) -> str:
        """The requested changes, one a line; "" where there are none."""
        return "\n".join(gradient.text for gradient in self.gradients)

    # ---- text operations, and what is refused because a Variable is not a str

    def __add__(self, other: object) -> Variable:
        from wordgrad.core.text import join  # noqa: PLC0415 - text imports variable

        return join((self, other), separator="")

    def __radd__(self, other: object) -> Variable:
        from wordgrad.core.text import join  # noqa: PLC0415 - text imports variable

        # `sum(losses)` starts from 0.
        return self if other == 0 and not isinstance(other, str) else join((other, self), separator="")

    def __getitem__(self, key: str | int) -> Variable:
        from wordgrad.core.text import item  # noqa: PLC0415 - text imports variable

        return item(self, key)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return (
            f"Variable({self._shown()}, role_description={self.role_description!r}, requires_grad={self.requires_grad})"
        )

    def _shown(self) -> str:
        if not isinstance(self._state, Pending):
            return repr(_first_words(self._state.value))
        if not self._state.done():
            return "<pending>"
        result = self._state.peek()
        return "<failed>" if result is None else repr(_first_words(result.value))

    def __format__(self, spec: str) -> str:
        if self.requires_grad:
            raise UsageError(
                f"an f-string of {self._named()} would cut the graph without a word: use {{v.value}} to show it, or "
                'wordgrad.format("… {v} …", v=v) to keep the graph'
            )
        return format(self.text, spec)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Variable):
            return self is other
        raise UsageError(
            f"{self._named()} == {_first_words(other)!r} compares a Variable with a {type(other).__name__}: it would "
            "be False for ever. Compare its .value"
        )

    def __bool__(self) -> NoReturn:
        raise UsageError(f"{self._named()} has no truth value: test its .value")

    def __len__(self) -> NoReturn:
        raise UsageError(f"{self._named()} has no length: use len() of its .value")

    def __iter__(self) -> NoReturn:
        raise UsageError(f"{self._named()} cannot be iterated: iterate its .value, or take items with v[0]")

    def __contains__(self, item: object) -> NoReturn:
        raise UsageError(f"{self._named()} cannot be searched: search its .value")

    def _named(self) -> str:
        return f"Variable {self.name or self.role_description or '(no role)'!r}"


BLANK = "the feedback is blank: say what is wrong with the output, or call backward() on a loss"


def abandon(variables: Iterable[Variable]) -> None:
    """Stop what these wait for where nobody else does, and take their errors as read: nobody will read these."""
    states = [each._state for each in variables]  # noqa: SLF001 - this module's own
    dispatch.abandon([each for each in states if isinstance(each, Pending)])


def spoken(words: str | Gradient) -> Gradient:
    """A person's words as a gradient: an objective of their own, so that two remarks never replace each other."""
    said = Gradient(text=words, severity=3) if isinstance(words, str) else words
    if not said.text.strip():
        raise UsageError(BLANK)
    digest = hashlib.sha256(said.text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return replace(
        said, feedback=said.feedback or said.text, objective=said.objective or f"a person's feedback ({digest})"
    )


def _no_role(value: object) -> UsageError:
    return UsageError(
        f"Variable({_first_words(value)!r}, requires_grad=True) needs a role_description: critics and the optimizer "
        'know only from it what the text is for. Say it in a few words ("system prompt of the summariser"), or pass "" '
        "to go without on purpose"
    )


def _check(value: object, *, requires_grad: bool) -> None:
    if isinstance(value, Variable):
        raise UsageError(f"{value!r} is a Variable already; pass its .value, or use the Variable itself")
    if requires_grad and isinstance(value, Opaque):
        raise UsageError(
            f"{value.text_form()} cannot require grad: an optimizer rewrites text, and has no way to write an image. "
            "Leave requires_grad off, and train the text beside it"
        )


def _first_words(value: object) -> str:
    words = value.text_form() if isinstance(value, Opaque) else str(value)
    parts = words.split()
    return " ".join(parts[:_WORDS_SHOWN])[:_CHARS_SHOWN] + (
        "…" if len(parts) > _WORDS_SHOWN or len(words) > _CHARS_SHOWN else ""
    )
