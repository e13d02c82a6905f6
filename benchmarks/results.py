"""All figures of speed and size beside the peers, anew: `make bench` writes RESULTS.md.

About half an hour on two cores, after each peer was installed in an environment of its own. What the ticket examples
gain is measured apart, by examples.py, in hours.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import imports
import load
import local
import overhead
import step
from report import machine

HERE = Path(__file__).parent
REPEATS = 5


def main() -> None:
    """Measure all, then write: a run that fails changes nothing."""
    sections = [
        *step.measured(REPEATS),
        *load.measured(REPEATS),
        *overhead.measured(REPEATS),
        *imports.measured(REPEATS),
        *local.measured(),
    ]
    head = f"# Results\n\nMade by `make bench` on {dt.datetime.now(dt.UTC):%Y-%m-%d}: {machine()}.\n"
    (HERE / "RESULTS.md").write_text("\n".join([head, *(each.markdown() for each in sections)]))


if __name__ == "__main__":
    main()
