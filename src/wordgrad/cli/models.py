"""`wordgrad models`: the weights of the embedded engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from wordgrad.engines import weights
from wordgrad.errors import UsageError

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `wordgrad models list` shows it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Download without asking.")]


@app.command("list")
def list_models() -> None:
    """The catalogue, and what is on this machine."""
    table = Table("name", "size", "licence", "on this machine")
    for each in weights.CATALOGUE.values():
        here = "no" if weights.installed(each) is None else "yes"
        table.add_row(each.name, decimal(each.size), each.licence, here)
    Console().print(table)


@app.command()
def pull(name: Name = weights.DEFAULT, yes: Yes = False) -> None:
    """Download, verify and keep a model; goes on where an earlier pull stopped."""
    typer.echo(ensure(Console(stderr=True), yes=yes, name=name))


@app.command()
def path(name: Name = weights.DEFAULT) -> None:
    """Print where a model lies."""
    found = weights.installed(weights.find(name))
    if found is None:
        raise UsageError(f"{name} is not on this machine; run `wordgrad models pull {name}`")
    typer.echo(found)


@app.command()
def remove(name: Name) -> None:
    """Delete a model, and what an interrupted pull left of it."""
    removed = weights.remove(weights.find(name))
    typer.echo(f"{name} was removed" if removed else f"{name} was not on this machine")


def ensure(console: Console, *, yes: bool, name: str = weights.DEFAULT) -> Path:
    """Where the model lies, after a download if it is not there and the user agrees.

    Raises:
        UsageError: The user did not agree, or there is no terminal to ask on.
        EngineError: The download failed.
    """
    wanted = weights.find(name)
    found = weights.installed(wanted)
    if found is not None:
        return found
    places = ", else ".join(source.name for source in wanted.sources)
    console.print(
        f"{name}: {decimal(wanted.size)}, licence {wanted.licence}, from {places}", highlight=False, markup=False
    )
    if not yes:
        _ask(name)
    with _bar(console) as bar:
        task = bar.add_task("connecting", total=wanted.size)
        return weights.pull(wanted, progress=lambda what, done, _: bar.update(task, description=what, completed=done))


def _ask(name: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{name} is not on this machine; run `wordgrad models pull {name} --yes` to download it")
    if not typer.confirm("Download it?", err=True):
        raise UsageError(f"{name} was not downloaded; the embedded engine needs it")


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console)
