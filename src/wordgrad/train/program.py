"""What is optimised: one prompt, or a user's own program."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from wordgrad import dispatch
from wordgrad.core.function import no_grad
from wordgrad.core.module import Module
from wordgrad.core.value import Result, copied, text_form
from wordgrad.core.variable import Variable, held
from wordgrad.data.rows import Row
from wordgrad.errors import UsageError
from wordgrad.functions.llm import llm_call
from wordgrad.types import Engine, Sampling

Answer: TypeAlias = Callable[[Row], Variable | Coroutine[Any, Any, Variable]]
"""Starts the program on one row; returns its pending output. An `async def` where the user's program is one."""


class Program(Protocol):
    """Answers rows, with given values for its variables."""

    @property
    def parameters(self) -> Mapping[str, Variable]:
        """What is optimised, by name, in order."""

    def bound(self, values: Mapping[str, str] | None) -> AbstractContextManager[Answer]:
        """The program with its variables at `values`; with None the parameters themselves, and gradients.

        Calls may be made inside the `with` only; their results may be read later.
        """


def values_of(program: Program) -> dict[str, str]:
    """What the program's parameters hold now, by name.

    Raises:
        UsageError: One holds no text.
    """
    values = {name: each.value for name, each in program.parameters.items()}
    for name, value in values.items():
        if not isinstance(value, str):
            raise UsageError(
                f"variable {name!r} holds a {type(value).__name__}: training rewrites texts; give it a str"
            )
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class OnePrompt:
    """The built-in program: one system prompt, and a column as the user's message."""

    parameters: Mapping[str, Variable]
    engine: Engine
    options: Sampling
    column: str

    @contextmanager
    def bound(self, values: Mapping[str, str] | None) -> Generator[Answer]:
        """Ask the engine with the prompt at its value."""
        ((name, parameter),) = self.parameters.items()
        prompt = parameter if values is None else Variable(values[name], parameter.role_description)

        def answer(row: Row) -> Variable:
            asked = Variable(text_form(row[self.column]), self.column)
            return llm_call(prompt, asked, engine=self.engine, options=self.options, role_description="the answer")

        yield answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A user's `fn(variables, row)`, which returns a Variable; both arguments are dicts, by name and by column."""

    fn: Callable[[Mapping[str, Variable], Mapping[str, Any]], Variable | Coroutine[Any, Any, Variable]]
    parameters: Mapping[str, Variable]

    @contextmanager
    def bound(self, values: Mapping[str, str] | None) -> Generator[Answer]:
        """Call the function with Variables at `values`."""
        variables = self.parameters
        if values is not None:
            variables = {name: Variable(values[name], each.role_description) for name, each in variables.items()}

        def called(row: Row) -> object:
            return self.fn(variables, _columns(row))

        yield _answer(called, self.fn)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfModule:
    """A user's Module, called with a dict of the row's columns."""

    module: Module

    @property
    def parameters(self) -> Mapping[str, Variable]:
        """The Module's own."""
        return dict(self.module.named_parameters())

    @contextmanager
    def bound(self, values: Mapping[str, str] | None) -> Generator[Answer]:
        """Call the Module with its Variables at `values`; their own come back afterwards."""

        def called(row: Row) -> object:
            return self.module(_columns(row))

        answer = _answer(called, self.module)
        if values is None:
            yield answer
            return
        # Both flow into the threads that make calls, and into bodies that run later.
        with no_grad(), _holding(self.parameters, values):
            yield answer


@contextmanager
def _holding(parameters: Mapping[str, Variable], values: Mapping[str, str]) -> Generator[None]:
    # Not by assignment: that makes a new version, and the proposals that are being compared would be stale.
    token = held.set({id(each): Result(value=values[name]) for name, each in parameters.items()})
    try:
        yield
    finally:
        held.reset(token)


def load_attribute(spec: str, *, beside: Path) -> Any:  # noqa: ANN401 - a user's own object
    """The object that "module:attribute" names.

    The module, and what it imports itself, is looked for in `beside` (the folder of the configuration), then in the
    working folder, then where Python always looks. Both folders stay in `sys.path`, as a script's own folder does.

    Raises:
        UsageError: There is none.
    """
    module, colon, attribute = spec.partition(":")
    if not colon or not module or not attribute:
        raise UsageError(f'{spec!r}: write "module:attribute"')
    sys.path[:0] = [folder for folder in (str(beside.resolve()), str(Path.cwd())) if folder not in sys.path]
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:  # a user's module may raise anything
        raise UsageError(f"{spec!r} cannot be loaded: {type(error).__name__}: {error}") from error


def of_user(spec: str, parameters: Mapping[str, Variable], *, beside: Path) -> Program:
    """The program that a configuration names: a Module, its class, or a function of (variables, row).

    Raises:
        UsageError: It is none of these, or the variables are missing, or given twice.
    """
    found = load_attribute(spec, beside=beside)
    if inspect.isclass(found) and issubclass(found, Module):
        try:
            found = found()
        except TypeError as error:
            raise UsageError(f"{spec!r} cannot be made: {error}. Name an instance of it") from error
    return program_of(found, parameters, called=repr(spec), where="[variables.NAME]")


def program_of(found: object, parameters: Mapping[str, Variable], *, called: str, where: str) -> Program:
    """A Module, or a function of (variables, row), as a program.

    A Module is called with the row's columns and brings its own variables; a function is given `parameters`.

    Args:
        found: The user's object.
        parameters: The variables of a function; none for a Module.
        called: Its name in messages.
        where: Where the variables of a function are given, for messages.

    Raises:
        UsageError: It is neither, or the variables are missing, or given twice.
    """
    if isinstance(found, Module):
        if parameters:
            raise UsageError(f"{called} is a Module and brings its own variables: remove {where}")
        return OfModule(module=found)
    if callable(found) and len(inspect.signature(found).parameters) == 2:  # noqa: PLR2004 - variables and row
        if not parameters:
            raise UsageError(f"{called} is a function of (variables, row): name its variables in {where}")
        for name, each in parameters.items():
            if not isinstance(each, Variable):
                raise UsageError(
                    f"{where}{name!r} is a {type(each).__name__}: give a Variable that requires a gradient"
                )
            if not each.requires_grad:
                raise UsageError(
                    f"{where}{name!r} does not require a gradient, and is not rewritten: create it with "
                    "requires_grad=True, or let the function hold a text that stays"
                )
        return Plain(fn=found, parameters=parameters)
    raise UsageError(f"{called} is a {type(found).__name__}: name a Module, or a function (variables, row)")


def _columns(row: Row) -> dict[str, Any]:
    """For one call: what a program does to a list in it must reach no other text, and no metric."""
    return {name: copied(value) for name, value in row.columns.items()}


def _answer(called: Callable[[Row], Any], program: object) -> Answer:
    """The user's program as an `Answer`; async where it is."""
    if not dispatch.is_async(program):
        return lambda row: _checked(called(row), program)

    async def answer(row: Row) -> Variable:
        return _checked(await called(row), program)

    return answer


def _checked(output: object, program: object) -> Variable:
    if isinstance(output, Variable):
        return output
    raise UsageError(
        f"the program {getattr(program, '__name__', type(program).__name__)} returned a {type(output).__name__}: "
        "return the Variable that the last call gave"
    )
