"""A run to read: as Markdown, and as one page of HTML with its plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from wordgrad.compose.plots import Point, bars, line
from wordgrad.errors import UsageError
from wordgrad.store.runs import Record
from wordgrad.train.diff import Hunk, by_sentence, diff, placed

# A model's text must not move the cursor or clear the screen: control characters are shown as their pictures.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0x2426)

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

_SPENT = ("purpose", "node", "model", "calls", "tokens read", "written", "US$")

_MARKUP = frozenset("\\`*_{}[]()<>#+!|~")

_STYLE = """
:root { color-scheme: light dark; --new: #1a7f37; --gone: #b42318; --line: #8886; --soft: #8882; --main: #2f6feb; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); padding: .8rem; border-radius: 6px; }
sup { color: var(--main); font-weight: 600; }
ins { color: var(--new); text-decoration: none; font-weight: 600; } del { color: var(--gone); }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem .2rem 0; text-align: left; }
td:nth-child(n+2), th:nth-child(n+2) { text-align: right; font-variant-numeric: tabular-nums; }
.spent :is(td, th):nth-child(-n+3) { text-align: left; }
.decision { border-left: 4px solid var(--main); padding: .2rem .9rem; background: var(--soft); }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; } svg { max-width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The page asks nobody for anything, whatever a model's text says."""


def pictured(text: str) -> str:
    """Text from a model, a user or their data, without a control character."""
    return text.translate(_PICTURES)


def save(record: Record, folder: Path | str) -> None:
    """Write report.md and report.html; the folder is made where it is missing, an earlier report is replaced.

    Raises:
        UsageError: They cannot be written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, text in (("report.md", markdown(record)), ("report.html", page(record))):
            (Path(folder) / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be written: {error.strerror}") from error


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
    return f"{score:.1%}" if tuple(bounds) == (0.0, 1.0) else f"{score:.3g}"


def gained(difference: float, bounds: Sequence[float] = (0.0, 1.0)) -> str:
    """A difference for people: in points of a hundred where scores are from 0 to 1."""
    return f"{100 * difference:+.1f} points" if tuple(bounds) == (0.0, 1.0) else f"{difference:+.3g}"


# ---- Markdown


def markdown(record: Record) -> str:
    """The run as Markdown: what was decided, each step with all of its feedback, and the texts."""
    lines = [f"# Run {record.run.id}", "", _cell(headline(record)), ""]
    decision = (record.run.report or {}).get("decision")
    if decision is not None:
        lines += [*fenced(decision["words"]), ""]
    for step in record.steps:
        lines += _step(step)
    for name, values in record.versions.items():
        for title, text in (("start", values[0]), ("end", values[-1])):
            lines += [f"## {_cell(name)}: {title}", "", *fenced(text), ""]
    lines += ["## What it took", "", f"| {' | '.join(_SPENT)} |", f"|{'---|' * len(_SPENT)}"]
    lines += [f"| {' | '.join(map(_cell, each))} |" for each in _spending(record)]
    return "\n".join([*lines, ""])


def _step(step: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {_title(step)}", "", *fenced(step["reason"]))
    for name, hunks, feedback in _changes(step):
        if hunks:
            marked = [f"{each.marked}{number.translate(_RAISED)}" for number, each in hunks]
            yield from ("", f"### {_cell(name)}", "", *fenced("".join(marked)))
        if feedback:
            listed = [line for title, texts in feedback for line in (title, _listed(texts)) if line is not None]
            yield from ("", f"### Feedback on {_cell(name)}", "", *fenced("\n".join(listed)))
    yield ""


class _Change(NamedTuple):
    """What a step did to a variable."""

    name: str
    hunks: Sequence[tuple[str, Hunk]]
    """Each with its number, from 1; a last one that changes nothing has none. Empty where the text stayed as it was."""
    feedback: Sequence[tuple[str | None, Sequence[str]]]
    """All of it, under a title that names the change whose words it has; without one where nothing changed."""


def _changes(step: Mapping[str, Any]) -> Iterator[_Change]:
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
        yield _Change(name, numbered, titled)


def fenced(text: str) -> list[str]:
    """The lines of a code block that no text can end."""
    runs = "".join(char if char == "`" else " " for char in text).split()
    fence = "`" * max(3, 1 + max((len(each) for each in runs), default=0))
    return [f"{fence}text", pictured(text), fence]


def _cell(text: str) -> str:
    """Text inside a line of Markdown, with nothing in it that is markup."""
    return "".join(f"\\{char}" if char in _MARKUP else char for char in " ".join(pictured(text).split()))


def _title(step: Mapping[str, Any]) -> str:
    return f"Step {step['number']}: {verdict(step)}"


def verdict(step: Mapping[str, Any]) -> str:
    """How a step ended, in a few words."""
    if not step["accepted"]:
        return "kept the present text"
    return "a shorter text leads" if step["compression"] else "a new text leads"


def _listed(texts: Sequence[str]) -> str:
    """As a list; what a text has on further lines stands below its first, and cannot pass for an item of ours."""
    return "\n".join(f"• {each}".replace("\n", "\n  ") for each in texts)


def _spending(record: Record) -> Iterator[tuple[str, ...]]:
    for each in record.spent:
        money = "unknown" if each.cost_usd is None else f"{each.cost_usd:,.4f}"
        yield (
            each.purpose,
            pictured(each.node),
            pictured(each.model),
            f"{each.calls:,}",
            f"{each.input_tokens:,}",
            f"{each.output_tokens:,}",
            money,
        )


# ---- HTML


def page(record: Record) -> str:
    """The run as one page of HTML that needs nothing else: no script, no font, no address."""
    title = f"wordgrad run {record.run.id}"
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{_text(title)}</h1><p>{_text(headline(record))}</p>",
            *_decision(record),
            *_plots(record),
            *(part for step in record.steps for part in _stepped(step)),
            *_texts(record),
            "</body></html>\n",
        ]
    )


def _decision(record: Record) -> Iterator[str]:
    report = record.run.report
    if report is None:
        yield f'<p class="decision">The run has not ended: it is {_text(record.run.status)}.</p>'
        return
    if "decision" not in report:  # of a command that trains nothing
        return
    decision = report["decision"]
    if decision is None:
        ended = "The budget was spent before the sealed rows could decide"
        kept = ended if report["status"] == "unmeasured" else "Nothing led the start in the search"
        yield f'<p class="decision">{kept}: the start is kept.</p>'
        return
    yield f'<p class="decision">{_text(decision["words"])}.</p>'
    yield "<table><tr><th>rows</th><th>of</th><th>start</th><th>new text</th><th>difference</th><th>likely</th>"
    yield "<th>at least</th></tr>"
    # A judge of pairs says how often a text is preferred to the start, which is even with itself.
    said = ", share preferred" if decision["by_judge"] else ""
    yield _compared(f"sealed validation{said}", decision, report["bounds"])
    if report["test"] and report["test"]["gain"]:
        yield _compared(f"test{said}", report["test"]["gain"], report["bounds"])
        for each in report["test"]["slices"]:
            means = [shown(each[name], report["bounds"]) for name in ("start", "end")]
            yield _row([f"test, {each['name']}", str(each["n"]), *means, "", "", ""])
    yield "</table>"


def _compared(name: str, claim: Mapping[str, Any], bounds: Sequence[float]) -> str:
    cells = [name, str(claim["n"]), shown(claim["start"], bounds), shown(claim["candidate"], bounds)]
    # What the test rows say was no proof that had to be large, so it is not corrected.
    cells += [
        gained(each, bounds) for each in (claim["difference"], claim.get("likely", claim["difference"]), claim["low"])
    ]
    return _row(cells)


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{_text(each)}</td>' for each in cells)}</tr>"


def _plots(record: Record) -> Iterator[str]:
    led = [(calls, each["lead"]) for calls, each in zip(record.calls, record.steps, strict=False) if each["lead"]]
    points = [
        Point(x=calls, y=lead["candidate"], low=lead["low"], high=lead["high"], before=lead["start"])
        for calls, lead in led
        if lead["candidate"] is not None
    ]
    if points:
        yield _figure(
            "Score of each step's best text on selection rows, over calls, with 95 % intervals (open: the text before)",
            line(points),
        )
    lengths = [
        (f"{name} {number}", len(text)) for name, texts in record.versions.items() for number, text in enumerate(texts)
    ]
    yield _figure("Length of each version, in characters", bars(lengths))
    tokens: Counter[str] = Counter()
    for each in record.spent:
        tokens[each.purpose] += each.input_tokens + each.output_tokens
    if tokens:
        yield _figure("Tokens by purpose", bars(list(tokens.items())))
    head = "".join(f"<th>{name}</th>" for name in _SPENT)
    yield f'<table class="spent"><tr>{head}</tr>{"".join(map(_row, _spending(record)))}</table>'


def _stepped(step: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{_title(step)}</h2><p>{_text(step['reason'])}</p>"
    for name, hunks, feedback in _changes(step):
        if hunks:
            marked = [f"{_tagged(each)}<sup>{number}</sup>" for number, each in hunks]
            yield f"<h3>{_text(name)}</h3><pre>{''.join(marked)}</pre>"
        if feedback:
            yield f"<details open><summary>Feedback on {_text(name)}</summary>"
            for title, texts in feedback:
                yield f"<p>{title}</p>" if title else ""
                yield f"<ul>{''.join(f'<li>{_text(each)}</li>' for each in texts)}</ul>"
            yield "</details>"


def _texts(record: Record) -> Iterator[str]:
    for name, values in record.versions.items():
        changed = "".join(map(_tagged, diff(values[0], values[-1])))
        yield f"<h2>{_text(name)}: from start to end</h2><pre>{changed}</pre>"


def _tagged(hunk: Hunk) -> str:
    tags = {"same": "{}", "added": "<ins>{}</ins>", "removed": "<del>{}</del>"}
    return "".join(tags[kind].format(_text(text)) for kind, text in hunk.parts)


def _figure(caption: str, drawing: str) -> str:
    return f"<figure><figcaption>{_text(caption)}</figcaption>{drawing}</figure>"


def _text(text: str) -> str:
    return escape(pictured(text))
