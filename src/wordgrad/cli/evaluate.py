"""`wordgrad eval` and `wordgrad estimate`: what a text scores, and what a run would take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from wordgrad.cli.optimize import AsJson, Settings, Store, Yes, prepared, require_weights
from wordgrad.cli.screen import Screen, print_json
from wordgrad.compose import Run
from wordgrad.compose.report import shown
from wordgrad.data import rows as files
from wordgrad.engines.preflight import preflight
from wordgrad.errors import UsageError
from wordgrad.store.runs import default_path
from wordgrad.train import config as configs
from wordgrad.train.estimate import estimated
from wordgrad.train.events import Phase
from wordgrad.train.program import values_of


def evaluate(
    config: Settings,
    variable: Annotated[
        list[str] | None, typer.Option(help="name=file: this text instead of the configured one.")
    ] = None,
    as_json: AsJson = False,
    store: Store = None,
    yes: Yes = False,
) -> None:
    """Score the configured texts, or others, on the test rows."""
    settings = configs.load(config)
    if settings.data.test is None:
        raise UsageError(f"{settings.at('data')}: eval scores on test rows: name their file as test")
    console, default, engine_of, job = prepared(settings, as_json=as_json)
    values = values_of(job.task.program)
    values |= _given(variable or [], list(values))
    require_weights(settings, default, console, yes=yes)
    test = job.splits.test
    with Run(store or default_path(), name=f"eval {config.resolve().parent.name}") as run:
        with Screen(console, lambda: run.usage) as screen:
            screen(Phase("asking each engine once", 1))
            preflight([engine_of(table) for table in settings.scoring])
            screen(Phase("scoring the test rows", len(test)))
            scores = job.task.scores(test, values, observer=screen)
        unjudged = scores.values.count(None)
        found = {
            "n": len(test),
            "score": scores.mean,
            "passed": sum(scores.passed),
            "unjudged": unjudged,
            "calls": run.usage.calls,
        }
        run.note("end", {"status": "done", **found})
    if as_json:
        print_json(found)
    else:
        score = shown(scores.mean)
        missed = f" ({unjudged} could not be judged)" if unjudged else ""
        console.print(f"{score} on {len(test)} test rows{missed}, {found['passed']} passed, {found['calls']} calls")


def estimate(config: Settings, as_json: AsJson = False) -> None:
    """Bound the calls, tokens and money of a run, asking nobody.

    The least calls are those of a run with nothing to learn. What a run will likely take is what `wordgrad doctor`
    says, which asks.
    """
    settings = configs.load(config)
    console, _, engine_of, job = prepared(settings, as_json=as_json)
    found = estimated(job, settings, engine_of)
    if as_json:
        print_json(found.as_json())
        return
    table = Table("", "calls, at least", "at most", "tokens, at most", "US$, at most")
    for part in (*found.parts, found.total):
        money = "unknown" if part.usd is None else f"{part.usd:,.4f}"
        table.add_row(part.name, f"{part.least:,}", f"{part.most:,}", f"{part.tokens:,}", money)
    console.print(table)
    if found.limit:
        console.print(found.limit)


def _given(pairs: list[str], known: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not equals or name not in known:
            raise UsageError(f"--variable {pair}: write name=file with one of the names {', '.join(known)}")
        try:
            found[name] = files.text(Path(file)).rstrip("\n")
        except UsageError as error:
            raise UsageError(f"--variable {pair}: {error}") from error
    return found
