"""What searches end with in a hundred made-up worlds of known truth, beside peers' real code: writes WORLDS.md.

    python benchmarks/worlds.py
    python benchmarks/worlds.py --alarms

About three quarters of an hour on one core; with `--alarms`, which writes ALARMS.md, half of that.
The worlds stand in worlds.json: drawn once (`--draw`), before any search ran on them. The same worlds give the same page.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from environments import python_of
from peers.world import Ended, World, measured, read, write
from report import Section, show

from wordgrad.train.plan import Plan

HERE = Path(__file__).parent
PAGE, ALARMS = HERE / "WORLDS.md", HERE / "ALARMS.md"
TOOLS = {"wordgrad": "wordgrad_world.py", "gepa": "gepa_world.py", "textgrad": "textgrad_world.py"}
NAMES = {"wordgrad": "wordgrad", "gepa": "GEPA 0.1.4", "textgrad": "TextGrad's script"}
KINDS = ("nothing", "rare", "spread", "worse")
RESAMPLES = 1_000
RUNS = 3
"""In each world."""
MORE = 4
"""Further runs of ours where nothing can be gained: a hundred in all do not tell a share of a few in a hundred."""

Key = tuple[int, int]
"""Of a run: its world's number, and its own."""
Runs = Sequence[Ended]
Figure = Callable[[Runs], float | None]
"""One number of some runs; None where there is none of them that it speaks of."""


def drawn(number: int, rng: random.Random) -> World:
    """A world with parameters at random."""
    kind = rng.choice(KINDS)
    # What is not used of a world's kind is drawn all the same: a world does not depend on the kinds before it.
    low, wide, all_equal = rng.uniform(0, 0.06), rng.uniform(0.02, 0.1), rng.random() < 0.5
    rare, leap = rng.uniform(0.02, 0.15), rng.uniform(0.05, 0.2)
    mean, spread, most = {
        "nothing": (0.0, 0.0, 0.0) if all_equal else (-low, wide / 2, 0.0),
        "rare": (-low, wide / 2, 0.0),
        "spread": (0.0, wide, 1.0),
        "worse": (-0.02 - low, wide, 1.0),
    }[kind]
    return World(
        number=number,
        kind=kind,
        base=round(rng.uniform(0.3, 0.9), 3),
        differ=round(rng.uniform(0.05, 0.4), 3),
        mean=round(mean, 4),
        spread=round(spread, 4),
        most=most,
        rare=round(rare, 3) if kind == "rare" else 0.0,
        leap=round(leap, 3) if kind == "rare" else 0.0,
        onward=rng.random() < 0.5,
        train=rng.randint(30, 200),
        validation=rng.randint(100, 400),
        budget=round(math.exp(rng.uniform(math.log(1_000), math.log(8_000)))),
    )


def searched(
    tool: str, worlds: Sequence[World], runs: Sequence[int], budgets: Mapping[Key, int] | None = None
) -> list[Ended]:
    """All runs of a tool, by its real code in a process of its own.

    Args:
        tool: A key of `TOOLS`.
        worlds: In the order of the results.
        runs: Their numbers, in each world.
        budgets: Of each run, in place of its world's.
    """
    python = sys.executable if tool == "wordgrad" else python_of(tool)
    visits = [
        (world, run, world.budget if budgets is None else budgets[world.number, run])
        for world in worlds
        for run in runs
    ]
    told = "\n".join(f"{world.number} {run} {budget}" for world, run, budget in visits)
    with tempfile.TemporaryDirectory() as home:
        # Prices of models are none of a made-up world's business, and logs none of the user's.
        own = {"HOME": home, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        command = [python, HERE / "peers" / TOOLS[tool]]
        done = subprocess.run(
            command, input=told, capture_output=True, text=True, env={**os.environ, **own}, cwd=home, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{TOOLS[tool]} failed: {done.stderr[-2_000:]}")
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"world"')]
    found = [measured(world, line) for (world, _, _), line in zip(visits, lines, strict=True)]
    assert [each.key for each in found] == [(world.number, run) for world, run, _ in visits]
    return found


def mean(value: Callable[[Ended], float], where: Callable[[Ended], bool] = lambda _: True) -> Figure:
    """The mean of a value over those runs that it speaks of."""

    def figure(runs: Runs) -> float | None:
        found = [float(value(each)) for each in runs if where(each)]
        return fmean(found) if found else None

    return figure


CHANGED = mean(lambda run: run.changed)
BETTER = mean(lambda run: run.true > 0)
BELOW = mean(lambda run: run.true < 0)
TRUE = mean(lambda run: run.true)
REPORTED = mean(lambda run: run.reported)
OPTIMISM = mean(lambda run: run.reported - run.true, lambda run: run.changed)
REGRET = mean(lambda run: run.best - run.true)
ROLLOUTS = mean(lambda run: run.rollouts / run.world.budget)
CALLS = mean(lambda run: run.calls / run.world.budget)
REWRITES = mean(lambda run: run.rewrites)


def interval(runs: Runs, figure: Figure) -> tuple[float, float] | None:
    """Where 95 % of a figure lie when the worlds are drawn anew from these: their runs stay together."""
    by_world: dict[int, list[Ended]] = defaultdict(list)
    for each in runs:
        by_world[each.world.number].append(each)
    rng, groups = random.Random("resamples"), list(by_world.values())
    drawn_anew = (
        figure([run for group in rng.choices(groups, k=len(groups)) for run in group]) for _ in range(RESAMPLES)
    )
    found = sorted(each for each in drawn_anew if each is not None)
    return (found[len(found) // 40], found[-1 - len(found) // 40]) if found else None


def points(runs: Runs, figure: Figure, *, sure: bool = True) -> str:
    """A gain in points of a hundred, with its interval."""
    value = figure(runs)
    if value is None:
        return "-"
    between = interval(runs, figure) if sure else None
    shown = f"{100 * value + 0.0:+.1f}"
    return shown if between is None else f"{shown} ({100 * between[0] + 0.0:+.1f} to {100 * between[1] + 0.0:+.1f})"


def share(runs: Runs, figure: Figure) -> str:
    """A share as a percentage."""
    value = figure(runs)
    return "-" if value is None else f"{100 * value:.1f} %"


def share_between(runs: Runs, figure: Figure) -> str:
    """A share as a percentage, with its interval."""
    between = interval(runs, figure)
    return share(runs, figure) + ("" if between is None else f" ({100 * between[0]:.1f} to {100 * between[1]:.1f})")


def number(runs: Runs, figure: Figure) -> str:
    """A plain number."""
    value = figure(runs)
    return "-" if value is None else f"{value:.1f}"


def goals(found: Mapping[str, Runs]) -> Section:
    """What was asked for, and what came of it."""
    nothing, gains = parted(found)
    peers = [tool for tool in found if tool != "wordgrad"]
    kept = {tool: [each for each in runs if each.changed] for tool, runs in found.items()}
    best = max(peers, key=lambda tool: TRUE(found[tool]) or 0.0)
    rows = [
        [
            "runs that change anything where nothing can be gained",
            "<= 5 %",
            *(share(nothing[each], CHANGED) for each in found),
        ],
        ["over-optimism where a text was kept, points", "<= 1", *(points(kept[each], OPTIMISM) for each in found)],
        [
            "true gain in all worlds, points",
            f">= {NAMES[best]}'s",
            *(points(found[each], TRUE) for each in found),
        ],
        ["true gain where something can be gained, points", "", *(points(gains[each], TRUE) for each in found)],
        [
            "regret in all worlds, points: how much better the best text was that there was",
            "<= 3",
            *(points(found[each], REGRET) for each in found),
        ],
    ]
    return Section(
        title="Goals",
        text="In brackets here and below: 95 % intervals, by drawing the worlds anew.",
        columns=("", "goal", *(NAMES[each] for each in found)),
        rows=rows,
    )


def outcomes(found: Mapping[str, Runs], title: str) -> Section:
    """What each tool ends with."""
    rows = [
        [
            NAMES[tool],
            share(runs, CHANGED),
            share(runs, BETTER),
            share(runs, BELOW),
            points(runs, TRUE),
            points(runs, REPORTED, sure=False),
            points(runs, OPTIMISM),
            points(runs, REGRET, sure=False),
            share(runs, ROLLOUTS),
            share(runs, CALLS),
            number(runs, REWRITES),
        ]
        for tool, runs in found.items()
    ]
    columns = (
        "tool",
        "another text",
        "truly better",
        "truly below the start",
        "true gain",
        "reported gain",
        "over-optimism",
        "regret",
        "program runs",
        "all calls",
        "rewrites",
    )
    text = (
        "How often a run ends with another text, with a truly better one, and with one that is truly below the start.\n"
        "In points, the true and the reported gain, the reported less the true one where another text was kept, and how "
        "much better the best text was that the tool itself had.\n"
        "As shares of the budget, the program runs, and all calls; and the rewrites that it had."
    )
    return Section(title=title, text=text, columns=columns, rows=rows)


def alarms(runs: Runs) -> Section:
    """How often ours changes something for nothing."""
    return Section(
        title=f"{MORE} more runs in each world",
        text="In brackets: 95 % intervals, by drawing the worlds anew.",
        columns=("runs", "another text", "of all", "truly below the start", "true gain, points"),
        rows=[
            [
                str(len(runs)),
                str(sum(each.changed for each in runs)),
                share_between(runs, CHANGED),
                share(runs, BELOW),
                points(runs, TRUE),
            ]
        ],
    )


def something(run: Ended) -> bool:
    """Whether its world has anything to gain."""
    return run.world.kind != "nothing"


def steps(run: Ended) -> int:
    """How many steps a run of ours took that raced: on a batch that passes there is nothing to learn."""
    taken = run.said["steps"]
    assert isinstance(taken, int)
    return taken


PARTS: dict[str, Callable[[Ended], bool]] = {
    "all worlds": lambda run: True,
    "nothing can be gained": lambda run: not something(run),
    "something can be gained": something,
}
SOMETHING: dict[str, Callable[[Ended], bool]] = {
    "good rewrites are rare": lambda run: run.world.kind == "rare",
    "half of the rewrites are better": lambda run: run.world.kind == "spread",
    "most rewrites are worse": lambda run: run.world.kind == "worse",
    "gains are over the start": lambda run: something(run) and not run.world.onward,
    "gains are over the parent": lambda run: something(run) and run.world.onward,
    "ours took no step": lambda run: something(run) and steps(run) == 0,
    "1 or 2 steps": lambda run: something(run) and 1 <= steps(run) <= 2,
    "3 to 9 steps": lambda run: something(run) and 3 <= steps(run) <= 9,
    "10 steps or more": lambda run: something(run) and steps(run) >= 10,
}


def beside(found: Mapping[str, Runs], parts: Mapping[str, Callable[[Ended], bool]], title: str, text: str) -> Section:
    """True gains of ours and of the peers, run for run."""
    peers = {tool: {each.key: each.true for each in runs} for tool, runs in found.items() if tool != "wordgrad"}
    rows = []
    for part, within in parts.items():
        ours = [each for each in found["wordgrad"] if within(each)]
        cells = [points(ours, TRUE, sure=False)]
        for theirs in peers.values():
            cells.append(points(ours, mean(lambda run, theirs=theirs: theirs[run.key]), sure=False))
            cells.append(points(ours, mean(lambda run, theirs=theirs: run.true - theirs[run.key])))
        rows.append([part, str(len({each.world.number for each in ours})), str(len(ours)), *cells])
    columns = ("", "worlds", "runs", "wordgrad", *(cell for each in peers for cell in (NAMES[each], "ours less it")))
    return Section(title=title, text=text, columns=columns, rows=rows)


def finalist(run: Ended) -> float:
    """The true gain of the text that a search of ours ended with."""
    return run.gain(str(run.said["found"]))


def promised(run: Ended) -> float:
    """The lower bound of a claim of ours."""
    return float(str(run.said["low"]))


def claims(runs: Runs) -> Section:
    """What the sealed rows said, and what is so."""
    missed = mean(lambda run: finalist(run) < promised(run) - 1e-9)
    rows = []
    origins = {each: SOMETHING[each] for each in ("gains are over the start", "gains are over the parent")}
    for part, within in (PARTS | origins).items():
        here = [each for each in runs if within(each)]
        made = [each for each in here if each.said["low"] is not None]
        proved = [each for each in made if each.changed]
        rows.append(
            [
                part,
                str(len(here)),
                str(len(made)),
                str(len(proved)),
                share([each for each in made if finalist(each) > 0], CHANGED),
                points(here, mean(finalist), sure=False),
                points(here, TRUE, sure=False),
                points(proved, mean(promised), sure=False),
                points(proved, TRUE, sure=False),
                share(made, missed),
                share(proved, missed),
            ]
        )
    return Section(
        title="What our sealed rows said",
        text=(
            "How many runs there were; how many searches ended with another text, which then met the sealed rows; how many "
            "of these texts were proved to be better, and kept; and how many of those that are truly better.\n"
            "The true gain of what the searches ended with, in points, over all runs, and of what was kept of it.\n"
            "Of what was proved: the gain that the claim's lower bound, at 95 %, promises, and the true one.\n"
            "Last, how often the truth is below that bound: of all claims, and of those that were proved."
        ),
        columns=(
            "",
            "runs",
            "claims",
            "proved",
            "of the truly better",
            "found",
            "kept",
            "promised",
            "true",
            "below the bound",
            "below the bound, proved",
        ),
        rows=rows,
    )


def spending(runs: Runs) -> Section:
    """What became of our budget."""
    rows = []
    for name, least, most in (
        ("1,000 to 1,999", 1_000, 2_000),
        ("2,000 to 3,999", 2_000, 4_000),
        ("4,000 to 8,000", 4_000, 8_001),
    ):
        here = [each for each in runs if least <= each.world.budget < most]
        rows.append(
            [
                name,
                str(len(here)),
                share(here, mean(lambda run: steps(run) == 0)),
                number(here, mean(steps)),
                share(here, mean(step_share, lambda run: steps(run) > 0)),
                share(here, CALLS),
            ]
        )
    return Section(
        title="What our budget went to",
        text=(
            "A step begins where the budget has room for a batch and the first heat of a race, and each further heat where "
            "it has room for that.\n"
            "By the calls of the budget: the runs that took no step, the steps, what a step took of one in which all texts are "
            "scored on all rows, and the calls that were made of those in the budget."
        ),
        columns=("budget", "runs", "no step", "steps", "of a full step", "of the budget"),
        rows=rows,
    )


def step_share(run: Ended) -> float:
    """What a step of ours took of one in which all texts are scored on all rows."""
    plan, world = Plan(), run.world
    sealed = math.ceil(world.validation / 2)
    # The engine is asked once; the start meets the sealed rows first, and another text last.
    search = run.calls - 1 - sealed - (sealed if run.said["low"] is not None else 0)
    most = min(plan.batch, world.train) + (plan.candidates + 1) * (world.validation - sealed)
    return search / steps(run) / most


HEAD = """# Worlds

What searches end with in a hundred made-up worlds whose truth is known.
Made by `python benchmarks/worlds.py`, with three runs of each tool in each world.

**A world** stands in worlds.json, drawn once and kept before any search ran on it: how good the start is (right on 30 to
90 % of rows), the share of rows that a rewrite changes (5 to 40 %), what rewrites are truly worth, whether that is more than
the start or more than the text that they were made from, 30 to 200 training rows, 100 to 400 validation rows, and a budget of
1,000 to 8,000 program runs on one row.
In about a quarter of the worlds no rewrite is better than the start; in the others good ones are rare, half of them
are better, or most are worse.
All tools meet the same rows, and the n-th rewrite of a run is as lucky in each of them.
No rewriter learns from feedback: what is compared is how tools choose, not how they ask.
These worlds are a fourth draw.
On a first one ours had left 40 % of its budget unspent, and what a step needs room for was changed because of that; on a
second the plain difference on the sealed rows was 2.2 points more than the truth, and is corrected since; on a third what
was left of that was 1.2 points, and so right or wrong is corrected by its own distribution now, and races are bounded.
With these changes ours ended 10.4 points above the start on the third (10.1 before; GEPA 8.3, TextGrad's script 7.5), where
nothing can be gained it changed 2 of 25 runs, and the regret was 2.0 points.
No result on the fourth had been seen before, and nothing was changed after it.

**The tools.**
Ours is `Trainer.fit` as it comes, but for the number of steps; its budget is of all calls, so it pays for critics and
rewrites too.
`gepa` 0.1.4 is its own `optimize` with default settings, all validation rows as its `valset`, and the budget as its
`max_metric_calls`, which its last iteration may exceed; rewrites are free.
TextGrad's script is a port of evaluation/prompt_optimization.py with `--run_validation`, around the package's own code
(0.1.8); its limit of twelve steps is left out, and critics and rewrites are free.
What they report: ours the likely gain (`Decision.likely`, the difference on the sealed rows less what being large enough
for a proof adds), where a text was proved to be better; the others the last mean on the validation rows less the start's.

**Where ours loses, and why.**
Where nothing can be gained it changed 5 of 99 runs, one more than the goal allows, and 5 of 132 further ones (ALARMS.md),
which are 10 of 231, or 4.3 %.
That is alpha at work, not a leak: of 10,000 searches among equals 3.9 % end with another text (docs/statistics.md).
What is reported of such a text is too much, as no gain is true; 2 of the 99 are truly below the start.
Where gains are over the start, and so do not add up over steps, it ends 0.6 points below GEPA.
Sealing costs most there: two of five truly better texts that searches ended with stay unproved.
Its regret is the largest of the three where something can be gained, for the same reason: it had better texts than its
peers, and could not prove them all.
"""


HEAD_OF_ALARMS = """# Where nothing can be gained

How often wordgrad ends with another text in those worlds of WORLDS.md where no rewrite is better than the start.
Made by `python benchmarks/worlds.py --alarms`. The goal is 5 % of runs at most.
Of the first three runs in each of these worlds, which WORLDS.md has beside other tools, 5 of 99 ended so: too few to tell.
"""


def parted(found: Mapping[str, Runs]) -> tuple[dict[str, Runs], dict[str, Runs]]:
    """The runs in worlds in which nothing can be gained, and the others."""
    return (
        {tool: [each for each in runs if not something(each)] for tool, runs in found.items()},
        {tool: [each for each in runs if something(each)] for tool, runs in found.items()},
    )


def sections(found: Mapping[str, Runs], equal: Mapping[str, Runs]) -> list[Section]:
    """All tables.

    Args:
        found: What each tool ended with.
        equal: The same, with the peers' budgets what ours really used.
    """
    nothing, gains = parted(found)
    return [
        goals(found),
        outcomes(nothing, "Where nothing can be gained"),
        outcomes(gains, "Where something can be gained"),
        beside(
            found,
            PARTS | SOMETHING,
            "True gain at the same budget",
            "In points, and ours less each peer's in the same runs.",
        ),
        beside(
            equal,
            PARTS | SOMETHING,
            "True gain at as many program runs",
            "The same, where each peer's budget is the number of program runs that ours really made in the same run.",
        ),
        spending(found["wordgrad"]),
        claims(found["wordgrad"]),
    ]


def compared(worlds: Sequence[World], runs: Sequence[int]) -> list[Section]:
    """All tools in these worlds; then the peers with as many program runs as ours really made."""
    found = {tool: searched(tool, worlds, runs) for tool in TOOLS}
    used = {each.key: each.rollouts for each in found["wordgrad"]}
    equal = {tool: searched(tool, worlds, runs, used) for tool in TOOLS if tool != "wordgrad"}
    return sections(found, {"wordgrad": found["wordgrad"], **equal})


def main() -> None:
    """Draw, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="draw the worlds anew, and measure nothing")
    parser.add_argument("--worlds", type=int, help="the first so many only, and write no page")
    parser.add_argument("--runs", type=int, default=RUNS, help="in each world; not of --alarms")
    parser.add_argument(
        "--alarms", action="store_true", help="ours alone, where nothing can be gained, in further runs"
    )
    given = parser.parse_args()
    if given.draw:
        rng = random.Random("worlds, the fourth draw")
        write([drawn(number, rng) for number in range(100)])
        return
    worlds = read()[: given.worlds]
    if given.alarms:
        nothing = [each for each in worlds if each.kind == "nothing"]
        page, head, made = ALARMS, HEAD_OF_ALARMS, [alarms(searched("wordgrad", nothing, range(RUNS, RUNS + MORE)))]
    else:
        page, head, made = PAGE, HEAD, compared(worlds, range(given.runs))
    show(made)
    if given.worlds is None:
        page.write_text("\n".join([head, *(each.markdown() for each in made)]), encoding="utf-8")


if __name__ == "__main__":
    main()
