"""One reply in a given form, with one repair."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel

from wordgrad import prompts
from wordgrad.core.value import EngineCall
from wordgrad.errors import UnreadableReply, UsageError
from wordgrad.prompts import Limits, Prompt
from wordgrad.types import Engine, Request

Form = TypeVar("Form", bound=BaseModel)

_AGAIN = "Reply with the JSON only."
_CHARS_SHOWN = 100_000
"""Of the reply in a request for its repair."""


async def ask(engine: Engine, request: Request, form: type[Form]) -> tuple[Form, tuple[EngineCall, ...]]:
    """Ask for a reply that fits `form`; an unreadable, cut or refused one may be repaired once.

    The engine's own schema mode is used where it declares one, else the schema is told in words.

    Returns:
        The reply, and the calls it took: one or two.

    Raises:
        UnreadableReply: The repair did not fit either.
        EngineError: The engine could not be reached.
    """
    asked = _with_form(engine, request, form)
    first = EngineCall.of(engine, asked, await engine.complete(asked))
    try:
        return prompts.read_json(prompts.whole(first.completion), form), (first,)
    except UnreadableReply as error:
        again = _again(engine, asked, first.completion.text, error)
    second = EngineCall.of(engine, again, await engine.complete(again))
    try:
        return prompts.read_json(prompts.whole(second.completion), form), (first, second)
    except UnreadableReply as error:
        raise UnreadableReply(
            f"{engine.name} gave no reply in the asked form, and its repair had none: {error}"
        ) from error


def _again(engine: Engine, asked: Request, reply: str, problem: UnreadableReply) -> Request:
    def prompt(limits: Limits) -> Prompt:
        return prompts.asked_again(asked.messages, limits.text(reply), [str(problem)], form=_AGAIN)

    try:
        made = prompts.fitted(prompt, chars=_CHARS_SHOWN, engine=engine, sampling=asked.sampling)
    except UsageError as error:
        raise UnreadableReply(f"{engine.name}: {problem}; its context has no room for a repair") from error
    return replace(asked, messages=made.messages, template=made.template)


def _with_form(engine: Engine, request: Request, form: type[BaseModel]) -> Request:
    schema = prompts.schema_of(form)
    if engine.capabilities.schema:
        return replace(request, schema=schema)
    # A part of the question, not a message of its own: many chat templates refuse two user messages in a row.
    *before, last = request.messages
    return replace(request, messages=(*before, replace(last, parts=(*last.parts, prompts.in_words(schema)))))
