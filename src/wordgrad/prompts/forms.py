"""The prompts around a reply in a given form: the form in words, and the one repair."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel

from wordgrad.prompts.render import Prompt, one_line, render, shortened, template_hash
from wordgrad.types import JSON, Message

_REASON_CHARS = 500


@functools.lru_cache(maxsize=64)
def schema_of(form: type[BaseModel]) -> Mapping[str, JSON]:
    """The JSON schema of a form, made once: it takes pydantic as long as the rest of a call."""
    return MappingProxyType(form.model_json_schema())


def in_words(schema: Mapping[str, JSON]) -> str:
    """Ask for a reply that fits `schema`, for models whose server cannot hold them to it."""
    return render("schema", schema=json.dumps(dict(schema), ensure_ascii=False)).strip()


def asked_again(messages: Sequence[Message], reply: str, reasons: Sequence[str], *, form: str) -> Prompt:
    """Ask once more, shown the reply and what is wrong with it.

    Args:
        messages: The conversation so far.
        reply: What the model said.
        reasons: Why that cannot be used.
        form: How to write the reply, in words.
    """
    listed = "\n".join(f"- {shortened(one_line(each), _REASON_CHARS)}" for each in reasons)
    wanted = render("repair", reasons=listed, form=form).strip()
    turns = (Message("assistant", (reply or "(nothing)",)), Message("user", (wanted,)))
    return Prompt((*messages, *turns), template_hash("repair"))
