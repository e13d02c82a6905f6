"""What training gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wordgrad.compose import report
from wordgrad.compose.run import Totals
from wordgrad.store.runs import Record
from wordgrad.train.accept import Decision
from wordgrad.train.job import Outcome, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What `Trainer.fit()` found, and why it was kept or not. Printed, it says so in words."""

    rows: str
    """How many examples there were for what, in words."""
    outcome: Outcome
    """All numbers: the search's steps, the scores on test rows."""
    record: Record
    """What is kept of the run: steps, versions of each text, what it took by purpose, node and model."""
    usage: Totals

    @property
    def run(self) -> str:
        """The run's id."""
        return self.record.run.id

    @property
    def status(self) -> Status:
        """How it ended: "done", "budget" or "unmeasured".

        A budget ended the search, or what comes after it: the confirmation, or an accepted text's score on test rows.
        """
        return self.outcome.status

    @property
    def values(self) -> Mapping[str, str]:
        """The texts to use, by variable: what the sealed rows decided, or people's labels in a review of the run."""
        return self.record.end

    @property
    def accepted(self) -> bool:
        """Whether the sealed rows, by the metric, decided for new ones."""
        return self.outcome.accepted

    @property
    def decision(self) -> Decision | None:
        """What the sealed rows said; None where nothing led the start in the search, or the budget was spent."""
        return self.outcome.decision

    def save(self, folder: Path | str) -> None:
        """Write report.html, and report.md with its figures score.svg, lengths.svg and spending.svg.

        The folder is made where it is missing; an earlier report is replaced, its figures included.

        Raises:
            UsageError: They cannot be written.
        """
        report.save(self.record, folder)

    def __str__(self) -> str:
        return self.outcome.words
