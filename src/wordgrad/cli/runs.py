"""`wordgrad runs`: what was done, and going on with it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from wordgrad.cli import optimize as main_job
from wordgrad.cli.screen import coloured
from wordgrad.compose import Budget, Run
from wordgrad.errors import UsageError
from wordgrad.store import runs as kept
from wordgrad.store.database import Database
from wordgrad.train import config as configs
from wordgrad.train import job as jobs

app = typer.Typer(no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="A run's id, or its first letters.")]
Store = main_job.Store
AsJson = main_job.AsJson


@app.command("list")
def list_runs(store: Store = None, as_json: AsJson = False) -> None:
    """All runs, newest first."""
    rows = kept.runs(_opened(store))
    if as_json:
        _print_json([_as_json(row) for row in rows])
        return
    table = Table("id", "started", "name", "status", "test", "calls")
    for row in rows:
        report = row.report or {}
        started = datetime.fromtimestamp(row.started_at, tz=UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(row.id, started, row.name, row.status, _gain(report), str(report.get("calls", "")))
    Console().print(table)


@app.command()
def show(run: Id, store: Store = None, as_json: AsJson = False) -> None:
    """What a run found, step by step."""
    database = _opened(store)
    row = kept.find(database, run)
    steps = kept.steps(database, row.id)
    if as_json:
        _print_json({**_as_json(row), "steps": steps})
        return
    console = Console()
    console.print(f"{row.id}  {row.name}  seed {row.seed}  {row.status}  {_gain(row.report or {})}", highlight=False)
    for step in steps:
        console.print(f"step {step['number']}: {step['reason']}", highlight=False, markup=False)
    for name, values in kept.versions(database, row.id).items():
        console.print(f"\n{name}:", style="bold")
        console.print(values[-1], highlight=False, markup=False)


@app.command()
def diff(run: Id, store: Store = None, as_json: AsJson = False) -> None:
    """How each text changed from the start to the end."""
    database = _opened(store)
    versions = kept.versions(database, kept.find(database, run).id)
    if as_json:
        _print_json([{"name": name, "start": each[0], "end": each[-1]} for name, each in versions.items()])
        return
    for name, values in versions.items():
        Console().print(f"{name}:", style="bold")
        Console().print(coloured(values[0], values[-1]))


@app.command()
def export(
    run: Id,
    form: Annotated[Literal["md", "json"], typer.Option("--format", help="Of the whole run.")] = "md",
    variable: Annotated[str | None, typer.Option(help="The text of this variable alone.")] = None,
    store: Store = None,
) -> None:
    """A run as Markdown or JSON, or one variable's text."""
    database = _opened(store)
    row = kept.find(database, run)
    versions = kept.versions(database, row.id)
    if variable is not None:
        if variable not in versions:
            raise UsageError(f"run {row.id} has no variable {variable!r}; it has {', '.join(versions) or 'none'}")
        sys.stdout.write(versions[variable][-1] + "\n")
        return
    steps = kept.steps(database, row.id)
    if form == "json":
        _print_json({**_as_json(row), "versions": versions, "steps": steps})
        return
    sys.stdout.write(_markdown(row, versions, steps))


@app.command()
def rm(run: Id, store: Store = None) -> None:
    """Delete a run."""
    database = _opened(store)
    row = kept.find(database, run)
    kept.remove(database, row.id)
    Console().print(f"removed {row.id}", highlight=False)


@app.command()
def resume(run: Id, store: Store = None, as_json: AsJson = False) -> None:
    """Go on with a run that was interrupted: what it did is read, not done again."""
    path = _path(store)
    settings = kept.settings(Database(path), kept.find(Database(path), run).id)
    config = configs.parse(settings["source"], Path(settings["config"]))
    console = Console(stderr=as_json, soft_wrap=not sys.stdout.isatty())
    engine_of = main_job.engines(config, console, yes=False)
    with Run(path, resume=kept.find(Database(path), run).id, budget=Budget(**settings["budget"])) as resumed:
        job = jobs.build(config, engine_of=engine_of, seed=resumed.seed)
        main_job.finish(
            resumed, job, config, console=console, seed=resumed.seed, write=settings["write"], as_json=as_json
        )


def _path(store: Path | None) -> Path:
    return store or kept.default_path()


def _opened(store: Path | None) -> Database:
    path = _path(store)
    if not path.exists():
        raise UsageError(f"there is no store at {path}: no run was made yet, or name it with --store")
    return Database(path)


def _gain(report: Any) -> str:  # noqa: ANN401 - JSON
    test = report.get("test") or {}
    if test.get("start") is None:
        return ""
    end = "not measured" if test["end"] is None else f"{test['end']:.1%}"
    return f"{test['start']:.1%} → {end}"


def _as_json(row: kept.RunRow) -> dict[str, Any]:
    return {
        "run": row.id,
        "name": row.name,
        "seed": row.seed,
        "started_at": row.started_at,
        "status": row.status,
        "report": row.report,
    }


def _markdown(row: kept.RunRow, versions: dict[str, list[str]], steps: list[dict[str, Any]]) -> str:
    lines = [f"# Run {row.id}", "", f"{row.name}, seed {row.seed}, {row.status}. {_gain(row.report or {})}", ""]
    for step in steps:
        lines += [f"- Step {step['number']}: {step['reason']}"]
    for name, values in versions.items():
        for title, text in (("start", values[0]), ("end", values[-1])):
            # Longer than any fence in the text, so that no text can end its own block.
            fence = "`" * max(3, 1 + max((len(each) for each in _ticks(text)), default=0))
            lines += ["", f"## {name}: {title}", "", f"{fence}text", text, fence]
    return "\n".join(lines) + "\n"


def _ticks(text: str) -> list[str]:
    return "".join(char if char == "`" else " " for char in text).split()


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
