"""A program's answers to rows: begun beside each other, read in order, and what a server refused set apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from wordgrad import dispatch
from wordgrad.core.function import Context, Feedback, Function, Node
from wordgrad.core.gradient import Gradient
from wordgrad.core.value import Result
from wordgrad.core.variable import Variable, abandon
from wordgrad.data.rows import Row
from wordgrad.errors import EngineError, NodeError, UsageError, WordgradError
from wordgrad.train.events import Advance, Observer, Refused, unwatched
from wordgrad.train.program import Answer

_ROWS = 5
"""Of fewer rows, all may be refused for what they say."""


class Begun(NamedTuple):
    """An answer and its judgements, pending."""

    output: Variable
    judgements: list[Variable]

    def abandon(self) -> None:
        """Nobody will read them."""
        abandon([self.output, *self.judgements])


def begun(answer: Answer, rows: Sequence[Row], judged: Callable[[int, Variable], list[Variable]]) -> list[Begun]:
    """Start the program on each row, in a thread of its own or where it is awaited, and what judges its output.

    Where the program fails on one row, what the others wait for is stopped.

    Args:
        answer: The program.
        rows: In the order of the results.
        judged: Starts the judgements of an output, by the row's number.

    Raises:
        NodeError: The program's own code failed; the message names the row.
        WordgradError: As the program met it. A refused request fails its row's output alone.
    """
    made: list[Begun] = []
    failed = False

    def beside(place: int, output: Variable) -> Begun:
        new = Begun(output, judged(place, output))
        made.append(new)
        if failed:  # on another row
            new.abandon()
        return new

    async def awaited(place: int) -> Begun:
        try:
            output = await answer(rows[place])
        except Exception as error:  # noqa: BLE001 - a user's code may raise anything
            output = _failed(rows[place], error)
        return beside(place, output)

    def one(place: int) -> Begun:
        try:
            output = answer(rows[place])
        except Exception as error:  # noqa: BLE001 - a user's code may raise anything
            output = _failed(rows[place], error)
        assert isinstance(output, Variable), "only an async program gives a coroutine"
        return beside(place, output)

    try:
        if inspect.iscoroutinefunction(answer):
            return dispatch.map(awaited, range(len(rows)))
        return dispatch.map(one, range(len(rows)))
    except BaseException:
        failed = True
        for each in made:
            each.abandon()
        raise


def settled(
    judgements: Sequence[Variable], places: Sequence[str], observer: Observer = unwatched, *, wide: int = 1
) -> list[Result | EngineError]:
    """The judgements in order, once they are there. Where one fails, the others are stopped.

    A request that the server refuses for what it says fails its own judgements alone: its error stands in their place.
    Where that is more than half of five rows or more, of each text, it is not what they say, and the first is raised.

    Args:
        judgements: Those of one text, row by row; or of several texts on the same rows.
        places: The rows', for messages.
        observer: Told after each row, and of each that was refused.
        wide: Judgements of one row.

    Raises:
        WordgradError: As an engine or a budget raised it; a caller's mistake, with the call that it was found in.
        NodeError: Code of the user's failed.
    """
    results: list[Result | EngineError] = []
    try:
        for first in range(0, len(judgements), wide):
            row = [_result(each) for each in judgements[first : first + wide]]
            results += row
            if refusals := [each for each in row if isinstance(each, EngineError)]:
                observer(Refused(places[first // wide % len(places)], str(refusals[0])))
            observer(Advance(first // wide + 1))
    except BaseException:
        abandon(judgements)
        raise
    if len(places) >= _ROWS:
        for number in range(wide):
            _require_answers(results[number::wide], len(places))
    return results


def said(output: Variable) -> str | None:
    """What a program answered; where it failed, how; None where its request was refused."""
    found = _result(output)
    return None if isinstance(found, EngineError) else found.failure or output.text


@contextmanager
def unwrapped() -> Generator[None]:
    """Raise what an engine, a budget or a caller's mistake raised, in place of the call that met it."""
    try:
        yield
    except NodeError as error:
        cause = _cause(error)
        if isinstance(cause, UsageError):
            raise UsageError(str(error)) from error
        if isinstance(cause, WordgradError):
            raise cause from error
        raise


def _result(variable: Variable) -> Result | EngineError:
    """The result, or the error of a server that refused its request."""
    try:
        with unwrapped():
            return variable.result
    except EngineError as error:
        if not error.refused:
            raise
        return error


def _require_answers(results: Sequence[Result | EngineError], rows: int) -> None:
    """Check that the server answers at least one of the texts, by one metric, on half of the rows."""
    texts = [results[first : first + rows] for first in range(0, len(results), rows)]
    refusals = [[each for each in text if isinstance(each, EngineError)] for text in texts]
    if all(2 * len(each) > rows for each in refusals):
        raise refusals[0][0]


def _failed(row: Row, error: Exception) -> Variable:
    """The output of a row whose request was refused where the program read the reply; every other error is raised."""
    cause = _cause(error)
    if isinstance(cause, EngineError) and cause.refused:
        return _Refusal(cause).apply(role_description="the output")
    if isinstance(error, WordgradError):
        raise error
    words = f"the program failed on {row.place}: {type(error).__name__}: {error}"
    raise NodeError(words, function="the program", role="the output", example=row.place) from error


def _cause(error: BaseException | None) -> BaseException | None:
    """What failed the first call of those that failed by each other."""
    while isinstance(error, NodeError):
        error = error.__cause__
    return error


class _Refusal(Function):
    """Fails as the call did that the program had read."""

    name = "the program"

    def __init__(self, error: EngineError) -> None:
        self.error = error

    async def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result:
        """Raise it."""
        raise self.error

    def backward(self, ctx: Context, grads: Sequence[Gradient]) -> Sequence[Feedback]:
        """Nothing is behind it."""
        return []
