"""What is shown of texts that together are more than a model's context holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from wordgrad.errors import UsageError
from wordgrad.prompts.forms import in_words, schema_of
from wordgrad.prompts.render import Prompt, shortened
from wordgrad.types import Engine, Sampling

_FEWEST_CHARS = 200
_MOST_ITEMS = 64
_MESSAGE_TOKENS = 16
"""What a chat template puts around a message, at most."""
_REPAIR_TOKENS = 800
"""What a request for a repair takes that shows the reply's start and end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of each text and of each list is shown."""

    chars: int
    items: int | None = None

    def text(self, text: str) -> str:
        """The text, or its start and its end with a note of what is left out between them."""
        return shortened(text, self.chars)

    def places(self, wanted: Sequence[bool]) -> list[int]:
        """The places of a list that are shown, in order: the wanted ones first, then those nearest to its ends."""
        last = len(wanted) - 1
        ranked = sorted(range(len(wanted)), key=lambda place: (not wanted[place], min(place, last - place)))
        return sorted(ranked[: self.items])


def fitted(
    make: Callable[[Limits], Prompt],
    *,
    chars: int,
    engine: Engine,
    sampling: Sampling,
    form: type[BaseModel] | None = None,
) -> Prompt:
    """The prompt with as much in it as the engine's context has room for, beside the reply and its repair.

    Texts are shortened first: to a quarter less, and a quarter less again, down to 200 characters. Then lists are: to
    64 items, and half as many again, down to one. Where the engine declares no context, `chars` alone holds.

    Args:
        make: Makes the prompt within limits.
        chars: Of one text, at most.
        engine: Who reads it.
        sampling: How long the reply may be.
        form: What the reply must be; None for plain text, which has no repair.

    Raises:
        UsageError: Not even the shortest prompt fits.
    """
    context = engine.capabilities.context_tokens
    if context is None:
        return make(Limits(chars))
    room = context - sampling.max_tokens
    if form is not None:
        room -= _REPAIR_TOKENS
        if not engine.capabilities.schema:
            room -= engine.count_tokens(in_words(schema_of(form)))
    for limits in _limits(chars):
        prompt = make(limits)
        if sum(engine.count_tokens(each.text) + _MESSAGE_TOKENS for each in prompt.messages) <= room:
            return prompt
    raise UsageError(
        f"the context of {engine.name!r}, {context} tokens, holds no critic's or judge's prompt beside a reply of "
        f"max_tokens={sampling.max_tokens}: lower that in options=, or choose an engine with a longer context"
    )


def _limits(chars: int) -> Iterator[Limits]:
    while chars > _FEWEST_CHARS:
        yield Limits(chars)
        chars = chars * 3 // 4
    yield Limits(_FEWEST_CHARS)
    items = _MOST_ITEMS
    while items:
        yield Limits(_FEWEST_CHARS, items)
        items //= 2
