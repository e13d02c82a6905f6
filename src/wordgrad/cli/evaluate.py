"""`wordgrad eval` and `wordgrad estimate`: what a text scores, and what a run would take."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from wordgrad.cli.optimize import AsJson, Settings, Store, Yes, engines
from wordgrad.compose import Run
from wordgrad.errors import UsageError
from wordgrad.train import config as configs
from wordgrad.train import job as jobs
from wordgrad.train.estimate import estimated


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
    console = Console(stderr=as_json)
    engine_of = engines(settings, console, yes=yes)
    with Run(store, name=f"eval {config}") as run:
        job = jobs.build(settings, engine_of=engine_of, seed=0)
        values = {name: str(each.value) for name, each in job.task.program.parameters.items()}
        values |= _given(variable or [], list(values))
        scores = job.task.scores(job.splits.test, values)
        calls = run.usage.calls
    if as_json:
        found = {"n": len(scores.values), "score": scores.mean, "passed": sum(scores.passed), "calls": calls}
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        mean = "-" if scores.mean is None else f"{scores.mean:.1%}"
        console.print(f"{mean} on {len(scores.values)} test rows, {sum(scores.passed)} passed, {calls} calls")


def estimate(config: Settings, as_json: AsJson = False, yes: Yes = False) -> None:
    """Predict the calls, tokens and money of a run: exact where they are fixed, else bounds."""
    settings = configs.load(config)
    console = Console(stderr=as_json)
    engine_of = engines(settings, console, yes=yes)
    found = estimated(jobs.build(settings, engine_of=engine_of, seed=0), settings, engine_of)
    if as_json:
        sys.stdout.write(json.dumps(found.as_json()) + "\n")
        return
    table = Table("", "calls, at least", "at most", "tokens, at most", "US$, at most")
    for part in (*found.parts, found.total):
        money = "unknown" if part.usd is None else f"{part.usd:.4f}"
        table.add_row(part.name, str(part.least), str(part.most), str(part.tokens), money)
    console.print(table)


def _given(pairs: list[str], known: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not equals or name not in known:
            raise UsageError(f"--variable {pair}: write name=file with one of the names {', '.join(known)}")
        try:
            found[name] = Path(file).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise UsageError(f"--variable {pair}: {file} cannot be read: {error.strerror}") from error
    return found
