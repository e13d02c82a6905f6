"""`wordgrad optimize`: the main job."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console

from wordgrad.cli import models
from wordgrad.cli.screen import Screen, print_json, summary
from wordgrad.cli.write import put
from wordgrad.compose import Budget, Run
from wordgrad.compose.record import summarised
from wordgrad.compose.training import carried_out
from wordgrad.engines import get_engine, llama, unasked_engine
from wordgrad.engines.choice import choose
from wordgrad.engines.limited import Limited
from wordgrad.engines.priced import Priced
from wordgrad.engines.requests import check
from wordgrad.errors import BudgetExceeded, NodeError, StoreError, UsageError
from wordgrad.statistics.power import smallest_gain
from wordgrad.store.runs import default_path
from wordgrad.train import config as configs
from wordgrad.train.accept import Rule
from wordgrad.train.build import EngineOf, build, sampling
from wordgrad.train.checkup import WORSE
from wordgrad.train.config import Config, EngineTable, PriceTable
from wordgrad.train.estimate import estimated
from wordgrad.train.job import Job
from wordgrad.train.plan import Later
from wordgrad.types import Engine, Request

Settings = Annotated[Path, typer.Argument(metavar="CONFIG", help="The run's TOML file.")]
Store = Annotated[Path | None, typer.Option("--store", help="Where runs are kept.", envvar="WORDGRAD_STORE")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before weights are downloaded.")]
Calls = Annotated[int | None, typer.Option("--budget-calls", min=1, help="Engine calls, at most.")]
Tokens = Annotated[int | None, typer.Option("--budget-tokens", min=1, help="Tokens read and written, at most.")]
Usd = Annotated[float | None, typer.Option("--budget-usd", min=0, help="US dollars, at most.")]
Seconds = Annotated[float | None, typer.Option("--budget-seconds", min=0, help="Seconds, at most.")]


def optimize(
    config: Settings,
    budget_calls: Calls = None,
    budget_tokens: Tokens = None,
    budget_usd: Usd = None,
    budget_seconds: Seconds = None,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    accept: Annotated[
        Rule | None, typer.Option("--accept", help="lenient keeps what is more likely better than not, unproved.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put an accepted text into its prompt file.")] = False,
    cache: Annotated[bool, typer.Option("--cache", help="Use replies and results of earlier runs.")] = False,
    as_json: AsJson = False,
    store: Store = None,
    yes: Yes = False,
) -> None:
    """Improve the texts of CONFIG; a new text is kept where sealed rows prove that it is better."""
    changes = {} if accept is None else {"accept.rule": accept}
    settings = configs.load(config, changes)
    if write:
        require_files(settings)
    console, default, engine_of, job = prepared(settings, seed=seed, as_json=as_json)
    with settings.blaming("data", "validation" if settings.data.examples is None else "examples"):
        job.require_proof()
    takes = estimated(job, settings, engine_of).total
    console.print(f"calls: {takes.least:,} to {takes.most:,}; {_provable(job)}", highlight=False, markup=False)
    require_weights(settings, default, console, yes=yes)
    given = {"calls": budget_calls, "tokens": budget_tokens, "usd": budget_usd, "seconds": budget_seconds}
    budget = limits(settings, given)
    kept = {
        "config": str(config.resolve()),
        "source": settings.source,
        "engine": default,
        "budget": budget,
        "changes": changes,
        "write": write,
        "cache": cache,
    }
    name = config.resolve().parent.name
    limited = Budget(**budget)
    with Run(store or default_path(), seed=seed, budget=limited, cache=cache, name=name, settings=kept) as run:
        finish(run, job, settings, console=console, seed=seed, write=write, as_json=as_json, store=store)


def limits(settings: Config, given: Mapping[str, float | None]) -> dict[str, Any]:
    """The configuration's limits, by kind, with those that are given in their place."""
    return settings.budget.model_dump() | {kind: limit for kind, limit in given.items() if limit is not None}


def _provable(job: Job) -> str:
    """What the sealed rows could prove, in words."""
    least = smallest_gain(job.cases, worse=WORSE, alpha=job.acceptance.alpha)
    if least is None:
        return "few sealed rows: a gain is not likely to be proved where some rows get worse"
    return f"a text that is better on {least + WORSE:.0%} of rows and worse on {WORSE:.0%} is proved four times in five"


class Prepared(NamedTuple):
    """What a command on a configuration works with."""

    console: Console
    default: str | None
    """As `default_engine` gives it."""
    engine_of: EngineOf
    job: Job


def prepared(settings: Config, *, as_json: bool, seed: int = 0) -> Prepared:
    """Read the data and make the engines; whatever is wrong there is said before anything is downloaded or paid."""
    console = screen_console(as_json=as_json)
    default = default_engine(settings, console)
    engine_of = engines(settings, default)
    job = build(settings, engine_of=engine_of, seed=seed)
    console.print(f"data: {job.rows}", highlight=False, markup=False)
    return Prepared(console, default, engine_of, job)


def screen_console(*, as_json: bool) -> Console:
    """Where people read; stdout belongs to the report where that is asked for as JSON."""
    console = Console(stderr=as_json)
    # A log is not a terminal of 80 columns: a wrapped line could not be searched.
    console.soft_wrap = not console.is_terminal
    return console


def default_engine(settings: Config, console: Console) -> str | None:
    """What answers for the tables that name no engine; None where all do. The choice is printed."""
    if all(table.engine is not None for table in settings.asked.values()):
        return None
    spec, reason = choose()
    console.print(f"engine: {spec} ({reason})", highlight=False, markup=False)
    return spec


def engines(settings: Config, default: str | None, *, unasked: bool = False) -> EngineOf:
    """Make the engines of a configuration; what is wrong with one is said now. Unasked ones need no key."""

    @functools.cache  # one for tables that say the same, as get_engine gives: limits are an engine's
    def made(spec: str, price: PriceTable | None, *limits: int | None) -> Engine:
        engine = (unasked_engine if unasked else get_engine)(spec)
        if price is not None:
            engine = Priced(engine, price.price())
        in_flight, requests, tokens = limits
        if not any(limits):
            return engine
        return Limited(engine, in_flight=in_flight, requests_per_minute=requests, tokens_per_minute=tokens)

    def engine_of(table: EngineTable) -> Engine:
        spec = table.engine or default
        assert spec is not None, "there is a default where a table names none"
        return made(spec, table.price, table.max_in_flight, table.requests_per_minute, table.tokens_per_minute)

    for where, table in settings.asked.items():
        with settings.blaming(*where, "engine") if table.engine else nullcontext():
            engine = engine_of(table)
        with settings.blaming(*where, "temperature"):
            check(engine, Request(messages=(), sampling=sampling(table)))
    return engine_of


def require_weights(settings: Config, default: str | None, console: Console, *, yes: bool) -> None:
    """Pull the weights of the embedded engine if it will be asked, they are not there, and that is allowed."""
    if "local" in [table.engine or default for table in settings.asked.values()]:
        llama.library()  # a gigabyte is not fetched for what could not use it
        models.ensure(console, yes=yes)


def finish(
    run: Run,
    job: Job,
    settings: Config,
    *,
    console: Console,
    seed: int,
    write: bool,
    as_json: bool,
    store: Path | None = None,
    later: Later | None = None,
) -> None:
    """Carry a job out in its run, and report it."""
    run_id = in_store(run.id, store)
    with _resumable(run_id, console):
        with Screen(console, lambda: run.usage) as screen:
            outcome = carried_out(run, job, screen, seed=seed, later=later)
        totals = run.usage
        report = summarised(run.id, outcome, totals)
        run.note("end", report)
        if as_json:
            print_json(report)
        else:
            summary(outcome, totals, console)
        if outcome.status == "budget":
            search = outcome.search
            ended = f"the budget ended the search after {len(search.steps)} of {search.planned} steps"
            # What has met the sealed rows is the run's end: a second text may not meet them.
            more = "" if outcome.found != outcome.start else f". {_go_on(run_id, larger=True)}"
            console.print(f"{ended}{more}", highlight=False, markup=False)
        if outcome.decision is not None and run.noted("disagreements")[-1]["rows"]:
            do = "check it" if outcome.decision.proved else "decide"
            console.print(f"{do} by hand with: wordgrad review {run_id}", highlight=False, markup=False)
        console.print(f"look at it with: wordgrad runs show {run_id}", highlight=False, markup=False)
        if write:
            export = f"wordgrad runs export {run_id} --variable"
            for file in put(settings, old=outcome.start, new=outcome.end, run=run.id, export=export):
                console.print(f"wrote {file}", highlight=False, markup=False)
        if outcome.status == "unmeasured":
            spent = outcome.spent
            assert spent is not None, "something ended it"
            raise BudgetExceeded(
                f"{spent}, before what was found could be measured; the texts are kept in the run",
                kind=spent.kind,
                spent=spent.spent,
                limit=spent.limit,
            )


def in_store(run: str, store: Path | None) -> str:
    """A run's id as a command takes it."""
    return run if store is None else f"{run} --store {shlex.quote(str(store))}"


@contextmanager
def _resumable(run_id: str, console: Console) -> Generator[None]:
    """Say how to go on after what can be mended: an interruption, an outage, a budget, a crash of the user's code."""
    try:
        yield
    except (UsageError, StoreError):
        raise
    except BaseException as error:
        how = _go_on(run_id, larger=isinstance(error, BudgetExceeded))
        if isinstance(error, NodeError):
            how += ". Where your own code has to be mended, begin anew with --cache: it pays only for what differs"
        console.print(f"\nstopped; all is kept. {how}", highlight=False, markup=False)
        raise


def _go_on(run_id: str, *, larger: bool) -> str:
    more = " and a larger budget (--budget-calls, --budget-tokens, --budget-usd, --budget-seconds)" if larger else ""
    return f"Go on with: wordgrad runs resume {run_id}{more}"


def require_files(settings: Config) -> None:
    """Check that every variable has a file to write to."""
    if settings.program is not None and not settings.variables:
        raise UsageError(
            f"{settings.at('program')}: --write needs a prompt file, and the variables are the Module's own; leave it "
            "out, and take the texts with wordgrad runs export ID --variable NAME"
        )
    for name, table in settings.variables.items():
        if table.file is None:
            raise UsageError(f"{settings.at('variables', name)}: --write needs a file here, instead of text")
