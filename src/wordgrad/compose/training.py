"""A job inside its run: what it does is kept as it happens, and is the same when it is resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from wordgrad.compose.allowance import Allowance
from wordgrad.compose.record import decided, recorded
from wordgrad.compose.run import Replay, Run
from wordgrad.data.rows import Row
from wordgrad.data.split import Splits
from wordgrad.errors import StoreError
from wordgrad.losses.base import Scale
from wordgrad.train import job as jobs
from wordgrad.train.events import Decided, Ending, Event, Observer, Step
from wordgrad.train.job import Job, Outcome
from wordgrad.train.plan import Later
from wordgrad.train.program import values_of


def carried_out(run: Run, job: Job, observer: Observer, *, seed: int, later: Later | None = None) -> Outcome:
    """The job's outcome, with all that leads to it kept in the run; see `job.run()`."""
    _require_rows(run, job.splits)
    journal = _Journal(run, observer, job.task.scale)
    start = values_of(job.task.program)
    journal.keep(start)
    endings = run.noted("ending")
    if isinstance(run, Replay):
        # A run that was not resumed after its end has all calls of the step in which its budget ended.
        del endings[:1]
    ended = Ending(**endings[0]) if endings else None
    outcome = jobs.run(job, seed=seed, observer=journal, allowance=Allowance(run), ended=ended, later=later)
    if outcome.found != outcome.end:
        journal.keep(outcome.end)
    journal.end()
    return outcome


def _require_rows(run: Run, splits: Splits) -> None:
    """Check that a resumed run has the rows that it began with: more test rows would be another report.

    Raises:
        StoreError: It has not.
    """
    now = {name: _digest(rows) for name, rows in splits.parts().items()}
    before = run.noted("rows")
    if not before:
        run.note("rows", now)
    elif changed := [name for name, digest in now.items() if before[0][name] != digest]:
        raise StoreError(
            f"run {run.id}: the {' and the '.join(changed)} rows are not those that it began with. Give it the same "
            "rows in the same order, or start another run"
        )


def _digest(rows: Sequence[Row]) -> str:
    lines = "\n".join(json.dumps(row.columns, sort_keys=True) for row in rows)
    return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(slots=True)
class _Journal:
    """An `Observer` that keeps steps, values and the decision in the run, and passes everything on."""

    run: Run
    observer: Observer
    scale: Scale
    _kept: int = 0

    def keep(self, values: Mapping[str, str]) -> None:
        """Keep these values as the next version."""
        self.run.keep(self._kept, values)
        self._kept += 1

    def end(self) -> None:
        """Forget later versions: what was not measured before the run was resumed had the start as its last one."""
        self.run.keep_only(self._kept)

    def _require_as_before(self, made: Mapping[str, object]) -> None:
        """Check that a run which had decided decides so again: another metric would be a second look."""
        if (before := self.run.noted("decision")) and before[0] != json.loads(json.dumps(made)):
            raise StoreError(
                "the sealed rows decide otherwise than before the run was resumed: a metric, a guardrail or the "
                "program has changed. Start another run"
            )

    def __call__(self, event: Event) -> None:
        """Keep what the event says, then pass it on."""
        match event:
            case Step():
                if event.accepted:
                    self.keep(event.after)
                self.run.note("step", recorded(event))
                if len(self.run.noted("used")) < event.number:  # a resumed run has the calls of its later steps already
                    self.run.note("used", {"calls": self.run.usage.calls})
            case Ending(steps=steps, found=found):
                self.run.note("ending", {"steps": steps, "found": dict(found)})
            case Decided(decision=decision, disagreements=rows):
                made = decided(decision, self.scale)
                self._require_as_before(made)
                self.run.note("decision", made)
                self.run.note("disagreements", {"rows": [asdict(each) for each in rows]})
        self.observer(event)
