"""A training derived once more from its record, and held against it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from wordgrad.compose.record import summarised
from wordgrad.compose.run import Replay, Totals
from wordgrad.compose.training import carried_out
from wordgrad.errors import StoreError, UsageError
from wordgrad.store import runs
from wordgrad.store.database import Database
from wordgrad.train.events import unwatched
from wordgrad.train.job import Job, Outcome
from wordgrad.train.plan import Later

_AROUND = 30
"""Characters before and after the first one that differs."""
_DERIVABLE = ("status", "variables", "accepted", "words", "decision", "slices", "test")
"""What a report says beside calls, tokens and time, which are counted from the record itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What came out: the same."""

    outcome: Outcome
    record: runs.Record
    usage: Totals
    """Of the run, as it was."""
    calls: int
    """Engine calls that were derived, each word for word as it was recorded."""
    recorded: int
    """All there are."""


def derived(store: Path, run: str, job: Job, *, later: Later | None = None) -> Derived:
    """Carry the job out with the run's own replies, and no call; nothing is written.

    Args:
        store: The file that keeps the run.
        run: Its id.
        job: The one that it carried out, with the texts that it began with.
        later: Another plan for the last steps, of a branch.

    Raises:
        UsageError: The run has not ended, or there is none.
        StoreError: Something comes out otherwise; the message has the first place.
    """
    with Database(store) as database:
        record = runs.record(database, run)
        endings = runs.events(database, record.run.id, "ending")
    row = record.run
    if row.report is None:
        first = f"first wordgrad runs resume {row.id}, or fit(…, resume={row.id!r})"
        raise UsageError(f"run {row.id} has not ended ({row.status}): {first}")
    with Replay(store, row.id) as again:
        outcome = carried_out(again, job, unwatched, seed=row.seed, later=later)
        said = summarised(row.id, outcome, again.usage)
        made, usage, (calls, recorded) = again.found(), again.usage, again.calls
        ending = again.noted("ending")[-1:]
    derivable = [name for name in _DERIVABLE if name in row.report]
    _require_same(
        {
            "steps": record.steps,
            "texts": record.versions,
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
    if calls < recorded and len(endings) < 2:  # noqa: PLR2004 - its end, and the resumed run's
        raise StoreError(f"run {row.id} comes out otherwise: it made {recorded} calls, and {calls} of them again")
    return Derived(outcome=outcome, record=record, usage=usage, calls=calls, recorded=recorded)


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
    start = max(next((place for place, (old, new) in pairs if old != new), min(map(len, texts))) - _AROUND, 0)
    old, new = (f"{'…' if start else ''}{each[start : start + 2 * _AROUND]}" for each in texts)
    raise StoreError(f"run {run} comes out otherwise:{place} was recorded as {old}, and is {new} now")
