"""Calls of language models."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from pydantic import BaseModel

from wordgrad.core import text
from wordgrad.core.function import Context, Feedback, Function, Node
from wordgrad.core.gradient import Gradient
from wordgrad.core.module import Module
from wordgrad.core.value import EngineCall, Result, text_form
from wordgrad.core.variable import Variable
from wordgrad.engines import get_engine
from wordgrad.engines.stack import wrapped
from wordgrad.errors import GraphError, UsageError
from wordgrad.functions.image import Image
from wordgrad.functions.strategies import per_node
from wordgrad.functions.structured import ask
from wordgrad.types import Engine, Message, Part, Request, Role, Sampling

Content: TypeAlias = "str | Variable | Image | Sequence[str | Variable | Image]"
Turn: TypeAlias = Mapping[str, Any]
"""One message, as {"role": …, "content": Content}."""
# One kind of sequence, not a choice of two: type checkers then see what a literal list is meant to be.
Conversation: TypeAlias = "str | Variable | Image | Sequence[str | Variable | Image | Turn]"
"""One user message, or several turns."""


class Chat(Function):
    """One conversation, sent to an engine.

    Its inputs are the system prompt, where there is one, then the parts of the messages in order.

    Args:
        engine: Who answers.
        layout: For each input, the place of its message and that message's role.
        options: How the reply is drawn.
        schema: What the reply must be; the value is then that model's JSON.
        sample: Which draw of the same request is wanted.
    """

    name = "llm"
    description = "a language model answers the input, following its system prompt"

    def __init__(
        self,
        engine: Engine,
        layout: Sequence[tuple[int, Role]],
        *,
        options: Sampling,
        schema: type[BaseModel] | None,
        sample: int,
    ) -> None:
        self.engine = engine
        self.layout = tuple(layout)
        self.options = options
        self.schema = schema
        self.sample = sample

    async def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result:
        """Send the conversation. A cut or refused text reply is a value; a cut structured one is an error."""
        messages = await self._messages(inputs)
        request = Request(messages=messages, sampling=self.options, sample=(self.sample,), node=node.role)
        engine = wrapped(self.engine)
        if self.schema is None:
            completion = await engine.complete(request)
            call = EngineCall.of(engine, request, completion)
            return Result(value=completion.text, finish=completion.finish, calls=(call,))
        reply, calls = await ask(engine, request, self.schema)
        return Result(value=reply.model_dump(mode="json"), calls=calls)

    async def _messages(self, inputs: tuple[Result, ...]) -> tuple[Message, ...]:
        messages: dict[int, tuple[Role, list[Part]]] = {}
        for (place, role), each in zip(self.layout, inputs, strict=True):
            if isinstance(each.value, Image) and not self.engine.capabilities.images:
                raise _blind(self.engine)
            part = await each.value.load() if isinstance(each.value, Image) else text_form(each.value)
            messages.setdefault(place, (role, []))[1].append(part)
        return tuple(Message(role, tuple(parts)) for role, parts in messages.values())

    async def backward(self, ctx: Context, grads: Sequence[Gradient]) -> Sequence[Feedback]:
        """A critic's word on each input; as the root, the reply itself is the critique of what was judged."""
        if grads:
            critique = ctx.critique or per_node.critique
            return await critique(ctx, grads)
        trained = [
            each.variable for each, (_, role) in zip(ctx.node.inputs, self.layout, strict=True) if role == "system"
        ]
        if any(each.requires_grad for each in trained):
            raise GraphError(
                f"backward() was called on the reply that {trained[0].role_description!r} made, without a loss: pass "
                'the reply to a loss, or say what is wrong with it: output.backward("…")'
            )
        said = text_form(ctx.output.value)
        if ctx.output.finish != "stop" or not said.strip():
            raise GraphError(
                f"the judge {self.engine.name!r} gave no whole critique (finish={ctx.output.finish!r}): raise "
                "max_tokens, or choose another judge"
            )
        return [None if role == "system" else said for _, role in self.layout]

    def objective(self, node: Node) -> str:
        """The system prompt of an evaluator is what it judges by."""
        said = [
            text_form(each.value) for each, (_, role) in zip(node.values, self.layout, strict=True) if role == "system"
        ]
        return "".join(said) or self.description


def llm_call(
    system_prompt: str | Variable | None,
    conversation: Conversation,
    *,
    engine: str | Engine,
    options: Sampling | None = None,
    schema: type[BaseModel] | None = None,
    sample: int = 0,
    role_description: str | None = None,
    example: Hashable | None = None,
) -> Variable:
    """Call a language model; returns at once with the pending reply.

    Args:
        system_prompt: None sends none.
        conversation: A text, a Variable, an Image, a sequence of these (one message of several parts), or a sequence
            of {"role": "user" | "assistant", "content": …} for several turns.
        engine: A spec or an Engine.
        options: Limits and sampling.
        schema: A pydantic model that the reply must fit; the output then holds its JSON.
        sample: Another number is another draw of the same request.
        role_description: The reply's role.
        example: The example that the call belongs to.
    """
    chosen = get_engine(engine)
    inputs: list[object] = []
    layout: list[tuple[int, Role]] = []
    if system_prompt is not None:
        inputs.append(system_prompt)
        layout.append((0, "system"))
    for place, (role, content) in enumerate(_turns(conversation), start=1):
        for part in _parts(content):
            inputs.append(part)
            layout.append((place, role))
    if any(isinstance(_held(each), Image) for each in inputs) and not chosen.capabilities.images:
        raise _blind(chosen)
    chat = Chat(chosen, layout, options=options or Sampling(), schema=schema, sample=sample)
    roles = ["system prompt" if role == "system" else f"{role} message" for _, role in layout]
    given = "reply of the model" if role_description is None else role_description
    return chat.apply(*inputs, roles=roles, role_description=given, example=example)


def _turns(conversation: Conversation) -> list[tuple[Role, Content]]:
    if not isinstance(conversation, Sequence) or isinstance(conversation, str):
        return [("user", conversation)]
    if not conversation:
        raise UsageError("a conversation of nothing: pass at least one text, Variable, Image or turn")
    turns = [each for each in conversation if isinstance(each, Mapping)]
    if not turns:
        return [("user", cast("Content", conversation))]
    if len(turns) != len(conversation) or any(set(each) != {"role", "content"} for each in turns):
        raise UsageError('a conversation is a list of {"role": "user" | "assistant", "content": …} and nothing else')
    wrong = [each["role"] for each in turns if each["role"] not in ("user", "assistant")]
    if wrong:
        raise UsageError(f"unknown role {wrong[0]!r} in a conversation; a system prompt is an argument of its own")
    return [(each["role"], each["content"]) for each in turns]


def _parts(content: Content) -> list[object]:
    return list(content) if isinstance(content, Sequence) and not isinstance(content, str) else [content]


def _held(value: object) -> object:
    """What is to be sent, where it is there already; a pending output is looked at when it is sent."""
    state = value._state if isinstance(value, Variable) else None  # noqa: SLF001 - `.value` would wait for it
    return state.value if isinstance(state, Result) else value


def _blind(engine: Engine) -> UsageError:
    return UsageError(f"the engine {engine.name!r} cannot see images; choose one that declares it")


class LLMCall:
    """`llm_call` with its engine and options bound.

    Example:
        `ask = LLMCall("local"); answer = ask("Say hello.", system_prompt=prompt)`
    """

    def __init__(
        self, engine: str | Engine, *, options: Sampling | None = None, schema: type[BaseModel] | None = None
    ) -> None:
        self.engine = get_engine(engine)
        self.options = options or Sampling()
        self.schema = schema

    def __call__(
        self,
        conversation: Conversation,
        system_prompt: str | Variable | None = None,
        *,
        sample: int = 0,
        role_description: str | None = None,
        example: Hashable | None = None,
    ) -> Variable:
        """Call the model; returns at once."""
        return llm_call(
            system_prompt,
            conversation,
            engine=self.engine,
            options=self.options,
            schema=self.schema,
            sample=sample,
            role_description=role_description,
            example=example,
        )


class BlackboxLLM(Module):
    """A model behind a system prompt: the usual thing to optimise.

    Args:
        engine: A spec or an Engine.
        system_prompt: A Variable to train, a fixed text, or None.
        options: Limits and sampling.
        schema: A pydantic model that each reply must fit.
    """

    def __init__(
        self,
        engine: str | Engine,
        system_prompt: str | Variable | None = None,
        *,
        options: Sampling | None = None,
        schema: type[BaseModel] | None = None,
    ) -> None:
        self.system_prompt = system_prompt
        self.call = LLMCall(engine, options=options, schema=schema)

    def forward(
        self,
        conversation: Conversation,
        *,
        sample: int = 0,
        role_description: str | None = None,
        example: Hashable | None = None,
    ) -> Variable:
        """Answer one conversation (see `llm_call`); returns at once."""
        return self.call(
            conversation, self.system_prompt, sample=sample, role_description=role_description, example=example
        )


class MultimodalLLMCall(BlackboxLLM):
    """A `BlackboxLLM` for text and images: `call([wg.Image(path), "What is shown?"])`.

    Raises:
        UsageError: The engine declares no images.
    """

    def __init__(
        self,
        engine: str | Engine,
        system_prompt: str | Variable | None = None,
        *,
        options: Sampling | None = None,
        schema: type[BaseModel] | None = None,
    ) -> None:
        super().__init__(engine, system_prompt, options=options, schema=schema)
        if not self.call.engine.capabilities.images:
            raise _blind(self.call.engine)


class FormattedLLMCall(Module):
    """A model behind a template: frozen text with `{slots}`, some of them trainable Variables.

    Args:
        engine: A spec or an Engine.
        template: Frozen text; `{name}` is a slot for each name that is bound here or given in the call. `sample`,
            `role_description` and `example` are the call's own and no slots.
        system_prompt: A Variable to train, a fixed text, or None.
        options: Limits and sampling.
        schema: A pydantic model that each reply must fit.
        slots: Values bound for every call, such as a trainable Variable.

    Raises:
        UsageError: A slot has the name of one of the call's own arguments.
    """

    def __init__(
        self,
        engine: str | Engine,
        template: str,
        *,
        system_prompt: str | Variable | None = None,
        options: Sampling | None = None,
        schema: type[BaseModel] | None = None,
        slots: Mapping[str, object] | None = None,
    ) -> None:
        taken = [name for name in ("sample", "role_description", "example") if f"{{{name}}}" in template]
        if taken:
            raise UsageError(f"the slot {{{taken[0]}}} has the name of an argument of the call itself: rename it")
        self.template = template
        self.system_prompt = system_prompt
        self.slots = dict(slots or {})
        self.call = LLMCall(engine, options=options, schema=schema)

    def forward(
        self,
        *,
        sample: int = 0,
        role_description: str | None = None,
        example: Hashable | None = None,
        **values: object,
    ) -> Variable:
        """Fill the template with `values` beside the bound slots, and call the model; returns at once."""
        filled = text.format(self.template, **{**self.slots, **values})
        return self.call(filled, self.system_prompt, sample=sample, role_description=role_description, example=example)
