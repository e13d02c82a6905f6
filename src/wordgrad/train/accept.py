"""Whether the text that a search ends with replaces the start: one look at sealed rows."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from wordgrad.errors import UsageError
from wordgrad.statistics.binomial import heads_needed, upper_tail
from wordgrad.statistics.claim import Claim, chance_better, claim, likely_gain
from wordgrad.statistics.guard import Guard, not_worse
from wordgrad.statistics.pairs import Pairs, checked_share
from wordgrad.statistics.power import differences_needed, disagreements_needed

Rule: TypeAlias = Literal["strict", "lenient"]

_RAREST = 10_000
"""Rarer than once in so many runs is said no more exactly."""
_OFTEN = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What a new text has to show."""

    rule: Rule = "strict"
    """strict: it is proved to be better. lenient: it is more likely better than not, and is said to be unproved."""
    alpha: float = 0.05
    """The chance of a false claim that a whole run may take; of each guardrail too."""
    margin: float = 0.02
    """The gain that is not worth more scoring in a race, as a share of the scores' width."""

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise UsageError(f'rule={self.rule!r} must be "strict" or "lenient"')
        checked_share("alpha", self.alpha)
        if not isinstance(self.margin, int | float) or not 0 <= self.margin < 1:
            raise UsageError(f"margin={self.margin!r} must be a number, at least 0 and less than 1, as in 0.02")

    def require_cases(self, sealed: int) -> None:
        """Check that so many sealed cases could prove anything.

        Raises:
            UsageError: Even if the new text won every one of them, chance alone would do that too often.
        """
        if self.rule == "strict" and heads_needed(sealed, self.alpha) > sealed:
            least = math.ceil(math.log2(1 / self.alpha))
            raise UsageError(
                f"{sealed} validation rows are sealed to confirm what is found (rows of one case count once), and at "
                f"alpha = {self.alpha:g} fewer than {least} can prove nothing: give at least {2 * least} validation "
                'rows, or accept what is only more likely better (rule = "lenient")'
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A guardrail's scores on the sealed rows."""

    pairs: Pairs
    margin: float
    """The loss that would be borne, in the metric's unit; 0 for a hard constraint."""
    broken: int = 0
    """Rows on which the candidate does not pass, or cannot be judged though the start can; of a hard constraint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What became of a guardrail."""

    kept: bool
    broken: int
    """Rows that break it; of a hard constraint only."""
    guard: Guard | None
    """The comparison; None for a hard constraint."""
    unjudged: int = 0
    """As in `Decision`; of a comparison only."""
    blind: bool = False
    """Whether no sealed row could be judged: a hard constraint is then about none of them, and said to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the sealed rows say of the one candidate that met them."""

    rule: Rule
    claim: Claim
    chance: float
    """How likely the candidate is the better one, by these rows alone."""
    likely: float
    """What the difference likely is, in the metric's unit: less than the claim's where that was proved."""
    needed: int | None
    """More rows on which the two disagree that would likely decide; None where it is decided, or none would."""
    guardrails: Mapping[str, Kept] = field(default_factory=dict)
    unjudged: int = 0
    """Rows that could be judged under the start and not under the candidate, where chance would not leave out so many:
    what it does there is not known, and may be why the others look better. Where a model prefers one of two answers:
    rows that the candidate alone was refused an answer to."""
    by_judge: bool = False
    """Whether a model judged, which was not told which text was which."""
    seen_before: bool = False
    """Whether another run has looked at these rows: then they prove nothing."""

    @property
    def accepted(self) -> bool:
        """Whether the candidate replaces the start."""
        better = self.claim.proved or (self.rule == "lenient" and self.chance > 0.5)  # noqa: PLR2004 - more likely than not
        return better and not self.broken and not self.unjudged

    @property
    def proved(self) -> bool:
        """Whether it is accepted, and proved to be better."""
        return self.accepted and self.claim.proved and not self.seen_before

    @property
    def broken(self) -> tuple[str, ...]:
        """The guardrails that were not kept."""
        return tuple(name for name, each in self.guardrails.items() if not each.kept)

    @property
    def words(self) -> str:
        """The decision and its reason, for people who know no statistics."""
        judged = ". A model judged, blind: its opinion was optimised, not the truth" if self.by_judge else ""
        seen = ". Another run has looked at these rows: a hint, and no proof" if self.seen_before else ""
        idle = [repr(name) for name, each in self.guardrails.items() if each.kept and each.blind]
        idle_words = f". {', '.join(idle)} could judge no sealed row" if idle else ""
        return f"{self._reason}{idle_words}{judged}{seen}"

    @property
    def _reason(self) -> str:
        found = self.claim
        rows = f"{_counted(found.n, 'sealed validation row')}: better on {found.better}, worse on {found.worse}"
        rows += f", {found.excluded} not judged" if found.excluded else ""
        if self.unjudged:
            lost = _counted(self.unjudged, "sealed row")
            return f"the start is kept: {lost} could be judged under the start, and not under the new text ({rows})"
        if self.broken:
            return f"the start is kept: {self._breaches} (by the target, {rows})"
        if self.accepted and self.claim.proved:
            return f"the new text is better ({rows}). Were it no better, chance would {often(found.p)}"
        more = f"better with a probability of {self.chance:.0%}"
        if self.needed is not None:
            more += f"; {self.needed} more rows on which the two disagree would likely decide"
        if self.accepted:
            return f"the new text is taken, unproved ({rows}): {more}"
        return f"the start is kept: the best new text is not proved to be better ({rows}). It is {more}"

    @property
    def _breaches(self) -> str:
        found = []
        for name in self.broken:
            kept = self.guardrails[name]
            if kept.blind:
                found.append(f"{name!r} could judge no sealed row")
            elif kept.unjudged:
                lost = _counted(kept.unjudged, "sealed row")
                found.append(f"{name!r} could judge the start on {lost} where it could not judge the new text")
            elif kept.guard is None:
                found.append(f"the new text breaks {name!r} on {_counted(kept.broken, 'sealed row')}")
            else:
                guard = kept.guard
                found.append(
                    f"{name!r} may have become worse: {guard.difference:+.3g}, and no less than {guard.low:+.3g} is "
                    f"certain, where {-guard.margin:+.3g} would be borne: more validation rows would tell"
                )
        return "; ".join(found)


def decide(
    pairs: Pairs,
    guardrails: Mapping[str, Guarded],
    *,
    acceptance: Acceptance,
    rng: random.Random,
    answered: Pairs | None = None,
    seen_before: bool = False,
) -> Decision:
    """Compare the candidate with the start on rows that nothing else has seen. Once a run: see `claim()`.

    Args:
        pairs: The target metric's scores on the sealed rows.
        guardrails: The others' by name.
        acceptance: What the candidate has to show.
        rng: Draws what the tests need.
        answered: Where the scores are a model's preferences, which rows each text answered: a score for each that did.
        seen_before: Whether another run has looked at these rows.
    """
    alpha = acceptance.alpha
    found = claim(pairs, rng=rng, alpha=alpha)
    return Decision(
        rule=acceptance.rule,
        claim=found,
        chance=chance_better(pairs, rng=rng),
        likely=likely_gain(pairs, found),
        needed=None if found.proved else _needed(pairs, found),
        guardrails={name: _kept(each, acceptance, rng) for name, each in guardrails.items()},
        unjudged=_unjudged(pairs if answered is None else answered, alpha),
        by_judge=answered is not None,
        seen_before=seen_before,
    )


def _needed(pairs: Pairs, found: Claim) -> int | None:
    """More rows that would likely decide; those that differ by as much decide by their signs, as preferences do."""
    moved = [each for each in pairs.differences if each]
    if len({abs(each) for each in moved}) <= 1:
        return disagreements_needed(found.better, found.worse, alpha=found.alpha)
    return differences_needed(moved, alpha=found.alpha)


def _kept(guarded: Guarded, acceptance: Acceptance, rng: random.Random) -> Kept:
    pairs = guarded.pairs
    if not guarded.margin:
        blind = not guarded.broken and pairs.n + pairs.only_candidate == 0
        return Kept(kept=not guarded.broken, broken=guarded.broken, guard=None, blind=blind)
    guard = not_worse(pairs, margin=guarded.margin, rng=rng, alpha=acceptance.alpha)
    seen = acceptance.rule == "lenient" and guard.n > 0 and guard.difference > -guard.margin
    unjudged = _unjudged(pairs, acceptance.alpha)
    blind = pairs.n + pairs.only_start == 0
    return Kept(kept=(guard.kept or seen) and not unjudged, broken=0, guard=guard, unjudged=unjudged, blind=blind)


def _unjudged(pairs: Pairs, alpha: float) -> int:
    """Rows that could be judged under the start only, if they are too many for chance; else 0.

    By a sign test: without it a text could look better by leaving answers that cannot be judged where it does badly.
    """
    lost = pairs.only_start
    return lost if upper_tail(lost + pairs.only_candidate, lost) <= alpha else 0


def often(p: float) -> str:
    """How often chance alone does as well, to go on from "chance would"."""
    if p > _OFTEN:
        return f"do as well in {p:.0%} of runs"
    if p * _RAREST < 1:
        return f"do as well less than once in {_RAREST:,} runs"
    return f"do as well once in {round(1 / p):,} runs"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
