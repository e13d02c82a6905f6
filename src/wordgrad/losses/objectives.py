"""Several losses of one output, kept apart."""

from __future__ import annotations

from collections.abc import Hashable

from wordgrad.core import text
from wordgrad.core.variable import Variable
from wordgrad.errors import UsageError
from wordgrad.losses.base import Loss, judgement


class Objectives:
    """Judges an output by each of several losses. Made by `wordgrad.objectives`."""

    def __init__(self, losses: dict[str, Loss]) -> None:
        self.losses = losses

    def __call__(
        self, output: object, target: object = None, *, context: object = None, example: Hashable | None = None
    ) -> Variable:
        """One root over all judgements; `backward()` gives each objective its own gradients, never mixed."""
        return text.sum(
            [
                judgement(loss, output, target, context=context, example=example, name=name)
                for name, loss in self.losses.items()
            ]
        )


def objectives(**losses: Loss) -> Objectives:
    """Several losses as one, each with a name: `wg.objectives(short=TextLoss(…), right=MetricLoss(…))`.

    Critics and the optimizer read the names: the objectives above are "short: …" and "right: …".

    Raises:
        UsageError: None were given.
    """
    if not losses:
        raise UsageError("objectives() needs at least one loss: objectives(name=loss, …)")
    return Objectives(losses)
