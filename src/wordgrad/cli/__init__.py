"""The command `wordgrad`."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from wordgrad.cli import evaluate, models, optimize, runs
from wordgrad.errors import BudgetExceeded, EngineError, UsageError, WordgradError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("optimize")(optimize.optimize)
app.command("eval")(evaluate.evaluate)
app.command("estimate")(evaluate.estimate)
app.add_typer(runs.app, name="runs", help="Look at runs, resume them, take their texts.")
app.add_typer(models.app, name="models", help="Weights of the embedded engine.")

_EXIT = {UsageError: 2, BudgetExceeded: 3, EngineError: 4}


@app.callback()
def root() -> None:
    """Automatic differentiation for text."""


def main() -> None:
    """Run the command line; errors are one message and an exit code.

    0 done, 1 another error, 2 usage, 3 the budget was spent before the end score, 4 a service failed, 130 interrupted.
    """
    try:
        app()
    except WordgradError as error:
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False, markup=False)
        sys.exit(next((code for kind, code in _EXIT.items() if isinstance(error, kind)), 1))
    except KeyboardInterrupt:
        sys.exit(130)
