"""What every benchmark says: a table, how it was made, and on which machine."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table of the results."""

    title: str
    text: str
    """What was done, and what the columns mean."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The section as Markdown."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"## {self.title}\n\n{self.text}\n\n{table}\n"


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """The median, and the least and the most in brackets."""
    middle, least, most = (form.format(each) for each in (statistics.median(values), min(values), max(values)))
    return middle if least == most else f"{middle} ({least}–{most})"


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A script's command line, with what all of them take."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    return parser


def show(sections: Sequence[Section]) -> None:
    """Print the tables of one script."""
    for each in sections:
        print(each.markdown())


def machine() -> str:
    """The machine in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    return f"{os.cpu_count()} cores ({name}), {platform.system()}, Python {platform.python_version()}"
