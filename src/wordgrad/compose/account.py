"""What a report says of a run, before it has a form: the one source of the Markdown and the HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from wordgrad.compose.plots import Drawing, Point, bars, line
from wordgrad.statistics.power import smallest_gain
from wordgrad.store.runs import Record, Spent
from wordgrad.train.checkup import WORSE
from wordgrad.train.diff import Hunk, by_sentence, diff, placed

# A model's text must not move the cursor or clear the screen: control characters are shown as their pictures. The last
# two are no characters, and would make a drawing unreadable as XML.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0x2426)
_PICTURES |= dict.fromkeys((0xFFFE, 0xFFFF), 0xFFFD)

_DRAWN = "Score of each step's best text on selection rows, over calls, with 95 % intervals (open: the text before)"
_ROUNDING = 1e-6


class Table(NamedTuple):
    """Rows under a head; texts in them may be a model's or a user's."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: int = 1
    """Columns of words, from the left; the others are numbers."""


class Figure(NamedTuple):
    """A drawing with its caption, which is ours."""

    name: str
    """Of its file, without the suffix."""
    caption: str
    drawing: Drawing


FIGURES = ("score", "lengths", "spending")
"""The names of all that there may be."""


class Change(NamedTuple):
    """What a step did to a variable."""

    name: str
    hunks: Sequence[tuple[str, Hunk]]
    """Each with its number, from 1; a last one that changes nothing has none. Empty where the text stayed as it was."""
    feedback: Sequence[tuple[str | None, Sequence[str]]]
    """All of it, under a title that names the change whose words it has; without one where nothing changed."""


class Text(NamedTuple):
    """A variable's text, and the one to use."""

    name: str
    start: str
    end: str


class Stepped(NamedTuple):
    """A step to read."""

    title: str
    reason: str
    changes: list[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """All that a report says, in its order. Texts are as models and users wrote them: a form makes them inert."""

    run: str
    headline: str
    said: list[str]
    """How it ended, what labels say, what the sealed rows could prove: a sentence each, without its full stop."""
    tables: list[Table]
    """Scores and guardrails; those that have no row are left out."""
    figures: list[Figure]
    steps: list[Stepped]
    texts: list[Text]
    spent: Table


def account(record: Record) -> Account:
    """All that a report says of the run. Takes seconds where a thousand rows are sealed."""
    decision = (record.run.report or {}).get("decision")
    return Account(
        run=record.run.id,
        headline=headline(record),
        said=[each for each in (*_ending(record), _provable(record)) if each],
        tables=[] if decision is None else [each for each in (_scored(record), _guarded(decision)) if each.rows],
        figures=list(_figures(record)),
        steps=[Stepped(_title(each), each["reason"], list(_changes(each))) for each in record.steps],
        texts=[Text(name, texts[0], record.end[name]) for name, texts in record.versions.items()],
        spent=_took(record.spent),
    )


def pictured(text: str) -> str:
    """Text from a model, a user or their data, without a control character."""
    return text.translate(_PICTURES)


# ---- in a few words


def headline(record: Record) -> str:
    """What a run is called, and how it ended."""
    run = record.run
    return f"{run.name}, seed {run.seed}, {run.status}. {scores(run.report or {})}".rstrip()


def scores(report: Mapping[str, Any]) -> str:
    """A report's scores in a few words."""
    if "score" in report:
        return shown(report["score"])
    if "decision" not in report:
        return ""
    bounds = report["bounds"]
    # On the test rows; without any, on the sealed validation rows.
    if report["test"] is not None:
        end = "not measured" if report["test"]["end"] is None else shown(report["test"]["end"], bounds)
        return f"{shown(report['test']['start'], bounds)} → {end}"
    decision = report["decision"]
    if decision is None:
        return ""
    end = decision["candidate"] if decision["accepted"] else decision["start"]
    return f"{shown(decision['start'], bounds)} → {shown(end, bounds)}"


def shown(score: float | None, bounds: Sequence[float] = (0.0, 1.0)) -> str:
    """A score for people: a percentage where scores are from 0 to 1; "-" where no row could be judged."""
    if score is None:
        return "-"
    return f"{score:.1%}" if _shares(bounds) else f"{score:.3g}"


def gained(difference: float, bounds: Sequence[float] = (0.0, 1.0)) -> str:
    """A difference for people: in points of a hundred where scores are from 0 to 1."""
    return f"{100 * difference:+.1f} points" if _shares(bounds) else f"{difference:+.3g}"


def _shares(bounds: Sequence[float]) -> bool:
    return tuple(bounds) == (0.0, 1.0)


def verdict(step: Mapping[str, Any]) -> str:
    """How a step ended, in a few words."""
    if not step["accepted"]:
        return "kept the present text"
    return "a shorter text leads" if step["compression"] else "a new text leads"


# ---- what was decided


def _ending(record: Record) -> list[str]:
    """What became of it and why, and what labels say of that: first what decides."""
    report, review = record.run.report, record.review
    if report is None:
        return [f"The run has not ended: it is {record.run.status}"]
    said = [str(report.get("words", ""))]  # a command that trains nothing has none
    if review is not None:
        said.insert(0 if review.decided else 1, review.words)
    return said


def _provable(record: Record) -> str:
    """What gain the sealed rows prove; "" where scores are no shares, or a judge's preferences."""
    report = record.run.report or {}
    decision = report.get("decision")
    if decision is None or not _shares(report["bounds"]) or decision["by_judge"] or decision["start"] is None:
        return ""
    n, start, difference = decision["n"], decision["start"], decision["difference"]
    # What passes can get worse. A difference above 0 is a gain: where the score then falls, less is better.
    passing = start if (decision["candidate"] - start) * difference >= 0 else 1 - start
    worse = min(WORSE, passing)
    gain = smallest_gain(n, worse=worse, alpha=decision["alpha"])
    gains = "no gain of any size" if gain is None else f"a gain from {100 * gain:.0f} points on"
    graded = abs(difference * n - (decision["better"] - decision["worse"])) > _ROUNDING
    less = "; where scores differ by less than 1, smaller gains too" if graded else ""
    rows = "1 sealed row proves" if n == 1 else f"{n:,} sealed rows prove"
    return f"{rows} {gains} four times in five, where {worse:.0%} of them get worse{less}"


def _scored(record: Record) -> Table:
    """The sealed rows and the test rows, whole and by kind; of a run with a decision."""
    report = record.run.report or {}
    decision, test, bounds = report["decision"], report["test"], report["bounds"]
    # A judge of pairs says how often a text is preferred to the start, which is even with itself.
    said = ", share preferred" if decision["by_judge"] else ""
    rows = [_compared(f"sealed validation{said}", decision, bounds)]
    rows += [_kind("sealed validation", each, bounds) for each in report.get("slices", ())]
    gain = test and test["gain"]
    if gain:
        rows.append(_compared(f"test{said}", gain, bounds))
    # A text that was not accepted has not met the test rows.
    rows += [_kind("test", each, bounds, met=bool(gain)) for each in (test["slices"] if test else ())]
    return Table("Scores", ("rows", "of", "start", "new text", "difference", "likely", "at least"), rows)


def _kind(rows: str, found: Mapping[str, Any], bounds: Sequence[float], *, met: bool = True) -> tuple[str, ...]:
    """One kind of these rows; whether the new text has met them."""
    new = shown(found["end"], bounds) if met else ""
    return (f"{rows}, {found['name']}", str(found["n"]), shown(found["start"], bounds), new, "", "", "")


def _compared(name: str, claim: Mapping[str, Any], bounds: Sequence[float]) -> tuple[str, ...]:
    # What the test rows say was no proof that had to be large, so it is not corrected.
    gains = (claim["difference"], claim.get("likely", claim["difference"]), claim["low"])
    means = (shown(claim[text], bounds) for text in ("start", "candidate"))
    return (name, str(claim["n"]), *means, *(gained(each, bounds) for each in gains))


def _guarded(decision: Mapping[str, Any]) -> Table:
    """What became of each guardrail on the sealed rows, in its metric's own unit; a difference above 0 is a gain."""
    head = ("guardrail", "kept", "rows that break it", "difference", "at least", "may lose")
    rows: list[tuple[str, ...]] = []
    for name, each in decision["guardrails"].items():
        lost = f": {each['unjudged']} rows not judged" if each["unjudged"] else ""
        kept = "yes" if each["kept"] else f"no{lost}"
        if each["difference"] is None:  # a hard constraint
            rows.append((name, kept, str(each["broken"]), "", "", ""))
        else:
            loss = (f"{each['difference']:+.3g}", f"{each['low']:+.3g}", f"{each['margin']:.3g}")
            rows.append((name, kept, "", *loss))
    return Table("Guardrails, on the sealed rows", head, rows, words=2)


# ---- what it took


def _took(spent: Sequence[Spent]) -> Table:
    head = ("purpose", "node", "model", "calls", "tokens read", "written", "US$")
    rows = []
    for each in spent:
        counts = (f"{count:,}" for count in (each.calls, each.input_tokens, each.output_tokens))
        money = "unknown" if each.cost_usd is None else _money(each.cost_usd)
        rows.append((each.purpose, each.node, each.model, *counts, money))
    return Table("What it took", head, rows, words=3)


def _money(cost_usd: float) -> str:
    return f"{cost_usd:,.4f}"


def _figures(record: Record) -> Iterator[Figure]:
    led = [(calls, each["lead"]) for calls, each in zip(record.calls, record.steps, strict=False) if each["lead"]]
    points = [
        Point(x=calls, y=lead["candidate"], low=lead["low"], high=lead["high"], before=lead["start"])
        for calls, lead in led
        if lead["candidate"] is not None
    ]
    if points:
        yield Figure("score", _DRAWN, line(points))
    lengths = [
        (f"{pictured(name)} {number}", len(text))
        for name, texts in record.versions.items()
        for number, text in enumerate(texts)
    ]
    if lengths:
        yield Figure("lengths", "Length of each version, in characters", bars(lengths, "{:,}".format))
    if record.spent:
        yield _spending(record.spent)


def _spending(spent: Sequence[Spent]) -> Figure:
    """What each purpose took: money where all of it is known and there is any, else tokens."""
    unknown = any(each.cost_usd is None for each in spent)
    paid = not unknown and any(each.cost_usd for each in spent)
    totals: dict[str, float] = {}
    for each in spent:
        took = (each.cost_usd or 0.0) if paid else each.input_tokens + each.output_tokens
        totals[each.purpose] = totals.get(each.purpose, 0) + took
    why = "not every price is known" if unknown else "the calls cost nothing"
    unit = "US$" if paid else f"tokens read and written ({why})"
    return Figure("spending", f"Cost by purpose, in {unit}", bars([*totals.items()], _money if paid else "{:,}".format))


# ---- what each step did


def _title(step: Mapping[str, Any]) -> str:
    return f"Step {step['number']}: {verdict(step)}"


def _changes(step: Mapping[str, Any]) -> Iterator[Change]:
    for name, before in step["before"].items():
        after, feedback = step["after"][name], step["feedback"][name]
        hunks = [] if after == before else by_sentence(diff(before, after))
        at: dict[int | None, list[str]] = {}
        for text, place in zip(feedback, placed(hunks, feedback), strict=True):
            at.setdefault(place, []).append(text)
        titled: list[tuple[str | None, list[str]]] = [
            (f"Change {place + 1}:", at[place]) for place in range(len(hunks)) if place in at
        ]
        if None in at:
            titled.append(("In the words of no change:" if hunks else None, at[None]))
        numbered = [(str(number) if each.change else "", each) for number, each in enumerate(hunks, start=1)]
        yield Change(name, numbered, titled)
