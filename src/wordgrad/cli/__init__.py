"""The command `wordgrad`."""

from __future__ import annotations

import logging
import sys
import sysconfig
import traceback
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from wordgrad.cli import doctor, evaluate, models, optimize, review, runs
from wordgrad.cli.steps import visible
from wordgrad.errors import BudgetExceeded, EngineError, NodeError, UsageError, WordgradError

# With rich, help would take twice as long: it reads in a parser of Markdown.
app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("optimize")(optimize.optimize)
app.command("doctor")(doctor.doctor)
app.command("eval")(evaluate.evaluate)
app.command("estimate")(evaluate.estimate)
app.command("review")(review.review)
app.add_typer(runs.app, name="runs", help="Look at runs, resume and replay them, take their texts.")
app.add_typer(models.app, name="models", help="Weights of the embedded engine.")

_INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")
_NOT_USERS = (Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in _INSTALLED))
"""Wordgrad itself, and what is installed."""
_EXIT = {UsageError: 2, BudgetExceeded: 3, EngineError: 4}


def _told(asked: bool) -> None:
    if asked:
        typer.echo(f"wordgrad {version('wordgrad')}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[
        bool, typer.Option("--version", callback=_told, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """Automatic differentiation for text."""


def main() -> None:
    """Run the command line; errors are one message and an exit code.

    0 done, 1 another error, 2 usage, 3 the budget was spent before the end score, 4 a service failed, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A text may hold what the terminal's encoding has no sign for; in JSON the replacement is the same text.
            stream.reconfigure(errors="backslashreplace")
    # Its words name neither the engine nor the pause; both are events of the run.
    logging.getLogger("stamina").addHandler(logging.NullHandler())
    try:
        app()
    except Exception as error:
        place = _place(error)
        if place is None and not isinstance(error, WordgradError):
            raise  # a fault of our own: the whole traceback helps to mend it
        message = f"{error}" if isinstance(error, WordgradError) else f"{type(error).__name__}: {error}"
        said = f"error: {message}{f' (in {place})' if place else ''}"
        Console(stderr=True).print(visible(said, style="red"), soft_wrap=True)
        sys.exit(next((code for kind, code in _EXIT.items() if isinstance(error, kind)), 1))


def _place(error: BaseException) -> str | None:
    """Where in the user's own code an error came up; None where it did not."""
    cause: BaseException | None = error
    while isinstance(cause, NodeError):
        cause = cause.__cause__
    if cause is None or isinstance(cause, WordgradError):
        return None
    frames = [each for each in traceback.extract_tb(cause.__traceback__) if _is_users(each.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}, {frames[-1].name}" if frames else None


def _is_users(file: str) -> bool:
    path = Path(file)
    return path.is_file() and not any(path.is_relative_to(folder) for folder in _NOT_USERS)
