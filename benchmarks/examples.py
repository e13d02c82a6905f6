"""What the ticket examples gain on sealed rows, beside controls, on the embedded model.

    python benchmarks/examples.py ticket_triage ticket_routing --seeds 5

The arms, on the same rows:

- `wordgrad`: as `wordgrad optimize` runs it.
- `nothing`: the same with the labels of every split dealt out anew: what they mean cannot be learned. What the doctor
  said before is noted.
- `judge`: no labels. The model itself judges by a rubric, and the labels are used afterwards alone, to see how the true
  score moved.
- `one-shot`: independent "improve this prompt, given these failures" calls in place of critics and rewrites. The calls
  that critics would take go into more candidates.
- `shuffled`: the feedback of each training row is taken from another one.

Runs of one example share their replies to the start prompt, so `seconds` are those of the search alone, and short.
Hours on two cores; a run that is in examples.jsonl already is not made again. Writes EXAMPLES.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import wordgrad as wg
from wordgrad.compose.preflight import preflighted
from wordgrad.core.walk import Trace
from wordgrad.data.rows import Row
from wordgrad.optim.one_shot import OneShotRewrite
from wordgrad.statistics.claim import Claim, claim
from wordgrad.train import config as configs
from wordgrad.train import job as jobs
from wordgrad.train.build import build, in_pairs
from wordgrad.train.events import Event, Observer, Phase, Step, unwatched
from wordgrad.train.job import Job

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
RESULTS = HERE / "examples.jsonl"
ARMS = ("wordgrad", "nothing", "judge", "one-shot", "shuffled")
DOCTOR_ROWS = 12
RUBRICS = {
    "ticket_triage": "A good answer is one lower-case word and nothing else: the desk that should handle the ticket, "
    "which is account, billing, shipping or technical. More words than one are bad, even if the desk is right. Of two "
    "single words, the right desk is better."
}
"""What an owner without labels could write; an example without one has no arm `judge`."""


class Failures:
    """A strategy without a critic: each failing row's input, output and target, and no more."""

    async def propagate(self, trace: Trace) -> None:
        """Deposit the judge's own words on each parameter."""
        for leaf in trace.leaves:
            trace.deposit(leaf, trace.completed(wg.Gradient(text=trace.feedback), leaf))


class Unlimited:
    """No budget: the arms are as long as their plans."""

    def opening(self, rows: int) -> AbstractContextManager[None]:
        """Measure nothing."""
        return nullcontext()

    def affords(self, rows: int) -> bool:
        """Always."""
        return True

    def held_back(self, rows: int) -> AbstractContextManager[None]:
        """Hold nothing back."""
        return nullcontext()


class Timed:
    """An `Observer` that notes when the search began and ended."""

    def __init__(self) -> None:
        self.started = 0.0
        self.ended = 0.0

    def __call__(self, event: Event) -> None:
        """The first batch begins the search, the last step ends it."""
        if isinstance(event, Phase) and not self.started and "learning" in event.name:
            self.started = time.monotonic()
        elif isinstance(event, Step):
            self.ended = time.monotonic()


def arm(job: Job, name: str, seed: int, rubric: str) -> Job:
    """The job as one arm runs it."""
    target, rng = str(job.task.target), random.Random(seed)
    if name == "one-shot":
        spare = job.plan.batch // (1 + len(job.division.selection))
        optimizer = OneShotRewrite(
            dict(job.task.program.parameters),
            job.optimizer.engine,
            candidates=job.optimizer.candidates + spare,
            options=job.optimizer.options,
        )
        return replace(job, optimizer=optimizer, plan=replace(job.plan, strategy=Failures()))
    if name == "shuffled":
        return replace(job, splits=replace(job.splits, train=dealt(job.splits.train, target, rng)))
    if name == "judge":
        judge = wg.JudgeLoss(rubric, job.plan.critic, options=wg.Sampling(max_tokens=200, temperature=0.0))
        task = replace(job.task, loss=judge, pairwise=in_pairs(judge), target=None)
        return replace(job, task=task, splits=replace(job.splits, test=()))
    if name == "nothing":
        splits, division = job.splits, job.division
        return replace(
            job,
            splits=replace(splits, train=dealt(splits.train, target, rng), test=dealt(splits.test, target, rng)),
            division=replace(
                division,
                selection=tuple(dealt(division.selection, target, rng)),
                confirmation=tuple(dealt(division.confirmation, target, rng)),
            ),
        )
    return job


def dealt(rows: Sequence[Row], target: str, rng: random.Random) -> list[Row]:
    """The rows with their targets dealt out anew."""
    targets = [row[target] for row in rows]
    rng.shuffle(targets)
    return [replace(row, columns={**row.columns, target: new}) for row, new in zip(rows, targets, strict=True)]


def measured(example: str, name: str, seed: int, store: Path) -> dict[str, Any]:
    """One run's figures."""
    config = configs.load(EXAMPLES / example / "wordgrad.toml")

    def labelled() -> Job:
        return build(config, engine_of=lambda table: wg.get_engine(table.engine or "local"), seed=seed)

    def job() -> Job:
        return arm(labelled(), name, seed, RUBRICS.get(example, ""))

    @contextmanager
    def opened() -> Generator[tuple[wg.Run, Observer]]:
        with wg.Run(store, seed=seed, cache=True, name=f"{example} {name}, before") as run:
            yield run, unwatched

    doctor = preflighted(job(), opened, seed=seed, rows=DOCTOR_ROWS).verdict if name == "nothing" else None
    timed = Timed()
    with wg.Run(store, seed=seed, cache=True, name=f"{example} {name}"):
        outcome = jobs.run(job(), seed=seed, observer=timed, allowance=Unlimited())
        start, end, gain = outcome.test_start, outcome.test_end, outcome.gain
        if name == "judge":
            true, test = labelled().task, labelled().splits.test
            start, end = (each.target for each in true.measured(test, [outcome.start, outcome.found], against=None))
            gain = claim(true.paired(test, start, end), rng=random.Random(seed))
    decision = outcome.decision
    assert start is not None
    assert end is not None
    return {
        "example": example,
        "arm": name,
        "seed": seed,
        "doctor": doctor,
        "accepted": outcome.accepted,
        "claim": None if decision is None else claimed(decision.claim),
        "words": "nothing led the start" if decision is None else decision.words,
        "gain": None if gain is None else claimed(gain),
        "start": start.mean,
        "end": end.mean,
        "n": len(start.values),
        "seconds": round(timed.ended - timed.started),
        "text": "\n".join(outcome.found.values()),
    }


def claimed(claim: Claim) -> dict[str, Any]:
    """What a comparison says."""
    names = ("n", "start", "candidate", "difference", "low", "high", "p", "better", "worse")
    return {name: getattr(claim, name) for name in names}


def table(found: list[dict[str, Any]]) -> str:
    """All figures as Markdown."""
    lines = [
        "# The ticket examples, on sealed rows",
        "",
        "Made by `python benchmarks/examples.py`, with the statistical rule at alpha = 5 %.",
        "The claim is made on sealed validation rows; the test rows are met by the start and an accepted text only.",
        "A gain on them is in points, and stands with its lower and upper end, each at 95 %.",
        f"Seconds are those of the search alone, on {os.cpu_count()} cores, without the replies that runs share.",
        "The runs of `wordgrad` are of 2026-11-30.",
        "The others are of 2026-11-25 to 2026-11-29, before races were bounded: they take fewer calls now.",
        "",
    ]
    for example in dict.fromkeys(each["example"] for each in found):
        lines += [f"## {example}", ""]
        lines += [
            "| arm | seed | sealed validation rows | p | kept | test rows | gain | search, s |",
            "|---|---|---|---|---|---|---|---|",
        ]
        runs = {
            name: sorted(
                (each for each in found if (each["example"], each["arm"]) == (example, name)),
                key=lambda each: int(each["seed"]),
            )
            for name in ARMS
        }
        lines += [line(each) for name in ARMS if name != "judge" for each in runs[name]]
        lines += ["", "What `wordgrad` found:", ""]
        lines += texts(runs["wordgrad"])
        if runs["nothing"]:
            lines += [
                "Labels that are dealt out anew still show the answer's form: learning that is a true gain.",
                "",
                "What the doctor said before:",
                "",
            ]
            lines += [f"- seed {each['seed']}: {each['doctor']}" for each in runs["nothing"]]
            lines.append("")
        if runs["judge"]:
            lines += judged(runs["judge"], RUBRICS[example])
    return "\n".join(lines)


def texts(runs: Sequence[dict[str, Any]]) -> list[str]:
    """What runs found, word for word."""
    lines: list[str] = []
    for each in runs:
        lines += [f"Seed {each['seed']}:", "", *(f"    {text}" for text in each["text"].splitlines()), ""]
    return lines


def judged(runs: Sequence[dict[str, Any]], rubric: str) -> list[str]:
    """What a judge preferred, and what became of the true score."""
    lines = [
        "Without labels: the same model judged by a rubric, in pairs and blind, and decided on the sealed rows.",
        "The true scores are those of the start and of the text that was found, kept or not, on the test rows.",
        "",
        f"> {rubric}",
        "",
        "| seed | the judge preferred the new text / the start, of sealed rows | p | kept | true score | true gain |",
        "|---|---|---|---|---|---|",
    ]
    for each in runs:
        claim = each["claim"]
        preferred = "nothing led" if claim is None else f"{claim['better']} / {claim['worse']}, of {claim['n']}"
        cells = [str(each["seed"]), preferred, "" if claim is None else f"{claim['p']:.2g}"]
        lines.append(f"| {' | '.join([*cells, *moved(each)])} |")
    return [*lines, "", "What was found:", "", *texts(runs)]


def line(run: dict[str, Any]) -> str:
    """One run's row."""
    claim = run["claim"]
    cells = [run["arm"], str(run["seed"])]
    cells += (
        ["nothing led", ""]
        if claim is None
        else [f"{claim['start']:.0%} → {claim['candidate']:.0%}", f"{claim['p']:.2g}"]
    )
    return f"| {' | '.join([*cells, *moved(run), str(run['seconds'])])} |"


def moved(run: dict[str, Any]) -> list[str]:
    """Whether the new text was kept, and the scores on the test rows, with the gain."""
    gain = run["gain"]
    said = (
        ""
        if gain is None
        else f"{100 * gain['difference']:+.1f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
    )
    return ["yes" if run["accepted"] else "no", f"{run['start']:.1%} → {run['end']:.1%}", said]


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
                known = any((each["example"], each["arm"], each["seed"]) == (example, name, seed) for each in found)
                if known or (name == "judge" and example not in RUBRICS):
                    continue
                found.append(measured(example, name, seed, given.store))
                print(json.dumps(found[-1], ensure_ascii=False), flush=True)
                RESULTS.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in found))
                (HERE / "EXAMPLES.md").write_text(table(found))


if __name__ == "__main__":
    main()
