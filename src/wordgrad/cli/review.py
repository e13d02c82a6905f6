"""`wordgrad review`: a person decides between two texts, by pairs of answers, without knowing which is which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console

from wordgrad.cli.optimize import AsJson, Store, require_files, screen_console, write_texts
from wordgrad.cli.runs import Id, opened, settings_of
from wordgrad.cli.screen import print_json
from wordgrad.cli.steps import visible
from wordgrad.errors import UsageError
from wordgrad.store import runs as kept
from wordgrad.store.database import Database
from wordgrad.train.config import Config
from wordgrad.train.review import Disagreement, Preference, Review, in_blind_order, reviewed

_ASKED = "better answer: 1 or 2, = for neither, s to skip it, q to end: "


def review(
    run: Id,
    rows: Annotated[int | None, typer.Option(min=1, help="Pairs to show; all where not given.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Put a text that you decided for into its file.")] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Decide by hand: the sealed rows on which start and new text differ, in pairs, blind.

    Labels are kept as they are given, and a later review goes on from them.
    """
    console = screen_console(as_json=as_json)
    with opened(store) as database:
        row = kept.find(database, run)
        config = settings_of(database, row) if write else None
        if config is not None:
            require_files(config)
        pairs = _pairs(database, row)
        for label in _asked(pairs, _labels(database, row.id), console, seed=row.id, most=rows):
            database.write(partial(kept.add_event, run=row.id, kind="label", body=label)).result()
        decision = kept.events(database, row.id, "decision")[-1]
        found = reviewed(pairs, _labels(database, row.id), alpha=decision["alpha"])
        versions = {name: texts[0] for name, texts in kept.versions(database, row.id).items()}
        ending = kept.events(database, row.id, "ending")[-1]["found"]
    if as_json:
        counts = {**asdict(found), "labels": found.labels, "p": found.p, "words": found.words}
        print_json(
            {
                "run": row.id,
                "pairs": len({each.case for each in pairs}),
                "proved": found.proved,
                "blocked": found.blocked,
                **counts,
            }
        )
    else:
        console.print(visible(f"{found.words}."))
    if config is not None:
        broken = [name for name, each in decision["guardrails"].items() if not each["kept"]]
        if broken:
            console.print(visible(f"nothing was written: the new text does not keep {', '.join(broken)}"))
            return
        _write(found, config, versions, ending, console)


def _pairs(database: Database, row: kept.RunRow) -> list[Disagreement]:
    events = kept.events(database, row.id, "disagreements")
    if not events:
        raise UsageError(
            f"run {row.id} has nothing to review: no text of it has met the sealed rows (it is {row.status})"
        )
    pairs = [Disagreement(**each) for each in events[-1]["rows"]]
    if not pairs:
        raise UsageError(f"run {row.id} has nothing to review: both texts led to the same answer on every sealed row")
    return pairs


def _labels(database: Database, run: str) -> dict[str, Preference]:
    """The labels by row; the last one of a row holds."""
    return {each["row"]: each["preferred"] for each in kept.events(database, run, "label")}


def _asked(
    pairs: Sequence[Disagreement], labels: dict[str, Preference], console: Console, *, seed: str, most: int | None
) -> Iterator[dict[str, Any]]:
    """Show the pairs without a label, and give each label as it comes."""
    left = [(pair, swapped) for pair, swapped in in_blind_order(pairs, seed=seed) if pair.row not in labels][:most]
    for number, (pair, swapped) in enumerate(left, start=1):
        first, second = (pair.found, pair.start) if swapped else (pair.start, pair.found)
        console.print(visible(f"\n{number} of {len(left)}", style="bold"))
        for name, text in (("asked", pair.asked), ("1", first), ("2", second)):
            console.print(visible(f"{name}: ", style="bold") + visible(text))
        answer = _answer(console)
        if answer == "q":
            return
        if answer != "s":
            taken_first: Preference = "found" if swapped else "start"
            taken_second: Preference = "start" if swapped else "found"
            preferred = {"1": taken_first, "2": taken_second, "=": "same"}[answer]
            yield {"row": pair.row, "preferred": preferred}


def _answer(console: Console) -> str:
    while True:
        try:
            given = console.input(_ASKED).strip().lower()
        except EOFError:
            return "q"
        if given in {"1", "2", "=", "s", "q"}:
            return given
        console.print("write 1, 2, =, s or q")


def _write(found: Review, config: Config, start: dict[str, str], new: dict[str, str], console: Console) -> None:
    """Put the new text into its file where the labels prove it."""
    if found.proved and not found.blocked:
        write_texts(config, start, new, console)
    else:
        console.print("nothing was written: the labels do not decide for the new text")
