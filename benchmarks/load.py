"""2,000 calls at 200 in flight: wordgrad with its ledger and cache, beside bare clients of the openai SDK.

    python benchmarks/load.py --repeats 5

All in processes of their own, one after the other, against one scripted server. Each makes one call before the clock
starts. The best bare client has twenty pools of ten connections: one pool looks through all of its connections for
each call.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import openai
from report import Section, arguments, show, spread
from step import model_server

import wordgrad as wg
from wordgrad.engines.openai import OpenAIEngine
from wordgrad.types import Sampling

CALLS = 2_000
IN_FLIGHT = 200


def bare(address: str, pools: int) -> float:
    """Calls a second of the SDK alone."""
    clients = [openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) for _ in range(pools)]
    out = [0] * pools

    async def ask(question: str) -> None:
        place = min(range(pools), key=out.__getitem__)
        out[place] += 1
        messages = [{"role": "user", "content": question}]
        await clients[place].chat.completions.create(model="m", messages=messages, max_tokens=10)  # type: ignore[call-overload]
        out[place] -= 1

    async def main() -> float:
        await ask("are you there?")
        places = asyncio.Semaphore(IN_FLIGHT)

        async def one(number: int) -> None:
            async with places:
                await ask(f"question {number}")

        start = time.monotonic()
        await asyncio.gather(*(one(number) for number in range(CALLS)))
        return CALLS / (time.monotonic() - start)

    return asyncio.run(main())


def called(address: str, *, in_run: bool) -> float:
    """Calls a second of wordgrad, with a ledger on disk and the cache, or outside a run."""
    engine = OpenAIEngine("m", "m", base_url=f"{address}/v1", max_in_flight=IN_FLIGHT)
    options = Sampling(max_tokens=10)

    def ask(question: str) -> wg.Variable:
        return wg.llm_call(None, question, engine=engine, options=options)

    def timed() -> float:
        _ = ask("are you there?").value
        start = time.monotonic()
        for answer in [ask(f"question {number}") for number in range(CALLS)]:
            _ = answer.value
        return CALLS / (time.monotonic() - start)

    if not in_run:
        return timed()
    with tempfile.TemporaryDirectory() as folder, wg.Run(Path(folder) / "runs.db", cache=True):
        return timed()


CLIENTS: dict[str, Callable[[str], float]] = {
    "openai SDK, one pool": lambda address: bare(address, 1),
    "openai SDK, twenty pools": lambda address: bare(address, 20),
    "wordgrad outside a run": lambda address: called(address, in_run=False),
    "wordgrad, ledger and cache": lambda address: called(address, in_run=True),
}


def measured(repeats: int) -> list[Section]:
    """The table."""
    rows = []
    for latency_ms in (100, 500):
        speeds: dict[str, list[float]] = {name: [] for name in CLIENTS}
        for _ in range(repeats):
            for name in CLIENTS:
                with model_server(latency_ms) as address:
                    command = [sys.executable, __file__, "--client", name, "--address", address]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    speeds[name].append(json.loads(done.stdout.splitlines()[-1]))
        best = speeds["openai SDK, twenty pools"]
        for name, found in speeds.items():
            shares = [100 * each / other for each, other in zip(found, best, strict=True)]
            rows.append([f"{latency_ms} ms", name, spread(found, "{:.0f}"), spread(shares, "{:.0f} %")])
    text = (
        f"{CALLS:,} different calls, {IN_FLIGHT} in flight: calls a second, and as a share of the best bare client's "
        f"in the same round, median of {repeats}. The server is a process on the same machine."
    )
    return [
        Section(
            title="Calls in flight", text=text, columns=("reply after", "client", "calls/s", "of the best"), rows=rows
        )
    ]


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--client", choices=list(CLIENTS), help="one client alone; needs --address")
    parser.add_argument("--address")
    given = parser.parse_args()
    if given.client:
        print(json.dumps(CLIENTS[given.client](given.address)))
    else:
        show(measured(given.repeats))
