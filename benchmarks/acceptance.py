"""What acceptance promises and costs, on made-up searches whose truth is known: writes docs/statistics.md.

    python benchmarks/acceptance.py --repeats 1000

About ten minutes on one core. The same number of repeats gives the same page.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean

from landscapes import (
    BASE,
    LANDSCAPES,
    Ended,
    Gain,
    Rule,
    child,
    claimed,
    gepa,
    holdout,
    larger_mean,
    oracle,
    ours,
    raced,
    scored_on_all,
    start_text,
)
from report import Section, arguments, show

from wordgrad.statistics.binomial import chance_of, upper_tail
from wordgrad.statistics.guard import not_worse
from wordgrad.statistics.pairs import paired
from wordgrad.statistics.power import power, smallest_gain
from wordgrad.statistics.sequence import Arm, difference

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
RULES: dict[str, Rule] = {
    "wordgrad": ours,
    "larger mean on validation": larger_mean,
    "GEPA: larger sum on 3 rows, then larger mean": gepa,
    "promptfoo optimize: larger holdout score": holdout,
}
FINALISTS: dict[str, Rule] = {
    "wordgrad": ours,
    "the larger mean, all scored": partial(ours, choose=scored_on_all),
    "the best of all proposals, always": oracle,
}
HEAD = """# What is claimed, and why

Made by `python benchmarks/acceptance.py`; every table is of simulations, or of exact sums, whose truth is known.

A search looks at its rows so often that its winner looks better than it is.
So validation rows are divided, by the run's seed, into *selection* rows and sealed *confirmation* rows.
Races on the selection rows leave one finalist.
The finalist meets the confirmation rows once, in one paired test against the start.
It replaces the start only when the test's p value is at most alpha, 5 % by default.

Because one candidate is tested once, alpha is the whole run's: it does not matter how many proposals there were, nor
how they came about.
A row that could not be judged counts for neither text; it is never a zero.
But a text must not gain by answers that cannot be judged: where clearly more rows are lost under it than under the start
(a sign test at alpha), the start is kept.
A run whose text has met the confirmation rows has ended: a second text would need rows of its own.
The test rows are for the report; only the start and an accepted text meet them.

What it costs: half of the rows are not searched on, and a true gain that is too small for the rows stays unproved.
The start is kept then, and the run says how many more rows, on which the two texts disagree, would have to be labelled;
`wordgrad review RUN` shows those that there are, in pairs, blind.

**The test.** For scores of right or wrong: McNemar's exact test, one-sided, on the rows where the two differ.
For graded scores: the signs of the differences are flipped, in every way or in 9,999 random ways.
For graded scores it is exact where the two texts are interchangeable; where they are equal on average only, and few
large losses stand against many small gains, it needs many rows, as a t test does; so does what is sure of the gain.
Rows must be independent: rows of one customer or conversation go to one side together, and count as one, by their mean.

**How likely is it better?** `chance_better()` is a posterior from a uniform prior: for scores of right or wrong it is the
chance that a Beta(better + 1, worse + 1) lies above a half.
It helps to decide on more data; it is not the claim.

**How much better is it?** Only a large difference is a proof, so one that was proved is more often one of the lucky ones.
`Decision.likely` is the difference less what this adds; the tables' over-optimism is what is left.
Test rows need no such correction: they are met once, by what was accepted before.

**Read the tables with care.** The other rules are our reading of what those tools describe, without their other parts.
The race's margin, doubt and bound were chosen on these landscapes, the first two partly with the same seeds, so its
figures are a little too good.
Sealing costs gain: where good proposals exist and rows are few, the larger mean ends with more, and knows less.
"""


def ratio(count: float, of: float) -> str:
    """As a percentage."""
    return f"{100 * count / of:.1f} %"


def points(values: Iterable[float]) -> str:
    """The mean, in points of a hundred, with its sign."""
    return f"{100 * fmean(values) + 0.0:+.1f}"


@cache
def ended(rule: Rule, gain: Gain, validation: int, runs: int, *, memorises: bool = False) -> list[Ended]:
    """Searches under one rule; run number n starts alike under each."""
    return [rule(random.Random(f"search {run}"), gain, validation, memorises) for run in range(runs)]


def equals(runs: int) -> Section:
    """False acceptance."""
    rows = []
    none_better = LANDSCAPES["none better"]
    for name, rule in RULES.items():
        count = 10 * runs if rule is ours else runs
        cells = []
        for memorises in (False, True):
            found = ended(rule, none_better, 200, count, memorises=memorises)
            reported = points(each.reported for each in found)
            cells += [ratio(sum(each.kept for each in found), count), reported]
        rows.append([name, *cells])
    text = (
        "Forty proposals, each changing 20 % of its parent's rows, none truly better than the start; 200 validation rows.\n"
        "How often a run ends with another text than the start, and the gain that it reports, in points.\n"
        "Then the same with one proposal among the forty that is right on every row that the rule shows the search, and "
        "no better elsewhere.\n"
        "promptfoo's holdout is not shown to its search; it picks by it again and again.\n"
        f"{10 * runs:,} runs of ours, {runs:,} of the others."
    )
    columns = ("rule", "another text", "reported", "another text, one memorises", "reported, one memorises")
    return Section(title="A search among equals", text=text, columns=columns, rows=rows)


def claims(runs: int) -> Section:
    """Power, exact and simulated."""
    rows = []
    for n in (50, 100, 200, 400):
        cells = []
        for gain in (0.05, 0.1, 0.15):
            rng, proved = random.Random(f"claims {n} {gain}"), 0
            for _ in range(runs):
                start = start_text(rng, n)
                proved += claimed(rng, start, child(rng, start, gain), range(n)).proved
            cells.append(f"{ratio(power(gain, differ=0.2, n=n), 1)} ({ratio(proved, runs)})")
        least = smallest_gain(n, worse=0.05)
        rows.append([str(n), *cells, "none" if least is None else f"{100 * least:.1f}"])
    text = (
        "The chance that the claim proves a true gain, where the two texts differ on 20 % of rows: of +10 points, that is "
        "15 % of rows better and 5 % worse.\n"
        f"Exact, and in brackets of {runs:,} simulated claims.\n"
        "Last, the smallest gain, in points, that so many rows prove four times in five, where 5 % of rows get worse."
    )
    columns = ("confirmation rows", "+5 points", "+10 points", "+15 points", "smallest gain")
    return Section(title="What a claim can prove", text=text, columns=columns, rows=rows)


def sizes() -> Section:
    """The exact test, and the mid-p version."""
    rows = []
    for differ in (0.05, 0.2, 0.5, 1.0):
        found = [max(size(n, differ, middle=middle) for n in range(10, 201, 10)) for middle in (False, True)]
        gains = [size(100, differ, middle=middle, share=0.75) for middle in (False, True)]
        rows.append([ratio(differ, 1), *(ratio(each, 1) for each in (*found, *gains))])
    text = (
        "The mid-p version of the test counts half of the outcome itself.\n"
        "It proves more, but exceeds 5 % where most rows differ; so it is not used.\n"
        "The largest chance of a false claim for 10 to 200 rows, then the power for 100 rows where the candidate wins three "
        "of four rows that differ; exact sums."
    )
    columns = ("rows that differ", "false, exact test", "false, mid-p", "power, exact test", "power, mid-p")
    return Section(title="Exact, not mid-p", text=text, columns=columns, rows=rows)


def size(n: int, differ: float, *, middle: bool, share: float = 0.5) -> float:
    """The chance that a claim proves, by sums over all outcomes."""
    total = 0.0
    for m in range(n + 1):
        weight = chance_of(n, m, differ)
        if weight > 1e-9:
            wins = (k for k in range(m, -1, -1))
            for k in wins:
                p = upper_tail(m, k) - (chance_of(m, k, 0.5) / 2 if middle else 0.0)
                if p > 0.05:
                    break
                total += weight * chance_of(m, k, share)
    return total


def outcomes(validation: int, runs: int) -> Section:
    """What each rule ends with."""
    rows = []
    for landscape, gain in list(LANDSCAPES.items())[1:]:
        for name, rule in RULES.items():
            found = ended(rule, gain, validation, runs)
            kept = [each for each in found if each.kept]
            rows.append(
                [
                    landscape,
                    name,
                    ratio(sum(each.true > 0 for each in found), runs),
                    ratio(sum(each.kept and each.true <= 0 for each in found), runs),
                    points(each.true for each in found),
                    points(each.reported - each.true for each in kept),
                    points(each.best - each.true for each in found),
                ]
            )
    text = (
        f"Forty proposals, {validation} validation rows, {runs:,} runs of each cell; what a proposal is truly worth more "
        "than the start is drawn from the landscape.\n"
        "How often a run ends with a truly better text; with another text that is not better; the true gain that runs end "
        "with, in points; how much more than the true gain is reported where a text was kept; and the regret: how much "
        "better the best of all proposals was."
    )
    columns = ("landscape", "rule", "better", "not better", "true gain", "over-optimism", "regret")
    return Section(title=f"What runs end with, {validation} rows", text=text, columns=columns, rows=rows)


def prices(runs: int) -> Section:
    """How much of the regret no search could spare."""
    rows = []
    for validation in (200, 400):
        for who, rule in FINALISTS.items():
            found = [
                [each.best - each.true for each in ended(rule, gain, validation, runs)] for gain in LANDSCAPES.values()
            ]
            mean = points(each for landscape in found for each in landscape)
            rows.append([str(validation), who, *(points(each) for each in found), mean])
    text = (
        "The regret, in points, by what meets the sealed rows: the text that our races find; the one that is found where "
        "each proposal is scored on all selection rows; or the truly best proposal, which no search can know.\n"
        f"What is left of it in the last case is the price of the proof alone. {runs:,} runs each."
    )
    columns = ("validation rows", "what meets the sealed half", *LANDSCAPES, "mean")
    return Section(title="What the proof costs", text=text, columns=columns, rows=rows)


def shares(runs: int) -> Section:
    """How many rows to seal."""
    rows = []
    for validation in (200, 400):
        for share in (0.4, 0.5, 0.6, 0.7):
            rule = partial(ours, share=share)
            found = [ended(rule, gain, validation, runs) for gain in list(LANDSCAPES.values())[1:]]
            true = [points(each.true for each in landscape) for landscape in found]
            mean = points(each.true for landscape in found for each in landscape)
            rows.append([str(validation), ratio(share, 1), *true, mean])
    text = (
        f"The true gain that runs of ours end with, in points, by the share of rows that is sealed; {runs:,} runs each."
    )
    columns = ("rows", "sealed", *list(LANDSCAPES)[1:], "mean")
    return Section(title="How many rows to seal", text=text, columns=columns, rows=rows)


def races(runs: int) -> Section:
    """Decision quality and calls."""
    rows = []
    for entrants, n in ((12, 100), (12, 200), (40, 100), (40, 200)):
        sums = [0.0] * 4
        for landscape, gain in LANDSCAPES.items():
            found = [race(random.Random(f"race {landscape} {run}"), gain, entrants, n) for run in range(runs)]
            means = [fmean(each) for each in zip(*found, strict=True)]
            sums = [old + new for old, new in zip(sums, means, strict=True)]
            rows.append([str(entrants), str(n), landscape, *race_cells(means)])
        rows.append([str(entrants), str(n), "*all*", *race_cells([each / len(LANDSCAPES) for each in sums])])
    text = (
        "A race among the start and 12 or 40 proposals on 100 or 200 selection rows.\n"
        "In points above the start: the best proposal; what is chosen by scoring each on all rows; what the race chooses, and "
        f"its regret; and the share of scores that the race took. {runs:,} races each.\n"
        "The goal is at most 40 % of the scores. It is about what is the most that a race can take: however alike texts are, "
        "few run to the end. Where one of many is better, a race finds it less often than scoring all does."
    )
    columns = ("proposals", "rows", "landscape", "best", "scoring all", "race", "regret", "calls")
    return Section(title="What a race saves", text=text, columns=columns, rows=rows)


def race(rng: random.Random, gain: Gain, entrants: int, n: int) -> tuple[float, float, float, float]:
    """True gains of the best, of the largest mean and of the race's winner; and the share of calls."""
    start = start_text(rng, n)
    pool = [start, *(child(rng, start, gain(rng, number)) for number in range(entrants))]
    winner, calls = raced(rng, pool, range(n))
    best = max(each.true for each in pool)
    largest = max(pool, key=lambda each: each.mean(range(n))).true
    return best - BASE, largest - BASE, pool[winner].true - BASE, calls / (len(pool) * n)


def race_cells(means: Sequence[float]) -> list[str]:
    """A row of the table of races."""
    best, everything, chosen, calls = means
    return [points([best]), points([everything]), points([chosen]), points([best - chosen]), ratio(calls, 1)]


def guards(runs: int) -> Section:
    """How often guardrails pass."""
    rows = []
    for n in (100, 200, 400):
        for margin in (0.05, 0.1):
            cells = []
            for differ in (0.05, 0.1, 0.2):
                passed = [
                    guarded(random.Random(f"guard {n} {differ}"), n, loss, differ, margin, runs) for loss in (0, margin)
                ]
                cells.append(" / ".join(ratio(each, runs) for each in passed))
            rows.append([str(n), f"{100 * margin:.0f}", *cells])
    text = (
        "A guardrail is kept when a loss of the margin or more is ruled out at 5 %.\n"
        "How often it passes a candidate that is equal / a candidate that loses exactly the margin, by the share of rows that "
        "differ.\n"
        f"The bound assumes no distribution and no number of rows; that is why few rows pass little. {runs:,} runs each."
    )
    columns = ("rows", "margin, points", "5 % differ", "10 % differ", "20 % differ")
    return Section(title="Guardrails", text=text, columns=columns, rows=rows)


def guarded(rng: random.Random, n: int, loss: float, differ: float, margin: float, runs: int) -> int:
    """How many of `runs` guardrails pass."""
    differ = max(differ, loss)
    weights = [(differ - loss) / 2, (differ + loss) / 2, 1 - differ]
    passed = 0
    for _ in range(runs):
        kinds = rng.choices([(0, 1), (1, 0), (1, 1)], weights, k=n)
        pairs = paired([old for old, _ in kinds], [new for _, new in kinds])
        passed += not_worse(pairs, margin=margin, rng=rng).kept
    return passed


def streams(runs: int) -> Section:
    """False and true alarms of rollouts."""
    rows = []
    for base in (0.5, 0.85, 0.95, 0.99):
        for split in (0.5, 0.1):
            null = [alarms(base, 0.0, split, look, runs) for look in (1, 10, 50, 500)]
            worse = [alarms(base, -loss, split, 50, runs) for loss in (0.05, 0.1)]
            rows.append([f"{base}", f"{round(100 * split)} %", *(ratio(each, runs) for each in (*null, *worse))])
    text = (
        "A rollout of 4,000 units with a score of right or wrong, looked at again and again from 100 units in each arm on; an "
        "alarm is an upper end below 0, at 5 %, planned for 1,000 units.\n"
        "How often equal arms ever raise one, by the units between two looks; then how often an arm that is 5 or 10 points "
        f"worse does, with a look every 50. {runs:,} rollouts each."
    )
    columns = (
        "base rate",
        "traffic",
        *(f"equal, every {each}" for each in (1, 10, 50, 500)),
        "-5 points",
        "-10 points",
    )
    return Section(title="Streams", text=text, columns=columns, rows=rows)


def alarms(base: float, gain: float, split: float, look: int, runs: int) -> int:
    """How many of `runs` rollouts ever raise an alarm."""
    return sum(alarm(random.Random(f"rollout {run}"), base, gain, split, look) for run in range(runs))


def alarm(rng: random.Random, base: float, gain: float, split: float, look: int) -> bool:
    """Whether one rollout ever raises an alarm."""
    n, right = [0, 0], [0, 0]
    for unit in range(1, 4_001):
        new = rng.random() < split
        n[new] += 1
        right[new] += rng.random() < base + gain * new
        if unit % look == 0 and min(n) >= 100:
            production, candidate = (counted(*each) for each in zip(n, right, strict=True))
            if difference(production, candidate, planned=1_000).high < 0:
                return True
    return False


def counted(n: int, right: int) -> Arm:
    """The arm of so many units, some of them right."""
    mean = (right + 1) / (n + 2)
    return Arm(n=n, mean=right / n, variance=mean * (1 - mean), excluded=0)


def measured(runs: int) -> list[Section]:
    """All tables."""
    tables: list[Callable[[], Section]] = [
        partial(equals, runs),
        partial(claims, runs),
        sizes,
        partial(outcomes, 200, runs),
        partial(outcomes, 400, runs),
        partial(prices, runs),
        partial(shares, runs),
        partial(races, runs),
        partial(guards, runs),
        partial(streams, runs),
    ]
    return [each() for each in tables]


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(repeats=1_000)
    sections = measured(parser.parse_args().repeats)
    show(sections)
    PAGE.write_text("\n".join([HEAD, *(each.markdown() for each in sections)]), encoding="utf-8")
