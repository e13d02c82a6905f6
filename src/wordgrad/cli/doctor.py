"""`wordgrad doctor`: is a run worth its money?"""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from wordgrad.cli.optimize import AsJson, Settings, Store, Yes, prepared, require_weights
from wordgrad.cli.screen import Screen, percent, print_json
from wordgrad.compose import Run
from wordgrad.data.rows import Row
from wordgrad.engines.preflight import preflight
from wordgrad.store.runs import default_path
from wordgrad.train import config as configs
from wordgrad.train.checkup import Checkup, check_metric, checkup
from wordgrad.train.estimate import Part, estimated
from wordgrad.train.evaluate import Scores
from wordgrad.train.job import Job


def doctor(
    config: Settings,
    rows: Annotated[int | None, typer.Option(min=1, help="Validation rows to look at; all where not given.")] = None,
    seed: Annotated[int, typer.Option(help="Of the rows that are looked at.")] = 0,
    as_json: AsJson = False,
    store: Store = None,
    yes: Yes = False,
) -> None:
    """Ask each engine, score the start twice, and say what a run could gain and would cost."""
    settings = configs.load(config)
    console, default, engine_of, job = prepared(settings, seed=seed, as_json=as_json)
    require_weights(settings, default, console, yes=yes)
    looked_at = list(job.splits.validation)
    random.Random(f"doctor {seed}").shuffle(looked_at)  # noqa: S311 - no secret
    looked_at = looked_at[:rows]

    @contextmanager
    def opened() -> Generator[tuple[Run, Screen]]:
        name = f"doctor {config.resolve().parent.name}"
        with Run(store or default_path(), seed=seed, name=name) as run, Screen(console, lambda: run.usage) as screen:
            yield run, screen

    with opened() as (run, screen):
        screen.phase("asking each engine once", 1)
        preflight(job.engines)
        known = check_metric(job, settings)
        first, calls = _scored(job, looked_at, run, screen, "the start"), run.usage.calls
    # In a run of its own: in one, the same request has one reply, and nothing would differ.
    with opened() as (run, screen):
        again, calls = _scored(job, looked_at, run, screen, "the start once more"), calls + run.usage.calls
    found, run_takes = checkup(job, first, again, seed=seed), estimated(job, settings, engine_of).total
    if as_json:
        print_json({**_as_json(found), "known": known, "calls": calls, "run": run_takes.as_json()})
    else:
        _show(found, known, run_takes, console)


def _scored(job: Job, rows: Sequence[Row], run: Run, screen: Screen, what: str) -> Scores:
    """The start's scores, kept as the end of `run`."""
    start = {name: str(each.value) for name, each in job.task.program.parameters.items()}
    screen.phase(f"scoring {what} on validation rows", len(rows))
    scores = job.task.scores(rows, start, progress=lambda done, _: screen.advance(done))
    run.note("end", {"status": "done", "score": scores.mean, "calls": run.usage.calls})
    return scores


def _as_json(found: Checkup) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "score": found.score,
        "low": found.interval.low,
        "high": found.interval.high,
        "unjudged": found.unjudged,
        "failing": found.failing,
        "flipped": found.flipped,
        "unsteady": found.unsteady,
        "test_rows": found.test_rows,
        "worse": found.worse,
        "provable": found.provable,
        "worthwhile": found.worthwhile,
        "verdict": found.verdict,
    }


def _show(found: Checkup, known: int, run_takes: Part, console: Console) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    proved = "no gain of any size" if found.provable is None else f"a gain from {100 * found.provable:.0f} points on"
    money = "" if run_takes.usd is None else f", US$ {run_takes.usd:,.2f} at most"
    unjudged = f" ({found.unjudged} could not be judged)" if found.unjudged else ""
    within = f"between {percent(found.interval.low)} and {percent(found.interval.high)} with 95% confidence"
    for name, said in (
        ("engines", "all answer"),
        ("metric", f"judges all known outputs right ({known})" if known else "not checked: no outputs are known"),
        ("start", f"{percent(found.score)} on {found.rows} validation rows{unjudged}; {within}"),
        ("headroom", f"{found.failing} of {found.rows} rows fail both times"),
        ("noise", f"{found.unsteady} of {found.rows} rows were scored differently the second time"),
        ("proof", f"{found.test_rows} test rows prove {proved}, where {found.worse:.0%} of them get worse"),
        ("a run", f"{run_takes.least:,} to {run_takes.most:,} calls, {run_takes.tokens:,} tokens at most{money}"),
    ):
        table.add_row(name, said)
    console.print(table, highlight=False)
    console.print(found.verdict, highlight=False, markup=False)
