"""Textual gradient descent: rewrite a value so that its feedback no longer applies."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from wordgrad import prompts
from wordgrad.optim.base import Optimizer
from wordgrad.prompts import Asked, Record, Work

_STYLES = (
    "This time: begin with the exact form that the answer must have, and nothing else in the answer.",
    "This time: write one short rule for each kind of case in the feedback.",
    "This time: make the smallest change that settles most of the feedback.",
    "This time: name every possible answer, and say in a few words when it is the right one.",
    "This time: write it anew, as short numbered steps.",
    "This time: add two short examples, each an input and the answer that was wanted.",
    "This time: say which mistakes to avoid, and what to do instead.",
)


class TextualGradientDescent(Optimizer):
    """One call for each parameter and candidate: the value, what it is for, and its feedback, record by record.

    The first candidate gets the feedback plainly. Each other one is told to try another way, and to mind some of the
    records most: candidates differ even where the engine has no temperature, and share a prefix that servers cache.

    Example:
        >>> optimizer = TextualGradientDescent([prompt], engine="local", constraints=["It stays polite."])
        >>> loss.backward()
        >>> optimizer.step()
        StepResult(applied=True, reasons=(), calls=1)

    Source:
        Yuksekgonul et al., "TextGrad", 2024. Differs: the whole value once, feedback as records with their evidence,
        strict replies, all or none.
    """

    def ask(self, work: Work, *, candidate: int, rng: random.Random, as_json: bool) -> Asked:
        """The prompt `rewrite.md`."""
        return prompts.rewrite(replace(work, emphasis=_emphasis(work.records, candidate, rng)), as_json=as_json)


TGD = TextualGradientDescent


def _emphasis(records: Sequence[Record], candidate: int, rng: random.Random) -> str:
    if candidate == 0:
        return ""
    style = _STYLES[(candidate - 1) % len(_STYLES)]
    if len(records) == 1:
        return style
    chosen = sorted(rng.sample(range(1, len(records) + 1), (len(records) + 1) // 2))
    return f"{style} Mind these records most: {', '.join(map(str, chosen))}."
