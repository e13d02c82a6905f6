"""A person's word on two texts: pairs of answers, shown blind."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from wordgrad.statistics.binomial import upper_tail
from wordgrad.train.accept import often

Preference: TypeAlias = Literal["start", "found", "same"]

AUDIT = 20
"""Labels from which on they may overrule the metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A sealed row on which the two texts led to different answers."""

    row: str
    """Where it stands."""
    case: int
    """Its case's number: rows that ask the same, or belong together, are one case."""
    asked: str
    start: str
    """What the start led to."""
    found: str
    """What the new text led to."""
    metric: int
    """By the metric: 1 the new text's is better, -1 worse, 0 neither, or it could not judge."""


def in_blind_order(rows: Sequence[Disagreement], *, seed: str) -> list[tuple[Disagreement, bool]]:
    """One row of each case, in a random order, each with whether the new text's answer is shown first.

    The same for one seed. A case's other rows would say the same again, and the labels' test would count it as news.
    """
    rng = random.Random(f"review {seed}")  # noqa: S311 - no secret
    drawn = [(row, rng.random() < 0.5) for row in rows]  # noqa: PLR2004 - a fair coin
    rng.shuffle(drawn)
    cases: dict[int, tuple[Disagreement, bool]] = {}
    for row, swapped in drawn:
        cases.setdefault(row.case, (row, swapped))
    return list(cases.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What the labels say: a paired test of their own, and how far the metric agrees."""

    better: int
    """Rows on which the new text's answer was preferred."""
    worse: int
    same: int
    agreed: int
    """Rows on which metric and person preferred the same answer."""
    opposed: int
    """Rows on which they preferred different ones, or the metric one and the person neither."""
    alpha: float
    pairs: int
    """Cases on which the texts differ: there can be no more labels."""
    accepted: bool
    """Whether the metric accepted the new text."""
    broken: Sequence[str]
    """Guardrails that the new text does not keep: no label makes up for them."""

    @property
    def labels(self) -> int:
        """Rows with a label."""
        return self.better + self.worse + self.same

    @property
    def p(self) -> float:
        """An upper bound of the chance that labels ever speak so clearly for the new text, were it no better.

        It holds however often one looks: labels are given one by one, and whoever gives them sees what they say.

        Source:
            Ville, 1939: a bet on the new text, against a fair coin, with a uniform share of wins from a half to 1.
        """
        n, wins = self.better + self.worse, self.better
        above_half = upper_tail(n + 1, n + 1 - wins)  # by symmetry: fewer than wins + 1 heads
        return min(1.0, (n + 1) * math.comb(n, wins) / (math.ldexp(1.0, n + 1) * above_half))

    @property
    def proved(self) -> bool:
        """Whether the labels alone prove that the new text is better."""
        return self.p <= self.alpha

    @property
    def blocked(self) -> bool:
        """Whether the labels overrule a metric that found the new text better.

        They do where they are 20 or more and do not prove it better themselves, and the new text was not preferred more
        often than the start, or the metric was wrong at least as often as it was right.
        """
        if self.labels < AUDIT or self.proved:
            return False
        return self.better <= self.worse or self.opposed >= max(self.agreed, 1)

    @property
    def decided(self) -> Literal["start", "found"] | None:
        """The text that the run ends with by the labels; None where they do not, and the metric's word holds."""
        if self.blocked:
            return "start"
        return "found" if self.proved and not self.broken else None

    @property
    def words(self) -> str:
        """The review in a sentence or two."""
        labels = "1 label" if self.labels == 1 else f"{self.labels} labels"
        counts = f"{labels}: the new text preferred on {self.better}, the start on {self.worse}"
        metric = f"the metric agreed on {self.agreed} and was wrong on {self.opposed}"
        if self.blocked:
            return f"{counts}; {metric}. The metric is wrong where it matters: the new text is not to be used"
        if self.proved:
            but = f"; but it does not keep {', '.join(self.broken)}" if self.broken else ""
            return f"{counts}; {metric}. The new text is better: were it not, chance would {often(self.p)}{but}"
        few = ""
        if self.accepted and self.pairs < AUDIT:
            rows = "1 row" if self.pairs == 1 else f"{self.pairs} rows"
            few = f". The texts differ on {rows} of this run, and it takes {AUDIT} labels to overrule the metric"
        return f"{counts}; {metric}. This proves nothing yet{few}"


def reviewed(
    rows: Sequence[Disagreement],
    labels: Mapping[str, Preference],
    *,
    alpha: float,
    accepted: bool,
    broken: Sequence[str] = (),
) -> Review:
    """What labels say of the rows.

    Args:
        rows: All rows on which the texts disagree.
        labels: By row; some, or all.
        alpha: The chance of a false claim.
        accepted: Whether the metric accepted the new text.
        broken: The guardrails that it does not keep.
    """
    signs = {"found": 1, "start": -1, "same": 0}
    both = [(signs[labels[each.row]], each.metric) for each in rows if each.row in labels]
    return Review(
        better=sum(person > 0 for person, _ in both),
        worse=sum(person < 0 for person, _ in both),
        same=sum(person == 0 for person, _ in both),
        agreed=sum(person == metric != 0 for person, metric in both),
        opposed=sum(metric not in (0, person) for person, metric in both),
        alpha=alpha,
        pairs=len({each.case for each in rows}),
        accepted=accepted,
        broken=tuple(broken),
    )
