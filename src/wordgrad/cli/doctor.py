"""`wordgrad doctor`: is a run worth its money?"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from wordgrad.cli.optimize import AsJson, Settings, Store, Yes, prepared, require_weights
from wordgrad.cli.screen import Screen, print_json
from wordgrad.cli.steps import visible
from wordgrad.compose import Run
from wordgrad.compose.preflight import Preflight, preflighted
from wordgrad.compose.report import shown
from wordgrad.store.runs import default_path
from wordgrad.train import config as configs
from wordgrad.train.checkup import Checkup
from wordgrad.train.estimate import Estimate, estimated
from wordgrad.train.rehearsal import Rehearsal


def doctor(
    config: Settings,
    rows: Annotated[int | None, typer.Option(min=1, help="Selection rows to look at; all where not given.")] = None,
    seed: Annotated[int, typer.Option(help="Of the run that is to be.")] = 0,
    as_json: AsJson = False,
    store: Store = None,
    yes: Yes = False,
) -> None:
    """Ask each engine, score the start twice, rehearse the first step, and say what a run could gain and would cost."""
    settings = configs.load(config)
    console, default, engine_of, job = prepared(settings, seed=seed, as_json=as_json)
    require_weights(settings, default, console, yes=yes)
    refused: list[str] = []  # each look has a screen of its own

    @contextmanager
    def opened() -> Generator[tuple[Run, Screen]]:
        name = f"doctor {config.resolve().parent.name}"
        with (
            Run(store or default_path(), seed=seed, name=name) as run,
            Screen(console, lambda: run.usage, refused=refused) as screen,
        ):
            yield run, screen

    found = preflighted(job, opened, seed=seed, rows=rows)
    bounds = estimated(job, settings, engine_of)
    if as_json:
        checked = {
            "known": len(job.known),
            "rehearsal": _rehearsed(found.rehearsal),
            "worthwhile": found.worthwhile,
            "verdict": found.verdict,
            "calls": found.calls,
            "run": {**bounds.total.as_json(), **found.prediction.as_json()},
        }
        print_json({**_as_json(found.checkup), **checked})
    else:
        _show(found, len(job.known), bounds, console)


def _as_json(found: Checkup) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "score": found.score,
        "low": found.interval.low,
        "high": found.interval.high,
        "unjudged": found.unjudged,
        "failing": found.failing,
        "below": found.below,
        "graded": found.graded,
        "flipped": found.flipped,
        "unsteady": found.unsteady,
        "sealed": found.sealed,
        "worse": found.worse,
        "provable": found.provable,
    }


def _rehearsed(found: Rehearsal) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "failing": found.failing,
        "feedback": {name: [each.text for each in gradients] for name, gradients in found.feedback.items()},
        "rewrites": len(found.proposals),
        "candidates": [dict(each.values) for each in found.candidates],
        "effects": [each._asdict() for each in found.effects],
    }


def _show(preflight: Preflight, known: int, bounds: Estimate, console: Console) -> None:
    found, likely = preflight.checkup, preflight.prediction
    table = Table(show_header=False, box=None, pad_edge=False)
    usd, most_usd = ("" if each is None else f", US$ {each:,.2f}" for each in (likely.usd, likely.most_usd))
    expected = f"about {likely.calls:,} calls, {likely.tokens:,} tokens{usd}"
    most = f"19 in 20 take at most {likely.most_calls:,} calls, {likely.most_tokens:,} tokens{most_usd}"
    where = "" if found.graded and found.provable is not None else f", where {found.worse:.0%} of them get worse"
    # What a program of the user's own asks is bounded by nothing.
    never = "" if bounds.limit else f"; none takes more than {bounds.total.most:,} calls"
    unjudged = f" ({found.unjudged} could not be judged)" if found.unjudged else ""
    within = f"between {shown(found.interval.low)} and {shown(found.interval.high)} with 95% confidence"
    for name, said in (
        ("engines", "all answer"),
        ("metric", f"judges all known outputs right ({known})" if known else "not checked: no outputs are known"),
        ("start", f"{shown(found.score)} on {found.rows} validation rows{unjudged}; {within}"),
        ("headroom", f"{found.failing} of {found.rows} rows fail both times"),
        ("noise", f"{found.unsteady} of {found.rows} rows were scored differently the second time"),
        ("rehearsal", _learned(preflight.rehearsal)),
        ("proof", f"{found.sealed} sealed rows prove {found.proof}{where}"),
        ("a run", f"{expected}; {most}{never}"),
    ):
        table.add_row(name, said)
    console.print(table, highlight=False)
    console.print(visible(preflight.verdict))


def _learned(found: Rehearsal) -> str:
    said = f"{found.failing} of {found.rows} training rows fail"
    if found.proposals:
        said += f"; {len(found.candidates)} of {len(found.proposals)} rewrites can be used"
    if found.effects:
        best = max(found.effects, key=lambda each: each.mended - each.broken)
        which = "it mends" if len(found.effects) == 1 else f"the best of {len(found.effects)} mends"
        said += f"; {which} {best.mended} of {best.failing} rows that fail, and breaks {best.broken} of {best.passing}"
    return said
