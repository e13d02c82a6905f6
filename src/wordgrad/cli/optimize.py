"""`wordgrad optimize`: the main job."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from wordgrad.cli import models
from wordgrad.cli.screen import Screen, summary
from wordgrad.compose import Budget, Run, Totals
from wordgrad.core.variable import Variable
from wordgrad.engines import get_engine
from wordgrad.engines.choice import choose
from wordgrad.engines.priced import Priced
from wordgrad.errors import BudgetExceeded, UsageError
from wordgrad.store.runs import default_path
from wordgrad.train import config as configs
from wordgrad.train import job as jobs
from wordgrad.train.config import Config, EngineTable, PriceTable
from wordgrad.train.job import Job, Outcome
from wordgrad.train.search import Step, Watcher
from wordgrad.types import Engine

Settings = Annotated[Path, typer.Argument(metavar="CONFIG", help="The run's TOML file.")]
Store = Annotated[Path | None, typer.Option("--store", help="Where runs are kept.", envvar="WORDGRAD_STORE")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before weights are downloaded.")]


def optimize(
    config: Settings,
    budget_calls: Annotated[int | None, typer.Option(min=1, help="Engine calls, at most.")] = None,
    budget_usd: Annotated[float | None, typer.Option(min=0, help="US dollars, at most.")] = None,
    budget_seconds: Annotated[float | None, typer.Option(min=0, help="Seconds, at most.")] = None,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    write: Annotated[bool, typer.Option("--write", help="Put an accepted text into its prompt file.")] = False,
    as_json: AsJson = False,
    store: Store = None,
    yes: Yes = False,
) -> None:
    """Improve the texts of CONFIG, and show on sealed test rows whether they got better."""
    limits = Budget(calls=budget_calls, usd=budget_usd, seconds=budget_seconds)
    settings = configs.load(config)
    # Everything that is wrong in the files is said before anything is downloaded or paid.
    jobs.read_splits(settings)
    console = Console(stderr=as_json, soft_wrap=not sys.stdout.isatty())
    engine_of = engines(settings, console, yes=yes)
    kept = {
        "config": str(config.resolve()),
        "source": config.read_text(encoding="utf-8"),
        "budget": {"calls": budget_calls, "usd": budget_usd, "seconds": budget_seconds},
        "write": write,
    }
    path = store or default_path()
    with Run(path, seed=seed, budget=limits, name=config.parent.name or config.stem, settings=kept) as run:
        job = jobs.build(settings, engine_of=engine_of, seed=seed)
        finish(run, job, settings, console=console, seed=seed, write=write, as_json=as_json)


def engines(settings: Config, console: Console, *, yes: bool) -> jobs.EngineOf:
    """Make the engines of a configuration; the choice for what names none is printed, weights are pulled if allowed."""
    default = ""
    priced: dict[tuple[str, PriceTable], Engine] = {}

    def engine_of(table: EngineTable) -> Engine:
        nonlocal default
        spec = table.engine
        if spec is None:
            if not default:
                default, reason = choose()
                console.print(f"engine: {default} ({reason})", highlight=False, markup=False)
            spec = default
        if spec == "local":
            models.ensure(console, yes=yes)
        engine = get_engine(spec)
        if table.price is None:
            return engine
        # One for each, as get_engine gives: limits on calls in flight are an engine's.
        return priced.setdefault((spec, table.price), Priced(engine, table.price.price()))

    for table in (settings.engines.forward, settings.engines.backward, settings.engines.optimizer):
        engine_of(table)
    return engine_of


@dataclass(slots=True)
class Journal:
    """A `Watcher` that keeps steps and values in the run, and passes everything on."""

    run: Run
    screen: Watcher
    _kept: int = 0

    def keep(self, parameters: Mapping[str, Variable]) -> None:
        """Keep the present values as the next version."""
        for name, each in parameters.items():
            self.run.keep(name, self._kept, str(each.value))
        self._kept += 1

    def phase(self, name: str, total: int) -> None:
        """Pass on."""
        self.screen.phase(name, total)

    def advance(self, done: int) -> None:
        """Pass on."""
        self.screen.advance(done)

    def step(self, step: Step) -> None:
        """Keep what the step did, and why."""
        if step.accepted:
            for name, value in step.after.items():
                self.run.keep(name, self._kept, value)
            self._kept += 1
        self.run.note(
            "step",
            {
                "number": step.number,
                "accepted": step.accepted,
                "reason": step.reason,
                "before": dict(step.before),
                "after": dict(step.after),
                "feedback": {name: [each.text for each in grads] for name, grads in step.feedback.items()},
            },
        )
        self.screen.step(step)


def finish(run: Run, job: Job, settings: Config, *, console: Console, seed: int, write: bool, as_json: bool) -> None:
    """Carry a job out in its run, and report it."""
    started = time.monotonic()
    try:
        with Screen(console, lambda: run.usage, settings.search.steps) as screen:
            watcher = Journal(run, screen)
            watcher.keep(job.task.program.parameters)
            outcome = jobs.run(job, seed=seed, watcher=watcher, stop=lambda calls: not run.affords(calls))
    except KeyboardInterrupt:
        console.print(f"\nstopped; all is kept. Go on with: wordgrad runs resume {run.id}", highlight=False)
        raise
    seconds = time.monotonic() - started
    totals = run.usage
    report = summarised(run.id, outcome, totals, seconds)
    run.note("end", report)
    if write:
        written(settings, outcome, console)
    if as_json:
        sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n")
    else:
        console.print(summary(outcome, totals, seconds=seconds, n=len(job.splits.test)))
        if outcome.end == outcome.start:
            console.print("Nothing better was found: the start is kept.")
        console.print(f"look at it with: wordgrad runs show {run.id}", highlight=False)
    if outcome.status == "unmeasured":
        raise BudgetExceeded(
            "the budget was spent before the end score could be measured; the texts found are kept in the run",
            kind="calls",
            spent=totals.calls,
            limit=totals.calls,
        )


def summarised(run_id: str, outcome: Outcome, totals: Totals, seconds: float) -> dict[str, object]:
    """The run's result as JSON."""
    last = next((step.verdict for step in reversed(outcome.search.steps) if step.accepted and step.verdict), None)
    first = next((step.verdict for step in outcome.search.steps if step.verdict), None)
    return {
        "run": run_id,
        "status": outcome.status,
        "variables": [
            {"name": name, "start": start, "end": outcome.end[name]} for name, start in outcome.start.items()
        ],
        "test": {
            "n": len(outcome.test_start.values),
            "start": outcome.test_start.mean,
            "end": None if outcome.test_end is None else outcome.test_end.mean,
        },
        "validation": {
            "n": 0 if first is None else first.n,
            "start": None if first is None else first.start,
            "end": (None if first is None else first.start) if last is None else last.candidate,
        },
        "steps": len(outcome.search.steps),
        "accepted": outcome.accepted,
        "calls": totals.calls,
        "tokens": {"input": totals.input_tokens, "output": totals.output_tokens},
        "cost_usd": totals.cost_usd,
        "seconds": round(seconds, 1),
    }


def written(settings: Config, outcome: Outcome, console: Console) -> None:
    """Put each changed text into its file, in one rename each."""
    for name, table in settings.variables.items():
        if table.file is None or outcome.end[name] == outcome.start[name]:
            continue
        beside = table.file.with_name(table.file.name + ".new")
        try:
            beside.write_text(outcome.end[name] + "\n", encoding="utf-8")
            os.replace(beside, table.file)  # noqa: PTH105 - the atomic one
        except OSError as error:
            raise UsageError(f"{table.file} cannot be written: {error.strerror}") from error
        console.print(f"wrote {table.file}", highlight=False, markup=False)
