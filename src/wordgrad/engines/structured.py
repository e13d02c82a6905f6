"""One reply in a given form, with one repair."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from wordgrad.errors import UnreadableReply
from wordgrad.types import Completion, Engine, Message, Request

Form = TypeVar("Form", bound=BaseModel)


async def ask(engine: Engine, request: Request, form: type[Form]) -> tuple[Form, list[Completion]]:
    """Ask for a reply that fits `form`; an unreadable, cut or refused one may be repaired once.

    The engine's own schema mode is used where it declares one, else the schema is told in words.

    Returns:
        The reply, and the completions it took: one or two.

    Raises:
        UnreadableReply: The repair did not fit either.
        EngineError: The engine could not be reached.
    """
    asked = _with_form(engine, request, form)
    completions: list[Completion] = []
    problem = ""
    for _ in range(2):
        completion = await engine.complete(asked)
        completions.append(completion)
        if completion.finish == "stop":
            try:
                return form.model_validate_json(completion.text), completions
            except ValidationError as error:
                first = error.errors()[0]
                problem = f"{'.'.join(map(str, first['loc'])) or 'the reply'}: {first['msg']}"
        else:
            problem = "it was cut off at its length limit" if completion.finish == "length" else "it was refused"
        again = f"That reply cannot be used: {problem}. Reply again, shorter, with the JSON only."
        repair = (Message("assistant", (completion.text,)), Message("user", (again,)))
        asked = replace(asked, messages=(*asked.messages, *repair))
    raise UnreadableReply(f"{engine.name} gave no reply in the asked form, and its repair had none: {problem}")


def _with_form(engine: Engine, request: Request, form: type[BaseModel]) -> Request:
    schema = form.model_json_schema()
    if engine.capabilities.schema:
        return replace(request, schema=schema)
    words = f"Reply with one JSON object that fits this schema, and nothing else:\n{json.dumps(schema)}"
    return replace(request, messages=(*request.messages, Message("user", (words,))))
