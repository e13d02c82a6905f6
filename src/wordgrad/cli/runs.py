"""`wordgrad runs`: what was done, and going on with it."""

from __future__ import annotations

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
from wordgrad.compose import Budget, Run, report
from wordgrad.compose.replay import derived
from wordgrad.errors import UsageError
from wordgrad.store import runs as kept
from wordgrad.store.database import Database
from wordgrad.train import config as configs
from wordgrad.train.build import rebuilt
from wordgrad.train.config import Config
from wordgrad.train.review import Review

app = typer.Typer(no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="A run's id, or its first letters.")]
Store = main_job.Store
AsJson = main_job.AsJson


@app.command("list")
def list_runs(store: Store = None, as_json: AsJson = False) -> None:
    """All runs, newest first."""
    with opened(store) as database:
        rows = kept.runs(database)
        reviews = {row.id: kept.labelled(database, row.id) for row in rows}
    if as_json:
        print_json([_as_json(row, reviews[row.id]) for row in rows])
        return
    table = Table()
    columns = ["id", "started", "name", "status", "score", "calls"]
    if any(reviews.values()):
        columns.append("labels")
    for column in columns:
        table.add_column(column, no_wrap=column == "id")
    for row in rows:
        started = datetime.fromtimestamp(row.started_at, tz=UTC).strftime("%Y-%m-%d %H:%M")
        calls = str((row.report or {}).get("calls", ""))
        scores, labels = report.scores(row.report or {}), _said(reviews[row.id])
        cells = (row.id, started, shown.visible(row.name), row.status, scores, calls, labels)
        table.add_row(*cells[: len(columns)])
    Console().print(table)


@app.command()
def show(run: Id, store: Store = None, as_json: AsJson = False) -> None:
    """What a run found, step by step: what changed, the feedback that caused it, and what was decided."""
    with opened(store) as database:
        record = kept.record(database, run)
    if as_json:
        print_json({**_as_json(record.run, record.review), "end": record.end, "steps": record.steps})
        return
    console = main_job.screen_console(as_json=False)
    console.print(shown.visible(f"{record.run.id}  {report.headline(record)}"))
    for step in record.steps:
        shown.show(step, console)
    if words := (record.run.report or {}).get("words"):
        console.print(shown.visible(f"\n{words}."))
    if record.review is not None:
        console.print(shown.visible(f"\n{record.review.words}."))
    for name, text in record.end.items():
        console.print(shown.visible(f"\n{name}:", style="bold"))
        console.print(shown.visible(text))


@app.command()
def diff(run: Id, store: Store = None, as_json: AsJson = False) -> None:
    """How each text changed from the start to the end."""
    with opened(store) as database:
        row = kept.find(database, run)
        starts, end = kept.starts(database, row.id), kept.end(database, row.id)
    if as_json:
        print_json([{"name": name, "start": text, "end": end[name]} for name, text in starts.items()])
        return
    console = main_job.screen_console(as_json=False)
    for name, text in starts.items():
        console.print(shown.visible(f"{name}:", style="bold"))
        console.print(shown.changes(text, end[name], colours=shown.has_colours(console)))


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
        if variable not in record.end:
            known = ", ".join(record.end) or "none"
            raise UsageError(f"run {record.run.id} has no variable {variable!r}; it has {known}")
        sys.stdout.write(record.end[variable] + "\n")
    elif form == "json":
        spent = [asdict(each) for each in record.spent]
        found = {"end": record.end, "versions": record.versions, "steps": record.steps, "spent": spent}
        print_json({**_as_json(record.run, record.review), **found})
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
    budget_tokens: main_job.Tokens = None,
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
        given = {"calls": budget_calls, "tokens": budget_tokens, "usd": budget_usd, "seconds": budget_seconds}
        budget = _budget(database, row, given)
        starts, said = kept.starts(database, row.id), kept.labelled(database, row.id)
    config = _config(settings)
    console = main_job.screen_console(as_json=as_json)
    job = rebuilt(config, starts, engine_of=main_job.engines(config, settings["engine"]), seed=row.seed)
    job = branched(job, settings)
    main_job.require_weights(config, settings["engine"], console, yes=yes)
    with Run(_path(store), resume=row.id, budget=Budget(**budget), cache=settings.get("cache", False)) as resumed:
        resumed.note("budget", budget)
        main_job.finish(
            resumed,
            job,
            config,
            console=console,
            seed=row.seed,
            # The metric's choice would overwrite what a review has put there.
            write=settings["write"] and (said is None or said.decided is None),
            as_json=as_json,
            store=store,
            later=later_of(settings, job),
        )
    if said is not None:
        console.print(shown.visible(f"{said.words}."))


@app.command()
def replay(
    run: Id,
    from_step: Annotated[int | None, typer.Option(min=1, help="What is set holds from this step on.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as accept.alpha=0.1: branch, and see what if.")
    ] = None,
    budget_calls: main_job.Calls = None,
    budget_tokens: main_job.Tokens = None,
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
        openings = kept.events(database, record.run.id, "opening")
    budget = {"calls": budget_calls, "tokens": budget_tokens, "usd": budget_usd, "seconds": budget_seconds}
    if changes:
        set_to = dict(map(_change, changes))
        branch = Branch(record, settings, step=from_step or 1, changes=set_to, openings=openings)
        branch_off(branch, budget=budget, store=store, as_json=as_json, yes=yes)
    elif from_step is not None:
        raise UsageError("--from-step says from where on other settings hold: give them with --set key=value")
    elif any(limit is not None for limit in budget.values()):
        raise UsageError("a replay makes no call, so a budget is of a branch only: say with --set key=value what if")
    else:
        _check(record, settings, store=store, as_json=as_json)


def _change(given: str) -> tuple[str, object]:
    key, equals, value = given.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {given}: write key=value, as accept.alpha=0.1")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _check(record: kept.Record, settings: Mapping[str, Any], *, store: Path | None, as_json: bool) -> None:
    row, config = record.run, _config(settings)
    engine_of = main_job.engines(config, settings["engine"], unasked=True)
    job = branched(rebuilt(config, record.starts, engine_of=engine_of, seed=row.seed), settings)
    found = derived(_path(store), row.id, job, later=later_of(settings, job))
    steps = len(record.steps)
    if as_json:
        counts = {"calls": found.calls, "recorded": found.recorded, "steps": steps}
        print_json({"run": row.id, **counts, "same": True})
        return
    took = "1 step" if steps == 1 else f"{steps} steps"
    same = f"{found.calls:,} calls, {took} and the texts of {', '.join(record.versions)} came out the same"
    main_job.screen_console(as_json=False).print(shown.visible(f"run {row.id}: {same}, byte for byte"))


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


_IN_CODE = (
    "go on with it in code, by fit(…, store=…, resume=ID) or replay(…, store=…, run=ID), or run its command again"
)


def _settings(database: Database, row: kept.RunRow, otherwise: str = _IN_CODE) -> dict[str, Any]:
    """What `wordgrad optimize` was given; what to do otherwise, where it did not make the run."""
    settings = kept.settings(database, row.id)
    if "source" not in settings:
        raise UsageError(f"run {row.id} ({row.name}) is none of `wordgrad optimize`: {otherwise}")
    return settings


def configured(database: Database, row: kept.RunRow) -> Config:
    """The configuration of a run whose texts have files.

    Raises:
        UsageError: It was made in code.
    """
    take = f"leave --write out, and take the texts with wordgrad runs export {row.id} --variable NAME"
    return _config(_settings(database, row, otherwise=take))


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


def review_as_json(review: Review) -> dict[str, object]:
    """What labels say, with all that follows from it."""
    follows = ("labels", "p", "proved", "blocked", "decided", "words")
    return {**asdict(review), **{name: getattr(review, name) for name in follows}}


def _said(review: Review | None) -> str:
    """Whom the labels are for, in a word or two."""
    if review is None:
        return ""
    return {"start": "the start", "found": "the new text", None: "undecided"}[review.decided]


def _as_json(row: kept.RunRow, review: Review | None) -> dict[str, Any]:
    return {
        "run": row.id,
        "name": row.name,
        "seed": row.seed,
        "started_at": row.started_at,
        "status": row.status,
        "report": row.report,
        "review": None if review is None else review_as_json(review),
    }
