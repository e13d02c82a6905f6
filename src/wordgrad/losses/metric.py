"""A loss that is a function: `fn(output, target) -> float | bool | Score | (score, feedback)`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, SupportsFloat, TypeAlias

from wordgrad import dispatch
from wordgrad.core.function import Node
from wordgrad.core.value import Result, text_form
from wordgrad.errors import UsageError
from wordgrad.functions.recorded import Identity, arecorded, digest, recorded, source_of, unbound
from wordgrad.losses.base import Case, Loss, Scale
from wordgrad.types import Score

Judged: TypeAlias = float | bool | Score | tuple[float | bool | None, str]
Metric: TypeAlias = Callable[[Any, Any], Judged] | Callable[[Any, Any], Awaitable[Judged]]


class MetricLoss(Loss):
    """A score computed by a plain function, with words beside it where the function gives some.

    Args:
        fn: Called `fn(output, target)` with plain values, in a worker thread, or on the library's loop if async. What
            it returns: a number; a bool; a `Score`; or (number, feedback). A number of None means that it could not
            judge: such an example gives no feedback, and is never counted as zero.
        objective: What the score stands for, in words that a critic can use; the function's docstring where empty,
            else its name.
        bounds: The lowest and the highest score.
        higher_is_better: Which end is the good one.
        passing: The score at which an example passes; the good end where None.
        pure: The score depends on the arguments only, so a run need not record it.

    Raises:
        UsageError: `fn` cannot be called so.
    """

    def __init__(
        self,
        fn: Metric,
        *,
        objective: str = "",
        bounds: tuple[float, float] = (0.0, 1.0),
        higher_is_better: bool = True,
        passing: float | None = None,
        pure: bool = False,
    ) -> None:
        _require_callable(fn)
        self.fn = fn
        own = unbound(fn)
        self.name = getattr(own, "__name__", type(own).__name__)
        self.objective = objective or inspect.getdoc(own) or f"the metric {self.name!r}"
        self.scale: Scale = Scale(bounds=bounds, higher_is_better=higher_is_better, passing=passing)
        self.pure = pure
        self.thread = not dispatch.is_async(fn)
        self._source = digest(source_of(fn))

    def judge(self, case: Case, node: Node) -> Result | Awaitable[Result]:
        """The score of one output.

        Raises:
            UsageError: What the function returned is no score, or is outside the bounds.
        """
        identify = partial(self._identity, case, node)
        if not self.thread:
            return self._awaited(case, identify)

        def computed() -> Result:
            return self._read(self.fn(case.output, case.target), case)

        return computed() if self.pure else recorded(identify, computed)

    async def _awaited(self, case: Case, identify: Callable[[], Identity]) -> Result:
        async def computed() -> Result:
            made: Any = self.fn(case.output, case.target)
            return self._read(await made, case)

        return await (computed() if self.pure else arecorded(identify, computed))

    def _identity(self, case: Case, node: Node) -> Identity:
        return Identity(
            index=node.index,
            name=self.name,
            source=self._source,
            inputs=digest(repr([text_form(case.output), text_form(case.target)])),
        )

    def _read(self, given: object, case: Case) -> Result:
        score = self._score(given)
        if score.value is None:
            return self.judged(score.feedback, None, given=score)
        words = score.feedback if score.feedback.strip() else self._words(float(score.value), case)
        return self.judged(words, float(score.value), given=score)

    def _score(self, given: object) -> Score:
        if isinstance(given, Score):
            return self._checked(given)
        value, words = given, ""
        if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], str):  # noqa: PLR2004 - a pair
            value, words = given
            if value is None:
                return Score(value=None, feedback=words)
        if isinstance(value, SupportsFloat) and not isinstance(value, str):  # numpy's numbers and bools, too
            with suppress(TypeError, ValueError, OverflowError):
                return Score(value=float(value), feedback=words)
        raise UsageError(
            f"the metric {self.name!r} returned {given!r}: return a number, a bool, a Score, or (number, feedback)"
        )

    def _checked(self, score: Score) -> Score:
        texts = isinstance(score.feedback, str) and _of_texts(score.notes) and isinstance(score.tags, Mapping)
        if texts and score.value is None:
            return score
        if texts and isinstance(score.value, SupportsFloat) and not isinstance(score.value, str):
            with suppress(TypeError, ValueError, OverflowError):
                return replace(score, value=float(score.value))
        raise UsageError(
            f"the metric {self.name!r} returned {score!r}: give a Score a number, or None where it could not judge; "
            'feedback that is a text, "" for none; and notes and tags that are dicts of texts'
        )

    def _words(self, score: float, case: Case) -> str:
        """Where a metric gives a number only, the critic still needs to know what was wanted."""
        wanted = "" if case.target is None else f" The expected output is: {text_form(case.target)}"
        cut = " The output was cut off at its length limit." if case.finish == "length" else ""
        return f"Judged by {self.objective}, the output scored {score:g}; {self.scale.needed:g} is needed.{wanted}{cut}"


def _of_texts(notes: object) -> bool:
    return isinstance(notes, Mapping) and all(isinstance(each, str) for pair in notes.items() for each in pair)


def _require_callable(fn: Metric) -> None:
    try:
        inspect.signature(fn).bind("output", "target")
    except ValueError:
        return  # a builtin that does not tell
    except TypeError as error:
        raise UsageError(f"{fn!r} is no metric: it cannot be called with (output, target): {error}") from error
