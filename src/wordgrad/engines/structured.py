"""One structured reply, with one repair."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from wordgrad.errors import UnreadableReply
from wordgrad.types import Completion, Engine, Message, Request

M = TypeVar("M", bound=BaseModel)


async def ask(engine: Engine, request: Request, model: type[M]) -> tuple[M, list[Completion]]:
    schema = model.model_json_schema()
    if engine.capabilities.schema:
        request = replace(request, schema=schema)
    else:
        note = "Reply with one JSON object that fits this schema, and nothing else:\n" + json.dumps(schema)
        request = replace(request, messages=(*request.messages, Message("user", (note,))))
    completions = []
    problem = ""
    for _ in range(2):
        completion = await engine.complete(request)
        completions.append(completion)
        problem = f"finish={completion.finish}"
        if completion.finish == "stop":
            try:
                return model.model_validate_json(completion.text), completions
            except ValidationError as error:
                problem = str(error)
        request = replace(
            request,
            messages=(
                *request.messages,
                Message("assistant", (completion.text,)),
                Message("user", (f"This was not valid: {problem}. Reply again, with valid JSON only.",)),
            ),
        )
    raise UnreadableReply(f"{engine.name} gave no readable reply: {problem}")
