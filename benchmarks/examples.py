"""What the ticket examples gain on sealed rows, beside two controls, on the embedded model.

    python benchmarks/examples.py ticket_triage ticket_routing --seeds 5

The arms, at equal numbers of calls and on the same rows:

- `wordgrad`: the search as `wordgrad optimize` runs it.
- `one-shot`: independent "improve this prompt, given these failures" calls in place of critics and rewrites. The calls
  that critics would take go into more candidates.
- `shuffled`: the search, with the feedback of each training row taken from another one.

Runs of one example share their replies to the start prompt, so `seconds` are those of the search alone, and short.
Hours on two cores; a run that is in examples.jsonl already is not made again. Writes EXAMPLES.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import wordgrad as wg
from wordgrad.core.backward import Trace
from wordgrad.data.rows import Row
from wordgrad.optim.one_shot import OneShotRewrite
from wordgrad.train import config as configs
from wordgrad.train import job as jobs
from wordgrad.train.job import Job
from wordgrad.train.search import Step

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
RESULTS = HERE / "examples.jsonl"
ARMS = ("wordgrad", "one-shot", "shuffled")


class Failures:
    """A strategy without a critic: each failing row's input, output and target, and no more."""

    async def propagate(self, trace: Trace) -> None:
        """Deposit the judge's own words on each parameter."""
        for leaf in trace.leaves:
            trace.deposit(leaf, trace.completed(wg.Gradient(text=trace.feedback), leaf))


class Unlimited:
    """No budget: the arms are as long as their plans."""

    def affords(self, calls: int) -> bool:
        """Always."""
        return True

    def held_back(self) -> AbstractContextManager[None]:
        """Hold nothing back."""
        return nullcontext()


class Timed:
    """A `Watcher` that notes when the search began and ended."""

    def __init__(self) -> None:
        self.started = 0.0
        self.ended = 0.0

    def phase(self, name: str, total: int) -> None:
        """The first batch begins the search, the result's score ends it."""
        if not self.started and "learning" in name:
            self.started = time.monotonic()

    def advance(self, done: int) -> None:
        """Not shown."""

    def step(self, step: Step) -> None:
        """The last step ends the search."""
        self.ended = time.monotonic()


def arm(job: Job, name: str, seed: int) -> Job:
    """The job as one arm runs it."""
    if name == "one-shot":
        plan = job.plan
        spare = plan.batch // (1 + plan.race)
        optimizer = OneShotRewrite(
            dict(job.task.program.parameters),
            job.optimizer.engine,
            candidates=job.optimizer.candidates + spare,
            options=job.optimizer.options,
        )
        return replace(job, optimizer=optimizer, plan=replace(plan, strategy=Failures()))
    if name == "shuffled":
        train = shuffled(job.splits.train, str(job.task.target), random.Random(seed))
        return replace(job, splits=replace(job.splits, train=train))
    return job


def shuffled(rows: list[Row], target: str, rng: random.Random) -> list[Row]:
    """The rows with their targets dealt out anew."""
    targets = [row[target] for row in rows]
    rng.shuffle(targets)
    return [replace(row, columns={**row.columns, target: new}) for row, new in zip(rows, targets, strict=True)]


def measured(example: str, name: str, seed: int, store: Path) -> dict[str, Any]:
    """One run's figures."""
    config = configs.load(EXAMPLES / example / "wordgrad.toml")
    watcher = Timed()
    with wg.Run(store, seed=seed, cache=True, name=f"{example} {name}"):
        job = arm(
            jobs.build(config, engine_of=lambda table: wg.get_engine(table.engine or "local"), seed=seed), name, seed
        )
        outcome = jobs.run(job, seed=seed, watcher=watcher, allowance=Unlimited())
    return {
        "example": example,
        "arm": name,
        "seed": seed,
        "start": outcome.test_start.mean,
        "end": None if outcome.test_end is None else outcome.test_end.mean,
        "n": len(outcome.test_start.values),
        "accepted": outcome.accepted,
        "seconds": round(watcher.ended - watcher.started),
        "text": "\n".join(outcome.end.values()),
    }


def table(found: list[Mapping[str, Any]]) -> str:
    """All figures as Markdown."""
    lines = [
        "# The ticket examples, on sealed rows",
        "",
        "Made by `python benchmarks/examples.py`. Gains are in percentage points.",
        f"Seconds are those of the search alone, on {os.cpu_count()} cores, without the replies that runs share.",
        "",
    ]
    for example in dict.fromkeys(each["example"] for each in found):
        lines += [
            f"## {example}",
            "",
            "| arm | seeds | start | ends | median gain | search, s |",
            "|---|---|---|---|---|---|",
        ]
        for name in ARMS:
            runs = sorted(
                (each for each in found if (each["example"], each["arm"]) == (example, name)),
                key=lambda each: each["seed"],
            )
            if not runs:
                continue
            ends = ", ".join(f"{each['end']:.0%}" for each in runs)
            gain = statistics.median(each["end"] - each["start"] for each in runs)
            seconds = ", ".join(str(each["seconds"]) for each in runs)
            lines.append(f"| {name} | {len(runs)} | {runs[0]['start']:.0%} | {ends} | {100 * gain:+.0f} | {seconds} |")
        lines += ["", "What `wordgrad` learned:", ""]
        for each in found:
            if (each["example"], each["arm"]) == (example, "wordgrad"):
                lines += [f"Seed {each['seed']}:", "", *(f"    {line}" for line in each["text"].splitlines()), ""]
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and write the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", nargs="*", default=["ticket_triage", "ticket_routing"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--store", type=Path, default=HERE / ".examples.db")
    given = parser.parse_args()
    found = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    for example in given.examples:
        for seed in range(given.seeds):
            for name in given.arms:
                if any((each["example"], each["arm"], each["seed"]) == (example, name, seed) for each in found):
                    continue
                found.append(measured(example, name, seed, given.store))
                print(json.dumps(found[-1], ensure_ascii=False), flush=True)
                RESULTS.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in found))
                (HERE / "EXAMPLES.md").write_text(table(found))


if __name__ == "__main__":
    main()
