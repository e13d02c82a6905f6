"""The embedded model in one run of the demo: tokens a second, prefix cache, and time outside the engine.

    python benchmarks/local.py

About ten minutes on two cores, and the weights (`make weights`).
"""

from __future__ import annotations

import bisect
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Any

from report import Section, show

HERE = Path(__file__).parent
DEMO = HERE.parent / "examples" / "ticket_triage" / "wordgrad.toml"


def measured() -> list[Section]:
    """The table."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "runs.db"
        wordgrad = [sys.executable, "-c", "from wordgrad.cli import main; main()"]
        subprocess.run([*wordgrad, "optimize", DEMO, "--yes", "--store", store], check=True)
        return [read(store)]


def read(store: Path) -> Section:
    """The figures of the one run in a store."""
    with closing(sqlite3.connect(store)) as ledger:
        read_tokens, cached, wrote, calls = ledger.execute(
            "SELECT sum(input_tokens), sum(cached_input_tokens), sum(output_tokens), count(*) FROM attempts"
        ).fetchone()
        spans = ledger.execute(
            "SELECT run_s - latency_s, run_s FROM attempts WHERE state = 'done' ORDER BY 1"
        ).fetchall()
        prompts = [
            prompt(json.loads(json.loads(text)))
            for (text,) in ledger.execute("SELECT body FROM attempts JOIN texts ON hash = request ORDER BY id")
        ]
    seconds = max(end for _, end in spans)
    busy = covered(spans)
    rows = [
        ["calls", f"{calls:,}"],
        ["tokens read", f"{read_tokens:,}"],
        ["of these from the prefix cache", f"{cached / read_tokens:.0%}"],
        ["what a cache of all earlier prompts would have had, of their characters", f"{shared(prompts):.0%}"],
        ["tokens written", f"{wrote:,}"],
        ["tokens a second, read and written", f"{(read_tokens + wrote) / seconds:.0f}"],
        ["seconds of the run", f"{seconds:.0f}"],
        ["of these with a call in the engine", f"{busy / seconds:.1%}"],
    ]
    text = "`wordgrad optimize examples/ticket_triage/wordgrad.toml`, once, by what its ledger says."
    return Section(title="The embedded model", text=text, columns=("", ""), rows=rows)


def prompt(body: dict[str, Any]) -> str:
    """The text of one request."""
    return "\n".join(
        f"{message['role']}: {part.get('text', '')}" for message in body["messages"] for part in message["parts"]
    )


def shared(prompts: Iterable[str]) -> float:
    """The share of all characters that an earlier prompt begins with as well."""
    earlier: list[str] = []
    known, total = 0, 0
    for each in prompts:
        place = bisect.bisect(earlier, each)
        # Of all texts, one of the two neighbours in the order of the alphabet has the longest beginning in common.
        known += max((in_common(each, near) for near in earlier[max(0, place - 1) : place + 1]), default=0)
        total += len(each)
        earlier.insert(place, each)
    return known / total


def in_common(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The seconds that spans, ordered by their start, cover together."""
    total, latest = 0.0, 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, latest))
        latest = max(latest, end)
    return total


if __name__ == "__main__":
    show(measured())
