"""What searches end with in a hundred made-up worlds of known truth, beside peers' real code: writes WORLDS.md.

    python benchmarks/worlds.py

About half an hour on two cores. The worlds stand in worlds.json: drawn once (`--draw`), before any search ran on them.
The same worlds give the same page.
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
from peers.world import Ended, Visit, World, measured, read, write
from report import Section, show

HERE = Path(__file__).parent
PAGE = HERE / "WORLDS.md"
TOOLS = {"wordgrad": "wordgrad_world.py", "gepa": "gepa_world.py", "textgrad": "textgrad_world.py"}
NAMES = {"wordgrad": "wordgrad", "gepa": "GEPA 0.1.4", "textgrad": "TextGrad's script"}
KINDS = ("nothing", "rare", "spread", "worse")
RESAMPLES = 1_000

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


def searched(tool: str, worlds: Sequence[World], runs: int) -> list[Ended]:
    """All runs of a tool, by its real code in a process of its own."""
    python = sys.executable if tool == "wordgrad" else python_of(tool)
    with tempfile.TemporaryDirectory() as home:
        # Prices of models are none of a made-up world's business, and logs none of the user's.
        own = {"HOME": home, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        command = [python, HERE / "peers" / TOOLS[tool], str(len(worlds)), str(runs)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own}, cwd=home, check=False)
    if done.returncode:
        raise RuntimeError(f"{TOOLS[tool]} failed: {done.stderr[-2_000:]}")
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"world"')]
    visits = [(world, run) for world in worlds for run in range(runs)]
    found = [measured(world, line) for (world, _), line in zip(visits, lines, strict=True)]
    assert [(each.said["world"], each.said["run"]) for each in found] == [(world.number, run) for world, run in visits]
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


def goals(found: Mapping[str, Runs]) -> Section:
    """What was asked for, and what came of it."""
    nothing, something = ({tool: chosen(runs, some) for tool, runs in found.items()} for some in (False, True))
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
        ["true gain where something can be gained, points", "", *(points(something[each], TRUE) for each in found)],
    ]
    return Section(
        title="Goals",
        text="In brackets here and below: 95 % intervals, by drawing the worlds anew.",
        columns=("", "goal", *(NAMES[each] for each in found)),
        rows=rows,
    )


def chosen(runs: Runs, something: bool) -> list[Ended]:  # noqa: FBT001
    """The runs in worlds in which something can be gained, or in the others."""
    return [each for each in runs if (each.world.kind != "nothing") == something]


def outcomes(found: Mapping[str, Runs], title: str, text: str) -> Section:
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
            f"{REWRITES(runs):.0f}",
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
    return Section(title=title, text=text, columns=columns, rows=rows)


def paired(found: Mapping[str, Runs]) -> Section:
    """Ours less each peer's true gain, run for run."""
    ours = found["wordgrad"]
    parts: dict[str, Callable[[Ended], bool]] = {
        "all worlds": lambda run: True,
        "nothing can be gained": lambda run: run.world.kind == "nothing",
        "good rewrites are rare": lambda run: run.world.kind == "rare",
        "rewrites spread around their origin": lambda run: run.world.kind == "spread",
        "most rewrites are worse": lambda run: run.world.kind == "worse",
        "something to gain, over the start": lambda run: run.world.kind != "nothing" and not run.world.onward,
        "something to gain, over the parent": lambda run: run.world.kind != "nothing" and run.world.onward,
        "something to gain, we took no step": lambda run: run.world.kind != "nothing" and steps(run) == 0,
        "something to gain, 1 or 2 steps": lambda run: run.world.kind != "nothing" and 1 <= steps(run) <= 2,
        "something to gain, 3 to 9 steps": lambda run: run.world.kind != "nothing" and 3 <= steps(run) <= 9,
        "something to gain, 10 steps or more": lambda run: run.world.kind != "nothing" and steps(run) >= 10,
    }
    rows = []
    for part, within in parts.items():
        places = [place for place, each in enumerate(ours) if within(each)]
        if not places:
            continue
        mine = [ours[place] for place in places]
        cells = [points(mine, TRUE, sure=False)]
        for tool in found:
            if tool != "wordgrad":
                theirs = {id(ours[place]): found[tool][place] for place in places}
                cells.append(points([theirs[id(each)] for each in mine], TRUE, sure=False))
                cells.append(points(mine, mean(lambda run, theirs=theirs: run.true - theirs[id(run)].true)))
        rows.append([part, str(len({each.world.number for each in mine})), str(len(mine)), *cells])
    peers = [NAMES[each] for each in found if each != "wordgrad"]
    return Section(
        title="True gain, beside each peer's in the same runs",
        text=(
            "In points; after each peer's gain ours less it. A rewrite's gain is over the start, or over the text that it was made from. "
            "A step is one of ours: eight training rows, eight candidates, a race."
        ),
        columns=("", "worlds", "runs", "wordgrad", *(cell for each in peers for cell in (each, "difference"))),
        rows=rows,
    )


def steps(run: Ended) -> int:
    """How many steps a run of ours took."""
    taken = run.said["steps"]
    assert isinstance(taken, int)
    return taken


def claims(runs: Runs) -> Section:
    """What the sealed rows said, and what is so."""
    claimed = [each for each in runs if each.said["low"] is not None]
    kept = [each for each in claimed if each.changed]

    def finalist(run: Ended) -> float:
        """The true gain of the text that the search ended with."""
        return Visit(run.world, int(str(run.said["run"]))).text(str(run.said["found"])).true - run.world.base

    def promised(run: Ended) -> float:
        return float(str(run.said["low"]))

    missed = mean(lambda run: finalist(run) < promised(run) - 1e-9)
    rows = []
    for name, part in (
        ("nothing can be gained", [each for each in runs if each.world.kind == "nothing"]),
        ("something can be gained", [each for each in runs if each.world.kind != "nothing"]),
    ):
        made = [each for each in part if each in claimed]
        proved = [each for each in part if each in kept]
        better = [each for each in made if finalist(each) > 0]
        rows.append(
            [
                name,
                str(len(part)),
                share(part, mean(lambda run: steps(run) == 0)),
                str(len(made)),
                str(len(proved)),
                share(better, CHANGED),
                points(part, mean(finalist), sure=False),
                points(part, TRUE, sure=False),
                points(proved, mean(promised), sure=False),
                points(proved, TRUE, sure=False),
                share(made, missed),
                share(proved, missed),
            ]
        )
    return Section(
        title="Ours: what the sealed rows said",
        text=(
            "How many runs there were; the share of them whose budget did not pay for one step; how many ended their search with "
            "another text, which met the sealed rows; how many of these texts were proved to be better, and kept; and how many of the truly better ones were. "
            "The true gain of what the searches ended with, in points, over all runs, and of what was kept of it. "
            "Of the claims that were proved: the gain that their lower bound, at 95 %, promises, and the true one. "
            "Last, how often the truth was below the bound, of all claims and of those that were proved."
        ),
        columns=(
            "",
            "runs",
            "no step",
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


HEAD = """# Worlds

Made by `python benchmarks/worlds.py`.
"""


def sections(found: Mapping[str, Runs]) -> list[Section]:
    """All tables."""
    nothing, something = ({tool: chosen(runs, some) for tool, runs in found.items()} for some in (False, True))
    text = "Gains in points; over-optimism is the reported gain less the true one, where another text was kept."
    return [
        goals(found),
        outcomes(nothing, "Where nothing can be gained", text),
        outcomes(something, "Where something can be gained", text),
        paired(found),
        claims(found["wordgrad"]),
    ]


def main() -> None:
    """Draw, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="draw the worlds anew, and measure nothing")
    parser.add_argument("--worlds", type=int, help="the first so many only, and write no page")
    parser.add_argument("--runs", type=int, default=3, help="in each world")
    given = parser.parse_args()
    if given.draw:
        rng = random.Random("worlds")
        write([drawn(number, rng) for number in range(100)])
        return
    worlds = read()[: given.worlds]
    made = sections({tool: searched(tool, worlds, given.runs) for tool in TOOLS})
    show(made)
    if given.worlds is None:
        PAGE.write_text("\n".join([HEAD, *(each.markdown() for each in made)]), encoding="utf-8")


if __name__ == "__main__":
    main()
