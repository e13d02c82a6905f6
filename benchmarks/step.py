"""One optimisation step of a chain of k language models on b examples, in wordgrad and in its peers.

    python benchmarks/step.py --repeats 5

All talk to one scripted server, which answers each call after 50 ms and counts. The wall-clock of wordgrad's backward
pass is compared with the critical path: the same calls as plain sleeps, in the same run.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from environments import python_of
from report import Section, arguments, show, spread

HERE = Path(__file__).parent
LATENCY_MS = 50
STRATEGIES = ("per_node", "per_edge", "fused")
PEERS = {"textgrad": "textgrad_step.py", "adalflow": "adalflow_step.py", "trace-opt": "trace_step.py"}


@contextmanager
def model_server(latency_ms: float) -> Generator[str]:
    """The scripted server's address, in a process of its own."""
    command = [sys.executable, HERE / "model_server.py", "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def stepped(python: str | Path, script: str, *arguments: object) -> dict[str, dict[str, Any]]:
    """One step: of each phase its seconds, calls, rounds and characters."""
    with model_server(LATENCY_MS) as address, tempfile.TemporaryDirectory() as home:
        # A peer's cache must not answer for the server, and its files are none of the user's.
        environment = {**os.environ, "HOME": home, "XDG_CACHE_HOME": home}
        command = [python, HERE / "peers" / script, address, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home, check=False)
        if done.returncode:
            raise RuntimeError(f"{script} failed: {done.stderr[-2_000:]}")
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"phase"')]
        counted = json.loads(urlopen(f"{address}/phases").read())  # noqa: S310 - a server on this machine
    phases: dict[str, dict[str, Any]] = {
        each["phase"]: {"calls": 0, "rounds": 0, "characters": 0, **each} for each in said
    }
    for each in counted:
        phases[each["phase"]] |= each
    return phases


async def slept(k: int, b: int) -> float:
    """Seconds of b chains of k sleeps beside each other."""
    start = time.monotonic()

    async def chain() -> None:
        for _ in range(k):
            await asyncio.sleep(LATENCY_MS / 1_000)

    await asyncio.gather(*(chain() for _ in range(b)))
    return time.monotonic() - start


def measured(repeats: int, *, sizes: tuple[int, ...] = (1, 3, 5), b: int = 8) -> list[Section]:
    """The two tables."""
    rows, ratios = [], []
    for k in sizes:
        for name in (*STRATEGIES, *PEERS):
            if name in STRATEGIES:
                runs = [stepped(sys.executable, "wordgrad_step.py", k, b, name) for _ in range(repeats)]
            else:
                runs = [stepped(python_of(name), PEERS[name], k, b) for _ in range(repeats)]
            rows.append([str(k), f"wordgrad, `{name}`" if name in STRATEGIES else name, *_row(runs)])
            if name in ("per_node", "fused"):
                path = [asyncio.run(slept(k if name == "per_node" else 1, b)) for _ in range(repeats)]
                times = [run["backward"]["seconds"] / each for run, each in zip(runs, path, strict=True)]
                ratios.append([str(k), f"`{name}`", spread(path, "{:.3f}"), spread(times)])
    return [
        Section(
            title="One optimisation step",
            text=(
                f"A chain of k models on b = {b} examples, a judge, one prompt a model; a call takes {LATENCY_MS} ms. "
                "Calls and rounds (the longest chain of calls that wait for one another) of the whole step, characters "
                f"that the server read, seconds of the phases: median of {repeats}. AdalFlow's losses are functions, "
                "so it pays no judge; Trace has no critics, its optimizer reads the trace."
            ),
            columns=("k", "library", "calls", "rounds", "characters", "forward, s", "backward, s", "update, s"),
            rows=rows,
        ),
        Section(
            title="Backward against its critical path",
            text=f"Seconds of the same calls as plain sleeps, the backward pass as a multiple: median of {repeats}.",
            columns=("k", "strategy", "sleeps, s", "backward / sleeps"),
            rows=ratios,
        ),
    ]


def _row(runs: list[dict[str, dict[str, Any]]]) -> list[str]:
    totals = [
        {key: sum(phase[key] for phase in run.values()) for key in ("calls", "rounds", "characters")} for run in runs
    ]
    counts = [f"{statistics.median(each[key] for each in totals):,.0f}" for key in ("calls", "rounds", "characters")]
    return [*counts, *(spread([run[name]["seconds"] for run in runs]) for name in ("forward", "backward", "update"))]


if __name__ == "__main__":
    show(measured(arguments(__doc__).parse_args().repeats))
