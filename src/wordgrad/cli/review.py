"""`wordgrad review`: a person decides between two texts, by pairs of answers, without knowing which is which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console

from wordgrad.cli.optimize import AsJson, Store, in_store, require_files, screen_console
from wordgrad.cli.runs import Id, configured, opened, review_as_json
from wordgrad.cli.screen import print_json
from wordgrad.cli.steps import visible
from wordgrad.cli.write import put
from wordgrad.errors import UsageError
from wordgrad.store import runs as kept
from wordgrad.train.config import Config
from wordgrad.train.review import Disagreement, Preference, Review, in_blind_order

_ASKED = "better answer: 1 or 2, = for neither, s to skip it, q to end: "


def review(
    run: Id,
    rows: Annotated[int | None, typer.Option(min=1, help="Pairs to show; all where not given.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Put a text that labels decide for into its file.")] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Decide by hand: the sealed rows on which start and new text differ, in pairs, blind.

    Labels are kept as they are given, and a later review goes on from them. Where they decide, by proving the new text
    or by overruling the metric, the run ends with the text that they are for.
    """
    console = screen_console(as_json=as_json)
    with opened(store) as database:
        row = kept.find(database, run)
        config = configured(database, row) if write else None
        if config is not None:
            require_files(config)
        pairs = kept.disagreements(database, row.id)
        if not pairs:
            raise UsageError(
                f"run {row.id} has nothing to review: both texts led to the same answer on every sealed row"
            )
        for label in _asked(pairs, kept.labels(database, row.id), console, seed=row.id, most=rows):
            database.write(partial(kept.add_event, run=row.id, kind="label", body=label)).result()
        said = kept.review(database, row.id)
        start, found = kept.starts(database, row.id), kept.candidate(database, row.id)
    run_id = in_store(row.id, store)
    if as_json:
        print_json({"run": row.id, **review_as_json(said)})
    else:
        console.print(visible(f"{said.words}."))
    if config is not None:
        _write(said, config, start, found, console, run=row.id, export=f"wordgrad runs export {run_id} --variable")
    elif said.decided is not None:
        named = "the start's text" if said.decided == "start" else "the new text"
        console.print(visible(f"the run ends with {named}: wordgrad runs export {run_id} --variable NAME"))


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


def _write(
    said: Review,
    config: Config,
    start: Mapping[str, str],
    found: Mapping[str, str],
    console: Console,
    *,
    run: str,
    export: str,
) -> None:
    """Put the texts that the labels decide for into their files, all or none.

    Raises:
        UsageError: A file holds neither text: somebody has changed it since.
    """
    if said.decided is None:
        console.print("nothing was written: the labels decide for neither text")
        return
    new, old = (start, found) if said.decided == "start" else (found, start)
    written = put(config, old=old, new=new, run=run, export=export)
    named = "the start's text, in place of the new one" if said.decided == "start" else "the new text"
    for file in written:
        console.print(f"wrote {file}: {named}", highlight=False, markup=False)
    if not written:
        console.print("nothing was written: the text that the labels decide for is there already")
