"""`wordgrad runs`: what was done, and going on with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from wordgrad.cli import optimize as main_job
from wordgrad.cli import steps as shown
from wordgrad.cli.allowance import Allowance
from wordgrad.cli.screen import Unwatched, percent, print_json
from wordgrad.compose import Budget, Replay, Run
from wordgrad.errors import StoreError, UsageError
from wordgrad.store import runs as kept
from wordgrad.store.database import Database
from wordgrad.train import config as configs
from wordgrad.train import job as jobs
from wordgrad.train.config import Config
from wordgrad.train.job import Job

app = typer.Typer(no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="A run's id, or its first letters.")]
Store = main_job.Store
_AROUND = 30
"""Characters before and after the first one that differs."""
AsJson = main_job.AsJson


@app.command("list")
def list_runs(store: Store = None, as_json: AsJson = False) -> None:
    """All runs, newest first."""
    with _opened(store) as database:
        rows = kept.runs(database)
    if as_json:
        print_json([_as_json(row) for row in rows])
        return
    table = Table()
    for column in ("id", "started", "name", "status", "test", "calls"):
        table.add_column(column, no_wrap=column == "id")
    for row in rows:
        started = datetime.fromtimestamp(row.started_at, tz=UTC).strftime("%Y-%m-%d %H:%M")
        calls = str((row.report or {}).get("calls", ""))
        table.add_row(row.id, started, shown.visible(row.name), row.status, _gain(row.report or {}), calls)
    Console().print(table)


@app.command()
def show(run: Id, store: Store = None, as_json: AsJson = False) -> None:
    """What a run found, step by step: what changed, and the feedback that caused it."""
    with _opened(store) as database:
        row = kept.find(database, run)
        steps, versions = kept.steps(database, row.id), kept.versions(database, row.id)
    if as_json:
        print_json({**_as_json(row), "steps": steps})
        return
    console = main_job.screen_console(as_json=False)
    console.print(shown.visible(f"{row.id}  {_headline(row)}"))
    for step in steps:
        shown.show(step, console)
    for name, values in versions.items():
        console.print(shown.visible(f"\n{name}:", style="bold"))
        console.print(shown.visible(values[-1]))


@app.command()
def diff(run: Id, store: Store = None, as_json: AsJson = False) -> None:
    """How each text changed from the start to the end."""
    with _opened(store) as database:
        versions = kept.versions(database, kept.find(database, run).id)
    if as_json:
        print_json([{"name": name, "start": each[0], "end": each[-1]} for name, each in versions.items()])
        return
    console = main_job.screen_console(as_json=False)
    for name, values in versions.items():
        console.print(shown.visible(f"{name}:", style="bold"))
        console.print(shown.changes(values[0], values[-1], colours=shown.has_colours(console)))


@app.command()
def export(
    run: Id,
    form: Annotated[Literal["md", "json"], typer.Option("--format", help="Of the whole run.")] = "md",
    variable: Annotated[str | None, typer.Option(help="The text of this variable alone.")] = None,
    store: Store = None,
) -> None:
    """A run as Markdown or JSON, or one variable's text."""
    with _opened(store) as database:
        row = kept.find(database, run)
        steps, versions = kept.steps(database, row.id), kept.versions(database, row.id)
    if variable is not None:
        if variable not in versions:
            raise UsageError(f"run {row.id} has no variable {variable!r}; it has {', '.join(versions) or 'none'}")
        sys.stdout.write(versions[variable][-1] + "\n")
    elif form == "json":
        print_json({**_as_json(row), "versions": versions, "steps": steps})
    else:
        sys.stdout.write(_markdown(row, versions, steps))


@app.command()
def rm(run: Id, store: Store = None) -> None:
    """Delete a run."""
    with _opened(store) as database:
        row = kept.find(database, run)
        kept.remove(database, row.id)
    Console().print(f"removed {row.id}", highlight=False)


@app.command()
def resume(
    run: Id,
    budget_calls: main_job.Calls = None,
    budget_usd: main_job.Usd = None,
    budget_seconds: main_job.Seconds = None,
    store: Store = None,
    as_json: AsJson = False,
    yes: main_job.Yes = False,
) -> None:
    """Go on with a run that was interrupted, or whose budget ended it: what it did is read, not done again.

    Limits that are not given are those that it had last; all count from its start.
    """
    with _opened(store) as database:
        row = kept.find(database, run)
        settings = _settings(database, row)
        budget = _budget(database, row, {"calls": budget_calls, "usd": budget_usd, "seconds": budget_seconds})
        starts = {name: texts[0] for name, texts in kept.versions(database, row.id).items()}
    config = configs.parse(settings["source"], Path(settings["config"]))
    console = main_job.screen_console(as_json=as_json)
    job = rebuilt(config, starts, engine_of=main_job.engines(config, settings["engine"]), seed=row.seed)
    main_job.require_weights(config, settings["engine"], console, yes=yes)
    with Run(_path(store), resume=row.id, budget=Budget(**budget)) as resumed:
        resumed.note("budget", budget)
        main_job.finish(
            resumed, job, config, console=console, seed=row.seed, write=settings["write"], as_json=as_json, store=store
        )


@app.command()
def replay(run: Id, store: Store = None, as_json: AsJson = False) -> None:
    """Derive a run once more from its record, with no call, and check that every prompt, step and text is the same."""
    with _opened(store) as database:
        row = kept.find(database, run)
        settings = _settings(database, row)
        if row.report is None:
            raise UsageError(f"run {row.id} has not ended ({row.status}): first wordgrad runs resume {row.id}")
        steps, versions = kept.steps(database, row.id), kept.versions(database, row.id)
        ends = kept.events(database, row.id, "ending")[:-1]
    config = configs.parse(settings["source"], Path(settings["config"]))
    starts = {name: texts[0] for name, texts in versions.items()}
    engine_of = main_job.engines(config, settings["engine"], unasked=True)
    job = rebuilt(config, starts, engine_of=engine_of, seed=row.seed)
    with Replay(_path(store), row.id) as again:
        watcher = main_job.Journal(again, Unwatched())
        watcher.keep(job.task.program.parameters)
        outcome = jobs.run(job, seed=row.seed, watcher=watcher, allowance=Allowance(again), ends=ends)
        report = main_job.summarised(row.id, outcome, again.usage)
        (steps_again, versions_again), (derived, recorded) = again.found(), again.calls
    # What the report says of calls, tokens and time is counted from the record itself.
    derivable = [
        name for name in ("status", "variables", "test", "gain", "validation", "accepted") if name in row.report
    ]
    _require_same(
        {"steps": steps, "texts": versions, "report": {name: row.report[name] for name in derivable}},
        {"steps": steps_again, "texts": versions_again, "report": {name: report[name] for name in derivable}},
        run=row.id,
    )
    # The scores of an end from which the run went on stand in the record, and are not derived.
    if derived < recorded and not ends:
        raise StoreError(f"run {row.id} comes out otherwise: it made {recorded} calls, and {derived} of them again")
    if as_json:
        print_json({"run": row.id, "calls": derived, "recorded": recorded, "steps": len(steps), "same": True})
        return
    took = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    of = "" if derived == recorded else f" of {recorded:,}"
    found = f"{derived:,}{of} calls, {took} and the texts of {', '.join(versions)} came out the same"
    main_job.screen_console(as_json=False).print(shown.visible(f"run {row.id}: {found}, byte for byte"))


def _require_same(before: object, now: object, *, run: str, place: str = "") -> None:
    """Raise StoreError with the first place where two JSON values differ."""
    before, now = (json.loads(json.dumps(each)) for each in (before, now))
    if before == now:
        return
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        for name in before:
            _require_same(before[name], now[name], run=run, place=f"{place} {name}")
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, (old, new) in enumerate(zip(before, now, strict=True), start=1):
            _require_same(old, new, run=run, place=f"{place} {number}")
    texts = [json.dumps(each, ensure_ascii=False) for each in (before, now)]
    pairs = enumerate(zip(*texts, strict=False))
    start = max(next(place for place, (old, new) in pairs if old != new) - _AROUND, 0)
    old, new = (f"{'…' if start else ''}{each[start : start + 2 * _AROUND]}" for each in texts)
    raise StoreError(f"run {run} comes out otherwise:{place} was recorded as {old}, and is {new} now")


def rebuilt(config: Config, starts: Mapping[str, str], *, engine_of: jobs.EngineOf, seed: int) -> Job:
    """The job of a run with the texts that it began with: a prompt's file may have been written since.

    Raises:
        UsageError: The program has no such variables any more.
    """
    job = jobs.build(config, engine_of=engine_of, seed=seed)
    for name, text in starts.items():
        if name not in job.task.program.parameters:
            raise UsageError(f"the program changed: it has no variable {name!r}, which the run began with")
        job.task.program.parameters[name].value = text
    return job


def _budget(database: Database, row: kept.RunRow, given: dict[str, float | None]) -> dict[str, Any]:
    """The limits of a resumed run: those that are given, else those that it had last."""
    changed = {kind: limit for kind, limit in given.items() if limit is not None}
    if changed:
        kept.lift_limits(database, row.id)
    before = [kept.settings(database, row.id)["budget"], *kept.events(database, row.id, "budget")]
    return {**before[-1], **changed}


def _settings(database: Database, row: kept.RunRow) -> dict[str, Any]:
    settings = kept.settings(database, row.id)
    if "source" not in settings:
        raise UsageError(f"run {row.id} ({row.name}) is none of `wordgrad optimize`: run its command again")
    return settings


def _path(store: Path | None) -> Path:
    return store or kept.default_path()


def _opened(store: Path | None) -> Database:
    path = _path(store)
    if not path.exists():
        raise UsageError(f"there is no store at {path}: no run was made yet, or name it with --store")
    return Database(path)


def _gain(report: Any) -> str:  # noqa: ANN401 - JSON
    if "score" in report:
        return percent(report["score"])
    test = report.get("test")
    if test is None:
        return ""
    end = "not measured" if report["status"] == "unmeasured" else percent(test["end"])
    return f"{percent(test['start'])} → {end}"


def _headline(row: kept.RunRow) -> str:
    return f"{row.name}, seed {row.seed}, {row.status}. {_gain(row.report or {})}".rstrip()


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
    lines = [f"# Run {row.id}", "", _headline(row), ""]
    for step in steps:
        lines += shown.markdown(step)
    for name, values in versions.items():
        for title, text in (("start", values[0]), ("end", values[-1])):
            lines += [f"## {name}: {title}", "", *shown.fenced(text), ""]
    return "\n".join(lines)
