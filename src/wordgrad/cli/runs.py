"""`wordgrad runs`: what was done, and going on with it."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from wordgrad.cli import optimize as main_job
from wordgrad.cli import steps as shown
from wordgrad.cli.branch import Branch, branch_off, branched, later_of
from wordgrad.cli.screen import print_json
from wordgrad.compose import Budget, Replay, Run, report
from wordgrad.compose.record import summarised
from wordgrad.compose.training import carried_out
from wordgrad.errors import StoreError, UsageError
from wordgrad.store import runs as kept
from wordgrad.store.database import Database
from wordgrad.train import config as configs
from wordgrad.train.build import rebuilt
from wordgrad.train.config import Config
from wordgrad.train.events import unwatched

app = typer.Typer(no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="A run's id, or its first letters.")]
Store = main_job.Store
_AROUND = 30
"""Characters before and after the first one that differs."""
AsJson = main_job.AsJson


@app.command("list")
def list_runs(store: Store = None, as_json: AsJson = False) -> None:
    """All runs, newest first."""
    with opened(store) as database:
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
        table.add_row(row.id, started, shown.visible(row.name), row.status, report.scores(row.report or {}), calls)
    Console().print(table)


@app.command()
def show(run: Id, store: Store = None, as_json: AsJson = False) -> None:
    """What a run found, step by step: what changed, the feedback that caused it, and what was decided."""
    with opened(store) as database:
        record = kept.record(database, run)
    if as_json:
        print_json({**_as_json(record.run), "steps": record.steps})
        return
    console = main_job.screen_console(as_json=False)
    console.print(shown.visible(f"{record.run.id}  {report.headline(record)}"))
    for step in record.steps:
        shown.show(step, console)
    decision = (record.run.report or {}).get("decision")
    if decision is not None:
        console.print(shown.visible(f"\n{decision['words']}."))
    for name, values in record.versions.items():
        console.print(shown.visible(f"\n{name}:", style="bold"))
        console.print(shown.visible(values[-1]))


@app.command()
def diff(run: Id, store: Store = None, as_json: AsJson = False) -> None:
    """How each text changed from the start to the end."""
    with opened(store) as database:
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
    form: Annotated[Literal["md", "html", "json"], typer.Option("--format", help="Of the whole run.")] = "md",
    variable: Annotated[str | None, typer.Option(help="The text of this variable alone.")] = None,
    store: Store = None,
) -> None:
    """A run as Markdown, a page of HTML or JSON, or one variable's text."""
    with opened(store) as database:
        record = kept.record(database, run)
    if variable is not None:
        if variable not in record.versions:
            known = ", ".join(record.versions) or "none"
            raise UsageError(f"run {record.run.id} has no variable {variable!r}; it has {known}")
        sys.stdout.write(record.versions[variable][-1] + "\n")
    elif form == "json":
        found = {"versions": record.versions, "steps": record.steps, "spent": [asdict(each) for each in record.spent]}
        print_json({**_as_json(record.run), **found})
    else:
        sys.stdout.write(report.markdown(record) if form == "md" else report.page(record))


@app.command()
def rm(run: Id, store: Store = None) -> None:
    """Delete a run."""
    with opened(store) as database:
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
    with opened(store) as database:
        row = kept.find(database, run)
        settings = _settings(database, row)
        budget = _budget(database, row, {"calls": budget_calls, "usd": budget_usd, "seconds": budget_seconds})
        starts = {name: texts[0] for name, texts in kept.versions(database, row.id).items()}
    config = _config(settings)
    console = main_job.screen_console(as_json=as_json)
    job = rebuilt(config, starts, engine_of=main_job.engines(config, settings["engine"]), seed=row.seed)
    job = branched(job, settings)
    main_job.require_weights(config, settings["engine"], console, yes=yes)
    with Run(_path(store), resume=row.id, budget=Budget(**budget)) as resumed:
        resumed.note("budget", budget)
        main_job.finish(
            resumed,
            job,
            config,
            console=console,
            seed=row.seed,
            write=settings["write"],
            as_json=as_json,
            store=store,
            later=later_of(settings, job),
        )


@app.command()
def replay(
    run: Id,
    from_step: Annotated[int | None, typer.Option(min=1, help="What is set holds from this step on.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as accept.alpha=0.1: branch, and see what if.")
    ] = None,
    budget_calls: main_job.Calls = None,
    budget_usd: main_job.Usd = None,
    budget_seconds: main_job.Seconds = None,
    store: Store = None,
    as_json: AsJson = False,
    yes: main_job.Yes = False,
) -> None:
    """Derive a run once more from its record, with no call, and check that every prompt, step and text is the same.

    With --set it branches: a new run with other settings, which pays only for what differs.
    """
    with opened(store) as database:
        record = kept.record(database, run)
        settings = _settings(database, record.run)
        endings = kept.events(database, record.run.id, "ending")
        openings = kept.events(database, record.run.id, "opening")
    budget = {"calls": budget_calls, "usd": budget_usd, "seconds": budget_seconds}
    if changes:
        set_to = dict(map(_change, changes))
        branch = Branch(record, settings, step=from_step or 1, changes=set_to, openings=openings)
        branch_off(branch, budget=budget, store=store, as_json=as_json, yes=yes)
    elif from_step is not None:
        raise UsageError("--from-step says from where on other settings hold: give them with --set key=value")
    elif any(limit is not None for limit in budget.values()):
        raise UsageError("a replay makes no call, so a budget is of a branch only: say with --set key=value what if")
    else:
        _check(record, settings, store=store, as_json=as_json, endings=endings)


def _change(given: str) -> tuple[str, object]:
    key, equals, value = given.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {given}: write key=value, as accept.alpha=0.1")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _check(
    record: kept.Record,
    settings: Mapping[str, Any],
    *,
    store: Path | None,
    as_json: bool,
    endings: list[dict[str, Any]],
) -> None:
    row = record.run
    if row.report is None:
        raise UsageError(f"run {row.id} has not ended ({row.status}): first wordgrad runs resume {row.id}")
    steps, versions = record.steps, record.versions
    config = _config(settings)
    starts = {name: texts[0] for name, texts in versions.items()}
    engine_of = main_job.engines(config, settings["engine"], unasked=True)
    job = branched(rebuilt(config, starts, engine_of=engine_of, seed=row.seed), settings)
    with Replay(_path(store), row.id) as again:
        outcome = carried_out(again, job, unwatched, seed=row.seed, later=later_of(settings, job))
        said = summarised(row.id, outcome, again.usage)
        made, (derived, recorded) = again.found(), again.calls
        ending = again.noted("ending")[-1:]
    # What the report says of calls, tokens and time is counted from the record itself.
    derivable = [name for name in ("status", "variables", "accepted", "decision", "test") if name in row.report]
    _require_same(
        {
            "steps": steps,
            "texts": versions,
            "ending": endings[-1:],
            "report": {name: row.report[name] for name in derivable},
        },
        {
            "steps": made.steps,
            "texts": made.versions,
            "ending": ending,
            "report": {name: said[name] for name in derivable},
        },
        run=row.id,
    )
    # One that was resumed after its end may have calls of a step that its budget ended.
    if derived < recorded and len(endings) < 2:  # noqa: PLR2004 - its end, and the resumed run's
        raise StoreError(f"run {row.id} comes out otherwise: it made {recorded} calls, and {derived} of them again")
    if as_json:
        print_json({"run": row.id, "calls": derived, "recorded": recorded, "steps": len(steps), "same": True})
        return
    took = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    found = f"{derived:,} calls, {took} and the texts of {', '.join(versions)} came out the same"
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


def _budget(database: Database, row: kept.RunRow, given: dict[str, float | None]) -> dict[str, Any]:
    """The limits of a resumed run: those that are given, else those that it had last.

    Raises:
        UsageError: The run has ended with a text that met the sealed rows, and no budget can take it further.
    """
    before = kept.budget_of(database, row.id)
    now = {**before, **{kind: limit for kind, limit in given.items() if limit is not None}}
    if now != before:
        kept.take_further(database, row)
    return now


def _settings(database: Database, row: kept.RunRow) -> dict[str, Any]:
    settings = kept.settings(database, row.id)
    if "source" not in settings:
        raise UsageError(f"run {row.id} ({row.name}) is none of `wordgrad optimize`: run its command again")
    return settings


def settings_of(database: Database, row: kept.RunRow) -> Config:
    """The configuration that a run was started with."""
    return _config(_settings(database, row))


def _config(settings: Mapping[str, Any]) -> Config:
    return configs.parse(settings["source"], Path(settings["config"]), settings.get("changes"))


def _path(store: Path | None) -> Path:
    return store or kept.default_path()


def opened(store: Path | None) -> Database:
    """The store that is there.

    Raises:
        UsageError: There is none.
    """
    path = _path(store)
    if not path.exists():
        raise UsageError(f"there is no store at {path}: no run was made yet, or name it with --store")
    return Database(path)


def _as_json(row: kept.RunRow) -> dict[str, Any]:
    return {
        "run": row.id,
        "name": row.name,
        "seed": row.seed,
        "started_at": row.started_at,
        "status": row.status,
        "report": row.report,
    }
