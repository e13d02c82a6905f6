"""Textual gradient descent: rewrite a value so that its feedback no longer applies."""

from __future__ import annotations

import random
from dataclasses import replace

from wordgrad import prompts
from wordgrad.optim.base import Optimizer
from wordgrad.prompts import Asked, Work

_MANNERS = (
    "Name every output that may be wanted, and say for which inputs it is right.",
    "Give each kind of case one short line.",
    "Be precise about what tells similar inputs apart.",
    "Give a short example of an input for each rule.",
    "Say each rule in as few words as it needs.",
    "Say what to decide, then the exact form of the output, then the rules.",
    "Say for each rule which inputs look alike and do not belong to it.",
)


class TextualGradientDescent(Optimizer):
    """One call for each parameter and candidate: the value, what it is for, and its feedback, record by record.

    The first candidate gets the feedback plainly; each other one is told, after a prefix that all share, what to mind
    beside it. So candidates differ even where the engine has no temperature, and servers cache what they share.

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
        return prompts.rewrite(replace(work, emphasis=_emphasis(candidate, rng)), as_json=as_json)


TGD = TextualGradientDescent


def _emphasis(candidate: int, rng: random.Random) -> str:
    """Nothing for the first, a manner for each of the next, and two manners at once when these are used up."""
    if candidate == 0:
        return ""
    if candidate <= len(_MANNERS):
        return _MANNERS[candidate - 1]
    return " ".join(rng.sample(_MANNERS, 2))
